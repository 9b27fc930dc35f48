//! PUBLISH as a value. Its fast paths, in and out, are [`PublishView`](super::PublishView) and
//! [`PublishHeader`](super::PublishHeader).

use std::num::NonZeroU16;

use bytes::Bytes;
use smallvec::SmallVec;

use super::EncodeError;
use super::MessageProperties;
use super::PacketId;
use super::ProtocolVersion;
use super::PublishHeader;
use super::QoS;
use super::SubscriptionId;
use super::TopicName;
use super::writer::Sink;

/// The subscription identifiers of a delivery; one or two stand without an allocation.
pub type SubscriptionIds = SmallVec<[SubscriptionId; 2]>;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Sent before; never set at QoS 0. [MQTT-3.3.1-1] [MQTT-3.3.1-2]
    pub dup: bool,
    /// How often the message arrives.
    pub qos: QoS,
    /// To be retained, or was retained.
    pub retain: bool,
    /// The topic; `None` if only the alias stands for it.
    pub topic: Option<TopicName>,
    /// Present at QoS 1 and 2, absent at QoS 0. [MQTT-2.2.1-2]
    pub packet_id: Option<PacketId>,
    /// A number for the topic from here on (MQTT 5). [MQTT-3.3.2-8]
    pub topic_alias: Option<NonZeroU16>,
    /// The subscriptions that the message is delivered for; never from a client (MQTT 5). [MQTT-3.3.4-6]
    pub subscription_ids: SubscriptionIds,
    /// What goes with the message from publisher to subscriber (MQTT 5).
    pub properties: MessageProperties,
    /// The content.
    pub payload: Bytes,
}

impl Publish {
    /// A QoS 0 message with nothing that is optional.
    pub fn new(topic: TopicName, payload: Bytes) -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            topic_alias: None,
            subscription_ids: SubscriptionIds::new(),
            properties: MessageProperties::default(),
            payload,
        }
    }
}

impl Publish {
    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        let properties = self.properties.encode_block()?;
        let header = PublishHeader {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic.as_deref().unwrap_or_default(),
            packet_id: self.packet_id,
            topic_alias: self.topic_alias,
            subscription_ids: &self.subscription_ids,
            message_expiry_interval: None,
            properties: &properties,
            payload_length: self.payload.len(),
        };
        header.write(version, out)?;
        out.slice(&self.payload);
        Ok(())
    }
}
