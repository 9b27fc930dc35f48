//! The state beside the log, lost or wrong in every way: it is made again from the log, loudly, and nothing is missing.

use std::collections::BTreeSet;
use std::path::Path;

use tidelog::commitlog::Offset;
use tidelog::store::CheckpointUse;
use tidelog::store::StateStore;

use crate::chance::Chance;
use crate::filled::Filled;
use crate::folder;
use crate::from_environment;
use crate::opened;
use crate::seed;
use crate::served;
use crate::spoil;
use crate::spoil::What;
use crate::truth::Truth;

/// How the state of a directory became what it should not be.
struct Fault {
    name: &'static str,
    /// A word of the warning.
    warning: &'static str,
    make: fn(&Path, &Filled),
}

const FAULTS: [Fault; 8] = [
    Fault { name: "deleted", warning: "there was no checkpoint", make: delete },
    Fault { name: "empty", warning: "there was no checkpoint", make: empty },
    Fault { name: "a file", warning: "state.damaged-1", make: file },
    Fault { name: "not opening", warning: "state.damaged-1", make: unopenable },
    Fault { name: "of a newer version", warning: "schema 1000", make: newer },
    Fault { name: "of another log", warning: "does not belong to this log", make: foreign },
    Fault { name: "ahead of the log", warning: "the log only up to", make: ahead },
    Fault {
        name: "with a row that can't be read",
        warning: "1 rows of the checkpoint",
        make: unreadable,
    },
];

fn delete(state: &Path, _: &Filled) {
    std::fs::remove_dir_all(state).unwrap();
}

fn empty(state: &Path, filled: &Filled) {
    delete(state, filled);
    std::fs::create_dir(state).unwrap();
}

fn file(state: &Path, filled: &Filled) {
    delete(state, filled);
    std::fs::write(state, "no directory").unwrap();
}

/// sled panics over this one.
fn unopenable(state: &Path, _: &Filled) {
    std::fs::write(state.join("conf"), "segment_size: nonsense").unwrap();
    let db = std::fs::read(state.join("db")).unwrap();
    std::fs::write(state.join("db"), vec![0x5a; db.len()]).unwrap();
}

/// Puts this under the key of the checkpoint's own entry.
fn put(state: &Path, key: &[u8], value: Vec<u8>) {
    let mut store = tidelog::store::SledStateStore::new(state);
    store.open().unwrap();
    store.apply(&[(key.to_vec(), Some(value))]).unwrap();
    store.sync().unwrap();
}

fn current(state: &Path) -> Vec<u8> {
    let mut store = tidelog::store::SledStateStore::new(state);
    store.open().unwrap();
    store.get(&[0, b'c']).unwrap().unwrap()
}

fn newer(state: &Path, _: &Filled) {
    let mut meta = current(state);
    meta[..4].copy_from_slice(&1_000_u32.to_le_bytes());
    put(state, &[0, b'c'], meta);
}

fn foreign(state: &Path, _: &Filled) {
    let mut meta = current(state);
    meta[12] ^= 1;
    put(state, &[0, b'c'], meta);
}

fn ahead(state: &Path, _: &Filled) {
    let mut meta = current(state);
    meta[4..12].copy_from_slice(&1_000_000_u64.to_le_bytes());
    put(state, &[0, b'c'], meta);
}

fn unreadable(state: &Path, _: &Filled) {
    put(state, b"\x01\x02\x00somebody\x00\x00\x00\x00", b"nonsense".to_vec());
}

#[test]
fn a_state_that_is_lost_or_wrong_is_made_again_from_the_log() {
    let (filled, truth) = crate::filled();
    let none = BTreeSet::new();
    for Fault { name, warning, make } in FAULTS {
        println!("the state is {name}");
        let spoiled = folder::copy(&filled.now);
        make(&spoiled.path().join("state"), filled);
        let copy = folder::copy(spoiled.path());
        let recovery = opened::open(copy.path()).recovery;
        assert!(matches!(recovery.checkpoint, CheckpointUse::Rebuilt(_)), "{recovery:?}");
        let copy = folder::copy(spoiled.path());
        opened::check(copy.path(), truth, &none);
        // The next start has a checkpoint again.
        let again = opened::open(copy.path()).recovery.checkpoint;
        assert!(matches!(again, CheckpointUse::Used { .. }), "{again:?}");
        let copy = folder::copy(spoiled.path());
        let served = served::serve(copy.path(), truth, &none);
        let line = "WARNING: the state is rebuilt from the whole log: ";
        let said = served.startup.lines().find(|said| said.starts_with(line));
        assert!(said.is_some_and(|said| said.contains(warning)), "{}", served.startup);
        assert!(served.trace.contains("the state is rebuilt"), "{}", served.trace);
        assert_ne!(served.sys["$SYS/broker/recovery/checkpoint"], "used");
    }
}

#[test]
fn a_state_from_an_older_checkpoint_is_brought_up_to_date() {
    let (filled, truth) = crate::filled();
    let copy = folder::copy(&filled.now);
    let state = copy.path().join("state");
    delete(&state, filled);
    folder::copy_to(&filled.earlier.join("state"), &state);
    opened::check(copy.path(), truth, &BTreeSet::new());
    let recovery = opened::open(copy.path()).recovery;
    assert!(matches!(recovery.checkpoint, CheckpointUse::Used { .. }));
}

#[test]
fn a_state_that_is_spoiled_anywhere_is_never_believed() {
    let seed = seed();
    let count = from_environment("CORRUPTIONS").unwrap_or(crate::CORRUPTIONS);
    let (filled, truth) = crate::filled();
    for number in 0..count {
        let seed = seed + number;
        println!(
            "replay: CORRUPTION_SEED={seed} CORRUPTIONS=1 cargo test --test corruption anywhere"
        );
        spoil_state(&mut Chance(seed), filled, truth);
    }
}

/// Spoils what is in use of sled's file of data.
fn spoil_state(chance: &mut Chance, filled: &Filled, truth: &Truth) {
    let copy = folder::copy(&filled.now);
    let db = copy.path().join("state/db");
    let before = std::fs::read(&db).unwrap();
    let old = std::fs::read(filled.earlier.join("state/db")).unwrap();
    let used = before.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    for _ in 0..=chance.below(3) {
        let sector = *chance.pick(&[16, 512, 4 << 10]);
        let at = chance.below(used.div_ceil(sector)) * sector;
        let other = chance.below(used.div_ceil(sector)) * sector;
        let what = match chance.below(6) {
            0 => What::Zero { at, len: sector },
            1 => What::Duplicate { from: other, to: at, len: sector },
            2 => What::Stale { at, len: sector },
            3 => What::Swap { first: at, second: other, len: sector },
            _ => What::Flip { at: chance.below(used), bit: chance.below(8) },
        };
        println!("{what:?} of {used} bytes");
        let now = std::fs::read(&db).unwrap();
        std::fs::write(&db, spoil::spoiled(&now, &old, what).unwrap()).unwrap();
    }
    let opened = opened::open(copy.path());
    let state = truth.state(Offset::ZERO, &BTreeSet::new());
    assert!(*opened.store.state() == state, "{:?}", opened.recovery.checkpoint);
}
