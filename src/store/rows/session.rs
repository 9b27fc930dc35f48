//! `Session`: that a session exists, whose it is, and how long it outlives its connection.
//!
//! ```text
//! version (1: 3 = 3.1, 4 = 3.1.1, 5 = 5.0) | connected (1) | expiry interval (4) | created | disconnected | user (optional)
//! ```

use crate::mqtt::ProtocolVersion;
use crate::mqtt::Text;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::time::Timestamp;

/// A session, without what has rows of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The user it belongs to: no other may resume it.
    pub user: Option<Text>,
    /// The version its client speaks.
    pub version: ProtocolVersion,
    /// Seconds from the end of the connection to the end of the session; `u32::MAX` never ends it [MQTT-3.1.2-23].
    pub expiry_interval: u32,
    /// Whether a connection was there when this was written. After a crash it may be out of date.
    pub connected: bool,
    /// When the session began.
    pub created_at: Timestamp,
    /// When its last connection ended; means nothing while connected.
    pub disconnected_at: Timestamp,
}

impl SessionRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(match self.version {
            ProtocolVersion::V3_1 => 3,
            ProtocolVersion::V3_1_1 => 4,
            ProtocolVersion::V5 => 5,
        });
        out.put_u8(u8::from(self.connected));
        out.put_u32(self.expiry_interval);
        out.put_timestamp(self.created_at);
        out.put_timestamp(self.disconnected_at);
        out.put_option(self.user.as_ref(), |out, user| out.put_bytes(user.as_bytes()));
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let version = match input.u8()? {
            3 => ProtocolVersion::V3_1,
            4 => ProtocolVersion::V3_1_1,
            5 => ProtocolVersion::V5,
            _ => return None,
        };
        Some(Self {
            version,
            connected: input.flag()?,
            expiry_interval: input.u32()?,
            created_at: input.timestamp()?,
            disconnected_at: input.timestamp()?,
            user: input.option(Decoder::text)?,
        })
    }
}
