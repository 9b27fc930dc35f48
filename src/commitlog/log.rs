//! The log's owner: gives offsets, gathers batches, knows where everything is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::commitlog::Cleanable;
use crate::commitlog::Committed;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::Options;
use crate::commitlog::PendingBatch;
use crate::commitlog::Record;
use crate::commitlog::Rewritten;
use crate::commitlog::Truncation;
use crate::commitlog::batch::OpenBatch;
use crate::commitlog::disk::DiskLock;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::segment;
use crate::commitlog::tail::Tail;
use crate::time::Timestamp;

/// The log as its one owner sees it. Does no input or output: a [`Writer`](super::Writer) and
/// a [`Reader`](super::Reader) do, elsewhere. Appending is here; reading is in `query.rs`.
pub struct Log {
    options: Options,
    id: u64,
    /// Sealed segments, oldest first.
    pub(super) sealed: VecDeque<SealedSegment>,
    /// Indexes of those sealed segments of which records are in the tail, oldest first.
    resident: VecDeque<(Offset, Arc<MemoryIndex>)>,
    pub(super) active: ActiveSegment,
    pub(super) open: OpenBatch,
    /// Sealed batches that nobody has taken yet.
    ready: VecDeque<PendingBatch>,
    /// The index that goes with the next batch.
    handover: Option<(Offset, Arc<MemoryIndex>)>,
    pub(super) tail: Tail,
    next_offset: Offset,
    durable_offset: Offset,
    /// Every record below survives a power cut.
    synced_offset: Offset,
    _lock: Arc<DiskLock>,
}

/// A segment that takes no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SealedSegment {
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) bytes: u64,
    pub(super) max_timestamp: Timestamp,
    /// How often it was cleaned.
    pub(super) generation: u32,
}

/// What is left until a part of the log may go, whichever is over first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLeft {
    /// Bytes that may still be appended.
    pub bytes: Option<u64>,
    /// Time that may still pass.
    pub time: Option<Duration>,
}

/// The segment that takes records.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) base_offset: Offset,
    /// Where the open batch will begin.
    pub(super) position: u64,
    pub(super) index: MemoryIndex,
}

impl ActiveSegment {
    /// A segment without records.
    pub(super) fn new(base_offset: Offset) -> Self {
        Self { base_offset, position: segment::HEADER_BYTES as u64, index: MemoryIndex::default() }
    }

    fn max_timestamp(&self) -> Timestamp {
        self.index.batches().iter().map(|batch| batch.max_timestamp).max().unwrap_or_default()
    }
}

impl Log {
    /// A log as recovery found it; all of it is durable.
    pub(super) fn recovered(
        options: Options,
        log_id: u64,
        sealed: VecDeque<SealedSegment>,
        active: ActiveSegment,
        next_offset: Offset,
        lock: Arc<DiskLock>,
    ) -> Self {
        Self {
            options,
            id: log_id,
            sealed,
            resident: VecDeque::new(),
            active,
            open: OpenBatch::default(),
            ready: VecDeque::new(),
            handover: None,
            tail: Tail::default(),
            next_offset,
            durable_offset: next_offset,
            synced_offset: next_offset,
            _lock: lock,
        }
    }

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
    pub fn append_gathered(
        &mut self,
        record: &Record<'_>,
        parts: &[&[u8]],
    ) -> Result<Offset, LogError> {
        self.check_size(record, parts)?;
        let offset = self.next_offset;
        if offset.next() == Offset::MAX {
            return Err(LogError::OffsetsExhausted);
        }
        if self.open.is_empty() {
            self.roll_if_full();
            self.open.begin(offset, record.timestamp);
        }
        let position = self.active.position + self.open.push(record, parts) as u64;
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        self.active.index.push(position, record.indexed.then_some(record.key));
        self.next_offset = offset.next();
        Ok(offset)
    }

    /// Closes the open batch if it is large enough. What was appended between two calls, or a call and
    /// [`Log::take_batch`], is in one batch, so it is durable together or not at all.
    pub fn end_group(&mut self) {
        let batch_is_full = self.open.len() >= self.options.batch_bytes_max;
        let segment_is_full = self.segment_bytes() >= self.options.segment_bytes;
        if !self.open.is_empty() && (batch_is_full || segment_is_full) {
            self.seal_batch();
        }
    }

    fn check_size(&self, record: &Record<'_>, parts: &[&[u8]]) -> Result<(), LogError> {
        let bytes = record.key.len()
            + record.value.len()
            + parts.iter().map(|part| part.len()).sum::<usize>();
        let bytes_max = self.options.record_bytes_max;
        if bytes > bytes_max { Err(LogError::RecordTooLarge { bytes, bytes_max }) } else { Ok(()) }
    }

    /// Bytes of the active segment, the open batch included.
    fn segment_bytes(&self) -> u64 {
        self.active.position + self.open.len() as u64
    }

    fn roll_if_full(&mut self) {
        let full = self.active.position >= self.options.segment_bytes
            || self.active.index.len() >= self.options.segment_records_max;
        if !full || self.active.index.len() == 0 {
            return;
        }
        let max_timestamp = self.active.max_timestamp();
        let sealed = std::mem::replace(&mut self.active, ActiveSegment::new(self.next_offset));
        let index = Arc::new(sealed.index);
        self.sealed.push_back(SealedSegment {
            base_offset: sealed.base_offset,
            next_offset: self.next_offset,
            bytes: sealed.position,
            max_timestamp,
            generation: 0,
        });
        self.resident.push_back((sealed.base_offset, Arc::clone(&index)));
        self.handover = Some((sealed.base_offset, index));
    }

    fn seal_batch(&mut self) {
        let position = u32::try_from(self.active.position).unwrap_or(u32::MAX);
        let first_ordinal = self.active.index.len() - self.open.count();
        let batch = self.open.seal(self.id, position, self.synced_offset);
        self.active.index.push_batch(batch.entry(first_ordinal));
        self.active.position += batch.bytes.len() as u64;
        let segment = self.active.base_offset;
        self.tail.push(batch.clone(), segment);
        self.ready.push_back(PendingBatch { batch, segment, sealed: self.handover.take() });
    }

    /// Whether records wait to be taken.
    pub fn has_batch(&self) -> bool {
        !self.ready.is_empty() || !self.open.is_empty()
    }

    /// The next batch to be written, in order; `None` when nothing waits. Several may be in flight.
    ///
    /// Batches are written by one writer in the order they were taken.
    pub fn take_batch(&mut self) -> Option<PendingBatch> {
        if self.ready.is_empty() && !self.open.is_empty() {
            self.seal_batch();
        }
        self.ready.pop_front()
    }

    /// Notes what a writer made durable; memory beyond the tail's limit is given back.
    pub fn committed(&mut self, committed: &Committed) {
        if committed.next_offset <= self.durable_offset {
            return;
        }
        self.durable_offset = committed.next_offset;
        if committed.synced {
            self.synced_offset = committed.next_offset;
        }
        self.tail.made_durable(self.durable_offset, self.options.tail_bytes_max);
        let kept = self.tail.first_segment().unwrap_or(self.active.base_offset);
        while self.resident.front().is_some_and(|(base, _)| *base < kept) {
            self.resident.pop_front();
        }
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The first offset that is kept.
    pub fn start_offset(&self) -> Offset {
        self.sealed.front().map_or(self.active.base_offset, |segment| segment.base_offset)
    }

    /// Every record below survives a crash, in the meaning of the durability it was written with.
    pub fn durable_offset(&self) -> Offset {
        self.durable_offset
    }

    /// Bytes not yet durable: the open batch, and those ready or in flight.
    pub fn pending_bytes(&self) -> usize {
        self.open.len() + self.tail.pending_bytes()
    }

    /// Bytes of records held in memory for readers, pending ones included.
    pub fn tail_bytes(&self) -> usize {
        self.open.len() + self.tail.bytes()
    }

    /// Bytes of all segments, without what is only preallocated.
    pub fn size_bytes(&self) -> u64 {
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + self.segment_bytes()
    }

    /// The newest timestamp of a batch that was closed; the epoch when there is none.
    pub fn last_timestamp(&self) -> Timestamp {
        let sealed = self.sealed.iter().map(|segment| segment.max_timestamp);
        sealed.chain([self.active.max_timestamp()]).max().unwrap_or_default()
    }

    /// The newest timestamp of the oldest sealed segment.
    pub fn oldest_timestamp(&self) -> Option<Timestamp> {
        self.sealed.front().map(|segment| segment.max_timestamp)
    }

    /// How many segments there are, the active one included.
    pub fn segment_count(&self) -> usize {
        self.sealed.len() + 1
    }

    /// The start that the retention options ask for, if it is later than the present one.
    ///
    /// Whole sealed segments only, the oldest first: those whose newest record is too old, then as many as
    /// the log is too large by.
    pub fn retention_candidate(&self, now: Timestamp) -> Option<Offset> {
        self.start_within(now, self.options.retention_age, self.options.retention_bytes)
    }

    /// The start of the log if it might keep a quarter less, or a segment's worth less if that is more: what is below goes soon.
    pub fn retention_warning(&self, now: Timestamp) -> Option<Offset> {
        let age = self.options.retention_age.map(|age| age.saturating_sub(age / 4));
        let part = |limit: u64| (limit / 4).max(self.options.segment_bytes);
        let bytes = self.options.retention_bytes.map(|limit| limit.saturating_sub(part(limit)));
        self.start_within(now, age, bytes)
    }

    fn start_within(
        &self,
        now: Timestamp,
        age: Option<Duration>,
        size: Option<u64>,
    ) -> Option<Offset> {
        let mut bytes = self.size_bytes();
        let mut start = None;
        for segment in
            self.sealed.iter().take_while(|segment| segment.next_offset < self.durable_offset)
        {
            let old = age.is_some_and(|age| now.since(segment.max_timestamp) > age);
            let large = size.is_some_and(|limit| bytes > limit);
            if !old && !large {
                break;
            }
            bytes = bytes.saturating_sub(segment.bytes);
            start = Some(segment.next_offset);
        }
        start
    }

    /// How much there is left until retention may take the segment that an offset is in. `None` stands for no such limit, and both
    /// for a segment that still takes records.
    pub fn retention_left(&self, offset: Offset, now: Timestamp) -> RetentionLeft {
        let before = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let Some(segment) = self.sealed.get(before) else { return RetentionLeft::default() };
        let gone: u64 = self.sealed.iter().take(before).map(|segment| segment.bytes).sum();
        let size = self.size_bytes().saturating_sub(gone);
        let age = now.since(segment.max_timestamp);
        RetentionLeft {
            bytes: self.options.retention_bytes.map(|limit| limit.saturating_sub(size)),
            time: self.options.retention_age.map(|limit| limit.saturating_sub(age)),
        }
    }

    /// Gives up whole sealed segments below `offset`; the writer then removes their files.
    ///
    /// A segment stays until a later one has a durable record: the name of a file is what keeps offsets from being
    /// given twice.
    #[must_use]
    pub fn truncate_before(&mut self, offset: Offset) -> Truncation {
        let durable = self.durable_offset;
        let mut segments = Vec::new();
        while let Some(segment) = self
            .sealed
            .pop_front_if(|segment| segment.next_offset <= offset && segment.next_offset < durable)
        {
            segments.push(segment.base_offset);
            self.resident.retain(|(base, _)| *base != segment.base_offset);
        }
        Truncation { segments }
    }

    /// The sealed segments that a [`Cleaner`](super::Cleaner) may rewrite, oldest first: those that end at or below
    /// `offset`, are durable with a durable record behind them, and of which nothing is in memory.
    pub fn cleanable_before(&self, offset: Offset) -> impl Iterator<Item = Cleanable> + '_ {
        let warm = self.resident.front().map_or(Offset::MAX, |(base, _)| *base);
        let warm = warm.min(self.tail.first_segment().unwrap_or(Offset::MAX));
        let durable = self.durable_offset;
        let fit = move |segment: &&SealedSegment| {
            segment.next_offset <= offset
                && segment.next_offset < durable
                && segment.base_offset < warm
        };
        self.sealed.iter().take_while(fit).map(|segment| Cleanable {
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            bytes: segment.bytes,
            cleaned: segment.generation > 0,
        })
    }

    /// Notes that a segment was replaced by a smaller one.
    pub fn cleaned(&mut self, rewritten: &Rewritten) {
        let found = self.sealed.iter_mut().find(|segment| segment.base_offset == rewritten.segment);
        if let Some(segment) = found {
            segment.bytes = rewritten.bytes_after;
            segment.max_timestamp = rewritten.max_timestamp;
            segment.generation = rewritten.generation;
        }
    }

    /// The index of a segment, if it is in memory.
    pub(super) fn index(&self, base: Offset) -> Option<&MemoryIndex> {
        if base == self.active.base_offset {
            return Some(&self.active.index);
        }
        self.resident
            .iter()
            .find(|(resident, _)| *resident == base)
            .map(|(_, index)| index.as_ref())
    }

    /// The first offset in memory.
    pub(super) fn tail_offset(&self) -> Offset {
        let open = if self.open.is_empty() { self.next_offset } else { self.open.base_offset() };
        self.tail.first_offset().unwrap_or(open)
    }
}
