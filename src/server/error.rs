//! Why a server does not start, or ends.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::listener::ListenError;
use crate::access::AccessError;
use crate::commitlog::StorageError;
use crate::store::StoreError;

/// The process that has a data directory; nothing if the system does not tell. Its display begins with a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The number of the process.
    pub process: Option<u32>,
    /// The name of its program.
    pub program: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(process) = self.process else { return Ok(()) };
        match &self.program {
            Some(program) => write!(f, " (process {process}, {program})"),
            None => write!(f, " (process {process})"),
        }
    }
}

/// Why a server does not start, or ended otherwise than asked.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The system refuses something that every server needs: a thread, random bytes, signals.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// A file or directory can't be used.
    #[error("{key}: {path}: {source}")]
    Unreadable {
        /// The key that names it.
        key: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The password file or the ACL file is wrong.
    #[error("{key}: {path}: {}", fault(source))]
    Access {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: AccessError,
    },
    /// The data directory can't be used: it is a file, or may not be written.
    #[error("data directory {path} (--data, data.dir): {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// There is no space for what a start has to write: it is a new directory, or its last segment has to be begun again.
    #[error(
        "data directory {path} (--data, data.dir): the disk is full: {source}; with {} MiB free there is space for two segments and \
         the reserve",
        needed >> 20
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// What could not be written.
        source: StorageError,
        /// Bytes of two segments and of the reserve.
        needed: u64,
    },
    /// Another process has the data directory.
    #[error("data directory {path} is in use by another broker{holder}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Which process, if the system tells.
        holder: Holder,
    },
    /// The data directory does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listener does not open.
    #[error("listener {name}: {source}")]
    Listen {
        /// The listener's name.
        name: String,
        /// Why.
        source: ListenError,
    },
    /// A write or sync failed: nothing more was acknowledged, a restart recovers what was durable.
    #[error("the store takes no more writes: {0}")]
    Poisoned(#[source] StorageError),
    /// A fault of the broker itself.
    #[error("a thread of the broker panicked")]
    Panicked,
    /// Not everything that shutting down takes was done in time.
    #[error("not everything was done in time; a restart recovers what was durable")]
    Late,
}

/// What is wrong in the file; which one it is was said.
fn fault(error: &AccessError) -> &dyn fmt::Display {
    match error {
        AccessError::Passwords(error) => error,
        AccessError::Acl(error) => error,
    }
}
