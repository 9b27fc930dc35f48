//! `Group`: how far a shared group has given its messages to members, and what it was declared with, if it was.
//!
//! ```text
//! position | count of returned messages, each as its distance to the one before | in layout 2 the declaration
//! declaration: start | flags (1) | not before (optional) | last-N still to be looked for (optional)
//! flags: bits 0-3 strategy, 4 manual commit
//! ```

use std::num::NonZeroU32;

use crate::commitlog::Offset;
use crate::mqtt::Text;
use crate::session::Commit;
use crate::session::Strategy;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

const STRATEGY: u8 = 0x0f;
const MANUAL: u8 = 1 << 4;

/// The name of a shared group: members of one share name and one filter get each message once between them [MQTT-4.8.2-4].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The `ShareName`.
    pub share: Text,
    /// The topic filter behind it, without prefixes.
    pub filter: Text,
}

impl GroupKey {
    /// The text of a subscription to it.
    pub fn text(&self) -> String {
        format!("$share/{}/{}", self.share, self.filter)
    }
}

/// How far a shared group has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRow {
    /// Every message below is assigned, but for those in `returned`.
    pub position: Offset,
    /// Messages below `position` that wait for another member because the session they were given to ended, or because they were not
    /// committed; in offset order, each once.
    pub returned: Vec<Offset>,
    /// What a durable group was declared with; without it the group ends with its last member.
    pub declared: Option<Box<Declared>>,
}

/// What a durable group was declared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Where it began, in the words of who declared it.
    pub start: Text,
    /// Who gets the next message.
    pub strategy: Strategy,
    /// What ends a delivery.
    pub commit: Commit,
    /// Older messages are passed over.
    pub not_before: Option<Timestamp>,
    /// It begins so many messages before `position`, which are still to be looked for.
    pub last: Option<NonZeroU32>,
}

impl GroupRow {
    /// A group of its members' lifetime that begins at a place.
    pub fn at(position: Offset) -> Self {
        Self { position, returned: Vec::new(), declared: None }
    }

    /// Adds a message that came back.
    pub fn give_back(&mut self, message: Offset) {
        if let Err(index) = self.returned.binary_search(&message) {
            self.returned.insert(index, message);
        }
    }

    /// Notes that a message was given to a member.
    pub(in crate::store) fn assign(&mut self, message: Offset) {
        self.position = self.position.max(message.next());
        if let Ok(index) = self.returned.binary_search(&message) {
            self.returned.remove(index);
        }
    }

    /// Brings `returned` into its order.
    pub(in crate::store) fn normalize(&mut self) {
        self.returned.sort_unstable();
        self.returned.dedup();
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.position);
        out.put_varint(self.returned.len() as u64);
        let mut last = Offset::ZERO;
        for message in &self.returned {
            out.put_varint(message.since(last));
            last = *message;
        }
        if let Some(declared) = &self.declared {
            declared.encode(out);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let position = input.offset()?;
        let count = input.varint()?;
        let mut last = Offset::ZERO;
        let returned = (0..count).map(|_| {
            last = last.checked_add(input.varint()?)?;
            Some(last)
        });
        Some(Self { position, returned: returned.collect::<Option<Vec<_>>>()?, declared: None })
    }

    pub(super) fn decode_declared(input: &mut Decoder<'_>) -> Option<Self> {
        let row = Self::decode(input)?;
        Some(Self { declared: Some(Box::new(Declared::decode(input)?)), ..row })
    }
}

impl Declared {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.start.as_bytes());
        let manual = if self.commit == Commit::Manual { MANUAL } else { 0 };
        out.put_u8(self.strategy.as_u8() | manual);
        out.put_option(self.not_before, Vec::put_timestamp);
        out.put_option(self.last, |out, last| out.put_varint(u64::from(last.get())));
    }

    fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let start = input.text()?;
        let flags = input.u8()?;
        let last = |input: &mut Decoder<'_>| NonZeroU32::new(u32::try_from(input.varint()?).ok()?);
        Some(Self {
            start,
            strategy: Strategy::from_u8(flags & STRATEGY)?,
            commit: if flags & MANUAL == 0 { Commit::Ack } else { Commit::Manual },
            not_before: input.option(Decoder::timestamp)?,
            last: input.option(last)?,
        })
    }
}
