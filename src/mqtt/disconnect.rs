//! DISCONNECT.

use super::EncodeError;
use super::PacketType;
use super::ProtocolVersion;
use super::ReasonCode;
use super::Text;
use super::UserProperties;
use super::Violation;
use super::encode::check_reason_code;
use super::property::PropertyReader;
use super::property::PropertySink;
use super::property::id;
use super::reader::Reader;
use super::writer::Properties;
use super::writer::Sink;
use super::writer::write_block;

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

impl Disconnect {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let mut disconnect = Self::default();
        if !version.is_v5() || body.is_empty() {
            return Ok(disconnect);
        }
        disconnect.reason_code = body.reason_code(PacketType::Disconnect)?;
        if !body.is_empty() {
            disconnect.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        }
        Ok(disconnect)
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            let value = &mut properties.value;
            match id {
                id::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(value.u32()?),
                id::REASON_STRING => self.reason_string = Some(value.text()?),
                id::SERVER_REFERENCE => self.server_reference = Some(value.text()?),
                id::USER_PROPERTY => self.user_properties.push(properties.user_property()?),
                _ => return Err(Violation::PropertyNotAllowed),
            }
        }
        Ok(())
    }

    /// Always with reason code and property length, because clients in the field can't read less.
    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        if version.is_v5() {
            check_reason_code(self.reason_code, PacketType::Disconnect)?;
            out.u8(self.reason_code.as_u8());
            return write_block(out, self);
        }
        let normal = self.reason_code == ReasonCode::NORMAL_DISCONNECTION;
        if normal { Ok(()) } else { Err(EncodeError::NotInVersion) }
    }
}

impl Properties for Disconnect {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.text_property(id::SERVER_REFERENCE, self.server_reference.as_ref());
        out.user_properties(&self.user_properties);
    }
}
