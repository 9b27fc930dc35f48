//! A copy of a log as it was at one moment, also while a broker appends to it, gives up its front or rewrites segments.
//!
//! Every segment but the last is complete: it is linked or copied as it is. The last one is copied up to the end of a batch.
//! So the copy holds all records below one offset, and none above. Indexes are made anew from what was copied, which reads it
//! all: what is damaged is found out here.

use std::io;

use crate::commitlog::Damage;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::format;
use crate::commitlog::segment;
use crate::commitlog::writer;

/// How often to begin again because the front of the log went meanwhile.
const ATTEMPTS: usize = 16;
/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// How many segments.
    pub segments: usize,
    /// How many of them share their bytes with the log they came from.
    pub linked: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The first offset.
    pub start_offset: Offset,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// What was damaged, and is in the snapshot as it was.
    pub damage: Vec<Damage>,
}

/// Copies the log of `source` into `target`, a directory that is empty. `link` gives a complete file of the source the same name in
/// the target; where it can't, the file is copied. When it returns, the copy is durable.
///
/// # Errors
/// [`LogError::NoLog`], [`LogError::NewerFormat`], [`LogError::Storage`].
pub fn snapshot(
    source: &dyn Disk,
    target: &dyn Disk,
    link: &dyn Fn(&str) -> io::Result<()>,
) -> Result<SnapshotReport, LogError> {
    for _ in 0..ATTEMPTS {
        let bases = directory::segments(source)?;
        let log_id = format::read(source, &bases)?
            .log_id
            .ok_or_else(|| LogError::NoLog { directory: source.directory().into() })?;
        let mut taking = Taking { source, target, log_id, report: SnapshotReport::default() };
        if taking.segments(&bases, link)? {
            format::write(target, log_id)?;
            return Ok(taking.report);
        }
        for name in directory::list(target)? {
            target.remove(&name).map_err(|error| StorageError::write(&name, 0, error))?;
        }
    }
    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "the front of the log keeps going");
    Err(StorageError::read(directory::DIRECTORY, 0, busy).into())
}

/// Copies a whole file, durably but for its name.
///
/// # Errors
/// [`StorageError`]; of kind `NotFound` if there is no such file.
pub fn copy_file(source: &dyn Disk, target: &dyn Disk, name: &str) -> Result<u64, StorageError> {
    let from = source.open(name, Access::Read);
    let from = from.map_err(|error| StorageError::read(name, 0, error))?;
    let size = directory::size(from.as_ref(), name)?;
    copy(from.as_ref(), target, name, size)?;
    Ok(size)
}

/// Copies the first `size` bytes of a file.
fn copy(from: &dyn DiskFile, target: &dyn Disk, name: &str, size: u64) -> Result<(), StorageError> {
    let to = target.open(name, Access::Create);
    let to = to.map_err(|error| StorageError::write(name, 0, error))?;
    let mut position = 0;
    let mut buffer = vec![0; COPY_BYTES];
    while position < size {
        let left = usize::try_from(size - position).unwrap_or(usize::MAX).min(COPY_BYTES);
        let part = buffer.get_mut(..left).unwrap_or_default();
        let count = from.read_at(part, position);
        let count = count.map_err(|error| StorageError::read(name, position, error))?;
        if count == 0 {
            break;
        }
        let read = part.get(..count).unwrap_or_default();
        to.write_at(read, position).map_err(|error| StorageError::write(name, position, error))?;
        position += count as u64;
    }
    to.sync_data().map_err(|error| StorageError::sync(name, 0, error))
}

/// A snapshot that is being taken.
struct Taking<'a> {
    source: &'a dyn Disk,
    target: &'a dyn Disk,
    log_id: u64,
    report: SnapshotReport,
}

impl Taking<'_> {
    /// Takes all segments; false if one was given up meanwhile.
    fn segments(
        &mut self,
        bases: &[Offset],
        link: &dyn Fn(&str) -> io::Result<()>,
    ) -> Result<bool, LogError> {
        self.report.start_offset = bases.first().copied().unwrap_or_default();
        for (number, base) in bases.iter().enumerate() {
            format::header_of(self.source, *base)?;
            let name = segment::file_name(*base);
            let taken = match bases.get(number + 1) {
                Some(next_base) => self.complete(*base, &name, *next_base, link)?,
                None => self.last(*base, &name)?,
            };
            if !taken {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn complete(
        &mut self,
        base: Offset,
        name: &str,
        next_base: Offset,
        link: &dyn Fn(&str) -> io::Result<()>,
    ) -> Result<bool, StorageError> {
        if link(name).is_ok() {
            self.report.linked += 1;
        } else {
            let Some(file) = directory::open(self.source, name)? else { return Ok(false) };
            copy(file.as_ref(), self.target, name, directory::size(file.as_ref(), name)?)?;
        }
        let Some(file) = directory::open(self.target, name)? else { return Ok(false) };
        let built = directory::build_index(file.as_ref(), self.log_id, base)?;
        self.report.damage.extend(directory::damage_of(name, &built.scan, Some(next_base)));
        writer::write_index(self.target, directory::INDEX_TEMPORARY_FILE, base, &built.bytes)?;
        self.count(file.as_ref(), name, built.scan.next_offset)?;
        Ok(true)
    }

    /// The segment that may be written to, up to the end of its last whole batch.
    fn last(&mut self, base: Offset, name: &str) -> Result<bool, StorageError> {
        let Some(file) = directory::open(self.source, name)? else { return Ok(false) };
        let scan = segment::scan(file.as_ref(), name, self.log_id, base, &mut |_| ())?;
        if scan.batches == 0 {
            self.report.next_offset = self.report.next_offset.max(base);
            return Ok(true);
        }
        copy(file.as_ref(), self.target, name, scan.end)?;
        self.report.damage.extend(directory::damage_of(name, &scan, None));
        let copied = directory::open(self.target, name)?;
        if let Some(copied) = copied {
            self.count(copied.as_ref(), name, scan.next_offset)?;
        }
        Ok(true)
    }

    fn count(
        &mut self,
        file: &dyn DiskFile,
        name: &str,
        next_offset: Offset,
    ) -> Result<(), StorageError> {
        self.report.segments += 1;
        self.report.bytes += directory::size(file, name)?;
        self.report.next_offset = next_offset;
        Ok(())
    }
}
