//! The only place that writes and syncs.
//!
//! The first failed write or sync poisons the writer: nobody knows what is on the disk then, and a second sync that
//! succeeds would say nothing about the first. A full disk is no such failure as long as no sync took part in it: what was set
//! aside is given back (`reserve.rs`), and the batch is written again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::commitlog::Cleaner;
use crate::commitlog::Offset;
use crate::commitlog::Options;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;
use crate::commitlog::StorageFault;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::disk::DiskLock;
use crate::commitlog::index;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::reserve::Reserve;
use crate::commitlog::segment;
use crate::commitlog::segment::SegmentHeader;
use crate::mutant::Mutant;

/// How much of a new file is filled with zeros in one step.
const FILL_BYTES: usize = 1 << 20;

/// What it is filled with: never written to, so it takes no memory.
static ZEROS: [u8; FILL_BYTES] = [0; FILL_BYTES];

/// How far a commit goes before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut: an `fdatasync` begun after the write returned.
    Fsync,
    /// Survives the process: handed to the operating system.
    Os,
}

/// What a commit made durable; goes back to [`Log::committed`](super::Log::committed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub(super) next_offset: Offset,
    pub(super) synced: bool,
    short: bool,
}

impl Committed {
    /// Every record below is durable now.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether the disk is full: this was written out of the space that was set aside, and there may soon be none.
    pub fn is_short(&self) -> bool {
        self.short
    }
}

/// Segments whose files are to be removed; made by [`Log::truncate_before`](super::Log::truncate_before).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truncation {
    pub(super) segments: Vec<Offset>,
}

impl Truncation {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Writes batches to segments. Poisoned by its first failed write or sync.
pub struct Writer {
    disk: Arc<dyn Disk>,
    log_id: u64,
    segment_bytes: u64,
    preallocate: bool,
    /// The offset of the next batch.
    next_offset: Offset,
    current: Option<CurrentSegment>,
    prepared: Prepared,
    reserve: Reserve,
    /// Indexes of sealed segments that are not in files yet.
    indexes: VecDeque<SealedIndex>,
    /// Segments given up whose files may still be there, the oldest first.
    given_up: VecDeque<Offset>,
    /// A new name may be lost in a power cut.
    names_unsynced: bool,
    poisoned: bool,
    lock: Arc<DiskLock>,
}

/// What recovery found for a writer to go on from.
pub(super) struct Found {
    pub(super) log_id: u64,
    pub(super) next_offset: Offset,
    pub(super) current: Option<CurrentSegment>,
    pub(super) reserve: Reserve,
}

/// The segment being written.
pub(super) struct CurrentSegment {
    pub(super) base: Offset,
    pub(super) name: String,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next batch begins; zero while there is no header.
    pub(super) position: u64,
    /// Written since the last sync.
    pub(super) unsynced: bool,
}

/// An index on its way to its file.
struct SealedIndex {
    base: Offset,
    next_offset: Offset,
    segment_bytes: u64,
    index: Arc<MemoryIndex>,
}

/// The next segment's file.
enum Prepared {
    Nothing,
    /// Filled with zeros up to here.
    Filling(Arc<dyn DiskFile>, u64),
    Ready(Arc<dyn DiskFile>),
    /// It can't be made now; the next segment begins without.
    Unavailable,
}

impl Writer {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        options: &Options,
        found: Found,
        lock: Arc<DiskLock>,
    ) -> Self {
        let Found { log_id, next_offset, current, reserve } = found;
        Self {
            disk,
            log_id,
            segment_bytes: options.segment_bytes,
            preallocate: options.preallocate,
            next_offset,
            current,
            prepared: Prepared::Nothing,
            reserve,
            indexes: VecDeque::new(),
            given_up: VecDeque::new(),
            names_unsynced: false,
            poisoned: false,
            lock,
        }
    }

    /// Writes a batch and, for [`Durability::Fsync`], syncs it.
    ///
    /// On a full disk what was set aside is given back first ([`Committed::is_short`]). When all is used up
    /// ([`StorageError::is_full`]) the same batch may be committed again when there is space; until then no other. After any
    /// other failure every later commit fails.
    ///
    /// # Errors
    /// [`StorageError`] with the file and position.
    pub fn commit(
        &mut self,
        batch: &PendingBatch,
        durability: Durability,
    ) -> Result<Committed, StorageError> {
        let result = self.commit_with_reserve(batch, durability);
        if let Err(error) = &result {
            if error.is_full() && Mutant::AcknowledgeWhenFull.is_active() {
                self.next_offset = batch.next_offset();
                return Ok(self.committed(true));
            }
            let harmless =
                matches!(error.what, StorageFault::Full(_) | StorageFault::OutOfOrder { .. });
            self.poisoned |= !harmless;
        }
        result
    }

    /// Writes the batch, if need be in the place of what was set aside.
    fn commit_with_reserve(
        &mut self,
        batch: &PendingBatch,
        durability: Durability,
    ) -> Result<Committed, StorageError> {
        loop {
            match self.commit_unless_poisoned(batch, durability) {
                Err(error) if error.is_full() && self.make_room()? => {}
                result => return result,
            }
        }
    }

    /// Gives space back to a full disk: first what was only prepared, then the reserve. Returns whether there was any.
    fn make_room(&mut self) -> Result<bool, StorageError> {
        if matches!(self.prepared, Prepared::Filling(..) | Prepared::Ready(_)) {
            self.prepared = Prepared::Unavailable;
            self.discard_prepared();
            sync_dir(self.disk.as_ref())?;
            return Ok(true);
        }
        self.reserve.give_back(self.disk.as_ref())
    }

    /// Removes the next segment's file; if that fails, it is in the way until the log is opened again.
    fn discard_prepared(&self) {
        let _ = self.disk.remove(directory::PREPARED_FILE);
    }

    /// Sets space aside again that was given back; nothing to do if none was.
    ///
    /// # Errors
    /// [`StorageError`]; [`StorageError::is_full`] as long as there is no space. After a failed sync every later commit fails.
    pub fn replenish(&mut self) -> Result<(), StorageError> {
        if self.poisoned {
            return Err(StorageError::new(directory::RESERVE_FILE, 0, StorageFault::Poisoned));
        }
        let made = self.reserve.make(self.disk.as_ref());
        match &made {
            Ok(()) if matches!(self.prepared, Prepared::Unavailable) => {
                self.prepared = Prepared::Nothing;
            }
            Err(error) => self.poisoned |= error.is_failed_sync(),
            Ok(()) => {}
        }
        made
    }

    /// A cleaner of the same log, which may live in another thread. There should be one.
    pub fn cleaner(&self) -> Cleaner {
        Cleaner::new(Arc::clone(&self.disk), self.log_id, Arc::clone(&self.lock))
    }

    /// Whether an earlier failure made every commit fail.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn commit_unless_poisoned(
        &mut self,
        batch: &PendingBatch,
        durability: Durability,
    ) -> Result<Committed, StorageError> {
        let name = segment::file_name(batch.segment);
        let position = u64::from(batch.batch.header.position);
        if self.poisoned {
            return Err(StorageError::new(&name, position, StorageFault::Poisoned));
        }
        self.check_order(batch, &name)?;
        if self.current.as_ref().is_none_or(|current| current.base != batch.segment) {
            self.roll(batch.segment, name)?;
        }
        if let Some((base, index)) = &batch.sealed {
            self.queue_index(*base, index);
        }
        self.write(batch)?;
        if durability == Durability::Fsync {
            let again = Mutant::RetryAfterFailedSync.is_active();
            self.sync().or_else(|error| if again { self.sync() } else { Err(error) })?;
        }
        self.next_offset = batch.next_offset();
        Ok(self.committed(durability == Durability::Fsync))
    }

    fn committed(&self, synced: bool) -> Committed {
        Committed { next_offset: self.next_offset, synced, short: self.reserve.is_short() }
    }

    /// A batch follows the one before, at the end of its segment or as the first of the next.
    fn check_order(&self, batch: &PendingBatch, name: &str) -> Result<(), StorageError> {
        let position = u64::from(batch.batch.header.position);
        let same = self.current.as_ref().filter(|current| current.base == batch.segment);
        let end = same.map_or(0, |current| current.position).max(segment::HEADER_BYTES as u64);
        let expected = self.next_offset;
        if batch.base_offset() == expected && position == end {
            return Ok(());
        }
        Err(StorageError::new(name, position, StorageFault::OutOfOrder { expected }))
    }

    /// Ends the current segment and begins the next.
    fn roll(&mut self, base: Offset, name: String) -> Result<(), StorageError> {
        if let Some(current) = &mut self.current {
            if current.unsynced {
                sync(current.file.as_ref(), &current.name, current.position)?;
                current.unsynced = false;
            }
            // What was only preallocated is given back; if that fails, a segment is larger than it has to be.
            let _ = current.file.set_size(current.position);
        }
        let failed = |error| StorageError::write(&name, 0, error);
        let file = match std::mem::replace(&mut self.prepared, Prepared::Nothing) {
            Prepared::Filling(file, _) | Prepared::Ready(file) => {
                self.disk.rename(directory::PREPARED_FILE, &name).map_err(failed)?;
                file
            }
            Prepared::Nothing | Prepared::Unavailable => {
                let file = self.disk.open(&name, Access::Create).map_err(failed)?;
                if self.preallocate {
                    // Without blocks set aside the file grows with each batch.
                    if file.allocate(self.segment_bytes).is_err() {
                        // A part of it may have been set aside, and would only be missed elsewhere.
                        let _ = file.set_size(0);
                    }
                }
                file
            }
        };
        self.names_unsynced = true;
        self.current = Some(CurrentSegment { base, name, file, position: 0, unsynced: false });
        Ok(())
    }

    fn write(&mut self, batch: &PendingBatch) -> Result<(), StorageError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let bytes = &batch.batch.bytes;
        let failed = |error| StorageError::write(&current.name, current.position, error);
        let position = u64::from(batch.batch.header.position);
        if current.position == 0 {
            let mut first = SegmentHeader::new(self.log_id, current.base).encode().to_vec();
            first.extend_from_slice(bytes);
            current.file.write_at(&first, 0).map_err(failed)?;
        } else {
            current.file.write_at(bytes, position).map_err(failed)?;
        }
        current.position = position + bytes.len() as u64;
        current.unsynced = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        sync(current.file.as_ref(), &current.name, current.position)?;
        current.unsynced = false;
        if self.names_unsynced && !Mutant::NameNotSynced.is_active() {
            sync_dir(self.disk.as_ref())?;
            self.names_unsynced = false;
        }
        Ok(())
    }

    fn queue_index(&mut self, base: Offset, index: &Arc<MemoryIndex>) {
        if self.indexes.iter().any(|queued| queued.base == base) {
            return;
        }
        let last = index.batches().last();
        self.indexes.push_back(SealedIndex {
            base,
            next_offset: last.map_or(base, index::BatchEntry::next_offset),
            segment_bytes: last.map_or(segment::HEADER_BYTES as u64, index::BatchEntry::end),
            index: Arc::clone(index),
        });
    }

    /// Whether [`Writer::maintain`] has something to do.
    pub fn wants_maintenance(&self) -> bool {
        let unprepared = matches!(self.prepared, Prepared::Nothing | Prepared::Filling(..));
        !self.poisoned && (!self.indexes.is_empty() || (self.preallocate && unprepared))
    }

    /// One bounded step of work that need not be done inside a commit: writes the index of a sealed segment, or gets
    /// the next segment's file ready. Returns whether there is more to do. Call it when nothing waits to be committed.
    ///
    /// # Errors
    /// [`StorageError`]; commits go on all the same. What failed is not tried again: an index is made anew when it is
    /// missed, a segment begins without a prepared file.
    pub fn maintain(&mut self) -> Result<bool, StorageError> {
        if self.poisoned {
            return Ok(false);
        }
        if let Some(sealed) = self.indexes.pop_front() {
            let damage = [];
            let (base, end) = (sealed.base, sealed.segment_bytes);
            let bytes = index::encode(
                self.log_id,
                (base, 0),
                sealed.next_offset,
                end,
                &sealed.index,
                &damage,
            );
            write_index(self.disk.as_ref(), directory::INDEX_TEMPORARY_FILE, base, &bytes)?;
            return Ok(true);
        }
        if !self.preallocate {
            return Ok(false);
        }
        let prepared = std::mem::replace(&mut self.prepared, Prepared::Unavailable);
        self.prepared = self.prepare(prepared).inspect_err(|_| self.discard_prepared())?;
        Ok(matches!(self.prepared, Prepared::Filling(..)))
    }

    /// The next step towards a file that is ready.
    fn prepare(&self, prepared: Prepared) -> Result<Prepared, StorageError> {
        let name = directory::PREPARED_FILE;
        match prepared {
            Prepared::Nothing => {
                let failed = |error| StorageError::write(name, 0, error);
                let file = self.disk.open(name, Access::Create).map_err(failed)?;
                file.allocate(self.segment_bytes).or_else(unless_unsupported).map_err(failed)?;
                Ok(Prepared::Filling(file, 0))
            }
            Prepared::Filling(file, filled) if filled < self.segment_bytes => {
                let left = usize::try_from(self.segment_bytes - filled).unwrap_or(usize::MAX);
                let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
                file.write_at(zeros, filled)
                    .map_err(|error| StorageError::write(name, filled, error))?;
                Ok(Prepared::Filling(file, filled + zeros.len() as u64))
            }
            Prepared::Filling(file, filled) => {
                sync(file.as_ref(), name, filled)?;
                Ok(Prepared::Ready(file))
            }
            Prepared::Ready(_) | Prepared::Unavailable => Ok(prepared),
        }
    }

    /// Removes the files of segments that were given up, the oldest first: also those that an earlier call could not remove, because
    /// a segment that is there while one behind it is gone would be a log with a hole.
    ///
    /// # Errors
    /// [`StorageError`]; calling it again, with these segments or with none, goes on where it stopped.
    pub fn truncate(&mut self, truncation: &Truncation) -> Result<(), StorageError> {
        self.indexes.retain(|sealed| !truncation.segments.contains(&sealed.base));
        self.given_up.extend(&truncation.segments);
        while let Some(base) = self.given_up.front().copied() {
            for name in [segment::file_name(base), segment::index_name(base)] {
                self.disk
                    .remove(&name)
                    .or_else(unless_missing)
                    .map_err(|error| StorageError::write(&name, 0, error))?;
            }
            sync_dir(self.disk.as_ref())?;
            self.given_up.pop_front();
        }
        Ok(())
    }
}

/// Writes an index, whole or not at all while the system lives. It is not synced: a broken one is made again.
///
/// `name` is what the file is called until it is complete.
pub(super) fn write_index(
    disk: &dyn Disk,
    name: &str,
    base: Offset,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let failed = |error| StorageError::write(name, 0, error);
    disk.open(name, Access::Create).map_err(failed)?.write_at(bytes, 0).map_err(failed)?;
    disk.rename(name, &segment::index_name(base)).map_err(failed)
}

fn sync(file: &dyn DiskFile, name: &str, position: u64) -> Result<(), StorageError> {
    file.sync_data().map_err(|error| StorageError::sync(name, position, error))
}

pub(super) fn sync_dir(disk: &dyn Disk) -> Result<(), StorageError> {
    disk.sync_dir().map_err(|error| StorageError::sync(directory::DIRECTORY, 0, error))
}

pub(super) fn unless_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(super) fn unless_unsupported(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
}
