//! CONNECT and the will in it.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;

use super::EncodeError;
use super::MessageProperties;
use super::PropertiesView;
use super::ProtocolVersion;
use super::QoS;
use super::Text;
use super::TopicName;
use super::UserProperties;
use super::Violation;
use super::property::PropertyReader;
use super::property::PropertySink;
use super::property::id;
use super::property::take_block;
use super::reader::Reader;
use super::writer::Properties;
use super::writer::Sink;
use super::writer::write_block;

/// A client asks for a connection. Fields that only MQTT 5 has are at their defaults in older versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version that the client speaks; it also decides how this packet is encoded.
    pub version: ProtocolVersion,
    /// Throw an old session away; Clean Session before MQTT 5. [MQTT-3.1.2-4]
    pub clean_start: bool,
    /// The longest silence of the client, in seconds; 0 for no limit. [MQTT-3.1.2-22]
    pub keep_alive: u16,
    /// The Client Identifier; empty if the server is to assign one. [MQTT-3.1.3-6]
    pub client_id: Text,
    /// The message to publish if the connection ends without a DISCONNECT.
    pub will: Option<Will>,
    /// The user name; an empty one is not an absent one.
    pub user_name: Option<Text>,
    /// The password, any bytes.
    pub password: Option<Bytes>,
    /// How long the session outlives the connection, in seconds; `u32::MAX` for ever, absent is 0.
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes in flight; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet that the client takes, in bytes of the whole packet; absent for no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias that the client takes; absent is 0. [MQTT-3.1.2-26]
    pub topic_alias_maximum: Option<u16>,
    /// Whether CONNACK may have Response Information; defaults to false. [MQTT-3.1.2-28]
    pub request_response_information: bool,
    /// Whether all packets may have a Reason String and User Properties; defaults to true. [MQTT-3.1.2-29]
    pub request_problem_information: bool,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<Text>,
    /// The first data of an enhanced authentication; only with a method.
    pub authentication_data: Option<Bytes>,
    /// User Properties.
    pub user_properties: UserProperties,
}

impl Connect {
    /// A CONNECT with a clean start and nothing that is optional.
    pub const fn new(version: ProtocolVersion, client_id: Text) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: None,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::new(),
        }
    }
}

/// A Will Message. [MQTT-3.1.2-7]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where it is published.
    pub topic: TopicName,
    /// What is published, at most 65,535 bytes.
    pub payload: Bytes,
    /// At which QoS it is published.
    pub qos: QoS,
    /// Whether it is published as a retained message. [MQTT-3.1.2-15]
    pub retain: bool,
    /// How long after the end of the connection it is published, in seconds. [MQTT-3.1.2-8]
    pub delay_interval: u32,
    /// The message's properties.
    pub properties: MessageProperties,
}

const RESERVED_FLAG: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

impl Connect {
    /// Decodes the body. `version` is told as soon as it is known, so that a refusal can have the right form.
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: &mut Option<ProtocolVersion>,
    ) -> Result<Self, Violation> {
        let spoken = decode_version(body)?;
        *version = Some(spoken);
        let flags = body.u8()?;
        check_flags(flags, spoken)?;
        let mut connect = Self::new(spoken, Text::EMPTY);
        connect.clean_start = flags & CLEAN_START != 0;
        connect.keep_alive = body.u16()?;
        if spoken.is_v5() {
            connect.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        }
        connect.client_id = body.text()?;
        if flags & WILL != 0 {
            connect.will = Some(Will::decode(body, flags, spoken)?);
        }
        connect.decode_credentials(body, flags)?;
        Ok(connect)
    }

    /// In MQTT 3.1 a remaining length that ends before a flagged field takes precedence over the flag.
    fn decode_credentials(&mut self, body: &mut Reader<'_>, flags: u8) -> Result<(), Violation> {
        let may_lack = self.version == ProtocolVersion::V3_1;
        if flags & USER_NAME != 0 && !(may_lack && body.is_empty()) {
            self.user_name = Some(body.text()?);
        }
        if flags & PASSWORD != 0 && !(may_lack && body.is_empty()) {
            self.password = Some(Bytes::copy_from_slice(body.binary()?));
        }
        Ok(())
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            let value = &mut properties.value;
            match id {
                id::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(value.u32()?),
                id::RECEIVE_MAXIMUM => self.receive_maximum = Some(value.non_zero_u16()?),
                id::MAXIMUM_PACKET_SIZE => self.maximum_packet_size = Some(value.non_zero_u32()?),
                id::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = Some(value.u16()?),
                id::REQUEST_RESPONSE_INFORMATION => {
                    self.request_response_information = value.boolean()?;
                }
                id::REQUEST_PROBLEM_INFORMATION => {
                    self.request_problem_information = value.boolean()?;
                }
                id::AUTHENTICATION_METHOD => self.authentication_method = Some(value.text()?),
                id::AUTHENTICATION_DATA => {
                    self.authentication_data = Some(Bytes::copy_from_slice(value.binary()?));
                }
                id::USER_PROPERTY => self.user_properties.push(properties.user_property()?),
                _ => return Err(Violation::PropertyNotAllowed),
            }
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(Violation::AuthenticationDataWithoutMethod);
        }
        Ok(())
    }

    pub(super) fn write_body<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        if self.password.is_some() && self.user_name.is_none() && !self.version.is_v5() {
            return Err(EncodeError::NotInVersion);
        }
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(EncodeError::MethodMissing);
        }
        out.field(self.version.protocol_name().as_bytes());
        out.u8(self.version.level());
        out.u8(self.flags());
        out.u16(self.keep_alive);
        if self.version.is_v5() {
            write_block(out, self)?;
        }
        out.field(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            will.write(self.version, out)?;
        }
        if let Some(user_name) = &self.user_name {
            out.field(user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            out.field(password);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| WILL | will.qos.as_u8() << 3 | flag(will.retain, WILL_RETAIN));
        flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.password.is_some(), PASSWORD)
            | flag(self.user_name.is_some(), USER_NAME)
    }
}

impl Properties for Connect {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        out.u16_property(id::RECEIVE_MAXIMUM, self.receive_maximum.map(NonZeroU16::get));
        out.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size.map(NonZeroU32::get));
        out.u16_property(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        out.boolean_property(
            id::REQUEST_RESPONSE_INFORMATION,
            self.request_response_information.then_some(true),
        );
        out.boolean_property(
            id::REQUEST_PROBLEM_INFORMATION,
            (!self.request_problem_information).then_some(false),
        );
        out.text_property(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        out.binary_property(id::AUTHENTICATION_DATA, self.authentication_data.as_deref());
        out.user_properties(&self.user_properties);
    }
}

/// Takes the protocol name and level. [MQTT-3.1.2-1] [MQTT-3.1.2-2]
fn decode_version(body: &mut Reader<'_>) -> Result<ProtocolVersion, Violation> {
    let name = body.binary()?;
    let level = body.u8()?;
    match (name, level) {
        (b"MQTT", 5) => Ok(ProtocolVersion::V5),
        (b"MQTT", 4) => Ok(ProtocolVersion::V3_1_1),
        (b"MQIsdp", 3) => Ok(ProtocolVersion::V3_1),
        // Bridges set the high bit, and try again without it once they are refused in the form of their version.
        (b"MQTT", level) if level & 0x7F >= 5 => Err(Violation::ProtocolLevelTooHigh),
        (b"MQTT" | b"MQIsdp", _) => Err(Violation::ProtocolLevelTooLow),
        _ => Err(Violation::ProtocolNameInvalid),
    }
}

/// Checks the connect flags that contradict each other. `[3.1.1 MQTT-3.1.2-22]`
fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), Violation> {
    if flags & RESERVED_FLAG != 0 {
        return Err(Violation::ConnectFlagReserved);
    }
    if flags & WILL == 0 && will_qos(flags) != 0 {
        return Err(Violation::WillQosWithoutWill);
    }
    if flags & WILL == 0 && flags & WILL_RETAIN != 0 {
        return Err(Violation::WillRetainWithoutWill);
    }
    if !version.is_v5() && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Violation::PasswordWithoutUserName);
    }
    Ok(())
}

const fn will_qos(flags: u8) -> u8 {
    flags >> 3 & 0b11
}

impl Will {
    fn decode(
        body: &mut Reader<'_>,
        flags: u8,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let qos = QoS::try_from(will_qos(flags)).map_err(|_| Violation::WillQosInvalid)?;
        let (properties, delay_interval) = if version.is_v5() {
            let (view, delay_interval) = PropertiesView::of_will(take_block(body)?)?;
            (view.to_owned(), delay_interval)
        } else {
            (MessageProperties::default(), 0)
        };
        let topic = TopicName::try_from(body.text()?)?;
        let payload = Bytes::copy_from_slice(body.binary()?);
        Ok(Self {
            topic,
            payload,
            qos,
            retain: flags & WILL_RETAIN != 0,
            delay_interval,
            properties,
        })
    }

    fn write<S: Sink>(&self, version: ProtocolVersion, out: &mut S) -> Result<(), EncodeError> {
        if version.is_v5() {
            write_block(out, self)?;
        }
        out.field(self.topic.as_bytes());
        out.field(&self.payload);
        Ok(())
    }
}

impl Properties for Will {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        let delay_interval = (self.delay_interval != 0).then_some(self.delay_interval);
        out.u32_property(id::WILL_DELAY_INTERVAL, delay_interval);
        self.properties.write_properties(out);
    }
}
