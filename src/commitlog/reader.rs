//! Reads what is no longer in memory, anywhere but in the core.

use crate::commitlog::Damage;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;

/// A read that memory could not answer. Holds all that a [`Reader`] needs to know.
#[derive(Debug)]
pub struct ReadRequest {}

/// A search by time that memory could not answer.
#[derive(Debug)]
pub struct TimeRequest {}

/// What a cold read found.
#[derive(Debug, Default)]
pub struct ReadResult {
    /// What matched, in offset order.
    pub records: Vec<StoredRecord>,
    /// Where to go on: everything below was looked at.
    pub next: Offset,
    /// What could not be read, never served.
    pub damage: Vec<Damage>,
}

/// Reads segments. Has a bounded cache of indexes; may live in any thread, and there may be several.
pub struct Reader {}

impl Reader {
    /// Answers a [`Read::Cold`](super::Read::Cold).
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails; damage is no error but part of the result.
    pub fn read(&mut self, _request: &ReadRequest) -> Result<ReadResult, StorageError> {
        unimplemented!()
    }

    /// Answers an [`OffsetAt::Cold`](super::OffsetAt::Cold).
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn offset_at(&mut self, _request: &TimeRequest) -> Result<Offset, StorageError> {
        unimplemented!()
    }

    /// Hands every record from `from` on to `visit`, of whatever kind, in offset order, one batch in memory at a time.
    /// Reads what is in files; returns what was damaged.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn replay(&mut self, _from: Offset, _visit: &mut dyn FnMut(StoredRecord)) -> Result<Vec<Damage>, StorageError> {
        unimplemented!()
    }

    /// Another reader of the same log, with a cache of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        unimplemented!()
    }
}
