//! What publishers and subscribers of one run share: how many messages are under way, what came, how long it took.
//!
//! Nobody publishes more than a ceiling ahead of the subscribers, so that a broker is asked for what it can carry and not for
//! how much it can hold. Each message is numbered by its publisher; each subscriber checks the numbers.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use futures_util::task::AtomicWaker;

use crate::histogram::Histogram;

/// Messages that may be under way from each publisher to each subscriber, however many subscribers get them.
const UNDER_WAY_EACH: u64 = 64;

/// One run.
pub(crate) struct Flow {
    started: Instant,
    /// One for each publisher.
    gates: Vec<Gate>,
    /// How many subscribers get each message.
    fan: u64,
    /// Deliveries of each publisher's messages that may be under way.
    ceiling: u64,
    /// Whether times are recorded now.
    recording: AtomicBool,
    stopping: AtomicBool,
    /// Publishers that have stopped, with everything acknowledged.
    pub(crate) finished: AtomicUsize,
    pub(crate) acknowledged: AtomicU64,
    /// Messages that came again, or too late.
    pub(crate) repeated: AtomicU64,
    /// From when a message was to be sent until it came.
    pub(crate) deliveries: Histogram,
    /// From PUBLISH to PUBACK or PUBCOMP.
    pub(crate) acknowledgements: Histogram,
    /// What each publisher's messages were seen, one bit each: for groups, where each member gets some.
    seen: Mutex<Vec<Vec<u64>>>,
}

#[derive(Default)]
struct Gate {
    published: AtomicU64,
    delivered: AtomicU64,
    waker: AtomicWaker,
}

impl Flow {
    /// A run with so many publishers, each of whose messages gets to `fan` subscribers, and of each of whom `ahead` deliveries
    /// may be under way.
    pub(crate) fn new(publishers: usize, fan: usize, ahead: u64) -> Self {
        Self {
            ceiling: ahead.max(UNDER_WAY_EACH * fan as u64),
            started: Instant::now(),
            gates: (0..publishers).map(|_| Gate::default()).collect(),
            fan: fan as u64,
            recording: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            finished: AtomicUsize::new(0),
            acknowledged: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            deliveries: Histogram::default(),
            acknowledgements: Histogram::default(),
            seen: Mutex::new(vec![Vec::new(); publishers]),
        }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// How many more messages the publisher may publish now. If none, it is woken when it may again.
    pub(crate) fn allowance(&self, publisher: usize, cx: &mut Context<'_>) -> u64 {
        if self.fan == 0 {
            return u64::MAX;
        }
        let gate = &self.gates[publisher];
        let free = self.free(gate);
        if free > 0 {
            return free;
        }
        gate.waker.register(cx.waker());
        self.free(gate)
    }

    fn free(&self, gate: &Gate) -> u64 {
        let under_way = (gate.published.load(Ordering::Relaxed) * self.fan)
            .saturating_sub(gate.delivered.load(Ordering::Acquire));
        self.ceiling.saturating_sub(under_way) / self.fan
    }

    /// Says that a publisher has published more.
    pub(crate) fn publish(&self, publisher: usize, messages: u64) {
        self.gates[publisher].published.fetch_add(messages, Ordering::Relaxed);
    }

    /// Says that messages of a publisher were delivered. It is woken when half of what may be under way is.
    pub(crate) fn deliver(&self, publisher: usize, messages: u64) {
        let gate = &self.gates[publisher];
        gate.delivered.fetch_add(messages, Ordering::Release);
        if self.free(gate) * self.fan >= self.ceiling / 2 {
            gate.waker.wake();
        }
    }

    /// Notes a message that one member of a group got.
    pub(crate) fn see(&self, messages: &[(usize, u64)]) {
        let mut seen = self.seen.lock().unwrap();
        for (publisher, number) in messages {
            let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
            let words = &mut seen[*publisher];
            words.resize(words.len().max(word + 1), 0);
            if words[word] & bit != 0 {
                self.repeated.fetch_add(1, Ordering::Relaxed);
            }
            words[word] |= bit;
        }
    }

    /// Messages published so far.
    pub(crate) fn published(&self) -> u64 {
        self.gates.iter().map(|gate| gate.published.load(Ordering::Relaxed)).sum()
    }

    /// Messages delivered so far, repetitions included.
    pub(crate) fn delivered(&self) -> u64 {
        self.gates.iter().map(|gate| gate.delivered.load(Ordering::Relaxed)).sum()
    }

    /// Messages that have not come.
    pub(crate) fn missing(&self) -> u64 {
        let came = self.delivered() - self.repeated.load(Ordering::Relaxed);
        (self.published() * self.fan).saturating_sub(came)
    }

    /// Begins or ends recording times.
    pub(crate) fn record(&self, recording: bool) {
        self.recording.store(recording, Ordering::Relaxed);
    }

    /// Whether times are recorded now.
    pub(crate) fn is_recording(&self) -> bool {
        self.recording.load(Ordering::Relaxed)
    }

    /// Has the publishers stop.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for gate in &self.gates {
            gate.waker.wake();
        }
    }

    /// Whether the publishers are to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
