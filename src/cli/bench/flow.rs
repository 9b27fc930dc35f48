//! What publishers, subscribers and the one who watches them share: what was published, what came, how long it took.
//!
//! Without a rate nobody publishes more than a window ahead of the subscribers, so that a broker is asked for what it carries
//! and not for how much it can hold. With one, messages are sent when they are due.
//!
//! Locks are taken once for what a read brings, by one thread of the load, and by the watcher now and then.

#![expect(clippy::disallowed_types, reason = "the two threads of the load share what they count")]

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::arrivals::Arrivals;
use super::arrivals::Missing;
use super::clock::Clock;
use super::error::LoadError;
use super::schedule::Schedule;
use super::times::Times;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;

/// When messages are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// When they are due.
    Open(Schedule),
    /// As soon as no more than so many of the publisher's are on their way to subscribers.
    Ahead(u64),
    /// As soon as the broker takes them.
    Free,
}

/// What one run is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Its number, which tells its messages from others.
    pub(super) run: u16,
    pub(super) qos: QoS,
    /// Bytes of a payload.
    pub(super) size: usize,
    pub(super) publishers: usize,
    /// How many subscribers get each message; all members of a group are one.
    pub(super) fan: u64,
    pub(super) pace: Pace,
}

/// One run.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) shape: Shape,
    pub(super) clock: Clock,
    /// When the first message was due, in nanoseconds; 0 before.
    begun: AtomicU64,
    recording: AtomicBool,
    stopping: AtomicBool,
    /// One for each publisher.
    gates: Vec<Gate>,
    /// One for each subscriber, or one for a group.
    arrivals: Vec<Mutex<Arrivals>>,
    pub(super) counts: Counts,
    pub(super) times: Recorded,
    failure: Mutex<Option<LoadError>>,
    refusal: Mutex<Option<ReasonCode>>,
}

#[derive(Debug, Default)]
struct Gate {
    published: AtomicU64,
    /// What subscribers have or will not wait for any more.
    passed: AtomicU64,
    waker: AtomicWaker,
}

/// How often what happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Publishers that have nothing left to do.
    pub(super) finished: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    /// Acknowledged with a reason code that says no.
    pub(super) refused: AtomicU64,
    /// Messages that came, duplicates included.
    pub(super) delivered: AtomicU64,
    pub(super) duplicates: AtomicU64,
    /// Duplicates of those at `QoS` 2.
    pub(super) duplicates_exactly_once: AtomicU64,
    pub(super) out_of_order: AtomicU64,
    /// Messages that nobody here has published.
    pub(super) unknown: AtomicU64,
}

/// How long things took, while that was recorded.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// From when a message was due until its PUBACK or PUBCOMP.
    pub(super) acknowledgements: Mutex<Times>,
    /// From when a message was due until it came.
    pub(super) deliveries: Mutex<Times>,
    /// From when a message was due until we sent it.
    pub(super) lateness: Mutex<Times>,
}

impl Flow {
    /// A run in which nothing has happened.
    pub(super) fn new(shape: Shape, arrivals: Vec<Arrivals>) -> Self {
        Self {
            shape,
            clock: Clock::start(),
            begun: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            gates: (0..shape.publishers).map(|_| Gate::default()).collect(),
            arrivals: arrivals.into_iter().map(Mutex::new).collect(),
            counts: Counts::default(),
            times: Recorded::default(),
            failure: Mutex::new(None),
            refusal: Mutex::new(None),
        }
    }

    /// Lets the publishers begin.
    pub(super) fn begin(&self) {
        self.begun.store(self.clock.now(), Ordering::Release);
        self.wake_all();
    }

    /// Has the publishers stop.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether the publishers are to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Begins or ends recording times.
    pub(super) fn record(&self, recording: bool) {
        self.recording.store(recording, Ordering::Relaxed);
    }

    /// Whether times are recorded now.
    pub(super) fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    /// How long the run has lasted, in nanoseconds; `None` before it begins.
    pub(super) fn elapsed(&self) -> Option<u64> {
        let begun = self.begun.load(Ordering::Acquire);
        (begun > 0).then(|| self.clock.now().saturating_sub(begun))
    }

    /// How many more messages a publisher may send now. It is woken when that may have changed.
    pub(super) fn allowance(&self, publisher: usize, waker: &Waker) -> u64 {
        let Some(gate) = self.gates.get(publisher) else { return 0 };
        gate.waker.register(waker);
        let Some(elapsed) = self.elapsed() else { return 0 };
        if self.is_stopping() {
            return 0;
        }
        match self.shape.pace {
            Pace::Free => u64::MAX,
            Pace::Ahead(ahead) => self.free(gate, ahead),
            Pace::Open(schedule) => {
                let sent = gate.published.load(Ordering::Relaxed);
                schedule.due_count(publisher, elapsed).saturating_sub(sent)
            }
        }
    }

    /// When a publisher's message is due; `now`, without a rate.
    pub(super) fn due(&self, publisher: usize, number: u64, now: u64) -> u64 {
        match self.shape.pace {
            Pace::Open(schedule) => {
                self.begun.load(Ordering::Relaxed).saturating_add(schedule.due(publisher, number))
            }
            Pace::Ahead(_) | Pace::Free => now,
        }
    }

    fn free(&self, gate: &Gate, ahead: u64) -> u64 {
        let published = gate.published.load(Ordering::Relaxed);
        let passed = gate.passed.load(Ordering::Acquire) / self.shape.fan.max(1);
        ahead.saturating_sub(published.saturating_sub(passed))
    }

    /// Says that a publisher is about to send more.
    pub(super) fn publish(&self, publisher: usize, messages: u64) {
        if let Some(gate) = self.gates.get(publisher) {
            gate.published.fetch_add(messages, Ordering::Release);
        }
    }

    /// Says that a subscriber has, or waits no longer for, so many more of a publisher's messages. The publisher is woken
    /// when half of what may be under way is.
    pub(super) fn pass(&self, publisher: usize, messages: u64) {
        let Some(gate) = self.gates.get(publisher).filter(|_| messages > 0) else { return };
        gate.passed.fetch_add(messages, Ordering::Release);
        if let Pace::Ahead(ahead) = self.shape.pace
            && self.free(gate, ahead).saturating_mul(2) >= ahead
        {
            gate.waker.wake();
        }
    }

    /// Wakes a publisher.
    pub(super) fn wake(&self, publisher: usize) {
        if let Some(gate) = self.gates.get(publisher) {
            gate.waker.wake();
        }
    }

    fn wake_all(&self) {
        for gate in &self.gates {
            gate.waker.wake();
        }
    }

    /// Messages that a publisher has published.
    pub(super) fn published_by(&self, publisher: usize) -> u64 {
        self.gates.get(publisher).map_or(0, |gate| gate.published.load(Ordering::Acquire))
    }

    /// Messages that all have published.
    pub(super) fn published(&self) -> u64 {
        (0..self.gates.len()).map(|publisher| self.published_by(publisher)).sum()
    }

    /// How often subscribers have, or wait no longer for, a message.
    pub(super) fn passed(&self) -> u64 {
        self.gates.iter().map(|gate| gate.passed.load(Ordering::Acquire)).sum()
    }

    /// Whether all publishers have nothing left to do.
    pub(super) fn is_finished(&self) -> bool {
        let finished = self.counts.finished.load(Ordering::Acquire);
        usize::try_from(finished).is_ok_and(|finished| finished >= self.gates.len())
    }

    /// The arrivals of a subscriber; all members of a group share one.
    pub(super) fn arrivals(&self, subscriber: usize) -> Option<MutexGuard<'_, Arrivals>> {
        self.arrivals.get(subscriber).map(lock)
    }

    /// What was published and has not come; what the broker refused was not promised to anybody.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing::default();
        for arrivals in &self.arrivals {
            let of_one = lock(arrivals).missing(self.shape.qos, |who| self.published_by(who));
            missing.add(QoS::AtMostOnce, of_one.unpromised);
            missing.add(QoS::AtLeastOnce, of_one.promised);
        }
        let refused = self.counts.refused.load(Ordering::Relaxed).saturating_mul(self.shape.fan);
        missing.promised = missing.promised.saturating_sub(refused);
        missing
    }

    /// Waits no longer for what was published and has not come.
    pub(super) fn give_up(&self) {
        for arrivals in &self.arrivals {
            let mut arrivals = lock(arrivals);
            arrivals.give_up(|who| self.published_by(who), |who, more| self.pass(who, more));
        }
    }

    /// Notes why the run has to end; the first reason counts.
    pub(super) fn fail(&self, error: LoadError) {
        lock(&self.failure).get_or_insert(error);
    }

    /// Whether the run has to end.
    pub(super) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Why the run had to end.
    pub(super) fn take_failure(&self) -> Option<LoadError> {
        lock(&self.failure).take()
    }

    /// Notes that a message was refused.
    pub(super) fn refuse(&self, code: ReasonCode) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        lock(&self.refusal).get_or_insert(code);
    }

    /// Why the first of the refused messages was.
    pub(super) fn refusal(&self) -> Option<ReasonCode> {
        *lock(&self.refusal)
    }
}

/// Counts in these are right whatever became of who held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(fan: u64, pace: Pace) -> Flow {
        let shape = Shape { run: 1, qos: QoS::AtLeastOnce, size: 24, publishers: 2, fan, pace };
        Flow::new(shape, vec![Arrivals::of(0, 2)])
    }

    #[test]
    fn nobody_publishes_before_the_beginning_or_after_the_end() {
        let flow = flow(1, Pace::Free);
        assert_eq!(flow.allowance(0, Waker::noop()), 0);
        flow.begin();
        assert_eq!(flow.allowance(0, Waker::noop()), u64::MAX);
        assert_eq!(flow.allowance(2, Waker::noop()), 0);
        flow.stop();
        assert_eq!(flow.allowance(0, Waker::noop()), 0);
    }

    #[test]
    fn a_publisher_gets_so_far_ahead_of_its_subscribers_and_no_further() {
        let flow = flow(3, Pace::Ahead(10));
        flow.begin();
        flow.publish(0, 8);
        assert_eq!(flow.allowance(0, Waker::noop()), 2);
        flow.pass(0, 12);
        assert_eq!(flow.allowance(0, Waker::noop()), 6);
        assert_eq!(flow.allowance(1, Waker::noop()), 10);
    }

    #[test]
    fn what_is_given_up_does_not_hold_up_a_publisher_and_is_missing() {
        let flow = flow(1, Pace::Ahead(10));
        flow.begin();
        flow.publish(0, 10);
        assert_eq!(flow.allowance(0, Waker::noop()), 0);
        flow.give_up();
        assert_eq!(flow.allowance(0, Waker::noop()), 10);
        assert_eq!(flow.missing().promised, 10);
        flow.refuse(ReasonCode::NotAuthorized);
        assert_eq!(flow.missing().promised, 9);
        assert_eq!(flow.refusal(), Some(ReasonCode::NotAuthorized));
    }

    #[test]
    fn with_a_rate_messages_are_sent_when_they_are_due() {
        let flow = flow(1, Pace::Open(Schedule::new(1, 2)));
        flow.begin();
        assert_eq!(flow.allowance(0, Waker::noop()), 1);
        assert_eq!(flow.allowance(1, Waker::noop()), 0);
        let begun = flow.due(0, 0, 77);
        assert_eq!(flow.due(1, 0, 77) - begun, 1_000_000_000);
    }

    #[test]
    fn the_first_failure_counts() {
        let flow = flow(1, Pace::Free);
        flow.fail(LoadError::NotInFlight(7));
        flow.fail(LoadError::ThreadEnded);
        assert!(flow.has_failed());
        assert!(matches!(flow.take_failure(), Some(LoadError::NotInFlight(7))));
    }
}
