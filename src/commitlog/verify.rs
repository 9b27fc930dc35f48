//! Reads a data directory from outside, also while a broker appends to it: nothing is locked or changed.

use crate::commitlog::Damage;
use crate::commitlog::KeyMatcher;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::commitlog::disk::Disk;

/// What a check of a whole directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Sound batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// The first offset.
    pub start_offset: Offset,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// Places that are wrong.
    pub damaged: usize,
    /// Bytes after the last sound batch of the active segment: being written just now, or a torn tail.
    pub unfinished_bytes: u64,
}

/// Which records a dump shows.
#[derive(Clone, Copy, Default)]
pub struct DumpFilter<'a> {
    /// From this offset on.
    pub from: Option<Offset>,
    /// Below this offset.
    pub to: Option<Offset>,
    /// Only this kind.
    pub kind: Option<u8>,
    /// Only these keys.
    pub matcher: Option<&'a dyn KeyMatcher>,
}

/// Checks every byte of a data directory; `report` gets each place that is wrong.
///
/// # Errors
/// [`LogError::NewerFormat`], [`LogError::Storage`] when the disk fails.
pub fn verify(_disk: &dyn Disk, _report: &mut dyn FnMut(&Damage)) -> Result<VerifyReport, LogError> {
    unimplemented!()
}

/// Hands the records of a data directory to `visit`, in offset order; returns what could not be read.
///
/// # Errors
/// As [`verify`].
pub fn dump(
    _disk: &dyn Disk,
    _filter: &DumpFilter<'_>,
    _visit: &mut dyn FnMut(StoredRecord),
) -> Result<Vec<Damage>, LogError> {
    unimplemented!()
}
