//! When each message is due, whatever became of those before: publishers take turns, evenly spread.
//!
//! With two publishers at 1,000 messages a second, publisher 0 has those due after 0, 2, 4 ... ms and publisher 1 those after
//! 1, 3, 5 ... ms.

use std::time::Duration;

use super::clock::nanos;

const NANOS: u128 = 1_000_000_000;

/// A rate, and who shares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: u64,
    publishers: u64,
}

impl Schedule {
    /// So many messages a second of so many publishers together; both at least 1.
    pub(super) fn new(rate: u64, publishers: usize) -> Self {
        let publishers = u64::try_from(publishers).unwrap_or(u64::MAX);
        Self { rate: rate.max(1), publishers: publishers.max(1) }
    }

    /// When a publisher's message is due, in nanoseconds since the beginning.
    pub(super) fn due(&self, publisher: usize, number: u64) -> u64 {
        let place = u128::from(number) * u128::from(self.publishers) + as_u128(publisher);
        self.moment(place)
    }

    /// How many of a publisher's messages are due within so many nanoseconds, the beginning and the end included.
    pub(super) fn due_count(&self, publisher: usize, elapsed: u64) -> u64 {
        let later = self.due_of_all(elapsed).saturating_sub(as_u128(publisher));
        as_u64(later.div_ceil(u128::from(self.publishers)))
    }

    /// The same for all publishers together.
    pub(super) fn due_count_of_all(&self, elapsed: u64) -> u64 {
        as_u64(self.due_of_all(elapsed))
    }

    /// When the message is due that is published after so many others, in nanoseconds since the beginning.
    pub(super) fn due_after(&self, others: u64) -> u64 {
        self.moment(u128::from(others))
    }

    /// How many messages are due before so much time has passed.
    pub(super) fn count_within(&self, time: Duration) -> u64 {
        let all = u128::from(nanos(time)) * u128::from(self.rate);
        as_u64(all.div_ceil(NANOS))
    }

    fn moment(&self, place: u128) -> u64 {
        as_u64(place.saturating_mul(NANOS) / u128::from(self.rate))
    }

    /// Of all messages those are due whose nanosecond, rounded down, has come.
    fn due_of_all(&self, elapsed: u64) -> u128 {
        ((u128::from(elapsed) + 1) * u128::from(self.rate)).div_ceil(NANOS)
    }
}

/// The part of `all` that falls to one of `publishers`, as evenly as can be.
pub(super) fn share(all: u64, publisher: usize, publishers: usize) -> u64 {
    let publishers = u64::try_from(publishers).unwrap_or(u64::MAX).max(1);
    let publisher = u64::try_from(publisher).unwrap_or(u64::MAX);
    all / publishers + u64::from(publisher < all % publishers)
}

fn as_u64(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn as_u128(number: usize) -> u128 {
    u128::try_from(number).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns() {
        let schedule = Schedule::new(1_000, 2);
        let due = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(who, number)| schedule.due(who, number));
        assert_eq!(due, [0, 1_000_000, 2_000_000, 3_000_000]);
    }

    #[test]
    fn a_message_is_due_at_its_moment_and_not_before() {
        for (rate, publishers) in [(1, 1), (3, 2), (1_000, 7), (999_999, 3), (3_000_000_000, 2)] {
            let schedule = Schedule::new(rate, publishers);
            for publisher in 0..publishers {
                for number in [0, 1, 2, 10, 1_000] {
                    let due = schedule.due(publisher, number);
                    assert!(schedule.due_count(publisher, due) > number, "{rate} {number}");
                    if due > 0 {
                        let before = schedule.due_count(publisher, due - 1);
                        assert!(before <= number, "{rate} {number}: {before}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_second_has_as_many_messages_as_the_rate_says() {
        for rate in [1, 7, 1_000, 123_457] {
            let schedule = Schedule::new(rate, 3);
            assert_eq!(schedule.count_within(Duration::from_secs(1)), rate);
            let last = 999_999_999;
            let shares = (0..3).map(|publisher| schedule.due_count(publisher, last)).sum::<u64>();
            assert_eq!(shares, rate);
        }
        let schedule = Schedule::new(100, 1);
        assert_eq!(schedule.count_within(Duration::from_millis(2_500)), 250);
        assert_eq!(schedule.due_after(3), 30_000_000);
        assert_eq!(schedule.due_count_of_all(30_000_000), 4);
    }

    #[test]
    fn shares_are_even_and_whole() {
        let shares: Vec<u64> = (0..4).map(|publisher| share(10, publisher, 4)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
        assert_eq!(share(0, 0, 4), 0);
    }

    #[test]
    fn no_number_is_too_large() {
        let schedule = Schedule::new(1, usize::MAX);
        assert_eq!(schedule.due(usize::MAX, u64::MAX), u64::MAX);
        assert_eq!(Schedule::new(u64::MAX, 1).due_count(0, u64::MAX), u64::MAX);
    }
}
