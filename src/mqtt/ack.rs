//! PUBACK, PUBREC, PUBREL and PUBCOMP, which have one form.

use super::PacketId;
use super::ReasonCode;
use super::Text;
use super::UserProperties;

/// A step in the handshake of a QoS 1 or 2 message. Everything but the identifier exists since MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The identifier of the PUBLISH. [MQTT-2.2.1-5]
    pub packet_id: PacketId,
    /// The outcome.
    pub reason_code: ReasonCode,
    /// The outcome in words, for diagnosis.
    pub reason_string: Option<Text>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Ack {
    /// An acknowledgement of success.
    pub const fn new(packet_id: PacketId) -> Self {
        Self::with_reason(packet_id, ReasonCode::Success)
    }

    /// An acknowledgement with this outcome.
    pub const fn with_reason(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, reason_string: None, user_properties: UserProperties::new() }
    }
}
