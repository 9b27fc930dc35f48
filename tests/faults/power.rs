//! Plays a power cut: undoes what a dead process had changed and not made durable, from the journal that the shim kept.
//!
//! ```text
//!   journal ──► changes after the last sync of their file ──► undone: all, or any blocks of them
//!          └──► names made, moved and removed after the last sync of their folder ──► undone from the last one back
//! ```
//!
//! Files and folders are known by inode, so a name that changes meanwhile does not matter. A file whose last name goes is
//! kept by another name beside the directory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::chance::Chance;

/// Bytes of an entry before what follows it: six numbers of eight bytes.
const ENTRY_BYTES: usize = 48;

/// Entries of the journal, as in `shim.c`.
const WROTE: u64 = 1;
const SIZED: u64 = 2;
const SYNCED: u64 = 3;
const MADE: u64 = 4;
const REMOVED: u64 = 5;
const RENAMED: u64 = 6;
const BORN: u64 = 7;

/// What the disk keeps of changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    /// Any blocks of so many bytes, and the first of the changes of names.
    Blocks(usize),
}

impl Survives {
    /// Nothing, or blocks as a disk or a file system has them.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        *chance.pick(&[Self::Nothing, Self::Blocks(512), Self::Blocks(4_096)])
    }
}

/// When a change of names is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// With the next sync of its folder: what is promised.
    WithFolder,
    /// With the next sync of anything: what a file system with one journal, as ext4 is, makes of it.
    WithAnything,
}

struct Entry {
    /// Its place in the journal, which is its place in time.
    place: u64,
    kind: u64,
    inode: u64,
    a: u64,
    b: u64,
    c: u64,
    bytes: Vec<u8>,
}

/// The directory, and what the shim writes beside it.
pub(crate) struct Ground {
    pub(crate) directory: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) kept: PathBuf,
    pub(crate) names: Names,
}

/// What cuts took away: files that are not as they were, and changes of names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) files: usize,
    pub(crate) names: usize,
}

impl AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.names += other.names;
    }
}

impl Ground {
    /// The process is dead: an entry that it was writing stands for a change that it did not make.
    pub(crate) fn trim(&self) {
        let bytes = fs::read(&self.journal).unwrap();
        let whole = entries(&bytes).last().map_or(0, |last| {
            usize::try_from(last.place).unwrap() + ENTRY_BYTES + last.bytes.len()
        });
        if whole < bytes.len() {
            fs::OpenOptions::new()
                .write(true)
                .open(&self.journal)
                .unwrap()
                .set_len(whole as u64)
                .unwrap();
        }
    }

    /// Cuts the power: the directory is as a disk may have it then, and that is durable now.
    pub(crate) fn cut(&self, survives: Survives, chance: &mut Chance) -> Lost {
        let entries = entries(&fs::read(&self.journal).unwrap());
        let mut synced = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.kind == SYNCED) {
            let place = synced.entry(entry.inode).or_insert(0);
            *place = entry.a.max(*place);
        }
        let any = synced.values().copied().max().unwrap_or(0);
        let lost = |inode: u64, place| synced.get(&inode).is_none_or(|synced| *synced <= place);
        let name_lost = |folder: u64, place| match self.names {
            Names::WithFolder => lost(folder, place),
            Names::WithAnything => any <= place,
        };
        let mut changes: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        let mut names: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            match entry.kind {
                WROTE | SIZED | BORN if lost(entry.inode, entry.place) => {
                    changes.entry(entry.inode).or_default().push(entry);
                }
                MADE | REMOVED if name_lost(entry.inode, entry.place) => {
                    names.entry(entry.inode).or_default().push(entry);
                }
                RENAMED if name_lost(entry.a, entry.place) => {
                    names.entry(entry.a).or_default().push(entry);
                }
                _ => {}
            }
        }
        let files = self.undo_changes(&changes, survives, chance);
        let names = self.undo_names(names, survives, chance);
        fs::write(&self.journal, b"").unwrap();
        fs::remove_dir_all(&self.kept).unwrap();
        fs::create_dir(&self.kept).unwrap();
        Lost { files, names }
    }

    fn undo_changes(
        &self,
        changes: &BTreeMap<u64, Vec<&Entry>>,
        survives: Survives,
        chance: &mut Chance,
    ) -> usize {
        let mut paths = BTreeMap::new();
        collect(&self.directory, &mut paths);
        collect(&self.kept, &mut paths);
        let mut count = 0;
        for (inode, changes) in changes {
            let Some(path) = paths.get(inode).filter(|path| path.is_file()) else { continue };
            let after = fs::read(path).unwrap();
            let mut before = after.clone();
            changes.iter().rev().for_each(|change| undo_change(change, &mut before));
            let left = match survives {
                Survives::Nothing => before,
                Survives::Blocks(size) => mixed(&before, &after, size, chance),
            };
            if left != after {
                fs::write(path, left).unwrap();
                count += 1;
            }
        }
        count
    }

    fn undo_names(
        &self,
        names: BTreeMap<u64, Vec<&Entry>>,
        survives: Survives,
        chance: &mut Chance,
    ) -> usize {
        let mut undone: Vec<&Entry> = Vec::new();
        for changes in names.into_values() {
            let kept = match survives {
                Survives::Nothing => 0,
                Survives::Blocks(_) => chance.index(changes.len() + 1),
            };
            undone.extend(&changes[kept..]);
        }
        undone.sort_by_key(|entry| std::cmp::Reverse(entry.place));
        for entry in &undone {
            self.undo_name(entry);
        }
        undone.len()
    }

    fn undo_name(&self, entry: &Entry) {
        let mut paths = BTreeMap::new();
        collect(&self.directory, &mut paths);
        let Some(folder) = paths.get(&entry.inode) else { return };
        let mut parts = entry.bytes.split(|byte| *byte == 0);
        let first = folder.join(std::str::from_utf8(parts.next().unwrap()).unwrap());
        match entry.kind {
            MADE if first.is_dir() => fs::remove_dir_all(first).unwrap(),
            MADE => unless_missing(fs::remove_file(first)),
            REMOVED if first.exists() => {}
            REMOVED => {
                let kept = self.kept.join(entry.a.to_string());
                if kept.is_dir() {
                    fs::rename(kept, first).unwrap();
                } else {
                    fs::hard_link(kept, first).unwrap();
                }
            }
            _ => {
                let Some(folder) = paths.get(&entry.a) else { return };
                let second = folder.join(std::str::from_utf8(parts.next().unwrap()).unwrap());
                if fs::metadata(&second).is_ok_and(|file| file.ino() == entry.c) {
                    fs::rename(&second, first).unwrap();
                    if entry.b > 0 {
                        fs::hard_link(self.kept.join(entry.b.to_string()), second).unwrap();
                    }
                }
            }
        }
    }

    /// Whether the journal has changes of bytes and of names in it, of more than one file.
    pub(crate) fn saw_everything(&self) -> bool {
        let entries = entries(&fs::read(&self.journal).unwrap());
        let has = |kind| entries.iter().any(|entry| entry.kind == kind);
        let written = |entry: &&Entry| entry.kind == WROTE;
        let files: BTreeSet<u64> =
            entries.iter().filter(written).map(|entry| entry.inode).collect();
        files.len() > 1 && has(MADE) && has(BORN)
    }
}

/// The whole entries of a journal.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut place = 0;
    while let Some(head) = bytes.get(place..place + ENTRY_BYTES) {
        let number =
            |index: usize| u64::from_le_bytes(head[8 * index..8 * index + 8].try_into().unwrap());
        let begin = place + ENTRY_BYTES;
        let end = begin + usize::try_from(number(5)).unwrap();
        let Some(bytes) = bytes.get(begin..end) else { break };
        entries.push(Entry {
            place: place as u64,
            kind: number(0),
            inode: number(1),
            a: number(2),
            b: number(3),
            c: number(4),
            bytes: bytes.to_vec(),
        });
        place = end;
    }
    entries
}

/// What the file was before a change.
fn undo_change(change: &Entry, file: &mut Vec<u8>) {
    file.resize(usize::try_from(change.c).unwrap(), 0);
    if change.kind != BORN && !change.bytes.is_empty() {
        let at = usize::try_from(change.a).unwrap();
        file[at..at + change.bytes.len()].copy_from_slice(&change.bytes);
    }
}

/// Any blocks of one version of a file, and the rest of the other.
fn mixed(before: &[u8], after: &[u8], size: usize, chance: &mut Chance) -> Vec<u8> {
    let length = *chance.pick(&[before.len(), after.len()]);
    let share = *chance.pick(&[10, 50, 90]);
    let mut left = after.to_vec();
    left.resize(length, 0);
    for (number, block) in left.chunks_mut(size).enumerate() {
        if !chance.percent(share) {
            let old = before.get(number * size..).unwrap_or_default();
            let known = old.len().min(block.len());
            block[..known].copy_from_slice(&old[..known]);
            block[known..].fill(0);
        }
    }
    left
}

/// All files and folders below, and the folder itself, by inode.
fn collect(folder: &Path, found: &mut BTreeMap<u64, PathBuf>) {
    found.insert(fs::metadata(folder).unwrap().ino(), folder.to_owned());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.insert(fs::metadata(&path).unwrap().ino(), path);
        }
    }
}

fn unless_missing(result: std::io::Result<()>) {
    if let Err(error) = result {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}
