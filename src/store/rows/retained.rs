//! `Retained`: a retained message, copied forward before the part of the log that holds it is deleted.
//!
//! ```text
//! message offset | message timestamp | the value of the message's record, to the end
//! ```

use bytes::Bytes;

use crate::commitlog::Offset;
use crate::mqtt::TopicName;
use crate::store::MessageView;
use crate::store::Retained;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

/// A retained message's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedRow {
    /// The offset it was published at.
    pub message_offset: Offset,
    /// When it was published.
    pub timestamp: Timestamp,
    /// The value of its message record, verbatim.
    pub message: Bytes,
}

impl RetainedRow {
    /// Where the retained message is when this row's record has this offset; `None` if the copy is no message.
    pub(in crate::store) fn place(&self, topic: &TopicName, offset: Offset) -> Option<Retained> {
        let message = MessageView::decode(
            self.message_offset,
            self.timestamp,
            topic.as_bytes(),
            &self.message,
        )?;
        Some(Retained {
            offset,
            message_offset: self.message_offset,
            timestamp: self.timestamp,
            expires_at: message.expires_at(),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.message_offset);
        out.put_timestamp(self.timestamp);
        out.put_raw(&self.message);
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let message_offset = input.offset()?;
        let timestamp = input.timestamp()?;
        let message = input.raw(input.rest().len())?;
        Some(Self { message_offset, timestamp, message: Bytes::copy_from_slice(message) })
    }
}
