//! CONNECT and the will in it.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;

use super::MessageProperties;
use super::ProtocolVersion;
use super::QoS;
use super::Text;
use super::TopicName;
use super::UserProperties;

/// A client asks for a connection. Fields that only MQTT 5 has are at their defaults in older versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version that the client speaks; it also decides how this packet is encoded.
    pub version: ProtocolVersion,
    /// Throw an old session away; Clean Session before MQTT 5. [MQTT-3.1.2-4]
    pub clean_start: bool,
    /// The longest silence of the client, in seconds; 0 for no limit. [MQTT-3.1.2-22]
    pub keep_alive: u16,
    /// The Client Identifier; empty if the server is to assign one. [MQTT-3.1.3-6]
    pub client_id: Text,
    /// The message to publish if the connection ends without a DISCONNECT.
    pub will: Option<Will>,
    /// The user name; an empty one is not an absent one.
    pub user_name: Option<Text>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
    /// How long the session outlives the connection, in seconds; `u32::MAX` for ever, absent is 0.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes in flight; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet that the client takes, in bytes of the whole packet; absent for no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the client takes; absent is 0. [MQTT-3.1.2-26]
    pub topic_alias_maximum: Option<u16>,
    /// Whether CONNACK may have Response Information; defaults to false. [MQTT-3.1.2-28]
    pub request_response_information: bool,
    /// Whether all packets may have a Reason String and User Properties; defaults to true. [MQTT-3.1.2-29]
    pub request_problem_information: bool,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<Text>,
    /// The first data of an enhanced authentication; only with a method.
    pub authentication_data: Option<Bytes>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Connect {
    /// A CONNECT with a clean start and nothing that is optional.
    pub const fn new(version: ProtocolVersion, client_id: Text) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::new(),
        }
    }
}

/// A Will Message. [MQTT-3.1.2-7]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published, at most 65,535 bytes.
    pub payload: Bytes,
    /// At which QoS it is published.
    pub qos: QoS,
    /// Whether it is published as a retained message. [MQTT-3.1.2-15]
    pub retain: bool,
    /// How long after the end of the connection it is published, in seconds. [MQTT-3.1.2-8]
    pub delay_interval: u32,
    /// The message's properties.
    pub properties: MessageProperties,
}
