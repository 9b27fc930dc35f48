//! A spoiled directory, opened without a broker: the log is checked, the store opened, every record compared.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tidelog::commitlog::Damage;
use tidelog::commitlog::DumpFilter;
use tidelog::commitlog::EveryKey;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Read;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::OsDisk;
use tidelog::commitlog::dump;
use tidelog::commitlog::repair;
use tidelog::commitlog::verify;
use tidelog::store::CheckpointUse;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::SledStateStore;
use tidelog::store::StateStore;
use tidelog::store::Store;
use tidelog::store::verify_state;
use tidelog::time::Timestamp;

use crate::truth::Truth;

/// Opens the store in a directory.
pub(crate) fn open(folder: &Path) -> Opened {
    let disk = Arc::new(OsDisk::open(folder).unwrap());
    open_on(disk, Box::new(SledStateStore::new(folder.join("state"))))
}

/// Opens the store on a disk.
pub(crate) fn open_on(disk: Arc<dyn Disk>, state: Box<dyn StateStore>) -> Opened {
    // The directory was made a moment ago; a clock that has jumped since would be noted in the state.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp::EPOCH + now;
    let options = Options {
        log: tidelog::commitlog::Options {
            segment_bytes: 16 << 10,
            ..tidelog::commitlog::Options::default()
        },
        ..Options::default()
    };
    Store::open(disk, state, options, now, &mut |_| {}).expect("the store opens")
}

/// Whether a check of a directory's log finds anything.
pub(crate) fn verify_complains(folder: &Path) -> bool {
    let disk = OsDisk::open(folder).unwrap();
    let verified = verify(&disk, &mut |_| ()).expect("a check goes through");
    verified.damaged > 0 || verified.unfinished_bytes > 0
}

/// Whether a check of a directory's state against its log finds anything. Opens the state.
pub(crate) fn state_complains(folder: &Path) -> bool {
    let disk = OsDisk::open(folder).unwrap();
    let state = Box::new(SledStateStore::new(folder.join("state")));
    !verify_state(&disk, state, Offset::ZERO).expect("a check goes through").faults.is_empty()
}

/// Mends a directory: what is left is what was not lost, nobody complains any more, and what was given up is what is missing.
pub(crate) fn check_repaired(folder: &Path, truth: &Truth, lost: &BTreeSet<u64>) {
    let disk = OsDisk::open(folder).unwrap();
    let repaired = repair(&disk).expect("a repair goes through");
    assert!(!verify_complains(folder), "after {repaired:?}");
    let mut found = Vec::new();
    let damage = dump(&disk, &DumpFilter::default(), &mut |record| {
        found.push(record);
        ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    assert!(found.iter().eq(truth.left(lost)), "records are as they were after {repaired:?}");
    let end = found.last().map_or(0, |record| record.offset.as_u64());
    let start = found.first().map_or(0, |record| record.offset.as_u64());
    for offset in lost.range(start..end) {
        let told = repaired.given_up.iter().any(|given_up| covers(&given_up.damage, *offset));
        assert!(told, "offset {offset} was given up: {repaired:?}");
    }
    assert!(repair(&disk).unwrap().is_empty(), "there is nothing left to mend");
}

/// Opens the store in a directory and checks it.
pub(crate) fn check(folder: &Path, truth: &Truth, lost: &BTreeSet<u64>) {
    check_opened(open(folder), truth, lost);
}

/// Everything that is not lost is there as it was, and everything that is lost is named.
pub(crate) fn check_opened(mut opened: Opened, truth: &Truth, lost: &BTreeSet<u64>) {
    let mut named: Vec<Damage> = opened.recovery.places().into_iter().cloned().collect();
    let mut found = Vec::new();
    let start = opened.store.start_offset();
    named.extend(opened.reader.replay(start, &mut |record| found.push(record)).unwrap());
    let left = truth.left(lost);
    assert_eq!(found.len(), left.len(), "records that are read");
    assert!(found.iter().eq(left.iter().copied()), "records are as they were");
    let cold = read_all(&mut opened, &mut named);
    let messages = left.iter().filter(|record| record.kind == 1);
    assert!(cold.iter().eq(messages.copied()), "messages are as they were");

    let checkpoint = match opened.recovery.checkpoint {
        CheckpointUse::Used { offset } => offset,
        CheckpointUse::Rebuilt(_) => Offset::ZERO,
    };
    assert_eq!(*opened.store.state(), truth.state(checkpoint, lost), "the state");
    let torn = opened.recovery.log.torn.is_some();
    let end = opened.store.next_offset().as_u64();
    for offset in lost {
        let missing = named.iter().any(|damage| covers(damage, *offset));
        assert!(missing || *offset >= end, "offset {offset} is not named: {named:?}");
    }
    let complained = torn || !named.is_empty();
    assert!(
        complained || lost.iter().all(|offset| *offset >= end && *offset >= checkpoint.as_u64())
    );
}

/// Whether an offset is among those that a damage says are missing. Where the front is gone, nobody knows where it began.
fn covers(damage: &Damage, offset: u64) -> bool {
    let front = damage.file.contains("front of the log") && offset < damage.to.as_u64();
    front || (damage.from..damage.to).contains(&Offset::new(offset))
}

/// Every message, by cold reads where they are not in memory.
fn read_all(opened: &mut Opened, named: &mut Vec<Damage>) -> Vec<StoredRecord> {
    let every: Arc<dyn tidelog::commitlog::KeyMatcher> = Arc::new(EveryKey);
    let mut found = Vec::new();
    let mut at = opened.store.start_offset();
    while at < opened.store.next_offset() {
        match opened.store.read(at, Offset::MAX, 64 << 10, &every) {
            Read::Records { records, next } => {
                found.extend(records);
                at = next;
            }
            Read::Cold(request) => {
                let result = opened.reader.read(&request).unwrap();
                found.extend(result.records);
                named.extend(result.damage);
                at = result.next;
            }
        }
    }
    found
}
