//! The only clock: the wall's time once, at the start, and the monotonic clock from there.
//!
//! Invariant: two readings of one [`Clock`] never go back, whatever is done to the system's time meanwhile.

#![expect(clippy::disallowed_types, reason = "this is the one place that reads a clock")]

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::time::Timestamp;

/// Gives the time to everything below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    epoch: Timestamp,
}

impl Clock {
    /// Reads the wall clock, for the last time.
    pub(super) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), epoch: Timestamp::EPOCH + wall }
    }

    /// The moment now.
    pub(super) fn now(&self) -> Timestamp {
        self.epoch + self.started.elapsed()
    }

    /// How long it is until `deadline`; zero if it is past.
    pub(super) fn until(&self, deadline: Timestamp) -> Duration {
        deadline.since(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::start();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_deadline_in_the_past_is_now() {
        let clock = Clock::start();
        assert_eq!(clock.until(Timestamp::EPOCH), Duration::ZERO);
        let hour = Duration::from_hours(1);
        let left = clock.until(clock.now() + hour);
        assert!(left <= hour && left > hour / 2, "{left:?}");
    }
}
