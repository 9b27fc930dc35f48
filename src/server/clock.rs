//! The only clock: the wall's time once, at the start, and the monotonic clock from there. Where the log is ahead of the wall, time
//! goes on from the log (`docs/decisions/0006-clock.md`).
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
        Self::start_by(|| {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            Timestamp::EPOCH + wall
        })
    }

    /// Reads this wall clock, once.
    fn start_by(wall: impl FnOnce() -> Timestamp) -> Self {
        Self { started: Instant::now(), epoch: wall() }
    }

    /// The same clock, or one that goes on from `moment` if that is later.
    pub(super) fn not_before(self, moment: Timestamp) -> Self {
        let now = self.now();
        if now >= moment { self } else { Self::start_by(|| moment) }
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
    use std::cell::Cell;

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
    fn jumps_of_the_wall_change_nothing() {
        const HOUR: i64 = 3_600;
        const TEN_YEARS: i64 = 10 * 366 * 24 * HOUR;
        for jump in [HOUR, TEN_YEARS, -HOUR, -TEN_YEARS] {
            let wall = Cell::new(1_700_000_000_i64);
            let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
            let clock = Clock::start_by(|| Timestamp::EPOCH + seconds(wall.get()));
            let before = clock.now();
            wall.set(wall.get() + jump);
            let passed = clock.now().since(before);
            assert!(passed < Duration::from_mins(1), "{jump}: {passed:?}");
            assert!(clock.now() >= before && clock.not_before(before).now() >= before);
        }
    }

    #[test]
    fn a_log_ahead_of_the_wall_is_where_time_goes_on() {
        let hour = Duration::from_hours(1);
        let clock = Clock::start();
        let ahead = clock.now() + hour;
        let moved = clock.not_before(ahead);
        assert!(moved.now() >= ahead && moved.now().since(ahead) < hour);
        let same = clock.not_before(Timestamp::EPOCH);
        assert!(same.now() < ahead);
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
