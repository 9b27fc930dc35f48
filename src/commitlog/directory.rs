//! The files of a log: which there are, what their headers say, what is wrong with them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::index;
use crate::commitlog::index::FileIndex;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::segment;
use crate::commitlog::segment::Scan;

/// The directory itself, in messages.
pub(super) const DIRECTORY: &str = ".";
/// Held by the process that may write.
pub(super) const LOCK_FILE: &str = "lock";
/// The next segment, being made ready.
pub(super) const PREPARED_FILE: &str = "next.tmp";
/// Space that is given back when the disk is full, and the same being made.
pub(super) const RESERVE_FILE: &str = "reserve";
pub(super) const RESERVE_TEMPORARY_FILE: &str = "reserve.tmp";
/// An index, being written.
pub(super) const INDEX_TEMPORARY_FILE: &str = "index.tmp";
/// A cleaned segment, being written.
pub(super) const CLEANED_FILE: &str = "clean.tmp";
/// The index of a cleaned segment, being written.
pub(super) const CLEANED_INDEX_FILE: &str = "clean.index.tmp";
/// A segment that a repair writes anew.
pub(super) const REPAIRED_FILE: &str = "repair.tmp";
/// All that an interrupted run may leave.
pub(super) const LEFTOVERS: [&str; 6] = [
    PREPARED_FILE,
    INDEX_TEMPORARY_FILE,
    CLEANED_FILE,
    CLEANED_INDEX_FILE,
    RESERVE_TEMPORARY_FILE,
    REPAIRED_FILE,
];
/// An index that is read at once has at most this many bytes.
const INDEX_BYTES_MAX: u64 = 4 << 30;

/// The base offsets of all segments, ascending.
pub(super) fn segments(disk: &dyn Disk) -> Result<Vec<Offset>, StorageError> {
    let names = list(disk)?;
    let mut bases: Vec<Offset> = names.iter().filter_map(|name| segment::base_of(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// The names of all files.
pub(super) fn list(disk: &dyn Disk) -> Result<Vec<String>, StorageError> {
    disk.list().map_err(|error| StorageError::read(DIRECTORY, 0, error))
}

/// Opens a file to read; `None` if there is none.
pub(super) fn open(disk: &dyn Disk, name: &str) -> Result<Option<Arc<dyn DiskFile>>, StorageError> {
    match disk.open(name, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::read(name, 0, error)),
    }
}

/// The first bytes of a file, at most `len`.
pub(super) fn head(file: &dyn DiskFile, name: &str, len: usize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![0; len];
    let count = file.read_at(&mut bytes, 0).map_err(|error| StorageError::read(name, 0, error))?;
    bytes.truncate(count);
    Ok(bytes)
}

/// All bytes of a file that is read at once.
pub(super) fn all(file: &dyn DiskFile, name: &str) -> Result<Vec<u8>, StorageError> {
    let bytes = size(file, name)?.min(INDEX_BYTES_MAX);
    head(file, name, usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// A file's size.
pub(super) fn size(file: &dyn DiskFile, name: &str) -> Result<u64, StorageError> {
    file.size().map_err(|error| StorageError::read(name, 0, error))
}

/// The index file of a segment that was cleaned `generation` times; `None` if it is missing, of another generation, or
/// not sound in every byte.
pub(super) fn load_index(
    disk: &dyn Disk,
    log_id: u64,
    base: Offset,
    generation: u32,
) -> Result<Option<FileIndex>, StorageError> {
    let name = segment::index_name(base);
    let Some(file) = open(disk, &name)? else { return Ok(None) };
    let bytes = all(file.as_ref(), &name)?;
    let index = FileIndex::decode(&Bytes::from(bytes), &segment::file_name(base));
    Ok(index.filter(|FileIndex { summary, .. }| {
        (summary.log_id, summary.base_offset, summary.generation) == (log_id, base, generation)
    }))
}

/// An index made again from its segment.
pub(super) struct BuiltIndex {
    pub(super) index: FileIndex,
    /// The bytes of its file.
    pub(super) bytes: Bytes,
    pub(super) scan: Scan,
}

/// Makes the index of a segment by reading all of it.
pub(super) fn build_index(
    file: &dyn DiskFile,
    log_id: u64,
    base: Offset,
) -> Result<BuiltIndex, StorageError> {
    let (memory, scan) = scan_index(file, log_id, base)?;
    Ok(freeze(log_id, base, &memory, scan))
}

/// Reads a segment and gathers its index.
pub(super) fn scan_index(
    file: &dyn DiskFile,
    log_id: u64,
    base: Offset,
) -> Result<(MemoryIndex, Scan), StorageError> {
    let name = segment::file_name(base);
    let mut memory = MemoryIndex::default();
    let mut unreadable = Vec::new();
    let mut scan = segment::scan(file, &name, log_id, base, &mut |batch| {
        if !memory.push_scanned(batch) {
            unreadable.extend(memory.batches().last().copied());
        }
    })?;
    scan.damage.extend(unreadable.iter().map(|entry| Damage {
        file: name.as_str().into(),
        position: u64::from(entry.position),
        bytes: u64::from(entry.length),
        from: entry.base_offset,
        to: entry.next_offset(),
        what: Fault::Records,
        synced: true,
    }));
    Ok((memory, scan))
}

/// The index of a segment as bytes and as it is read.
pub(super) fn freeze(log_id: u64, base: Offset, memory: &MemoryIndex, scan: Scan) -> BuiltIndex {
    let place = (base, scan.generation);
    let bytes = index::encode(log_id, place, scan.next_offset, scan.end, memory, &scan.damage);
    let bytes = Bytes::from(bytes);
    let index = FileIndex::decode(&bytes, &segment::file_name(base));
    let index = index.expect("an index reads back what it has just written");
    BuiltIndex { index, bytes, scan }
}

/// What is wrong with a segment. `next_base` is where the next one begins; without one, the end may be torn.
pub(super) fn damage_of(name: &str, scan: &Scan, next_base: Option<Offset>) -> Vec<Damage> {
    let mut damage = scan.damage.clone();
    let from = scan.next_offset;
    let file: Box<str> = name.into();
    if !scan.header && (next_base.is_some() || scan.batches > 0) {
        let (bytes, what) = (segment::HEADER_BYTES as u64, Fault::SegmentHeader);
        let synced = false;
        damage.push(Damage {
            file: file.clone(),
            position: 0,
            bytes,
            from,
            to: from,
            what,
            synced,
        });
    }
    if let Some(next_base) = next_base {
        let to = next_base.max(from);
        let (position, bytes, synced) = (scan.end, scan.trailing_bytes, to > from);
        let what = if bytes > 0 { Fault::BatchHeader } else { Fault::Missing };
        if bytes > 0 || synced {
            damage.push(Damage { file, position, bytes, from, to, what, synced });
        }
    }
    damage
}
