//! The log's owner: gives offsets, gathers batches, answers from memory.

use std::sync::Arc;

use crate::commitlog::Committed;
use crate::commitlog::KeyMatcher;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::PendingBatch;
use crate::commitlog::Record;
use crate::commitlog::ReadRequest;
use crate::commitlog::StoredRecord;
use crate::commitlog::TimeRequest;
use crate::commitlog::Truncation;
use crate::time::Timestamp;

/// The log as its one owner sees it. Does no input or output: a [`Writer`](super::Writer) and
/// a [`Reader`](super::Reader) do, elsewhere.
pub struct Log {}

/// The answer to a read.
#[derive(Debug)]
pub enum Read {
    /// From memory.
    Records {
        /// What matched, in offset order.
        records: Vec<StoredRecord>,
        /// Where to go on: everything below was looked at.
        next: Offset,
    },
    /// Not in memory any more: a [`Reader`](super::Reader) answers this.
    Cold(ReadRequest),
}

/// The answer to a search by time.
#[derive(Debug)]
pub enum OffsetAt {
    /// From memory.
    Known(Offset),
    /// Not in memory any more: a [`Reader`](super::Reader) answers this.
    Cold(TimeRequest),
}

impl Log {
    /// Puts a record into the open batch: one copy of its bytes, no allocation of its own.
    ///
    /// The record is readable at once and durable when a [`Committed`] above it came back.
    ///
    /// # Errors
    /// [`LogError::RecordTooLarge`], [`LogError::OffsetsExhausted`]. The log is unchanged then.
    pub fn append(&mut self, record: &Record<'_>) -> Result<Offset, LogError> {
        self.append_gathered(record, &[])
    }

    /// As [`Log::append`], with `parts` added to the record's value one after the other.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_gathered(&mut self, _record: &Record<'_>, _parts: &[&[u8]]) -> Result<Offset, LogError> {
        unimplemented!()
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> Offset {
        unimplemented!()
    }

    /// The first offset that is kept.
    pub fn start_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Every record below survives a crash, in the meaning of the durability it was written with.
    pub fn durable_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Bytes not yet durable: the open batch and those in flight.
    pub fn pending_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Bytes of records held in memory for readers, pending ones included.
    pub fn tail_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Bytes of all segments, without what is only preallocated.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// How many segments there are, the active one included.
    pub fn segment_count(&self) -> usize {
        unimplemented!()
    }

    /// The next batch to be written, in order; `None` when nothing waits. Several may be in flight.
    ///
    /// Batches are written by one writer in the order they were taken.
    pub fn take_batch(&mut self) -> Option<PendingBatch> {
        unimplemented!()
    }

    /// Notes what a writer made durable; memory beyond the tail's limit is given back.
    pub fn committed(&mut self, _committed: &Committed) {
        unimplemented!()
    }

    /// Indexed records in `from..to` whose key matches, at most `bytes_max` of them (but at least one).
    pub fn read(&self, _from: Offset, _to: Offset, _bytes_max: usize, _matcher: &Arc<dyn KeyMatcher>) -> Read {
        unimplemented!()
    }

    /// The record with this offset, of whatever kind: none or one.
    pub fn record(&self, _offset: Offset) -> Read {
        unimplemented!()
    }

    /// The first offset whose record is of this moment or later; the next offset when there is none.
    pub fn offset_at(&self, _timestamp: Timestamp) -> OffsetAt {
        unimplemented!()
    }

    /// The start that the retention options ask for, if it is later than the present one.
    pub fn retention_candidate(&self, _now: Timestamp) -> Option<Offset> {
        unimplemented!()
    }

    /// Gives up whole sealed segments below `offset`; the writer then removes their files.
    #[must_use]
    pub fn truncate_before(&mut self, _offset: Offset) -> Truncation {
        unimplemented!()
    }
}
