//! A raw MQTT client for tests: packets written byte by byte, packets read strictly, a socket with deadlines.
//!
//! It shares no code with the broker's codec on purpose: an error that both made would not be seen. What the
//! broker sends has to pass this module's own reading of the specification: reserved bits, minimal lengths,
//! UTF-8, properties where they belong and once, defined reason codes. What the client sends may be as wrong as a test wants.
//!
//! It never sleeps: it waits for a packet or for the end of the connection, with a deadline.

pub(crate) mod client;
pub(crate) mod packet;
pub(crate) mod process;
pub(crate) mod property;
pub(crate) mod reader;
pub(crate) mod request;

/// The protocol version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1: `MQIsdp`, level 3.
    V3,
    /// MQTT 3.1.1: `MQTT`, level 4.
    V4,
    /// MQTT 5.0: `MQTT`, level 5.
    V5,
}

impl Version {
    /// Whether packets have properties and reason codes.
    pub(crate) fn is_v5(self) -> bool {
        self == Self::V5
    }

    /// The protocol level byte of CONNECT.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name of CONNECT.
    pub(crate) fn protocol_name(self) -> &'static str {
        if self == Self::V3 { "MQIsdp" } else { "MQTT" }
    }
}
