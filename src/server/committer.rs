//! Where batches are written and synced: on a thread of the runtime while the disk is quick, else on a thread of their own.
//!
//! A commit that changes threads twice waits for two wake-ups, and at low load those cost more than the sync. So the task that commits
//! ([`Driver::run_commits`](super::driver::Driver::run_commits)) does it itself, and the runtime's other threads go on meanwhile. A disk
//! that was slow a moment ago gets no thread of the runtime: then the thread of `work` waits for it.

#![expect(
    clippy::disallowed_types,
    reason = "a commit's thread and the one that looks after the log share the writer"
)]

use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::TryLockError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commitlog::Committed;
use crate::commitlog::Durability;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;
use crate::commitlog::Writer;

/// A commit that takes longer is slow.
const QUICK_MAX: Duration = Duration::from_millis(20);

/// How many commits in a row have to be quick after a slow one.
const QUICK_COMMITS: u32 = 16;

/// The writer, and how quick its disk has been.
pub(super) struct Committer {
    writer: Mutex<Writer>,
    durability: Durability,
    /// How many commits the disk has to show that it is quick again.
    wary: AtomicU32,
    /// The log is being looked after, or somebody was told to.
    maintaining: AtomicBool,
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("wary", &self.wary).finish_non_exhaustive()
    }
}

impl Committer {
    /// Commits go so far.
    pub(super) fn new(writer: Writer, durability: Durability) -> Self {
        Self {
            writer: Mutex::new(writer),
            durability,
            wary: AtomicU32::new(0),
            maintaining: AtomicBool::new(true),
        }
    }

    /// Whether a thread that has other things to do may wait for a commit.
    pub(super) fn is_quick(&self) -> bool {
        self.wary.load(Ordering::Relaxed) == 0
    }

    /// Notes how long a commit took.
    pub(super) fn took(&self, time: Duration) {
        let wary = if time > QUICK_MAX {
            QUICK_COMMITS
        } else {
            self.wary.load(Ordering::Relaxed).saturating_sub(1)
        };
        self.wary.store(wary, Ordering::Relaxed);
    }

    /// Writes a batch and makes it durable, unless somebody else has the writer.
    pub(super) fn try_commit(&self, batch: &PendingBatch) -> Option<CommitEnd> {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let result = writer.commit(batch, self.durability);
        Some(CommitEnd { result, wants_maintenance: writer.wants_maintenance() })
    }

    /// Writes a batch and makes it durable.
    pub(super) fn commit(&self, batch: &PendingBatch) -> Result<Committed, StorageError> {
        self.writer().commit(batch, self.durability)
    }

    /// Whether somebody has to be told to look after the log; says so once.
    pub(super) fn begins_maintenance(&self) -> bool {
        !self.maintaining.swap(true, Ordering::Relaxed)
    }

    /// There is nothing left to look after.
    pub(super) fn maintained(&self) {
        self.maintaining.store(false, Ordering::Relaxed);
    }

    /// The writer, for everything else that it does.
    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a commit ended.
pub(super) struct CommitEnd {
    pub(super) result: Result<Committed, StorageError>,
    /// Whether [`Writer::maintain`] has something to do.
    pub(super) wants_maintenance: bool,
}
