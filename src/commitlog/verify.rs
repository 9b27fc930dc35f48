//! Reads a data directory from outside, also while a broker appends to it: nothing is locked or changed.

use std::ops::ControlFlow;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::KeyMatcher;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;
use crate::commitlog::batch::RawRecord;
use crate::commitlog::directory;
use crate::commitlog::disk::Disk;
use crate::commitlog::format;
use crate::commitlog::index::Summary;
use crate::commitlog::segment;
use crate::time::Timestamp;

/// What a check of a whole directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: usize,
    /// Bytes of sound batches and what is between them.
    pub bytes: u64,
    /// Sound batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// The first offset.
    pub start_offset: Offset,
    /// The offset after the last record.
    pub next_offset: Offset,
    /// Below this offset the cleaner has taken out records that later ones supersede.
    pub cleaned_to: Offset,
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
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Only this kind.
    pub kind: Option<u8>,
    /// Only these keys.
    pub matcher: Option<&'a dyn KeyMatcher>,
}

impl DumpFilter<'_> {
    fn passes(&self, record: &RawRecord<'_>) -> bool {
        self.from.is_none_or(|from| record.offset >= from)
            && self.to.is_none_or(|to| record.offset < to)
            && self.since.is_none_or(|since| record.timestamp >= since)
            && self.until.is_none_or(|until| record.timestamp < until)
            && self.kind.is_none_or(|wanted| record.kind == wanted)
            && self.matcher.is_none_or(|matcher| matcher.matches(record.key))
    }

    /// Whether a segment may hold something wanted.
    fn touches(&self, base: Offset, next_base: Option<Offset>) -> bool {
        self.to.is_none_or(|to| base < to)
            && self.from.is_none_or(|from| next_base.is_none_or(|next_base| next_base > from))
    }
}

/// Checks every byte of a data directory; `report` gets each place that is wrong.
///
/// # Errors
/// [`LogError::NewerFormat`], [`LogError::Storage`] when the disk fails.
pub fn verify(disk: &dyn Disk, report: &mut dyn FnMut(&Damage)) -> Result<VerifyReport, LogError> {
    verify_records(disk, None, report)
}

/// As [`verify`], and hands every record to `readable`, if there is one: a record that its reader can't read is damage, too.
///
/// # Errors
/// As [`verify`].
pub fn verify_records(
    disk: &dyn Disk,
    mut readable: Option<&mut dyn FnMut(&StoredRecord) -> bool>,
    report: &mut dyn FnMut(&Damage),
) -> Result<VerifyReport, LogError> {
    let bases = directory::segments(disk)?;
    let found = format::read(disk, &bases)?;
    let mut verified = VerifyReport::default();
    let mut note = |damage: &[Damage]| {
        damage.iter().for_each(&mut *report);
        damage.len()
    };
    verified.damaged += note(found.damage.as_slice());
    verified.start_offset = bases.first().copied().unwrap_or_default();
    let Some(log_id) = found.log_id else { return Ok(verified) };
    for (number, base) in bases.iter().enumerate() {
        let header = format::header_of(disk, *base)?;
        let cleaned_to = header.map_or(Offset::ZERO, |header| header.cleaned_to);
        verified.cleaned_to = verified.cleaned_to.max(cleaned_to);
        let next_base = bases.get(number + 1).copied();
        let damage = verify_segment(disk, log_id, *base, next_base, &mut verified)?;
        verified.damaged += note(&damage);
        if let Some(readable) = &mut readable {
            verified.damaged += note(&unreadable(disk, log_id, *base, readable)?);
        }
    }
    Ok(verified)
}

/// Reads one segment and compares its index, if it has one.
fn verify_segment(
    disk: &dyn Disk,
    log_id: u64,
    base: Offset,
    next_base: Option<Offset>,
    verified: &mut VerifyReport,
) -> Result<Vec<Damage>, StorageError> {
    let name = segment::file_name(base);
    let Some(file) = directory::open(disk, &name)? else { return Ok(Vec::new()) };
    // The index first: when it is there, the segment is complete, also beside a broker that appends.
    let index_name = segment::index_name(base);
    let indexed = match directory::open(disk, &index_name)? {
        Some(file) => Some(directory::all(file.as_ref(), &index_name)?),
        None => None,
    };
    let built = directory::build_index(file.as_ref(), log_id, base)?;
    let next_base = next_base.or(indexed.as_ref().map(|_| built.scan.next_offset));
    let mut damage = directory::damage_of(&name, &built.scan, next_base);
    // One of another generation is of the segment as it was before it was cleaned: it is made again when it is missed.
    let current = |bytes: &Vec<u8>| {
        Summary::decode(bytes).is_none_or(|summary| summary.generation == built.scan.generation)
    };
    if damage.is_empty() && indexed.filter(current).is_some_and(|bytes| bytes != built.bytes) {
        damage.push(index_damage(base));
    }
    verified.segments += 1;
    verified.bytes += built.scan.end;
    verified.batches += built.scan.batches;
    verified.records += built.index.summary.records;
    verified.next_offset = built.scan.next_offset;
    verified.unfinished_bytes = built.scan.trailing_bytes;
    Ok(damage)
}

/// The records of a segment that its reader can't read, though their bytes are sound.
fn unreadable(
    disk: &dyn Disk,
    log_id: u64,
    base: Offset,
    readable: &mut dyn FnMut(&StoredRecord) -> bool,
) -> Result<Vec<Damage>, StorageError> {
    let name = segment::file_name(base);
    let Some(file) = directory::open(disk, &name)? else { return Ok(Vec::new()) };
    let mut damage = Vec::new();
    segment::scan(file.as_ref(), &name, log_id, base, &mut |batch| {
        for record in batch.records() {
            let stored = record.to_stored(&batch.bytes);
            if !readable(&stored) {
                damage.push(Damage {
                    file: name.as_str().into(),
                    position: u64::from(batch.header.position) + record.position as u64,
                    bytes: stored.size_bytes() as u64,
                    from: record.offset,
                    to: record.offset.next(),
                    what: Fault::Records,
                    synced: true,
                });
            }
        }
    })?;
    Ok(damage)
}

/// An index file that is not what its segment gives.
fn index_damage(base: Offset) -> Damage {
    let file = segment::index_name(base).into();
    Damage { file, position: 0, bytes: 0, from: base, to: base, what: Fault::Index, synced: true }
}

/// Hands the records of a data directory to `visit`, in offset order, until it breaks; returns what could not be read.
///
/// # Errors
/// As [`verify`].
pub fn dump(
    disk: &dyn Disk,
    filter: &DumpFilter<'_>,
    visit: &mut dyn FnMut(StoredRecord) -> ControlFlow<()>,
) -> Result<Vec<Damage>, LogError> {
    let bases = directory::segments(disk)?;
    let found = format::read(disk, &bases)?;
    let mut damage = Vec::from_iter(found.damage);
    let Some(log_id) = found.log_id else { return Ok(damage) };
    let mut flow = ControlFlow::Continue(());
    for (number, base) in bases.iter().enumerate() {
        let next_base = bases.get(number + 1).copied();
        let name = segment::file_name(*base);
        if flow.is_break() || !filter.touches(*base, next_base) {
            continue;
        }
        format::header_of(disk, *base)?;
        let Some(file) = directory::open(disk, &name)? else { continue };
        let scan = segment::scan(file.as_ref(), &name, log_id, *base, &mut |batch| {
            let wanted = batch.records().filter(|record| filter.passes(record));
            for record in wanted {
                if flow.is_continue() {
                    flow = visit(record.to_stored(&batch.bytes));
                }
            }
        })?;
        damage.extend(directory::damage_of(&name, &scan, next_base));
    }
    Ok(damage)
}
