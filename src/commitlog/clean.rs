//! Replaces a sealed segment by one without its dead records. Which those are is its caller's business.
//!
//! ```text
//!  segment ──► clean.tmp ──► sync ──► read back ──► rename over the segment ──► sync the directory ──► index
//!                 (survivors at their offsets, byte for byte, in batches whose spans cover the gaps)
//! ```
//!
//! - Whatever step is the last, the old segment or the new one is there, whole, and an index that fits or none that is believed:
//!   segment and index say how often the segment was cleaned.
//! - A segment that is not in every byte what its index says is left as it is.
//! - It knows no clock: a [`Pace`] is told of every batch, and may take its time or end the work.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::commitlog::Damage;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;
use crate::commitlog::batch::Batch;
use crate::commitlog::batch::OpenBatch;
use crate::commitlog::batch::RawRecord;
use crate::commitlog::directory;
use crate::commitlog::directory::BuiltIndex;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::disk::DiskLock;
use crate::commitlog::index::FileIndex;
use crate::commitlog::reader;
use crate::commitlog::segment;
use crate::commitlog::segment::SegmentHeader;
use crate::commitlog::segment::Window;
use crate::commitlog::writer;
use crate::mutant::Mutant;
use crate::time::Timestamp;

/// Small batches are joined until they have so many bytes.
const BATCH_BYTES: usize = 32 << 10;
/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// How much is written at once.
const WRITE_BYTES: usize = 256 << 10;
/// How much may be written and not synced: a large sync at the end would hold up the commits beside it.
const UNSYNCED_BYTES_MAX: u64 = 4 << 20;

/// Is told how many bytes were read or written just now; may take its time, and ends the work by breaking.
pub type Pace<'a> = dyn FnMut(usize) -> ControlFlow<()> + 'a;

/// A sealed segment that may be cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Its first offset.
    pub base_offset: Offset,
    /// The offset after its last.
    pub next_offset: Offset,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it was cleaned before.
    pub cleaned: bool,
}

/// What came of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CleanOutcome {
    /// It was read through, and stays as it is.
    Kept,
    /// It is gone, or has no index yet.
    Unfit,
    /// It is not what its index says.
    Damaged(Vec<Damage>),
    /// The pace ended the work before anything was changed.
    Interrupted,
    /// It was replaced by a smaller one.
    Rewritten(Rewritten),
}

/// A segment that was replaced by a smaller one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub(super) segment: Offset,
    pub(super) generation: u32,
    pub(super) max_timestamp: Timestamp,
    /// Its size in bytes before.
    pub bytes_before: u64,
    /// Its size in bytes now.
    pub bytes_after: u64,
    /// How many records were dropped.
    pub records_dropped: u64,
}

/// Rewrites sealed segments. Holds the directory's lock as long as it lives.
pub struct Cleaner {
    disk: Arc<dyn Disk>,
    log_id: u64,
    _lock: Arc<DiskLock>,
}

/// A sealed segment with its index, both sound as far as was looked.
struct Source {
    segment: Offset,
    name: String,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    index: FileIndex,
}

/// How reading a segment ended.
enum End {
    Whole,
    Broken(Damage),
    Interrupted,
}

impl Cleaner {
    pub(super) fn new(disk: Arc<dyn Disk>, log_id: u64, lock: Arc<DiskLock>) -> Self {
        Self { disk, log_id, _lock: lock }
    }

    /// Hands every record of a segment to `visit`, in offset order.
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails.
    pub fn survey(
        &self,
        segment: Offset,
        visit: &mut dyn FnMut(&StoredRecord),
        pace: &mut Pace<'_>,
    ) -> Result<CleanOutcome, StorageError> {
        let source = match self.source(segment)? {
            Ok(source) => source,
            Err(outcome) => return Ok(outcome),
        };
        let end = self.read(&source, pace, &mut |batch| {
            batch.records().for_each(|record| visit(&record.to_stored(&batch.bytes)));
            Ok(())
        })?;
        Ok(end.unless_whole().unwrap_or(CleanOutcome::Kept))
    }

    /// Replaces a segment by one that has only the records for which `keep` is true, if that makes it smaller by
    /// `dead_percent` at least. `keep` is asked for every record in offset order, and once more for all of them when it is worth it.
    /// The header will say that this was done with what is known below `cleaned_to`.
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails; the old segment or the new one is there then. After an error that is not
    /// [`StorageError::is_full`] nobody knows which of them survives a power cut: clean no more until the log is opened again.
    pub fn clean(
        &self,
        (segment, cleaned_to): (Offset, Offset),
        dead_percent: u8,
        keep: &mut dyn FnMut(&StoredRecord) -> bool,
        pace: &mut Pace<'_>,
    ) -> Result<CleanOutcome, StorageError> {
        let source = match self.source(segment)? {
            Ok(source) => source,
            Err(outcome) => return Ok(outcome),
        };
        let (mut dead_bytes, mut dead) = (0, 0);
        let end = self.read(&source, pace, &mut |batch| {
            for record in batch.records().filter(|record| !keep(&record.to_stored(&batch.bytes))) {
                dead_bytes += record.size_bytes() as u64;
                dead += 1;
            }
            Ok(())
        })?;
        if let Some(outcome) = end.unless_whole() {
            return Ok(outcome);
        }
        let bytes = source.index.summary.segment_bytes;
        if dead == 0 || dead_bytes.saturating_mul(100) < bytes.saturating_mul(dead_percent.into()) {
            return Ok(CleanOutcome::Kept);
        }
        let outcome = self.rewrite(&source, cleaned_to, keep, pace);
        if !matches!(outcome, Ok(CleanOutcome::Rewritten(_))) {
            // What was written is of no use. After a rename there is nothing to remove.
            let _ = self.disk.remove(directory::CLEANED_FILE);
        }
        outcome
    }

    /// The segment and its index, or why it can't be cleaned now.
    fn source(&self, segment: Offset) -> Result<Result<Source, CleanOutcome>, StorageError> {
        let name = segment::file_name(segment);
        let disk = self.disk.as_ref();
        let Some(file) = directory::open(disk, &name)? else { return Ok(Err(CleanOutcome::Unfit)) };
        let head = directory::head(file.as_ref(), &name, segment::HEADER_BYTES)?;
        let header = SegmentHeader::decode(&head).filter(|head| head.is_of(self.log_id, segment));
        let Some(header) = header else { return Ok(Err(CleanOutcome::Unfit)) };
        let index = directory::load_index(disk, self.log_id, segment, header.generation)?;
        Ok(match index {
            // Without an index the writer may be about to write the one of the old segment.
            None => Err(CleanOutcome::Unfit),
            Some(index) if !index.damage.is_empty() => Err(CleanOutcome::Damaged(index.damage)),
            Some(index) => Ok(Source { segment, name, file, header, index }),
        })
    }

    /// Hands every batch to `visit`.
    fn read(
        &self,
        source: &Source,
        pace: &mut Pace<'_>,
        visit: &mut dyn FnMut(&Batch) -> Result<(), StorageError>,
    ) -> Result<End, StorageError> {
        let end = source.index.summary.segment_bytes;
        let mut window = Window::new(source.file.as_ref(), &source.name, end);
        for entry in source.index.batches() {
            let (position, length) = (u64::from(entry.position), entry.length as usize);
            let bytes = window.slice_ahead(position, length, READ_BYTES)?;
            match reader::decode(&bytes, self.log_id, entry) {
                Ok(batch) => visit(&batch)?,
                Err(what) => return Ok(End::Broken(reader::broken(&source.name, entry, what))),
            }
            if pace(length).is_break() {
                return Ok(End::Interrupted);
            }
        }
        Ok(End::Whole)
    }

    fn rewrite(
        &self,
        source: &Source,
        cleaned_to: Offset,
        keep: &mut dyn FnMut(&StoredRecord) -> bool,
        pace: &mut Pace<'_>,
    ) -> Result<CleanOutcome, StorageError> {
        let generation = source.header.generation.saturating_add(1);
        let header = SegmentHeader { generation, cleaned_to, ..source.header };
        let mut target = Target::create(self.disk.as_ref(), &header)?;
        let mut records: u64 = 0;
        let end = self.read(source, pace, &mut |batch| {
            let kept = |record: &RawRecord<'_>| keep(&record.to_stored(&batch.bytes));
            let kept: Vec<RawRecord<'_>> = batch.records().filter(kept).collect();
            records += kept.len() as u64;
            target.add(batch, &kept)
        })?;
        if let Some(outcome) = end.unless_whole() {
            return Ok(outcome);
        }
        let file = target.finish()?;
        let before = &source.index.summary;
        let built = directory::build_index(file.as_ref(), self.log_id, source.segment)?;
        let as_meant = built.scan.header
            && built.scan.damage.is_empty()
            && built.scan.trailing_bytes == 0
            && built.scan.next_offset == before.next_offset
            && built.index.summary.records == records;
        if !as_meant || built.scan.end >= before.segment_bytes {
            return Ok(CleanOutcome::Kept);
        }
        if pace(WRITE_BYTES).is_break() {
            return Ok(CleanOutcome::Interrupted);
        }
        self.replace(source, &built)?;
        Ok(CleanOutcome::Rewritten(Rewritten {
            segment: source.segment,
            generation,
            max_timestamp: built.index.summary.max_timestamp,
            bytes_before: before.segment_bytes,
            bytes_after: built.scan.end,
            records_dropped: before.records.saturating_sub(records),
        }))
    }

    /// Puts the new file, which is durable, in the place of the old one.
    fn replace(&self, source: &Source, built: &BuiltIndex) -> Result<(), StorageError> {
        let failed = |error| StorageError::write(&source.name, 0, error);
        self.disk.rename(directory::CLEANED_FILE, &source.name).map_err(failed)?;
        writer::sync_dir(self.disk.as_ref())?;
        let name = directory::CLEANED_INDEX_FILE;
        // Without the file the index is made again when it is missed.
        let _ = writer::write_index(self.disk.as_ref(), name, source.segment, &built.bytes);
        Ok(())
    }
}

impl End {
    /// What comes of a segment that was not read to its end.
    fn unless_whole(self) -> Option<CleanOutcome> {
        match self {
            Self::Whole => None,
            Self::Broken(damage) => Some(CleanOutcome::Damaged(vec![damage])),
            Self::Interrupted => Some(CleanOutcome::Interrupted),
        }
    }
}

/// The new segment, being written.
struct Target {
    file: Arc<dyn DiskFile>,
    log_id: u64,
    open: OpenBatch,
    /// The open batch stands for the offsets from here to `covered`.
    base: Offset,
    covered: Offset,
    /// Bytes on their way to the file, of which so many are in it and so many are synced.
    bytes: Vec<u8>,
    written: u64,
    synced: u64,
}

impl Target {
    fn create(disk: &dyn Disk, header: &SegmentHeader) -> Result<Self, StorageError> {
        let name = directory::CLEANED_FILE;
        let failed = |error| StorageError::write(name, 0, error);
        let file = disk.open(name, Access::Create).map_err(failed)?;
        Ok(Self {
            file,
            log_id: header.log_id,
            open: OpenBatch::default(),
            base: header.base_offset,
            covered: header.base_offset,
            bytes: header.encode().to_vec(),
            written: 0,
            synced: 0,
        })
    }

    /// Adds what is left of a batch.
    fn add(&mut self, batch: &Batch, kept: &[RawRecord<'_>]) -> Result<(), StorageError> {
        if let Some(first) = kept.first() {
            let bytes = kept.iter().map(RawRecord::size_bytes).sum::<usize>();
            if !self.open.is_empty() && self.open.len() + bytes > BATCH_BYTES {
                self.covered = batch.header.base_offset;
                self.seal()?;
            }
            if self.open.is_empty() {
                self.open.begin(self.base, first.timestamp);
            }
            for record in kept {
                let step = record.offset.since(self.base);
                self.open.push_at(step, &record.as_record(&batch.bytes), &[]);
            }
        }
        self.covered = batch.header.next_offset();
        Ok(())
    }

    /// Ends the open batch, which may be empty.
    fn seal(&mut self) -> Result<(), StorageError> {
        if self.open.is_empty() {
            self.open.begin(self.base, Timestamp::EPOCH);
        }
        let position = self.written + self.bytes.len() as u64;
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let batch = self.open.seal_before(self.covered, self.log_id, position);
        self.bytes.extend_from_slice(&batch.bytes);
        self.base = self.covered;
        if self.bytes.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        let name = directory::CLEANED_FILE;
        self.file
            .write_at(&self.bytes, self.written)
            .map_err(|error| StorageError::write(name, self.written, error))?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        if self.written - self.synced >= UNSYNCED_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.synced = self.written;
        if Mutant::CleanerBeforeSync.is_active() {
            return Ok(());
        }
        let failed = |error| StorageError::sync(directory::CLEANED_FILE, self.written, error);
        self.file.sync_data().map_err(failed)
    }

    /// Ends the file and makes it durable.
    fn finish(mut self) -> Result<Arc<dyn DiskFile>, StorageError> {
        if self.covered > self.base || !self.open.is_empty() {
            self.seal()?;
        }
        self.write()?;
        self.sync()?;
        Ok(self.file)
    }
}
