//! A directory in memory, with faults.
/// A directory in memory, with faults.
pub struct MemoryDisk {}
