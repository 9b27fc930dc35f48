//! CONNACK.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;

use super::ClientId;
use super::QoS;
use super::ReasonCode;
use super::Text;
use super::UserProperties;

/// The server's answer to CONNECT. Everything but the first two fields exists since MQTT 5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connack {
    /// Whether the session existed before; false in a refusal and in MQTT 3.1. [MQTT-3.2.2-6]
    pub session_present: bool,
    /// The outcome; before MQTT 5 as a return code, see [`ReasonCode::connack_return_code`].
    pub reason_code: ReasonCode,
    /// The Session Expiry Interval that holds instead of the client's, in seconds.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes in flight; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS that the server takes, 0 or 1; absent is 2. [MQTT-3.2.2-9]
    pub maximum_qos: Option<QoS>,
    /// Whether the server retains messages; absent is true.
    pub retain_available: Option<bool>,
    /// The largest packet that the server takes, in bytes of the whole packet; absent for no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The Client Identifier of a client that sent an empty one. [MQTT-3.2.2-16]
    pub assigned_client_id: Option<ClientId>,
    /// The highest topic alias that the server takes; absent is 0. [MQTT-3.2.2-17]
    pub topic_alias_maximum: Option<u16>,
    /// The outcome in words, for diagnosis.
    pub reason_string: Option<Text>,
    /// User Properties.
    pub user_properties: UserProperties,
    /// Whether filters may have wildcards; absent is true.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent is true.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions may be shared; absent is true.
    pub shared_subscription_available: Option<bool>,
    /// The Keep Alive that holds instead of the client's, in seconds. [MQTT-3.2.2-21]
    pub server_keep_alive: Option<u16>,
    /// A base for the client's response topics. [MQTT-3.1.2-28]
    pub response_information: Option<Text>,
    /// Another server to use.
    pub server_reference: Option<Text>,
    /// The method of an enhanced authentication. [MQTT-4.12.0-5]
    pub authentication_method: Option<Text>,
    /// The last data of an enhanced authentication.
    pub authentication_data: Option<Bytes>,
}

impl Connack {
    /// An answer with nothing that is optional, without a session from before.
    pub fn new(reason_code: ReasonCode) -> Self {
        Self { reason_code, ..Self::default() }
    }
}
