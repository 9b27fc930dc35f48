//! Reading from memory, and saying what has to be read from files instead.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::BytesMut;

use crate::commitlog::KeyMatcher;
use crate::commitlog::Log;
use crate::commitlog::Offset;
use crate::commitlog::ReadRequest;
use crate::commitlog::StoredRecord;
use crate::commitlog::TimeRequest;
use crate::commitlog::index;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::reader::Plan;
use crate::commitlog::reader::READ_BYTES_MAX;
use crate::commitlog::reader::Select;
use crate::commitlog::tail::TailBatch;
use crate::time::Timestamp;

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
    /// Indexed records in `from..to` whose key matches, at most `bytes_max` of key and value (but at least one record).
    ///
    /// What lies below [`Log::start_offset`] is gone and stepped over. Go on with the answer's `next` until it
    /// reaches `to`; an answer may stop earlier, also without a record.
    pub fn read(
        &self,
        from: Offset,
        to: Offset,
        bytes_max: usize,
        matcher: &Arc<dyn KeyMatcher>,
    ) -> Read {
        let from = from.max(self.start_offset());
        let to = to.min(self.next_offset());
        if from >= to {
            return Read::Records { records: Vec::new(), next: from };
        }
        if from < self.tail_offset() {
            return Read::Cold(self.cold(from, to, bytes_max, matcher));
        }
        let mut gathered =
            Gathered { records: Vec::new(), bytes_left: bytes_max, from, to, next: to };
        for (base, index) in self.segments_from(from) {
            if base >= to || self.gather(base, index, matcher.as_ref(), &mut gathered).is_break() {
                break;
            }
        }
        let next = gathered.next;
        Read::Records { records: gathered.into_records(), next }
    }

    /// The record with this offset, of whatever kind: none or one. It has memory of its own and may be held for long.
    pub fn record(&self, offset: Offset) -> Read {
        let kept = (self.start_offset()..self.next_offset()).contains(&offset);
        if kept && offset < self.tail_offset() {
            return Read::Cold(self.cold_record(offset));
        }
        let found = self.peek(offset).map(StoredRecord::detached);
        Read::Records { records: found.into_iter().collect(), next: offset.next() }
    }

    /// The record with this offset, of whatever kind, if it is in memory.
    ///
    /// Nothing is copied but a record of the open batch. The record shares its batch's memory and keeps all of it alive:
    /// who holds one for long takes [`Log::record`].
    pub fn peek(&self, offset: Offset) -> Option<StoredRecord> {
        let warm = self.tail_offset().max(self.start_offset())..self.next_offset();
        if !warm.contains(&offset) {
            return None;
        }
        let (base, index) = self.segments_from(offset).next()?;
        let position = index.position(self.ordinal_at(base, index, offset))?;
        self.stored(base, position, &mut None).filter(|record| record.offset == offset)
    }

    /// The first offset whose record is of this moment or later; the next offset when there is none.
    pub fn offset_at(&self, timestamp: Timestamp) -> OffsetAt {
        let sealed = self.sealed.iter().find(|segment| segment.max_timestamp >= timestamp);
        let segment = sealed.map_or(self.active.base_offset, |segment| segment.base_offset);
        let Some(index) = self.index(segment) else {
            let otherwise = sealed.map_or(self.next_offset(), |segment| segment.next_offset);
            return OffsetAt::Cold(TimeRequest { segment, timestamp, batch: None, otherwise });
        };
        let Some(entry) = index.batches().iter().find(|batch| batch.max_timestamp >= timestamp)
        else {
            return OffsetAt::Known(self.open_offset_at(timestamp));
        };
        let otherwise = entry.next_offset();
        match self.tail.batch_at(segment, entry.position) {
            Some(found) => {
                let first = found.batch.records().find(|record| record.timestamp >= timestamp);
                OffsetAt::Known(first.map_or(otherwise, |record| record.offset))
            }
            None => {
                OffsetAt::Cold(TimeRequest { segment, timestamp, batch: Some(*entry), otherwise })
            }
        }
    }

    /// An offset at or below the first record of this moment or later, as near to it as what is in memory tells.
    pub fn offset_below(&self, timestamp: Timestamp) -> Offset {
        let sealed = self.sealed.iter().find(|segment| segment.max_timestamp >= timestamp);
        let segment = sealed.map_or(self.active.base_offset, |segment| segment.base_offset);
        let batches = self.index(segment).map(MemoryIndex::batches);
        let entry = batches.and_then(|batches| {
            let at = batches.partition_point(|batch| batch.max_timestamp < timestamp);
            batches.get(at).or(batches.last())
        });
        entry.map_or(segment, |entry| entry.base_offset)
    }

    fn open_offset_at(&self, timestamp: Timestamp) -> Offset {
        if self.open.is_empty() || self.open.max_timestamp() < timestamp {
            return self.next_offset();
        }
        let first = self.active.index.len() - self.open.count();
        let records = (first..self.active.index.len()).filter_map(|ordinal| {
            let position = self.active.index.position(ordinal)?;
            self.stored(self.active.base_offset, position, &mut None)
        });
        let mut later = records.filter(|record| record.timestamp >= timestamp);
        later.next().map_or(self.next_offset(), |record| record.offset)
    }

    /// Segments with their index in memory, from the one that holds `offset` on.
    fn segments_from(&self, offset: Offset) -> impl Iterator<Item = (Offset, &MemoryIndex)> {
        let first = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let sealed = self.sealed.iter().skip(first).map(|segment| segment.base_offset);
        let bases = sealed.chain([self.active.base_offset]);
        bases.filter_map(|base| self.index(base).map(|index| (base, index)))
    }

    /// Adds what matches in one segment.
    fn gather(
        &self,
        base: Offset,
        index: &MemoryIndex,
        matcher: &dyn KeyMatcher,
        gathered: &mut Gathered,
    ) -> ControlFlow<()> {
        let from = self.ordinal_at(base, index, gathered.from);
        let to = self.ordinal_at(base, index, gathered.to);
        let mut hint = None;
        let mut flow = ControlFlow::Continue(());
        index.select(from, to, matcher, &mut |ordinal| {
            let found =
                index.position(ordinal).and_then(|position| self.stored(base, position, &mut hint));
            flow = found.map_or(ControlFlow::Continue(()), |record| gathered.add(record));
            flow.is_continue()
        });
        flow
    }

    /// As [`index::ordinal_at`], the open batch included.
    fn ordinal_at(&self, base: Offset, index: &MemoryIndex, offset: Offset) -> u32 {
        let open = self.open.base_offset();
        if base != self.active.base_offset || self.open.is_empty() || offset < open {
            return index::ordinal_at(index.batches(), offset);
        }
        let skipped = u32::try_from(offset.since(open)).unwrap_or(u32::MAX).min(self.open.count());
        index.len() - self.open.count() + skipped
    }

    /// The record that begins at this place, from memory. `hint` is the batch of the record before.
    fn stored<'a>(
        &'a self,
        base: Offset,
        position: u32,
        hint: &mut Option<&'a TailBatch>,
    ) -> Option<StoredRecord> {
        let open = base == self.active.base_offset && u64::from(position) >= self.active.position;
        if open {
            let inside = u64::from(position) - self.active.position;
            return self.open.record_at(usize::try_from(inside).ok()?);
        }
        let known = hint.filter(|found| found.holds(base, position));
        let found = known.or_else(|| self.tail.batch_at(base, position))?;
        *hint = Some(found);
        let inside = position.checked_sub(found.batch.header.position)?;
        let record = found.batch.record_at(inside as usize)?;
        Some(record.to_stored(&found.batch.bytes))
    }

    /// The request for the part of `from..to` that is in one segment and not in memory.
    fn cold(
        &self,
        from: Offset,
        to: Offset,
        bytes_max: usize,
        matcher: &Arc<dyn KeyMatcher>,
    ) -> ReadRequest {
        let (segment, end) = self.segment_at(from);
        let to = to.min(end).min(self.tail_offset());
        let plan =
            self.index(segment).map(|index| plan(index, from, to, bytes_max, matcher.as_ref()));
        ReadRequest {
            segment,
            from,
            to,
            bytes_max,
            select: Select::Matching(Arc::clone(matcher)),
            plan,
        }
    }

    fn cold_record(&self, offset: Offset) -> ReadRequest {
        let (segment, _) = self.segment_at(offset);
        let plan = self.index(segment).and_then(|index| {
            let mut plan = Plan::new(offset.next());
            plan.fetch(Some(index::batch_at(index.batches(), offset)?), READ_BYTES_MAX);
            Some(plan)
        });
        ReadRequest {
            segment,
            from: offset,
            to: offset.next(),
            bytes_max: 0,
            select: Select::Every,
            plan,
        }
    }

    /// The segment that holds this offset or the first later one, and where it ends.
    fn segment_at(&self, offset: Offset) -> (Offset, Offset) {
        let number = self.sealed.partition_point(|segment| segment.next_offset <= offset);
        let active = (self.active.base_offset, self.next_offset());
        self.sealed.get(number).map_or(active, |segment| (segment.base_offset, segment.next_offset))
    }
}

/// What a cold read of a segment has to fetch, as its index in memory knows it.
fn plan(
    index: &MemoryIndex,
    from: Offset,
    to: Offset,
    bytes_max: usize,
    matcher: &dyn KeyMatcher,
) -> Plan {
    let batches = index.batches();
    let first = index::ordinal_at(batches, from);
    let last = index::ordinal_after(batches, to);
    let mut plan = Plan::new(to);
    let mut ordinals = Vec::new();
    let mut bytes_left = bytes_max;
    index.select(first, last, matcher, &mut |ordinal| {
        if plan.lacks(ordinal) {
            let limit = if bytes_left == 0 { 0 } else { READ_BYTES_MAX };
            if !plan.fetch(index::batch_of(batches, ordinal), limit) {
                return false;
            }
        }
        ordinals.push(ordinal);
        bytes_left = bytes_left.saturating_sub(index.size(ordinal));
        true
    });
    plan.ordinals = Some(ordinals);
    plan
}

/// Records being gathered up to a number of bytes.
pub(super) struct Gathered {
    pub(super) records: Vec<StoredRecord>,
    pub(super) bytes_left: usize,
    pub(super) from: Offset,
    pub(super) to: Offset,
    /// Where to go on.
    pub(super) next: Offset,
}

impl Gathered {
    /// Adds a record if it is in the range; breaks when it does not fit any more.
    pub(super) fn add(&mut self, record: StoredRecord) -> ControlFlow<()> {
        if record.offset < self.from || record.offset >= self.to {
            return ControlFlow::Continue(());
        }
        if record.size_bytes() > self.bytes_left && !self.records.is_empty() {
            self.next = record.offset;
            return ControlFlow::Break(());
        }
        self.bytes_left = self.bytes_left.saturating_sub(record.size_bytes());
        self.records.push(record);
        ControlFlow::Continue(())
    }

    /// The records in memory of their own: a reader that holds them for long, because its client is slow, does not hold the
    /// batches that they were in.
    pub(super) fn into_records(mut self) -> Vec<StoredRecord> {
        let bytes = self.records.iter().map(StoredRecord::size_bytes).sum();
        let mut own = BytesMut::with_capacity(bytes);
        for record in &mut self.records {
            own.extend_from_slice(&record.bytes);
            record.bytes = own.split().freeze();
        }
        self.records
    }
}
