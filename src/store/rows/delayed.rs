//! `Delayed`: a message that is kept back until it is due. It becomes a message by a record of its own, in one batch with
//! the tombstone of this row; nobody receives this one.
//!
//! ```text
//! flags (1) | timestamp | due at | topic | the value of a message record, to the end
//! flags: bit 0 due at an instant of the clock
//! ```

use bytes::Bytes;

use crate::commitlog::Offset;
use crate::mqtt::TopicName;
use crate::store::Delayed;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

const INSTANT: u8 = 1;

/// When a message is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The moment.
    pub at: Timestamp,
    /// Whether the publisher named an instant. If not, it named a length of time: what of it does not count because of a jump of the
    /// clock comes on top ([`ClockRow::forgiven_since`](crate::store::ClockRow::forgiven_since)).
    pub instant: bool,
}

/// A message that is kept back. Its name is the offset of its first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedRow {
    /// When it was published.
    pub timestamp: Timestamp,
    /// When it is due.
    pub due: Due,
    /// The Topic Name that it will have.
    pub topic: TopicName,
    /// The value of its message record, verbatim.
    pub message: Bytes,
}

impl DelayedRow {
    /// What is in memory of it when this row's record has this offset.
    pub(in crate::store) fn place(self, offset: Offset) -> Delayed {
        Delayed { offset, timestamp: self.timestamp, due: self.due, topic: self.topic }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode_front(self.timestamp, self.due, &self.topic, out);
        out.put_raw(&self.message);
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let (timestamp, due, topic) = decode_front(input)?;
        let topic = TopicName::try_from(topic).ok()?;
        let message = input.raw(input.rest().len())?;
        Some(Self { timestamp, due, topic, message: Bytes::copy_from_slice(message) })
    }
}

/// Appends what comes before the message.
pub(in crate::store) fn encode_front(
    timestamp: Timestamp,
    due: Due,
    topic: &str,
    out: &mut Vec<u8>,
) {
    out.put_u8(if due.instant { INSTANT } else { 0 });
    out.put_timestamp(timestamp);
    out.put_timestamp(due.at);
    out.put_bytes(topic.as_bytes());
}

/// Takes what comes before the message: when it was published, when it is due, its topic.
pub(in crate::store) fn decode_front<'a>(
    input: &mut Decoder<'a>,
) -> Option<(Timestamp, Due, &'a str)> {
    let flags = input.u8().filter(|flags| flags & !INSTANT == 0)?;
    let timestamp = input.timestamp()?;
    let due = Due { at: input.timestamp()?, instant: flags & INSTANT != 0 };
    Some((timestamp, due, std::str::from_utf8(input.bytes()?).ok()?))
}
