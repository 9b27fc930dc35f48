//! `Will`: what is published when a client goes without a proper farewell.
//!
//! ```text
//! flags (1) | topic | payload | properties | delay interval (4) | expiry interval (optional, 4) | fires at (optional)
//! flags: bits 0-1 QoS, 2 RETAIN
//! ```

use bytes::Bytes;

use crate::mqtt::QoS;
use crate::mqtt::TopicName;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

const RETAIN: u8 = 1 << 2;

/// A Will Message and when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillRow {
    /// The Will Topic.
    pub topic: TopicName,
    /// The Will Payload.
    pub payload: Bytes,
    /// The QoS it is published at.
    pub qos: QoS,
    /// Whether it is published as a retained message.
    pub retain: bool,
    /// The forwardable properties, as a version 5 property block without its length.
    pub properties: Bytes,
    /// Seconds from the end of the connection to the publication.
    pub delay_interval: u32,
    /// The Message Expiry Interval, in seconds from the publication.
    pub expiry_interval: Option<u32>,
    /// When it is due; `None` while the connection lasts.
    pub fires_at: Option<Timestamp>,
}

impl WillRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.qos as u8 | if self.retain { RETAIN } else { 0 });
        out.put_bytes(self.topic.as_bytes());
        out.put_bytes(&self.payload);
        out.put_bytes(&self.properties);
        out.put_u32(self.delay_interval);
        out.put_option(self.expiry_interval, Vec::put_u32);
        out.put_option(self.fires_at, Vec::put_timestamp);
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let flags = input.u8().filter(|flags| flags & !(3 | RETAIN) == 0)?;
        Some(Self {
            topic: TopicName::try_from(std::str::from_utf8(input.bytes()?).ok()?).ok()?,
            payload: Bytes::copy_from_slice(input.bytes()?),
            qos: QoS::try_from(flags & 3).ok()?,
            retain: flags & RETAIN != 0,
            properties: Bytes::copy_from_slice(input.bytes()?),
            delay_interval: input.u32()?,
            expiry_interval: input.option(Decoder::u32)?,
            fires_at: input.option(Decoder::timestamp)?,
        })
    }
}
