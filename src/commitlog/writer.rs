//! The only place that writes and syncs.

use crate::commitlog::Offset;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;

/// How far a commit goes before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut: an `fdatasync` begun after the write returned.
    Fsync,
    /// Survives the process: handed to the operating system.
    Os,
}

/// What a commit made durable; goes back to [`Log::committed`](super::Log::committed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub(super) next_offset: Offset,
    pub(super) synced: bool,
}

impl Committed {
    /// Every record below is durable now.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }
}

/// Segments whose files are to be removed; made by [`Log::truncate_before`](super::Log::truncate_before).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truncation {
    pub(super) segments: Vec<Offset>,
}

impl Truncation {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Writes batches to segments. Poisoned by its first failed write or sync.
pub struct Writer {}

impl Writer {
    /// Writes a batch and, for [`Durability::Fsync`], syncs it.
    ///
    /// After a full disk ([`StorageError::is_full`]) the same batch may be committed again when there is space;
    /// until then no other. After any other failure every later commit fails.
    ///
    /// # Errors
    /// [`StorageError`] with the file and position.
    pub fn commit(&mut self, _batch: &PendingBatch, _durability: Durability) -> Result<Committed, StorageError> {
        unimplemented!()
    }

    /// One bounded step of work that need not be done inside a commit: writes the index of a sealed segment, or gets
    /// the next segment's file ready. Returns whether there is more to do. Call it when nothing waits to be committed.
    ///
    /// # Errors
    /// [`StorageError`]; commits go on all the same.
    pub fn maintain(&mut self) -> Result<bool, StorageError> {
        unimplemented!()
    }

    /// Removes the files of segments that were given up.
    ///
    /// # Errors
    /// [`StorageError`]; calling it again goes on where it stopped.
    pub fn truncate(&mut self, _truncation: &Truncation) -> Result<(), StorageError> {
        unimplemented!()
    }

    /// Whether an earlier failure made every commit fail.
    pub fn is_poisoned(&self) -> bool {
        unimplemented!()
    }
}
