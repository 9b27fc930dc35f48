//! Time across restarts: it goes on from the log, whatever the wall clock says (`docs/decisions/0006-clock.md`).

use std::fmt;
use std::time::Duration;

use crate::mutant::Mutant;
use crate::store::Jump;
use crate::store::Row;
use crate::store::Store;
use crate::time::Timestamp;

/// How the wall clock and the log agreed at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockFound {
    /// The wall is ahead of the log by what a broker may well have been off, or the log is new.
    #[default]
    Agrees,
    /// The wall is behind the log: time goes on from the log's newest moment.
    Behind {
        /// By so much.
        by: Duration,
    },
    /// The wall is further ahead than is believed.
    Ahead {
        /// By so much.
        by: Duration,
        /// What does not count of it for what was there before.
        forgiven: Duration,
    },
}

impl fmt::Display for ClockFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees => f.write_str("the clock agrees with the log"),
            Self::Behind { by } => write!(
                f,
                "the clock is {} s behind the newest record of the log; time goes on from there",
                by.as_secs()
            ),
            Self::Ahead { by, forgiven } => write!(
                f,
                "the clock is {} s ahead of the newest record of the log; {} s of that do not count for what may expire",
                by.as_secs(),
                forgiven.as_secs()
            ),
        }
    }
}

impl Store {
    /// Takes the wall's time at a start, and says what time it is from here on. A jump too far to be believed becomes a row.
    pub(super) fn take_clock(&mut self, wall: Timestamp) -> (Timestamp, ClockFound) {
        let last = self.log.last_timestamp();
        if last == Timestamp::EPOCH {
            return (wall, ClockFound::Agrees);
        }
        if wall < last {
            let by = last.since(wall);
            let now = if Mutant::TimeGoesBack.is_active() { wall } else { last };
            return (now, ClockFound::Behind { by });
        }
        let by = wall.since(last);
        let forgiven = by.saturating_sub(self.options.clock_jump_max);
        if forgiven.is_zero() || Mutant::JumpExpiresAll.is_active() {
            return (wall, ClockFound::Agrees);
        }
        let mut clock = self.state.clock().clone();
        clock.add(Jump { before: last, forgiven });
        self.put(wall, Row::Clock(clock));
        (wall, ClockFound::Ahead { by, forgiven })
    }

    /// The present as it is to be compared with what follows from a stored moment.
    pub fn present_for(&self, moment: Timestamp, now: Timestamp) -> Timestamp {
        self.state.clock().present_for(moment, now)
    }
}
