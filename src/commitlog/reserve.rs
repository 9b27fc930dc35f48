//! The reserve: a file whose only use is to be removed when the disk is full, so that what makes room can still be written.
//!
//! Invariant: a file of this name is whole and durable; it is made under another name.

use std::io;

use crate::commitlog::StorageError;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::writer;
use crate::mutant::Mutant;

/// How much is written in one step.
const FILL_BYTES: usize = 1 << 20;

/// Space set aside in a directory.
#[derive(Debug)]
pub(super) struct Reserve {
    /// How much; 0 for none.
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Takes the reserve that is there, or makes it. On a full disk it counts as given back.
    ///
    /// # Errors
    /// [`StorageError`], but not for want of space.
    pub(super) fn open(disk: &dyn Disk, bytes: u64) -> Result<Self, StorageError> {
        let mut reserve = Self { bytes, held: false };
        let present = present_bytes(disk)?;
        if present == Some(bytes) && bytes > 0 {
            reserve.held = true;
            return Ok(reserve);
        }
        if present.is_some() {
            remove(disk)?;
        }
        match reserve.make(disk) {
            Err(error) if !error.is_full() => Err(error),
            Ok(()) | Err(_) => Ok(reserve),
        }
    }

    /// Whether space was to be set aside and is not.
    pub(super) fn is_short(&self) -> bool {
        self.bytes > 0 && !self.held
    }

    /// Gives the space back to the disk. Returns whether there was any.
    pub(super) fn give_back(&mut self, disk: &dyn Disk) -> Result<bool, StorageError> {
        if !std::mem::take(&mut self.held) {
            return Ok(false);
        }
        remove(disk)?;
        // File systems hand out freed blocks once the change of the directory is on disk.
        writer::sync_dir(disk)?;
        Ok(true)
    }

    /// Sets the space aside, unless it is.
    pub(super) fn make(&mut self, disk: &dyn Disk) -> Result<(), StorageError> {
        if !self.is_short() {
            return Ok(());
        }
        if Mutant::ReserveNotRemade.is_active() {
            self.held = true;
            return Ok(());
        }
        if let Err(error) = self.write(disk) {
            // What was taken so far is given back; if not now, then when it is made again.
            let _ = disk.remove(directory::RESERVE_TEMPORARY_FILE);
            return Err(error);
        }
        writer::sync_dir(disk)?;
        self.held = true;
        Ok(())
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let name = directory::RESERVE_TEMPORARY_FILE;
        let failed = |position| move |error| StorageError::write(name, position, error);
        let file = disk.open(name, Access::Create).map_err(failed(0))?;
        file.allocate(self.bytes).or_else(writer::unless_unsupported).map_err(failed(0))?;
        let zeros = vec![0; FILL_BYTES];
        let mut position = 0;
        while position < self.bytes {
            let left = usize::try_from(self.bytes - position).unwrap_or(usize::MAX);
            let bytes = zeros.get(..left.min(FILL_BYTES)).unwrap_or_default();
            file.write_at(bytes, position).map_err(failed(position))?;
            position += bytes.len() as u64;
        }
        // Nothing rests on this file's bytes, so that here, too, "no space" may pass.
        file.sync_data().map_err(|error| match StorageError::write(name, position, error) {
            full if full.is_full() => full,
            other => other.into_sync(),
        })?;
        disk.rename(name, directory::RESERVE_FILE).map_err(failed(0))
    }
}

/// The size of the reserve; `None` if there is none.
fn present_bytes(disk: &dyn Disk) -> Result<Option<u64>, StorageError> {
    let name = directory::RESERVE_FILE;
    let Some(file) = directory::open(disk, name)? else { return Ok(None) };
    directory::size(file.as_ref(), name).map(Some)
}

fn remove(disk: &dyn Disk) -> Result<(), StorageError> {
    let name = directory::RESERVE_FILE;
    let missing = |error: io::Error| writer::unless_missing(error);
    disk.remove(name).or_else(missing).map_err(|error| StorageError::write(name, 0, error))
}
