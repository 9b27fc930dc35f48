//! Open segments with their indexes, and batches that were read: the most recently used ones.

use std::sync::Arc;

use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::commitlog::batch::Batch;
use crate::commitlog::batch::RawRecord;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::index::BatchEntry;
use crate::commitlog::index::FileIndex;

/// How many files stay open.
const FILES_MAX: usize = 32;
/// Smaller batches are not kept: reading one costs little more than finding it here would.
const KEPT_BYTES_MIN: usize = 16 << 10;

/// Open segments, the most recently used last.
pub(super) struct SegmentCache {
    segments: Vec<CachedSegment>,
    bytes_max: usize,
}

/// The file of a segment, and how often the segment in it was cleaned.
pub(super) type OpenedSegment = (Arc<dyn DiskFile>, u32);

struct CachedSegment {
    base: Offset,
    file: Arc<dyn DiskFile>,
    /// How often the segment in this file was cleaned.
    generation: u32,
    index: Option<Arc<FileIndex>>,
}

impl CachedSegment {
    fn bytes(&self) -> usize {
        self.index.as_ref().map_or(0, |index| index.size_bytes())
    }
}

impl SegmentCache {
    /// Keeps so many bytes of indexes, but always the last one used.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { segments: Vec::new(), bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The file, and how often its segment was cleaned.
    pub(super) fn file(&mut self, base: Offset) -> Option<OpenedSegment> {
        self.touch(base).map(|segment| (Arc::clone(&segment.file), segment.generation))
    }

    pub(super) fn index(&mut self, base: Offset) -> Option<Arc<FileIndex>> {
        self.touch(base)?.index.as_ref().map(Arc::clone)
    }

    pub(super) fn put(&mut self, base: Offset, file: Arc<dyn DiskFile>, generation: u32) {
        self.segments.push(CachedSegment { base, file, generation, index: None });
        self.evict();
    }

    pub(super) fn put_index(&mut self, base: Offset, index: Arc<FileIndex>) {
        if let Some(segment) = self.touch(base) {
            segment.index = Some(index);
        }
        self.evict();
    }

    pub(super) fn forget(&mut self, bases: &[Offset]) {
        self.segments.retain(|segment| !bases.contains(&segment.base));
    }

    /// Finds a segment and makes it the last.
    fn touch(&mut self, base: Offset) -> Option<&mut CachedSegment> {
        let number = self.segments.iter().position(|segment| segment.base == base)?;
        let segment = self.segments.remove(number);
        self.segments.push(segment);
        self.segments.last_mut()
    }

    fn evict(&mut self) {
        let mut bytes: usize = self.segments.iter().map(CachedSegment::bytes).sum();
        while self.segments.len() > 1 && (bytes > self.bytes_max || self.segments.len() > FILES_MAX)
        {
            bytes -= self.segments.remove(0).bytes();
        }
    }
}

/// A batch whose checksum was found right, and where its records are.
pub(super) struct DecodedBatch {
    batch: Batch,
    entry: BatchEntry,
    /// Where each record begins, in order.
    positions: Vec<u32>,
}

impl DecodedBatch {
    /// Finds the records of a batch that is what its index says.
    pub(super) fn new(batch: Batch, entry: BatchEntry) -> Self {
        let position = |record: RawRecord<'_>| u32::try_from(record.position).unwrap_or(u32::MAX);
        let positions = batch.records().map(position).collect();
        Self { batch, entry, positions }
    }

    /// The record with this ordinal, if it is in this batch.
    pub(super) fn record(&self, ordinal: u32) -> Option<RawRecord<'_>> {
        let number = ordinal.checked_sub(self.entry.first_ordinal)?;
        self.at(*self.positions.get(number as usize)?)
    }

    /// The records from the first on that has this offset or a later one.
    pub(super) fn records_from(&self, offset: Offset) -> impl Iterator<Item = RawRecord<'_>> {
        let before =
            |position: &u32| self.at(*position).is_some_and(|record| record.offset < offset);
        let first = self.positions.partition_point(before);
        let positions = self.positions.get(first..).unwrap_or_default();
        positions.iter().filter_map(|position| self.at(*position))
    }

    /// A record of this batch as readers get it, sharing its memory.
    pub(super) fn stored(&self, record: RawRecord<'_>) -> StoredRecord {
        record.to_stored(&self.batch.bytes)
    }

    fn at(&self, position: u32) -> Option<RawRecord<'_>> {
        self.batch.record_at(position as usize)
    }

    fn bytes(&self) -> usize {
        self.batch.bytes.len() + self.positions.len() * size_of::<u32>()
    }
}

/// Batches that were read, the most recently used last.
pub(super) struct BatchCache {
    batches: Vec<(Offset, Arc<DecodedBatch>)>,
    bytes: usize,
    bytes_max: usize,
}

impl BatchCache {
    /// Keeps so many bytes; a batch that is larger is never kept.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { batches: Vec::new(), bytes: 0, bytes_max }
    }

    /// The batch that this entry of a segment's index means.
    pub(super) fn get(&mut self, segment: Offset, entry: &BatchEntry) -> Option<Arc<DecodedBatch>> {
        let same =
            |(base, batch): &(Offset, Arc<DecodedBatch>)| *base == segment && batch.entry == *entry;
        let number = self.batches.iter().rposition(same)?;
        if let Some(later) = self.batches.get_mut(number..) {
            later.rotate_left(1);
        }
        self.batches.last().map(|(_, batch)| Arc::clone(batch))
    }

    /// Whether a batch of this size is worth keeping and leaves room.
    pub(super) fn keeps(&self, batch: &Batch) -> bool {
        let positions = batch.header.count as usize * size_of::<u32>();
        (KEPT_BYTES_MIN..=self.bytes_max.saturating_sub(positions)).contains(&batch.bytes.len())
    }

    /// Keeps a batch, in place of those that were used the longest ago.
    pub(super) fn put(&mut self, segment: Offset, batch: &Arc<DecodedBatch>) {
        self.bytes += batch.bytes();
        self.batches.push((segment, Arc::clone(batch)));
        while self.bytes > self.bytes_max {
            let (_, oldest) = self.batches.remove(0);
            self.bytes -= oldest.bytes();
        }
    }

    pub(super) fn forget(&mut self, bases: &[Offset]) {
        self.batches.retain(|(base, _)| !bases.contains(base));
        self.bytes = self.batches.iter().map(|(_, batch)| batch.bytes()).sum();
    }
}
