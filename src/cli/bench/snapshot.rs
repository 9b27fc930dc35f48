//! What was counted up to a moment, and what it cost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::process;

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    /// Processor time of this process.
    own: Option<Duration>,
    /// Processor time of the broker's.
    broker: Option<Duration>,
}

/// What lies between two moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) time: Duration,
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) own: Option<Duration>,
    pub(super) broker: Option<Duration>,
}

impl Snapshot {
    /// Counts.
    pub(super) fn take(flow: &Flow, broker: Option<u32>) -> Self {
        Self {
            at: Instant::now(),
            published: flow.published(),
            acknowledged: flow.counts.acknowledged.load(Ordering::Relaxed),
            delivered: flow.counts.delivered.load(Ordering::Relaxed),
            own: process::processor_time(std::process::id()),
            broker: broker.and_then(process::processor_time),
        }
    }

    /// What has happened since then.
    pub(super) fn since(&self, before: &Self) -> Span {
        let between = |later: Option<Duration>, earlier: Option<Duration>| {
            Some(later?.saturating_sub(earlier?))
        };
        Span {
            time: self.at.saturating_duration_since(before.at),
            published: self.published.saturating_sub(before.published),
            acknowledged: self.acknowledged.saturating_sub(before.acknowledged),
            delivered: self.delivered.saturating_sub(before.delivered),
            own: between(self.own, before.own),
            broker: between(self.broker, before.broker),
        }
    }
}

impl Span {
    /// Messages that the broker took and gave.
    pub(super) const fn messages(&self) -> u64 {
        self.published.saturating_add(self.delivered)
    }
}

/// So many in so long, a second; 0 if it took no time.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { approximately(count) / time.as_secs_f64() }
}

/// Microseconds of each of so many; `None` of none.
pub(super) fn micros_each(time: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| time.as_secs_f64() * 1e6 / approximately(count))
}

/// For people and plots.
#[expect(clippy::cast_precision_loss, reason = "nobody looks at the sixteenth digit of a rate")]
pub(super) const fn approximately(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert!(per_second(10, Duration::ZERO).abs() < f64::EPSILON);
        assert!((per_second(10, Duration::from_millis(500)) - 20.0).abs() < 1e-9);
        assert_eq!(micros_each(Duration::from_secs(1), 0), None);
        assert_eq!(micros_each(Duration::from_secs(1), 1_000), Some(1_000.0));
    }
}
