//! What becomes of failing disks: nothing acknowledged is lost, nothing is acknowledged that may be.

use std::sync::Arc;

use tidelog::commitlog::Durability;
use tidelog::commitlog::Log;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::StorageFault;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;

use crate::world::World;
use crate::world::every;
use crate::world::small;

fn inject(world: &World, operation: Operation, after: u64, failure: Failure, sticky: bool) {
    world.disk.inject(Injection { operation, after, failure, sticky });
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let mut world = World::new(small());
    world.fill(30);
    world.disk.set_capacity(Some(world.disk.used_bytes() + 50));
    world.append("k", &[1; 400]);
    let batch = world.log.take_batch().unwrap();
    for _ in 0..3 {
        let error = world.writer.commit(&batch, Durability::Fsync).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert_eq!(&*error.file, "00000000000000000000.log");
        assert!(!world.writer.is_poisoned());
    }
    assert_eq!(world.log.durable_offset(), Offset::new(30));
    assert_eq!(world.read_all().len(), 31);
    world.disk.set_capacity(None);
    let committed = world.writer.commit(&batch, Durability::Fsync).unwrap();
    world.log.committed(&committed);
    assert_eq!(world.log.durable_offset(), Offset::new(31));
    let mut world = world.reopen();
    assert_eq!((world.report.torn.clone(), world.read_all().len()), (None, 31));
}

#[test]
fn a_full_disk_is_no_failure_where_a_segment_begins() {
    let mut world = World::new(small());
    while world.log.segment_count() == 1 {
        world.append("k", &[1; 400]);
        world.commit().unwrap_or_default();
    }
    let segments = world.segments().len();
    let before = world.log.next_offset();
    while world.log.segment_count() == segments {
        world.append("k", &[1; 400]);
        if world.log.segment_count() == segments {
            world.commit().unwrap();
        }
    }
    inject(&world, Operation::Write, 0, Failure::Full, true);
    let batch = world.log.take_batch().unwrap();
    assert!(world.writer.commit(&batch, Durability::Fsync).unwrap_err().is_full());
    world.disk.heal();
    let committed = world.writer.commit(&batch, Durability::Fsync).unwrap();
    world.log.committed(&committed);
    assert!(world.log.durable_offset() > before);
    let next = world.log.next_offset();
    let mut world = world.reopen();
    assert_eq!(world.report.damage, []);
    assert_eq!(world.read_all().len() as u64, next.as_u64());
}

#[test]
fn one_failed_write_or_sync_poisons_for_good() {
    for (operation, failure) in [
        (Operation::Write, Failure::Io),
        (Operation::Sync, Failure::Io),
        (Operation::Sync, Failure::Full),
    ] {
        let mut world = World::new(small());
        world.fill(3);
        world.append("k", b"v");
        inject(&world, operation, 0, failure, false);
        let batch = world.log.take_batch().unwrap();
        let error = world.writer.commit(&batch, Durability::Fsync).unwrap_err();
        match operation {
            Operation::Sync => assert!(matches!(error.what, StorageFault::Sync(_)), "{error}"),
            Operation::Write | Operation::Read => {
                assert!(matches!(error.what, StorageFault::Write(_)), "{error}");
            }
        }
        assert!(world.writer.is_poisoned());
        for _ in 0..3 {
            let error = world.writer.commit(&batch, Durability::Fsync).unwrap_err();
            assert!(matches!(error.what, StorageFault::Poisoned));
        }
        assert_eq!(world.log.durable_offset(), Offset::new(3));
        assert_eq!(world.read_all().len(), 4);
        world.disk.crash(1);
        let world = World::open(world.disk.clone(), small());
        assert!(world.log.next_offset() >= Offset::new(3));
    }
}

#[test]
fn a_failed_read_names_the_file_and_harms_nothing() {
    let mut world = World::new(small());
    world.fill(120);
    let Read::Cold(request) = world.log.read(Offset::ZERO, Offset::MAX, 1 << 20, &every()) else {
        panic!("warm")
    };
    inject(&world, Operation::Read, 0, Failure::Io, true);
    let error = world.reader.read(&request).unwrap_err();
    assert!(matches!(error.what, StorageFault::Read(_)));
    assert!(error.file.starts_with("00000000000000000000"), "{error}");
    world.disk.heal();
    assert!(!world.reader.read(&request).unwrap().records.is_empty());
}

/// A run of everything that writes; every step that says "durable" is noted.
fn work(world: &mut World) -> Offset {
    for number in 0..60 {
        world.append(&format!("key/{}", number % 3), &[7; 150]);
        if number % 4 == 3 && world.commit().is_err() && world.commit().is_err() {
            break;
        }
        if number % 7 == 6 {
            let _ = world.writer.maintain();
        }
        if number == 45 {
            let truncation = world.log.truncate_before(Offset::new(30));
            let _ = world.writer.truncate(&truncation);
        }
    }
    world.log.durable_offset()
}

/// The n-th write or sync fails, for every n, in every way; then the power fails.
#[test]
fn any_one_failing_call_loses_nothing_that_was_durable() {
    let options = || Options { preallocate: true, reserve_bytes: 2_000, ..small() };
    for operation in [Operation::Write, Operation::Sync] {
        for (failure, sticky) in [
            (Failure::Io, false),
            (Failure::Io, true),
            (Failure::Full, false),
            (Failure::Full, true),
        ] {
            for after in 0..70 {
                let mut world = World::new(options());
                inject(&world, operation, after, failure, sticky);
                let durable = work(&mut world);
                let start = world.log.start_offset();
                world.disk.crash(after);
                let mut world = World::open(world.disk.clone(), options());
                let what = format!("{operation:?} {failure:?} {sticky} after {after}");
                assert!(
                    world.report.damage.iter().all(|damage| !damage.synced),
                    "{what}: {:?}",
                    world.report
                );
                assert!(world.log.next_offset() >= durable, "{what}");
                let found = world.replay(start);
                let kept = found.iter().filter(|record| record.offset < durable).count();
                assert_eq!(kept as u64, durable.since(start), "{what}");
            }
        }
    }
}

/// What could not be removed goes before what is given up later: a hole in the log would be damage.
#[test]
fn segments_that_could_not_be_removed_go_first_the_next_time() {
    for after in 0..2 {
        let mut world = World::new(small());
        world.fill(600);
        let first = world.log.truncate_before(Offset::new(200));
        inject(&world, Operation::Sync, after, Failure::Io, false);
        assert!(world.writer.truncate(&first).is_err());
        let second = world.log.truncate_before(Offset::new(400));
        world.writer.truncate(&second).unwrap();
        let start = world.log.start_offset();
        world.disk.crash(after);
        let world = World::open(world.disk.clone(), small());
        assert_eq!((&world.report.damage, world.report.start_offset), (&Vec::new(), start));
    }
}

/// A first batch of which only the segment's header was written, and a sync that fails when that is opened: the header may be in the
/// system's memory only, and what is written behind it rests on it.
#[test]
fn a_header_that_a_failed_sync_left_in_memory_is_written_again() {
    for seed in 0..20 {
        let mut world = World::new(small());
        world.append("k", &[7; 100]);
        // After the file's making.
        inject(&world, Operation::Write, 1, Failure::Io, false);
        let batch = world.log.take_batch().unwrap();
        world.writer.commit(&batch, Durability::Fsync).unwrap_err();
        world.disk.kill();
        inject(&world, Operation::Sync, 0, Failure::Io, false);
        let opened = Log::open(Arc::new(world.disk.clone()), small(), &mut |_| {});
        assert!(opened.is_err());
        world.disk.kill();
        let mut world = World::open(world.disk.clone(), small());
        world.append("k", b"v");
        world.commit().unwrap();
        world.disk.crash(seed);
        let world = World::open(world.disk.clone(), small());
        assert_eq!(world.report.damage, [], "seed {seed}");
        assert_eq!(world.log.next_offset(), Offset::new(1), "seed {seed}");
    }
}

/// The n-th call of opening fails; the next attempt succeeds and has lost nothing.
#[test]
fn opening_may_fail_anywhere_and_be_tried_again() {
    let mut world = World::new(small());
    world.fill(120);
    let expected = world.replay(Offset::ZERO);
    world.append("k", b"torn");
    world.commit().unwrap();
    world.disk.kill();
    let files: Vec<(String, Vec<u8>)> = {
        use tidelog::commitlog::disk::Disk;
        let names = world.disk.list().unwrap();
        names.into_iter().map(|name| (name.clone(), world.disk.file(&name).unwrap())).collect()
    };
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
        for after in 0..25 {
            let disk = MemoryDisk::new();
            for (name, bytes) in &files {
                let torn = if name
                    == files
                        .iter()
                        .map(|(name, _)| name)
                        .filter(|n| n.ends_with("log"))
                        .max()
                        .unwrap()
                {
                    bytes[..bytes.len() - 5].to_vec()
                } else {
                    bytes.clone()
                };
                disk.put(name, torn);
            }
            disk.inject(Injection { operation, after, failure: Failure::Io, sticky: true });
            let first = Log::open(Arc::new(disk.clone()), small(), &mut |_| {});
            let failed = first.is_err();
            drop(first);
            disk.crash(after);
            let mut world = World::open(disk, small());
            assert_eq!(
                world.replay(Offset::ZERO),
                expected,
                "{operation:?} after {after}, failed: {failed}"
            );
            assert_eq!(world.report.damage, []);
        }
    }
}
