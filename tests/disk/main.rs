//! One suite for every disk, and what only the disk in memory can do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::sync::Arc;

use tidelog::commitlog::disk::Access;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::DiskFile;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::OsDisk;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;

/// Runs a check on an empty directory of each kind.
fn on_each(check: impl Fn(&dyn Disk)) {
    let folder = tempfile::tempdir().unwrap();
    check(&OsDisk::create(&folder.path().join("a/b")).unwrap());
    check(&MemoryDisk::new());
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0xee; 10_000];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    assert_eq!(file.size().unwrap(), count as u64);
    bytes
}

fn sorted(disk: &dyn Disk) -> Vec<String> {
    let mut names = disk.list().unwrap();
    names.sort();
    names
}

#[test]
fn bytes_come_back_from_where_they_were_put() {
    on_each(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        assert_eq!(content(file.as_ref()), b"");
        file.write_at(b"hello", 3).unwrap();
        assert_eq!(content(file.as_ref()), b"\0\0\0hello");
        file.write_at(b"HE", 3).unwrap();
        file.write_at(b"", 100).unwrap();
        file.sync_data().unwrap();
        let other = disk.open("a", Access::Read).unwrap();
        assert_eq!(content(other.as_ref()), b"\0\0\0HEllo");
        let mut bytes = [0; 4];
        assert_eq!(other.read_at(&mut bytes, 6).unwrap(), 2);
        assert_eq!(&bytes, b"lo\0\0");
        assert_eq!(other.read_at(&mut bytes, 8).unwrap(), 0);
        assert_eq!(other.read_at(&mut bytes, u64::from(u32::MAX)).unwrap(), 0);
    });
}

#[test]
fn files_are_cut_grown_and_allocated() {
    on_each(|disk| {
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(b"hello", 0).unwrap();
        file.set_size(3).unwrap();
        file.set_size(5).unwrap();
        assert_eq!(content(file.as_ref()), b"hel\0\0");
        match file.allocate(8) {
            Ok(()) => assert_eq!(content(file.as_ref()), b"hel\0\0\0\0\0"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
        let size = file.size().unwrap();
        let _ = file.allocate(2);
        assert_eq!(file.size().unwrap(), size);
    });
}

#[test]
fn a_file_is_made_only_by_create_and_emptied_by_it() {
    on_each(|disk| {
        for access in [Access::Read, Access::Write] {
            assert_eq!(
                disk.open("a", access).err().map(|error| error.kind()),
                Some(ErrorKind::NotFound)
            );
        }
        disk.open("a", Access::Create).unwrap().write_at(b"old", 0).unwrap();
        disk.open("a", Access::Write).unwrap().write_at(b"O", 0).unwrap();
        assert_eq!(content(disk.open("a", Access::Read).unwrap().as_ref()), b"Old");
        assert_eq!(content(disk.open("a", Access::Create).unwrap().as_ref()), b"");
    });
}

#[test]
fn names_are_given_changed_and_taken_away() {
    on_each(|disk| {
        disk.open("a", Access::Create).unwrap().write_at(b"a", 0).unwrap();
        let file = disk.open("b", Access::Create).unwrap();
        file.write_at(b"b", 0).unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(sorted(disk), ["a", "b"]);
        disk.rename("b", "a").unwrap();
        file.write_at(b"still", 0).unwrap();
        assert_eq!(sorted(disk), ["a"]);
        assert_eq!(content(disk.open("a", Access::Read).unwrap().as_ref()), b"still");
        disk.remove("a").unwrap();
        assert_eq!(content(file.as_ref()), b"still");
        assert_eq!(sorted(disk), [""; 0]);
        for result in [disk.remove("a"), disk.rename("a", "b")] {
            assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        }
    });
}

#[test]
fn a_lock_is_held_once_and_until_it_is_dropped() {
    on_each(|disk| {
        let held = disk.lock("lock").unwrap();
        let second = disk.lock("lock").err().map(|error| error.kind());
        assert_eq!(second, Some(ErrorKind::WouldBlock));
        drop(held);
        drop(disk.lock("lock").unwrap());
    });
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(folder.path()).unwrap();
    disk.open("file", Access::Create).unwrap();
    assert!(disk.directory().ends_with(folder.path().file_name().unwrap().to_str().unwrap()));
    let kind = |name: &str| OsDisk::open(&folder.path().join(name)).err().map(|error| error.kind());
    assert_eq!(kind("file"), Some(ErrorKind::NotADirectory));
    assert_eq!(kind("missing"), Some(ErrorKind::NotFound));
}

/// What is left of a file of `size` bytes of `1` that was written over with `2` but not synced.
fn after_crash(size: usize, seed: u64) -> Vec<u8> {
    let disk = MemoryDisk::new();
    let file = disk.open("a", Access::Create).unwrap();
    file.write_at(&vec![1; size], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir().unwrap();
    file.write_at(&vec![2; size], 0).unwrap();
    disk.crash(seed);
    assert_eq!(file.size().err().map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
    disk.file("a").unwrap()
}

#[test]
fn a_crash_keeps_drops_or_tears_what_was_not_synced() {
    let (mut kept, mut dropped, mut torn) = (0, 0, 0);
    for seed in 0..100 {
        let left = after_crash(4_096, seed);
        assert_eq!(left, after_crash(4_096, seed));
        for sector in left.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == 1) || sector.iter().all(|byte| *byte == 2));
        }
        match left.iter().map(|byte| usize::from(*byte == 2)).sum::<usize>() {
            4_096 => kept += 1,
            0 => dropped += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 10 && dropped > 10 && torn > 10, "{kept} {dropped} {torn}");
}

#[test]
fn a_crash_undoes_names_from_some_point_on() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let disk = MemoryDisk::new();
        disk.open("a", Access::Create).unwrap();
        disk.sync_dir().unwrap();
        disk.open("b", Access::Create).unwrap();
        disk.rename("b", "c").unwrap();
        disk.remove("a").unwrap();
        disk.crash(seed);
        seen.insert(sorted(&disk));
    }
    let expected = [vec!["a"], vec!["a", "b"], vec!["a", "c"], vec!["c"]];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_failed_sync_forgot_no_later_sync_makes_durable() {
    let lost = (0..50).any(|seed| {
        let disk = MemoryDisk::new();
        let file = disk.open("a", Access::Create).unwrap();
        disk.sync_dir().unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.inject(Injection {
            operation: Operation::Sync,
            after: 0,
            failure: Failure::Io,
            sticky: false,
        });
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.crash(seed);
        disk.file("a").unwrap().is_empty()
    });
    assert!(lost);
}

#[test]
fn failures_come_when_they_are_due() {
    let disk = MemoryDisk::new();
    let file = disk.open("a", Access::Create).unwrap();
    disk.inject(Injection {
        operation: Operation::Write,
        after: 2,
        failure: Failure::Full,
        sticky: false,
    });
    file.write_at(b"1", 0).unwrap();
    file.write_at(b"2", 0).unwrap();
    assert_eq!(
        file.write_at(b"33", 1).err().map(|error| error.kind()),
        Some(ErrorKind::StorageFull)
    );
    assert_eq!(content(file.as_ref()), b"23");
    file.write_at(b"4", 0).unwrap();
    disk.inject(Injection {
        operation: Operation::Read,
        after: 0,
        failure: Failure::Io,
        sticky: true,
    });
    for _ in 0..3 {
        assert!(file.read_at(&mut [0], 0).is_err());
    }
    disk.heal();
    assert_eq!(content(file.as_ref()), b"43");
}

#[test]
fn a_disk_is_full_at_its_capacity() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(10));
    let file = disk.open("a", Access::Create).unwrap();
    file.write_at(&[1; 10], 0).unwrap();
    file.write_at(&[2; 10], 0).unwrap();
    assert_eq!(
        file.write_at(&[3], 10).err().map(|error| error.kind()),
        Some(ErrorKind::StorageFull)
    );
    assert_eq!(file.allocate(11).err().map(|error| error.kind()), Some(ErrorKind::StorageFull));
    disk.remove("a").unwrap();
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn corruption_reaches_what_is_durable() {
    let disk = MemoryDisk::new();
    disk.put("a", b"0123456789".to_vec());
    assert!(disk.corrupt("a", 1, Corruption::Flip(0x10)));
    assert!(disk.corrupt("a", 8, Corruption::Zero(99)));
    assert!(disk.corrupt("a", 2, Corruption::Copy { from: 5, len: 2 }));
    assert!(disk.corrupt("a", 9, Corruption::Cut));
    assert!(!disk.corrupt("a", 50, Corruption::Flip(1)));
    assert!(!disk.corrupt("b", 0, Corruption::Flip(1)));
    disk.crash(0);
    assert_eq!(disk.file("a").unwrap(), b"0!564567\0");
}

#[test]
fn clones_and_handles_share_the_files() {
    let disk = MemoryDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    shared.open("a", Access::Create).unwrap().write_at(b"x", 0).unwrap();
    assert_eq!(disk.file("a").unwrap(), b"x");
    let held = shared.lock("lock").unwrap();
    disk.kill();
    drop(disk.lock("lock").unwrap());
    drop(held);
    assert_eq!(disk.file("a").unwrap(), b"x");
}
