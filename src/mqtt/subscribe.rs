//! SUBSCRIBE and SUBACK.

use super::EncodeError;
use super::PacketId;
use super::PacketType;
use super::ProtocolVersion;
use super::QoS;
use super::ReasonCode;
use super::SubscriptionFilter;
use super::SubscriptionId;
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

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1100_0000;

impl Subscribe {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let packet_id = body.packet_id()?;
        let mut subscribe = Self {
            packet_id,
            subscription_id: None,
            user_properties: UserProperties::new(),
            filters: Vec::new(),
        };
        if version.is_v5() {
            subscribe.decode_properties(&mut PropertyReader::of_packet(body)?)?;
        }
        if body.is_empty() {
            return Err(Violation::FiltersMissing);
        }
        while !body.is_empty() {
            subscribe.filters.push(SubscribeFilter::decode(body, version)?);
        }
        Ok(subscribe)
    }

    fn decode_properties(&mut self, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        while let Some(id) = properties.next()? {
            match id {
                id::SUBSCRIPTION_ID => {
                    let number = properties.value.variable_byte_integer()?;
                    self.subscription_id = Some(SubscriptionId::try_from(number)?);
                }
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
            out.field(filter.filter.text().as_bytes());
            out.u8(filter.options.encode(version));
        }
        Ok(())
    }
}

impl Properties for Subscribe {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.subscription_id(self.subscription_id);
        out.user_properties(&self.user_properties);
    }
}

impl SubscribeFilter {
    fn decode(body: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, Violation> {
        let filter = SubscriptionFilter::from_text(body.text()?)?;
        let options = SubscriptionOptions::decode(body.u8()?, version)?;
        if options.no_local && filter.is_shared() {
            return Err(Violation::NoLocalOnShared);
        }
        Ok(Self { filter, options })
    }
}

impl SubscriptionOptions {
    /// [MQTT-3.8.3-5] `[3.1.1 MQTT-3.8.3-4]`
    fn decode(bits: u8, version: ProtocolVersion) -> Result<Self, Violation> {
        let reserved = if version.is_v5() { RESERVED } else { !QOS };
        if bits & reserved != 0 {
            return Err(Violation::SubscriptionOptionsReserved);
        }
        Ok(Self {
            qos: QoS::try_from(bits & QOS).map_err(|_| Violation::SubscriptionQosInvalid)?,
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::try_from(bits >> 4 & 0b11)?,
        })
    }

    fn encode(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos.as_u8();
        }
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        self.qos.as_u8() | no_local | retain_as_published | self.retain_handling.as_u8() << 4
    }
}

impl Suback {
    pub(super) fn decode(
        body: &mut Reader<'_>,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let mut suback = Self::new(body.packet_id()?, Vec::new());
        if version.is_v5() {
            let properties = &mut PropertyReader::of_packet(body)?;
            (suback.reason_string, suback.user_properties) =
                decode_problem_information(properties)?;
        }
        while !body.is_empty() {
            suback.reason_codes.push(decode_outcome(body, version)?);
        }
        if suback.reason_codes.is_empty() { Err(Violation::ReasonCodesMissing) } else { Ok(suback) }
    }

    pub(super) fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        if self.reason_codes.is_empty() {
            return Err(EncodeError::ListEmpty);
        }
        out.u16(self.packet_id.get());
        if version.is_v5() {
            write_block(out, self)?;
        }
        for code in &self.reason_codes {
            check_reason_code(*code, PacketType::Suback)?;
            out.u8(if version.is_v5() { code.as_u8() } else { code.suback_return_code() });
        }
        Ok(())
    }
}

impl Properties for Suback {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.text_property(id::REASON_STRING, self.reason_string.as_ref());
        out.user_properties(&self.user_properties);
    }
}

/// One outcome of a SUBACK. [MQTT-3.9.3-2] `[3.1.1 MQTT-3.9.3-2]`
fn decode_outcome(
    body: &mut Reader<'_>,
    version: ProtocolVersion,
) -> Result<ReasonCode, Violation> {
    let code = body.reason_code(PacketType::Suback)?;
    let known = version.is_v5() || !code.is_error() || code == ReasonCode::UnspecifiedError;
    if known { Ok(code) } else { Err(Violation::ReasonCodeInvalid) }
}
