//! Times, counted by length: percentiles to three digits, in memory that does not grow.

use hdrhistogram::Histogram;
use serde_json::Value;
use serde_json::json;

/// The longest time that is told from a longer one: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// How many digits count.
const DIGITS: u8 = 3;

/// Nanoseconds.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

/// What there is to say about times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p99_9: f64,
    pub(super) max: f64,
}

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, NANOS_MAX, DIGITS).expect("the bounds are in order"))
    }
}

impl Times {
    /// Counts one.
    pub(super) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// What was counted; `None` if nothing was.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |share| micros(self.0.value_at_quantile(share));
        Some(Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(self.0.max()),
        })
    }
}

impl Percentiles {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({ "p50": self.p50, "p90": self.p90, "p99": self.p99, "p99_9": self.p99_9, "max": self.max })
    }

    /// In the order of the columns.
    pub(super) fn all(&self) -> [f64; 5] {
        [self.p50, self.p90, self.p99, self.p99_9, self.max]
    }
}

fn micros(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let mut times = Times::default();
        assert_eq!(times.percentiles(), None);
        for micros in 1..=1_000 {
            times.record(micros * 1_000);
        }
        let found = times.percentiles().unwrap();
        for (found, expected) in found.all().into_iter().zip([500.0, 900.0, 990.0, 999.0, 1_000.0])
        {
            assert!((found / expected - 1.0).abs() < 0.001, "{found} for {expected}");
        }
    }

    #[test]
    fn the_longest_time_is_counted_too() {
        let mut times = Times::default();
        times.record(0);
        times.record(u64::MAX);
        let found = times.percentiles().unwrap();
        assert!(found.p50 < 1.0 && found.max >= 3.6e9, "{found:?}");
    }
}
