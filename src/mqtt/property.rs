//! Properties: the identifiers, and [`MessageProperties`], which go with a message from publisher to subscriber.

use bytes::Bytes;

use super::Text;
use super::TopicName;

/// User Properties in the order in which they were sent. [MQTT-3.3.2-18]
pub type UserProperties = Vec<(Text, Text)>;

/// The properties of a message that every subscriber gets (MQTT 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    /// Whether the payload is UTF-8 (`true`) or any bytes. [MQTT-3.3.2-4]
    pub payload_format_indicator: Option<bool>,
    /// How long the message is worth delivering, in seconds. [MQTT-3.3.2-5]
    pub message_expiry_interval: Option<u32>,
    /// What the payload is. [MQTT-3.3.2-20]
    pub content_type: Option<Text>,
    /// Where an answer is expected. [MQTT-3.3.2-15]
    pub response_topic: Option<TopicName>,
    /// What the answer has to repeat. [MQTT-3.3.2-16]
    pub correlation_data: Option<Bytes>,
    /// User Properties. [MQTT-3.3.2-17]
    pub user_properties: UserProperties,
}

impl MessageProperties {
    /// Whether no property is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
