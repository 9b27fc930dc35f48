//! UNSUBSCRIBE and UNSUBACK.

use super::PacketId;
use super::ReasonCode;
use super::SubscriptionFilter;
use super::Text;
use super::UserProperties;

/// A client unsubscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The identifier that UNSUBACK repeats. [MQTT-3.10.4-5]
    pub packet_id: PacketId,
    /// User Properties (MQTT 5).
    pub user_properties: UserProperties,
    /// What to unsubscribe from, at least one. [MQTT-3.10.3-2]
    pub filters: Vec<SubscriptionFilter>,
}

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback {
    /// The identifier of the UNSUBSCRIBE. [MQTT-3.10.4-5]
    pub packet_id: PacketId,
    /// The outcome in words, for diagnosis (MQTT 5).
    pub reason_string: Option<Text>,
    /// User Properties (MQTT 5).
    pub user_properties: UserProperties,
    /// The outcome for each filter, in their order. Not sent before MQTT 5, and then decoded as empty. [MQTT-3.11.3-1]
    pub reason_codes: Vec<ReasonCode>,
}

impl Unsuback {
    /// An answer with nothing that is optional.
    pub const fn new(packet_id: PacketId, reason_codes: Vec<ReasonCode>) -> Self {
        Self {
            packet_id,
            reason_string: None,
            user_properties: UserProperties::new(),
            reason_codes,
        }
    }
}
