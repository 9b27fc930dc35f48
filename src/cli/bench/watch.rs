//! Whoever waits for a run: looks at its counts now and then, says once a second how it goes, and notices when nothing moves.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::flow::Flow;
use super::flow::Pace;
use super::flow::lock;
use super::report::grouped;
use super::snapshot::per_second;
use crate::cli::signals::Signals;
use crate::cli::terminal;
use crate::mqtt::QoS;

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(10);

/// From one live line to the next.
const LINE: Duration = Duration::from_secs(1);

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It goes on.
    Going,
    /// The user wants it to end.
    Interrupted,
    /// It has failed.
    Failed,
}

/// The one who waits.
pub(super) struct Watch<'a> {
    flow: &'a Flow,
    signals: &'a mut Signals,
    begun: Instant,
    counts: [u64; 4],
    /// When the counts last changed.
    moved: Instant,
    /// Since when something should happen, and nothing does.
    waiting: Instant,
    line: Option<Line>,
}

/// What the last live line has said.
struct Line {
    at: Instant,
    counts: [u64; 4],
}

impl<'a> Watch<'a> {
    /// Of this run; with a line each second, if somebody sees it.
    pub(super) fn new(flow: &'a Flow, signals: &'a mut Signals) -> Self {
        let now = Instant::now();
        let counts = counts(flow);
        let line = std::io::stderr().is_terminal().then_some(Line { at: now, counts });
        Self { flow, signals, begun: now, counts, moved: now, waiting: now, line }
    }

    /// Waits a little, and looks.
    pub(super) async fn look(&mut self) -> Seen {
        tokio::select! {
            biased;
            () = self.signals.next() => return Seen::Interrupted,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = Instant::now();
        let counts = counts(self.flow);
        if counts != self.counts {
            self.counts = counts;
            self.moved = now;
            self.waiting = now;
        }
        if !self.is_owed() {
            self.waiting = now;
        }
        self.say(now);
        if self.flow.has_failed() { Seen::Failed } else { Seen::Going }
    }

    /// When something last happened.
    pub(super) const fn moved(&self) -> Instant {
        self.moved
    }

    /// For how long nothing has happened.
    pub(super) fn silence(&self) -> Duration {
        self.moved.elapsed()
    }

    /// For how long something should have happened, and nothing has.
    pub(super) fn waiting(&self) -> Duration {
        self.waiting.elapsed()
    }

    /// Begins to count the silence anew.
    pub(super) fn forgive(&mut self) {
        self.moved = Instant::now();
    }

    /// Whether something should happen, because there is something to be sent or answered.
    fn is_owed(&self) -> bool {
        let flow = self.flow;
        if flow.is_finished() {
            return false;
        }
        let Pace::Open(schedule) = flow.shape.pace else { return true };
        let published = flow.published();
        let answered = flow.counts.acknowledged.load(Ordering::Relaxed);
        let unanswered = flow.shape.qos != QoS::AtMostOnce && answered < published;
        unanswered || schedule.due_count_of_all(flow.elapsed().unwrap_or(0)) > published
    }

    fn say(&mut self, now: Instant) {
        let Some(line) = self.line.as_mut().filter(|line| now >= line.at + LINE) else { return };
        let time = now - line.at;
        let rate = |place: usize| {
            let count = |counts: &[u64; 4]| counts.get(place).copied().unwrap_or(0);
            let rate = per_second(count(&self.counts).saturating_sub(count(&line.counts)), time);
            grouped(&format!("{rate:.0}"))
        };
        let [published, acknowledged, delivered] = [0, 1, 2].map(rate);
        let seconds = (now - self.begun).as_secs();
        let slow = lock(&self.flow.times.deliveries)
            .percentiles()
            .or_else(|| lock(&self.flow.times.acknowledgements).percentiles())
            .map(|times| format!(", p99 {:.0} us", times.p99))
            .unwrap_or_default();
        terminal::debug(&format!(
            "{seconds:>4} s  a second: published {published}, acknowledged {acknowledged}, delivered {delivered}{slow}"
        ));
        *line = Line { at: now, counts: self.counts };
    }
}

/// What comes of this; `None` if the user wants it to end before.
pub(super) async fn unless_interrupted<T>(
    signals: &mut Signals,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = signals.next() => None,
        done = work => Some(done),
    }
}

fn counts(flow: &Flow) -> [u64; 4] {
    [
        flow.published(),
        flow.counts.acknowledged.load(Ordering::Relaxed),
        flow.counts.delivered.load(Ordering::Relaxed),
        flow.counts.finished.load(Ordering::Relaxed),
    ]
}
