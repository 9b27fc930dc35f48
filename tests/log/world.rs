//! A log on a disk in memory, with what it takes to drive it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidelog::commitlog::CleanOutcome;
use tidelog::commitlog::Cleanable;
use tidelog::commitlog::Durability;
use tidelog::commitlog::KeyMatcher;
use tidelog::commitlog::Log;
use tidelog::commitlog::Offset;
use tidelog::commitlog::OffsetAt;
use tidelog::commitlog::Options;
use tidelog::commitlog::PendingBatch;
use tidelog::commitlog::Read;
use tidelog::commitlog::Reader;
use tidelog::commitlog::Record;
use tidelog::commitlog::RecoveryReport;
use tidelog::commitlog::StorageError;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::Writer;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::time::Timestamp;

/// Chance from a seed (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

/// Small segments and batches, so that a few records make several of them.
pub(crate) fn small() -> Options {
    Options {
        segment_bytes: 4 << 10,
        batch_bytes_max: 1 << 10,
        tail_bytes_max: 3 << 10,
        preallocate: false,
        ..Options::default()
    }
}

pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    pub(crate) report: RecoveryReport,
    /// A batch that could not be committed yet.
    waiting: Option<PendingBatch>,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        Self::open(MemoryDisk::new(), options)
    }

    pub(crate) fn open(disk: MemoryDisk, options: Options) -> Self {
        let opened = Log::open(Arc::new(disk.clone()), options.clone(), &mut |_| {});
        let (log, writer, reader, report) = opened.unwrap();
        Self { disk, options, log, writer, reader, report, waiting: None }
    }

    /// Ends the process without a power cut and starts it again.
    pub(crate) fn reopen(self) -> Self {
        self.disk.kill();
        Self::open(self.disk.clone(), self.options.clone())
    }

    pub(crate) fn append(&mut self, key: &str, value: &[u8]) -> Offset {
        let timestamp = Timestamp::EPOCH + Duration::from_secs(self.log.next_offset().as_u64());
        self.log
            .append(&Record { kind: 1, indexed: true, timestamp, key: key.as_bytes(), value })
            .unwrap()
    }

    /// Makes everything appended durable. After an error it goes on with the same batch.
    pub(crate) fn commit(&mut self) -> Result<(), StorageError> {
        while let Some(batch) = self.waiting.take().or_else(|| self.log.take_batch()) {
            let result = self.writer.commit(&batch, Durability::Fsync);
            self.waiting = result.is_err().then_some(batch);
            self.log.committed(&result?);
        }
        Ok(())
    }

    /// The segments that may be cleaned.
    pub(crate) fn cleanable(&self) -> Vec<Cleanable> {
        self.log.cleanable_before(Offset::MAX).collect()
    }

    /// Takes the records out of a segment that are `dead`, by their offset.
    pub(crate) fn clean(
        &mut self,
        segment: Offset,
        dead: impl Fn(u64) -> bool,
    ) -> Result<CleanOutcome, StorageError> {
        let mut keep = |record: &StoredRecord| !dead(record.offset.as_u64());
        let mut pace = |_: usize| ControlFlow::Continue(());
        let work = (segment, self.log.durable_offset());
        let outcome = self.writer.cleaner().clean(work, 0, &mut keep, &mut pace)?;
        if let CleanOutcome::Rewritten(rewritten) = &outcome {
            self.log.cleaned(rewritten);
            self.reader.forget_cleaned(rewritten);
        }
        Ok(outcome)
    }

    pub(crate) fn maintain(&mut self) {
        while self.writer.maintain().unwrap() {}
    }

    /// `count` records in batches of three, durable, with keys `key/0` to `key/4`.
    pub(crate) fn fill(&mut self, count: u64) {
        for number in 0..count {
            self.append(&format!("key/{}", number % 5), &[u8::try_from(number % 251).unwrap(); 40]);
            if number % 3 == 2 {
                self.commit().unwrap();
            }
        }
        self.commit().unwrap();
        self.maintain();
    }

    /// Reads the whole range, from memory or from files.
    pub(crate) fn read(
        &mut self,
        from: Offset,
        to: Offset,
        bytes_max: usize,
        matcher: &Arc<dyn KeyMatcher>,
    ) -> Vec<StoredRecord> {
        let mut found = Vec::new();
        let mut at = from;
        let end = to.min(self.log.next_offset());
        while at < end {
            let (records, next) = match self.log.read(at, to, bytes_max, matcher) {
                Read::Records { records, next } => (records, next),
                Read::Cold(request) => {
                    let result = self.reader.read(&request).unwrap();
                    (result.records, result.next)
                }
            };
            assert!(next > at, "no progress at {at}");
            assert!(
                records.len() <= 1
                    || records.iter().map(StoredRecord::size_bytes).sum::<usize>() <= bytes_max
            );
            found.extend(records);
            at = next;
        }
        found
    }

    pub(crate) fn read_all(&mut self) -> Vec<StoredRecord> {
        self.read(Offset::ZERO, Offset::MAX, 1 << 20, &every())
    }

    pub(crate) fn record(&mut self, offset: Offset) -> Option<StoredRecord> {
        match self.log.record(offset) {
            Read::Records { records, .. } => records.into_iter().next(),
            Read::Cold(request) => self.reader.read(&request).unwrap().records.into_iter().next(),
        }
    }

    pub(crate) fn offset_at(&mut self, timestamp: Timestamp) -> Offset {
        match self.log.offset_at(timestamp) {
            OffsetAt::Known(offset) => offset,
            OffsetAt::Cold(request) => self.reader.offset_at(&request).unwrap(),
        }
    }

    pub(crate) fn replay(&mut self, from: Offset) -> Vec<StoredRecord> {
        let mut found = Vec::new();
        self.reader.replay(from, &mut |record| found.push(record)).unwrap();
        found
    }

    /// The names of the segment files, in order.
    pub(crate) fn segments(&self) -> Vec<String> {
        use tidelog::commitlog::disk::Disk;
        let mut names = self.disk.list().unwrap();
        names.retain(|name| {
            std::path::Path::new(name).extension().is_some_and(|extension| extension == "log")
        });
        names.sort();
        names
    }
}

pub(crate) fn every() -> Arc<dyn KeyMatcher> {
    Arc::new(tidelog::commitlog::EveryKey)
}

pub(crate) fn exactly(key: &str) -> Arc<dyn KeyMatcher> {
    let key = key.as_bytes().to_vec();
    Arc::new(move |found: &[u8]| found == key)
}
