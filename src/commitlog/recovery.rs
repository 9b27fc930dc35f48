//! Opens a log: finds what is there, cuts a torn tail, says what is wrong.

use std::sync::Arc;
use std::time::Duration;

use crate::commitlog::Damage;
use crate::commitlog::Log;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::Options;
use crate::commitlog::Reader;
use crate::commitlog::Writer;
use crate::commitlog::disk::Disk;

/// How far recovery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Segments done.
    pub segments: usize,
    /// Segments in all.
    pub segments_total: usize,
    /// Bytes read so far.
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
    /// The torn tail that was cut, if there was one.
    pub torn: Option<TornTail>,
    /// What is broken, with records after it that are kept.
    pub damage: Vec<Damage>,
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
    /// Opens the log in a directory, or makes a new one, and takes the directory's lock.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::NewerFormat`], [`LogError::Storage`]. Damage is no error: it is in the report.
    pub fn open(
        _disk: Arc<dyn Disk>,
        _options: Options,
        _progress: &mut dyn FnMut(&RecoveryProgress),
    ) -> Result<(Self, Writer, Reader, RecoveryReport), LogError> {
        let _ = Duration::ZERO;
        unimplemented!()
    }
}
