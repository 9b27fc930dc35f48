//! Checkpoints: the state as it was at one offset, kept so that a start need not read the whole log.
//!
//! A checkpoint is made in three steps, so that it never says more than the log:
//!
//! ```text
//! snapshot of the changed rows at offset C ──► wait until everything below C is durable ──► Checkpointer writes it
//! ```
//!
//! It carries a *mark*, a checksum of the record just below C, by which a state store that belongs to another log,
//! or to another course of this one, is found out when it is opened.

mod checkpointer;
mod layout;

pub use checkpointer::Checkpointer;
pub(super) use layout::Meta;
pub(super) use layout::SCHEMA;

use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::store::RowKey;
use crate::store::StateError;
use crate::store::Store;
use crate::store::codec::Encode;
use crate::store::state::Changes;
use crate::store::state::State;

/// Which record lies just below a checkpoint: 0 when there is none.
pub(super) type Mark = u64;

/// Rows that changed since the last checkpoint, with their values at one offset; work for a [`Checkpointer`].
#[derive(Debug)]
pub struct Checkpoint {
    /// The rows are as the records below this offset say.
    offset: Offset,
    mark: Mark,
    /// Whether these are all rows there are, and whatever else is in the state store goes.
    whole: bool,
    rows: Vec<SavedRow>,
}

/// A row as it goes into the state store; `None` deletes it.
#[derive(Debug)]
pub(super) struct SavedRow {
    pub(super) key: RowKey,
    pub(super) value: Option<Vec<u8>>,
}

impl Checkpoint {
    /// Everything below is in the checkpoint.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// How many rows are written.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }
}

/// That a checkpoint is durable; goes back to [`Store::checkpointed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointDone {
    offset: Offset,
}

impl CheckpointDone {
    /// Everything below is in the checkpoint.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

/// Where checkpoints stand.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The latest that is durable.
    pub(super) latest: Offset,
    /// The one before: below it, segments may go.
    pub(super) previous: Offset,
    /// Taken, and not durable in the log yet.
    waiting: Option<Checkpoint>,
    /// Rows of the checkpoint that is being written.
    running: Option<Changes>,
    /// Whether the next one has to be whole, because the state store has nothing to build on.
    pub(super) whole: bool,
    /// What the last one failed with.
    error: Option<StateError>,
}

impl Checkpoints {
    /// The state store has a checkpoint.
    pub(super) fn resumed(latest: Offset) -> Self {
        Self { latest, ..Self::default() }
    }

    /// The state store has nothing that can be built on.
    pub(super) fn none() -> Self {
        Self { whole: true, ..Self::default() }
    }
}

impl Store {
    /// The rows that changed since the last checkpoint, once what they rest on is durable. `None` if nothing is to be done,
    /// if a checkpoint is under way, or if the log is not that far yet: ask again after the next commit.
    pub fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        if self.checkpoints.running.is_some() {
            return None;
        }
        if self.checkpoints.waiting.is_none() {
            self.checkpoints.waiting = self.snapshot();
        }
        let durable = self.log.durable_offset();
        let checkpoint = self.checkpoints.waiting.take_if(|waiting| waiting.offset <= durable)?;
        self.checkpoints.running =
            Some(checkpoint.rows.iter().map(|row| row.key.clone()).collect());
        Some(checkpoint)
    }

    /// Notes that the checkpoint under way has ended. After a failure its rows go into the next one.
    pub fn checkpointed(&mut self, outcome: Result<CheckpointDone, StateError>) {
        let rows = self.checkpoints.running.take().unwrap_or_default();
        match outcome {
            Ok(done) => {
                self.checkpoints.previous = self.checkpoints.latest;
                self.checkpoints.latest = done.offset;
                self.checkpoints.whole = false;
                self.checkpoints.error = None;
            }
            Err(error) => {
                self.changes.extend(rows);
                self.checkpoints.error = Some(error);
            }
        }
    }

    /// Everything below is in a durable checkpoint.
    pub fn checkpoint_offset(&self) -> Offset {
        self.checkpoints.latest
    }

    /// What the latest checkpoint failed with; `None` when it succeeded. While checkpoints fail, no segment is given up.
    pub fn checkpoint_error(&self) -> Option<&StateError> {
        self.checkpoints.error.as_ref()
    }

    fn snapshot(&mut self) -> Option<Checkpoint> {
        let offset = self.log.next_offset();
        let Checkpoints { latest, previous, whole, .. } = self.checkpoints;
        if offset == latest && latest == previous && !whole && self.changes.is_empty() {
            return None;
        }
        let mark = self.log.peek(self.last_offset()).as_ref().map_or(0, mark);
        let changes = std::mem::take(&mut self.changes);
        let rows = changes.into_iter().map(|key| saved(&self.state, key)).collect();
        Some(Checkpoint { offset, mark, whole, rows })
    }
}

fn saved(state: &State, key: RowKey) -> SavedRow {
    let value = state.saved(&key);
    SavedRow { key, value }
}

/// What tells a record from all others.
pub(super) fn mark(record: &StoredRecord) -> Mark {
    let mut head = Vec::with_capacity(17);
    head.put_u64(record.offset.as_u64());
    head.put_u64(record.timestamp.as_micros());
    head.put_u8(record.kind);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&head), record.key());
    let sum = crc32c::crc32c_append(sum, record.value());
    1 << 32 | u64::from(sum)
}
