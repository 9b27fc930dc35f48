//! What everybody saw, in one order, with the checker that judges it.
//!
//! What a client sends is told before it is sent, and what it gets after it came: so a fact's place is a bound of the moment at
//! which it was true, on the side that is fair to the broker.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::checker::Checker;
use crate::checker::Fact;
use crate::checker::Slack;

/// A process on a busy machine: its timers are late, and so are the threads that read what it wrote.
const SLACK: Slack = Slack { timers: 10_000_000, arrival: 5_000_000, settling: 5_000_000 };

struct Told {
    checker: Checker,
    facts: Vec<(u64, Fact)>,
    problems: Vec<String>,
    acknowledged: u64,
    links: u64,
    numbers: u64,
    /// When something last came from the broker.
    news: Instant,
}

/// See the module's page.
pub(crate) struct History {
    begun: Instant,
    told: Mutex<Told>,
    changed: Condvar,
    may_fail: AtomicBool,
}

impl History {
    pub(crate) fn new() -> Self {
        let told = Told {
            checker: Checker::new(SLACK),
            facts: Vec::new(),
            problems: Vec::new(),
            acknowledged: 0,
            links: 0,
            numbers: 0,
            news: Instant::now(),
        };
        Self {
            begun: Instant::now(),
            told: Mutex::new(told),
            changed: Condvar::new(),
            may_fail: AtomicBool::new(false),
        }
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap()
    }

    pub(crate) fn tell(&self, fact: &Fact) {
        let mut told = self.told.lock().unwrap();
        let now = self.now();
        told.checker.observe(now, fact);
        if matches!(fact, Fact::Acknowledged { .. }) {
            told.acknowledged += 1;
            self.changed.notify_all();
        }
        if matches!(
            fact,
            Fact::Delivered(_)
                | Fact::Acknowledged { .. }
                | Fact::Connected { .. }
                | Fact::Released { .. }
        ) {
            told.news = Instant::now();
        }
        told.facts.push((now, fact.clone()));
    }

    /// The broker may end by itself, and close connections that it has not read.
    pub(crate) fn expect_failure(&self) {
        self.may_fail.store(true, Ordering::Relaxed);
    }

    /// Whether a connection that the broker closes is one that it has read to its end.
    pub(crate) fn trusts_closes(&self) -> bool {
        !self.may_fail.load(Ordering::Relaxed)
    }

    /// Something is wrong that the checker can't see.
    pub(crate) fn blame(&self, problem: String) {
        self.told.lock().unwrap().problems.push(problem);
        self.changed.notify_all();
    }

    pub(crate) fn next_link(&self) -> u64 {
        let mut told = self.told.lock().unwrap();
        told.links += 1;
        told.links
    }

    pub(crate) fn next_number(&self) -> u64 {
        let mut told = self.told.lock().unwrap();
        told.numbers += 1;
        told.numbers
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.told.lock().unwrap().acknowledged
    }

    /// Waits until so many messages more are acknowledged; `false` if that does not come about in time.
    pub(crate) fn await_acknowledged(&self, more: u64, at_most: Duration) -> bool {
        let told = self.told.lock().unwrap();
        let target = told.acknowledged + more;
        let (told, _) = self
            .changed
            .wait_timeout_while(told, at_most, |told| told.acknowledged < target)
            .unwrap();
        told.acknowledged >= target
    }

    pub(crate) fn quiet_for(&self) -> Duration {
        self.told.lock().unwrap().news.elapsed()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        told.checker.violations().iter().chain(&told.problems).cloned().collect()
    }

    /// Whether nothing is missing, also of what may be late.
    pub(crate) fn is_complete(&self) -> bool {
        let mut told = self.told.lock().unwrap();
        let late = self.now() + 2 * SLACK.timers;
        told.checker.pass_time(late);
        told.checker.unfinished().is_empty()
    }

    /// The verdict. The whole history goes to a file if something is wrong.
    pub(crate) fn finish(&self) -> Vec<String> {
        {
            let mut told = self.told.lock().unwrap();
            let late = self.now() + 2 * SLACK.timers;
            told.checker.pass_time(late);
            told.checker.finish();
        }
        let violations = self.violations();
        if !violations.is_empty() {
            self.write_down();
        }
        violations
    }

    /// Puts the whole history into a file.
    pub(crate) fn write_down(&self) {
        let told = self.told.lock().unwrap();
        let mut text = String::new();
        for (at, fact) in &told.facts {
            writeln!(text, "{:>9}.{:03} {fact:?}", at / 1_000, at % 1_000).unwrap();
        }
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "history-{}-{:p}.txt",
            std::process::id(),
            self
        ));
        std::fs::write(&path, text).unwrap();
        println!("the history is in {}", path.display());
    }
}
