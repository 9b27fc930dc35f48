//! How a checkpoint stands in a state store.
//!
//! ```text
//! key                                      value
//! 0 'c'                                    the checkpoint: schema (4) | offset (8) | mark (8)
//! 0 's'                                    a checkpoint that is staged whole, and not yet carried out: the same
//! 1 kind 0 key               chunk (4)     a part of the row's value, the row's name being short
//! 1 kind 1 SHA-256 of key    chunk (4)     the same with length and name in front of the value
//! 2 number (4)                             staged changes, for each: 0 or 1 | length of key, key | length of value, value
//! ```
//!
//! Numbers in keys are big-endian, so that they sort; all others are little-endian.

use sha2::Digest;
use sha2::Sha256;

use crate::commitlog::Offset;
use crate::store::Change;
use crate::store::Kind;
use crate::store::RowKey;
use crate::store::VALUE_BYTES_MAX;
use crate::store::checkpoint::Mark;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// The layout of rows and of this file. A checkpoint with another is built anew from the log.
pub(in crate::store) const SCHEMA: u32 = 2;

/// The key of the checkpoint's own entry.
pub(super) const CURRENT: &[u8] = &[0, b'c'];

/// The key of the entry that says that what is staged is whole.
pub(super) const STAGED: &[u8] = &[0, b's'];

const ROWS: u8 = 1;
const STAGE: u8 = 2;
const PLAIN: u8 = 0;
const HASHED: u8 = 1;

/// Longer names are hashed.
const NAME_BYTES_MAX: usize = 512;

/// The bytes of a value in one entry: a staged change of it is no longer than a value may be.
const CHUNK_BYTES_MAX: usize = 3_072;

const CHUNK_NUMBER_BYTES: usize = 4;

/// What the checkpoint's own entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Meta {
    pub(in crate::store) schema: u32,
    pub(in crate::store) offset: Offset,
    pub(in crate::store) mark: Mark,
}

impl Meta {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(20);
        out.put_u32(self.schema);
        out.put_u64(self.offset.as_u64());
        out.put_u64(self.mark);
        out
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut input = Decoder::new(value);
        let meta =
            Self { schema: input.u32()?, offset: Offset::new(input.u64()?), mark: input.u64()? };
        input.finish(meta)
    }
}

/// The front of all keys of a row, and what goes in front of its value.
pub(super) fn row_prefix(key: &RowKey) -> (Vec<u8>, Vec<u8>) {
    let mut name = Vec::new();
    key.encode(&mut name);
    let mut prefix = vec![ROWS, key.kind().as_u8()];
    let mut front = Vec::new();
    if name.len() <= NAME_BYTES_MAX {
        prefix.push(PLAIN);
        prefix.extend_from_slice(&name);
    } else {
        prefix.push(HASHED);
        prefix.extend_from_slice(&Sha256::digest(&name));
        front.put_bytes(&name);
    }
    (prefix, front)
}

/// The key of one chunk of a row.
pub(super) fn chunk_key(prefix: &[u8], chunk: u32) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// The chunks of a row's value, at least one.
pub(super) fn chunks(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let empty = value.is_empty().then_some(value);
    empty.into_iter().chain(value.chunks(CHUNK_BYTES_MAX))
}

/// The prefix and chunk number in a key of a row; `None` for other entries.
pub(super) fn split_row_key(key: &[u8]) -> Option<(&[u8], u32)> {
    let (prefix, chunk) = key.split_last_chunk::<CHUNK_NUMBER_BYTES>()?;
    (prefix.first() == Some(&ROWS)).then_some((prefix, u32::from_be_bytes(*chunk)))
}

/// The row that a prefix and the joined chunks are.
pub(super) fn decode_row<'a>(prefix: &'a [u8], value: &'a [u8]) -> Option<(RowKey, &'a [u8])> {
    let mut input = Decoder::new(prefix);
    input.u8().filter(|space| *space == ROWS)?;
    let kind = Kind::from_u8(input.u8()?)?;
    match input.u8()? {
        PLAIN => Some((RowKey::decode(kind, input.rest())?, value)),
        HASHED => {
            let mut value = Decoder::new(value);
            let name =
                value.bytes().filter(|name| Sha256::digest(name).as_slice() == input.rest())?;
            Some((RowKey::decode(kind, name)?, value.rest()))
        }
        _ => None,
    }
}

/// The entry that stages the first of these changes, as many as it has room for, and the changes that are left; `None` if there
/// are none to stage.
pub(super) fn stage(number: u32, changes: &[Change]) -> Option<(Change, &[Change])> {
    let mut staged = Vec::new();
    let mut left = changes;
    while let Some(((key, value), later)) = left.split_first() {
        let before = staged.len();
        staged.put_u8(u8::from(value.is_some()));
        staged.put_bytes(key);
        staged.put_bytes(value.as_deref().unwrap_or_default());
        if before > 0 && staged.len() > VALUE_BYTES_MAX {
            staged.truncate(before);
            break;
        }
        left = later;
    }
    (!changes.is_empty()).then(|| ((stage_key(number), Some(staged)), left))
}

/// The key of staged changes.
pub(super) fn stage_key(number: u32) -> Vec<u8> {
    let mut key = vec![STAGE];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number of the staged changes with this key; `None` for other entries.
pub(super) fn staged_number(key: &[u8]) -> Option<u32> {
    let number = key.strip_prefix(&[STAGE])?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// The changes that an entry stages.
pub(super) fn unstage(value: &[u8]) -> impl Iterator<Item = Change> {
    let mut input = Decoder::new(value);
    std::iter::from_fn(move || {
        let put = input.flag()?;
        let key = input.bytes()?.to_vec();
        let value = input.bytes()?;
        Some((key, put.then(|| value.to_vec())))
    })
}
