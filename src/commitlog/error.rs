//! What can go wrong, and where.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::commitlog::Offset;

/// A fault of the storage, with its place.
#[derive(Clone, Debug, Error)]
#[error("{file} at byte {position}: {what}")]
pub struct StorageError {
    /// The file's name in the data directory; the directory itself is `.`.
    pub file: Box<str>,
    /// The byte where the operation began.
    pub position: u64,
    /// What went wrong.
    #[source]
    pub what: StorageFault,
}

/// What went wrong at the place of a [`StorageError`].
#[derive(Clone, Debug, Error)]
pub enum StorageFault {
    /// No space left (or quota, or file size limit). Nothing was promised; the same call may be made again later.
    #[error("no space left: {0}")]
    Full(#[source] Arc<io::Error>),
    /// A read failed.
    #[error("read failed: {0}")]
    Read(#[source] Arc<io::Error>),
    /// A write failed: the writer is poisoned.
    #[error("write failed: {0}")]
    Write(#[source] Arc<io::Error>),
    /// A sync failed, so nobody knows what is on the disk: the writer is poisoned.
    #[error("sync failed: {0}")]
    Sync(#[source] Arc<io::Error>),
    /// An earlier write or sync failed; nothing more is made durable until the log is opened again.
    #[error("refused because an earlier write or sync failed")]
    Poisoned,
    /// The batch is not the one that comes next.
    #[error("batch out of order: the next one begins with offset {expected}")]
    OutOfOrder {
        /// The offset that the next batch has to begin with.
        expected: Offset,
    },
}

impl StorageError {
    pub(super) fn new(file: &str, position: u64, what: StorageFault) -> Self {
        Self { file: file.into(), position, what }
    }

    pub(super) fn read(file: &str, position: u64, error: io::Error) -> Self {
        Self::new(file, position, StorageFault::Read(Arc::new(error)))
    }

    pub(super) fn write(file: &str, position: u64, error: io::Error) -> Self {
        let full = is_full(&error);
        let error = Arc::new(error);
        let what = if full { StorageFault::Full(error) } else { StorageFault::Write(error) };
        Self::new(file, position, what)
    }

    pub(super) fn sync(file: &str, position: u64, error: io::Error) -> Self {
        Self::new(file, position, StorageFault::Sync(Arc::new(error)))
    }

    /// The same fault, met by a sync.
    pub(super) fn into_sync(self) -> Self {
        let what = match self.what {
            StorageFault::Full(error) | StorageFault::Read(error) | StorageFault::Write(error) => {
                StorageFault::Sync(error)
            }
            other @ (StorageFault::Sync(_)
            | StorageFault::Poisoned
            | StorageFault::OutOfOrder { .. }) => other,
        };
        Self { what, ..self }
    }

    /// Whether a sync failed, so that nobody knows what is on the disk.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self.what, StorageFault::Sync(_))
    }

    /// Whether the disk is full, and the same call may succeed when there is space.
    pub fn is_full(&self) -> bool {
        matches!(self.what, StorageFault::Full(_))
    }
}

/// Whether this is one of the errors that say "no space".
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::FileTooLarge;
    use io::ErrorKind::QuotaExceeded;
    use io::ErrorKind::StorageFull;
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Why a log does not open, or does not take a record.
#[derive(Clone, Debug, Error)]
pub enum LogError {
    /// Another process holds the directory.
    #[error("{directory} is in use by another broker (its lock file is held)")]
    Locked {
        /// The data directory.
        directory: Box<str>,
    },
    /// The directory was written by a newer version.
    #[error(
        "{directory} has log format {found}, this version reads formats up to {supported}: use the version that wrote it"
    )]
    NewerFormat {
        /// The data directory.
        directory: Box<str>,
        /// The version found.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// There is no log in the directory.
    #[error("{directory} holds no log")]
    NoLog {
        /// The directory.
        directory: Box<str>,
    },
    /// The record has more bytes than the log takes.
    #[error("record of {bytes} bytes; the log takes {bytes_max}")]
    RecordTooLarge {
        /// The size of key and value.
        bytes: usize,
        /// The limit in force.
        bytes_max: usize,
    },
    /// The numbers for records are used up.
    #[error("no offsets left")]
    OffsetsExhausted,
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
