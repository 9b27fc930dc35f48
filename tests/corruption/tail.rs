//! The last batch, torn at every byte of it: it is cut, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidelog::commitlog::disk::MemoryDisk;
use tidelog::store::MemoryStateStore;

use crate::filled::Filled;
use crate::folder;
use crate::opened;
use crate::served;
use crate::spoil;
use crate::spoil::What;
use crate::truth::Batch;
use crate::truth::Truth;

/// Every so many bytes, a broker is started as well.
const SERVED_STEP: usize = 16;

/// How the end of the last segment may look after a crash in the middle of a write.
fn tears(last: &Batch) -> impl Iterator<Item = What> {
    let end = last.at + last.bytes.len();
    (last.at..end).flat_map(move |at| [What::Cut { at }, What::Zero { at, len: end - at }])
}

/// What is lost with it: all of the batch, unless what was torn off were zeros.
fn torn_off(last: &Batch, bytes: &[u8]) -> BTreeSet<u64> {
    let whole = bytes.get(last.at..last.at + last.bytes.len()) == Some(&last.bytes);
    if whole { BTreeSet::new() } else { last.offsets.clone().collect() }
}

#[test]
fn a_tail_torn_at_every_byte_is_cut_and_everything_else_is_served() {
    let (filled, truth) = crate::filled();
    let last = truth.batches.last().unwrap();
    let names: Vec<String> =
        folder::files(&filled.now).into_iter().filter(|name| !name.contains('/')).collect();
    let files: Vec<(String, Vec<u8>)> = names
        .into_iter()
        .map(|name| (name.clone(), std::fs::read(filled.now.join(&name)).unwrap()))
        .collect();
    for what in tears(last) {
        println!("{}: {what:?}", last.file);
        let disk = MemoryDisk::new();
        let mut lost_here = BTreeSet::new();
        for (name, bytes) in &files {
            let mut bytes = bytes.clone();
            if *name == last.file {
                bytes = spoil::spoiled(&bytes, &[], what).unwrap();
                lost_here = torn_off(last, &bytes);
            }
            disk.put(name, bytes);
        }
        let opened = opened::open_on(Arc::new(disk), Box::new(MemoryStateStore::new()));
        assert_eq!(opened.recovery.places(), Vec::<&tidelog::commitlog::Damage>::new());
        opened::check_opened(opened, truth, &lost_here);
    }
}

#[test]
fn a_broker_starts_on_a_torn_tail_and_says_what_it_cut() {
    let (filled, truth) = crate::filled();
    let last = truth.batches.last().unwrap();
    for what in tears(last).step_by(SERVED_STEP) {
        println!("{}: {what:?}", last.file);
        serve_torn(filled, truth, last, what);
    }
}

fn serve_torn(filled: &Filled, truth: &Truth, last: &Batch, tear: What) {
    let copy = folder::copy(&filled.now);
    let path = copy.path().join(&last.file);
    let bytes = spoil::spoiled(&std::fs::read(&path).unwrap(), &[], tear).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let gone = torn_off(last, &bytes);
    let said = served::serve(copy.path(), truth, &gone);
    let rest = bytes.get(last.at..).unwrap_or_default();
    let torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
    if !gone.is_empty() {
        assert_eq!(said.number("recovery/torn-bytes"), torn);
        let told = said.startup.contains(&format!("cut {torn} unfinished bytes in {}", last.file));
        assert_eq!(told, torn > 0, "{}", said.startup);
    }
    assert_eq!(said.number("log/damage"), 0);
}
