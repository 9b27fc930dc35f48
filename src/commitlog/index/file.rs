//! The index of a sealed segment, as bytes.
//!
//! ```text
//!  header of 96 bytes (checksum of its own) | batch table | damage table | dictionary
//!  dictionary: (key length, key, count, bytes of the list, ordinals as differences) for each key, ascending
//! ```

use std::ops::Range;

use bytes::Bytes;

use crate::commitlog::Damage;
use crate::commitlog::Fault;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::batch::Fields;
use crate::commitlog::index::BatchEntry;
use crate::commitlog::index::MemoryIndex;
use crate::commitlog::varint;
use crate::time::Timestamp;

const MAGIC: [u8; 8] = *b"TIDEIDX1";
pub(in crate::commitlog) const HEADER_BYTES: usize = 96;
const VERSION: u32 = 1;
const BATCH_BYTES: usize = 32;
const DAMAGE_BYTES: usize = 40;
/// One record of so many is enough to read them all one after the other.
const DENSE_FRACTION: u64 = 16;
/// So few records are looked up in any case.
const DENSE_RECORDS: u64 = 16;

/// What the header of an index says of its segment: all that opening a log needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commitlog) struct Summary {
    pub(in crate::commitlog) log_id: u64,
    pub(in crate::commitlog) base_offset: Offset,
    pub(in crate::commitlog) next_offset: Offset,
    /// The segment's bytes that are in use.
    pub(in crate::commitlog) segment_bytes: u64,
    pub(in crate::commitlog) max_timestamp: Timestamp,
    pub(in crate::commitlog) records: u64,
    batches: u32,
    keys: u32,
    pub(in crate::commitlog) damaged: u32,
    body_bytes: u64,
    body_checksum: u32,
    /// How often the segment had been cleaned.
    pub(in crate::commitlog) generation: u32,
}

impl Summary {
    /// Reads the first bytes of an index file; `None` if they are not sound.
    pub(in crate::commitlog) fn decode(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let fields = Fields(header);
        let sound = header.starts_with(&MAGIC)
            && fields.int(8) == crc32c::crc32c(header.get(12..)?)
            && fields.int(12) == VERSION;
        sound.then(|| Self {
            log_id: fields.long(16),
            base_offset: Offset::new(fields.long(24)),
            next_offset: Offset::new(fields.long(32)),
            segment_bytes: fields.long(40),
            max_timestamp: Timestamp::from_micros(fields.long(48)),
            records: fields.long(56),
            batches: fields.int(64),
            keys: fields.int(68),
            damaged: fields.int(72),
            body_checksum: fields.int(76),
            body_bytes: fields.long(80),
            generation: fields.int(88),
        })
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&VERSION.to_le_bytes());
        for number in [
            self.log_id,
            self.base_offset.as_u64(),
            self.next_offset.as_u64(),
            self.segment_bytes,
            self.max_timestamp.as_micros(),
            self.records,
        ] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        fields.extend_from_slice(&self.batches.to_le_bytes());
        fields.extend_from_slice(&self.keys.to_le_bytes());
        fields.extend_from_slice(&self.damaged.to_le_bytes());
        fields.extend_from_slice(&self.body_checksum.to_le_bytes());
        fields.extend_from_slice(&self.body_bytes.to_le_bytes());
        fields.extend_from_slice(&self.generation.to_le_bytes());
        fields.resize(HEADER_BYTES - 12, 0);
        let mut header = [0; HEADER_BYTES];
        let whole = MAGIC.into_iter().chain(crc32c::crc32c(&fields).to_le_bytes()).chain(fields);
        header.iter_mut().zip(whole).for_each(|(target, byte)| *target = byte);
        header
    }

    /// The size of the whole index file.
    pub(in crate::commitlog) fn file_bytes(&self) -> u64 {
        self.body_bytes.saturating_add(HEADER_BYTES as u64)
    }
}

/// The bytes of the index file of a segment that was cleaned `generation` times.
pub(in crate::commitlog) fn encode(
    log_id: u64,
    (base_offset, generation): (Offset, u32),
    next_offset: Offset,
    segment_bytes: u64,
    index: &MemoryIndex,
    damage: &[Damage],
) -> Vec<u8> {
    let mut body = Vec::new();
    for batch in index.batches() {
        encode_batch(batch, &mut body);
    }
    for damage in damage {
        encode_damage(damage, &mut body);
    }
    encode_dictionary(index, &mut body);
    let max = index.batches().iter().map(|batch| batch.max_timestamp).max();
    let summary = Summary {
        log_id,
        base_offset,
        next_offset,
        segment_bytes,
        max_timestamp: max.unwrap_or_default(),
        records: u64::from(index.len()),
        batches: u32::try_from(index.batches().len()).unwrap_or(u32::MAX),
        keys: u32::try_from(index.keys().len()).unwrap_or(u32::MAX),
        damaged: u32::try_from(damage.len()).unwrap_or(u32::MAX),
        body_bytes: body.len() as u64,
        body_checksum: crc32c::crc32c(&body),
        generation,
    };
    let mut whole = summary.encode().to_vec();
    whole.append(&mut body);
    whole
}

fn encode_batch(batch: &BatchEntry, body: &mut Vec<u8>) {
    body.extend_from_slice(&batch.position.to_le_bytes());
    body.extend_from_slice(&batch.length.to_le_bytes());
    body.extend_from_slice(&batch.base_offset.as_u64().to_le_bytes());
    body.extend_from_slice(&batch.span.to_le_bytes());
    body.extend_from_slice(&batch.count.to_le_bytes());
    body.extend_from_slice(&batch.max_timestamp.as_micros().to_le_bytes());
}

fn decode_batch(bytes: &[u8], first_ordinal: u32) -> BatchEntry {
    let fields = Fields(bytes);
    BatchEntry {
        position: fields.int(0),
        length: fields.int(4),
        base_offset: Offset::new(fields.long(8)),
        span: fields.int(16),
        count: fields.int(20),
        first_ordinal,
        max_timestamp: Timestamp::from_micros(fields.long(24)),
    }
}

fn encode_damage(damage: &Damage, body: &mut Vec<u8>) {
    for number in [damage.position, damage.bytes, damage.from.as_u64(), damage.to.as_u64()] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&[damage.what.code(), u8::from(damage.synced), 0, 0, 0, 0, 0, 0]);
}

fn decode_damage(bytes: &[u8], file: &str) -> Damage {
    let fields = Fields(bytes);
    Damage {
        file: file.into(),
        position: fields.long(0),
        bytes: fields.long(8),
        from: Offset::new(fields.long(16)),
        to: Offset::new(fields.long(24)),
        what: Fault::from_code(fields.byte(32)),
        synced: fields.byte(33) != 0,
    }
}

fn encode_dictionary(index: &MemoryIndex, body: &mut Vec<u8>) {
    let mut keys: Vec<_> = index.keys().iter().collect();
    keys.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let mut list = Vec::new();
    for key in keys {
        list.clear();
        let mut before = 0;
        for ordinal in &key.postings {
            varint::put(&mut list, u64::from(ordinal - before));
            before = *ordinal;
        }
        varint::put(body, key.name.len() as u64);
        body.extend_from_slice(&key.name);
        varint::put(body, key.postings.len() as u64);
        varint::put(body, list.len() as u64);
        body.extend_from_slice(&list);
    }
}

/// A whole, sound index.
#[derive(Clone, Debug)]
pub(in crate::commitlog) struct FileIndex {
    pub(in crate::commitlog) summary: Summary,
    batches: Vec<BatchEntry>,
    pub(in crate::commitlog) damage: Vec<Damage>,
    dictionary: Bytes,
}

impl FileIndex {
    /// Reads an index; `None` if it is not sound in every byte. `segment` is the name of the file it speaks of.
    pub(in crate::commitlog) fn decode(bytes: &Bytes, segment: &str) -> Option<Self> {
        let summary = Summary::decode(bytes)?;
        let body = bytes.slice(HEADER_BYTES..);
        if body.len() as u64 != summary.body_bytes || crc32c::crc32c(&body) != summary.body_checksum
        {
            return None;
        }
        let table = (summary.batches as usize).checked_mul(BATCH_BYTES)?;
        let damage_end =
            (summary.damaged as usize).checked_mul(DAMAGE_BYTES)?.checked_add(table)?;
        let mut first_ordinal = 0_u32;
        let mut batches = Vec::new();
        for bytes in body.get(..table)?.chunks_exact(BATCH_BYTES) {
            let batch = decode_batch(bytes, first_ordinal);
            first_ordinal = first_ordinal.checked_add(batch.count)?;
            batches.push(batch);
        }
        let damage = body.get(table..damage_end)?.chunks_exact(DAMAGE_BYTES);
        let damage = damage.map(|bytes| decode_damage(bytes, segment)).collect();
        let dictionary = body.slice(damage_end..);
        Some(Self { summary, batches, damage, dictionary })
    }

    pub(in crate::commitlog) fn batches(&self) -> &[BatchEntry] {
        &self.batches
    }

    /// Bytes of memory.
    pub(in crate::commitlog) fn size_bytes(&self) -> usize {
        self.dictionary.len() + self.batches.len() * size_of::<BatchEntry>()
    }

    /// The ordinals in `from..to` whose key matches, ascending; `None` if so many records match that reading
    /// them one after the other is cheaper than looking them up. Every key is asked once at most.
    pub(in crate::commitlog) fn select(
        &self,
        from: u32,
        to: u32,
        matcher: &dyn KeyMatcher,
    ) -> Option<Vec<u32>> {
        let lists = self.lists(matcher)?;
        let mut found = Vec::new();
        for mut list in lists.iter().copied() {
            let mut ordinal = 0_u32;
            while let Some(step) = varint::take(&mut list) {
                ordinal = ordinal.saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
                if ordinal >= to {
                    break;
                }
                if ordinal >= from {
                    found.push(ordinal);
                }
            }
        }
        if lists.len() > 1 {
            found.sort_unstable();
        }
        Some(found)
    }

    /// The keys, ascending, of the records whose ordinal is in one of these ranges.
    pub(in crate::commitlog) fn keys_of(&self, ordinals: &[Range<u32>]) -> Vec<Bytes> {
        let mut found = Vec::new();
        let mut rest = self.dictionary.as_ref();
        for _ in 0..self.summary.keys {
            let Some((key, _, mut list)) = take_key(&mut rest) else { break };
            let mut ordinal = 0_u32;
            while let Some(step) = varint::take(&mut list) {
                ordinal = ordinal.saturating_add(u32::try_from(step).unwrap_or(u32::MAX));
                if ordinals.iter().any(|range| range.contains(&ordinal)) {
                    found.push(self.dictionary.slice_ref(key));
                    break;
                }
            }
        }
        found
    }

    /// The posting lists of the keys that match, unless they hold too many records.
    fn lists(&self, matcher: &dyn KeyMatcher) -> Option<Vec<&[u8]>> {
        let mut left = (self.summary.records / DENSE_FRACTION).max(DENSE_RECORDS);
        let mut lists = Vec::new();
        let mut rest = self.dictionary.as_ref();
        for _ in 0..self.summary.keys {
            let Some((key, count, list)) = take_key(&mut rest) else { break };
            if matcher.matches(key) {
                left = left.checked_sub(count)?;
                lists.push(list);
            }
        }
        Some(lists)
    }
}

/// Takes a key, the number of its records and its posting list off the front of a dictionary.
fn take_key<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], u64, &'a [u8])> {
    let len = varint::take_len(rest)?;
    let (key, after) = rest.split_at_checked(len)?;
    *rest = after;
    let count = varint::take(rest)?;
    let len = varint::take_len(rest)?;
    let (list, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some((key, count, list))
}
