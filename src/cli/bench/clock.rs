//! The time of a run: nanoseconds since 1970, read from the system's clock once and then counted on without going back.
//!
//! Stamps of one process mean the same in another on the same machine, so that `bench sub` can tell how long the messages of
//! `bench pub` took.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::moment::Moment;

/// Counts on from the moment at which it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    started_nanos: u64,
}

impl Clock {
    /// Reads the system's clock.
    pub(super) fn start() -> Self {
        let micros = Moment::now().timestamp().as_micros();
        Self { started: Instant::now(), started_nanos: micros.saturating_mul(1_000) }
    }

    /// Nanoseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        self.started_nanos.saturating_add(nanos(self.started.elapsed()))
    }
}

/// A length of time in nanoseconds; 584 years at most.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
