//! A state store on a disk that was full: when there is space again, checkpoints go on without a restart.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tidelog::commitlog::disk::MemoryDisk;
use tidelog::store::CheckpointUse;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::Row;
use tidelog::store::SledStateStore;
use tidelog::store::StateError;
use tidelog::store::Store;
use tidelog::time::Timestamp;

use crate::world::client;
use crate::world::session;

/// More rows than the file system has room for.
const ROWS: u32 = 30_000;

/// A tmpfs, until the end of the test.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn small(path: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(path)
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0).status().ok();
    }
}

fn open(disk: &MemoryDisk, path: &Path) -> Opened {
    let states = Box::new(SledStateStore::new(path));
    let now = Timestamp::from_micros(1);
    Store::open(Arc::new(disk.clone()), states, Options::default(), now, &mut |_| {}).unwrap()
}

/// Makes everything durable, and a checkpoint of it.
fn checkpoint(opened: &mut Opened) -> Result<(), StateError> {
    let Opened { store, writer, checkpointer, .. } = opened;
    while let Some(batch) = store.take_batch() {
        let committed = writer.commit(&batch, store.options().durability.commit()).unwrap();
        store.committed(&committed);
    }
    let Some(checkpoint) = store.take_checkpoint() else { return Ok(()) };
    let outcome = checkpointer.run(&checkpoint);
    store.checkpointed(outcome.clone());
    outcome.map(drop)
}

fn put(opened: &mut Opened, names: std::ops::Range<u32>) {
    let now = Timestamp::from_micros(2);
    for name in names {
        let id = client(&format!("a-client-with-a-name-of-some-length-{name}"));
        opened.store.put(now, Row::Session(id, Some(session(9))));
    }
}

#[test]
fn checkpoints_go_on_when_there_is_space_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::small(folder.path()) else {
        println!("SKIPPED: a small tmpfs can't be mounted here, which takes root");
        return;
    };
    let (disk, path) = (MemoryDisk::new(), folder.path().join("state"));
    fs::create_dir(&path).unwrap();
    let mut opened = open(&disk, &path);
    put(&mut opened, 0..100);
    checkpoint(&mut opened).unwrap();
    put(&mut opened, 100..ROWS);
    let error = checkpoint(&mut opened).unwrap_err();
    println!("on the full disk: {error}");
    mounted.resize("256m");
    put(&mut opened, ROWS..ROWS + 1);
    checkpoint(&mut opened).unwrap();
    let expected = opened.store.state().session_count();
    drop(opened);
    disk.kill();
    let opened = open(&disk, &path);
    let recovery = &opened.recovery;
    assert!(matches!(recovery.checkpoint, CheckpointUse::Used { .. }), "{recovery:?}");
    assert_eq!((expected, recovery.sessions), (ROWS as usize + 1, ROWS as usize + 1));
}
