//! `Progress`: how far the client has acknowledged its session's stream of deliveries.
//!
//! ```text
//! position | number | sent limit | runs done | acked | received | run (optional: filter, topic)
//! a set of numbers: first word | count of words | words (8 each), a bit for each number
//! ```

use crate::commitlog::Offset;
use crate::mqtt::Text;
use crate::store::NumberSet;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// How far a session's client has come. May lag behind what it did, never leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressRow {
    /// Every delivery with a lower place is acknowledged.
    pub position: Offset,
    /// The delivery number of the first one at or above `position`.
    pub number: u64,
    /// Numbers from `number` on that are acknowledged.
    pub acked: NumberSet,
    /// Numbers from `number` on of which PUBREC came, and PUBCOMP did not.
    pub received: NumberSet,
    /// No number at or above it was ever sent.
    pub sent_limit: u64,
    /// The run of retained messages under way: the filter, and the last topic that was assigned.
    pub run: Option<Box<(Text, Text)>>,
    /// Every run with a lower place is done.
    pub runs_done: Offset,
}

impl ProgressRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.position);
        out.put_varint(self.number);
        out.put_varint(self.sent_limit);
        out.put_offset(self.runs_done);
        self.acked.encode(out);
        self.received.encode(out);
        out.put_option(self.run.as_deref(), |out, (filter, topic)| {
            out.put_bytes(filter.as_bytes());
            out.put_bytes(topic.as_bytes());
        });
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            position: input.offset()?,
            number: input.varint()?,
            sent_limit: input.varint()?,
            runs_done: input.offset()?,
            acked: NumberSet::decode(input)?,
            received: NumberSet::decode(input)?,
            run: input.option(|input| Some(Box::new((input.text()?, input.text()?))))?,
        })
    }
}
