//! The file `format`: the version of all files in the directory, and the log's id.
//!
//! Four lines of text, the last a checksum of the others; see `docs/format.md`. Every segment's header says the same again,
//! so the file can be lost.

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StorageError;
use crate::commitlog::directory;
use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::segment;
use crate::commitlog::segment::SegmentHeader;

const NAME: &str = "format";
const NEW_NAME: &str = "format.tmp";
/// The file is much smaller than this.
const BYTES_MAX: usize = 4096;

/// What is known of a directory's format.
#[derive(Debug, Default)]
pub(super) struct Format {
    /// The log's id; `None` if there is no log yet.
    pub(super) log_id: Option<u64>,
    /// The file is there but not sound, or missing beside segments.
    pub(super) damage: Option<Damage>,
}

/// Reads the format of a directory, from the file or else from the segments.
pub(super) fn read(disk: &dyn Disk, bases: &[Offset]) -> Result<Format, LogError> {
    let file = directory::open(disk, NAME)?;
    let bytes = match &file {
        Some(file) => directory::head(file.as_ref(), NAME, BYTES_MAX)?,
        None => Vec::new(),
    };
    if let Some((version, log_id)) = decode(&bytes) {
        check_version(disk, version)?;
        return Ok(Format { log_id: Some(log_id), damage: None });
    }
    let mut log_id = None;
    for base in bases {
        log_id = log_id.or(header_of(disk, *base)?.map(|header| header.log_id));
    }
    for base in bases {
        log_id = match log_id {
            Some(_) => log_id,
            None => log_id_of_batches(disk, *base)?,
        };
    }
    let broken = file.is_some() || !bases.is_empty();
    Ok(Format { log_id, damage: broken.then(|| damage(bytes.len() as u64)) })
}

/// The header of a segment, if it is sound and in its place.
///
/// # Errors
/// [`LogError::NewerFormat`] if a newer version wrote it.
pub(super) fn header_of(disk: &dyn Disk, base: Offset) -> Result<Option<SegmentHeader>, LogError> {
    let name = segment::file_name(base);
    let Some(file) = directory::open(disk, &name)? else { return Ok(None) };
    let bytes = directory::head(file.as_ref(), &name, segment::HEADER_BYTES)?;
    let header = SegmentHeader::decode(&bytes);
    if let Some(header) = &header {
        check_version(disk, header.version)?;
    }
    Ok(header.filter(|header| header.base_offset == base))
}

/// The log id of the first sound batch of a segment.
fn log_id_of_batches(disk: &dyn Disk, base: Offset) -> Result<Option<u64>, LogError> {
    let name = segment::file_name(base);
    let Some(file) = directory::open(disk, &name)? else { return Ok(None) };
    Ok(segment::find_log_id(file.as_ref(), &name)?)
}

fn check_version(disk: &dyn Disk, found: u32) -> Result<(), LogError> {
    if found <= segment::VERSION {
        return Ok(());
    }
    Err(LogError::NewerFormat {
        directory: disk.directory().into(),
        found,
        supported: segment::VERSION,
    })
}

fn damage(bytes: u64) -> Damage {
    let (from, to) = (Offset::ZERO, Offset::ZERO);
    Damage {
        file: NAME.into(),
        position: 0,
        bytes,
        from,
        to,
        what: Fault::FormatFile,
        synced: true,
    }
}

/// Writes the file so that it is whole or absent.
pub(super) fn write(disk: &dyn Disk, log_id: u64) -> Result<(), StorageError> {
    let failed = |error| StorageError::write(NEW_NAME, 0, error);
    let file = disk.open(NEW_NAME, Access::Create).map_err(failed)?;
    file.write_at(encode(log_id).as_bytes(), 0).map_err(failed)?;
    file.sync_data().map_err(|error| StorageError::sync(NEW_NAME, 0, error))?;
    disk.rename(NEW_NAME, NAME).map_err(failed)?;
    disk.sync_dir().map_err(|error| StorageError::sync(directory::DIRECTORY, 0, error))
}

fn encode(log_id: u64) -> String {
    let text = format!("tidelog log\nformat {}\nid {log_id:016x}\n", segment::VERSION);
    let checksum = crc32c::crc32c(text.as_bytes());
    format!("{text}crc {checksum:08x}\n")
}

/// Version and log id, if the file is sound.
fn decode(bytes: &[u8]) -> Option<(u32, u64)> {
    let text = str::from_utf8(bytes).ok()?;
    let (body, checksum) = text.strip_suffix('\n')?.rsplit_once("\ncrc ")?;
    let body = text.get(..=body.len())?;
    // As text: a letter of another case is no number of ours.
    if checksum != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    let mut lines = body.lines();
    (lines.next()? == "tidelog log").then_some(())?;
    let version = lines.next()?.strip_prefix("format ")?.parse().ok()?;
    let log_id = lines.next().and_then(|line| line.strip_prefix("id ")).unwrap_or("0");
    Some((version, u64::from_str_radix(log_id, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_and_no_other_does() {
        let text = encode(0xfeed);
        assert_eq!(decode(text.as_bytes()), Some((segment::VERSION, 0xfeed)));
        for bit in 0..8 * text.len() {
            let mut broken = text.clone().into_bytes();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&broken), None, "bit {bit}");
        }
    }
}
