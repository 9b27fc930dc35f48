//! `Clock`: how far the wall clock jumped between two runs, beyond what is believed (`docs/decisions/0006-clock.md`).
//!
//! ```text
//! count | for each jump, in order: the last moment before it, microseconds that do not count
//! ```

use std::time::Duration;

use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

/// More jumps are told as one.
const JUMPS_MAX: usize = 64;

/// A jump of the wall clock between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The newest moment in the log before it.
    pub before: Timestamp,
    /// The part of it that does not count for what was there before.
    pub forgiven: Duration,
}

/// Every jump of the wall clock, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockRow {
    jumps: Vec<Jump>,
}

impl ClockRow {
    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.jumps.is_empty()
    }

    /// The jumps, oldest first.
    pub fn jumps(&self) -> &[Jump] {
        &self.jumps
    }

    /// How much of the time since a stored moment does not count.
    pub fn forgiven_since(&self, moment: Timestamp) -> Duration {
        let since = self.jumps.iter().filter(|jump| jump.before >= moment);
        since.fold(Duration::ZERO, |sum, jump| sum.saturating_add(jump.forgiven))
    }

    /// The present as it is to be compared with what follows from a stored moment: `now`, less what does not count.
    pub fn present_for(&self, moment: Timestamp, now: Timestamp) -> Timestamp {
        if self.jumps.is_empty() { now } else { now - self.forgiven_since(moment) }
    }

    /// Adds a jump. Of very many, the oldest two become one that forgives too much rather than too little.
    pub fn add(&mut self, jump: Jump) {
        self.jumps.push(jump);
        if self.jumps.len() > JUMPS_MAX {
            let oldest = self.jumps.remove(0);
            if let Some(next) = self.jumps.first_mut() {
                next.forgiven = next.forgiven.saturating_add(oldest.forgiven);
            }
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.jumps.len() as u64);
        for jump in &self.jumps {
            out.put_timestamp(jump.before);
            out.put_varint(u64::try_from(jump.forgiven.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let count = usize::try_from(input.varint()?).ok().filter(|count| *count <= JUMPS_MAX)?;
        let jump = |input: &mut Decoder<'_>| {
            let before = input.timestamp()?;
            Some(Jump { before, forgiven: Duration::from_micros(input.varint()?) })
        };
        let jumps = (0..count).map(|_| jump(input)).collect::<Option<_>>()?;
        Some(Self { jumps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn jump(before: u64, forgiven: u64) -> Jump {
        Jump { before: at(before), forgiven: Duration::from_secs(forgiven) }
    }

    #[test]
    fn only_what_was_there_before_a_jump_is_forgiven_it() {
        let mut clock = ClockRow::default();
        assert_eq!(clock.present_for(at(1), at(50)), at(50));
        clock.add(jump(10, 100));
        clock.add(jump(300, 1_000));
        assert_eq!(clock.present_for(at(10), at(2_000)), at(900));
        assert_eq!(clock.present_for(at(11), at(2_000)), at(1_000));
        assert_eq!(clock.present_for(at(301), at(2_000)), at(2_000));
    }

    #[test]
    fn very_many_jumps_forgive_no_less() {
        let mut clock = ClockRow::default();
        for number in 0..200 {
            clock.add(jump(number * 10, 1));
        }
        assert_eq!(clock.jumps().len(), JUMPS_MAX);
        assert_eq!(clock.forgiven_since(at(0)), Duration::from_secs(200));
        assert_eq!(clock.forgiven_since(at(1_990)), Duration::from_secs(1));
    }
}
