//! Cleaning: which records of the log nothing follows from any more, and when they are taken out.
//!
//! ```text
//! begin_cleaning ──► (durable) ──► survey of each segment ──► each segment again: rewritten, or kept
//!      │                              Names: first and last record of every name
//!      └─ a new record of each group; where everybody stands
//! ```
//!
//! The state is not asked: what is dead follows from the log, and what is made of the log afterwards is the same as before.
//! `docs/decisions/0004-cleaner.md` says why.

mod names;

use crate::commitlog;
use crate::commitlog::CleanOutcome;
use crate::commitlog::Cleanable;
use crate::commitlog::Offset;
use crate::commitlog::Pace;
use crate::commitlog::Rewritten;
use crate::commitlog::StorageError;
use crate::store::Durability;
use crate::store::Store;
use crate::store::clean::names::Names;
use crate::time::Timestamp;

/// What is known when a round begins.
#[derive(Debug)]
struct Horizon {
    now: Timestamp,
    /// How many names of rows and clients the survey may remember.
    names_max: usize,
    /// Where everybody stands; `None` if no content may be dropped.
    floor: Option<Floor>,
}

/// Where everybody stands.
#[derive(Debug)]
struct Floor {
    /// Every session and group has passed what is below.
    position: Offset,
    /// What some row still refers to all the same, ascending.
    referred: Vec<Offset>,
}

/// Work for a [`Cleaner`]: one segment.
#[derive(Debug)]
pub struct Clean {
    segment: Offset,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Read it; the first of a round says what is known.
    Survey(Option<Horizon>),
    /// Look at it again, and rewrite it. The last of a round forgets the names.
    Rewrite { cleaned_to: Offset, dead_percent: u8, last: bool },
}

/// What came of a [`Clean`]; goes back to [`Store::cleaned`].
#[derive(Debug)]
pub struct CleanDone {
    outcome: CleanOutcome,
}

impl CleanDone {
    /// The segment that was replaced by a smaller one, if that was done.
    pub fn rewritten(&self) -> Option<&Rewritten> {
        if let CleanOutcome::Rewritten(rewritten) = &self.outcome { Some(rewritten) } else { None }
    }

    /// What was found broken.
    pub fn damage(&self) -> &[commitlog::Damage] {
        if let CleanOutcome::Damaged(damage) = &self.outcome { damage } else { &[] }
    }
}

/// Cleans segments. Lives in a thread of its own, or inline.
pub struct Cleaner {
    log: commitlog::Cleaner,
    names: Option<Names>,
}

impl Cleaner {
    /// A cleaner that rewrites segments with `log`.
    pub fn new(log: commitlog::Cleaner) -> Self {
        Self { log, names: None }
    }

    /// Does one piece of work at this pace.
    ///
    /// # Errors
    /// [`StorageError`]: the old segment or the new one is there.
    pub fn run(&mut self, clean: Clean, pace: &mut Pace<'_>) -> Result<CleanDone, StorageError> {
        let (outcome, last) = match clean.step {
            Step::Survey(horizon) => (self.survey(clean.segment, horizon, pace), false),
            Step::Rewrite { cleaned_to, dead_percent, last } => {
                (self.rewrite((clean.segment, cleaned_to), dead_percent, pace), last)
            }
        };
        if last || outcome.is_err() {
            self.names = None;
        }
        Ok(CleanDone { outcome: outcome? })
    }

    fn survey(
        &mut self,
        segment: Offset,
        horizon: Option<Horizon>,
        pace: &mut Pace<'_>,
    ) -> Result<CleanOutcome, StorageError> {
        if let Some(horizon) = horizon {
            self.names = Some(Names::new(horizon));
        }
        let Some(names) = &mut self.names else { return Ok(CleanOutcome::Unfit) };
        let outcome = self.log.survey(segment, &mut |record| names.note(record), pace)?;
        match outcome {
            CleanOutcome::Kept | CleanOutcome::Rewritten(_) => names.settle(),
            CleanOutcome::Damaged(_) => names.begin_again(),
            CleanOutcome::Unfit | CleanOutcome::Interrupted => names.close(segment),
        }
        Ok(outcome)
    }

    fn rewrite(
        &mut self,
        work: (Offset, Offset),
        dead_percent: u8,
        pace: &mut Pace<'_>,
    ) -> Result<CleanOutcome, StorageError> {
        let Some(names) = &self.names else { return Ok(CleanOutcome::Unfit) };
        self.log.clean(work, dead_percent, &mut |record| !names.is_dead(record), pace)
    }
}

/// How far cleaning has come.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    phase: Phase,
    /// A piece of work is under way.
    running: bool,
    /// Something failed: no more until the log is opened again.
    ended: bool,
    /// A round has looked at every segment below.
    seen_to: Offset,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// Until what is known is durable.
    Waiting {
        durable: Offset,
        end: Offset,
        horizon: Horizon,
    },
    Surveying {
        next: Offset,
        end: Offset,
        horizon: Option<Horizon>,
    },
    Rewriting {
        next: Offset,
        end: Offset,
    },
}

impl Store {
    /// The end of the part of the log that a new round would look at; `None` if none is due.
    pub fn cleaning_due(&self) -> Option<Offset> {
        let Cleaning { phase, ended, .. } = &self.cleaning;
        if *ended || !matches!(phase, Phase::Idle) {
            return None;
        }
        let (mut seen, mut unseen, mut end) = (0_u64, 0_u64, None);
        for segment in self.cleanable() {
            if segment.cleaned || segment.next_offset <= self.cleaning.seen_to {
                seen += std::mem::take(&mut unseen) + segment.bytes;
            } else {
                unseen += segment.bytes;
            }
            end = Some(segment.next_offset);
        }
        let growth = seen.saturating_mul(self.options.clean_growth_percent.into());
        end.filter(|_| unseen > 0 && unseen.saturating_mul(100) >= growth)
    }

    /// Begins a round, if one is due: appends a record of every group, and notes where everybody stands.
    pub fn begin_cleaning(&mut self, now: Timestamp) {
        let Some(end) = self.cleaning_due() else { return };
        self.carry_groups(now);
        let messages = self.options.durability == Durability::Fsync;
        let horizon = Horizon {
            // As early as any jump of the clock makes it for what is in the log.
            now: self.state.clock().present_for(Timestamp::EPOCH, now),
            names_max: self.options.clean_names_max,
            floor: messages.then(|| self.floor()),
        };
        self.cleaning.phase = Phase::Waiting { durable: self.log.next_offset(), end, horizon };
    }

    /// The next piece of the round; `None` if there is none, one is under way, or what is known is not durable yet: ask again
    /// after the next commit.
    pub fn take_clean(&mut self) -> Option<Clean> {
        if self.cleaning.running || self.cleaning.ended {
            return None;
        }
        if let Phase::Waiting { durable, .. } = &self.cleaning.phase
            && *durable > self.log.durable_offset()
        {
            return None;
        }
        let phase = std::mem::take(&mut self.cleaning.phase);
        let (phase, clean) = self.next_clean(phase);
        self.cleaning.phase = phase;
        self.cleaning.running = clean.is_some();
        clean
    }

    /// Notes what came of the piece under way. After a failure nothing more is cleaned until the log is opened again, unless the
    /// disk was only full.
    pub fn cleaned(&mut self, result: &Result<CleanDone, StorageError>) {
        self.cleaning.running = false;
        match result {
            Ok(done) => {
                if let Some(rewritten) = done.rewritten() {
                    self.log.cleaned(rewritten);
                }
            }
            Err(error) => {
                self.cleaning.ended |= !error.is_full();
                if let Phase::Surveying { end, .. } | Phase::Rewriting { end, .. } =
                    std::mem::take(&mut self.cleaning.phase)
                {
                    self.cleaning.seen_to = end;
                }
            }
        }
    }

    fn next_clean(&mut self, phase: Phase) -> (Phase, Option<Clean>) {
        let mut phase = match phase {
            Phase::Waiting { end, horizon, .. } => {
                Phase::Surveying { next: Offset::ZERO, end, horizon: Some(horizon) }
            }
            phase @ (Phase::Idle | Phase::Surveying { .. } | Phase::Rewriting { .. }) => phase,
        };
        if let Phase::Surveying { next, end, horizon } = &mut phase {
            if let Some(found) = self.cleanable_in(*next, *end).next() {
                *next = found.next_offset;
                let step = Step::Survey(horizon.take());
                return (phase, Some(Clean { segment: found.base_offset, step }));
            }
            phase = Phase::Rewriting { next: Offset::ZERO, end: *end };
        }
        let Phase::Rewriting { next, end } = phase else { return (phase, None) };
        let mut left = self.cleanable_in(next, end);
        let Some(found) = left.next() else {
            drop(left);
            self.cleaning.seen_to = end;
            return (Phase::Idle, None);
        };
        let dead_percent = self.options.clean_dead_percent;
        let step = Step::Rewrite { cleaned_to: end, dead_percent, last: left.next().is_none() };
        let phase = Phase::Rewriting { next: found.next_offset, end };
        (phase, Some(Clean { segment: found.base_offset, step }))
    }

    /// Segments that lie below every checkpoint that may be used.
    fn cleanable(&self) -> impl Iterator<Item = Cleanable> + '_ {
        self.log.cleanable_before(self.checkpoints.previous)
    }

    fn cleanable_in(&self, next: Offset, end: Offset) -> impl Iterator<Item = Cleanable> + '_ {
        self.cleanable()
            .filter(move |found| found.base_offset >= next)
            .take_while(move |found| found.next_offset <= end)
    }

    fn floor(&self) -> Floor {
        let mut position = Offset::MAX;
        let mut referred = Vec::new();
        for (_, state) in self.state.sessions() {
            if state.session.is_some() {
                position = position.min(state.progress.position);
            }
            referred.extend(state.assigned.values().map(|row| row.message));
        }
        for group in self.state.groups().values() {
            position = position.min(group.position);
            referred.extend_from_slice(&group.returned);
        }
        referred.extend(self.state.held().values().flat_map(|held| held.keys().copied()));
        referred.sort_unstable();
        Floor { position, referred }
    }
}
