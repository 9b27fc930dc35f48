//! A directory in memory that fails on command: for the simulation and the tests.
//!
//! It keeps two images of everything. What is *live* is what a process sees; what is *durable* is what a power
//! cut leaves. [`MemoryDisk::crash`] turns the durable image, and as much of the rest as a seed decides, into
//! the live one: each write since the file's last sync is kept, dropped, or torn into sectors of 512 bytes of which
//! any may be missing; names made, changed and removed since the last directory sync are undone from some point on.
//! The same calls and seeds give the same bytes.

#![expect(
    clippy::disallowed_types,
    reason = "shared by the writer, the readers and the test that breaks it"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::disk::DiskLock;

/// What a power cut leaves whole or drops whole.
const SECTOR: usize = 512;

/// A directory in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// An operation that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading from a file.
    Read,
    /// Writing to a file, cutting, growing or allocating it; opening a new one.
    Write,
    /// Syncing a file or the directory.
    Sync,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No space left; half of the bytes may have been written.
    Full,
    /// An input or output error; half of the bytes may have been written.
    Io,
}

/// A failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What fails.
    pub operation: Operation,
    /// How many such operations succeed before.
    pub after: u64,
    /// How it fails.
    pub failure: Failure,
    /// Whether every later one fails too, until [`MemoryDisk::heal`].
    pub sticky: bool,
}

/// A way to spoil the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Inverts the bits of this mask in one byte.
    Flip(u8),
    /// Zeros so many bytes.
    Zero(usize),
    /// Overwrites so many bytes with those that begin at `from`.
    Copy {
        /// Where the bytes come from.
        from: usize,
        /// How many.
        len: usize,
    },
    /// Cuts the file here.
    Cut,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Inode>,
    next_inode: u64,
    live_names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameChange>,
    locks: BTreeMap<String, u64>,
    next_lock: u64,
    /// Handles opened before a crash are dead.
    generation: u64,
    injections: Vec<Injection>,
    capacity_bytes: Option<u64>,
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum NameChange {
    Set(String, u64),
    Remove(String),
    Rename(String, String),
}

struct Change {
    what: What,
    /// A sync that failed has forgotten this change: no later sync makes it durable.
    forgotten: bool,
}

#[derive(Clone)]
enum What {
    Write { position: usize, bytes: Vec<u8> },
    Size(usize),
}

impl MemoryDisk {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: see the module's page. Every open handle and lock is dead afterwards; failures to come are forgotten.
    pub fn crash(&self, seed: u64) {
        let state = &mut *self.state();
        let mut chance = Chance(seed);
        state.generation += 1;
        state.locks.clear();
        state.injections.clear();
        let kept = chance.below(state.unsynced_names.len() as u64 + 1);
        let changes = std::mem::take(&mut state.unsynced_names);
        for change in changes.iter().take(usize::try_from(kept).unwrap_or(usize::MAX)) {
            change.apply(&mut state.durable_names);
        }
        state.live_names = state.durable_names.clone();
        for file in state.files.values_mut() {
            file.crash(&mut chance);
        }
        state.forget_unnamed();
    }

    /// Ends the process without cutting the power: handles and locks are dead, no byte is lost.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.locks.clear();
        state.injections.clear();
    }

    /// Makes an operation fail.
    pub fn inject(&self, injection: Injection) {
        self.state().injections.push(injection);
    }

    /// Forgets every failure to come.
    pub fn heal(&self) {
        self.state().injections.clear();
    }

    /// Limits the bytes of all files together: more is a full disk.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity_bytes = bytes;
    }

    /// The bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// What a process sees in a file.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state
            .live_names
            .get(name)
            .and_then(|inode| state.files.get(inode))
            .map(|file| file.live.clone())
    }

    /// Puts a file there, durable at once.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.new_inode();
        state
            .files
            .insert(inode, Inode { durable: bytes.clone(), live: bytes, unsynced: Vec::new() });
        state.live_names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }

    /// Spoils a file in both images. Returns whether any byte changed.
    pub fn corrupt(&self, name: &str, position: usize, corruption: Corruption) -> bool {
        let state = &mut *self.state();
        let Some(file) = state.live_names.get(name).and_then(|inode| state.files.get_mut(inode))
        else {
            return false;
        };
        spoil(&mut file.durable, position, corruption);
        spoil(&mut file.live, position, corruption)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spoil(bytes: &mut Vec<u8>, position: usize, corruption: Corruption) -> bool {
    let before = bytes.clone();
    match corruption {
        Corruption::Flip(mask) => {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= mask;
            }
        }
        Corruption::Zero(len) => {
            bytes.iter_mut().skip(position).take(len).for_each(|byte| *byte = 0);
        }
        Corruption::Copy { from, len } => {
            let source = before.iter().skip(from).take(len);
            bytes.iter_mut().skip(position).zip(source).for_each(|(byte, source)| *byte = *source);
        }
        Corruption::Cut => bytes.truncate(position),
    }
    *bytes != before
}

impl Disk for MemoryDisk {
    fn directory(&self) -> String {
        "memory".to_owned()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let existing = state.live_names.get(name).copied();
        let inode = match (access, existing) {
            (Access::Read | Access::Write, Some(inode)) => inode,
            (Access::Read | Access::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Access::Create, Some(inode)) => {
                state.fail(Operation::Write)?;
                state.change(inode, What::Size(0));
                inode
            }
            (Access::Create, None) => {
                state.fail(Operation::Write)?;
                let inode = state.new_inode();
                state.files.insert(inode, Inode::default());
                state.change_names(NameChange::Set(name.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), inode, generation: state.generation }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().live_names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.live_names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.live_names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.fail(Operation::Sync)?;
        state.durable_names = state.live_names.clone();
        state.unsynced_names.clear();
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<DiskLock> {
        let mut state = self.state();
        if state.locks.contains_key(name) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.next_lock += 1;
        let number = state.next_lock;
        state.locks.insert(name.to_owned(), number);
        Ok(DiskLock::new(Box::new(MemoryLock {
            disk: self.clone(),
            name: name.to_owned(),
            number,
        })))
    }
}

struct MemoryLock {
    disk: MemoryDisk,
    name: String,
    number: u64,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.name) == Some(&self.number) {
            state.locks.remove(&self.name);
        }
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    inode: u64,
    generation: u64,
}

impl MemoryFile {
    /// The state, unless the handle died in a crash.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn resize(&self, size: u64, shrink: bool) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.state()?;
        state.fail(Operation::Write)?;
        let present = state.files.get(&self.inode).map_or(0, |file| file.live.len());
        if size > present {
            state.reserve(size - present)?;
        }
        if shrink || size > present {
            state.change(self.inode, What::Size(size));
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.fail(Operation::Read)?;
        let live =
            state.files.get(&self.inode).map(|file| file.live.as_slice()).unwrap_or_default();
        let rest = usize::try_from(position)
            .ok()
            .and_then(|position| live.get(position..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(target, source)| *target = *source);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut state = self.state()?;
        let present = state.files.get(&self.inode).map_or(0, |file| file.live.len());
        let grows = position.saturating_add(bytes.len()).saturating_sub(present);
        let result = state.fail(Operation::Write).and_then(|()| state.reserve(grows));
        let written = if result.is_ok() { bytes } else { bytes.split_at(bytes.len() / 2).0 };
        let grows = position.saturating_add(written.len()).saturating_sub(present);
        if result.is_ok() || state.reserve(grows).is_ok() {
            state.change(self.inode, What::Write { position, bytes: written.to_vec() });
        }
        result
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state()?.files.get(&self.inode).map_or(0, |file| file.live.len() as u64))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.resize(size, true)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let result = state.fail(Operation::Sync);
        if let Some(file) = state.files.get_mut(&self.inode) {
            file.sync(result.is_ok());
        }
        result
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.resize(size, false)
    }
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn change(&mut self, inode: u64, what: What) {
        if let Some(file) = self.files.get_mut(&inode) {
            what.apply(&mut file.live);
            file.unsynced.push(Change { what, forgotten: false });
        }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.live_names);
        self.unsynced_names.push(change);
    }

    /// Fails if an injected failure is due.
    fn fail(&mut self, operation: Operation) -> io::Result<()> {
        let mut failure = None;
        self.injections.retain_mut(|injection| {
            if injection.operation != operation {
                return true;
            }
            if injection.after > 0 {
                injection.after -= 1;
                return true;
            }
            failure = failure.or(Some(injection.failure));
            injection.sticky
        });
        match failure {
            None => Ok(()),
            Some(Failure::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Failure::Io) => {
                Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()))
            }
        }
    }

    fn used_bytes(&self) -> u64 {
        let names = self.live_names.values();
        names.filter_map(|inode| self.files.get(inode)).map(|file| file.live.len() as u64).sum()
    }

    fn reserve(&self, bytes: usize) -> io::Result<()> {
        match self.capacity_bytes {
            Some(capacity)
                if bytes > 0 && self.used_bytes().saturating_add(bytes as u64) > capacity =>
            {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn forget_unnamed(&mut self) {
        let names = &self.live_names;
        self.files.retain(|inode, _| names.values().any(|named| named == inode));
    }
}

impl Inode {
    fn sync(&mut self, succeeds: bool) {
        if !succeeds {
            self.unsynced.iter_mut().for_each(|change| change.forgotten = true);
            return;
        }
        let changes = std::mem::take(&mut self.unsynced);
        for (number, change) in changes.iter().enumerate() {
            // A size is part of the system's journal, which a later sync writes.
            if !change.forgotten || matches!(change.what, What::Size(_)) {
                change.what.apply(&mut self.durable);
            } else if !changes.iter().skip(number + 1).any(|later| later.what.covers(&change.what))
            {
                self.unsynced.push(Change { what: change.what.clone(), forgotten: true });
            }
        }
    }

    fn crash(&mut self, chance: &mut Chance) {
        for change in std::mem::take(&mut self.unsynced) {
            match chance.below(3) {
                0 => {}
                1 => change.what.apply(&mut self.durable),
                _ => change.what.tear(&mut self.durable, chance),
            }
        }
        self.live = self.durable.clone();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl What {
    /// Whether some byte of an earlier change is not what it was any more, so that it can't come back.
    fn covers(&self, earlier: &Self) -> bool {
        let Self::Write { position: from, bytes } = earlier else { return true };
        let end = from + bytes.len();
        match self {
            Self::Write { position, bytes } => *position < end && *from < position + bytes.len(),
            Self::Size(size) => *size < end,
        }
    }

    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { position, bytes } => put(image, *position, bytes),
            Self::Size(size) => image.resize(*size, 0),
        }
    }

    /// Keeps some sectors of a write; a change of size is whole.
    fn tear(&self, image: &mut Vec<u8>, chance: &mut Chance) {
        let Self::Write { position, bytes } = self else { return self.apply(image) };
        let mut position = *position;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (sector, after) = rest.split_at(rest.len().min(SECTOR - position % SECTOR));
            if chance.below(2) == 0 {
                put(image, position, sector);
            }
            position += sector.len();
            rest = after;
        }
    }
}

/// Puts bytes at a position, growing the image with zeros.
fn put(image: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = if bytes.is_empty() { 0 } else { position + bytes.len() };
    if image.len() < end {
        image.resize(end, 0);
    }
    if let Some(target) = image.get_mut(position..end) {
        target.copy_from_slice(bytes);
    }
}

/// Chance from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
