//! Who holds the lock of a data directory, as far as the system tells: on Linux, from `/proc`.

#![expect(clippy::disallowed_methods, reason = "the system's own files are read here")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::Holder;

/// The file in a data directory that is locked.
const LOCK: &str = "lock";
/// The system's table of locks: `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234567 0 EOF`.
const LOCKS: &str = "/proc/locks";

/// The process that has a data directory.
pub(super) fn holder(directory: &Path) -> Holder {
    let inode = fs::metadata(directory.join(LOCK)).map(|file| file.ino());
    let Ok(inode) = inode else { return Holder::default() };
    let table = fs::read_to_string(LOCKS).unwrap_or_default();
    let process = process_that_locks(&table, inode);
    let name = process.and_then(|id| fs::read_to_string(format!("/proc/{id}/comm")).ok());
    Holder { process, program: name.map(|name| name.trim_end().to_owned()) }
}

/// The process that has locked the file with this inode.
fn process_that_locks(table: &str, inode: u64) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (kind, process, file) = (words.next()?, words.nth(2)?, words.next()?);
        let same = file.rsplit(':').next()?.parse() == Ok(inode);
        (kind == "FLOCK" && same).then(|| process.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_locks_is_read() {
        let table = "1: POSIX  ADVISORY  WRITE 7 08:01:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 08:01:12 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 08:01:12 0 EOF\n3: FLOCK  ADVISORY  WRITE -1 08:01:13 0 EOF\n";
        assert_eq!(process_that_locks(table, 12), Some(4_711));
        assert_eq!(process_that_locks(table, 13), None);
        assert_eq!(process_that_locks(table, 14), None);
        assert_eq!(process_that_locks("", 12), None);
    }
}
