//! The reserve: a full disk still takes what makes room, for a while, and the log says so.

use tidelog::commitlog::Durability;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;

use crate::world::World;
use crate::world::small;

const RESERVE: u64 = 3_000;

fn with_reserve() -> Options {
    Options { reserve_bytes: RESERVE, ..small() }
}

/// A log on a disk without any room but the reserve.
fn full() -> World {
    let mut world = World::new(with_reserve());
    world.fill(30);
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    world
}

fn reserve_bytes(world: &World) -> Option<usize> {
    world.disk.file("reserve").map(|bytes| bytes.len())
}

/// Appends a record and commits it; whether it was written out of the reserve.
fn commit(world: &mut World, bytes: usize) -> Result<bool, tidelog::commitlog::StorageError> {
    world.append("k", &vec![1; bytes]);
    let batch = world.log.take_batch().unwrap();
    let committed = world.writer.commit(&batch, Durability::Fsync)?;
    world.log.committed(&committed);
    Ok(committed.is_short())
}

#[test]
fn a_full_disk_is_written_to_out_of_the_reserve() {
    check_reserve();
}

/// A reserve that is only said to be there is seen.
#[cfg(feature = "mutants")]
#[test]
fn a_reserve_that_is_not_made_again_is_seen() {
    use tidelog::mutant::Mutant;
    use tidelog::mutant::activate;
    activate(Some(Mutant::ReserveNotRemade));
    let caught = std::panic::catch_unwind(check_reserve).is_err();
    activate(None);
    assert!(caught, "the bug is not seen");
}

fn check_reserve() {
    let mut world = full();
    assert_eq!(reserve_bytes(&world), Some(3_000));
    assert!(commit(&mut world, 400).unwrap(), "it says that it did");
    assert_eq!(reserve_bytes(&world), None);
    assert!(commit(&mut world, 400).unwrap());
    assert!(world.writer.replenish().unwrap_err().is_full());
    assert_eq!(world.disk.file("reserve.tmp"), None, "what it took is given back");
    assert!(commit(&mut world, 400).unwrap(), "a try that failed takes nothing away");
    world.disk.set_capacity(None);
    world.writer.replenish().unwrap();
    assert!(!commit(&mut world, 400).unwrap());
    assert_eq!(reserve_bytes(&world), Some(3_000));
    let mut world = world.reopen();
    assert_eq!((world.report.torn.clone(), world.read_all().len()), (None, 34));
}

#[test]
fn when_the_reserve_is_used_up_the_same_batch_waits() {
    let mut world = full();
    while commit(&mut world, 300).is_ok() {}
    let (durable, next) = (world.log.durable_offset(), world.log.next_offset());
    assert_eq!(durable.next(), next, "the last one was not acknowledged");
    assert!(durable > Offset::new(32), "the reserve took some: {durable}");
    assert!(!world.writer.is_poisoned());
    let mut world = world.reopen();
    assert_eq!(world.read_all().len() as u64, durable.as_u64());
    assert!(commit(&mut world, 1_000).unwrap_err().is_full(), "still full after a restart");
    world.disk.set_capacity(None);
    let mut world = world.reopen();
    assert_eq!(reserve_bytes(&world), Some(3_000), "a start makes it again");
    assert!(!commit(&mut world, 300).unwrap());
}

#[test]
fn what_is_only_prepared_is_given_back_first() {
    let mut world = World::new(Options { preallocate: true, ..with_reserve() });
    world.append("k", b"v");
    world.commit().unwrap();
    world.maintain();
    assert!(world.disk.file("next.tmp").is_some());
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    world.append("k", &[7; 900]);
    let mut short = false;
    while world.disk.file("next.tmp").is_some() {
        short |= commit(&mut world, 900).unwrap();
    }
    assert!(!short, "the reserve is still there");
    assert_eq!(reserve_bytes(&world), Some(3_000));
}

#[test]
fn a_preparation_that_fails_leaves_nothing_in_the_way() {
    let mut world = World::new(Options { preallocate: true, ..with_reserve() });
    world.append("k", b"v");
    world.commit().unwrap();
    let before = world.disk.used_bytes();
    world.disk.set_capacity(Some(before + 1_000));
    while world.writer.maintain().unwrap_or_default() {}
    assert_eq!((world.disk.file("next.tmp"), world.disk.used_bytes()), (None, before));
}

#[test]
fn the_reserve_has_the_size_that_is_asked_for() {
    let mut world = World::new(with_reserve());
    world.fill(3);
    world.options.reserve_bytes = 5_000;
    let mut world = world.reopen();
    assert_eq!(reserve_bytes(&world), Some(5_000));
    world.options.reserve_bytes = 0;
    let mut world = world.reopen();
    assert_eq!(reserve_bytes(&world), None);
    assert!(!commit(&mut world, 100).unwrap());
    world.writer.replenish().unwrap();
    assert_eq!(reserve_bytes(&world), None);
}

/// The n-th call of making the reserve fails, then the power: a file of its name is whole, and nothing is lost.
#[test]
fn making_it_may_fail_anywhere() {
    for operation in [Operation::Write, Operation::Sync] {
        for failure in [Failure::Full, Failure::Io] {
            for after in 0..6 {
                let mut world = full();
                assert!(commit(&mut world, 400).unwrap());
                world.disk.set_capacity(None);
                world.disk.inject(Injection { operation, after, failure, sticky: false });
                let made = world.writer.replenish();
                let what = format!("{operation:?} {failure:?} after {after}: {made:?}");
                let failed_sync = made.is_err_and(|error| error.is_failed_sync());
                assert_eq!(world.writer.is_poisoned(), failed_sync, "{what}");
                world.disk.heal();
                assert_eq!(commit(&mut world, 100).is_err(), failed_sync, "{what}");
                world.disk.crash(after);
                let names = world.disk.list().unwrap();
                if names.contains(&"reserve".to_owned()) {
                    assert_eq!(reserve_bytes(&world), Some(3_000), "{what}");
                }
                let mut world = World::open(world.disk.clone(), with_reserve());
                assert!(world.read_all().len() >= 31, "{what}");
                assert_eq!(reserve_bytes(&world), Some(3_000), "{what}");
            }
        }
    }
}
