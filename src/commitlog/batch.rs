//! A batch: what one commit makes durable. Whole or absent.
//!
//! ```text
//!  0        4        8                16       20  21  22     24                32       36       40
//!  | magic  | crc32c | log id         | length |ver|cod|flags | base offset     | count  | span   |
//!  40                48               56       60       64
//!  | first timestamp | max timestamp  |unsynced|position| records ... zeros up to a multiple of 8
//!
//!  record:  kind u8 | flags u8 | offset delta | timestamp delta | key length | value length | key | value
//! ```
//!
//! The checksum covers everything after it. Lengths and deltas are varints. `docs/format.md` has every field.

use bytes::Bytes;

use crate::commitlog::Fault;
use crate::commitlog::Offset;
use crate::commitlog::Record;
use crate::commitlog::StoredRecord;
use crate::commitlog::index::BatchEntry;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::varint;
use crate::mutant::Mutant;
use crate::time::Timestamp;

use std::sync::Arc;

/// Every batch begins with these bytes.
pub(super) const MAGIC: [u8; 4] = *b"TLb\x01";
/// The bytes before the first record.
pub(super) const HEADER_BYTES: usize = 64;
/// Batches begin and end at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The bytes of a batch without records.
const EMPTY_BYTES: u32 = 64;
/// The version written into batches and the newest that is read.
const VERSION: u8 = 1;
/// Records are stored as they are.
const CODEC_NONE: u8 = 0;
/// The record is found by its key.
const FLAG_INDEXED: u8 = 1;

/// What the first bytes of a batch say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Bytes of header, records and padding.
    pub(super) length: u32,
    pub(super) codec: u8,
    pub(super) version: u8,
    pub(super) base_offset: Offset,
    /// How many records.
    pub(super) count: u32,
    /// How many offsets: more than records once some were cleaned away.
    pub(super) span: u32,
    pub(super) first_timestamp: Timestamp,
    pub(super) max_timestamp: Timestamp,
    /// How many offsets before the first were not yet synced when this batch was made.
    pub(super) unsynced: u32,
    /// Where in its file the batch belongs.
    pub(super) position: u32,
}

impl BatchHeader {
    pub(super) fn next_offset(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.span))
    }

    /// Below this offset all was synced when the batch was made.
    pub(super) fn synced_offset(&self) -> Offset {
        Offset::new(self.base_offset.as_u64().saturating_sub(u64::from(self.unsynced)))
    }

    /// Reads a header whose checksum is not yet known to be right.
    pub(super) fn decode(bytes: &[u8], log_id: u64) -> Result<Self, Fault> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Fault::BatchHeader)?;
        let fields = Fields(header);
        if !header.starts_with(&MAGIC) || fields.long(8) != log_id {
            return Err(Fault::BatchHeader);
        }
        let found = Self {
            length: fields.int(16),
            version: fields.byte(20),
            codec: fields.byte(21),
            base_offset: Offset::new(fields.long(24)),
            count: fields.int(32),
            span: fields.int(36),
            first_timestamp: Timestamp::from_micros(fields.long(40)),
            max_timestamp: Timestamp::from_micros(fields.long(48)),
            unsynced: fields.int(56),
            position: fields.int(60),
        };
        let length = found.length as usize;
        if length < HEADER_BYTES || !length.is_multiple_of(ALIGNMENT) || found.span < found.count {
            return Err(Fault::BatchHeader);
        }
        Ok(found)
    }

    /// Writes the header into the first bytes of a whole batch, checksum included.
    fn encode(&self, batch: &mut [u8], log_id: u64) {
        let mut fields = Vec::with_capacity(HEADER_BYTES - 8);
        fields.extend_from_slice(&log_id.to_le_bytes());
        fields.extend_from_slice(&self.length.to_le_bytes());
        fields.extend_from_slice(&[self.version, self.codec, 0, 0]);
        fields.extend_from_slice(&self.base_offset.as_u64().to_le_bytes());
        fields.extend_from_slice(&self.count.to_le_bytes());
        fields.extend_from_slice(&self.span.to_le_bytes());
        fields.extend_from_slice(&self.first_timestamp.as_micros().to_le_bytes());
        fields.extend_from_slice(&self.max_timestamp.as_micros().to_le_bytes());
        fields.extend_from_slice(&self.unsynced.to_le_bytes());
        fields.extend_from_slice(&self.position.to_le_bytes());
        if let Some(target) = batch.get_mut(8..HEADER_BYTES) {
            target.copy_from_slice(&fields);
        }
        let checksum = crc32c::crc32c(batch.get(8..).unwrap_or_default());
        if let Some((magic, rest)) = batch.split_first_chunk_mut() {
            *magic = MAGIC;
            if let Some(target) = rest.first_chunk_mut() {
                *target = checksum.to_le_bytes();
            }
        }
    }
}

/// Little-endian numbers at fixed places of a block that is long enough.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(super) fn int(&self, at: usize) -> u32 {
        self.0.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    pub(super) fn long(&self, at: usize) -> u64 {
        self.0.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A batch whose checksum is right.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) header: BatchHeader,
    pub(super) bytes: Bytes,
}

impl Batch {
    /// Checks a whole batch that was found at `position` of its file.
    pub(super) fn decode(bytes: &Bytes, log_id: u64, position: u64) -> Result<Self, Fault> {
        let header = BatchHeader::decode(bytes, log_id)?;
        let length = header.length as usize;
        if bytes.len() < length {
            return Err(Fault::BatchHeader);
        }
        let bytes = bytes.slice(..length);
        let checksum = crc32c::crc32c(bytes.get(8..).unwrap_or_default());
        if Fields(&bytes).int(4) != checksum && !Mutant::TornTailAccepted.is_active() {
            return Err(Fault::Checksum);
        }
        if u64::from(header.position) != position {
            return Err(Fault::Stray);
        }
        if header.version > VERSION || header.codec != CODEC_NONE {
            return Err(Fault::Codec);
        }
        Ok(Self { header, bytes })
    }

    /// The same in memory of its own.
    pub(super) fn detached(&self) -> Self {
        Self { header: self.header, bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// The same batch for another place of its file, or of another file of its log.
    pub(super) fn moved(&self, log_id: u64, position: u64) -> Vec<u8> {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        let mut bytes = self.bytes.to_vec();
        BatchHeader { position, ..self.header }.encode(&mut bytes, log_id);
        bytes
    }

    /// A batch that this process has made itself.
    fn sealed(bytes: Bytes, header: BatchHeader) -> Self {
        Self { header, bytes }
    }

    /// Its records in order. Ends early at one that can't be read.
    pub(super) fn records(&self) -> Records<'_> {
        Records { batch: self, position: HEADER_BYTES, left: self.header.count }
    }

    /// The record that begins at this place of the batch.
    pub(super) fn record_at(&self, position: usize) -> Option<RawRecord<'_>> {
        let record = RawRecord::decode(&self.bytes, position, &self.header)?;
        (record.offset < self.header.next_offset()).then_some(record)
    }

    /// How the index sees it.
    pub(super) fn entry(&self, first_ordinal: u32) -> BatchEntry {
        BatchEntry {
            position: self.header.position,
            length: self.header.length,
            base_offset: self.header.base_offset,
            span: self.header.span,
            count: self.header.count,
            first_ordinal,
            max_timestamp: self.header.max_timestamp,
        }
    }
}

/// A batch without records, for `span` offsets that nothing is left of.
pub(super) fn empty(
    log_id: u64,
    position: u64,
    base_offset: Offset,
    span: u32,
    timestamp: Timestamp,
) -> Vec<u8> {
    let header = BatchHeader {
        length: EMPTY_BYTES,
        codec: CODEC_NONE,
        version: VERSION,
        base_offset,
        count: 0,
        span,
        first_timestamp: timestamp,
        max_timestamp: timestamp,
        unsynced: 0,
        position: u32::try_from(position).unwrap_or(u32::MAX),
    };
    let mut bytes = vec![0; HEADER_BYTES];
    header.encode(&mut bytes, log_id);
    bytes
}

/// A record inside its batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) offset: Offset,
    pub(super) timestamp: Timestamp,
    pub(super) kind: u8,
    pub(super) indexed: bool,
    pub(super) key: &'a [u8],
    /// Where it begins in the batch.
    pub(super) position: usize,
    /// Where its key begins in the batch.
    key_position: usize,
    value_len: usize,
}

impl<'a> RawRecord<'a> {
    /// Its bytes in the batch, with all that belongs to it.
    pub(super) fn size_bytes(&self) -> usize {
        self.end() - self.position
    }

    /// The same to be appended elsewhere; `batch` is where it was read.
    pub(super) fn as_record<'b>(&'b self, batch: &'b [u8]) -> Record<'b> {
        let value = self.key_position + self.key.len();
        Record {
            kind: self.kind,
            indexed: self.indexed,
            timestamp: self.timestamp,
            key: self.key,
            value: batch.get(value..self.end()).unwrap_or_default(),
        }
    }

    fn decode(batch: &'a [u8], position: usize, header: &BatchHeader) -> Option<Self> {
        let (&[kind, flags], mut rest) = batch.get(position..)?.split_first_chunk()?;
        let offset = header.base_offset.checked_add(varint::take(&mut rest)?)?;
        let elapsed = varint::take_signed(&mut rest)?;
        let timestamp = header.first_timestamp.as_micros().wrapping_add_signed(elapsed);
        let key_len = varint::take_len(&mut rest)?;
        let value_len = varint::take_len(&mut rest)?;
        let key_position = batch.len() - rest.len();
        let key = rest.get(..key_len)?;
        rest.len().checked_sub(key_len)?.checked_sub(value_len)?;
        Some(Self {
            offset,
            timestamp: Timestamp::from_micros(timestamp),
            kind,
            indexed: flags & FLAG_INDEXED != 0,
            key,
            position,
            key_position,
            value_len,
        })
    }

    fn end(&self) -> usize {
        self.key_position + self.key.len() + self.value_len
    }

    /// The record as readers get it, sharing the batch's memory.
    pub(super) fn to_stored(self, batch: &Bytes) -> StoredRecord {
        self.with_bytes(batch.slice(self.key_position..self.end()))
    }

    /// The record as readers get it, with a copy of its bytes.
    fn to_owned_record(self, batch: &[u8]) -> StoredRecord {
        self.with_bytes(Bytes::copy_from_slice(
            batch.get(self.key_position..self.end()).unwrap_or_default(),
        ))
    }

    fn with_bytes(self, bytes: Bytes) -> StoredRecord {
        StoredRecord {
            offset: self.offset,
            timestamp: self.timestamp,
            kind: self.kind,
            bytes,
            key_len: self.key.len(),
        }
    }
}

/// The records of a batch, in order.
pub(super) struct Records<'a> {
    batch: &'a Batch,
    position: usize,
    left: u32,
}

impl Records<'_> {
    /// Whether the batch had fewer records than it says.
    pub(super) fn is_short(&self) -> bool {
        self.left > 0
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RawRecord<'a>;

    fn next(&mut self) -> Option<RawRecord<'a>> {
        if self.left == 0 {
            return None;
        }
        let record = self.batch.record_at(self.position)?;
        self.left -= 1;
        self.position = record.end();
        Some(record)
    }
}

/// The batch that takes records.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    bytes: Vec<u8>,
    base_offset: Offset,
    count: u32,
    first_timestamp: Timestamp,
    max_timestamp: Timestamp,
    /// The size of the last batch: the next will be much the same.
    capacity: usize,
}

impl OpenBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its size in bytes if it were sealed now; zero when empty.
    pub(super) fn len(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGNMENT)
    }

    pub(super) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// Begins with the record that gets `offset`; the batch is empty.
    pub(super) fn begin(&mut self, offset: Offset, timestamp: Timestamp) {
        self.base_offset = offset;
        self.first_timestamp = timestamp;
        self.max_timestamp = timestamp;
        self.bytes.reserve(self.capacity.max(HEADER_BYTES));
        self.bytes.resize(HEADER_BYTES, 0);
    }

    /// Appends a record whose value goes on in `parts`; returns where in the batch it begins.
    pub(super) fn push(&mut self, record: &Record<'_>, parts: &[&[u8]]) -> usize {
        self.push_at(u64::from(self.count), record, parts)
    }

    /// As [`OpenBatch::push`], for the record that is so many offsets after the first.
    pub(super) fn push_at(&mut self, step: u64, record: &Record<'_>, parts: &[&[u8]]) -> usize {
        let position = self.bytes.len();
        let value_len = record.value.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        let elapsed = record
            .timestamp
            .as_micros()
            .wrapping_sub(self.first_timestamp.as_micros())
            .cast_signed();
        self.bytes.extend_from_slice(&[record.kind, if record.indexed { FLAG_INDEXED } else { 0 }]);
        varint::put(&mut self.bytes, step);
        varint::put_signed(&mut self.bytes, elapsed);
        varint::put(&mut self.bytes, record.key.len() as u64);
        varint::put(&mut self.bytes, value_len as u64);
        self.bytes.extend_from_slice(record.key);
        self.bytes.extend_from_slice(record.value);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        position
    }

    /// A copy of the record that begins at this place.
    pub(super) fn record_at(&self, position: usize) -> Option<StoredRecord> {
        let record = RawRecord::decode(&self.bytes, position, &self.header(0, Offset::ZERO))?;
        Some(record.to_owned_record(&self.bytes))
    }

    /// Makes a batch of what was appended, for this place of its file, and is empty again.
    pub(super) fn seal(&mut self, log_id: u64, position: u32, synced: Offset) -> Batch {
        self.bytes.resize(self.len(), 0);
        let header = self.header(position, synced);
        self.seal_as(header, log_id)
    }

    /// As [`OpenBatch::seal`], for a batch that stands for all offsets below `next`, which were all synced.
    pub(super) fn seal_before(&mut self, next: Offset, log_id: u64, position: u32) -> Batch {
        self.bytes.resize(self.len(), 0);
        let span = u32::try_from(next.since(self.base_offset)).unwrap_or(u32::MAX);
        let header = BatchHeader { span, ..self.header(position, self.base_offset) };
        self.seal_as(header, log_id)
    }

    fn seal_as(&mut self, header: BatchHeader, log_id: u64) -> Batch {
        let mut bytes = std::mem::take(&mut self.bytes);
        header.encode(&mut bytes, log_id);
        self.capacity = bytes.len();
        self.count = 0;
        Batch::sealed(Bytes::from(bytes), header)
    }

    fn header(&self, position: u32, synced: Offset) -> BatchHeader {
        BatchHeader {
            length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
            version: VERSION,
            codec: CODEC_NONE,
            base_offset: self.base_offset,
            count: self.count,
            span: self.count,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            unsynced: u32::try_from(self.base_offset.since(synced)).unwrap_or(u32::MAX),
            position,
        }
    }
}

/// A sealed batch on its way to the writer. Cheap to clone; shares its bytes with the log's memory.
#[derive(Clone, Debug)]
pub struct PendingBatch {
    pub(super) batch: Batch,
    /// The segment it goes to.
    pub(super) segment: Offset,
    /// The segment that was sealed just before, with its index: the writer puts it into a file.
    pub(super) sealed: Option<(Offset, Arc<MemoryIndex>)>,
}

impl PendingBatch {
    /// The offset of its first record.
    pub fn base_offset(&self) -> Offset {
        self.batch.header.base_offset
    }

    /// The offset after its last record.
    pub fn next_offset(&self) -> Offset {
        self.batch.header.next_offset()
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.batch.bytes.len()
    }

    /// How many records it has.
    pub fn record_count(&self) -> u32 {
        self.batch.header.count
    }

    /// Its records of every kind, in offset order.
    pub fn records(&self) -> impl Iterator<Item = StoredRecord> + '_ {
        self.batch.records().map(|record| record.to_stored(&self.batch.bytes))
    }
}
