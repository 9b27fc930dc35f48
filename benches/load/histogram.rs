//! Times, counted by length, off by at most 0.1 %: what `tidelog bench` counts with, for many clients of one thread.

use std::sync::Mutex;
use std::sync::PoisonError;

/// The longest time that is told from a longer one: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;
/// How many digits count.
const DIGITS: u8 = 3;

/// Nanoseconds, counted. One thread counts, another looks in the end: the lock is never waited for.
pub(crate) struct Histogram(Mutex<hdrhistogram::Histogram<u64>>);

impl Default for Histogram {
    fn default() -> Self {
        let counts = hdrhistogram::Histogram::new_with_bounds(1, NANOS_MAX, DIGITS);
        Self(Mutex::new(counts.expect("the bounds are in order")))
    }
}

impl Histogram {
    /// Counts one time.
    pub(crate) fn record(&self, nanos: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanos);
    }

    /// The time in microseconds that so large a share of all did not exceed; `None` if nothing was recorded.
    pub(crate) fn micros_at(&self, share: f64) -> Option<f64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!counts.is_empty()).then(|| counts.value_at_quantile(share) as f64 / 1_000.0)
    }
}
