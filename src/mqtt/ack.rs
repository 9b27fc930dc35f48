//! PUBACK, PUBREC, PUBREL and PUBCOMP, which have one form.

use super::EncodeError;
use super::PacketId;
use super::PacketType;
use super::ProtocolVersion;
use super::ReasonCode;
use super::Text;
use super::UserProperties;
use super::Violation;
use super::encode::check_reason_code;
use super::property::PropertyReader;
use super::property::PropertySink;
use super::property::decode_problem_information;
use super::property::id;
use super::reader::Reader;
use super::writer::Properties;
use super::writer::Sink;
use super::writer::write_block;

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

impl Ack {
    /// Decodes the body of `packet`, which is one of the four. [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    pub(super) fn decode(
        body: &mut Reader<'_>,
        packet: PacketType,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let mut ack = Self::new(body.packet_id()?);
        if !version.is_v5() || body.is_empty() {
            return Ok(ack);
        }
        ack.reason_code = body.reason_code(packet)?;
        if !body.is_empty() {
            let properties = &mut PropertyReader::of_packet(body)?;
            (ack.reason_string, ack.user_properties) = decode_problem_information(properties)?;
        }
        Ok(ack)
    }

    /// Whether the packet id is all there is to say.
    pub(super) fn is_plain_success(&self) -> bool {
        self.reason_code == ReasonCode::Success
            && self.reason_string.is_none()
            && self.user_properties.is_empty()
    }

    /// Leaves out as much of the end as says nothing.
    pub(super) fn write_body<S: Sink>(
        &self,
        packet: PacketType,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if !version.is_v5() {
            return Ok(());
        }
        check_reason_code(self.reason_code, packet)?;
        let has_properties = self.reason_string.is_some() || !self.user_properties.is_empty();
        if has_properties || self.reason_code != ReasonCode::Success {
            out.u8(self.reason_code.as_u8());
        }
        if has_properties { write_block(out, self) } else { Ok(()) }
    }
}

impl Properties for Ack {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.user_properties(&self.user_properties);
    }
}
