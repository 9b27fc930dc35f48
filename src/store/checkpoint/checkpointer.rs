//! Writes checkpoints into a state store, and reads one back when the broker starts.
//!
//! A checkpoint that fits one batch is atomic by that. A longer one is *staged* first: its changes are written beside
//! the rows, made durable, declared whole, and only then carried out. Whatever a crash leaves is either the old
//! checkpoint or all that is needed to finish the new one. An entry costs more than its bytes, so that changes are staged many to
//! an entry, and all of it costs little more than to write each row once.

use std::collections::BTreeMap;

use crate::mutant::Mutant;
use crate::store::BATCH_CHANGES_MAX;
use crate::store::Change;
use crate::store::Checkpoint;
use crate::store::CheckpointDone;
use crate::store::RowKey;
use crate::store::StateError;
use crate::store::StateOpened;
use crate::store::StateStore;
use crate::store::checkpoint::SavedRow;
use crate::store::checkpoint::layout;
use crate::store::checkpoint::layout::Meta;

/// So many entries of staged changes, each of up to 4 KiB, go into a batch.
const STAGED_AT_ONCE: usize = 32;

/// Gets every row of a checkpoint; `None` stands for one that can't be read.
pub(in crate::store) type LoadVisitor<'a> = dyn FnMut(Option<(RowKey, &[u8])>) + 'a;

/// The one user of the [`StateStore`]. Lives in a thread of its own, or inline.
pub struct Checkpointer {
    store: Box<dyn StateStore>,
    /// Rows of more than one chunk, and how many they have.
    long: BTreeMap<Vec<u8>, u32>,
    /// How many entries of staged changes may be in the store.
    staged: u32,
    /// Whether the last checkpoint failed somewhere on its way.
    interrupted: bool,
    /// The state store was damaged and begun anew while the broker ran: it has not what a checkpoint could build on.
    lost: bool,
}

impl Checkpointer {
    pub(in crate::store) fn new(store: Box<dyn StateStore>) -> Self {
        Self { store, long: BTreeMap::new(), staged: 0, interrupted: false, lost: false }
    }

    /// Makes a checkpoint durable.
    ///
    /// # Errors
    /// [`StateError`]. The checkpoint before it, or none, is what a start finds then; the log has the rest.
    pub fn run(&mut self, checkpoint: &Checkpoint) -> Result<CheckpointDone, StateError> {
        if checkpoint.whole {
            self.store.wipe()?;
            self.long.clear();
            self.staged = 0;
            self.lost = false;
        } else if self.interrupted {
            self.reopen()?;
            self.finish_interrupted()?;
        }
        self.interrupted = true;
        let mut changes = Vec::with_capacity(checkpoint.rows.len() + 1);
        let mut long = Vec::new();
        for row in &checkpoint.rows {
            self.add_row(row, &mut changes, &mut long);
        }
        let meta =
            Meta { schema: layout::SCHEMA, offset: checkpoint.offset, mark: checkpoint.mark };
        self.write(changes, meta, checkpoint.whole)?;
        self.interrupted = false;
        for (prefix, count) in long {
            if count > 1 {
                self.long.insert(prefix, count);
            } else {
                self.long.remove(&prefix);
            }
        }
        Ok(CheckpointDone { offset: checkpoint.offset })
    }

    /// Opens the state store again: after a failure, as on a full disk, sled takes nothing more until then.
    fn reopen(&mut self) -> Result<(), StateError> {
        self.lost |= self.store.open()?.moved_aside.is_some();
        if self.lost { Err(StateError::Lost) } else { Ok(()) }
    }

    /// Opens the state store.
    pub(in crate::store) fn open(&mut self) -> Result<StateOpened, StateError> {
        self.store.open()
    }

    /// Finishes the checkpoint that a crash has interrupted, and tells which one there is.
    pub(in crate::store) fn finish_interrupted(&mut self) -> Result<Option<Meta>, StateError> {
        let Some(staged) = self.meta(layout::STAGED)? else { return self.meta(layout::CURRENT) };
        let changes = self.staged()?;
        self.carry_out(&changes, staged)?;
        self.store.sync()?;
        Ok(Some(staged))
    }

    /// Hands every row to `visit`.
    pub(in crate::store) fn load(&mut self, visit: &mut LoadVisitor<'_>) -> Result<(), StateError> {
        self.long.clear();
        let mut rows = Assembly { prefix: Vec::new(), value: Vec::new(), chunks: 0, sound: true };
        let (long, staged) = (&mut self.long, &mut self.staged);
        self.store.scan(&mut |key, chunk| {
            if let Some(number) = layout::staged_number(key) {
                *staged = (*staged).max(number.saturating_add(1));
            }
            let Some((prefix, number)) = layout::split_row_key(key) else { return };
            if prefix != rows.prefix {
                rows.finish(long, visit);
                rows.begin(prefix);
            }
            rows.add(number, chunk);
        })?;
        rows.finish(&mut self.long, visit);
        Ok(())
    }

    fn meta(&mut self, key: &[u8]) -> Result<Option<Meta>, StateError> {
        Ok(self.store.get(key)?.and_then(|value| Meta::decode(&value)))
    }

    fn write(
        &mut self,
        mut changes: Vec<Change>,
        meta: Meta,
        whole: bool,
    ) -> Result<(), StateError> {
        let current = (layout::CURRENT.to_vec(), Some(meta.encode()));
        if changes.len() < BATCH_CHANGES_MAX {
            changes.push(current);
            self.store.apply(&changes)?;
        } else if Mutant::CheckpointStampFirst.is_active() {
            self.store.apply(&[current])?;
            self.apply_all(&changes)?;
        } else if whole {
            self.apply_all(&changes)?;
            self.store.sync()?;
            self.store.apply(&[current])?;
        } else {
            self.stage(&changes, meta)?;
            self.carry_out(&changes, meta)?;
        }
        self.store.sync()
    }

    /// Adds the changes of a row. Until they are made, the row counts as long as it is or becomes; what it becomes goes into `long`.
    fn add_row(
        &mut self,
        row: &SavedRow,
        changes: &mut Vec<Change>,
        long: &mut Vec<(Vec<u8>, u32)>,
    ) {
        let (prefix, mut bytes) = layout::row_prefix(&row.key);
        let before = self.long.get(&prefix).copied().unwrap_or(1);
        let mut count = 0;
        if let Some(value) = &row.value {
            bytes.extend_from_slice(value);
            for chunk in layout::chunks(&bytes) {
                changes.push((layout::chunk_key(&prefix, count), Some(chunk.to_vec())));
                count += 1;
            }
        }
        changes.extend((count..before).map(|chunk| (layout::chunk_key(&prefix, chunk), None)));
        if before.max(count) > 1 {
            self.long.insert(prefix.clone(), before.max(count));
            long.push((prefix, count));
        }
    }

    fn apply_all(&mut self, changes: &[Change]) -> Result<(), StateError> {
        changes.chunks(BATCH_CHANGES_MAX).try_for_each(|batch| self.store.apply(batch))
    }

    fn stage(&mut self, changes: &[Change], meta: Meta) -> Result<(), StateError> {
        let mut number = 0;
        let mut left = changes;
        while !left.is_empty() {
            let mut staged = Vec::with_capacity(STAGED_AT_ONCE);
            while staged.len() < STAGED_AT_ONCE
                && let Some((entry, later)) = layout::stage(number, left)
            {
                staged.push(entry);
                number += 1;
                left = later;
            }
            self.store.apply(&staged)?;
        }
        self.drop_staged(number)?;
        self.staged = number;
        self.store.sync()?;
        self.store.apply(&[(layout::STAGED.to_vec(), Some(meta.encode()))])?;
        self.store.sync()
    }

    /// Carries out what is staged: as often as it takes, with the same outcome.
    fn carry_out(&mut self, changes: &[Change], meta: Meta) -> Result<(), StateError> {
        self.apply_all(changes)?;
        self.store.sync()?;
        let done =
            [(layout::CURRENT.to_vec(), Some(meta.encode())), (layout::STAGED.to_vec(), None)];
        self.store.apply(&done)?;
        self.store.sync()?;
        self.drop_staged(0)
    }

    /// Deletes staged changes from a number on.
    fn drop_staged(&mut self, from: u32) -> Result<(), StateError> {
        let left_over: Vec<Change> =
            (from..self.staged).map(|number| (layout::stage_key(number), None)).collect();
        self.staged = self.staged.min(from);
        self.apply_all(&left_over)
    }

    fn staged(&mut self) -> Result<Vec<Change>, StateError> {
        let mut changes = Vec::new();
        let staged = &mut self.staged;
        self.store.scan(&mut |key, value| {
            if let Some(number) = layout::staged_number(key) {
                *staged = (*staged).max(number.saturating_add(1));
                changes.extend(layout::unstage(value));
            }
        })?;
        Ok(changes)
    }
}

/// A row that is put together from its chunks.
struct Assembly {
    prefix: Vec<u8>,
    value: Vec<u8>,
    chunks: u32,
    sound: bool,
}

impl Assembly {
    fn begin(&mut self, prefix: &[u8]) {
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        self.value.clear();
        self.chunks = 0;
        self.sound = true;
    }

    fn add(&mut self, number: u32, chunk: &[u8]) {
        self.sound &= number == self.chunks;
        self.chunks += 1;
        self.value.extend_from_slice(chunk);
    }

    fn finish(&mut self, long: &mut BTreeMap<Vec<u8>, u32>, visit: &mut LoadVisitor<'_>) {
        if self.chunks == 0 {
            return;
        }
        if self.chunks > 1 {
            long.insert(self.prefix.clone(), self.chunks);
        }
        visit(layout::decode_row(&self.prefix, &self.value).filter(|_| self.sound));
    }
}
