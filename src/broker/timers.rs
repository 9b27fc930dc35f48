//! All moments the core waits for, in one hashed timing wheel.
//!
//! Setting a timer costs the same however many there are, and nothing is ever cancelled: who set a timer looks, when it
//! fires, whether it still means anything, and sets it again if it came too early. A timer fires at most one
//! tick late and never early.
//!
//! ```text
//!   slot:   0    1    2   ...  1023          one slot is one tick of 100 ms; a deadline further away than
//!           |    |    |                       the wheel's 102 s waits in its slot for a later round
//!          [..] [..] [..]
//! ```
//!
//! **Invariants:** every timer is in the slot of its tick; `now_tick` never decreases.

use crate::time::Timestamp;

/// How fine the wheel is: 100 ms.
const TICK_MICROS: u64 = 100_000;
const SLOTS: u64 = 1_024;

/// A timing wheel with timers of the kind `T`.
#[derive(Debug)]
pub(super) struct TimerWheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    now_tick: u64,
    count: usize,
}

impl<T> TimerWheel<T> {
    /// An empty wheel that starts at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            now_tick: now.as_micros() / TICK_MICROS,
            count: 0,
        }
    }

    /// Fires `timer` at the first tick at or after `deadline`; a deadline that has passed fires at the next tick.
    pub(super) fn set(&mut self, deadline: Timestamp, timer: T) {
        let tick = deadline.as_micros().div_ceil(TICK_MICROS).max(self.now_tick + 1);
        if let Some(slot) = self.slots.get_mut(slot_of(tick)) {
            slot.push((tick, timer));
            self.count += 1;
        }
    }

    /// Takes all timers that are due at `now` into `due`, in the order of their ticks.
    pub(super) fn advance(&mut self, now: Timestamp, due: &mut Vec<T>) {
        let target = now.as_micros() / TICK_MICROS;
        if target <= self.now_tick {
            return;
        }
        // A jump of more than a round meets each slot once; ticks decide what is due.
        let first = (self.now_tick + 1).max(target.saturating_sub(SLOTS - 1));
        let mut found: Vec<(u64, T)> = Vec::new();
        for tick in first..=target {
            let Some(slot) = self.slots.get_mut(slot_of(tick)) else { continue };
            if !slot.is_empty() {
                found.extend(slot.extract_if(.., |(due_tick, _)| *due_tick <= target));
            }
        }
        self.now_tick = target;
        self.count -= found.len();
        found.sort_by_key(|(tick, _)| *tick);
        due.extend(found.into_iter().map(|(_, timer)| timer));
    }

    /// The moment of the next tick at which a timer may be due; `None` when no timer is set.
    pub(super) fn next(&self) -> Option<Timestamp> {
        if self.count == 0 {
            return None;
        }
        let occupied = (self.now_tick + 1..=self.now_tick + SLOTS)
            .find(|tick| self.slots.get(slot_of(*tick)).is_some_and(|slot| !slot.is_empty()));
        occupied.map(|tick| Timestamp::from_micros(tick * TICK_MICROS))
    }

    /// How many timers are set.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.count
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    #[test]
    fn timers_fire_in_order_never_early_and_at_most_a_tick_late() {
        let mut wheel = TimerWheel::new(at(1_000));
        for deadline in [5_050_u64, 1_001, 300_000, 1_000, 200_000, 5_000] {
            wheel.set(at(deadline), deadline);
        }
        let mut fired = Vec::new();
        let mut now = 1_000;
        while wheel.len() > 0 {
            let next = wheel.next().unwrap();
            assert!(next > at(now), "the wheel has to move on");
            now = next.as_millis();
            let mut due = Vec::new();
            wheel.advance(next, &mut due);
            for deadline in due {
                assert!(deadline <= now, "{deadline} fired early at {now}");
                assert!(now - deadline.max(1_000) <= 200, "{deadline} fired late at {now}");
                fired.push(deadline);
            }
        }
        assert_eq!(fired, [1_001, 1_000, 5_000, 5_050, 200_000, 300_000]);
    }

    #[test]
    fn a_jump_over_many_rounds_fires_all_that_is_due() {
        let mut wheel = TimerWheel::new(at(0));
        for second in 0..2_000 {
            wheel.set(at(second * 1_000), second);
        }
        let mut due = Vec::new();
        wheel.advance(at(1_500_000), &mut due);
        assert_eq!(due, (0..=1_500).collect::<Vec<_>>());
    }
}
