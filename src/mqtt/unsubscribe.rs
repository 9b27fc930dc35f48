//! UNSUBSCRIBE and UNSUBACK.

use super::EncodeError;
use super::PacketId;
use super::PacketType;
use super::ProtocolVersion;
use super::ReasonCode;
use super::SubscriptionFilter;
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

impl Unsubscribe {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let packet_id = body.packet_id()?;
        let mut unsubscribe =
            Self { packet_id, user_properties: UserProperties::new(), filters: Vec::new() };
        if version.is_v5() {
            unsubscribe.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        }
        if body.is_empty() {
            return Err(Violation::UnsubscribeFiltersMissing);
        }
        while !body.is_empty() {
            unsubscribe.filters.push(SubscriptionFilter::from_text(body.text()?)?);
        }
        Ok(unsubscribe)
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            match id {
                id::USER_PROPERTY => self.user_properties.push(properties.user_property()?),
                _ => return Err(Violation::PropertyNotAllowed),
            }
        }
        Ok(())
    }

    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        out.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(out, self)?;
        }
        for filter in &self.filters {
            out.field(filter.text().as_bytes());
        }
        Ok(())
    }
}

impl Properties for Unsubscribe {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.user_properties(&self.user_properties);
    }
}

impl Unsuback {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let mut unsuback = Self::new(body.packet_id()?, Vec::new());
        if !version.is_v5() {
            return Ok(unsuback);
        }
        let properties = &mut PropertyReader::of_packet(body)?;
        (unsuback.reason_string, unsuback.user_properties) =
            decode_problem_information(properties)?;
        while !body.is_empty() {
            unsuback.reason_codes.push(body.reason_code(PacketType::Unsuback)?);
        }
        if unsuback.reason_codes.is_empty() {
            Err(Violation::ReasonCodesMissing)
        } else {
            Ok(unsuback)
        }
    }

    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        out.u16(self.packet_id.get());
        if !version.is_v5() {
            return Ok(());
        }
        if self.reason_codes.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        write_block(out, self)?;
        for code in &self.reason_codes {
            check_reason_code(*code, PacketType::Unsuback)?;
            out.u8(code.as_u8());
        }
        Ok(())
    }
}

impl Properties for Unsuback {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.user_properties(&self.user_properties);
    }
}
