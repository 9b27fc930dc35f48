//! Messages: how an Application Message stands in the log.
//!
//! ```text
//! key    topic
//! value  flags (1) | length of publisher | length of properties | packet id (2, if flagged) | expiry interval (4, if flagged)
//!        | publisher | properties | payload, to the end
//! flags: bits 0-1 QoS, 2 RETAIN, 3 has a packet id, 4 has an expiry interval
//! ```
//!
//! Lengths are LEB128. The moment of publication is the record's timestamp, the expiry interval counts from it.

use std::time::Duration;

use bytes::Bytes;

use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::PacketId;
use crate::mqtt::QoS;
use crate::store::Kind;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::store::codec::VARINT_BYTES_MAX;
use crate::store::rows::LAYOUT;
use crate::store::rows::decode_front;
use crate::time::Timestamp;

const RETAIN: u8 = 1 << 2;
const PACKET_ID: u8 = 1 << 3;
const EXPIRY: u8 = 1 << 4;
const FLAGS: u8 = 3 | RETAIN | PACKET_ID | EXPIRY;

/// A message to be appended.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// The Topic Name; never empty.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published at.
    pub qos: QoS,
    /// Whether it becomes the topic's retained message, or with an empty payload clears it [MQTT-3.3.1-5, -6].
    pub retain: bool,
    /// The client id of the publisher.
    pub publisher: &'a str,
    /// The packet id of a message at QoS 2, which stays taken until it is released.
    pub packet_id: Option<PacketId>,
    /// The Message Expiry Interval in seconds.
    pub expiry_interval: Option<u32>,
    /// The forwardable properties: a version 5 property block without its length, kept verbatim.
    pub properties: &'a [u8],
}

/// The bytes of a message's value in front of publisher, properties and payload.
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

const HEAD_BYTES_MAX: usize = 1 + 2 * VARINT_BYTES_MAX + 2 + 4;

impl Encode for Head {
    fn put_u8(&mut self, value: u8) {
        if let Some(byte) = self.bytes.get_mut(self.len) {
            *byte = value;
            self.len += 1;
        }
    }

    fn put_raw(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.put_u8(*byte);
        }
    }
}

impl Head {
    /// Of a message whose record names `packet_id`.
    pub(super) fn of(message: &NewMessage<'_>, packet_id: Option<PacketId>) -> Self {
        let mut flags = message.qos as u8;
        for (set, flag) in [
            (message.retain, RETAIN),
            (packet_id.is_some(), PACKET_ID),
            (message.expiry_interval.is_some(), EXPIRY),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let mut head = Self { bytes: [0; HEAD_BYTES_MAX], len: 0 };
        head.put_u8(flags);
        head.put_varint(message.publisher.len() as u64);
        head.put_varint(message.properties.len() as u64);
        if let Some(id) = packet_id {
            head.put_raw(&id.get().to_le_bytes());
        }
        if let Some(interval) = message.expiry_interval {
            head.put_u32(interval);
        }
        head
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A message of the log, decoded and borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// The offset it was published at. A retained message that was carried forward keeps it.
    pub offset: Offset,
    /// When it was published.
    pub timestamp: Timestamp,
    /// The Topic Name.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published at.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// The client id of the publisher.
    pub publisher: &'a str,
    /// The packet id of a message at QoS 2 from a recorded session.
    pub packet_id: Option<PacketId>,
    /// The Message Expiry Interval in seconds, counted from `timestamp`.
    pub expiry_interval: Option<u32>,
    /// The forwardable properties: a version 5 property block without its length.
    pub properties: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// When it expires; `None` means never.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expiry_interval.map(|seconds| self.timestamp + Duration::from_secs(u64::from(seconds)))
    }

    /// Whether it is too old to be delivered [MQTT-3.3.2-5].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// The message in a record: a message's, that of a retained message carried forward, or one that is kept back until it is due, at the
    /// offset that is its id. `None` if it is none of these.
    pub fn from_record(record: &'a StoredRecord) -> Option<Self> {
        match Kind::from_u8(record.kind)? {
            Kind::Message => {
                Self::decode(record.offset, record.timestamp, record.key(), record.value())
            }
            Kind::Retained => Self::from_retained(record.key(), record.value()),
            Kind::Delayed => Self::from_delayed(record.key(), record.value()),
            Kind::Session
            | Kind::Progress
            | Kind::Subscription
            | Kind::Inbound
            | Kind::Assigned
            | Kind::Will
            | Kind::Group
            | Kind::Origin
            | Kind::Clock
            | Kind::Held => None,
        }
    }

    fn from_retained(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let mut input = Decoder::new(value);
        let _layout = input.u8().filter(|layout| *layout == LAYOUT)?;
        let offset = input.offset()?;
        let timestamp = input.timestamp()?;
        Self::decode(offset, timestamp, key, input.rest())
    }

    fn from_delayed(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let id = Offset::new(u64::from_be_bytes(key.try_into().ok()?));
        let mut input = Decoder::new(value);
        let _layout = input.u8().filter(|layout| *layout == LAYOUT)?;
        let (timestamp, _, topic) = decode_front(&mut input)?;
        Self::decode(id, timestamp, topic.as_bytes(), input.rest())
    }

    pub(super) fn decode(
        offset: Offset,
        timestamp: Timestamp,
        topic: &'a [u8],
        value: &'a [u8],
    ) -> Option<Self> {
        let mut input = Decoder::new(value);
        let flags = input.u8().filter(|flags| flags & !FLAGS == 0)?;
        let publisher_len = input.length()?;
        let properties_len = input.length()?;
        let packet_id =
            if flags & PACKET_ID == 0 { None } else { Some(input.u16().and_then(PacketId::new)?) };
        let expiry_interval = if flags & EXPIRY == 0 { None } else { Some(input.u32()?) };
        Some(Self {
            offset,
            timestamp,
            topic: simdutf8::basic::from_utf8(topic).ok()?,
            qos: QoS::try_from(flags & 3).ok()?,
            retain: flags & RETAIN != 0,
            publisher: simdutf8::basic::from_utf8(input.raw(publisher_len)?).ok()?,
            packet_id,
            expiry_interval,
            properties: input.raw(properties_len)?,
            payload: input.rest(),
        })
    }
}

/// Whether the message with this value is more than a message: retained, or with a packet id that is taken.
pub(super) fn changes_state(value: &[u8]) -> bool {
    value.first().is_some_and(|flags| flags & (RETAIN | PACKET_ID) != 0)
}

/// A message that keeps its record alive, for as long as it is on its way.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    record: StoredRecord,
}

impl StoredMessage {
    /// The message in a record; `None` as for [`MessageView::from_record`].
    pub fn new(record: StoredRecord) -> Option<Self> {
        MessageView::from_record(&record)?;
        Some(Self { record })
    }

    /// The message, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        MessageView::from_record(&self.record).expect("decoded when it was made, and never changed")
    }

    /// The record it stands in.
    pub fn record(&self) -> &StoredRecord {
        &self.record
    }

    /// The payload, sharing the record's memory.
    pub fn payload(&self) -> Bytes {
        let value = self.record.shared_value();
        let len = self.view().payload.len();
        value.slice(value.len().saturating_sub(len)..)
    }
}
