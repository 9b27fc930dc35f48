//! What is wrong in a file, and where.

use std::fmt;

use crate::commitlog::Offset;

/// Bytes of a segment that can't be trusted, and the records that are lost with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the data directory.
    pub file: Box<str>,
    /// The first byte that is wrong.
    pub position: u64,
    /// How many bytes are skipped.
    pub bytes: u64,
    /// The first offset that is missing.
    pub from: Offset,
    /// The first offset after the hole; the same as `from` when no record is missing.
    pub to: Offset,
    /// What is wrong there.
    pub what: Fault,
    /// Whether records are missing that had been synced, and so may have been acknowledged under
    /// [`Durability::Fsync`](crate::commitlog::Durability::Fsync).
    pub synced: bool,
}

/// What is wrong with damaged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The segment's header is not one.
    SegmentHeader,
    /// No batch begins where one should.
    BatchHeader,
    /// A batch whose checksum differs.
    Checksum,
    /// A batch with a sound checksum whose records can't be read.
    Records,
    /// A sound batch that does not belong here: other log, or offsets that do not follow.
    Stray,
    /// Records are missing between two segments: a file is gone or cut.
    Missing,
    /// An index that differs from its segment, or is not one; it is made again from the segment.
    Index,
    /// The file that names format and log id.
    FormatFile,
    /// A codec that this version does not know.
    Codec,
}

impl Fault {
    /// As it stands in an index file.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::SegmentHeader => 1,
            Self::BatchHeader => 2,
            Self::Checksum => 3,
            Self::Records => 4,
            Self::Stray => 5,
            Self::Missing => 6,
            Self::Index => 7,
            Self::FormatFile => 8,
            Self::Codec => 9,
        }
    }

    /// From an index file; what is unknown is a broken batch.
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::SegmentHeader,
            3 => Self::Checksum,
            4 => Self::Records,
            5 => Self::Stray,
            6 => Self::Missing,
            7 => Self::Index,
            8 => Self::FormatFile,
            9 => Self::Codec,
            _ => Self::BatchHeader,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::SegmentHeader => "broken segment header",
            Self::BatchHeader => "broken batch header",
            Self::Checksum => "checksum differs",
            Self::Records => "unreadable records",
            Self::Stray => "batch from elsewhere",
            Self::Missing => "missing records",
            Self::Index => "broken index",
            Self::FormatFile => "broken format file",
            Self::Codec => "unknown codec",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}: {} ({} bytes",
            self.file,
            self.position,
            self.what.as_str(),
            self.bytes
        )?;
        if self.from < self.to {
            write!(f, ", offsets {} to {} missing", self.from, Offset::new(self.to.as_u64() - 1))?;
        }
        f.write_str(")")
    }
}
