//! The log against a model that is a vector, with every operation in any order that a seed gives.

#![expect(clippy::disallowed_methods, reason = "seeds come from the environment")]

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::panic::resume_unwind;
use std::sync::Arc;

use tidelog::commitlog::CleanOutcome;
use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::Durability;
use tidelog::commitlog::KeyMatcher;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::PendingBatch;
use tidelog::commitlog::Record;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;
use tidelog::commitlog::dump;
use tidelog::commitlog::verify;
use tidelog::time::Timestamp;

use crate::world::Chance;
use crate::world::World;
use crate::world::small;

const SEEDS: u64 = 250;
const STEPS: u64 = 120;

#[test]
fn the_log_does_what_a_vector_does() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("LOG_SEED") {
        return Model::run(seed);
    }
    for seed in 0..number("LOG_SEEDS").unwrap_or(SEEDS) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Model::run(seed))) {
            println!("replay with: LOG_SEED={seed} cargo test --test log model");
            resume_unwind(panic);
        }
    }
}

/// A record as the model remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    offset: u64,
    kind: u8,
    indexed: bool,
    timestamp: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Kept {
    fn is(&self, record: &StoredRecord) -> bool {
        (self.offset, self.kind, self.timestamp)
            == (record.offset.as_u64(), record.kind, record.timestamp)
            && (self.key.as_slice(), self.value.as_slice()) == (record.key(), record.value())
    }
}

struct Model {
    world: Option<World>,
    chance: Chance,
    records: Vec<Kept>,
    next: u64,
    in_flight: VecDeque<PendingBatch>,
    /// Below this everything was handed to the system.
    written: u64,
    /// Below this everything was synced.
    synced: u64,
    clock: u64,
}

impl Model {
    fn run(seed: u64) {
        let mut chance = Chance(seed);
        let options = Options {
            preallocate: chance.below(2) == 0,
            tail_bytes_max: chance.index(8_000),
            segment_records_max: 5 + u32::try_from(chance.below(200)).unwrap(),
            batch_bytes_max: 256 + chance.index(3_000),
            index_cache_bytes_max: chance.index(3_000),
            ..small()
        };
        let mut model = Self {
            world: Some(World::new(options)),
            chance,
            records: Vec::new(),
            next: 0,
            in_flight: VecDeque::new(),
            written: 0,
            synced: 0,
            clock: 1_000,
        };
        for _ in 0..STEPS {
            model.step();
        }
        model.check_all();
        model.corrupt();
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap()
    }

    fn step(&mut self) {
        match self.chance.below(22) {
            0..=5 => self.append(),
            6..=8 => self.commit(Durability::Fsync, usize::MAX),
            9 => self.commit(Durability::Os, usize::MAX),
            10 => self.commit(Durability::Fsync, 1),
            11..=12 => self.read(),
            13 => {
                self.world().maintain();
            }
            14 => self.find(),
            15 => self.truncate(),
            16 => self.full(),
            17 => match self.chance.below(3) {
                0 => self.kill(),
                1 => self.crash(),
                _ => self.fail(),
            },
            18 | 19 => self.clean(),
            20 => self.replay(),
            _ => self.look_from_outside(),
        }
    }

    fn append(&mut self) {
        for _ in 0..=self.chance.below(12) {
            self.clock += self.chance.below(1_000);
            let len = if self.chance.below(30) == 0 { 5_000 } else { 150 };
            let kept = Kept {
                offset: self.next,
                kind: u8::try_from(self.chance.below(4)).unwrap(),
                indexed: self.chance.below(6) > 0,
                timestamp: Timestamp::from_micros(self.clock),
                key: format!("key/{}", self.chance.below(30).pow(2) / 30).into_bytes(),
                value: vec![u8::try_from(self.chance.below(256)).unwrap(); self.chance.index(len)],
            };
            let Kept { kind, indexed, timestamp, .. } = kept;
            let record = Record { kind, indexed, timestamp, key: &kept.key, value: &kept.value };
            assert_eq!(
                self.world.as_mut().unwrap().log.append(&record).unwrap().as_u64(),
                kept.offset
            );
            self.records.push(kept);
            self.next += 1;
        }
    }

    /// Takes everything, and commits at most `limit` batches. Returns whether all went well.
    fn try_commit(&mut self, durability: Durability, limit: usize) -> bool {
        let world = self.world.as_mut().unwrap();
        while let Some(batch) = world.log.take_batch() {
            self.in_flight.push_back(batch);
        }
        for _ in 0..limit.min(self.in_flight.len()) {
            let batch = self.in_flight.front().unwrap();
            let Ok(committed) = world.writer.commit(batch, durability) else { return false };
            world.log.committed(&committed);
            self.written = batch.next_offset().as_u64();
            if durability == Durability::Fsync {
                self.synced = self.written;
            }
            assert_eq!(world.log.durable_offset().as_u64(), self.written);
            self.in_flight.pop_front();
        }
        true
    }

    fn commit(&mut self, durability: Durability, limit: usize) {
        assert!(self.try_commit(durability, limit));
    }

    /// The disk is full for a while.
    fn full(&mut self) {
        self.append();
        let used = self.world().disk.used_bytes();
        let room = self.chance.below(600);
        self.world().disk.set_capacity(Some(used + room));
        if !self.try_commit(Durability::Fsync, usize::MAX) {
            assert!(!self.world().writer.is_poisoned());
            assert!(self.world().log.pending_bytes() > 0);
            self.read();
        }
        self.world().disk.set_capacity(None);
        match self.chance.below(3) {
            0 => self.crash(),
            1 => self.kill(),
            _ => self.commit(Durability::Fsync, usize::MAX),
        }
    }

    /// A write or a sync fails: nothing is acknowledged any more until the log is opened again.
    fn fail(&mut self) {
        self.append();
        let operation = if self.chance.below(2) == 0 { Operation::Write } else { Operation::Sync };
        let sticky = self.chance.below(2) == 0;
        let after = self.chance.below(4);
        self.world().disk.inject(Injection { operation, after, failure: Failure::Io, sticky });
        if !self.try_commit(Durability::Fsync, usize::MAX) {
            self.world().disk.heal();
            assert!(self.world().writer.is_poisoned());
            assert!(!self.try_commit(Durability::Fsync, usize::MAX));
        }
        self.world().disk.heal();
        self.crash();
    }

    /// The process ends and starts again; what was handed to the system is still there.
    fn kill(&mut self) {
        self.world = self.world.take().map(World::reopen);
        self.recovered(self.written);
    }

    /// The power fails; what was synced is still there.
    fn crash(&mut self) {
        let seed = self.chance.next();
        let world = self.world.take().unwrap();
        world.disk.crash(seed);
        self.world = Some(World::open(world.disk.clone(), world.options.clone()));
        self.recovered(self.synced);
    }

    /// Everything below `promised` is there, nothing is there that was not appended, and what is missing is reported.
    fn recovered(&mut self, promised: u64) {
        self.in_flight.clear();
        let report = self.world().report.clone();
        let next = report.next_offset.as_u64();
        assert!(
            (promised..=self.next).contains(&next),
            "{promised} <= {next} <= {}: {report:?}",
            self.next
        );
        self.records.retain(|kept| kept.offset < next);
        for damage in &report.damage {
            assert!(!damage.synced, "{damage}");
            let lost =
                |kept: &Kept| (damage.from.as_u64()..damage.to.as_u64()).contains(&kept.offset);
            let broken = self.records.iter().find(|kept| kept.offset < promised && lost(kept));
            assert_eq!(broken, None, "{damage}, but {promised} was promised");
            self.records.retain(|kept| !lost(kept));
        }
        self.next = next;
        self.written = next;
        self.synced = next;
        assert_eq!(self.world().log.next_offset().as_u64(), next);
    }

    fn matcher(&mut self) -> Arc<dyn KeyMatcher> {
        match self.chance.below(4) {
            0 => Arc::new(|_: &[u8]| true),
            1 => Arc::new(|key: &[u8]| key.ends_with(b"1")),
            2 => Arc::new(|key: &[u8]| key == b"key/7"),
            _ => Arc::new(|_: &[u8]| false),
        }
    }

    fn read(&mut self) {
        let from = self.chance.below(self.next + 2);
        let to = if self.chance.below(2) == 0 { u64::MAX } else { from + self.chance.below(100) };
        let bytes_max = self.chance.index(3_000);
        let matcher = self.matcher();
        let found = self.world().read(Offset::new(from), Offset::new(to), bytes_max, &matcher);
        let range = |kept: &&Kept| {
            kept.indexed && (from..to).contains(&kept.offset) && matcher.matches(&kept.key)
        };
        let expected: Vec<&Kept> = self.records.iter().filter(range).collect();
        check(&expected, &found);
    }

    fn find(&mut self) {
        let offset = self.chance.below(self.next + 1);
        let found = self.world().record(Offset::new(offset));
        let expected: Vec<&Kept> =
            self.records.iter().filter(|kept| kept.offset == offset).collect();
        check(&expected, found.as_slice());
        let timestamp = Timestamp::from_micros(self.chance.below(self.clock + 100));
        let expected =
            self.records.iter().find(|kept| kept.timestamp >= timestamp).map(|kept| kept.offset);
        let expected = expected.unwrap_or(self.next);
        let found = self.world().offset_at(timestamp).as_u64();
        // Offsets of which the records were cleaned away are as good.
        let between = self.records.iter().find(|kept| (found..expected).contains(&kept.offset));
        assert!(found <= expected && between.is_none(), "{found} {expected} {between:?}");
    }

    fn truncate(&mut self) {
        let offset = Offset::new(self.chance.below(self.next + 1) / 2);
        let world = self.world.as_mut().unwrap();
        let truncation = world.log.truncate_before(offset);
        world.writer.truncate(&truncation).unwrap();
        world.reader.forget(&truncation);
        let start = world.log.start_offset().as_u64();
        assert!(start <= offset.as_u64() || truncation.is_empty());
        self.records.retain(|kept| kept.offset >= start);
    }

    /// A segment is cleaned; now and then a call fails on the way, and the power with it.
    fn clean(&mut self) {
        let segments = self.world().cleanable();
        if segments.is_empty() {
            return;
        }
        let segment = segments[self.chance.index(segments.len())];
        let range = segment.base_offset.as_u64()..segment.next_offset.as_u64();
        let (salt, share) = (self.chance.next(), 1 + self.chance.below(4));
        let dead = move |offset: u64| {
            range.contains(&offset) && !Chance(salt ^ offset).below(4).is_multiple_of(share)
        };
        let fails = self.chance.below(3) == 0;
        if fails {
            let operation = [Operation::Read, Operation::Write, Operation::Sync];
            let operation = operation[self.chance.index(3)];
            let (after, sticky) = (self.chance.below(5), self.chance.below(2) == 0);
            self.world().disk.inject(Injection { operation, after, failure: Failure::Io, sticky });
        }
        let outcome = self.world().clean(segment.base_offset, &dead);
        self.world().disk.heal();
        if let Ok(outcome) = &outcome {
            if matches!(outcome, CleanOutcome::Rewritten(_)) {
                self.records.retain(|kept| !dead(kept.offset));
            }
            if let CleanOutcome::Damaged(damage) = outcome {
                assert!(damage.iter().all(|damage| !damage.synced), "{damage:?}");
            }
            return;
        }
        assert!(fails, "{outcome:?}");
        // Nobody knows which of both files there is until the log is opened again.
        if self.chance.below(2) == 0 {
            self.crash();
        } else {
            self.kill();
        }
        self.forget_if_gone(&dead);
    }

    /// The dead records are there as before, or all are gone.
    fn forget_if_gone(&mut self, dead: &impl Fn(u64) -> bool) {
        let written = self.written;
        let gone: Vec<bool> = self
            .records
            .iter()
            .filter(|kept| dead(kept.offset) && kept.offset < written)
            .map(|kept| kept.offset)
            .collect::<Vec<u64>>()
            .into_iter()
            .map(|offset| self.world().record(Offset::new(offset)).is_none())
            .collect();
        if gone.first().is_some_and(|gone| *gone) {
            assert!(gone.iter().all(|gone| *gone), "{gone:?}");
            self.records.retain(|kept| !dead(kept.offset));
        } else {
            assert!(gone.iter().all(|gone| !gone), "{gone:?}");
        }
    }

    fn replay(&mut self) {
        if self.written != self.next {
            return;
        }
        let from = self.chance.below(self.next + 1);
        let found = self.world().replay(Offset::new(from));
        let expected: Vec<&Kept> = self.records.iter().filter(|kept| kept.offset >= from).collect();
        check(&expected, &found);
    }

    fn look_from_outside(&mut self) {
        let written = self.written;
        let disk = self.world().disk.clone();
        let report = verify(&disk, &mut |damage| assert!(!damage.synced, "{damage}")).unwrap();
        assert_eq!(
            report.next_offset.as_u64().max(report.start_offset.as_u64()),
            written,
            "{report:?}"
        );
        let mut found = Vec::new();
        let visit = &mut |record: StoredRecord| {
            found.push(record);
            ControlFlow::Continue(())
        };
        dump(&disk, &DumpFilter::default(), visit).unwrap();
        let expected: Vec<&Kept> =
            self.records.iter().filter(|kept| kept.offset < written).collect();
        check(&expected, &found);
    }

    fn check_all(&mut self) {
        self.commit(Durability::Fsync, usize::MAX);
        self.world().maintain();
        let found = self.world().replay(Offset::ZERO);
        let expected: Vec<&Kept> = self.records.iter().collect();
        check(&expected, &found);
    }

    /// Spoils a place of a file: nothing wrong is served, everything that is missing is reported.
    fn corrupt(&mut self) {
        let world = self.world.take().unwrap();
        let segments = world.segments();
        if segments.is_empty() {
            return;
        }
        let name = &segments[self.chance.index(segments.len())];
        let len = world.disk.file(name).unwrap().len();
        let position = self.chance.index(len);
        let corruption = match self.chance.below(4) {
            0 | 1 => Corruption::Flip(1 << self.chance.below(8)),
            2 => Corruption::Zero(1 + self.chance.index(600)),
            _ => Corruption::Copy {
                from: self.chance.index(len) / 8 * 8,
                len: 1 + self.chance.index(600),
            },
        };
        world.disk.corrupt(name, position, corruption);
        let mut world = world.reopen();
        let mut found = Vec::new();
        let damage = world.reader.replay(Offset::ZERO, &mut |record| found.push(record)).unwrap();
        let torn = world.report.torn.is_some();
        let next = world.log.next_offset().as_u64();
        for kept in &self.records {
            let served = found.iter().find(|record| record.offset.as_u64() == kept.offset);
            let offset = Offset::new(kept.offset);
            let reported = damage.iter().any(|damage| damage.from <= offset && offset < damage.to);
            let cut = kept.offset >= next && torn;
            assert!(
                served.is_some_and(|record| kept.is(record)) != (reported || cut),
                "{kept:?}: {damage:?}"
            );
        }
        assert!(found.iter().all(|record| self.records.iter().any(|kept| kept.is(record))));
        let indexed = |record: &&StoredRecord| {
            self.records.iter().any(|kept| kept.indexed && kept.is(record))
        };
        let expected: Vec<&StoredRecord> = found.iter().filter(indexed).collect();
        assert_eq!(world.read_all().iter().collect::<Vec<_>>(), expected);
        world.append("after", b"the damage");
        world.commit().unwrap();
        let mut world = world.reopen();
        assert_eq!(world.replay(Offset::ZERO).len(), found.len() + 1);
    }
}

fn check(expected: &[&Kept], found: &[StoredRecord]) {
    for (kept, record) in expected.iter().zip(found) {
        assert!(kept.is(record), "expected {kept:?}, found {record:?}");
    }
    let numbers = |records: &[StoredRecord]| {
        records.iter().map(|record| record.offset.as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(expected.iter().map(|kept| kept.offset).collect::<Vec<_>>(), numbers(found));
}
