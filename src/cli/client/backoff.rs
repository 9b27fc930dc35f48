//! How long to wait before the next attempt to connect: longer each time, and never the same for two clients.

use std::time::Duration;

/// The first wait is between half of this and this.
const FIRST: Duration = Duration::from_millis(500);

/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the attempts that failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An attempt has failed: the wait before the next. `chance` is any random number.
    pub(super) fn failed(&mut self, chance: u32) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest / 2 + (longest / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// An attempt has succeeded.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.failed(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.failed(0).as_millis(), 15_000);
        backoff.succeeded();
        assert_eq!(backoff.failed(0).as_millis(), 250);
    }
}
