//! SUBSCRIBE and SUBACK.

use super::PacketId;
use super::QoS;
use super::ReasonCode;
use super::SubscriptionFilter;
use super::SubscriptionId;
use super::Text;
use super::UserProperties;
use super::Violation;

/// A client subscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The identifier that SUBACK repeats. [MQTT-3.8.4-2]
    pub packet_id: PacketId,
    /// What goes with every message for these subscriptions (MQTT 5).
    pub subscription_id: Option<SubscriptionId>,
    /// User Properties (MQTT 5).
    pub user_properties: UserProperties,
    /// What to subscribe to, at least one. [MQTT-3.8.3-2]
    pub filters: Vec<SubscribeFilter>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Which topics.
    pub filter: SubscriptionFilter,
    /// And how.
    pub options: SubscriptionOptions,
}

/// How a subscription delivers. Before MQTT 5 all but the QoS are at their defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS of a delivery. [MQTT-3.8.4-8]
    pub qos: QoS,
    /// Do not deliver what the subscriber itself published. [MQTT-3.8.3-3]
    pub no_local: bool,
    /// Deliver with the RETAIN flag that the publisher set. [MQTT-3.3.1-13]
    pub retain_as_published: bool,
    /// Whether retained messages are sent when the subscription is made.
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE brings the retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// On every SUBSCRIBE. [MQTT-3.3.1-9]
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription is new. [MQTT-3.3.1-10]
    SendIfNew = 1,
    /// Never. [MQTT-3.3.1-11]
    DoNotSend = 2,
}

impl RetainHandling {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for RetainHandling {
    type Error = Violation;

    fn try_from(number: u8) -> Result<Self, Violation> {
        match number {
            0 => Ok(Self::SendAtSubscribe),
            1 => Ok(Self::SendIfNew),
            2 => Ok(Self::DoNotSend),
            _ => Err(Violation::RetainHandlingInvalid),
        }
    }
}

/// The answer to SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    /// The identifier of the SUBSCRIBE. [MQTT-3.8.4-2]
    pub packet_id: PacketId,
    /// The outcome in words, for diagnosis (MQTT 5).
    pub reason_string: Option<Text>,
    /// User Properties (MQTT 5).
    pub user_properties: UserProperties,
    /// The outcome for each filter, in their order; before MQTT 5 every failure becomes 0x80. [MQTT-3.9.3-1]
    pub reason_codes: Vec<ReasonCode>,
}

impl Suback {
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
