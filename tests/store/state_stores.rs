//! One suite for every state store; and what sled's faults ask for.

#![expect(clippy::disallowed_methods, reason = "spoils the files of a state store")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tidelog::store::BATCH_CHANGES_MAX;
use tidelog::store::Change;
use tidelog::store::MemoryStateStore;
use tidelog::store::SledStateStore;
use tidelog::store::StateError;
use tidelog::store::StateStore;
use tidelog::store::VALUE_BYTES_MAX;

/// Makes stores on the same data, one after the other.
trait Place {
    fn open(&self) -> Box<dyn StateStore>;
}

impl Place for MemoryStateStore {
    fn open(&self) -> Box<dyn StateStore> {
        opened(Box::new(self.clone()))
    }
}

impl Place for TempDir {
    fn open(&self) -> Box<dyn StateStore> {
        opened(Box::new(SledStateStore::new(self.path().join("state"))))
    }
}

fn opened(mut store: Box<dyn StateStore>) -> Box<dyn StateStore> {
    assert_eq!(store.open().unwrap().moved_aside, None);
    store
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn on_every_store(check: fn(&dyn Place)) {
    check(&MemoryStateStore::new());
    check(&directory());
}

fn put(key: &[u8], value: &[u8]) -> Change {
    (key.to_vec(), Some(value.to_vec()))
}

fn delete(key: &[u8]) -> Change {
    (key.to_vec(), None)
}

fn all(store: &mut dyn StateStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    store.scan(&mut |key, value| entries.push((key.to_vec(), value.to_vec()))).unwrap();
    entries
}

#[test]
fn entries_come_back_in_order_after_a_restart() {
    on_every_store(|place| {
        let mut store = place.open();
        store
            .apply(&[put(b"b", b"1"), put(b"a", b""), put(b"c", b"3"), put(b"b\x00", b"2")])
            .unwrap();
        store.apply(&[delete(b"c"), put(b"b", b"9"), delete(b"never there")]).unwrap();
        store.sync().unwrap();
        drop(store);
        let mut store = place.open();
        let expected = [(&b"a"[..], &b""[..]), (b"b", b"9"), (b"b\x00", b"2")];
        assert_eq!(
            all(store.as_mut()),
            expected.map(|(key, value)| (key.to_vec(), value.to_vec()))
        );
        assert_eq!(store.get(b"b").unwrap(), Some(b"9".to_vec()));
        assert_eq!(store.get(b"c").unwrap(), None);
    });
}

#[test]
fn changes_are_seen_before_they_are_synced() {
    on_every_store(|place| {
        let mut store = place.open();
        store.apply(&[put(b"a", b"1"), put(b"a", b"2")]).unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(b"2".to_vec()));
        store.apply(&[delete(b"a")]).unwrap();
        assert_eq!(store.get(b"a").unwrap(), None);
        assert_eq!(all(store.as_mut()), []);
    });
}

#[test]
fn what_sled_does_not_bear_is_refused() {
    on_every_store(|place| {
        let mut store = place.open();
        let most: Vec<Change> =
            (0..BATCH_CHANGES_MAX).map(|n| put(&n.to_be_bytes(), b"")).collect();
        store.apply(&most).unwrap();
        let more = [most, vec![put(b"one more", b"")]].concat();
        assert!(matches!(
            store.apply(&more),
            Err(StateError::TooLarge { size: 257, size_max: 256, .. })
        ));
        store.apply(&[put(b"a", &[0; VALUE_BYTES_MAX])]).unwrap();
        assert!(matches!(
            store.apply(&[put(b"a", &[0; VALUE_BYTES_MAX + 1])]),
            Err(StateError::TooLarge { .. })
        ));
        assert!(matches!(store.apply(&[put(&[1; 2_000], b"")]), Err(StateError::TooLarge { .. })));
        assert_eq!(all(store.as_mut()).len(), BATCH_CHANGES_MAX + 1);
    });
}

#[test]
fn a_wiped_store_is_empty_and_usable() {
    on_every_store(|place| {
        let mut store = place.open();
        store.apply(&[put(b"a", b"1")]).unwrap();
        store.sync().unwrap();
        store.wipe().unwrap();
        assert_eq!(all(store.as_mut()), []);
        store.apply(&[put(b"b", b"2")]).unwrap();
        store.sync().unwrap();
        drop(store);
        assert_eq!(all(place.open().as_mut()), [(b"b".to_vec(), b"2".to_vec())]);
    });
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let directory = directory();
    let _first = directory.open();
    let mut second = SledStateStore::new(directory.path().join("state"));
    assert!(matches!(second.open(), Err(StateError::Locked { .. })));
}

#[test]
fn a_store_that_is_not_open_says_so() {
    let mut store = SledStateStore::new(directory().path().join("state"));
    assert!(matches!(store.get(b"a"), Err(StateError::NotOpen)));
    assert!(matches!(store.sync(), Err(StateError::NotOpen)));
}

#[test]
fn what_lies_unsynced_in_memory_is_lost_by_a_power_cut() {
    let states = MemoryStateStore::new();
    let mut store = states.open();
    store.apply(&[put(b"a", b"1")]).unwrap();
    store.sync().unwrap();
    store.apply(&[put(b"b", b"2")]).unwrap();
    store.apply(&[put(b"c", b"3")]).unwrap();
    states.crash(1);
    assert_eq!(all(store.as_mut()).len(), 2);
    assert_eq!(store.get(b"c").unwrap(), None);
}

/// Makes a sled directory with something in it and spoils it.
fn spoiled(spoil: fn(&Path)) -> TempDir {
    let directory = directory();
    let mut store = directory.open();
    for n in 0..2_000_u32 {
        store.apply(&[put(&n.to_be_bytes(), &[7; 200])]).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    // sled lets go of its files a little after it was dropped.
    drop(directory.open());
    spoil(&directory.path().join("state"));
    directory
}

/// sled's files, spoiled in ways that make it refuse or panic, are kept under another name.
#[test]
fn damaged_files_are_moved_aside_and_a_new_store_takes_their_place() {
    let ways: [fn(&Path); 3] = [
        |path| fs::write(path.join("conf"), [0xa5; 64]).unwrap(),
        |path| fs::write(path.join("db"), vec![0xa5; 3 << 19]).unwrap(),
        |path| {
            fs::remove_file(path.join("db")).unwrap();
            fs::create_dir(path.join("db")).unwrap();
        },
    ];
    let mut moved = 0;
    for spoil in ways {
        let directory = spoiled(spoil);
        let mut store = SledStateStore::new(directory.path().join("state"));
        let opened = store.open().unwrap();
        if let Some(name) = opened.moved_aside {
            assert_eq!(&*name, "state.damaged-1");
            assert!(directory.path().join(&*name).join("conf").exists());
            assert_eq!(all(&mut store), []);
            moved += 1;
        }
        store.apply(&[put(b"a", b"1")]).unwrap();
        store.sync().unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
    }
    assert!(moved >= 2, "{moved}");
}
