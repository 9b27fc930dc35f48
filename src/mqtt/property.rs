//! Properties: their identifiers, the reader that finds what stands twice, and [`MessageProperties`], which go
//! with a message from publisher to subscriber.
//!
//! A packet takes the properties that its `match` over the identifiers names, and refuses every other.

use bytes::Bytes;
use bytes::BytesMut;

use super::EncodeError;
use super::PropertiesView;
use super::SubscriptionId;
use super::Text;
use super::TopicName;
use super::Violation;
use super::reader::Reader;
use super::writer::Length;
use super::writer::Properties;
use super::writer::Sink;

/// User Properties in the order in which they were sent. [MQTT-3.3.2-18]
pub type UserProperties = Vec<(Text, Text)>;

/// The identifiers of section 2.2.2.2.
pub(super) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 1;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 2;
    pub(crate) const CONTENT_TYPE: u8 = 3;
    pub(crate) const RESPONSE_TOPIC: u8 = 8;
    pub(crate) const CORRELATION_DATA: u8 = 9;
    pub(crate) const SUBSCRIPTION_ID: u8 = 11;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 17;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 18;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 19;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 21;
    pub(crate) const AUTHENTICATION_DATA: u8 = 22;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 23;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 24;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 25;
    pub(crate) const RESPONSE_INFORMATION: u8 = 26;
    pub(crate) const SERVER_REFERENCE: u8 = 28;
    pub(crate) const REASON_STRING: u8 = 31;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 33;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 34;
    pub(crate) const TOPIC_ALIAS: u8 = 35;
    pub(crate) const MAXIMUM_QOS: u8 = 36;
    pub(crate) const RETAIN_AVAILABLE: u8 = 37;
    pub(crate) const USER_PROPERTY: u8 = 38;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 39;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 40;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 41;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 42;
}

/// Reads a property block: gives one identifier after the other, whose value the caller takes with `value`.
#[derive(Clone, Copy, Debug)]
pub(super) struct PropertyReader<'a> {
    /// Stands before the value of the last identifier given.
    pub(super) value: Reader<'a>,
    seen: u64,
}

impl<'a> PropertyReader<'a> {
    /// Takes the block and its length off a packet. [MQTT-2.2.2-1]
    pub(super) fn of_packet(body: &mut Reader<'a>) -> Result<Self, Violation> {
        take_block(body).map(Self::of_block)
    }

    /// Reads a block that has no length before it.
    pub(super) const fn of_block(block: &'a [u8]) -> Self {
        Self { value: Reader::of_properties(block), seen: 0 }
    }

    /// The next property; refuses one that was there before and may not stand twice.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Violation> {
        if self.value.is_empty() {
            return Ok(None);
        }
        let number = self.value.variable_byte_integer()?;
        let id =
            u8::try_from(number).ok().filter(|id| *id < 64).ok_or(Violation::PropertyNotAllowed)?;
        let bit = 1_u64 << id;
        if self.seen & bit != 0 && id != id::USER_PROPERTY {
            return Err(Violation::PropertyTwice);
        }
        self.seen |= bit;
        Ok(Some(id))
    }

    /// Lets the last property stand again.
    pub(super) const fn may_repeat(&mut self, id: u8) {
        self.seen &= !(1_u64 << (id & 63));
    }

    /// A User Property's value. [MQTT-1.5.7-1]
    pub(super) fn user_property(&mut self) -> Result<(Text, Text), Violation> {
        Ok((self.value.text()?, self.value.text()?))
    }
}

/// Reads a block that has only a Reason String and User Properties.
pub(super) fn decode_problem_information(
    properties: &mut PropertyReader<'_>,
) -> Result<(Option<Text>, UserProperties), Violation> {
    let mut reason_string = None;
    let mut user_properties = UserProperties::new();
    while let Some(id) = properties.next()? {
        match id {
            id::REASON_STRING => reason_string = Some(properties.value.text()?),
            id::USER_PROPERTY => user_properties.push(properties.user_property()?),
            _ => return Err(Violation::PropertyNotAllowed),
        }
    }
    Ok((reason_string, user_properties))
}

/// Takes a property block off a packet and gives it without its length.
pub(super) fn take_block<'a>(body: &mut Reader<'a>) -> Result<&'a [u8], Violation> {
    if body.is_empty() {
        return Err(Violation::PropertyLengthMissing);
    }
    let length = body.variable_byte_integer()?;
    let length = usize::try_from(length).map_err(|_| Violation::PropertyOverrun)?;
    body.slice(length).map_err(|_| Violation::PropertyOverrun)
}

/// Writing properties that may be absent.
pub(super) trait PropertySink: Sink {
    fn boolean_property(&mut self, id: u8, value: Option<bool>) {
        if let Some(value) = value {
            self.u8(id);
            self.u8(u8::from(value));
        }
    }

    fn u16_property(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id);
            self.u16(value);
        }
    }

    fn u32_property(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id);
            self.u32(value);
        }
    }

    fn text_property(&mut self, id: u8, value: Option<&Text>) {
        self.binary_property(id, value.map(|text| text.as_bytes()));
    }

    fn binary_property(&mut self, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(id);
            self.field(value);
        }
    }

    fn subscription_id(&mut self, value: Option<SubscriptionId>) {
        if let Some(value) = value {
            self.u8(id::SUBSCRIPTION_ID);
            self.variable_byte_integer(value.get());
        }
    }

    fn user_properties(&mut self, properties: &UserProperties) {
        for (name, value) in properties {
            self.u8(id::USER_PROPERTY);
            self.field(name.as_bytes());
            self.field(value.as_bytes());
        }
    }
}

impl<S: Sink> PropertySink for S {}

/// The properties of a message that every subscriber gets (MQTT 5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    /// Whether the payload is UTF-8 (`true`) or any bytes. [MQTT-3.3.2-4]
    pub payload_format_indicator: Option<bool>,
    /// How long the message is worth delivering, in seconds. [MQTT-3.3.2-5]
    pub message_expiry_interval: Option<u32>,
    /// What the payload is. [MQTT-3.3.2-20]
    pub content_type: Option<Text>,
    /// Where an answer is expected. [MQTT-3.3.2-15]
    pub response_topic: Option<TopicName>,
    /// What the answer has to repeat. [MQTT-3.3.2-16]
    pub correlation_data: Option<Bytes>,
    /// User Properties. [MQTT-3.3.2-17]
    pub user_properties: UserProperties,
}

impl MessageProperties {
    /// Whether no property is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The properties as they stand in a PUBLISH, without the length before them.
    ///
    /// # Errors
    ///
    /// If the correlation data is too long for a packet.
    pub fn encode_block(&self) -> Result<Bytes, EncodeError> {
        let mut length = Length::default();
        self.write_properties(&mut length);
        let mut block = BytesMut::with_capacity(length.get()?);
        self.write_properties(&mut block);
        Ok(block.freeze())
    }

    /// Reads what [`MessageProperties::encode_block`] or [`PropertiesView::forwardable`] gave.
    ///
    /// # Errors
    ///
    /// If the block is not one of PUBLISH, or has properties that are not the message's own.
    pub fn from_block(block: &[u8]) -> Result<Self, Violation> {
        PropertiesView::of_message(block).map(|view| view.to_owned())
    }
}

impl Properties for MessageProperties {
    fn write_properties<S: Sink>(&self, out: &mut S) {
        out.boolean_property(id::PAYLOAD_FORMAT_INDICATOR, self.payload_format_indicator);
        out.u32_property(id::MESSAGE_EXPIRY_INTERVAL, self.message_expiry_interval);
        out.text_property(id::CONTENT_TYPE, self.content_type.as_ref());
        out.text_property(id::RESPONSE_TOPIC, self.response_topic.as_ref().map(TopicName::as_text));
        out.binary_property(id::CORRELATION_DATA, self.correlation_data.as_deref());
        out.user_properties(&self.user_properties);
    }
}
