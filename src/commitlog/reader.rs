//! Reads what is no longer in memory, anywhere but in the core.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::Rewritten;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;
use crate::commitlog::Truncation;
use crate::commitlog::batch::Batch;
use crate::commitlog::batch::RawRecord;
use crate::commitlog::cache::BatchCache;
use crate::commitlog::cache::DecodedBatch;
use crate::commitlog::cache::OpenedSegment;
use crate::commitlog::cache::SegmentCache;
use crate::commitlog::directory;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::index;
use crate::commitlog::index::BatchEntry;
use crate::commitlog::index::FileIndex;
use crate::commitlog::query::Gathered;
use crate::commitlog::segment;
use crate::commitlog::segment::SegmentHeader;
use crate::commitlog::segment::Window;
use crate::mutant::Mutant;
use crate::time::Timestamp;

/// Batches no further apart than this are read in one go.
const GAP_BYTES_MAX: u64 = 16 << 10;
/// How much is read in one go.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// How many bytes of batches one request reads, unless a single batch is larger.
pub(super) const READ_BYTES_MAX: usize = 4 << 20;
/// How many at least are worth reading where much of it is wanted.
const DENSE_BYTES: usize = 128 << 10;
/// How many bytes of decoded batches a reader keeps.
const BATCH_CACHE_BYTES_MAX: usize = 8 << 20;

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

/// Reads segments. Has bounded caches of indexes and of the batches read last, so that the neighbours of what was read cost
/// no reading; may live in any thread, and there may be several.
pub struct Reader {
    disk: Arc<dyn Disk>,
    log_id: u64,
    cache: SegmentCache,
    batches: BatchCache,
}

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, log_id: u64, cache_bytes_max: usize) -> Self {
        let cache = SegmentCache::new(cache_bytes_max);
        Self { disk, log_id, cache, batches: BatchCache::new(BATCH_CACHE_BYTES_MAX) }
    }

    /// Another reader of the same log, with caches of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.disk), self.log_id, self.cache.bytes_max())
    }

    /// Answers a [`Read::Cold`](super::Read::Cold). Of a segment that was truncated meanwhile, nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails; damage is no error but part of the result.
    pub fn read(&mut self, request: &ReadRequest) -> Result<ReadResult, StorageError> {
        let result = self.try_read(request);
        if result.is_err() && Mutant::FailedReadIsEmpty.is_active() {
            return Ok(ReadResult { next: request.to, ..ReadResult::default() });
        }
        result
    }

    fn try_read(&mut self, request: &ReadRequest) -> Result<ReadResult, StorageError> {
        let Some((file, generation)) = self.file(request.segment)? else {
            return Ok(ReadResult { next: request.to, ..ReadResult::default() });
        };
        // What memory knew of a segment is true of the one that was written first.
        if let Some(plan) = request.plan.as_ref().filter(|_| generation == 0) {
            return self.fetch(file.as_ref(), request, plan);
        }
        let index = self.index(request.segment, file.as_ref(), generation)?;
        let mut result = self.fetch(file.as_ref(), request, &plan(&index, request))?;
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
        let Some((file, generation)) = self.file(request.segment)? else {
            return Ok(request.otherwise);
        };
        let index;
        let batches = if let Some(batch) = request.batch.as_ref().filter(|_| generation == 0) {
            std::slice::from_ref(batch)
        } else {
            index = self.index(request.segment, file.as_ref(), generation)?;
            index.batches()
        };
        let name = segment::file_name(request.segment);
        let mut window = window(file.as_ref(), &name, batches);
        for entry in batches.iter().filter(|batch| batch.max_timestamp >= request.timestamp) {
            let Ok(batch) = self.batch(request.segment, &mut window, entry, 0)? else { continue };
            if let Some(record) = batch
                .records_from(Offset::ZERO)
                .find(|record| record.timestamp >= request.timestamp)
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
        self.replay_to(from, Offset::MAX, visit)
    }

    /// As [`Reader::replay`], for the records in `from..to`. What stands in a file after the last of them is not looked
    /// at, so that a log that was opened just now need not be searched to its end a second time.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn replay_to(
        &mut self,
        from: Offset,
        to: Offset,
        visit: &mut dyn FnMut(StoredRecord),
    ) -> Result<Vec<Damage>, StorageError> {
        let bases = directory::segments(self.disk.as_ref())?;
        let first = bases.partition_point(|base| *base <= from).saturating_sub(1);
        let mut damage = Vec::new();
        for (number, base) in bases.iter().enumerate().skip(first) {
            if *base >= to {
                break;
            }
            let name = segment::file_name(*base);
            let Some(file) = directory::open(self.disk.as_ref(), &name)? else { continue };
            let mut visit = |batch: &Batch| {
                let records = batch.records().filter(|record| (from..to).contains(&record.offset));
                records.for_each(|record| visit(record.to_stored(&batch.bytes)));
            };
            let scan = segment::scan_to(file.as_ref(), &name, self.log_id, *base, to, &mut visit)?;
            let whole = scan.next_offset < to;
            let next_base = bases.get(number + 1).copied().filter(|_| whole);
            damage.extend(directory::damage_of(&name, &scan, next_base));
        }
        damage.retain(|damage| damage.to > from);
        Ok(damage)
    }

    /// Closes the files of segments that were given up, so that their space comes back, and drops what was read of them.
    pub fn forget(&mut self, truncation: &Truncation) {
        self.cache.forget(&truncation.segments);
        self.batches.forget(&truncation.segments);
    }

    /// Closes the old file of a segment that was cleaned, so that its space comes back, and drops what was read of it. A reader
    /// that is not told goes on reading the old file.
    pub fn forget_cleaned(&mut self, rewritten: &Rewritten) {
        self.cache.forget(&[rewritten.segment]);
        self.batches.forget(&[rewritten.segment]);
    }

    /// Reads the batches of a plan and picks the records.
    fn fetch(
        &mut self,
        file: &dyn DiskFile,
        request: &ReadRequest,
        plan: &Plan,
    ) -> Result<ReadResult, StorageError> {
        let (from, to, next) = (request.from, request.to, plan.next);
        let mut gathered =
            Gathered { records: Vec::new(), bytes_left: request.bytes_max, from, to, next };
        let mut damage = Vec::new();
        let name = segment::file_name(request.segment);
        let mut window = window(file, &name, &plan.batches);
        let mut wanted = plan.ordinals.as_deref();
        for (number, entry) in plan.batches.iter().enumerate() {
            let ahead = run_bytes(plan.batches.get(number..).unwrap_or_default());
            let here = wanted.map(|all| {
                all.split_at(all.partition_point(|ordinal| *ordinal < entry.next_ordinal()))
            });
            wanted = here.map(|(_, later)| later);
            let ordinals = here.map(|(ordinals, _)| ordinals);
            match self.batch(request.segment, &mut window, entry, ahead)? {
                Ok(batch) => {
                    if pick_wanted(&batch, &request.select, ordinals, &mut gathered).is_break() {
                        break;
                    }
                }
                Err(what) => damage.push(broken(&name, entry, what)),
            }
        }
        let next = gathered.next;
        Ok(ReadResult { records: gathered.into_records(), next, damage })
    }

    /// A batch that an index speaks of: from the cache, or from the file, of which `ahead` bytes are read if it has to be.
    fn batch(
        &mut self,
        segment: Offset,
        window: &mut Window<'_>,
        entry: &BatchEntry,
        ahead: usize,
    ) -> Result<Result<Arc<DecodedBatch>, Fault>, StorageError> {
        if let Some(batch) = self.batches.get(segment, entry) {
            return Ok(Ok(batch));
        }
        let bytes = window.slice_ahead(u64::from(entry.position), entry.length as usize, ahead)?;
        let decoded = decode(&bytes, self.log_id, entry);
        Ok(decoded.map(|batch| {
            let kept = self.batches.keeps(&batch);
            // What was read in one go holds other batches, too: what is kept gets memory of its own.
            let batch = if kept { batch.detached() } else { batch };
            let batch = Arc::new(DecodedBatch::new(batch, *entry));
            if kept {
                self.batches.put(segment, &batch);
            }
            batch
        }))
    }

    /// The file of a segment, and how often it was cleaned.
    fn file(&mut self, base: Offset) -> Result<Option<OpenedSegment>, StorageError> {
        if let Some(found) = self.cache.file(base) {
            return Ok(Some(found));
        }
        let name = segment::file_name(base);
        let Some(file) = directory::open(self.disk.as_ref(), &name)? else { return Ok(None) };
        let head = directory::head(file.as_ref(), &name, segment::HEADER_BYTES)?;
        let header = SegmentHeader::decode(&head).filter(|head| head.is_of(self.log_id, base));
        let generation = header.map_or(0, |header| header.generation);
        self.cache.put(base, Arc::clone(&file), generation);
        Ok(Some((file, generation)))
    }

    /// The index of a segment: from the cache, from its file, or else made again from the segment.
    fn index(
        &mut self,
        base: Offset,
        file: &dyn DiskFile,
        generation: u32,
    ) -> Result<Arc<FileIndex>, StorageError> {
        if let Some(index) = self.cache.index(base) {
            return Ok(index);
        }
        let loaded = directory::load_index(self.disk.as_ref(), self.log_id, base, generation)?;
        let index = match loaded {
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
    let to = index::ordinal_after(all, request.to);
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

/// Sees a file up to the end of the last of these batches.
fn window<'a>(file: &'a dyn DiskFile, name: &'a str, batches: &[BatchEntry]) -> Window<'a> {
    Window::new(file, name, batches.last().map_or(0, BatchEntry::end))
}

/// Takes the wanted records of one batch; breaks when no more fit.
fn pick_wanted(
    batch: &DecodedBatch,
    select: &Select,
    ordinals: Option<&[u32]>,
    gathered: &mut Gathered,
) -> ControlFlow<()> {
    match (select, ordinals) {
        (_, Some(ordinals)) => pick_numbered(batch, ordinals, gathered),
        (Select::Matching(matcher), None) => {
            pick(batch, gathered, |record| record.indexed && matcher.matches(record.key))
        }
        (Select::Every, None) => pick(batch, gathered, |_| true),
    }
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
pub(super) fn decode(bytes: &Bytes, log_id: u64, entry: &BatchEntry) -> Result<Batch, Fault> {
    let batch = Batch::decode(bytes, log_id, u64::from(entry.position))?;
    let same = batch.header.base_offset == entry.base_offset && batch.header.count == entry.count;
    if same { Ok(batch) } else { Err(Fault::Stray) }
}

/// Takes the records of a batch that have these ordinals; breaks when no more fit.
fn pick_numbered(
    batch: &DecodedBatch,
    ordinals: &[u32],
    gathered: &mut Gathered,
) -> ControlFlow<()> {
    for ordinal in ordinals {
        if let Some(record) = batch.record(*ordinal) {
            gathered.add(batch.stored(record))?;
        }
    }
    ControlFlow::Continue(())
}

/// Takes the wanted records of a batch; breaks when no more fit.
fn pick(
    batch: &DecodedBatch,
    gathered: &mut Gathered,
    mut wanted: impl FnMut(&RawRecord<'_>) -> bool,
) -> ControlFlow<()> {
    let (from, to) = (gathered.from, gathered.to);
    for record in batch.records_from(from).take_while(|record| record.offset < to) {
        if wanted(&record) {
            gathered.add(batch.stored(record))?;
        }
    }
    ControlFlow::Continue(())
}

/// That a batch is not what the index says.
pub(super) fn broken(name: &str, entry: &BatchEntry, what: Fault) -> Damage {
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
