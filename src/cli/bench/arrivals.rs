//! What came to one subscriber, or to all members of a group: each message by its content.

use std::collections::BTreeMap;

use super::stamp::Stamp;
use super::stamp::is_filler;
use super::tracker::Arrival;
use super::tracker::Tracker;
use crate::mqtt::QoS;

/// How many publishers of others are told apart.
const STRANGERS_MAX: usize = 10_000;

/// How what comes is checked.
#[derive(Debug)]
pub(super) enum Arrivals {
    /// Messages of this run.
    Own {
        /// The publisher of the first tracker; those of the others follow.
        first: usize,
        /// One for each publisher.
        trackers: Vec<Tracker>,
    },
    /// Messages of other runs, from where they were when we came.
    Others(BTreeMap<(u16, u32), (Tracker, QoS)>),
}

/// What a message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One that was published.
    Known {
        /// How it came.
        arrival: Arrival,
        /// Its publisher.
        publisher: usize,
        /// How many more of that publisher's messages are not waited for any more.
        passed: u64,
        /// When it was due.
        due: u64,
    },
    /// One that nobody here has published, or without a stamp.
    Unknown,
}

/// What is wrong with what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// At `QoS` 0.
    pub(super) unpromised: u64,
    /// At `QoS` 1 and 2.
    pub(super) promised: u64,
}

impl Arrivals {
    /// Of publishers of this run, from `first` on.
    pub(super) fn of(first: usize, publishers: usize) -> Self {
        let trackers = (0..publishers).map(|_| Tracker::default()).collect();
        Self::Own { first, trackers }
    }

    /// Judges a message. `published` gives how many messages a publisher has published, and `size` how long they are.
    pub(super) fn take(
        &mut self,
        payload: &[u8],
        qos: QoS,
        run: u16,
        size: usize,
        published: impl Fn(usize) -> u64,
    ) -> Verdict {
        let Some((stamp, filler)) = Stamp::split(payload) else { return Verdict::Unknown };
        match self {
            Self::Own { first, trackers } => {
                let who = usize::try_from(stamp.publisher).unwrap_or(usize::MAX);
                let tracker = who.checked_sub(*first).and_then(|at| trackers.get_mut(at));
                let whole = payload.len() == size && is_filler(filler);
                match tracker {
                    Some(tracker) if stamp.run == run && whole && stamp.number < published(who) => {
                        known(tracker, who, stamp)
                    }
                    Some(_) | None => Verdict::Unknown,
                }
            }
            Self::Others(trackers) => {
                let key = (stamp.run, stamp.publisher);
                if trackers.len() >= STRANGERS_MAX && !trackers.contains_key(&key) {
                    return Verdict::Unknown;
                }
                let (tracker, last) = trackers
                    .entry(key)
                    .or_insert_with(|| (Tracker::starting_at(stamp.number), qos));
                *last = qos;
                known(tracker, 0, stamp)
            }
        }
    }

    /// What has not come, of publishers who have published so much at this `QoS`.
    pub(super) fn missing(&self, qos: QoS, published: impl Fn(usize) -> u64) -> Missing {
        let mut missing = Missing::default();
        match self {
            Self::Own { first, trackers } => {
                for (place, tracker) in trackers.iter().enumerate() {
                    missing.add(qos, tracker.missing_of(published(first + place)));
                }
            }
            Self::Others(trackers) => {
                for (tracker, qos) in trackers.values() {
                    missing.add(*qos, tracker.missing());
                }
            }
        }
        missing
    }

    /// Waits no longer for anything that was published. Calls `pass` with each publisher and how many messages that were.
    pub(super) fn give_up(&mut self, published: impl Fn(usize) -> u64, pass: impl Fn(usize, u64)) {
        let Self::Own { first, trackers } = self else { return };
        for (place, tracker) in trackers.iter_mut().enumerate() {
            let who = *first + place;
            pass(who, tracker.skip_to(published(who)));
        }
    }
}

impl Missing {
    /// Adds messages at a `QoS`.
    pub(super) fn add(&mut self, qos: QoS, messages: u64) {
        match qos {
            QoS::AtMostOnce => self.unpromised = self.unpromised.saturating_add(messages),
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                self.promised = self.promised.saturating_add(messages);
            }
        }
    }

    /// All.
    pub(super) const fn total(self) -> u64 {
        self.unpromised.saturating_add(self.promised)
    }
}

fn known(tracker: &mut Tracker, publisher: usize, stamp: Stamp) -> Verdict {
    let (arrival, passed) = tracker.take(stamp.number);
    Verdict::Known { arrival, publisher, passed, due: stamp.due }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(run: u16, publisher: u32, number: u64) -> Vec<u8> {
        let mut payload = Stamp { run, publisher, number, due: 9 }.encode().to_vec();
        payload.extend_from_slice(b"....");
        payload
    }

    fn take(arrivals: &mut Arrivals, payload: &[u8]) -> Verdict {
        arrivals.take(payload, QoS::AtLeastOnce, 7, 28, |_| 100)
    }

    #[test]
    fn a_message_of_this_run_is_known() {
        let mut arrivals = Arrivals::of(3, 2);
        let verdict = take(&mut arrivals, &payload(7, 4, 2));
        let arrival = Arrival::InOrder;
        assert_eq!(verdict, Verdict::Known { arrival, publisher: 4, passed: 3, due: 9 });
        let missing = arrivals.missing(QoS::AtLeastOnce, |_| 5);
        assert_eq!(missing, Missing { unpromised: 0, promised: 5 + 4 });
        assert_eq!(arrivals.missing(QoS::AtMostOnce, |_| 5).unpromised, 9);
    }

    #[test]
    fn what_nobody_published_is_unknown() {
        let mut arrivals = Arrivals::of(3, 2);
        let mut damaged = payload(7, 4, 2);
        damaged[27] = b'x';
        let longer = [payload(7, 4, 2), b".".to_vec()].concat();
        for wrong in [
            payload(8, 4, 2),
            payload(7, 2, 2),
            payload(7, 5, 2),
            payload(7, 4, 100),
            damaged,
            longer,
            b"hello".to_vec(),
        ] {
            assert_eq!(take(&mut arrivals, &wrong), Verdict::Unknown);
        }
    }

    #[test]
    fn others_are_followed_from_where_they_are() {
        let mut arrivals = Arrivals::Others(BTreeMap::new());
        for number in [50, 51, 53] {
            take(&mut arrivals, &payload(1, 0, number));
            take(&mut arrivals, &payload(2, 0, number + 1_000));
        }
        assert_eq!(arrivals.missing(QoS::AtMostOnce, |_| 0).promised, 2);
        assert_eq!(take(&mut arrivals, b"hello"), Verdict::Unknown);
    }

    #[test]
    fn what_others_claim_is_no_fault_of_ours() {
        let mut arrivals = Arrivals::Others(BTreeMap::new());
        for publisher in 0..3 {
            take(&mut arrivals, &payload(1, publisher, 0));
            take(&mut arrivals, &payload(1, publisher, u64::MAX));
        }
        assert_eq!(arrivals.missing(QoS::AtMostOnce, |_| 0).total(), u64::MAX);
    }

    #[test]
    fn what_is_given_up_is_missing_and_passed() {
        let mut arrivals = Arrivals::of(0, 2);
        take(&mut arrivals, &payload(7, 0, 0));
        let passed = std::cell::RefCell::new(Vec::new());
        arrivals.give_up(|_| 10, |publisher, more| passed.borrow_mut().push((publisher, more)));
        assert_eq!(passed.into_inner(), [(0, 9), (1, 10)]);
        assert_eq!(arrivals.missing(QoS::AtMostOnce, |_| 10).total(), 19);
    }
}
