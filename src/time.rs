//! One moment, as every layer below `server` sees it.
//!
//! Nothing below `server` reads a clock: a [`Timestamp`] comes in as an argument. The server hands out a
//! timestamp that never goes back while the process lives, whatever the system's clock does; the
//! simulation hands out its own.

use std::fmt;
use std::ops::Add;
use std::ops::Sub;
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// A moment: microseconds since the Unix epoch.
///
/// Within one run of the broker it never decreases. Between two runs it is as good as the system's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch; also stands for "never" where a moment in the past is as good as none.
    pub const EPOCH: Self = Self(0);

    /// The moment this many microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment this many milliseconds after the Unix epoch; `None` beyond the end of time, which is after the year 584,000.
    pub fn from_millis(millis: u64) -> Option<Self> {
        millis.checked_mul(1_000).map(Self)
    }

    /// Reads an instant such as `2026-08-01T00:00:00Z`; `None` if it is none, or before the Unix epoch.
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        Some(Self::EPOCH + time.duration_since(UNIX_EPOCH).ok()?)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that has passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time, which is after the year 584,000.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the Unix epoch.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.as_secs(), self.0 % 1_000_000)
    }
}
