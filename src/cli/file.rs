//! The files that a user names on the command line: a message, certificates.

#![expect(clippy::disallowed_types, reason = "a user's own files are no part of the log")]

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Failure;

/// Reads the whole file, at most `bytes_max` of it.
///
/// # Errors
/// Fails if it can't be read or is longer.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::failed(format!("can't read {}: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(Failure::failed(format!(
            "{} is longer than {bytes_max} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}
