//! Reads what is no longer in memory, anywhere but in the core.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;
use crate::commitlog::Truncation;
use crate::commitlog::batch::Batch;
use crate::commitlog::batch::RawRecord;
use crate::commitlog::cache::SegmentCache;
use crate::commitlog::directory;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::index;
use crate::commitlog::index::BatchEntry;
use crate::commitlog::index::FileIndex;
use crate::commitlog::query::Gathered;
use crate::commitlog::segment;
use crate::commitlog::segment::Window;
use crate::time::Timestamp;

/// Batches no further apart than this are read in one go.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// How much is read in one go.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// How many bytes of batches one request reads, unless a single batch is larger.
pub(super) const READ_BYTES_MAX: usize = 4 << 20;
/// How many at least are worth reading where much of it is wanted.
const DENSE_BYTES: usize = 128 << 10;

/// A read that memory could not answer. Holds all that a [`Reader`] needs to know.
pub struct ReadRequest {
    pub(super) segment: Offset,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) bytes_max: usize,
    pub(super) select: Select,
    /// What to fetch, where the segment's index was in memory.
    pub(super) plan: Option<Plan>,
}

impl fmt::Debug for ReadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadRequest({}..{} of segment {})", self.from, self.to, self.segment)
    }
}

/// Which records are wanted.
pub(super) enum Select {
    /// Indexed records whose key matches.
    Matching(Arc<dyn KeyMatcher>),
    /// All of every kind.
    Every,
}

/// What a cold read has to fetch.
#[derive(Debug)]
pub(super) struct Plan {
    /// The batches that hold something wanted, in order.
    pub(super) batches: Vec<BatchEntry>,
    /// The bytes of these batches.
    bytes: u64,
    /// The wanted records, ascending; without it, the records themselves say whether they are wanted.
    pub(super) ordinals: Option<Vec<u32>>,
    /// Where to go on when all that was fetched.
    pub(super) next: Offset,
}

impl Plan {
    /// Nothing to fetch, and where to go on.
    pub(super) fn new(next: Offset) -> Self {
        Self { batches: Vec::new(), bytes: 0, ordinals: None, next }
    }

    /// Whether the batch with this record is not in the plan yet. Asked in ascending order.
    pub(super) fn lacks(&self, ordinal: u32) -> bool {
        self.batches.last().is_none_or(|batch| batch.next_ordinal() <= ordinal)
    }

    /// Adds a batch. If that makes more than `bytes_max` to read, it ends the plan before that batch and is false.
    pub(super) fn fetch(&mut self, batch: Option<&BatchEntry>, bytes_max: usize) -> bool {
        let Some(batch) = batch else { return true };
        let bytes = self.bytes + u64::from(batch.length);
        let fits = self.batches.is_empty() || bytes <= bytes_max as u64;
        if fits {
            self.batches.push(*batch);
            self.bytes = bytes;
        } else {
            self.next = batch.base_offset;
        }
        fits
    }
}

/// A search by time that memory could not answer.
#[derive(Clone, Debug)]
pub struct TimeRequest {
    pub(super) segment: Offset,
    pub(super) timestamp: Timestamp,
    /// The batch that has the answer, where it is known.
    pub(super) batch: Option<BatchEntry>,
    /// The answer if what should have it can't be read.
    pub(super) otherwise: Offset,
}

/// What a cold read found.
#[derive(Debug, Default)]
pub struct ReadResult {
    /// What matched, in offset order.
    pub records: Vec<StoredRecord>,
    /// Where to go on: everything below was looked at.
    pub next: Offset,
    /// What could not be read, never served.
    pub damage: Vec<Damage>,
}

/// Reads segments. Has a bounded cache of indexes; may live in any thread, and there may be several.
pub struct Reader {
    disk: Arc<dyn Disk>,
    log_id: u64,
    cache: SegmentCache,
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, log_id: u64, cache_bytes_max: usize) -> Self {
        Self { disk, log_id, cache: SegmentCache::new(cache_bytes_max) }
    }

    /// Another reader of the same log, with a cache of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.disk), self.log_id, self.cache.bytes_max())
    }

    /// Answers a [`Read::Cold`](super::Read::Cold). Of a segment that was truncated meanwhile, nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails; damage is no error but part of the result.
    pub fn read(&mut self, request: &ReadRequest) -> Result<ReadResult, StorageError> {
        let Some(file) = self.file(request.segment)? else {
            return Ok(ReadResult { next: request.to, ..ReadResult::default() });
        };
        if let Some(plan) = &request.plan {
            return fetch(file.as_ref(), self.log_id, request, plan);
        }
        let index = self.index(request.segment, file.as_ref())?;
        let mut result = fetch(file.as_ref(), self.log_id, request, &plan(&index, request))?;
        let holes =
            index.damage.iter().filter(|hole| hole.from < result.next && hole.to > request.from);
        result.damage.extend(holes.cloned());
        Ok(result)
    }

    /// Answers an [`OffsetAt::Cold`](super::OffsetAt::Cold).
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn offset_at(&mut self, request: &TimeRequest) -> Result<Offset, StorageError> {
        let Some(file) = self.file(request.segment)? else { return Ok(request.otherwise) };
        let index;
        let batches = if let Some(batch) = &request.batch {
            std::slice::from_ref(batch)
        } else {
            index = self.index(request.segment, file.as_ref())?;
            index.batches()
        };
        let name = segment::file_name(request.segment);
        let mut window = Window::new(file.as_ref(), &name, directory::size(file.as_ref(), &name)?);
        for entry in batches.iter().filter(|batch| batch.max_timestamp >= request.timestamp) {
            let bytes = window.slice_ahead(u64::from(entry.position), entry.length as usize, 0)?;
            let Ok(batch) = Batch::decode(&bytes, self.log_id, u64::from(entry.position)) else {
                continue;
            };
            if let Some(record) =
                batch.records().find(|record| record.timestamp >= request.timestamp)
            {
                return Ok(record.offset);
            }
        }
        Ok(request.otherwise)
    }

    /// Hands every record from `from` on to `visit`, of whatever kind, in offset order, one batch in memory at a time.
    ///
    /// Reads what is in files, and so the durable part of the log if nothing is being committed; returns what was damaged.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn replay(
        &mut self,
        from: Offset,
        visit: &mut dyn FnMut(StoredRecord),
    ) -> Result<Vec<Damage>, StorageError> {
        let bases = directory::segments(self.disk.as_ref())?;
        let first = bases.partition_point(|base| *base <= from).saturating_sub(1);
        let mut damage = Vec::new();
        for (number, base) in bases.iter().enumerate().skip(first) {
            let Some(file) = directory::open(self.disk.as_ref(), &segment::file_name(*base))?
            else {
                continue;
            };
            let name = segment::file_name(*base);
            let scan = segment::scan(file.as_ref(), &name, self.log_id, *base, &mut |batch| {
                let records = batch.records().filter(|record| record.offset >= from);
                records.for_each(|record| visit(record.to_stored(&batch.bytes)));
            })?;
            damage.extend(directory::damage_of(&name, &scan, bases.get(number + 1).copied()));
        }
        damage.retain(|damage| damage.to > from);
        Ok(damage)
    }

    /// Closes the files of segments that were given up, so that their space comes back.
    pub fn forget(&mut self, truncation: &Truncation) {
        self.cache.forget(&truncation.segments);
    }

    fn file(&mut self, base: Offset) -> Result<Option<Arc<dyn DiskFile>>, StorageError> {
        if let Some(file) = self.cache.file(base) {
            return Ok(Some(file));
        }
        let file = directory::open(self.disk.as_ref(), &segment::file_name(base))?;
        if let Some(file) = &file {
            self.cache.put(base, Arc::clone(file));
        }
        Ok(file)
    }

    /// The index of a segment: from the cache, from its file, or else made again from the segment.
    fn index(&mut self, base: Offset, file: &dyn DiskFile) -> Result<Arc<FileIndex>, StorageError> {
        if let Some(index) = self.cache.index(base) {
            return Ok(index);
        }
        let index = match directory::load_index(self.disk.as_ref(), self.log_id, base)? {
            Some(index) => index,
            None => directory::build_index(file, self.log_id, base)?.index,
        };
        let index = Arc::new(index);
        self.cache.put_index(base, Arc::clone(&index));
        Ok(index)
    }
}

/// What a request has to fetch, as the index of a sealed segment knows it.
fn plan(index: &FileIndex, request: &ReadRequest) -> Plan {
    let all = index.batches();
    let mut plan = Plan::new(request.to);
    let Select::Matching(matcher) = &request.select else {
        plan.fetch(index::batch_at(all, request.from), READ_BYTES_MAX);
        return plan;
    };
    let from = index::ordinal_at(all, request.from);
    let to = index::ordinal_at(all, request.to);
    let Some(ordinals) = index.select(from, to, matcher.as_ref()) else {
        let first = all.partition_point(|batch| batch.next_offset() <= request.from);
        let bytes_max = request.bytes_max.saturating_mul(2).clamp(DENSE_BYTES, READ_BYTES_MAX);
        let batches = all.iter().skip(first).take_while(|batch| batch.base_offset < request.to);
        for batch in batches {
            if !plan.fetch(Some(batch), bytes_max) {
                break;
            }
        }
        return plan;
    };
    for ordinal in &ordinals {
        if plan.lacks(*ordinal) && !plan.fetch(index::batch_of(all, *ordinal), READ_BYTES_MAX) {
            break;
        }
    }
    plan.ordinals = Some(ordinals);
    plan
}

/// Reads the batches of a plan and picks the records.
fn fetch(
    file: &dyn DiskFile,
    log_id: u64,
    request: &ReadRequest,
    plan: &Plan,
) -> Result<ReadResult, StorageError> {
    let (from, to) = (request.from, request.to);
    let mut gathered =
        Gathered { records: Vec::new(), bytes_left: request.bytes_max, from, to, next: plan.next };
    let mut damage = Vec::new();
    let name = segment::file_name(request.segment);
    let mut window = Window::new(file, &name, directory::size(file, &name)?);
    let mut wanted = plan.ordinals.as_deref();
    for (number, entry) in plan.batches.iter().enumerate() {
        let ahead = run_bytes(plan.batches.get(number..).unwrap_or_default());
        let bytes = window.slice_ahead(u64::from(entry.position), entry.length as usize, ahead)?;
        let here = wanted.map(|all| {
            all.split_at(all.partition_point(|ordinal| *ordinal < entry.next_ordinal()))
        });
        wanted = here.map(|(_, later)| later);
        match decode(&bytes, log_id, entry) {
            Ok(batch) => {
                let picked = match (&request.select, here) {
                    (_, Some((ordinals, _))) => {
                        pick_numbered(&batch, entry, ordinals, &mut gathered)
                    }
                    (Select::Matching(matcher), None) => pick(&batch, &mut gathered, |record| {
                        record.indexed && matcher.matches(record.key)
                    }),
                    (Select::Every, None) => pick(&batch, &mut gathered, |_| true),
                };
                if picked.is_break() {
                    break;
                }
            }
            Err(what) => damage.push(broken(&name, entry, what)),
        }
    }
    let next = gathered.next;
    Ok(ReadResult { records: gathered.into_records(), next, damage })
}

/// How many bytes from the first of these batches on are worth reading in one go.
fn run_bytes(batches: &[BatchEntry]) -> usize {
    let Some(first) = batches.first() else { return 0 };
    let start = u64::from(first.position);
    let mut end = first.end();
    for batch in batches.iter().skip(1) {
        if u64::from(batch.position) > end + GAP_BYTES_MAX || batch.end() - start > RUN_BYTES_MAX {
            break;
        }
        end = batch.end();
    }
    usize::try_from(end - start).unwrap_or(usize::MAX)
}

/// The batch that an index speaks of, if that is what is there.
fn decode(bytes: &Bytes, log_id: u64, entry: &BatchEntry) -> Result<Batch, Fault> {
    let batch = Batch::decode(bytes, log_id, u64::from(entry.position))?;
    let same = batch.header.base_offset == entry.base_offset && batch.header.count == entry.count;
    if same { Ok(batch) } else { Err(Fault::Stray) }
}

/// Takes the records of a batch that have these ordinals; breaks when no more fit.
fn pick_numbered(
    batch: &Batch,
    entry: &BatchEntry,
    ordinals: &[u32],
    gathered: &mut Gathered,
) -> ControlFlow<()> {
    let mut ordinals = ordinals.iter().peekable();
    let mut numbers = entry.first_ordinal..;
    pick(batch, gathered, |_| {
        let number = numbers.next();
        ordinals.next_if(|ordinal| Some(**ordinal) == number).is_some()
    })
}

/// Takes the wanted records of a batch; breaks when no more fit.
fn pick(
    batch: &Batch,
    gathered: &mut Gathered,
    mut wanted: impl FnMut(&RawRecord<'_>) -> bool,
) -> ControlFlow<()> {
    for record in batch.records() {
        if wanted(&record) {
            gathered.add(record.to_stored(&batch.bytes))?;
        }
    }
    ControlFlow::Continue(())
}

fn broken(name: &str, entry: &BatchEntry, what: Fault) -> Damage {
    Damage {
        file: name.into(),
        position: u64::from(entry.position),
        bytes: u64::from(entry.length),
        from: entry.base_offset,
        to: entry.next_offset(),
        what,
        synced: true,
    }
}
