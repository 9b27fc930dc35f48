//! Compares the state of a checkpoint with the state that the log gives, without changing either.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::commitlog;
use crate::commitlog::DumpFilter;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::commitlog::disk::Disk;
use crate::store::Checkpointer;
use crate::store::RebuildReason;
use crate::store::State;
use crate::store::StateStore;
use crate::store::checkpoint::Meta;
use crate::store::checkpoint::SCHEMA;
use crate::store::checkpoint::mark;
use crate::store::found;
use crate::store::recovery::Fold;

/// What a check of the state found.
#[derive(Clone, Debug, Default)]
pub struct StateReport {
    /// Everything below this offset is in the checkpoint; `None` if there is none that could be read.
    pub checkpoint: Option<Offset>,
    /// Why the next start will make the state of the whole log, if it will. Not all of that is damage.
    pub rebuild: Option<RebuildReason>,
    /// What is wrong, each in a line.
    pub faults: Vec<String>,
    /// Whether the checkpoint could be compared with the log: only a log without damage says what has to be in it.
    pub compared: bool,
    /// Sessions, subscriptions, groups and retained messages in the state of the log.
    pub sessions: usize,
    /// Retained messages there are.
    pub retained: usize,
}

/// Whether this version can read a record.
pub fn is_readable(record: &StoredRecord) -> bool {
    Fold::default().put(record).is_some()
}

/// Checks the checkpoint in `state_store` against the log on `disk`. A state store that has to be opened to be read may be changed by that:
/// it is a copy. `cleaned_to` is what a check of the log said.
///
/// # Errors
/// [`LogError`] when the log can't be read.
pub fn verify_state(
    disk: &dyn Disk,
    state_store: Box<dyn StateStore>,
    cleaned_to: Offset,
) -> Result<StateReport, LogError> {
    let mut report = StateReport::default();
    let mut kept = Fold::default();
    let mut checkpointer = Checkpointer::new(state_store);
    let meta = match load(&mut checkpointer, &mut kept) {
        Ok(meta) => Some(meta),
        Err(reason) => {
            if is_fault(&reason) {
                report.faults.push(format!("state: {reason}"));
            }
            report.rebuild = Some(reason);
            None
        }
    };
    let log = read(disk, meta, &mut kept)?;
    report.sessions = log.state.session_count();
    report.retained = log.state.retained().len();
    if let Some(meta) = meta {
        report.checkpoint = Some(meta.offset);
        report.compare(meta, &log, &kept.state, cleaned_to);
    }
    Ok(report)
}

/// Reads the checkpoint into `kept`.
fn load(checkpointer: &mut Checkpointer, kept: &mut Fold) -> Result<Meta, RebuildReason> {
    let failed = |error| RebuildReason::Failed { error };
    if let Some(moved_aside) = checkpointer.open().map_err(failed)?.moved_aside {
        return Err(RebuildReason::Damaged { moved_aside });
    }
    let meta = checkpointer.finish_interrupted().map_err(failed)?;
    let meta = meta.ok_or(RebuildReason::Missing)?;
    if meta.schema != SCHEMA {
        return Err(RebuildReason::OtherSchema { found: meta.schema });
    }
    kept.load(checkpointer)?;
    Ok(meta)
}

/// Whether it is something that a sound directory never has.
fn is_fault(reason: &RebuildReason) -> bool {
    match reason {
        RebuildReason::Missing | RebuildReason::OtherSchema { .. } => false,
        RebuildReason::Damaged { .. }
        | RebuildReason::AheadOfLog { .. }
        | RebuildReason::BehindLog { .. }
        | RebuildReason::BehindCleaner { .. }
        | RebuildReason::OtherLog
        | RebuildReason::Unreadable { .. }
        | RebuildReason::Failed { .. } => true,
    }
}

/// The log, read through.
struct Read {
    state: State,
    start: Offset,
    next_offset: Offset,
    /// Whether the record below the checkpoint is the one it was made after; true if it is not there.
    same_log: bool,
    damaged: bool,
}

/// Reads the whole log, and puts into `kept` what came after the checkpoint.
fn read(disk: &dyn Disk, meta: Option<Meta>, kept: &mut Fold) -> Result<Read, LogError> {
    let mut all = Fold::default();
    let mut start = None;
    let mut next_offset = Offset::ZERO;
    let mut same_log = true;
    let mut visit = |record: StoredRecord| {
        start.get_or_insert(record.offset);
        next_offset = record.offset.next();
        all.put(&record);
        if let Some(meta) = meta {
            if record.offset >= meta.offset {
                kept.put(&record);
            }
            same_log &=
                record.offset.next() != meta.offset || meta.mark == 0 || mark(&record) == meta.mark;
        }
        ControlFlow::Continue(())
    };
    let damage = commitlog::dump(disk, &DumpFilter::default(), &mut visit)?;
    all.state.drop_orphans();
    kept.state.drop_orphans();
    let start = start.unwrap_or_default();
    Ok(Read { state: all.state, start, next_offset, same_log, damaged: !damage.is_empty() })
}

impl StateReport {
    fn compare(&mut self, meta: Meta, log: &Read, kept: &State, cleaned_to: Offset) {
        let reason = if meta.offset > log.next_offset {
            let next_offset = log.next_offset;
            Some(RebuildReason::AheadOfLog { checkpoint: meta.offset, next_offset })
        } else if meta.offset < cleaned_to {
            // An older checkpoint that was put back, or one that was looked at while newer ones were written.
            self.rebuild =
                Some(RebuildReason::BehindCleaner { checkpoint: meta.offset, cleaned_to });
            return;
        } else if log.same_log {
            None
        } else {
            Some(RebuildReason::OtherLog)
        };
        if let Some(reason) = reason {
            self.faults.push(format!("state: {reason}"));
            self.rebuild = Some(reason);
            return;
        }
        if let Some(lost) = found::lost_front(kept, log.start) {
            self.faults.push(lost.to_string());
        } else if !log.damaged && meta.offset >= log.start {
            self.compared = true;
            self.faults.extend(differences(kept, &log.state));
        }
    }
}

/// What two states say differently, each in a line.
fn differences(kept: &State, log: &State) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (client, _) in kept.sessions().chain(log.sessions()) {
        if kept.session(client) != log.session(client) {
            names.insert(format!("session {:?}", client.as_str()));
        }
    }
    for topic in kept.retained().keys().chain(log.retained().keys()) {
        if kept.retained().get(topic) != log.retained().get(topic) {
            names.insert(format!("retained message {:?}", topic.as_str()));
        }
    }
    for id in kept.delayed().keys().chain(log.delayed().keys()) {
        if kept.delayed().get(id) != log.delayed().get(id) {
            names.insert(format!("delayed message {id}"));
        }
    }
    for group in kept.groups().keys().chain(log.groups().keys()) {
        if kept.group(group) != log.group(group) {
            names.insert(format!(
                "group {:?} of {:?}",
                group.share.as_str(),
                group.filter.as_str()
            ));
        }
    }
    names.into_iter().map(|name| format!("state: {name} is not what the log says")).collect()
}
