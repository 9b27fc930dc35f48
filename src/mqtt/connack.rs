//! CONNACK.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;

use super::ClientId;
use super::EncodeError;
use super::PacketType;
use super::ProtocolVersion;
use super::QoS;
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

/// The server's answer to CONNECT. Everything but the first two fields exists since MQTT 5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connack {
    /// Whether the session existed before; false in a refusal and in MQTT 3.1. [MQTT-3.2.2-6]
    pub session_present: bool,
    /// The outcome; before MQTT 5 as a return code, see [`ReasonCode::connack_return_code`].
    pub reason_code: ReasonCode,
    /// The Session Expiry Interval that holds instead of the client's, in seconds.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes in flight; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest QoS that the server takes, 0 or 1; absent is 2. [MQTT-3.2.2-9]
    pub maximum_qos: Option<QoS>,
    /// Whether the server retains messages; absent is true.
    pub retain_available: Option<bool>,
    /// The largest packet that the server takes, in bytes of the whole packet; absent for no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The Client Identifier of a client that sent an empty one. [MQTT-3.2.2-16]
    pub assigned_client_id: Option<ClientId>,
    /// The highest topic alias that the server takes; absent is 0. [MQTT-3.2.2-17]
    pub topic_alias_maximum: Option<u16>,
    /// The outcome in words, for diagnosis.
    pub reason_string: Option<Text>,
    /// User Properties.
    pub user_properties: UserProperties,
    /// Whether filters may have wildcards; absent is true.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscriptions may have identifiers; absent is true.
    pub subscription_ids_available: Option<bool>,
    /// Whether subscriptions may be shared; absent is true.
    pub shared_subscription_available: Option<bool>,
    /// The Keep Alive that holds instead of the client's, in seconds. [MQTT-3.2.2-21]
    pub server_keep_alive: Option<u16>,
    /// A base for the client's response topics. [MQTT-3.1.2-28]
    pub response_information: Option<Text>,
    /// Another server to use.
    pub server_reference: Option<Text>,
    /// The method of an enhanced authentication. [MQTT-4.12.0-5]
    pub authentication_method: Option<Text>,
    /// The last data of an enhanced authentication.
    pub authentication_data: Option<Bytes>,
}

impl Connack {
    /// An answer with nothing that is optional, without a session from before.
    pub fn new(reason_code: ReasonCode) -> Self {
        Self { reason_code, ..Self::default() }
    }
}

impl Connack {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let flags = body.u8()?;
        if flags > 1 {
            return Err(Violation::ConnackFlagsInvalid);
        }
        let session_present = flags == 1 && version != ProtocolVersion::V3_1;
        let mut connack = Self { session_present, ..Self::default() };
        if version.is_v5() {
            connack.reason_code = body.reason_code(PacketType::Connack)?;
            connack.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        } else {
            connack.reason_code = ReasonCode::from_connack_return_code(body.u8()?)
                .ok_or(Violation::ReasonCodeInvalid)?;
        }
        if connack.session_present && connack.reason_code != ReasonCode::Success {
            return Err(Violation::SessionPresentWithError);
        }
        Ok(connack)
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            let value = &mut properties.value;
            match id {
                id::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(value.u32()?),
                id::RECEIVE_MAXIMUM => self.receive_maximum = Some(value.non_zero_u16()?),
                id::MAXIMUM_QOS => {
                    self.maximum_qos = Some(QoS::try_from(u8::from(value.boolean()?))?);
                }
                id::MAXIMUM_PACKET_SIZE => self.maximum_packet_size = Some(value.non_zero_u32()?),
                id::ASSIGNED_CLIENT_ID => {
                    self.assigned_client_id = Some(ClientId::try_from(value.text()?)?);
                }
                id::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = Some(value.u16()?),
                id::REASON_STRING => self.reason_string = Some(value.text()?),
                id::USER_PROPERTY => self.user_properties.push(properties.user_property()?),
                id::SERVER_KEEP_ALIVE => self.server_keep_alive = Some(value.u16()?),
                id::RESPONSE_INFORMATION => self.response_information = Some(value.text()?),
                id::SERVER_REFERENCE => self.server_reference = Some(value.text()?),
                id::AUTHENTICATION_METHOD => self.authentication_method = Some(value.text()?),
                id::AUTHENTICATION_DATA => {
                    self.authentication_data = Some(Bytes::copy_from_slice(value.binary()?));
                }
                _ => self.decode_availability(id, value)?,
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(Violation::AuthenticationDataWithoutMethod);
        }
        Ok(())
    }

    fn decode_availability(&mut self, id: u8, value: &mut Reader<'_>) -> Result<(), Violation> {
        let available = match id {
            id::RETAIN_AVAILABLE => &mut self.retain_available,
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => &mut self.wildcard_subscription_available,
            id::SUBSCRIPTION_IDS_AVAILABLE => &mut self.subscription_ids_available,
            id::SHARED_SUBSCRIPTION_AVAILABLE => &mut self.shared_subscription_available,
            _ => return Err(Violation::PropertyNotAllowed),
        };
        *available = Some(value.boolean()?);
        Ok(())
    }

    /// Session Present is never set in a refusal [MQTT-3.2.2-6], and does not exist in MQTT 3.1.
    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        let success = self.reason_code == ReasonCode::Success;
        let session_present = self.session_present && success && version != ProtocolVersion::V3_1;
        out.u8(u8::from(session_present));
        if version.is_v5() {
            if self.authentication_data.is_some() && self.authentication_method.is_none() {
                return Err(EncodeError::MethodMissing);
            }
            check_reason_code(self.reason_code, PacketType::Connack)?;
            out.u8(self.reason_code.as_u8());
            return write_block(out, self);
        }
        out.u8(self.reason_code.connack_return_code().ok_or(EncodeError::NotInVersion)?);
        Ok(())
    }
}

impl Properties for Connack {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        let qos_below_2 = self.maximum_qos.filter(|qos| *qos != QoS::ExactlyOnce);
        out.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.u16_property(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        out.boolean_property(id::MAXIMUM_QOS, qos_below_2.map(|qos| qos == QoS::AtLeastOnce));
        out.boolean_property(id::RETAIN_AVAILABLE, self.retain_available);
        out.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        out.text_property(
            id::ASSIGNED_CLIENT_ID,
            self.assigned_client_id.as_ref().map(ClientId::as_text),
        );
        out.u16_property(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.user_properties(&self.user_properties);
        out.boolean_property(
            id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            self.wildcard_subscription_available,
        );
        out.boolean_property(id::SUBSCRIPTION_IDS_AVAILABLE, self.subscription_ids_available);
        out.boolean_property(id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available);
        out.u16_property(id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        out.text_property(id::RESPONSE_INFORMATION, self.response_information.as_ref());
        out.text_property(id::SERVER_REFERENCE, self.server_reference.as_ref());
        out.text_property(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        out.binary_property(id::AUTHENTICATION_DATA, self.authentication_data.as_deref());
    }
}
