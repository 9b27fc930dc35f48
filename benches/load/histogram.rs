//! A histogram of times that costs one addition to record into and is off by at most 3 %.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Each power of two is cut into so many buckets.
const STEPS: u64 = 32;
/// How many bits a step takes.
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// One bucket for each step of each power of two of a `u64`.
const BUCKETS: usize = 64 * 32;

/// Nanoseconds, counted.
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one time.
    pub(crate) fn record(&self, nanos: u64) {
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// The time in microseconds that so large a share of all did not exceed; `None` if nothing was recorded.
    pub(crate) fn micros_at(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> =
            self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let wanted = share * all as f64;
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Some(highest(bucket) as f64 / 1_000.0);
            }
        }
        None
    }
}

/// Where a value is counted: as itself below 32, else by its five highest bits after the first.
fn bucket(nanos: u64) -> usize {
    let magnitude = nanos.max(1).ilog2();
    if magnitude < STEP_BITS {
        return nanos as usize;
    }
    let shift = magnitude - STEP_BITS;
    let step = (nanos >> shift) - STEPS;
    (u64::from(shift + 1) * STEPS + step) as usize
}

/// The largest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << shift) - 1
}
