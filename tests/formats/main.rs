//! Data directories of every format there was, kept as they were written: each opens, holds what it held, and the newest is
//! what this version writes, byte for byte.
//!
//! A directory here is never changed. When the bytes that are written change, a new one is made beside the old ones, with
//! `FORMATS_WRITE=tests/formats/NAME cargo test --test formats`, and named in [`NEWEST`]; `docs/format.md` says what changed. Beside
//! each, under `NAME-cleaned`, is the same log after the cleaner.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests read files of their own, and a panic is how they fail"
)]

mod made;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tidelog::commitlog;
use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::store;
use tidelog::store::MemoryStateStore;
use tidelog::store::Options;
use tidelog::store::Store;
use tidelog::time::Timestamp;

/// The directory that has what this version writes, and what is added to the name of the one that has it cleaned.
const NEWEST: &str = "format-1-groups";
const CLEANED: &str = "-cleaned";
/// What a directory's records are, one JSON object a line, as `tidelog log dump` prints them.
const EXPECTED: &str = "expected.jsonl";

type Files = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// The files of a kept directory.
fn kept(folder: &Path) -> Files {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

fn disk(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (name, bytes) in files.iter().filter(|(name, _)| *name != EXPECTED) {
        disk.put(name, bytes.clone());
    }
    disk
}

fn files(disk: &MemoryDisk) -> Files {
    let names = disk.list().unwrap().into_iter().filter(|name| name != "lock");
    names.map(|name| (name.clone(), disk.file(&name).unwrap())).collect()
}

fn dumped(disk: &MemoryDisk) -> String {
    let mut lines = String::new();
    let damage = commitlog::dump(disk, &DumpFilter::default(), &mut |record| {
        writeln!(lines, "{}", store::describe(&record)).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    lines
}

/// Every kept directory, with its name.
fn directories() -> Vec<(String, Files)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir());
    let found: Vec<_> = folders
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), kept(&path)))
        .collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn directories_of_every_format_read_as_they_were_written() {
    for (name, files) in directories() {
        println!("{name}");
        let disk = disk(&files);
        assert_eq!(dumped(&disk), String::from_utf8(files[EXPECTED].clone()).unwrap());
        let verified =
            commitlog::verify_records(&disk, Some(&mut store::is_readable), &mut |damage| {
                panic!("{damage}")
            });
        assert_eq!(verified.unwrap().unfinished_bytes, 0);
    }
}

#[test]
fn directories_of_every_format_open_and_go_on() {
    for (name, files) in directories() {
        println!("{name}");
        let disk = disk(&files);
        let states = Box::new(MemoryStateStore::new());
        let now = Timestamp::from_micros(4_000_000_000_000_000);
        let opened =
            Store::open(Arc::new(disk.clone()), states, Options::default(), now, &mut |_| ());
        let opened = opened.unwrap();
        assert_eq!(opened.recovery.places(), Vec::<&commitlog::Damage>::new());
        assert_eq!(opened.recovery.records_unreadable, 0);
        let recovery = &opened.recovery;
        let found = (recovery.sessions, recovery.subscriptions, recovery.groups, recovery.retained);
        assert_eq!(found, made::COUNTS);
        drop(opened);
        assert!(dumped(&disk).starts_with(std::str::from_utf8(&files[EXPECTED]).unwrap()));
    }
}

#[test]
fn what_is_written_now_is_what_the_newest_directory_holds() {
    check_newest(&made::make(), "");
}

#[test]
fn what_is_cleaned_now_is_what_the_newest_cleaned_directory_holds() {
    let (made, cleaned) = (made::make(), made::make_cleaned());
    let (before, after) = (dumped(&made), dumped(&cleaned));
    let kept = before.lines().filter(|line| after.lines().any(|other| other == *line)).count();
    assert!(kept > 20 && kept + 10 < before.lines().count(), "{kept} records were kept");
    check_newest(&cleaned, CLEANED);
}

fn check_newest(disk: &MemoryDisk, suffix: &str) {
    let mut made = files(disk);
    made.insert(EXPECTED.to_owned(), dumped(disk).into_bytes());
    if let Ok(target) = std::env::var("FORMATS_WRITE") {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(target + suffix);
        std::fs::create_dir(&target).unwrap();
        for (name, bytes) in &made {
            std::fs::write(target.join(name), bytes).unwrap();
        }
    }
    let kept = kept(&folder().join(format!("{NEWEST}{suffix}")));
    assert_eq!(made.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for ((name, bytes), kept) in made.iter().zip(kept.values()) {
        let other = bytes.iter().zip(kept).position(|(one, other)| one != other);
        assert_eq!((other, bytes.len()), (None, kept.len()), "{name} from this byte on");
    }
}
