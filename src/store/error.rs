//! What can go wrong in the store.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::commitlog::LogError;
use crate::commitlog::StorageError;

/// Why the store does not open.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log could not be read through.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state store could be neither opened nor made new.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What went wrong with the checkpoint. The log has everything, so nothing is lost by it.
#[derive(Clone, Debug, Error)]
pub enum StateError {
    /// The system refused something.
    #[error("checkpoint in {directory}: {what} failed: {source}")]
    Io {
        /// The directory of the state store.
        directory: Box<str>,
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: Arc<io::Error>,
    },
    /// The state store says that its files are damaged.
    #[error("checkpoint in {directory} is damaged ({what})")]
    Damaged {
        /// The directory of the state store.
        directory: Box<str>,
        /// What was tried when it was found.
        what: &'static str,
    },
    /// The state store panicked.
    #[error("the state store in {directory} panicked during {what}")]
    Panicked {
        /// The directory of the state store.
        directory: Box<str>,
        /// What was tried.
        what: &'static str,
    },
    /// Another process, or a store not yet closed, holds the directory.
    #[error("checkpoint in {directory} is in use")]
    Locked {
        /// The directory of the state store.
        directory: Box<str>,
    },
    /// It was damaged while the broker ran. The next start makes it anew from the log.
    #[error("the checkpoint was damaged; the next start makes it anew from the log")]
    Lost,
    /// It was used before it was opened.
    #[error("the state store is not open")]
    NotOpen,
    /// A batch or a value is larger than the state store bears.
    #[error("{what} of {size} is over the state store's limit of {size_max}")]
    TooLarge {
        /// A batch (in entries), a key or a value (in bytes).
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        size_max: usize,
    },
}

impl StateError {
    /// Whether there is no space, and the same call may succeed when there is.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::FileTooLarge;
        use io::ErrorKind::QuotaExceeded;
        use io::ErrorKind::StorageFull;
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), FileTooLarge | QuotaExceeded | StorageFull)
    }
}
