//! What has come of one publisher's messages: which are missing, which came twice, which out of order.
//!
//! ```text
//! numbers  0 1 2 3 4 5 6 7 8
//!          x x . . x x . x        next = 8, holes = [2..4, 6..7]
//! ```
//!
//! What comes in order costs a comparison and an addition. Memory is bounded: of more than [`HOLES_MAX`] holes the oldest are
//! lost for good.

use std::collections::VecDeque;
use std::ops::Range;

/// How many holes are kept: 64 KiB of them.
const HOLES_MAX: usize = 4095;

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// For the first time, behind those with smaller numbers.
    InOrder,
    /// For the first time, and a larger number was there before.
    Late,
    /// Again.
    Duplicate,
}

/// The numbers that have come.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// The first number.
    begin: u64,
    /// Everything from here on has not come.
    next: u64,
    /// The largest number that came, and one.
    end: u64,
    /// What has not come below `next`, in order.
    holes: VecDeque<Range<u64>>,
    /// What was lost with holes that were forgotten.
    forgotten: u64,
}

impl Tracker {
    /// Of somebody whose messages before this number don't count.
    pub(super) fn starting_at(number: u64) -> Self {
        Self { begin: number, next: number, end: number, ..Self::default() }
    }

    /// Notes that a message came. The second is by how much `next` went on.
    pub(super) fn take(&mut self, number: u64) -> (Arrival, u64) {
        if number < self.begin {
            return (Arrival::Duplicate, 0);
        }
        if number >= self.next {
            let passed = self.skip_to(number).saturating_add(1);
            self.next = number.saturating_add(1);
            self.end = self.next;
            return (Arrival::InOrder, passed);
        }
        if !self.fill(number) {
            return (Arrival::Duplicate, 0);
        }
        if number < self.end {
            return (Arrival::Late, 0);
        }
        self.end = number + 1;
        (Arrival::InOrder, 0)
    }

    /// Waits no longer for what is below `number`: it is missing until it comes. Returns by how much `next` went on.
    pub(super) fn skip_to(&mut self, number: u64) -> u64 {
        if number <= self.next {
            return 0;
        }
        let hole = self.next..number;
        let passed = number - self.next;
        self.next = number;
        match self.holes.back_mut() {
            Some(last) if last.end == hole.start => last.end = hole.end,
            Some(_) | None => self.holes.push_back(hole),
        }
        self.forget();
        passed
    }

    /// How many of the first `published` messages have not come.
    pub(super) fn missing_of(&self, published: u64) -> u64 {
        self.missing().saturating_add(published.saturating_sub(self.next))
    }

    /// How many messages have not come though later ones have.
    pub(super) fn missing(&self) -> u64 {
        self.forgotten + self.holes.iter().map(|hole| hole.end - hole.start).sum::<u64>()
    }

    /// Takes a number out of its hole. Returns whether it was in one.
    fn fill(&mut self, number: u64) -> bool {
        let place = self.holes.partition_point(|hole| hole.end <= number);
        let Some(hole) = self.holes.get_mut(place).filter(|hole| hole.start <= number) else {
            return false;
        };
        let rest = number + 1..hole.end;
        hole.end = number;
        match (hole.is_empty(), rest.is_empty()) {
            (true, true) => drop(self.holes.remove(place)),
            (true, false) => *hole = rest,
            (false, true) => {}
            (false, false) => {
                self.holes.insert(place + 1, rest);
                self.forget();
            }
        }
        true
    }

    fn forget(&mut self) {
        if self.holes.len() > HOLES_MAX
            && let Some(oldest) = self.holes.pop_front()
        {
            self.forgotten += oldest.end - oldest.start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::Duplicate;
    use Arrival::InOrder;
    use Arrival::Late;

    #[track_caller]
    fn check(numbers: &[u64], arrivals: &[Arrival], missing: u64) {
        let mut tracker = Tracker::default();
        let mut passed = 0;
        let mut found = Vec::new();
        for number in numbers {
            let (arrival, more) = tracker.take(*number);
            found.push(arrival);
            passed += more;
        }
        assert_eq!(found, arrivals);
        assert_eq!(passed, tracker.next, "what was passed is where it is");
        assert_eq!(tracker.missing(), missing);
    }

    #[test]
    fn in_order_nothing_is_missing() {
        check(&[0, 1, 2], &[InOrder, InOrder, InOrder], 0);
    }

    #[test]
    fn a_gap_is_missing_until_it_is_filled() {
        check(&[0, 3], &[InOrder, InOrder], 2);
        check(&[0, 3, 1], &[InOrder, InOrder, Late], 1);
        check(&[0, 3, 2, 1, 4], &[InOrder, InOrder, Late, Late, InOrder], 0);
        check(&[5, 2, 2, 0, 5], &[InOrder, Late, Duplicate, Late, Duplicate], 3);
    }

    #[test]
    fn what_comes_again_is_a_duplicate() {
        check(&[0, 0, 1, 0], &[InOrder, Duplicate, InOrder, Duplicate], 0);
    }

    #[test]
    fn the_end_counts_as_missing_too() {
        let mut tracker = Tracker::default();
        tracker.take(0);
        assert_eq!(tracker.missing_of(10), 9);
        tracker.take(4);
        assert_eq!(tracker.missing_of(10), 8);
    }

    #[test]
    fn what_was_given_up_may_still_come_in_order() {
        let mut tracker = Tracker::default();
        tracker.take(0);
        assert_eq!(tracker.skip_to(10), 9);
        assert_eq!(tracker.skip_to(10), 0);
        assert_eq!(tracker.take(5), (InOrder, 0));
        assert_eq!(tracker.take(3), (Late, 0));
        assert_eq!(tracker.missing_of(10), 7);
        assert_eq!(tracker.take(10), (InOrder, 1));
    }

    #[test]
    fn the_first_number_may_be_any() {
        let mut tracker = Tracker::starting_at(100);
        assert_eq!(tracker.take(99), (Duplicate, 0));
        assert_eq!(tracker.take(100), (InOrder, 1));
        assert_eq!(tracker.missing(), 0);
    }

    #[test]
    fn the_oldest_holes_are_forgotten_and_stay_lost() {
        let mut tracker = Tracker::default();
        let holes = u64::try_from(HOLES_MAX).unwrap() + 10;
        for number in 0..holes {
            tracker.take(2 * number + 1);
        }
        assert_eq!(tracker.holes.len(), HOLES_MAX);
        assert_eq!(tracker.missing(), holes);
        assert_eq!(tracker.take(0), (Duplicate, 0));
        assert_eq!(tracker.missing(), holes);
    }

    #[test]
    fn numbers_end_without_a_fault() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.take(u64::MAX - 1), (InOrder, u64::MAX));
        tracker.take(u64::MAX);
        tracker.take(u64::MAX);
        let mut other = Tracker::default();
        assert_eq!(other.take(u64::MAX), (InOrder, u64::MAX));
        assert_eq!(other.missing_of(u64::MAX), u64::MAX);
    }
}
