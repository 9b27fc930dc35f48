//! [`PublishView`]: a PUBLISH where it lies in the read buffer, checked and not copied.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::PacketId;
use super::PropertiesView;
use super::ProtocolVersion;
use super::Publish;
use super::QoS;
use super::SubscriptionIds;
use super::TopicName;
use super::Violation;
use super::property::take_block;
use super::reader::Reader;
use super::topic::check_topic_name;

/// A PUBLISH, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishView<'a> {
    /// Sent before. [MQTT-3.3.1-1]
    pub dup: bool,
    /// How often the message arrives.
    pub qos: QoS,
    /// To be retained, or was retained.
    pub retain: bool,
    /// The topic, a valid topic name; empty if only the alias stands for it.
    pub topic: &'a str,
    /// Present at QoS 1 and 2, absent at QoS 0. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// A number for the topic; present if the topic is empty.
    pub topic_alias: Option<NonZeroU16>,
    /// The subscriptions that the message is delivered for; empty from a client.
    pub subscription_ids: SubscriptionIds,
    /// What goes with the message from publisher to subscriber.
    pub properties: PropertiesView<'a>,
    /// The content.
    pub payload: &'a [u8],
}

impl<'a> PublishView<'a> {
    /// Reads a body; `flags` are the low four bits of the first byte, whose QoS [`check_flags`] has seen.
    pub(super) fn decode(
        flags: u8,
        body: &mut Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let qos = QoS::try_from(flags >> 1 & 0b11)?;
        let topic = body.str()?;
        if !topic.is_empty() || !version.is_v5() {
            check_topic_name(topic)?;
        }
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(body.packet_id()?) };
        let mut view = Self {
            dup: flags & 0b1000 != 0,
            qos,
            retain: flags & 1 != 0,
            topic,
            packet_id,
            topic_alias: None,
            subscription_ids: SubscriptionIds::new(),
            properties: PropertiesView::default(),
            payload: &[],
        };
        if version.is_v5() {
            view.decode_properties(body)?;
        }
        view.payload = body.rest();
        Ok(view)
    }

    fn decode_properties(&mut self, body: &mut Reader<'a>) -> Result<(), Violation> {
        let (properties, companions) = PropertiesView::of_publish(take_block(body)?)?;
        self.properties = properties;
        self.topic_alias = companions.topic_alias;
        self.subscription_ids = companions.subscription_ids;
        let nameless = self.topic.is_empty() && self.topic_alias.is_none();
        if nameless { Err(Violation::TopicMissing) } else { Ok(()) }
    }

    /// How long the message is worth delivering, in seconds. [MQTT-3.3.2-5]
    pub const fn message_expiry_interval(&self) -> Option<u32> {
        self.properties.message_expiry_interval
    }

    /// Whether the payload is UTF-8 (`true`) or any bytes. [MQTT-3.3.2-4]
    pub const fn payload_format_indicator(&self) -> Option<bool> {
        self.properties.payload_format_indicator
    }

    /// Whether there are properties, be it only a topic alias.
    pub const fn has_properties(&self) -> bool {
        !self.properties.is_empty()
    }

    /// The packet as a value.
    pub fn to_owned(&self) -> Publish {
        self.with_payload(Bytes::copy_from_slice(self.payload))
    }

    /// The packet as a value, with a payload that needs no copy because `frame` holds it.
    pub(super) fn to_owned_in(&self, frame: &Bytes) -> Publish {
        let start = frame.len().saturating_sub(self.payload.len());
        self.with_payload(frame.slice(start..))
    }

    fn with_payload(&self, payload: Bytes) -> Publish {
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: (!self.topic.is_empty()).then(|| TopicName::from_checked(self.topic)),
            packet_id: self.packet_id,
            topic_alias: self.topic_alias,
            subscription_ids: self.subscription_ids.clone(),
            properties: self.properties.to_owned(),
            payload,
        }
    }
}

/// Checks the flags of a PUBLISH. [MQTT-3.3.1-2] [MQTT-3.3.1-4]
pub(super) fn check_flags(flags: u8) -> Result<(), Violation> {
    let qos = QoS::try_from(flags >> 1 & 0b11)?;
    let dup = flags & 0b1000 != 0;
    if dup && qos == QoS::AtMostOnce { Err(Violation::DupWithQos0) } else { Ok(()) }
}
