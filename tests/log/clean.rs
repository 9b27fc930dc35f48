//! What cleaning a segment does to its file, to its readers, and to a log that crashes meanwhile.

use std::ops::ControlFlow;

use tidelog::commitlog::CleanOutcome;
use tidelog::commitlog::Fault;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;
use tidelog::commitlog::verify;

use crate::world::World;
use crate::world::every;
use crate::world::exactly;
use crate::world::small;

const FIRST: &str = "00000000000000000000.log";
const FIRST_INDEX: &str = "00000000000000000000.index";

/// Two records of three are dead.
fn dead(offset: u64) -> bool {
    !offset.is_multiple_of(3)
}

fn offsets(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|record| record.offset.as_u64()).collect()
}

fn world() -> World {
    let mut world = World::new(small());
    world.fill(300);
    world
}

/// The records that are there after the first segment was cleaned.
fn left(world: &mut World) -> Vec<StoredRecord> {
    let end = world.cleanable()[0].next_offset.as_u64();
    let all = world.replay(Offset::ZERO);
    all.into_iter()
        .filter(|record| record.offset.as_u64() >= end || !dead(record.offset.as_u64()))
        .collect()
}

fn clean_first(world: &mut World) {
    let outcome = world.clean(Offset::ZERO, dead).unwrap();
    assert!(matches!(outcome, CleanOutcome::Rewritten(_)), "{outcome:?}");
}

fn verified(disk: &MemoryDisk) {
    verify(disk, &mut |damage| panic!("{damage}")).unwrap();
}

#[test]
fn what_is_alive_is_as_before_and_the_rest_is_gone() {
    let mut world = world();
    let expected = left(&mut world);
    let before = (world.log.size_bytes(), world.disk.file(FIRST).unwrap().len());
    clean_first(&mut world);
    let after = (world.log.size_bytes(), world.disk.file(FIRST).unwrap().len());
    assert!(after.1 < before.1 / 2, "{before:?} {after:?}");
    assert_eq!(before.0 - after.0, (before.1 - after.1) as u64);
    verified(&world.disk);
    for _ in 0..2 {
        assert_eq!(world.read_all(), expected);
        assert_eq!(world.replay(Offset::ZERO), expected);
        assert_eq!(world.replay(Offset::new(7)), expected[3..]);
        for offset in 0..9 {
            assert_eq!(world.record(Offset::new(offset)).is_none(), dead(offset));
        }
        let third = world.read(Offset::ZERO, Offset::new(50), 1 << 20, &exactly("key/3"));
        assert_eq!(offsets(&third), [3, 18, 33, 48]);
        assert_eq!(world.offset_at(expected[1].timestamp), Offset::new(3));
        world = world.reopen();
        assert_eq!((&world.report.damage[..], world.report.segments_scanned), (&[][..], 1));
        assert_eq!(world.report.cleaned_to, Offset::new(300));
    }
}

#[test]
fn a_segment_may_be_cleaned_again_and_until_nothing_is_left() {
    let mut world = world();
    let next = world.cleanable()[0].next_offset;
    clean_first(&mut world);
    let outcome = world.clean(Offset::ZERO, dead).unwrap();
    assert_eq!(outcome, CleanOutcome::Kept);
    let outcome = world.clean(Offset::ZERO, |_| true).unwrap();
    assert!(matches!(outcome, CleanOutcome::Rewritten(_)), "{outcome:?}");
    assert_eq!(world.disk.file(FIRST).unwrap().len(), 128);
    verified(&world.disk);
    for _ in 0..2 {
        assert_eq!(world.replay(Offset::ZERO)[0].offset, next);
        assert_eq!(world.read_all()[0].offset, next);
        world = world.reopen();
        assert_eq!(world.report.damage, []);
    }
    let truncation = world.log.truncate_before(next);
    world.writer.truncate(&truncation).unwrap();
    assert_eq!(world.log.start_offset(), next);
}

#[test]
fn little_that_is_dead_is_left_alone() {
    let world = world();
    let before = world.disk.file(FIRST).unwrap();
    let mut pace = |_: usize| ControlFlow::Continue(());
    let mut keep = |record: &StoredRecord| record.offset > Offset::ZERO;
    let work = (Offset::ZERO, Offset::new(300));
    let outcome = world.writer.cleaner().clean(work, 10, &mut keep, &mut pace).unwrap();
    assert_eq!(outcome, CleanOutcome::Kept);
    let mut stop = |_: usize| ControlFlow::Break(());
    let outcome = world.writer.cleaner().clean(work, 0, &mut keep, &mut stop).unwrap();
    assert_eq!(outcome, CleanOutcome::Interrupted);
    assert_eq!(world.disk.file(FIRST), Some(before));
    assert_eq!(world.disk.file("clean.tmp"), None);
}

/// An index that the writer has not written yet would be that of the old segment.
#[test]
fn without_an_index_or_with_damage_nothing_is_cleaned() {
    let mut world = world();
    world.disk.remove(FIRST_INDEX).unwrap();
    assert_eq!(world.clean(Offset::ZERO, dead).unwrap(), CleanOutcome::Unfit);
    let mut world = world.reopen();
    let before = world.disk.file(FIRST).unwrap();
    world.disk.corrupt(FIRST, 2_000, Corruption::Flip(1));
    let CleanOutcome::Damaged(damage) = world.clean(Offset::ZERO, dead).unwrap() else {
        panic!("cleaned")
    };
    assert_eq!(damage[0].what, Fault::Checksum);
    assert_eq!(world.disk.file(FIRST).unwrap().len(), before.len());
}

#[test]
fn what_is_in_memory_is_not_cleaned() {
    let mut world = World::new(Options { tail_bytes_max: 1 << 30, ..small() });
    world.fill(300);
    assert_eq!(world.cleanable(), []);
    let world = world.reopen();
    assert!(!world.cleanable().is_empty());
}

/// A reader that has the old file open reads on in it; one that opens the new file does not use what was known of the old.
#[test]
fn reads_under_way_go_on() {
    let mut world = World::new(Options { tail_bytes_max: 0, ..small() });
    let mut planned = Vec::new();
    for number in 0..300_u64 {
        world.append(&format!("key/{}", number % 5), &[7; 40]);
        world.commit().unwrap();
        if number < 60 {
            // Its segment's index is in memory, the records are not.
            planned.extend(
                match world.log.read(Offset::ZERO, Offset::new(40), 1 << 20, &every()) {
                    Read::Cold(request) => Some(request),
                    Read::Records { .. } => None,
                },
            );
        }
    }
    world.maintain();
    let mut old = world.reader.another();
    let request = planned.pop().unwrap();
    let before = offsets(&old.read(&request).unwrap().records);
    clean_first(&mut world);
    let again = old.read(&request).unwrap();
    assert_eq!((offsets(&again.records), again.damage), (before, Vec::new()));
    let mut new = world.reader.another();
    for request in &planned {
        let result = new.read(request).unwrap();
        assert_eq!(result.damage, []);
        assert!(result.records.iter().all(|record| !dead(record.offset.as_u64())));
        assert_eq!(result.records.first().map(|record| record.offset), Some(Offset::ZERO));
    }
}

/// A crash between the segment's new name and its index leaves the index of the old segment.
#[test]
fn the_index_of_the_old_segment_is_never_used() {
    let mut world = world();
    let expected = left(&mut world);
    let old_index = world.disk.file(FIRST_INDEX).unwrap();
    clean_first(&mut world);
    let new_index = world.disk.file(FIRST_INDEX).unwrap();
    assert_ne!(old_index, new_index);
    world.disk.put(FIRST_INDEX, old_index);
    let mut reader = world.reader.another();
    let Read::Cold(request) = world.log.read(Offset::ZERO, Offset::new(9), 1 << 20, &every())
    else {
        panic!("warm")
    };
    assert_eq!(offsets(&reader.read(&request).unwrap().records), [0, 3, 6]);
    verified(&world.disk);
    let mut world = world.reopen();
    assert_eq!((&world.report.damage[..], world.report.segments_scanned), (&[][..], 2));
    assert_eq!(world.disk.file(FIRST_INDEX), Some(new_index));
    assert_eq!(world.read_all(), expected);
}

/// Gaps that cleaning made are no damage, and damage is not taken for such a gap.
#[test]
fn what_is_broken_in_a_cleaned_segment_is_still_found() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small() });
    // One batch of the cleaned segment has 32 KiB.
    for number in 0..60_u64 {
        world.append(&format!("key/{}", number % 5), &[7; 5_000]);
        world.commit().unwrap();
    }
    world.log.end_group();
    while world.cleanable().is_empty() {
        world.append("filling", &vec![7; 20_000]);
        world.commit().unwrap();
    }
    world.maintain();
    clean_first(&mut world);
    verified(&world.disk);
    world.disk.corrupt(FIRST, 40_000, Corruption::Flip(1));
    let world = world.reopen();
    let mut found = Vec::new();
    verify(&world.disk, &mut |damage| found.push(damage.clone())).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].synced && found[0].what == Fault::Checksum && found[0].from < found[0].to);
}

/// The n-th call fails, for every n and in every way, and then the power too: the old segment is there or the new one, whole.
#[test]
fn any_one_failing_call_leaves_one_of_both() {
    let mut rewritten = 0;
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
        for (failure, sticky) in [
            (Failure::Io, false),
            (Failure::Io, true),
            (Failure::Full, false),
            (Failure::Full, true),
        ] {
            for after in 0..9 {
                let mut world = world();
                let (whole, expected) = (world.replay(Offset::ZERO), left(&mut world));
                world.disk.inject(Injection { operation, after, failure, sticky });
                let outcome = world.clean(Offset::ZERO, dead);
                world.disk.heal();
                let what = format!("{operation:?} {failure:?} {sticky} after {after}: {outcome:?}");
                let found = world.replay(Offset::ZERO);
                assert!(found == whole || found == expected, "{what}");
                verified(&world.disk);
                world.disk.crash(after);
                let mut world = World::open(world.disk.clone(), small());
                assert_eq!(world.report.damage, [], "{what}");
                let found = world.replay(Offset::ZERO);
                assert!(found == whole || found == expected, "{what}");
                assert_eq!(world.read_all(), found, "{what}");
                if matches!(outcome, Ok(CleanOutcome::Rewritten(_))) {
                    rewritten += 1;
                    assert_eq!(found, expected, "{what}");
                }
                assert_eq!(world.disk.file("clean.tmp"), None);
                assert_eq!(world.disk.file("clean.index.tmp"), None);
            }
        }
    }
    assert!(rewritten > 20, "{rewritten}");
}
