//! What becomes of broken files: detected, never served, the rest served.

use std::sync::Arc;

use tidelog::commitlog::Damage;
use tidelog::commitlog::Fault;
use tidelog::commitlog::Log;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::commitlog::verify;

use crate::world::Chance;
use crate::world::World;
use crate::world::every;
use crate::world::small;

const FIRST: &str = "00000000000000000000.log";
const FIRST_INDEX: &str = "00000000000000000000.index";

/// A copy of every file.
fn copy(disk: &MemoryDisk) -> MemoryDisk {
    let copy = MemoryDisk::new();
    for name in disk.list().unwrap() {
        copy.put(&name, disk.file(&name).unwrap());
    }
    copy
}

/// What a check of the files reports.
fn verified(disk: &MemoryDisk) -> (Vec<Damage>, u64) {
    let mut damage = Vec::new();
    let report = verify(disk, &mut |found| damage.push(found.clone())).unwrap();
    (damage, report.unfinished_bytes)
}

/// Where the batches of a segment begin, found by their magic.
fn batches(bytes: &[u8]) -> Vec<usize> {
    (64..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"TLb\x01")).collect()
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_nothing_else() {
    let mut world = World::new(small());
    world.fill(9);
    let expected = world.read(Offset::ZERO, Offset::new(6), 1 << 20, &every());
    let bytes = world.disk.file(FIRST).unwrap();
    let last = *batches(&bytes).last().unwrap();
    for at in last..bytes.len() {
        for corruption in [Corruption::Cut, Corruption::Zero(usize::MAX)] {
            let disk = copy(&world.disk);
            if !disk.corrupt(FIRST, at, corruption) {
                continue;
            }
            let mut world = World::open(disk, small());
            assert_eq!(world.report.damage, []);
            assert_eq!(world.log.next_offset(), Offset::new(6), "byte {at}");
            assert_eq!(
                world.report.torn.as_ref().map(|torn| torn.position),
                (at > last).then_some(last as u64)
            );
            assert_eq!(world.read_all(), expected);
            assert_eq!(world.append("k", b"after"), Offset::new(6));
            world.commit().unwrap();
            let mut world = world.reopen();
            assert_eq!((world.report.torn.clone(), world.read_all().len()), (None, 7));
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_is_seen_and_never_served() {
    let mut world = World::new(Options { segment_bytes: 4 << 10, ..small() });
    world.fill(70);
    let expected = world.replay(Offset::ZERO);
    assert!(world.segments().len() > 1);
    for name in world.disk.list().unwrap() {
        for at in 0..world.disk.file(&name).unwrap().len() {
            let disk = copy(&world.disk);
            disk.corrupt(&name, at, Corruption::Flip(1 << (at % 8)));
            let (damage, unfinished) = verified(&disk);
            assert!(!damage.is_empty() || unfinished > 0, "{name} byte {at}: not seen");
            check_served(disk, &expected, &format!("{name} byte {at}"));
        }
    }
}

/// Every record is served as it was, or reported as missing, or was cut from the end.
fn check_served(disk: MemoryDisk, expected: &[StoredRecord], what: &str) {
    let mut world = World::open(disk, small());
    let mut reported = world.report.damage.clone();
    let mut found = Vec::new();
    reported.extend(world.reader.replay(Offset::ZERO, &mut |record| found.push(record)).unwrap());
    let mut cold = Vec::new();
    let mut at = world.log.start_offset();
    while at < world.log.next_offset() {
        let Read::Cold(request) = world.log.read(at, Offset::MAX, 1 << 20, &every()) else {
            panic!("warm")
        };
        let result = world.reader.read(&request).unwrap();
        reported.extend(result.damage);
        cold.extend(result.records);
        at = result.next;
    }
    assert_eq!(cold, found, "{what}");
    let cut = if world.report.torn.is_some() { world.log.next_offset() } else { Offset::MAX };
    for record in expected {
        let missing =
            reported.iter().any(|damage| (damage.from..damage.to).contains(&record.offset));
        let served = found.contains(record);
        assert!(served != (missing || record.offset >= cut), "{what}: {record:?} {reported:?}");
    }
    assert!(found.iter().all(|record| expected.contains(record)), "{what}");
}

#[test]
fn a_broken_batch_with_good_ones_after_it_is_never_cut() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small() });
    world.fill(30);
    let bytes = world.disk.file(FIRST).unwrap();
    let broken = batches(&bytes)[4];
    world.disk.corrupt(FIRST, broken + 70, Corruption::Flip(4));
    let spoiled = world.disk.file(FIRST);
    let mut world = world.reopen();
    let expected = Damage {
        file: FIRST.into(),
        position: broken as u64,
        bytes: (batches(&bytes)[5] - broken) as u64,
        from: Offset::new(12),
        to: Offset::new(15),
        what: Fault::Checksum,
        synced: true,
    };
    assert_eq!(world.report.damage, std::slice::from_ref(&expected));
    assert_eq!(
        expected.to_string(),
        format!(
            "{FIRST} at byte {broken}: checksum differs ({} bytes, offsets 12 to 14 missing)",
            expected.bytes
        )
    );
    assert_eq!(world.report.torn, None);
    let served = |world: &mut World| {
        world.read_all().iter().map(|record| record.offset.as_u64()).collect::<Vec<_>>()
    };
    let left: Vec<u64> = (0..12).chain(15..30).collect();
    assert_eq!(served(&mut world), left);
    assert_eq!(world.record(Offset::new(13)), None);
    assert_eq!(world.append("k", b"after"), Offset::new(30));
    world.commit().unwrap();
    let mut world = world.reopen();
    assert_eq!(world.report.damage, [expected]);
    assert_eq!(served(&mut world), left.into_iter().chain([30]).collect::<Vec<_>>());
    assert_eq!(world.disk.file(FIRST), spoiled);
}

#[test]
fn a_batch_that_breaks_while_the_log_is_open_is_reported_by_the_read() {
    let mut world = World::new(small());
    world.fill(120);
    let at = batches(&world.disk.file(FIRST).unwrap())[1];
    world.disk.corrupt(FIRST, at + 64, Corruption::Flip(1));
    let Read::Cold(request) = world.log.read(Offset::ZERO, Offset::new(9), 1 << 20, &every())
    else {
        panic!("warm")
    };
    let result = world.reader.read(&request).unwrap();
    assert_eq!(
        result.records.iter().map(|record| record.offset.as_u64()).collect::<Vec<_>>(),
        [0, 1, 2, 6, 7, 8]
    );
    assert_eq!(result.next, Offset::new(9));
    let damage = &result.damage[0];
    assert_eq!((&*damage.file, damage.position, damage.what), (FIRST, at as u64, Fault::Checksum));
    assert_eq!((damage.from, damage.to), (Offset::new(3), Offset::new(6)));
}

#[test]
fn an_index_that_is_missing_or_broken_is_made_again() {
    let mut world = World::new(small());
    world.fill(120);
    let expected = world.read_all();
    let sound = world.disk.file(FIRST_INDEX).unwrap();
    world.disk.remove(FIRST_INDEX).unwrap();
    let mut world = world.reopen();
    assert_eq!(world.report.segments_scanned, 2);
    assert_eq!(world.disk.file(FIRST_INDEX).as_ref(), Some(&sound));
    assert_eq!(world.read_all(), expected);
    for at in [0, 20, 95, 96, sound.len() - 1] {
        let disk = copy(&world.disk);
        disk.corrupt(FIRST_INDEX, at, Corruption::Flip(1));
        let mut broken = World::open(disk, small());
        assert_eq!(broken.report.damage, []);
        assert_eq!(broken.read_all(), expected, "byte {at}");
    }
    for at in [0, 50, sound.len() - 1] {
        let disk = copy(&world.disk);
        disk.corrupt(FIRST_INDEX, at, Corruption::Cut);
        let mut broken = World::open(disk, small());
        assert_eq!(broken.disk.file(FIRST_INDEX).as_ref(), Some(&sound));
        assert_eq!(broken.read_all(), expected, "cut at {at}");
    }
}

#[test]
fn a_missing_or_cut_segment_is_reported_and_the_rest_served() {
    let mut world = World::new(small());
    world.fill(300);
    let names = world.segments();
    let bases: Vec<u64> = names.iter().map(|name| name[..20].parse().unwrap()).collect();
    let (from, to) = (Offset::new(bases[1]), Offset::new(bases[2]));
    let gone = copy(&world.disk);
    gone.remove(&names[1]).unwrap();
    let mut gone = World::open(gone, small());
    let damage = &gone.report.damage[0];
    assert_eq!(
        (damage.what, damage.from, damage.to, &*damage.file),
        (Fault::Missing, from, to, names[0].as_str())
    );
    assert!(damage.synced);
    assert_eq!(gone.report.damage.len(), 1);
    assert_eq!(gone.read_all().len() as u64, 300 - to.since(from));
    let cut = copy(&world.disk);
    cut.corrupt(&names[1], 2_000, Corruption::Cut);
    let mut cut = World::open(cut, small());
    let damage = cut.report.damage[0].clone();
    assert_eq!((&*damage.file, damage.to), (names[1].as_str(), to));
    assert_eq!(cut.read_all().len() as u64, 300 - damage.to.since(damage.from));
}

#[test]
fn without_the_format_file_the_segments_say_what_they_are() {
    let mut world = World::new(Options { new_log_id: 99, ..small() });
    world.fill(10);
    let expected = world.read_all();
    let sound = world.disk.file("format").unwrap();
    for broken in [None, Some(Vec::new()), Some(vec![0xff; 5_000])] {
        let disk = copy(&world.disk);
        disk.remove("format").unwrap();
        if let Some(bytes) = broken {
            disk.put("format", bytes);
        }
        let mut world = World::open(disk, small());
        assert_eq!(world.report.damage[0].what, Fault::FormatFile);
        assert_eq!(world.read_all(), expected);
        assert_eq!(world.disk.file("format").as_ref(), Some(&sound));
    }
}

/// A format file and all segment headers lost at once would make every batch look foreign; once, the last segment was
/// then emptied.
#[test]
fn without_format_file_and_headers_the_batches_say_what_they_are() {
    let mut world = World::new(Options { new_log_id: 99, ..small() });
    world.fill(10);
    let expected = world.read_all();
    world.disk.corrupt(FIRST, 20, Corruption::Flip(1));
    world.disk.remove("format").unwrap();
    let mut world = world.reopen();
    assert_eq!(world.read_all(), expected);
    let faults: Vec<Fault> = world.report.damage.iter().map(|damage| damage.what).collect();
    assert_eq!(faults, [Fault::FormatFile, Fault::SegmentHeader]);
}

#[test]
fn a_segment_of_which_nothing_is_sound_is_kept_aside() {
    let world = World::new(small());
    let garbage = vec![0xab; 3_000];
    world.disk.put(FIRST, garbage.clone());
    let mut world = world.reopen();
    assert_eq!(world.disk.file("00000000000000000000.log.broken"), Some(garbage));
    assert!(world.report.torn.is_some());
    world.append("k", b"v");
    world.commit().unwrap();
    assert_eq!(world.reopen().read_all().len(), 1);
}

/// A payload can hold the image of a batch. When the batch around it is torn, a search for the next sound batch comes
/// upon that image; what it says must not become records.
#[test]
fn a_batch_inside_a_payload_is_never_taken_for_one() {
    let mut foreign = World::new(Options { new_log_id: 1, ..small() });
    foreign.fill(3);
    let forged = foreign.disk.file(FIRST).unwrap();
    let options =
        Options { new_log_id: 2, batch_bytes_max: 1 << 20, segment_bytes: 1 << 20, ..small() };
    let mut world = World::new(options);
    world.fill(3);
    let start = batches(&world.disk.file(FIRST).unwrap()).len();
    for padding in 0..8 {
        let payload = [vec![0; padding], forged[64..].to_vec()].concat();
        world.append("k", &payload);
    }
    world.commit().unwrap();
    let at = world.disk.file(FIRST).unwrap();
    let torn = batches(&at)[start];
    world.disk.corrupt(FIRST, torn, Corruption::Zero(64));
    let mut world = world.reopen();
    assert_eq!(world.log.next_offset(), Offset::new(3));
    assert_eq!(world.report.damage, []);
    assert!(world.read_all().iter().all(|record| record.offset < Offset::new(3)));
}

#[test]
fn stale_batches_of_the_same_log_are_not_taken_for_new_ones() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small() });
    world.fill(12);
    let bytes = world.disk.file(FIRST).unwrap();
    let places = batches(&bytes);
    let expected = world.read_all();
    for from in 0..4 {
        let disk = copy(&world.disk);
        let len = places[1] - places[0];
        let mut longer = bytes.clone();
        longer.extend_from_slice(&bytes[places[from]..places[from] + len]);
        disk.put(FIRST, longer);
        let mut world = World::open(disk, small());
        assert_eq!(world.report.damage, []);
        assert!(world.report.torn.is_some());
        assert_eq!(world.read_all(), expected);
    }
}

/// The file of a segment that was given up is used again: behind the new end stand old batches in their old places.
#[test]
fn a_recycled_file_never_shows_its_old_batches() {
    let mut world = World::new(small());
    world.fill(75);
    let names = world.segments();
    assert_eq!(names.len(), 2);
    let expected = world.read_all();
    let old = world.disk.file(&names[0]).unwrap();
    let mut new = world.disk.file(&names[1]).unwrap();
    assert!(batches(&old).contains(&new.len()), "an old batch begins where the new ones end");
    new.extend_from_slice(&old[new.len()..]);
    world.disk.put(&names[1], new);
    let mut world = world.reopen();
    assert_eq!(world.report.damage, []);
    assert!(world.report.torn.is_some());
    assert_eq!(world.read_all(), expected);
}

/// A sector written to the wrong place holds a batch that is sound, and even newer than what was there.
#[test]
fn a_batch_in_the_wrong_place_costs_only_what_it_covers() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small() });
    world.fill(30);
    let places = batches(&world.disk.file(FIRST).unwrap());
    let (target, from) = (places[3], places[6]);
    let len = places[7] - from;
    assert_eq!(places[4] - target, len);
    world.disk.corrupt(FIRST, target, Corruption::Copy { from, len });
    let mut world = world.reopen();
    let damage = &world.report.damage[0];
    assert_eq!(
        (damage.what, damage.position, damage.bytes),
        (Fault::Stray, target as u64, len as u64)
    );
    assert_eq!((damage.from, damage.to), (Offset::new(9), Offset::new(12)));
    assert_eq!(world.read_all().len(), 27);
}

/// Whatever the files hold, opening and reading them ends without a panic.
#[test]
fn no_bytes_make_it_panic() {
    let mut world = World::new(small());
    world.fill(120);
    for seed in 0..600 {
        let mut chance = Chance(seed);
        let disk = copy(&world.disk);
        for _ in 0..=chance.below(4) {
            let names = disk.list().unwrap();
            let name = &names[chance.index(names.len())];
            let len = disk.file(name).unwrap().len();
            let corruption = match chance.below(5) {
                0 => Corruption::Zero(chance.index(2_000)),
                1 => Corruption::Copy { from: chance.index(len), len: chance.index(2_000) },
                2 => Corruption::Cut,
                _ => Corruption::Flip(u8::try_from(chance.below(256)).unwrap()),
            };
            disk.corrupt(name, chance.index(len), corruption);
        }
        let Ok((log, _writer, mut reader, _)) =
            Log::open(Arc::new(disk.clone()), small(), &mut |_| {})
        else {
            continue;
        };
        let mut at = log.start_offset();
        while at < log.next_offset() {
            let Read::Cold(request) = log.read(at, Offset::MAX, 1 << 20, &every()) else {
                panic!("warm")
            };
            let next = reader.read(&request).unwrap().next;
            assert!(next > at);
            at = next;
        }
        reader.replay(Offset::ZERO, &mut |_| {}).unwrap();
        verified(&disk);
    }
}
