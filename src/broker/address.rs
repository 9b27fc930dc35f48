//! Where and when a PUBLISH is to go: what stands in front of its topic, and in its user properties.
//!
//! ```text
//! $delayed/{when}/{topic}     kept back until then; also the user properties `delay` and `deliver-at`
//! $ttl/{seconds}/{topic}      a Message Expiry Interval; both prefixes together in either order, each once
//!
//! when        a number below 1,000,000,000: seconds from now; below 10^12: Unix seconds; above: Unix milliseconds
//!             a length of time (`15m`), or an instant that ends in `Z`
//! delay       seconds, or a length of time
//! deliver-at  Unix milliseconds, or an instant that ends in `Z`
//! ```
//!
//! A PUBLISH without any of this costs a look at the first byte of its topic and, in version 5, at its properties.

use std::time::Duration;

use crate::mqtt::PropertiesView;
use crate::mqtt::ReasonCode;
use crate::session::decimal;
use crate::store::Due;
use crate::time::Timestamp;

/// Numbers from here on are moments, in seconds since the Unix epoch.
const MOMENTS_FROM: u64 = 1_000_000_000;

/// Numbers from here on are moments in milliseconds.
const MILLIS_FROM: u64 = 1_000_000_000_000;

/// What a PUBLISH asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// The topic behind the prefixes.
    pub(super) topic: &'a str,
    /// When it is due; `None` at once.
    pub(super) due: Option<Due>,
    /// The Message Expiry Interval of a prefix, in seconds.
    pub(super) expiry: Option<u32>,
}

/// Why what a PUBLISH asks for can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `{when}` can't be read.
    When,
    /// `{seconds}` of a `$ttl` can't be read.
    Expiry,
    /// The user property can't be read.
    Delay,
    /// The user property can't be read.
    DeliverAt,
    /// More than one says when, or there is a prefix twice.
    Twice,
    /// The moment is over. In a user property, if it says so.
    Past { property: bool },
    /// There is no topic behind the prefixes.
    NoTopic,
}

impl Fault {
    /// What the publisher is told: a reason code of PUBACK and PUBREC [MQTT-3.4.2-1].
    pub(super) const fn reason(self) -> ReasonCode {
        match self {
            Self::Delay | Self::DeliverAt | Self::Past { property: true } => {
                ReasonCode::ImplementationSpecificError
            }
            Self::When | Self::Expiry | Self::Twice | Self::Past { .. } | Self::NoTopic => {
                ReasonCode::TopicNameInvalid
            }
        }
    }

    /// The same in words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::When => {
                "$delayed/{when}/{topic} wants seconds, a Unix time, a length as in 15m, or an instant that ends in Z"
            }
            Self::Expiry => "$ttl/{seconds}/{topic} wants a number of seconds",
            Self::Delay => "the user property delay wants seconds or a length as in 15m",
            Self::DeliverAt => {
                "the user property deliver-at wants Unix milliseconds or an instant that ends in Z"
            }
            Self::Twice => "it is said twice",
            Self::Past { .. } => "the moment is over",
            Self::NoTopic => "there is no topic behind the prefix",
        }
    }
}

impl<'a> Address<'a> {
    /// Reads it; other topics that begin with `$` stay as they are.
    pub(super) fn read(
        topic: &'a str,
        properties: &PropertiesView<'_>,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let mut address = Self { topic, due: None, expiry: None };
        if !properties.is_empty() {
            address.read_properties(properties, now)?;
        }
        while let Some((prefix, value, rest)) = split(address.topic)? {
            match prefix {
                Prefix::Delayed => {
                    let due = when(value, now).ok_or(Fault::When)?;
                    address.set_due(due, now, false)?;
                }
                Prefix::Ttl => {
                    let seconds = decimal(value).and_then(|seconds| u32::try_from(seconds).ok());
                    if address.expiry.replace(seconds.ok_or(Fault::Expiry)?).is_some() {
                        return Err(Fault::Twice);
                    }
                }
            }
            address.topic = rest;
        }
        address.due = address.due.filter(|due| due.at > now);
        Ok(address)
    }

    fn read_properties(
        &mut self,
        properties: &PropertiesView<'_>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        for (name, value) in properties.user_properties() {
            let due = match name {
                "delay" => delay(value, now).ok_or(Fault::Delay)?,
                "deliver-at" => deliver_at(value).ok_or(Fault::DeliverAt)?,
                _ => continue,
            };
            self.set_due(due, now, true)?;
        }
        Ok(())
    }

    fn set_due(&mut self, due: Due, now: Timestamp, property: bool) -> Result<(), Fault> {
        if due.at < now {
            return Err(Fault::Past { property });
        }
        if self.due.replace(due).is_some() { Err(Fault::Twice) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
enum Prefix {
    Delayed,
    Ttl,
}

/// The first prefix of a topic, its value, and what is behind it.
fn split(topic: &str) -> Result<Option<(Prefix, &str, &str)>, Fault> {
    let (prefix, rest) = if let Some(rest) = topic.strip_prefix("$delayed/") {
        (Prefix::Delayed, rest)
    } else if let Some(rest) = topic.strip_prefix("$ttl/") {
        (Prefix::Ttl, rest)
    } else {
        return Ok(None);
    };
    match rest.split_once('/') {
        Some((value, topic)) if !topic.is_empty() => Ok(Some((prefix, value, topic))),
        Some(_) | None => Err(Fault::NoTopic),
    }
}

fn when(text: &str, now: Timestamp) -> Option<Due> {
    match decimal(text) {
        Some(number) if number >= MILLIS_FROM => Timestamp::from_millis(number).map(at),
        Some(number) if number >= MOMENTS_FROM => {
            Some(at(Timestamp::EPOCH + Duration::from_secs(number)))
        }
        Some(_) => delay(text, now),
        None => Timestamp::parse(text).map(at).or_else(|| delay(text, now)),
    }
}

fn delay(text: &str, now: Timestamp) -> Option<Due> {
    let length = match decimal(text) {
        Some(seconds) => Duration::from_secs(seconds),
        None => humantime::parse_duration(text).ok()?,
    };
    Some(Due { at: now + length, instant: false })
}

fn deliver_at(text: &str) -> Option<Due> {
    let moment = match decimal(text) {
        Some(millis) => Timestamp::from_millis(millis),
        None => Timestamp::parse(text),
    };
    moment.map(at)
}

const fn at(moment: Timestamp) -> Due {
    Due { at: moment, instant: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn read(topic: &str) -> Result<Address<'_>, Fault> {
        Address::read(topic, &PropertiesView::default(), NOW)
    }

    fn after(seconds: u64) -> Due {
        Due { at: NOW + Duration::from_secs(seconds), instant: false }
    }

    fn unix(seconds: u64) -> Due {
        at(Timestamp::from_micros(seconds * 1_000_000))
    }

    #[test]
    fn prefixes_say_when_and_for_how_long() {
        let cases = [
            ("a/b", ("a/b", None, None)),
            ("$delayed/5/a/b", ("a/b", Some(after(5)), None)),
            ("$delayed/0/a", ("a", None, None)),
            ("$delayed/1h 30m/a", ("a", Some(after(5_400)), None)),
            ("$delayed/999999999/a", ("a", Some(after(999_999_999)), None)),
            ("$delayed/1700000005/a", ("a", Some(unix(1_700_000_005)), None)),
            ("$delayed/1700000005000/a", ("a", Some(unix(1_700_000_005)), None)),
            ("$delayed/2023-11-14T22:13:25Z/a", ("a", Some(unix(1_700_000_005)), None)),
            ("$delayed/1700000000/a", ("a", None, None)),
            ("$ttl/60/a", ("a", None, Some(60))),
            ("$ttl/60/$delayed/5/a", ("a", Some(after(5)), Some(60))),
            ("$delayed/5/$ttl/60//a", ("/a", Some(after(5)), Some(60))),
            ("$SYS/x", ("$SYS/x", None, None)),
            ("$delayed/5/$SYS/x", ("$SYS/x", Some(after(5)), None)),
        ];
        for (topic, (rest, due, expiry)) in cases {
            assert_eq!(read(topic), Ok(Address { topic: rest, due, expiry }), "{topic}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        let past = Fault::Past { property: false };
        let cases = [
            ("$delayed/soon/a", Fault::When),
            ("$delayed//a", Fault::When),
            ("$delayed/-5/a", Fault::When),
            ("$delayed/99999999999999999999/a", Fault::When),
            ("$delayed/5", Fault::NoTopic),
            ("$delayed/5/", Fault::NoTopic),
            ("$delayed/", Fault::NoTopic),
            ("$delayed/5/$ttl/5/", Fault::NoTopic),
            ("$delayed/1699999999/a", past),
            ("$delayed/1999-01-01T00:00:00Z/a", past),
            ("$delayed/5/$delayed/5/a", Fault::Twice),
            ("$ttl/5/$ttl/5/a", Fault::Twice),
            ("$ttl/1m/a", Fault::Expiry),
            ("$ttl/4294967296/a", Fault::Expiry),
        ];
        for (topic, fault) in cases {
            assert_eq!(read(topic), Err(fault), "{topic}");
        }
    }
}
