//! DISCONNECT.

use super::ReasonCode;
use super::Text;
use super::UserProperties;

/// One side ends the connection. Before MQTT 5 only a client can, and without any of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason_code: ReasonCode,
    /// How long the session outlives the connection, in seconds, instead of what CONNECT said; only from a client.
    /// [MQTT-3.14.2-2]
    pub session_expiry_interval: Option<u32>,
    /// Why, in words, for diagnosis.
    pub reason_string: Option<Text>,
    /// Another server to use; only from a server.
    pub server_reference: Option<Text>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Disconnect {
    /// A DISCONNECT with nothing that is optional.
    pub fn new(reason_code: ReasonCode) -> Self {
        Self { reason_code, ..Self::default() }
    }
}
