//! A record, as it is appended and as it is read.

use bytes::Bytes;

use crate::commitlog::Offset;
use crate::time::Timestamp;

/// What is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the record means: its writer's business.
    pub kind: u8,
    /// Whether [`Log::read`](crate::commitlog::Log::read) finds it by its key (messages), or only a replay (state).
    pub indexed: bool,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What readers select by: a message's topic, a state's name.
    pub key: &'a [u8],
    /// The rest.
    pub value: &'a [u8],
}

/// A record that was read. Those of one read share memory of their own; those of a replay or a peek share that of their
/// batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its number.
    pub offset: Offset,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What it means: its writer's business.
    pub kind: u8,
    /// Key and value, one after the other.
    pub(super) bytes: Bytes,
    pub(super) key_len: usize,
}

impl StoredRecord {
    /// What readers select by.
    pub fn key(&self) -> &[u8] {
        self.bytes.get(..self.key_len).unwrap_or_default()
    }

    /// The rest.
    pub fn value(&self) -> &[u8] {
        self.bytes.get(self.key_len..).unwrap_or_default()
    }

    /// The key, sharing the record's memory.
    pub fn shared_key(&self) -> Bytes {
        self.bytes.slice(..self.key_len)
    }

    /// The value, sharing the record's memory.
    pub fn shared_value(&self) -> Bytes {
        self.bytes.slice(self.key_len..)
    }

    /// The same in memory of its own.
    pub(super) fn detached(self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self }
    }

    /// The bytes of key and value together.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}
