//! What the user properties of a SUBSCRIBE ask for: where a replay begins and ends, how fast it is, whether positions are
//! told, and how a group works.
//!
//! They hold for every filter of the packet. Pure text, as [`Address`](crate::session::Address) is. User properties with other names
//! are the client's own business.

use std::num::NonZeroU32;

use crate::mqtt::Text;
use crate::mqtt::UserProperties;
use crate::session::AddressError;
use crate::session::Commit;
use crate::session::Start;
use crate::session::Strategy;

/// The fastest pace that has a number.
const SPEED_MAX: u32 = 1_000;

/// What the user properties of a SUBSCRIBE ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `from`: where the replay begins, and the text of it.
    pub from: Option<(Start, Text)>,
    /// `until`: where it ends: an offset, a moment, or the present (`latest`).
    pub until: Option<Start>,
    /// `limit`: after how many messages it ends; at least 1.
    pub limit: Option<u64>,
    /// `pace`: how many times as fast as published; `None` for `max`.
    pub speed: Option<NonZeroU32>,
    /// `meta=1`: deliveries tell their position.
    pub meta: bool,
    /// `strategy`: who of a group gets the next message.
    pub strategy: Option<Strategy>,
    /// `commit`: what ends the delivery of a group's message.
    pub commit: Option<Commit>,
}

impl Wishes {
    /// Reads the user properties of a SUBSCRIBE.
    ///
    /// # Errors
    /// [`AddressError`] for a value that can't be read, and for a second `from`.
    pub fn parse(properties: &UserProperties) -> Result<Self, AddressError> {
        let mut wishes = Self::default();
        for (name, value) in properties {
            match &**name {
                "from" if wishes.from.is_some() => return Err(AddressError::TwoStarts),
                "from" => wishes.from = Some((Start::parse(value)?, value.clone())),
                "until" => wishes.until = Some(until(value)?),
                "limit" => wishes.limit = Some(limit(value)?),
                "pace" => wishes.speed = pace(value)?,
                "meta" => wishes.meta = &**value == "1",
                "strategy" => {
                    let strategy = Strategy::from_name(value);
                    wishes.strategy = Some(strategy.ok_or(AddressError::BadStrategy)?);
                }
                "commit" => {
                    wishes.commit = Some(Commit::from_name(value).ok_or(AddressError::BadCommit)?);
                }
                _ => {}
            }
        }
        Ok(wishes)
    }

    /// Whether it says how a group works.
    pub fn is_of_group(&self) -> bool {
        self.strategy.is_some() || self.commit.is_some()
    }

    /// Whether it says how a replay goes on or ends, which needs one that begins.
    pub fn needs_start(&self) -> bool {
        self.until.is_some() || self.limit.is_some() || self.speed.is_some()
    }
}

fn until(text: &str) -> Result<Start, AddressError> {
    let until = Start::parse(text).map_err(|_| AddressError::BadUntil)?;
    match until {
        Start::Latest | Start::Offset(_) | Start::At(_) | Start::Ago(_) => Ok(until),
        Start::Earliest | Start::Committed | Start::Last(_) => Err(AddressError::BadUntil),
    }
}

fn limit(text: &str) -> Result<u64, AddressError> {
    let limit = text.parse().ok().filter(|limit| *limit > 0 && !text.starts_with('+'));
    limit.ok_or(AddressError::BadLimit)
}

fn pace(text: &str) -> Result<Option<NonZeroU32>, AddressError> {
    if text == "max" {
        return Ok(None);
    }
    let speed = text.strip_suffix('x').filter(|speed| !speed.starts_with('+'));
    let speed = speed.and_then(|speed| speed.parse().ok()).and_then(NonZeroU32::new);
    speed.filter(|speed| speed.get() <= SPEED_MAX).map(Some).ok_or(AddressError::BadPace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitlog::Offset;

    fn wishes(properties: &[(&str, &str)]) -> Result<Wishes, AddressError> {
        let text = |text: &str| Text::try_from(text).unwrap();
        Wishes::parse(&properties.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn wishes_are_read() {
        let read = wishes(&[
            ("from", "o-7"),
            ("until", "latest"),
            ("limit", "3"),
            ("pace", "10x"),
            ("meta", "1"),
            ("strategy", "least-inflight"),
            ("commit", "manual"),
            ("colour", "blue"),
        ]);
        let expected = Wishes {
            from: Some((Start::Offset(Offset::new(7)), Text::try_from("o-7").unwrap())),
            until: Some(Start::Latest),
            limit: Some(3),
            speed: NonZeroU32::new(10),
            meta: true,
            strategy: Some(Strategy::LeastInflight),
            commit: Some(Commit::Manual),
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(wishes(&[("pace", "max"), ("meta", "0")]), Ok(Wishes::default()));
    }

    #[test]
    fn bad_wishes_are_refused() {
        for (name, value, error) in [
            ("from", "tomorrow", AddressError::BadStart),
            ("until", "earliest", AddressError::BadUntil),
            ("until", "last-3", AddressError::BadUntil),
            ("until", "later", AddressError::BadUntil),
            ("limit", "0", AddressError::BadLimit),
            ("limit", "-1", AddressError::BadLimit),
            ("limit", "+1", AddressError::BadLimit),
            ("limit", "many", AddressError::BadLimit),
            ("pace", "0x", AddressError::BadPace),
            ("pace", "1001x", AddressError::BadPace),
            ("pace", "1", AddressError::BadPace),
            ("pace", "+1x", AddressError::BadPace),
            ("strategy", "fastest", AddressError::BadStrategy),
            ("commit", "1", AddressError::BadCommit),
        ] {
            assert_eq!(wishes(&[(name, value)]), Err(error), "{name}={value}");
        }
        let twice = wishes(&[("from", "earliest"), ("from", "earliest")]);
        assert_eq!(twice, Err(AddressError::TwoStarts));
    }
}
