//! A directory of the operating system.
/// A directory of the operating system.
pub struct OsDisk {}
