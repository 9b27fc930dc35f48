//! The only door to files: a directory of flat names, small enough to fake.
//!
//! A [`Disk`] is one directory without folders in it. [`os::OsDisk`] is the real one; [`memory::MemoryDisk`]
//! keeps what is written apart from what is durable, and fails on command. Nothing here knows what the bytes mean.

pub mod memory;
pub mod os;

use std::any::Any;
use std::io;
use std::sync::Arc;

pub use memory::MemoryDisk;
pub use os::OsDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, or an existing one emptied, for reading and writing.
    Create,
}

/// Keeps a directory locked until it is dropped.
pub struct DiskLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl DiskLock {
    /// A lock that is held by holding `guard`.
    pub fn new(guard: Box<dyn Any + Send + Sync>) -> Self {
        Self(guard)
    }
}

/// One directory of files.
pub trait Disk: Send + Sync {
    /// The directory's name, for messages.
    fn directory(&self) -> String;

    /// Opens a file. `NotFound` if it does not exist and `access` does not create it.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of all files, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, replacing the file that has it. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every name made, changed or removed so far durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the lock of this name, made when missing. `WouldBlock` if another process or value holds it.
    fn lock(&self, name: &str) -> io::Result<DiskLock>;
}

/// One open file. It stays readable after its name is removed.
pub trait DiskFile: Send + Sync {
    /// Fills `buffer` from `position`; returns fewer bytes only where the file ends.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`, growing the file when needed.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// The file's size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or grows it with zeros.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes the bytes written so far, and the size, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves blocks so that the file has at least `size` bytes; what is new reads as zeros.
    /// `Unsupported` where the file system can't.
    fn allocate(&self, size: u64) -> io::Result<()>;
}
