//! Quality of Service: how often a message arrives.

use std::fmt;

use super::Violation;

/// The three levels, in ascending order, so that `min` gives the level of a delivery. [MQTT-3.8.4-8]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: never acknowledged, may be lost.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: acknowledged, may arrive more than once.
    AtLeastOnce = 1,
    /// QoS 2: arrives once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl From<QoS> for u8 {
    fn from(qos: QoS) -> Self {
        qos.as_u8()
    }
}

impl TryFrom<u8> for QoS {
    type Error = Violation;

    /// Refuses all but 0, 1 and 2. [MQTT-3.3.1-4]
    fn try_from(number: u8) -> Result<Self, Violation> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(Violation::QosInvalid),
        }
    }
}

impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_u8())
    }
}
