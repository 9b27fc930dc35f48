//! What a segment holds under which key, and where its batches are.
//!
//! [`MemoryIndex`] grows with the active segment; [`FileIndex`] is the same thing, frozen, as it stands in an `.index`
//! file. Both number the records of a segment from zero: a record's *ordinal*. Posting lists hold ordinals, so that gaps
//! between offsets cost nothing.

mod file;
mod memory;

pub(super) use file::FileIndex;
pub(super) use file::HEADER_BYTES;
pub(super) use file::Summary;
pub(super) use file::encode;
pub(super) use memory::MemoryIndex;

use crate::commitlog::Offset;
use crate::time::Timestamp;

/// Where a batch is, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchEntry {
    /// Its first byte in the file.
    pub(super) position: u32,
    /// Its bytes.
    pub(super) length: u32,
    pub(super) base_offset: Offset,
    /// How many offsets.
    pub(super) span: u32,
    /// How many records.
    pub(super) count: u32,
    /// The ordinal of its first record.
    pub(super) first_ordinal: u32,
    pub(super) max_timestamp: Timestamp,
}

impl BatchEntry {
    pub(super) fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.span))
    }

    pub(super) fn next_ordinal(&self) -> u32 {
        self.first_ordinal.saturating_add(self.count)
    }

    pub(super) fn end(&self) -> u64 {
        u64::from(self.position) + u64::from(self.length)
    }

    /// An ordinal such that no record of this batch with an offset of `offset` or more is before it.
    fn ordinal_at(&self, offset: Offset) -> u32 {
        let skipped = if self.span == self.count { offset.since(self.base_offset) } else { 0 };
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX).min(self.count);
        self.first_ordinal.saturating_add(skipped)
    }
}

/// An ordinal such that no record with an offset of `offset` or more is before it.
pub(super) fn ordinal_at(batches: &[BatchEntry], offset: Offset) -> u32 {
    let later = batches
        .get(batches.partition_point(|batch| batch.next_offset() <= offset)..)
        .unwrap_or_default();
    let end = batches.last().map_or(0, BatchEntry::next_ordinal);
    later.first().map_or(end, |batch| batch.ordinal_at(offset))
}

/// An ordinal such that every record with an offset below `offset` is before it.
pub(super) fn ordinal_after(batches: &[BatchEntry], offset: Offset) -> u32 {
    match batch_at(batches, offset) {
        // Where in its batch a record is, its offset does not say once some were cleaned away.
        Some(batch) if batch.span != batch.count => batch.next_ordinal(),
        _ => ordinal_at(batches, offset),
    }
}

/// The batch that holds this ordinal.
pub(super) fn batch_of(batches: &[BatchEntry], ordinal: u32) -> Option<&BatchEntry> {
    let batch = batches.get(batches.partition_point(|batch| batch.next_ordinal() <= ordinal))?;
    (batch.first_ordinal <= ordinal).then_some(batch)
}

/// The batch whose range of offsets holds this one.
pub(super) fn batch_at(batches: &[BatchEntry], offset: Offset) -> Option<&BatchEntry> {
    let batch = batches.get(batches.partition_point(|batch| batch.next_offset() <= offset))?;
    (batch.base_offset <= offset).then_some(batch)
}
