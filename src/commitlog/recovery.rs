//! Opens a log: finds what is there, cuts a torn tail, says what is wrong.
//!
//! Sealed segments with a sound index are believed; only the last segment, and those without, are read.
//! The end of the last segment is cut where no sound batch follows; anything else that is broken stays as it is,
//! and the log goes on after it in a segment of its own.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::commitlog::Damage;
use crate::commitlog::Log;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::Options;
use crate::commitlog::Reader;
use crate::commitlog::StorageError;
use crate::commitlog::Writer;
use crate::commitlog::batch;
use crate::commitlog::batch::BatchHeader;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::disk::DiskLock;
use crate::commitlog::format;
use crate::commitlog::index;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::index::Summary;
use crate::commitlog::log::ActiveSegment;
use crate::commitlog::log::SealedSegment;
use crate::commitlog::reserve::Reserve;
use crate::commitlog::segment;
use crate::commitlog::segment::Scan;
use crate::commitlog::segment::SegmentHeader;
use crate::commitlog::writer;
use crate::commitlog::writer::CurrentSegment;
use crate::commitlog::writer::Found;

/// How many bytes of the last segment are written again at a time.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// How far recovery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Segments done.
    pub segments: usize,
    /// Segments in all.
    pub segments_total: usize,
    /// Bytes of segments read so far.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the log was made new.
    pub created: bool,
    /// The first offset kept.
    pub start_offset: Offset,
    /// The offset that the next record gets.
    pub next_offset: Offset,
    /// How many segments there are.
    pub segments: usize,
    /// Segments that had to be read through: the active one, and those without a sound index.
    pub segments_scanned: usize,
    /// Bytes of segments read.
    pub bytes_scanned: u64,
    /// The torn tail that was cut, if there was one.
    pub torn: Option<TornTail>,
    /// What is broken, with records after it that are kept.
    pub damage: Vec<Damage>,
    /// Below this offset the cleaner has taken out records for good: a state that is older can't be brought up to date from
    /// the log.
    pub cleaned_to: Offset,
}

/// The end of the active segment that was cut because no whole batch was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file's name in the data directory.
    pub file: Box<str>,
    /// The first byte that was cut.
    pub position: u64,
    /// How many bytes were cut, up to the last that was not zero.
    pub bytes: u64,
}

impl Log {
    /// Opens the log in a directory, or makes a new one, and takes the directory's lock for as long as the log
    /// or its writer lives. When it returns, what was found is durable.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::NewerFormat`], [`LogError::Storage`]. Damage is no error: it is in the report.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        progress: &mut dyn FnMut(&RecoveryProgress),
    ) -> Result<(Self, Writer, Reader, RecoveryReport), LogError> {
        let options = options.clamped();
        let lock = Arc::new(lock(disk.as_ref())?);
        let bases = directory::segments(disk.as_ref())?;
        let found = format::read(disk.as_ref(), &bases)?;
        let log_id = found.log_id.unwrap_or(options.new_log_id);
        let mut recovery = Recovery::new(Arc::clone(&disk), log_id, &bases);
        if found.log_id.is_none() || found.damage.is_some() {
            format::write(disk.as_ref(), log_id)?;
        }
        recovery.report.created = found.log_id.is_none();
        recovery.report.damage.extend(found.damage);
        recovery.segments(progress)?;
        recovery.remove_leftovers()?;
        let Recovery { sealed, active, current, report, .. } = recovery;
        let reader = Reader::new(Arc::clone(&disk), log_id, options.index_cache_bytes_max);
        let reserve = Reserve::open(disk.as_ref(), options.reserve_bytes)?;
        let found = Found { log_id, next_offset: report.next_offset, current, reserve };
        let writer = Writer::new(disk, &options, found, Arc::clone(&lock));
        let log = Self::recovered(options, log_id, sealed, active, report.next_offset, lock);
        Ok((log, writer, reader, report))
    }
}

/// Takes the lock of a directory.
pub(super) fn lock(disk: &dyn Disk) -> Result<DiskLock, LogError> {
    disk.lock(directory::LOCK_FILE).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            return LogError::Locked { directory: disk.directory().into() };
        }
        LogError::Storage(StorageError::write(directory::LOCK_FILE, 0, error))
    })
}

/// A log being recovered.
struct Recovery<'a> {
    disk: Arc<dyn Disk>,
    log_id: u64,
    bases: &'a [Offset],
    sealed: VecDeque<SealedSegment>,
    active: ActiveSegment,
    current: Option<CurrentSegment>,
    report: RecoveryReport,
}

impl<'a> Recovery<'a> {
    fn new(disk: Arc<dyn Disk>, log_id: u64, bases: &'a [Offset]) -> Self {
        Self {
            disk,
            log_id,
            bases,
            sealed: VecDeque::new(),
            active: ActiveSegment::new(Offset::ZERO),
            current: None,
            report: RecoveryReport::default(),
        }
    }

    fn segments(&mut self, progress: &mut dyn FnMut(&RecoveryProgress)) -> Result<(), LogError> {
        for (number, base) in self.bases.iter().enumerate() {
            let header = format::header_of(self.disk.as_ref(), *base)?;
            let header = header.filter(|header| header.log_id == self.log_id);
            let cleaned_to = header.map_or(Offset::ZERO, |header| header.cleaned_to);
            self.report.cleaned_to = self.report.cleaned_to.max(cleaned_to);
            let next_base = self.bases.get(number + 1).copied();
            if !self.believe_index(*base, next_base, header)? {
                match next_base {
                    Some(_) => self.read_sealed(*base, next_base)?,
                    None => self.read_last(*base)?,
                }
            }
            progress(&RecoveryProgress {
                segments: number + 1,
                segments_total: self.bases.len(),
                bytes: self.report.bytes_scanned,
            });
        }
        if self.current.is_none() {
            let last = self.sealed.back().map_or(Offset::ZERO, |segment| segment.next_offset);
            self.active = ActiveSegment::new(last);
            self.report.next_offset = last;
        }
        self.report.start_offset =
            self.sealed.front().map_or(self.active.base_offset, |first| first.base_offset);
        self.report.segments = self.sealed.len() + 1;
        Ok(())
    }

    /// Takes a sealed segment as its index describes it; whether there is a sound index that fits.
    fn believe_index(
        &mut self,
        base: Offset,
        next_base: Option<Offset>,
        header: Option<SegmentHeader>,
    ) -> Result<bool, StorageError> {
        let disk = self.disk.as_ref();
        let name = segment::file_name(base);
        let Some(summary) = summary(disk, self.log_id, base)? else { return Ok(false) };
        if header.is_some_and(|header| header.generation != summary.generation) {
            return Ok(false);
        }
        let Some(file) = directory::open(disk, &name)? else { return Ok(false) };
        if directory::size(file.as_ref(), &name)? < summary.segment_bytes {
            return Ok(false);
        }
        if summary.damaged > 0 {
            let Some(index) = directory::load_index(disk, self.log_id, base, summary.generation)?
            else {
                return Ok(false);
            };
            self.report.damage.extend(index.damage);
        }
        let end = Scan {
            end: summary.segment_bytes,
            next_offset: summary.next_offset,
            header: header.is_some(),
            ..Scan::default()
        };
        self.report.damage.extend(directory::damage_of(
            &name,
            &end,
            next_base.or(Some(summary.next_offset)),
        ));
        self.sealed.push_back(SealedSegment {
            base_offset: base,
            next_offset: summary.next_offset,
            bytes: summary.segment_bytes,
            max_timestamp: summary.max_timestamp,
            generation: summary.generation,
        });
        Ok(true)
    }

    /// Reads a sealed segment that has no sound index, and makes one.
    fn read_sealed(&mut self, base: Offset, next_base: Option<Offset>) -> Result<(), StorageError> {
        let (_, index, scan) = self.read(base)?;
        let name = segment::file_name(base);
        self.report.damage.extend(directory::damage_of(&name, &scan, next_base));
        self.keep_sealed(base, &index, scan);
        Ok(())
    }

    /// Reads the last segment, which has no index because it takes records.
    fn read_last(&mut self, base: Offset) -> Result<(), StorageError> {
        let (file, index, scan) = self.read(base)?;
        let name = segment::file_name(base);
        let damage = directory::damage_of(&name, &scan, None);
        if scan.trailing_bytes > 0 {
            let (position, bytes) = (scan.end, scan.trailing_bytes);
            self.report.torn = Some(TornTail { file: name.as_str().into(), position, bytes });
        }
        if !damage.is_empty() {
            make_durable(self.disk.as_ref(), file.as_ref(), &name)?;
            self.report.damage.extend(damage);
            self.keep_sealed(base, &index, scan);
            return Ok(());
        }
        self.report.next_offset = scan.next_offset;
        let file = if scan.header { file } else { self.begin_again(base, &name, &scan)? };
        if scan.header && scan.trailing_bytes > 0 {
            let failed = |error| StorageError::write(&name, scan.end, error);
            file.set_size(scan.end).map_err(failed)?;
        }
        if scan.header {
            self.write_again(file.as_ref(), &name, &index, scan.end)?;
        }
        make_durable(self.disk.as_ref(), file.as_ref(), &name)?;
        self.current =
            Some(CurrentSegment { base, name, file, position: scan.end, unsynced: false });
        self.active = ActiveSegment { base_offset: base, position: scan.end, index };
        Ok(())
    }

    /// Writes the end of the last segment once more: what was not surely synced when its last batch was made.
    ///
    /// After a sync that failed, a system may hand out bytes that it holds for clean and has never put on the disk: no
    /// later sync would make them durable, and a power cut would take them from under what follows.
    fn write_again(
        &self,
        file: &dyn DiskFile,
        name: &str,
        index: &MemoryIndex,
        end: u64,
    ) -> Result<(), StorageError> {
        let synced = match index.batches().last() {
            Some(last) => {
                let at = u64::from(last.position);
                let header = read_exactly(file, name, at, batch::HEADER_BYTES)?;
                BatchHeader::decode(&header, self.log_id)
                    .map_or(Offset::ZERO, |header| header.synced_offset())
            }
            None => Offset::ZERO,
        };
        let first = index.batches().iter().find(|batch| batch.next_offset() > synced);
        let mut position = match first {
            // Before the first batch stands the segment's header.
            Some(batch) if Some(batch) != index.batches().first() => u64::from(batch.position),
            _ => 0,
        };
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(usize::MAX).min(WRITTEN_AT_ONCE);
            let bytes = read_exactly(file, name, position, left)?;
            file.write_at(&bytes, position)
                .map_err(|error| StorageError::write(name, position, error))?;
            position += bytes.len() as u64;
        }
        Ok(())
    }

    fn read(
        &mut self,
        base: Offset,
    ) -> Result<(Arc<dyn DiskFile>, MemoryIndex, Scan), StorageError> {
        let name = segment::file_name(base);
        let opened = self.disk.open(&name, Access::Write);
        let file = opened.map_err(|error| StorageError::read(&name, 0, error))?;
        let (index, scan) = directory::scan_index(file.as_ref(), self.log_id, base)?;
        self.report.segments_scanned += 1;
        self.report.bytes_scanned += scan.end;
        Ok((file, index, scan))
    }

    fn keep_sealed(&mut self, base: Offset, index: &MemoryIndex, scan: Scan) {
        let built = directory::freeze(self.log_id, base, index, scan);
        // Without the file the index is made again when it is missed.
        let _ = writer::write_index(
            self.disk.as_ref(),
            directory::INDEX_TEMPORARY_FILE,
            base,
            &built.bytes,
        );
        self.sealed.push_back(SealedSegment {
            base_offset: base,
            next_offset: built.scan.next_offset,
            bytes: built.scan.end,
            max_timestamp: built.index.summary.max_timestamp,
            generation: built.scan.generation,
        });
    }

    /// Begins a segment again of which neither the header nor any batch is sound.
    ///
    /// Most likely nothing in it was ever acknowledged. As nobody knows, what it holds is kept under another name.
    fn begin_again(
        &self,
        base: Offset,
        name: &str,
        scan: &Scan,
    ) -> Result<Arc<dyn DiskFile>, StorageError> {
        let failed = |error| StorageError::write(name, 0, error);
        if scan.trailing_bytes > 0 {
            self.disk.rename(name, &format!("{name}.broken")).map_err(failed)?;
        }
        let file = self.disk.open(name, Access::Create).map_err(failed)?;
        file.write_at(&SegmentHeader::new(self.log_id, base).encode(), 0).map_err(failed)?;
        Ok(file)
    }

    /// Removes what an interrupted run left: a prepared file, indexes without a sealed segment.
    fn remove_leftovers(&self) -> Result<(), StorageError> {
        for name in directory::list(self.disk.as_ref())? {
            let sealed =
                |base: Offset| self.sealed.iter().any(|segment| segment.base_offset == base);
            let orphan = segment::index_base_of(&name).is_some_and(|base| !sealed(base));
            if orphan || directory::LEFTOVERS.contains(&name.as_str()) {
                self.disk.remove(&name).map_err(|error| StorageError::write(&name, 0, error))?;
            }
        }
        Ok(())
    }
}

/// Bytes of a file that are there.
fn read_exactly(
    file: &dyn DiskFile,
    name: &str,
    position: u64,
    length: usize,
) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; length];
    let failed = |error| StorageError::read(name, position, error);
    if file.read_at(&mut bytes, position).map_err(failed)? < length {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

/// What was found may have been in the system's memory only.
fn make_durable(disk: &dyn Disk, file: &dyn DiskFile, name: &str) -> Result<(), StorageError> {
    file.sync_data().map_err(|error| StorageError::sync(name, 0, error))?;
    writer::sync_dir(disk)
}

/// What a segment's index file says in its header, if it is sound and has the right size.
fn summary(disk: &dyn Disk, log_id: u64, base: Offset) -> Result<Option<Summary>, StorageError> {
    let name = segment::index_name(base);
    let Some(file) = directory::open(disk, &name)? else { return Ok(None) };
    let bytes = directory::head(file.as_ref(), &name, index::HEADER_BYTES)?;
    let size = directory::size(file.as_ref(), &name)?;
    let fits = |summary: &Summary| {
        summary.log_id == log_id && summary.base_offset == base && summary.file_bytes() == size
    };
    Ok(Summary::decode(&bytes).filter(fits))
}
