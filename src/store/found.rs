//! What opening the store found, put together for whoever tells people about it.

use std::fmt;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::Offset;
use crate::store::CheckpointUse;
use crate::store::RebuildReason;
use crate::store::RecoverySummary;
use crate::store::State;

/// In the place of a file name, where records are missing that no file shows the place of.
const FRONT: &str = "the front of the log";
const END: &str = "the end of the log";

impl RecoverySummary {
    /// Every place of the log that is wrong, once.
    pub fn places(&self) -> Vec<&Damage> {
        let mut places: Vec<&Damage> = Vec::new();
        for damage in self.log.damage.iter().chain(&self.damage) {
            let known =
                |place: &&Damage| (&place.file, place.position) == (&damage.file, damage.position);
            if !places.iter().any(known) {
                places.push(damage);
            }
        }
        places
    }
}

impl CheckpointUse {
    /// One word: `used`, or why not.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Used { .. } => "used",
            Self::Rebuilt(RebuildReason::Missing) => "missing",
            Self::Rebuilt(RebuildReason::Damaged { .. }) => "damaged",
            Self::Rebuilt(RebuildReason::OtherSchema { .. }) => "other-schema",
            Self::Rebuilt(RebuildReason::AheadOfLog { .. }) => "ahead-of-log",
            Self::Rebuilt(RebuildReason::BehindLog { .. }) => "behind-log",
            Self::Rebuilt(RebuildReason::BehindCleaner { .. }) => "behind-cleaner",
            Self::Rebuilt(RebuildReason::OtherLog) => "other-log",
            Self::Rebuilt(RebuildReason::Unreadable { .. }) => "unreadable",
            Self::Rebuilt(RebuildReason::Failed { .. }) => "failed",
        }
    }
}

impl fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was no checkpoint"),
            Self::Damaged { moved_aside } => {
                write!(f, "the checkpoint was damaged, its files are kept in {moved_aside}")
            }
            Self::OtherSchema { found } => {
                write!(f, "another version of the program wrote the checkpoint (schema {found})")
            }
            Self::AheadOfLog { checkpoint, next_offset } => write!(
                f,
                "the checkpoint reaches up to offset {checkpoint}, the log only up to {next_offset}"
            ),
            Self::BehindLog { checkpoint, start_offset } => write!(
                f,
                "the checkpoint reaches up to offset {checkpoint}, the log begins with {start_offset}"
            ),
            Self::BehindCleaner { checkpoint, cleaned_to } => write!(
                f,
                "the checkpoint reaches up to offset {checkpoint}, the log is cleaned up to {cleaned_to}"
            ),
            Self::OtherLog => f.write_str("the checkpoint does not belong to this log"),
            Self::Unreadable { rows } => write!(f, "{rows} rows of the checkpoint can't be read"),
            Self::Failed { error } => error.fmt(f),
        }
    }
}

/// Records at the end that a checkpoint knew, and so were durable: with them the file is gone that they were in.
pub(super) fn lost_end(checkpoint: &CheckpointUse) -> Option<Damage> {
    match checkpoint {
        CheckpointUse::Rebuilt(RebuildReason::AheadOfLog { checkpoint, next_offset }) => {
            Some(missing(END, *next_offset, *checkpoint))
        }
        CheckpointUse::Rebuilt(_) | CheckpointUse::Used { .. } => None,
    }
}

/// Records at the front that a retained or delayed message rests on: retention would have carried it on before they went.
pub(super) fn lost_front(state: &State, start: Offset) -> Option<Damage> {
    let retained = state.retained().values().map(|place| place.offset);
    let delayed = state.delayed().values().map(|place| place.offset);
    let oldest = retained.chain(delayed).min()?;
    (oldest < start).then(|| missing(FRONT, oldest, start))
}

fn missing(place: &str, from: Offset, to: Offset) -> Damage {
    let file = place.into();
    Damage { file, position: 0, bytes: 0, from, to, what: Fault::Missing, synced: true }
}
