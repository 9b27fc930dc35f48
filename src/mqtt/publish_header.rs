//! [`PublishHeader`]: everything of a PUBLISH but the payload, encoded once per subscriber on fan-out.
//!
//! Nothing is owned: the topic and the property block are the message's own, as the store keeps them.

use std::num::NonZeroU16;

use bytes::BytesMut;

use super::EncodeError;
use super::FIELD_LENGTH_MAX;
use super::PacketId;
use super::PacketType;
use super::ProtocolVersion;
use super::QoS;
use super::SubscriptionId;
use super::encode::REMAINING_LENGTH_MAX;
use super::encode::packet_length;
use super::encode::publish_flags;
use super::encode::write_fixed_header;
use super::properties_view::split_at_message_expiry;
use super::property::PropertySink;
use super::property::id;
use super::writer::Length;
use super::writer::Sink;

/// A delivery, up to its payload.
#[derive(Clone, Copy, Debug)]
pub struct PublishHeader<'a> {
    /// Sent before; left out at QoS 0. [MQTT-3.3.1-2]
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery. [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    pub retain: bool,
    /// A valid topic name; empty if the alias stands for it.
    pub topic: &'a str,
    /// Needed at QoS 1 and 2, left out at QoS 0. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// A number for the topic (MQTT 5).
    pub topic_alias: Option<NonZeroU16>,
    /// The subscriptions that the message is delivered for (MQTT 5). [MQTT-3.3.4-3]
    pub subscription_ids: &'a [SubscriptionId],
    /// What is left of the message's life, in seconds; takes the place of the one in `properties`. [MQTT-3.3.2-6]
    pub message_expiry_interval: Option<u32>,
    /// The message's own properties (MQTT 5), from [`PropertiesView::forwardable`](super::PropertiesView::forwardable)
    /// or [`MessageProperties::encode_block`](super::MessageProperties::encode_block).
    pub properties: &'a [u8],
    /// How long the payload is that the caller appends, in bytes.
    pub payload_length: usize,
}

impl PublishHeader<'_> {
    /// Appends all but the payload. Properties are left out before MQTT 5.
    ///
    /// On an error nothing is written.
    pub fn encode(&self, version: ProtocolVersion, out: &mut BytesMut) -> Result<(), EncodeError> {
        let remaining_length = self.remaining_length(version)?;
        out.reserve(packet_length(remaining_length).saturating_sub(self.payload_length));
        let first_byte =
            PacketType::Publish.as_u8() << 4 | publish_flags(self.dup, self.qos, self.retain);
        write_fixed_header(first_byte, remaining_length, out)?;
        self.write(version, out)
    }

    /// The length of the whole packet in bytes, with the payload.
    pub fn encoded_length(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        self.remaining_length(version).map(packet_length)
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let mut length = Length::default();
        self.write(version, &mut length)?;
        let length = length.get()?.saturating_add(self.payload_length);
        if length > REMAINING_LENGTH_MAX { Err(EncodeError::TooLarge) } else { Ok(length) }
    }

    /// Writes what stands between the fixed header and the payload.
    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        self.check_topic(version)?;
        out.field(self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.u16(self.packet_id.ok_or(EncodeError::PacketIdMissing)?.get());
        }
        if version.is_v5() {
            self.write_properties(out)?;
        }
        Ok(())
    }

    const fn check_topic(&self, version: ProtocolVersion) -> Result<(), EncodeError> {
        if self.topic.len() > FIELD_LENGTH_MAX {
            return Err(EncodeError::FieldTooLong);
        }
        match (self.topic.is_empty(), version.is_v5()) {
            (true, false) => Err(EncodeError::NotInVersion),
            (true, true) if self.topic_alias.is_none() => Err(EncodeError::TopicMissing),
            _ => Ok(()),
        }
    }

    fn write_properties<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        let mut length = Length::default();
        self.write_companions(&mut length);
        self.write_block(&mut length);
        let length = u32::try_from(length.get()?).map_err(|_| EncodeError::TooLarge)?;
        out.variable_byte_integer(length);
        self.write_companions(out);
        self.write_block(out);
        Ok(())
    }

    fn write_companions<S: Sink>(&self, out: &mut S) {
        out.u16_property(id::TOPIC_ALIAS, self.topic_alias.map(NonZeroU16::get));
        for subscription_id in self.subscription_ids {
            out.subscription_id(Some(*subscription_id));
        }
    }

    fn write_block<S: Sink>(&self, out: &mut S) {
        let Some(interval) = self.message_expiry_interval else {
            return out.slice(self.properties);
        };
        let (before, after) = split_at_message_expiry(self.properties)
            .unwrap_or((&[id::MESSAGE_EXPIRY_INTERVAL], self.properties));
        out.slice(before);
        out.u32(interval);
        out.slice(after);
    }
}
