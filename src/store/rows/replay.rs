//! A replay, in the span of the subscription that asked for it: how far it has come, and where it ends.
//!
//! ```text
//! flags (1) | start | position | not before (optional) | until (optional) | ends at (optional) | left (optional) | last (optional) | speed (optional)
//! flags: bit 0 live
//! ```

use std::num::NonZeroU32;

use crate::commitlog::Offset;
use crate::mqtt::Text;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

const LIVE: u8 = 1;

/// How far a replay has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRow {
    /// The start as the client wrote it: a SUBSCRIBE with the same one goes on.
    pub start: Text,
    /// Whether it has caught up: the span is an ordinary one from then on.
    pub live: bool,
    /// Every message below had its turn. While `last` is there: nothing from here on is looked for backwards.
    pub position: Offset,
    /// Messages from before this moment are left out.
    pub not_before: Option<Timestamp>,
    /// The first offset that is left out; the replay ends there and does not become live.
    pub until: Option<Offset>,
    /// The replay ends before the first message of this moment or later.
    pub ends_at: Option<Timestamp>,
    /// How many messages it gives at most until it ends.
    pub left: Option<u64>,
    /// It begins so many messages before `position`; they are still to be looked for.
    pub last: Option<NonZeroU32>,
    /// How many times as fast as they were published the messages come; `None`: as fast as the client takes them.
    pub speed: Option<NonZeroU32>,
}

impl ReplayRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(if self.live { LIVE } else { 0 });
        out.put_bytes(self.start.as_bytes());
        out.put_offset(self.position);
        out.put_option(self.not_before, Vec::put_timestamp);
        out.put_option(self.until, Vec::put_offset);
        out.put_option(self.ends_at, Vec::put_timestamp);
        out.put_option(self.left, Vec::put_varint);
        out.put_option(self.last, |out, last| out.put_varint(u64::from(last.get())));
        out.put_option(self.speed, |out, speed| out.put_varint(u64::from(speed.get())));
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let flags = input.u8().filter(|flags| flags & !LIVE == 0)?;
        Some(Self {
            start: input.text()?,
            live: flags & LIVE != 0,
            position: input.offset()?,
            not_before: input.option(Decoder::timestamp)?,
            until: input.option(Decoder::offset)?,
            ends_at: input.option(Decoder::timestamp)?,
            left: input.option(Decoder::varint)?,
            last: input.option(count)?,
            speed: input.option(count)?,
        })
    }
}

fn count(input: &mut Decoder<'_>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(input.varint()?).ok()?)
}
