//! `-D command identifier value`: version 5 properties, as `mosquitto_pub` and `mosquitto_sub` take them.
//!
//! | command | identifiers |
//! |---|---|
//! | `CONNECT` | `authentication-data`, `authentication-method`, `maximum-packet-size`, `receive-maximum`, `request-problem-information`, `request-response-information`, `session-expiry-interval`, `topic-alias-maximum`, `user-property` |
//! | `PUBLISH` | `content-type`, `correlation-data`, `message-expiry-interval`, `payload-format-indicator`, `response-topic`, `topic-alias`, `user-property` |
//! | `WILL` | those of `PUBLISH` without `topic-alias`, and `will-delay-interval` |
//! | `SUBSCRIBE` | `subscription-identifier`, `user-property` |
//! | `UNSUBSCRIBE` | `user-property` |
//! | `DISCONNECT` | `session-expiry-interval`, `user-property` |
//!
//! The words may be written in capitals or not. `user-property` takes a name and a value. Each but
//! `user-property` may stand once.

use std::fmt::Display;
use std::num::NonZeroU16;
use std::num::NonZeroU32;
use std::str::FromStr;

use bytes::Bytes;

use super::Failure;
use crate::mqtt::Connect;
use crate::mqtt::Disconnect;
use crate::mqtt::MessageProperties;
use crate::mqtt::SubscriptionId;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::mqtt::UserProperties;

/// Everything that `-D` asked for, by the packet that carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// For CONNECT.
    pub(crate) connect: ConnectProperties,
    /// For each PUBLISH.
    pub(crate) publish: MessageProperties,
    /// For each PUBLISH whose topic the broker has been told.
    pub(crate) topic_alias: Option<NonZeroU16>,
    /// For the Will.
    pub(crate) will: MessageProperties,
    /// For the Will, in seconds.
    pub(crate) will_delay_interval: Option<u32>,
    /// For SUBSCRIBE.
    pub(crate) subscription_id: Option<SubscriptionId>,
    /// For SUBSCRIBE.
    pub(crate) for_subscribe: UserProperties,
    /// For UNSUBSCRIBE.
    pub(crate) for_unsubscribe: UserProperties,
    /// For DISCONNECT.
    pub(crate) disconnect: DisconnectProperties,
}

/// The properties of CONNECT, without those of the Will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectProperties {
    /// In seconds.
    pub(crate) session_expiry_interval: Option<u32>,
    /// How many `QoS` 1 and 2 messages we take at once.
    pub(crate) receive_maximum: Option<NonZeroU16>,
    /// In bytes.
    pub(crate) maximum_packet_size: Option<NonZeroU32>,
    /// How many aliases the broker may give us.
    pub(crate) topic_alias_maximum: Option<u16>,
    /// Whether the broker may send Reason Strings and User Properties with anything but a message.
    pub(crate) request_problem_information: Option<bool>,
    /// Whether we ask for Response Information.
    pub(crate) request_response_information: Option<bool>,
    /// The name of an enhanced authentication.
    pub(crate) authentication_method: Option<Text>,
    /// What it begins with.
    pub(crate) authentication_data: Option<Bytes>,
    /// In the order given.
    pub(crate) user_properties: UserProperties,
}

/// The properties of DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DisconnectProperties {
    /// In seconds.
    pub(crate) session_expiry_interval: Option<u32>,
    /// In the order given.
    pub(crate) user_properties: UserProperties,
}

impl DisconnectProperties {
    /// A DISCONNECT with these properties.
    pub(crate) fn packet(&self) -> Disconnect {
        Disconnect {
            session_expiry_interval: self.session_expiry_interval,
            user_properties: self.user_properties.clone(),
            ..Disconnect::default()
        }
    }
}

impl Properties {
    /// Reads the words that followed each `-D`, one after another.
    ///
    /// # Errors
    /// Fails for a property that is unknown, does not belong to its command, stands twice or has a wrong value.
    pub(crate) fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut properties = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(command) = words.next() {
            let mut word = |name: &str| {
                words.next().ok_or_else(|| usage(format_args!("{command}: the {name} is missing")))
            };
            let identifier = word("identifier")?.to_ascii_lowercase();
            let property = Property { command, identifier: &identifier };
            if identifier == "user-property" {
                let pair = (property.text(word("name")?)?, property.text(word("value")?)?);
                properties.user_properties(property)?.push(pair);
            } else {
                properties.set(property, word("value")?)?;
            }
        }
        Ok(properties)
    }

    fn user_properties(&mut self, property: Property<'_>) -> Result<&mut UserProperties, Failure> {
        Ok(match property.command.to_ascii_lowercase().as_str() {
            "connect" => &mut self.connect.user_properties,
            "publish" => &mut self.publish.user_properties,
            "will" => &mut self.will.user_properties,
            "subscribe" => &mut self.for_subscribe,
            "unsubscribe" => &mut self.for_unsubscribe,
            "disconnect" => &mut self.disconnect.user_properties,
            _ => return Err(property.unknown_command()),
        })
    }

    fn set(&mut self, property: Property<'_>, value: &str) -> Result<(), Failure> {
        match property.command.to_ascii_lowercase().as_str() {
            "connect" => self.connect.set(property, value),
            "publish" if property.identifier == "topic-alias" => {
                property.once(&mut self.topic_alias, property.number(value)?)
            }
            "publish" => set_message(&mut self.publish, property, value),
            "will" if property.identifier == "will-delay-interval" => {
                property.once(&mut self.will_delay_interval, property.number(value)?)
            }
            "will" => set_message(&mut self.will, property, value),
            "subscribe" if property.identifier == "subscription-identifier" => {
                let id = SubscriptionId::new(property.number(value)?);
                let id = id.ok_or_else(|| property.wrong(value, "is not 1 to 268435455"))?;
                property.once(&mut self.subscription_id, id)
            }
            "disconnect" if property.identifier == "session-expiry-interval" => {
                let interval = property.number(value)?;
                property.once(&mut self.disconnect.session_expiry_interval, interval)
            }
            "subscribe" | "unsubscribe" | "disconnect" => Err(property.not_here()),
            _ => Err(property.unknown_command()),
        }
    }
}

impl ConnectProperties {
    /// Puts the properties into `connect`, but for the Session Expiry Interval, which has a flag of its own.
    pub(crate) fn apply(&self, connect: &mut Connect) {
        connect.receive_maximum = self.receive_maximum;
        connect.maximum_packet_size = self.maximum_packet_size;
        connect.topic_alias_maximum = self.topic_alias_maximum;
        connect.request_problem_information = self.request_problem_information.unwrap_or(true);
        connect.request_response_information = self.request_response_information.unwrap_or(false);
        connect.authentication_method.clone_from(&self.authentication_method);
        connect.authentication_data.clone_from(&self.authentication_data);
        connect.user_properties.clone_from(&self.user_properties);
    }

    fn set(&mut self, property: Property<'_>, value: &str) -> Result<(), Failure> {
        match property.identifier {
            "session-expiry-interval" => {
                property.once(&mut self.session_expiry_interval, property.number(value)?)
            }
            "receive-maximum" => property.once(&mut self.receive_maximum, property.number(value)?),
            "maximum-packet-size" => {
                property.once(&mut self.maximum_packet_size, property.number(value)?)
            }
            "topic-alias-maximum" => {
                property.once(&mut self.topic_alias_maximum, property.number(value)?)
            }
            "request-problem-information" => {
                property.once(&mut self.request_problem_information, property.flag(value)?)
            }
            "request-response-information" => {
                property.once(&mut self.request_response_information, property.flag(value)?)
            }
            "authentication-method" => {
                property.once(&mut self.authentication_method, property.text(value)?)
            }
            "authentication-data" => {
                property.once(&mut self.authentication_data, property.binary(value)?)
            }
            _ => Err(property.not_here()),
        }
    }
}

/// Sets a property that a PUBLISH and a Will have in common.
fn set_message(
    message: &mut MessageProperties,
    property: Property<'_>,
    value: &str,
) -> Result<(), Failure> {
    match property.identifier {
        "payload-format-indicator" => {
            property.once(&mut message.payload_format_indicator, property.flag(value)?)
        }
        "message-expiry-interval" => {
            property.once(&mut message.message_expiry_interval, property.number(value)?)
        }
        "content-type" => property.once(&mut message.content_type, property.text(value)?),
        "correlation-data" => property.once(&mut message.correlation_data, property.binary(value)?),
        "response-topic" => {
            let topic = TopicName::try_from(value);
            let topic = topic.map_err(|error| property.wrong(value, error))?;
            property.once(&mut message.response_topic, topic)
        }
        _ => Err(property.not_here()),
    }
}

/// A command and an identifier, and what can be said about them.
#[derive(Clone, Copy)]
struct Property<'a> {
    command: &'a str,
    identifier: &'a str,
}

impl Property<'_> {
    fn once<T>(self, slot: &mut Option<T>, value: T) -> Result<(), Failure> {
        if slot.is_some() {
            return Err(usage(format_args!("{} {} stands twice", self.command, self.identifier)));
        }
        *slot = Some(value);
        Ok(())
    }

    fn text(self, value: &str) -> Result<Text, Failure> {
        Text::try_from(value).map_err(|error| self.wrong(value, error))
    }

    fn binary(self, value: &str) -> Result<Bytes, Failure> {
        if value.len() > usize::from(u16::MAX) {
            return Err(self.wrong("the value", "is longer than 65535 bytes"));
        }
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn number<N: FromStr>(self, value: &str) -> Result<N, Failure>
    where
        N::Err: Display,
    {
        value.parse().map_err(|error: N::Err| self.wrong(value, error))
    }

    fn flag(self, value: &str) -> Result<bool, Failure> {
        match value {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(self.wrong(value, "is not 0 or 1")),
        }
    }

    fn wrong(self, value: &str, why: impl Display) -> Failure {
        usage(format_args!("{} {}: '{value}': {why}", self.command, self.identifier))
    }

    fn not_here(self) -> Failure {
        usage(format_args!("{} has no property {}", self.command, self.identifier))
    }

    fn unknown_command(self) -> Failure {
        usage(format_args!(
            "unknown command '{}': one of CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT is meant",
            self.command
        ))
    }
}

fn usage(what: impl Display) -> Failure {
    Failure::usage(format!("-D {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Properties, String> {
        let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
        Properties::parse(&words).map_err(|failure| {
            assert_eq!(failure.exit_code, 2);
            failure.message
        })
    }

    #[test]
    fn properties_go_to_their_packets() {
        let line = "PUBLISH content-type text/plain publish user-property a b connect user-property c d \
                    CONNECT receive-maximum 7 will will-delay-interval 3 subscribe subscription-identifier 9 \
                    publish topic-alias 2 disconnect session-expiry-interval 5 unsubscribe user-property e f";
        let properties = parse(line).unwrap();
        assert_eq!(properties.publish.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.publish.user_properties.len(), 1);
        assert_eq!(properties.connect.user_properties.len(), 1);
        assert_eq!(properties.connect.receive_maximum, NonZeroU16::new(7));
        assert_eq!(properties.will_delay_interval, Some(3));
        assert_eq!(properties.subscription_id, SubscriptionId::new(9));
        assert_eq!(properties.topic_alias, NonZeroU16::new(2));
        assert_eq!(properties.disconnect.session_expiry_interval, Some(5));
        assert_eq!(properties.for_unsubscribe.len(), 1);
    }

    #[test]
    fn wrong_properties_are_named() {
        for (line, message) in [
            ("foo content-type x", "-D unknown command 'foo'"),
            ("publish", "-D publish: the identifier is missing"),
            ("publish content-type", "-D publish: the value is missing"),
            ("publish user-property a", "-D publish: the value is missing"),
            ("publish will-delay-interval 3", "-D publish has no property will-delay-interval"),
            ("subscribe content-type x", "-D subscribe has no property content-type"),
            ("puback user-property a b", "-D unknown command 'puback'"),
            ("connect receive-maximum 0", "-D connect receive-maximum: '0'"),
            ("connect receive-maximum x", "-D connect receive-maximum: 'x'"),
            ("publish payload-format-indicator 2", "'2': is not 0 or 1"),
            ("publish response-topic a/#", "-D publish response-topic: 'a/#'"),
            ("subscribe subscription-identifier 268435456", "is not 1 to 268435455"),
            ("publish content-type a publish content-type b", "content-type stands twice"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.contains(message), "{line}: {found}");
        }
    }
}
