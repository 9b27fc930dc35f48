//! Makes a damaged log whole again by giving up what can't be read: for a log that nobody else uses, and of which there is a copy.
//!
//! A segment with a broken place is written anew with the batches that are sound, byte for byte but for their places; where
//! records are missing a batch without records stands for their offsets, so that every other record keeps its own.

use std::sync::Arc;

use bytes::Bytes;

use crate::commitlog::Damage;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::TornTail;
use crate::commitlog::batch;
use crate::commitlog::batch::Batch;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::format;
use crate::commitlog::index::FileIndex;
use crate::commitlog::recovery;
use crate::commitlog::segment;
use crate::commitlog::segment::Scan;
use crate::commitlog::segment::SegmentHeader;
use crate::commitlog::writer;
use crate::time::Timestamp;

/// A place that can't be read, given up for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Where it was, and which offsets were there.
    pub damage: Damage,
    /// The keys of the records that were there, as far as the segment's index still told; `None` if it did not.
    pub keys: Option<Vec<Bytes>>,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What is lost now.
    pub given_up: Vec<GivenUp>,
    /// The end of the last segment that was no whole batch, and was cut.
    pub torn: Option<TornTail>,
    /// How many segments were written anew.
    pub segments_rewritten: usize,
    /// How many indexes were made anew.
    pub indexes_rebuilt: usize,
    /// Whether the file with the format was made anew.
    pub format_rewritten: bool,
    /// Whether an earlier repair was interrupted, and what it left in the directory was removed.
    pub leftover_removed: bool,
}

impl RepairReport {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Makes the log of a directory whole. Durable when it returns; after a crash in the middle it may be called again.
///
/// # Errors
/// [`LogError::Locked`] while a broker uses it; [`LogError::NoLog`], [`LogError::NewerFormat`], [`LogError::Storage`].
pub fn repair(disk: &dyn Disk) -> Result<RepairReport, LogError> {
    let _lock = recovery::lock(disk)?;
    let bases = directory::segments(disk)?;
    let found = format::read(disk, &bases)?;
    let log_id =
        found.log_id.ok_or_else(|| LogError::NoLog { directory: disk.directory().into() })?;
    let mut report =
        RepairReport { leftover_removed: remove_leftover(disk)?, ..RepairReport::default() };
    if found.damage.is_some() {
        format::write(disk, log_id)?;
        report.format_rewritten = true;
    }
    for (number, base) in bases.iter().enumerate() {
        format::header_of(disk, *base)?;
        let next_base = bases.get(number + 1).copied();
        Segment::open(disk, log_id, *base, next_base)?.repair(&mut report)?;
    }
    writer::sync_dir(disk)?;
    Ok(report)
}

/// Removes the segment that an interrupted repair did not finish; the old one is there.
fn remove_leftover(disk: &dyn Disk) -> Result<bool, StorageError> {
    let name = directory::REPAIRED_FILE;
    if directory::open(disk, name)?.is_none() {
        return Ok(false);
    }
    disk.remove(name).map_err(|error| StorageError::write(name, 0, error))?;
    Ok(true)
}

/// One segment under repair.
struct Segment<'a> {
    disk: &'a dyn Disk,
    log_id: u64,
    base: Offset,
    next_base: Option<Offset>,
    name: String,
    file: Arc<dyn DiskFile>,
}

impl<'a> Segment<'a> {
    fn open(
        disk: &'a dyn Disk,
        log_id: u64,
        base: Offset,
        next_base: Option<Offset>,
    ) -> Result<Self, StorageError> {
        let name = segment::file_name(base);
        let file = disk.open(&name, Access::Write);
        let file = file.map_err(|error| StorageError::read(&name, 0, error))?;
        Ok(Self { disk, log_id, base, next_base, name, file })
    }

    fn repair(&self, report: &mut RepairReport) -> Result<(), StorageError> {
        let (memory, scan) = directory::scan_index(self.file.as_ref(), self.log_id, self.base)?;
        let damage = directory::damage_of(&self.name, &scan, self.next_base);
        if !damage.is_empty() {
            let generation = self.header()?.generation;
            let index = directory::load_index(self.disk, self.log_id, self.base, generation)?;
            report
                .given_up
                .extend(damage.into_iter().map(|damage| given_up(damage, index.as_ref())));
            report.segments_rewritten += 1;
            self.write_anew()?;
        } else if self.next_base.is_none() && scan.trailing_bytes > 0 {
            self.cut(&scan)?;
            let (position, bytes) = (scan.end, scan.trailing_bytes);
            report.torn = Some(TornTail { file: self.name.as_str().into(), position, bytes });
        }
        drop(memory);
        self.rebuild_index(report)
    }

    fn cut(&self, scan: &Scan) -> Result<(), StorageError> {
        let failed = |error| StorageError::write(&self.name, scan.end, error);
        self.file.set_size(scan.end).map_err(failed)?;
        self.file.sync_data().map_err(|error| StorageError::sync(&self.name, scan.end, error))
    }

    /// The header as it is, or as that of a segment that was never cleaned if it is broken.
    fn header(&self) -> Result<SegmentHeader, StorageError> {
        let bytes = directory::head(self.file.as_ref(), &self.name, segment::HEADER_BYTES)?;
        let new = SegmentHeader::new(self.log_id, self.base);
        let found = SegmentHeader::decode(&bytes);
        let own = |found: &SegmentHeader| {
            (found.version, found.log_id, found.base_offset)
                == (new.version, new.log_id, new.base_offset)
        };
        Ok(found.filter(own).unwrap_or(new))
    }

    /// Writes what is sound to a new file, which takes the place of the old one.
    fn write_anew(&self) -> Result<(), StorageError> {
        let failed = |error| StorageError::write(directory::REPAIRED_FILE, 0, error);
        let file = self.disk.open(directory::REPAIRED_FILE, Access::Create).map_err(failed)?;
        let header = self.header()?.encode();
        file.write_at(&header, 0).map_err(failed)?;
        let mut copy = Copy {
            file: file.as_ref(),
            log_id: self.log_id,
            position: header.len() as u64,
            next_offset: self.base,
            timestamp: Timestamp::EPOCH,
            outcome: Ok(()),
        };
        segment::scan(self.file.as_ref(), &self.name, self.log_id, self.base, &mut |batch| {
            copy.take(batch);
        })?;
        if let Some(next_base) = self.next_base {
            copy.fill(next_base);
        }
        copy.outcome?;
        file.sync_data().map_err(|error| StorageError::sync(directory::REPAIRED_FILE, 0, error))?;
        self.remove_index()?;
        self.disk.rename(directory::REPAIRED_FILE, &self.name).map_err(failed)?;
        writer::sync_dir(self.disk)
    }

    fn remove_index(&self) -> Result<(), StorageError> {
        let name = segment::index_name(self.base);
        if directory::open(self.disk, &name)?.is_some() {
            self.disk.remove(&name).map_err(|error| StorageError::write(&name, 0, error))?;
            writer::sync_dir(self.disk)?;
        }
        Ok(())
    }

    /// A complete segment has the index that its bytes give; the last one has none, as it takes records.
    fn rebuild_index(&self, report: &mut RepairReport) -> Result<(), StorageError> {
        let name = segment::index_name(self.base);
        let before = match directory::open(self.disk, &name)? {
            Some(file) => Some(directory::all(file.as_ref(), &name)?),
            None if self.next_base.is_none() => return Ok(()),
            None => None,
        };
        let Some(file) = directory::open(self.disk, &self.name)? else { return Ok(()) };
        let built = directory::build_index(file.as_ref(), self.log_id, self.base)?;
        if before.is_none_or(|before| before != built.bytes) {
            writer::write_index(
                self.disk,
                directory::INDEX_TEMPORARY_FILE,
                self.base,
                &built.bytes,
            )?;
            report.indexes_rebuilt += 1;
        }
        Ok(())
    }
}

/// Sound batches on their way into a new file.
struct Copy<'a> {
    file: &'a dyn DiskFile,
    log_id: u64,
    position: u64,
    next_offset: Offset,
    timestamp: Timestamp,
    outcome: Result<(), StorageError>,
}

impl Copy<'_> {
    fn take(&mut self, batch: &Batch) {
        self.fill(batch.header.base_offset);
        self.timestamp = self.timestamp.max(batch.header.max_timestamp);
        self.write(&batch.moved(self.log_id, self.position));
        self.next_offset = batch.header.next_offset();
    }

    /// Stands in for the offsets up to this one.
    fn fill(&mut self, until: Offset) {
        while self.next_offset < until {
            let left = until.since(self.next_offset);
            let span = u32::try_from(left).unwrap_or(u32::MAX);
            let (from, timestamp) = (self.next_offset, self.timestamp);
            self.write(&batch::empty(self.log_id, self.position, from, span, timestamp));
            self.next_offset = from.saturating_add(u64::from(span));
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.outcome.is_ok() {
            let written = self.file.write_at(bytes, self.position);
            let failed =
                |error| StorageError::write(directory::REPAIRED_FILE, self.position, error);
            self.outcome = written.map_err(failed);
        }
        self.position += bytes.len() as u64;
    }
}

/// What is lost in a damaged place, as far as an index that was made before the damage tells.
fn given_up(damage: Damage, index: Option<&FileIndex>) -> GivenUp {
    let keys = index.filter(|index| index.damage.is_empty()).map(|index| {
        let lost = |batch: &&crate::commitlog::index::BatchEntry| {
            batch.base_offset < damage.to && batch.next_offset() > damage.from
        };
        let batches = index.batches().iter().filter(lost);
        let ordinals: Vec<_> =
            batches.map(|batch| batch.first_ordinal..batch.next_ordinal()).collect();
        index.keys_of(&ordinals)
    });
    GivenUp { damage, keys }
}
