//! [`PropertiesView`]: the property block of a message where it lies, checked and not copied.
//!
//! The block is what the store keeps of a message's properties, and what a delivery sends on as it is.

use std::borrow::Cow;
use std::num::NonZeroU16;

use bytes::Bytes;

use super::MessageProperties;
use super::SubscriptionId;
use super::SubscriptionIds;
use super::Text;
use super::TopicName;
use super::Violation;
use super::property::PropertyReader;
use super::property::id;
use super::reader::Reader;
use super::topic::check_topic_name;

/// The properties of a PUBLISH or a will, borrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesView<'a> {
    block: &'a [u8],
    forwardable: bool,
    /// Whether the payload is UTF-8 (`true`) or any bytes. [MQTT-3.3.2-4]
    pub payload_format_indicator: Option<bool>,
    /// How long the message is worth delivering, in seconds. [MQTT-3.3.2-5]
    pub message_expiry_interval: Option<u32>,
    /// What the payload is. [MQTT-3.3.2-20]
    pub content_type: Option<&'a str>,
    /// Where an answer is expected. [MQTT-3.3.2-15]
    pub response_topic: Option<&'a str>,
    /// What the answer has to repeat. [MQTT-3.3.2-16]
    pub correlation_data: Option<&'a [u8]>,
}

/// What stands in a message's property block and is not the message's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Companions {
    pub(super) topic_alias: Option<NonZeroU16>,
    pub(super) subscription_ids: SubscriptionIds,
    pub(super) will_delay_interval: Option<u32>,
}

impl<'a> PropertiesView<'a> {
    /// Reads a block that has only a message's own properties.
    pub(super) fn of_message(block: &'a [u8]) -> Result<Self, Violation> {
        let (view, companions) = Self::read(block)?;
        let alien = !view.forwardable || companions.will_delay_interval.is_some();
        if alien { Err(Violation::PropertyNotAllowed) } else { Ok(view) }
    }

    /// Reads the block of a PUBLISH, with its companions but the will delay.
    pub(super) fn of_publish(block: &'a [u8]) -> Result<(Self, Companions), Violation> {
        if block.is_empty() {
            return Ok((Self { forwardable: true, ..Self::default() }, Companions::default()));
        }
        let (view, companions) = Self::read(block)?;
        let alien = companions.will_delay_interval.is_some();
        if alien { Err(Violation::PropertyNotAllowed) } else { Ok((view, companions)) }
    }

    /// Reads the block of a will, and gives the will delay, in seconds.
    pub(super) fn of_will(block: &'a [u8]) -> Result<(Self, u32), Violation> {
        let (view, companions) = Self::read(block)?;
        if !view.forwardable {
            return Err(Violation::PropertyNotAllowed);
        }
        Ok((view, companions.will_delay_interval.unwrap_or(0)))
    }

    fn read(block: &'a [u8]) -> Result<(Self, Companions), Violation> {
        let mut view = Self { block, forwardable: true, ..Self::default() };
        let mut companions = Companions::default();
        let mut properties = PropertyReader::of_block(block);
        while let Some(id) = properties.next()? {
            if !view.take(id, &mut properties.value)? {
                companions.take(id, &mut properties)?;
                view.forwardable &= id == id::WILL_DELAY_INTERVAL;
            }
        }
        Ok((view, companions))
    }

    /// Takes a property if it is the message's own.
    fn take(&mut self, id: u8, value: &mut Reader<'a>) -> Result<bool, Violation> {
        match id {
            id::PAYLOAD_FORMAT_INDICATOR => self.payload_format_indicator = Some(value.boolean()?),
            id::MESSAGE_EXPIRY_INTERVAL => self.message_expiry_interval = Some(value.u32()?),
            id::CONTENT_TYPE => self.content_type = Some(value.str()?),
            id::RESPONSE_TOPIC => {
                let topic = value.str()?;
                check_topic_name(topic).map_err(|_| Violation::ResponseTopicInvalid)?;
                self.response_topic = Some(topic);
            }
            id::CORRELATION_DATA => self.correlation_data = Some(value.binary()?),
            id::USER_PROPERTY => {
                value.str()?;
                value.str()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether there is no property at all.
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The block as it stands in the packet, without the length before it.
    pub const fn block(&self) -> &'a [u8] {
        self.block
    }

    /// The block without what is not the message's own (topic alias, subscription identifiers), in the order sent.
    /// [MQTT-3.3.2-18]
    ///
    /// Borrowed unless there was something to leave out.
    pub fn forwardable(&self) -> Cow<'a, [u8]> {
        if self.forwardable {
            return Cow::Borrowed(self.block);
        }
        let own = walk(self.block).filter(|(id, _)| is_own(*id));
        Cow::Owned(own.flat_map(|(_, property)| property).copied().collect())
    }

    /// The User Properties, in the order sent. [MQTT-3.3.2-18]
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Self::user_properties_in(self.block)
    }

    /// The User Properties in a message's property block, up to the first that is broken.
    pub fn user_properties_in(
        block: &'a [u8],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        walk(block).filter_map(|(id, property)| {
            if id != id::USER_PROPERTY {
                return None;
            }
            let mut value = Reader::of_properties(property.get(1..)?);
            Some((value.str().ok()?, value.str().ok()?))
        })
    }

    /// The message's own properties as a value.
    pub fn to_owned(&self) -> MessageProperties {
        MessageProperties {
            payload_format_indicator: self.payload_format_indicator,
            message_expiry_interval: self.message_expiry_interval,
            content_type: self.content_type.map(Text::from_checked),
            response_topic: self.response_topic.map(TopicName::from_checked),
            correlation_data: self.correlation_data.map(Bytes::copy_from_slice),
            user_properties: self
                .user_properties()
                .map(|(name, value)| (Text::from_checked(name), Text::from_checked(value)))
                .collect(),
        }
    }
}

impl Companions {
    fn take(&mut self, id: u8, properties: &mut PropertyReader<'_>) -> Result<(), Violation> {
        let value = &mut properties.value;
        match id {
            id::TOPIC_ALIAS => {
                let alias = NonZeroU16::new(value.u16()?).ok_or(Violation::TopicAliasZero)?;
                self.topic_alias = Some(alias);
            }
            id::SUBSCRIPTION_ID => {
                self.subscription_ids
                    .push(SubscriptionId::try_from(value.variable_byte_integer()?)?);
                properties.may_repeat(id);
            }
            id::WILL_DELAY_INTERVAL => self.will_delay_interval = Some(value.u32()?),
            _ => return Err(Violation::PropertyNotAllowed),
        }
        Ok(())
    }
}

const fn is_own(id: u8) -> bool {
    !matches!(id, id::TOPIC_ALIAS | id::SUBSCRIPTION_ID | id::WILL_DELAY_INTERVAL)
}

/// The properties of a message's block one by one, each with its identifier and all its bytes; ends at the first
/// that is broken.
fn walk(block: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let mut reader = Reader::of_properties(rest);
        let id = reader.u8().ok()?;
        skip(id, &mut reader).ok()?;
        let (property, after) = rest.split_at_checked(rest.len() - reader.rest().len())?;
        rest = after;
        Some((id, property))
    })
}

fn skip(id: u8, value: &mut Reader<'_>) -> Result<(), Violation> {
    match id {
        id::PAYLOAD_FORMAT_INDICATOR => value.slice(1).map(drop),
        id::TOPIC_ALIAS => value.slice(2).map(drop),
        id::MESSAGE_EXPIRY_INTERVAL | id::WILL_DELAY_INTERVAL => value.slice(4).map(drop),
        id::CONTENT_TYPE | id::RESPONSE_TOPIC | id::CORRELATION_DATA => value.binary().map(drop),
        id::SUBSCRIPTION_ID => value.variable_byte_integer().map(drop),
        id::USER_PROPERTY => {
            value.binary()?;
            value.binary().map(drop)
        }
        _ => Err(Violation::PropertyNotAllowed),
    }
}

/// Splits a block around the value of its Message Expiry Interval, if it has one: all before, all after.
pub(super) fn split_at_message_expiry(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut before = 0;
    for (id, property) in walk(block) {
        if id == id::MESSAGE_EXPIRY_INTERVAL {
            return Some((block.get(..before + 1)?, block.get(before + property.len()..)?));
        }
        before += property.len();
    }
    None
}
