//! What a log does when nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::Durability;
use tidelog::commitlog::Log;
use tidelog::commitlog::LogError;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Options;
use tidelog::commitlog::Read;
use tidelog::commitlog::Record;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::OsDisk;
use tidelog::commitlog::dump;
use tidelog::commitlog::verify;
use tidelog::time::Timestamp;

use crate::world::World;
use crate::world::every;
use crate::world::exactly;
use crate::world::small;

#[test]
fn a_record_comes_back_at_every_stage_of_its_life() {
    let mut world = World::new(small());
    assert!(world.report.created);
    let timestamp = Timestamp::from_micros(77);
    let head = Record { kind: 9, indexed: true, timestamp, key: b"a/b", value: b"head " };
    let offset = world.log.append_gathered(&head, &[b"and ", b"", b"parts"]).unwrap();
    let check = |world: &mut World| {
        let record = world.read_all().pop().unwrap();
        assert_eq!((record.offset, record.kind, record.timestamp), (offset, 9, timestamp));
        assert_eq!((record.key(), record.value()), (&b"a/b"[..], &b"head and parts"[..]));
        assert_eq!(
            (&record.shared_key()[..], &record.shared_value()[..]),
            (record.key(), record.value())
        );
        assert_eq!(world.record(offset), Some(record));
    };
    check(&mut world);
    let batch = world.log.take_batch().unwrap();
    assert_eq!(
        (batch.base_offset(), batch.next_offset(), batch.record_count()),
        (offset, offset.next(), 1)
    );
    assert_eq!(batch.records().count(), 1);
    check(&mut world);
    assert_eq!(world.log.durable_offset(), Offset::ZERO);
    let committed = world.writer.commit(&batch, Durability::Fsync).unwrap();
    world.log.committed(&committed);
    assert_eq!(world.log.durable_offset(), offset.next());
    assert_eq!(world.log.pending_bytes(), 0);
    check(&mut world);
    let mut world = world.reopen();
    assert!(!world.report.created);
    assert!(matches!(world.log.record(offset), Read::Cold(_)));
    check(&mut world);
}

#[test]
fn state_is_found_by_replay_and_number_but_not_by_key() {
    let mut world = World::new(small());
    world.append("t", b"message");
    let state =
        Record { kind: 2, indexed: false, timestamp: Timestamp::EPOCH, key: b"t", value: b"state" };
    let offset = world.log.append(&state).unwrap();
    world.append("t", b"message");
    world.commit().unwrap();
    for _ in 0..2 {
        assert_eq!(world.read_all().len(), 2);
        assert_eq!(world.record(offset).unwrap().value(), b"state");
        assert_eq!(world.replay(Offset::ZERO).len(), 3);
        assert_eq!(world.replay(offset)[0].value(), b"state");
        world = world.reopen();
    }
}

#[test]
fn a_cold_read_equals_a_read_from_memory() {
    let warm_options = Options { tail_bytes_max: 1 << 30, ..small() };
    let mut warm = World::new(warm_options.clone());
    warm.fill(500);
    let mut cold = World::open(warm.disk.clone(), small_after(&warm));
    for (from, to, bytes_max) in
        [(0, 500, 1 << 20), (17, 400, 100), (250, 251, 1), (499, 900, 50), (3, 498, 0)]
    {
        let (from, to) = (Offset::new(from), Offset::new(to));
        for matcher in [every(), exactly("key/3"), exactly("key/none")] {
            let expected = warm.read(from, to, bytes_max, &matcher);
            assert_eq!(cold.read(from, to, bytes_max, &matcher), expected);
        }
    }
    for number in 0..501 {
        assert_eq!(cold.record(Offset::new(number)), warm.record(Offset::new(number)));
        let timestamp = Timestamp::EPOCH + Duration::from_secs(number);
        assert_eq!(cold.offset_at(timestamp), Offset::new(number));
        assert_eq!(warm.offset_at(timestamp), Offset::new(number));
    }
}

/// The options for a second world on the disk of one that is not used any more.
fn small_after(world: &World) -> Options {
    world.disk.kill();
    small()
}

#[test]
fn nothing_is_asked_of_memory_beyond_its_limit() {
    let mut world = World::new(small());
    world.fill(500);
    assert!(world.log.tail_bytes() <= 3 << 10, "{}", world.log.tail_bytes());
    world.append("k", &[0; 100]);
    assert!(world.log.pending_bytes() > 100);
    assert!(world.log.size_bytes() > 500 * 40);
    assert_eq!(world.log.segment_count(), world.segments().len());
}

#[test]
fn records_of_any_size_fit_or_are_refused() {
    let mut world = World::new(Options { record_bytes_max: 20_000, ..small() });
    let large = world.append("large", &vec![7; 19_995]);
    let record = Record {
        kind: 1,
        indexed: true,
        timestamp: Timestamp::EPOCH,
        key: b"k",
        value: &vec![0; 20_000],
    };
    assert!(matches!(
        world.log.append(&record),
        Err(LogError::RecordTooLarge { bytes: 20_001, bytes_max: 20_000 })
    ));
    let empty = Record { key: b"", value: b"", ..record };
    let empty = world.log.append(&empty).unwrap();
    assert_eq!(empty, large.next());
    world.commit().unwrap();
    let mut world = world.reopen();
    assert_eq!(world.record(large).unwrap().value().len(), 19_995);
    assert_eq!(world.record(empty).unwrap().size_bytes(), 0);
    assert_eq!(world.read_all().len(), 2);
}

#[test]
fn time_may_go_back_between_two_runs() {
    let mut world = World::new(small());
    for micros in [50, 60, 5, u64::MAX, 70] {
        let timestamp = Timestamp::from_micros(micros);
        world
            .log
            .append(&Record { kind: 1, indexed: true, timestamp, key: b"k", value: b"" })
            .unwrap();
    }
    for _ in 0..2 {
        let times: Vec<u64> =
            world.read_all().iter().map(|record| record.timestamp.as_micros()).collect();
        assert_eq!(times, [50, 60, 5, u64::MAX, 70]);
        assert_eq!(world.offset_at(Timestamp::from_micros(55)), Offset::new(1));
        assert_eq!(world.offset_at(Timestamp::from_micros(65)), Offset::new(3));
        world.commit().unwrap();
        world = world.reopen();
    }
}

#[test]
fn retention_gives_up_whole_segments_only() {
    let mut world = World::new(Options { retention_bytes: Some(10_000), ..small() });
    world.fill(600);
    let before = world.segments();
    let start = world.log.retention_candidate(Timestamp::EPOCH).unwrap();
    let inside = Offset::new(start.as_u64() + 1);
    let truncation = world.log.truncate_before(inside);
    assert_eq!(world.log.start_offset(), start);
    assert!(world.log.size_bytes() <= 10_000);
    world.writer.truncate(&truncation).unwrap();
    world.writer.truncate(&truncation).unwrap();
    world.reader.forget(&truncation);
    let after = world.segments();
    assert_eq!(before[before.len() - after.len()..], after);
    assert_eq!(world.log.retention_candidate(Timestamp::EPOCH), None);
    assert!(world.log.truncate_before(start).is_empty());
    let expected = world.read_all();
    assert_eq!(expected[0].offset, start);
    assert_eq!(world.record(Offset::ZERO), None);
    let mut world = world.reopen();
    assert_eq!((world.report.start_offset, world.report.next_offset), (start, Offset::new(600)));
    assert_eq!(world.report.damage, []);
    assert_eq!(world.read_all(), expected);
}

#[test]
fn retention_by_age_looks_at_the_newest_record_of_a_segment() {
    let mut world =
        World::new(Options { retention_age: Some(Duration::from_secs(100)), ..small() });
    world.fill(300);
    assert_eq!(world.log.retention_candidate(Timestamp::EPOCH), None);
    let start = world.log.retention_candidate(Timestamp::EPOCH + Duration::from_mins(5)).unwrap();
    assert!(start.as_u64() > 100 && start.as_u64() < 200, "{start}");
    let all = world.log.retention_candidate(Timestamp::EPOCH + Duration::from_mins(50)).unwrap();
    let active = world.segments().pop().unwrap();
    assert_eq!(format!("{:020}.log", all.as_u64()), active);
}

#[test]
fn a_read_of_a_truncated_segment_steps_over_it() {
    let mut world = World::new(small());
    world.fill(300);
    let Read::Cold(request) = world.log.read(Offset::ZERO, Offset::MAX, 1 << 20, &every()) else {
        panic!("warm")
    };
    let truncation = world.log.truncate_before(Offset::new(200));
    world.writer.truncate(&truncation).unwrap();
    let result = world.reader.read(&request).unwrap();
    assert!(result.records.is_empty());
    assert!(result.next > Offset::ZERO);
}

#[test]
fn two_brokers_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let memory: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let os: Arc<dyn Disk> = Arc::new(OsDisk::create(folder.path()).unwrap());
    for disk in [memory, os] {
        let first = Log::open(Arc::clone(&disk), small(), &mut |_| {}).unwrap();
        let second = Log::open(Arc::clone(&disk), small(), &mut |_| {});
        let Err(LogError::Locked { directory }) = second else { panic!("opened twice") };
        assert_eq!(&*directory, disk.directory());
        drop(first);
        Log::open(Arc::clone(&disk), small(), &mut |_| {}).unwrap();
    }
}

#[test]
fn a_newer_format_is_refused() {
    let mut world = World::new(small());
    world.fill(3);
    let text = "tidelog log\nformat 2\nwhatever\n";
    let text = format!("{text}crc {:08x}\n", crc32c::crc32c(text.as_bytes()));
    world.disk.kill();
    world.disk.put("format", text.into_bytes());
    let refused = |result: Result<(), LogError>| {
        assert!(
            matches!(result, Err(LogError::NewerFormat { found: 2, supported: 1, .. })),
            "{result:?}"
        );
    };
    refused(Log::open(Arc::new(world.disk.clone()), small(), &mut |_| {}).map(drop));
    refused(verify(&world.disk, &mut |_| {}).map(drop));
    refused(
        dump(&world.disk, &DumpFilter::default(), &mut |_| std::ops::ControlFlow::Continue(()))
            .map(drop),
    );
}

#[test]
fn sealed_segments_with_an_index_are_not_read_at_open() {
    let mut world = World::new(small());
    world.fill(600);
    let segments = world.segments().len();
    assert!(segments > 5);
    let mut seen = Vec::new();
    world.disk.kill();
    let opened = Log::open(Arc::new(world.disk.clone()), small(), &mut |progress| {
        seen.push(progress.clone());
    });
    let (_, _, _, report) = opened.unwrap();
    assert_eq!((report.segments, report.segments_scanned), (segments, 1));
    assert_eq!(seen.len(), segments);
    assert_eq!(seen.last().map(|progress| progress.segments), Some(segments));
}

#[test]
fn verify_and_dump_read_beside_a_broker_that_appends() {
    let mut world = World::new(small());
    world.fill(200);
    world.append("late", b"not yet written");
    let report = verify(&world.disk, &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!((report.records, report.next_offset, report.damaged), (200, Offset::new(200), 0));
    assert_eq!(report.segments, world.segments().len());
    let matcher = |key: &[u8]| key == b"key/1";
    let filter = DumpFilter {
        from: Some(Offset::new(10)),
        to: Some(Offset::new(50)),
        since: None,
        until: None,
        kind: Some(1),
        matcher: Some(&matcher),
    };
    let mut found = Vec::new();
    let damage = dump(&world.disk, &filter, &mut |record| {
        found.push(record.offset.as_u64());
        if found.len() < 5 {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    });
    assert_eq!(damage.unwrap(), []);
    assert_eq!(found, [11, 16, 21, 26, 31]);
}

#[test]
fn a_prepared_file_becomes_the_next_segment() {
    let mut world = World::new(Options { preallocate: true, ..small() });
    world.maintain();
    assert_eq!(world.disk.file("next.tmp").map(|bytes| bytes.len()), Some(4 << 10));
    world.fill(300);
    assert!(world.segments().len() > 3);
    let mut world = world.reopen();
    assert_eq!(world.report.damage, []);
    assert_eq!(world.report.torn, None);
    assert_eq!(world.disk.file("next.tmp"), None);
    assert_eq!(world.read_all().len(), 300);
}

#[test]
fn several_batches_may_be_in_flight_but_only_in_order() {
    let mut world = World::new(small());
    world.append("a", b"1");
    let first = world.log.take_batch().unwrap();
    world.append("a", b"2");
    let second = world.log.take_batch().unwrap();
    assert!(world.log.take_batch().is_none());
    assert!(world.writer.commit(&second, Durability::Fsync).is_err());
    for batch in [first, second] {
        let committed = world.writer.commit(&batch, Durability::Os).unwrap();
        world.log.committed(&committed);
    }
    assert_eq!(world.log.durable_offset(), Offset::new(2));
    assert_eq!(world.reopen().read_all().len(), 2);
}

/// One run on the system's own files, preallocated, with several segments.
#[test]
fn a_directory_of_the_system_holds_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::create(&folder.path().join("data")).unwrap());
    let options = Options { preallocate: true, ..small() };
    let record = |number: u64| (format!("key/{}", number % 7), vec![7; 60]);
    {
        let opened = Log::open(Arc::clone(&disk), options.clone(), &mut |_| {});
        let (mut log, mut writer, _, _) = opened.unwrap();
        for number in 0..300 {
            let (key, value) = record(number);
            let (key, value) = (key.as_bytes(), value.as_slice());
            let timestamp = Timestamp::from_micros(number);
            log.append(&Record { kind: 1, indexed: true, timestamp, key, value }).unwrap();
            if number % 5 < 4 {
                continue;
            }
            while let Some(batch) = log.take_batch() {
                log.committed(&writer.commit(&batch, Durability::Fsync).unwrap());
                writer.maintain().unwrap();
            }
        }
    }
    let (_log, _writer, mut reader, report) =
        Log::open(Arc::clone(&disk), options, &mut |_| {}).unwrap();
    assert_eq!((&report.damage[..], &report.torn), (&[][..], &None));
    let mut found = Vec::new();
    reader.replay(Offset::ZERO, &mut |record| found.push(record)).unwrap();
    assert_eq!((found.len(), report.next_offset), (300, Offset::new(300)));
    for (number, stored) in (0..).zip(&found) {
        let (key, value) = record(number);
        assert_eq!((stored.key(), stored.value()), (key.as_bytes(), value.as_slice()));
    }
    let checked = verify(disk.as_ref(), &mut |damage| panic!("{damage}")).unwrap();
    assert_eq!(checked.records, found.len() as u64);
    assert!(checked.segments > 3);
}
