//! What a log can be told about sizes and ages.

use std::time::Duration;

/// Sizes and ages of one log. Every value is brought into its range when the log is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment is sealed once its file has this many bytes (4 KiB to 1 GiB; default 64 MiB).
    pub segment_bytes: u64,
    /// A segment is sealed once it holds this many records (default 1,000,000): bounds the index in memory.
    pub segment_records_max: u32,
    /// A batch is sealed once it has this many bytes (256 B to 64 MiB; default 4 MiB).
    pub batch_bytes_max: usize,
    /// The largest record, key and value together (default 256 MiB and 128 KiB; at most 512 MiB).
    pub record_bytes_max: usize,
    /// How many durable bytes stay in memory for readers that keep up (default 64 MiB).
    pub tail_bytes_max: usize,
    /// How many bytes of loaded indexes a reader keeps (default 64 MiB); one is always kept.
    pub index_cache_bytes_max: usize,
    /// Whether segment files get their blocks ahead of time: halves the time of a sync (default yes).
    pub preallocate: bool,
    /// Bytes of disk that are set aside, and given back when the disk is full (default: none).
    pub reserve_bytes: u64,
    /// Sealed segments whose newest record is older may go (default: kept for ever).
    pub retention_age: Option<Duration>,
    /// The oldest sealed segments may go while the log is larger (default: no limit).
    pub retention_bytes: Option<u64>,
    /// Written into every batch of a log that is made new: what no publisher can guess, so that bytes inside
    /// a payload never pass for a batch. The server draws it; an existing log keeps its own.
    pub new_log_id: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_records_max: 1_000_000,
            batch_bytes_max: 4 << 20,
            record_bytes_max: (256 << 20) + (128 << 10),
            tail_bytes_max: 64 << 20,
            index_cache_bytes_max: 64 << 20,
            preallocate: true,
            reserve_bytes: 0,
            retention_age: None,
            retention_bytes: None,
            new_log_id: 0x7469_6465_6c6f_6721,
        }
    }
}

impl Options {
    /// The same with every value brought into its range.
    #[must_use]
    pub(super) fn clamped(mut self) -> Self {
        self.segment_bytes = self.segment_bytes.clamp(4 << 10, 1 << 30);
        self.segment_records_max = self.segment_records_max.max(1);
        self.batch_bytes_max = self.batch_bytes_max.clamp(256, 64 << 20);
        self.record_bytes_max = self.record_bytes_max.min(512 << 20);
        self
    }
}
