//! `tidelog log verify`: every byte of the log, every record, every index, and the state against the log.

use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::directory;
use super::directory::DirectoryArgs;
use super::directory::StateCopy;
use super::failure;
use crate::cli::Failure;
use crate::cli::stdout;
use crate::cli::terminal;
use crate::commitlog;
use crate::commitlog::Damage;
use crate::commitlog::Offset;
use crate::commitlog::VerifyReport;
use crate::store;
use crate::store::SledStateStore;
use crate::store::StateReport;

/// The flags of `log verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Print what was found as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Everything that a check found.
pub(super) struct Verified {
    log: VerifyReport,
    damage: Vec<Damage>,
    /// `None` if there is no state, or none that stands still long enough to be looked at.
    state: Option<StateReport>,
}

impl VerifyArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let verified = verify(&self.directory.path()?)?;
        if self.json {
            stdout::print(&format!("{}\n", verified.json()))?;
        } else {
            for fault in verified.faults() {
                terminal::error(&fault);
            }
            stdout::print(&verified.summary())?;
        }
        match verified.faults().len() {
            0 => Ok(()),
            1 => Err(Failure::failed("one place is damaged")),
            places => Err(Failure::failed(format!("{places} places are damaged"))),
        }
    }
}

/// Checks a data directory.
pub(super) fn verify(path: &std::path::Path) -> Result<Verified, Failure> {
    let disk = directory::open(path)?;
    // The copy first: what the log gets meanwhile belongs to later checkpoints.
    let copy = StateCopy::take(path)?;
    let mut damage = Vec::new();
    let mut readable = store::is_readable;
    let log = commitlog::verify_records(&disk, Some(&mut readable), &mut |found: &Damage| {
        damage.push(found.clone());
    });
    let log = log.map_err(|error| failure(&error))?;
    let state = copy.map(|copy| {
        let states = Box::new(SledStateStore::new(copy.path()));
        store::verify_state(&disk, states, log.cleaned_to).map_err(|error| failure(&error))
    });
    Ok(Verified { log, damage, state: state.transpose()? })
}

impl Verified {
    /// Each thing that is wrong, in a line.
    pub(super) fn faults(&self) -> Vec<String> {
        let state = self.state.iter().flat_map(|state| state.faults.clone());
        self.damage.iter().map(ToString::to_string).chain(state).collect()
    }

    fn summary(&self) -> String {
        let log = &self.log;
        let whole = format!(
            "offsets {} up to {}: {} records in {} batches, {} bytes in {} segments\n",
            log.start_offset, log.next_offset, log.records, log.batches, log.bytes, log.segments
        );
        let unfinished = match log.unfinished_bytes {
            0 => String::new(),
            bytes => format!(
                "{bytes} bytes behind the last batch are unfinished: being written now, or torn by a crash\n"
            ),
        };
        format!("{whole}{unfinished}{}", self.state_line())
    }

    fn state_line(&self) -> String {
        let Some(state) = &self.state else {
            return "state: not looked at; there is none, or a broker is writing it\n".to_owned();
        };
        match (&state.rebuild, state.checkpoint) {
            (Some(reason), _) => {
                format!("state: the next start makes it of the whole log: {reason}\n")
            }
            (None, Some(offset)) => {
                let compared = match (state.compared, state.faults.is_empty()) {
                    (true, true) => "the same as the log's",
                    (true, false) => "not the same as the log's",
                    (false, _) => "not compared, because the log is damaged",
                };
                let (sessions, retained) = (state.sessions, state.retained);
                format!(
                    "state: true up to offset {offset}, {sessions} sessions, {retained} retained messages, {compared}\n"
                )
            }
            (None, None) => String::new(),
        }
    }

    fn json(&self) -> Value {
        let log = &self.log;
        let state = self.state.as_ref().map(|state| {
            json!({
                "checkpoint": state.checkpoint.map(Offset::as_u64),
                "rebuild": state.rebuild.as_ref().map(ToString::to_string),
                "compared": state.compared,
                "sessions": state.sessions,
                "retained": state.retained,
                "faults": state.faults,
            })
        });
        json!({
            "sound": self.faults().is_empty(),
            "start_offset": log.start_offset.as_u64(),
            "next_offset": log.next_offset.as_u64(),
            "segments": log.segments,
            "batches": log.batches,
            "records": log.records,
            "bytes": log.bytes,
            "unfinished_bytes": log.unfinished_bytes,
            "damage": self.damage.iter().map(damage).collect::<Vec<_>>(),
            "state": state,
        })
    }
}

fn damage(damage: &Damage) -> Value {
    json!({
        "file": &*damage.file,
        "position": damage.position,
        "bytes": damage.bytes,
        "from": damage.from.as_u64(),
        "to": damage.to.as_u64(),
        "synced": damage.synced,
        "text": damage.to_string(),
    })
}
