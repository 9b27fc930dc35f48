//! What a subscription's text asks for: the reserved prefixes in front of a topic filter.
//!
//! ```text
//! $share/{group}/ …    one of a group                    at most one, first
//! $exclusive/ …        one session at a time             alone
//! $meta/ …             payloads wrapped with positions   at most one
//! $replay/{start}/ …   what is stored, then live         at most one, last
//! ```
//!
//! Pure text: it knows no log and no clock, so that a start like `ago-15m` is a length here and becomes a place in the log elsewhere.
//! Every prefix works from a 3.1.1 client, because it is nothing but text.

use std::num::NonZeroU32;
use std::time::Duration;

use thiserror::Error;

use crate::commitlog::Offset;
use crate::mqtt::ShareName;
use crate::mqtt::TopicFilter;
use crate::mqtt::Violation;
use crate::time::Timestamp;

const SHARE: &str = "$share/";
/// What an exclusive subscription's text begins with.
pub const EXCLUSIVE: &str = "$exclusive/";
/// What the topics of answers to control requests begin with.
pub const REPLIES: &str = "$ctl/reply/";
const META: &str = "$meta/";
const REPLAY: &str = "$replay/";

/// The most messages that `last-N` may ask for.
pub const LAST_MAX: u32 = 100_000;

/// A subscription's text, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The group of a shared subscription.
    pub share: Option<ShareName>,
    /// Whether one session has it at a time.
    pub exclusive: bool,
    /// Whether payloads are wrapped in JSON that tells their position.
    pub meta: bool,
    /// Where a replay begins.
    pub replay: Option<Start>,
    /// Which topics: a filter without reserved prefixes.
    pub filter: TopicFilter,
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With everything that is stored.
    Earliest,
    /// With nothing that is stored: live only.
    Latest,
    /// Where the subscriber has come to.
    Committed,
    /// With so many messages that match, the newest ones.
    Last(NonZeroU32),
    /// At an offset.
    Offset(Offset),
    /// With the first message of this moment or later.
    At(Timestamp),
    /// The same, so long before the present.
    Ago(Duration),
}

/// Why a text asks for nothing that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// A `$` prefix that does not exist, or not here.
    #[error(
        "unknown prefix: $share/GROUP/FILTER, $share/GROUP/$replay/START/FILTER, $replay/START/FILTER, $meta/FILTER, $meta/$replay/START/FILTER, $exclusive/FILTER, $events/FILTER, $dropped/FILTER, $expired/FILTER"
    )]
    UnknownPrefix,
    /// A start that can't be read.
    #[error(
        "bad start: earliest | latest | committed | last-N | o-OFFSET | t-UNIXMS | ago-15m | 2026-08-01T00:00:00Z"
    )]
    BadStart,
    /// A start beyond the end of the log, or later than the present.
    #[error("the start is beyond what is stored")]
    StartBeyondEnd,
    /// A start in the text and another as a user property, or two of those.
    #[error("two starts")]
    TwoStarts,
    /// An end or a pace of what does not begin.
    #[error("until, limit and pace need a start: $replay/START/FILTER, or the user property from")]
    StartMissing,
    /// An end that can't be read, or is beyond what is stored.
    #[error(
        "bad until: latest | o-OFFSET | t-UNIXMS | ago-15m | 2026-08-01T00:00:00Z, not beyond the present"
    )]
    BadUntil,
    /// A limit that can't be read.
    #[error("bad limit: a number from 1 on")]
    BadLimit,
    /// A pace that can't be read.
    #[error("bad pace: max | 1x | 10x, up to 1000x")]
    BadPace,
    /// A prefix or a wish that is not for exclusive subscriptions.
    #[error("$replay and $meta do not go with $exclusive")]
    NotExclusive,
    /// An end or a pace for a group.
    #[error("until, limit and pace do not go with $share")]
    NotShared,
    /// A strategy that can't be read.
    #[error("bad strategy: least-inflight | round-robin | random | sticky | key | exclusive")]
    BadStrategy,
    /// A commit mode that can't be read.
    #[error("bad commit: ack | manual")]
    BadCommit,
    /// What only a group has, without one.
    #[error("strategy and commit need a group with a start: $share/GROUP/$replay/START/FILTER")]
    GroupMissing,
    /// A group that was declared with other words, or has begun without any.
    #[error(
        "the group exists with another start, strategy or commit: $ctl/groups/GROUP/seek moves it"
    )]
    OtherGroup,
    /// A second subscription of the session to the same group.
    #[error("the session is in this group already, by another subscription")]
    AlreadyMember,
    /// A member of a group with manual commit that acknowledges nothing.
    #[error("a group with manual commit needs QoS 1 or 2")]
    NoAcknowledgement,
    /// More durable groups than are allowed.
    #[error("there are as many groups as are allowed: limits.groups_max")]
    TooManyGroups,
    /// What is behind the prefixes is no topic filter, or the group's name is none.
    #[error("{0}")]
    Filter(#[from] Violation),
}

impl Address {
    /// Takes a text apart.
    ///
    /// # Errors
    /// [`AddressError`] for a text that asks for nothing that there is.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut rest = text;
        let mut share = None;
        if let Some(shared) = rest.strip_prefix(SHARE) {
            let (name, filter) = shared.split_once('/').ok_or(Violation::SharedFilterMissing)?;
            share = Some(ShareName::try_from(name)?);
            rest = filter;
        }
        let exclusive = share.is_none() && rest.starts_with(EXCLUSIVE);
        if exclusive {
            rest = rest.strip_prefix(EXCLUSIVE).unwrap_or(rest);
            if rest.starts_with(META) || rest.starts_with(REPLAY) {
                return Err(AddressError::NotExclusive);
            }
        }
        let meta = rest.starts_with(META);
        rest = rest.strip_prefix(META).unwrap_or(rest);
        let mut replay = None;
        if let Some(replayed) = rest.strip_prefix(REPLAY) {
            let (start, filter) = replayed.split_once('/').ok_or(AddressError::BadStart)?;
            replay = Some(Start::parse(start)?);
            rest = filter;
        }
        let prefixed = rest.len() < text.len();
        if rest.starts_with('$') && (prefixed || !(is_of_broker(rest) || rest.starts_with(REPLIES)))
        {
            return Err(AddressError::UnknownPrefix);
        }
        Ok(Self { share, exclusive, meta, replay, filter: TopicFilter::try_from(rest)? })
    }
}

impl Start {
    /// Reads one topic level.
    ///
    /// # Errors
    /// [`AddressError::BadStart`], whose text shows the grammar.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let start = match text {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            "committed" => Some(Self::Committed),
            _ => match text.split_once('-') {
                Some(("last", count)) => last(count),
                Some(("o", offset)) => {
                    decimal(offset).map(|offset| Self::Offset(Offset::new(offset)))
                }
                Some(("t", millis)) => {
                    decimal(millis).and_then(Timestamp::from_millis).map(Self::At)
                }
                Some(("ago", length)) => humantime::parse_duration(length).ok().map(Self::Ago),
                _ => Timestamp::parse(text).map(Self::At),
            },
        };
        start.ok_or(AddressError::BadStart)
    }
}

/// The topic filter in a subscription's text, without `$exclusive/`, `$meta/` and `$replay/…/` and without looking whether they are right: for
/// texts that were taken before. A shared subscription's text stays as it is.
pub fn plain_filter(text: &str) -> &str {
    if !text.starts_with('$') {
        return text;
    }
    if let Some(filter) = text.strip_prefix(EXCLUSIVE) {
        return filter;
    }
    let rest = text.strip_prefix(META).unwrap_or(text);
    let replayed = rest.strip_prefix(REPLAY).and_then(|replayed| replayed.split_once('/'));
    replayed.map_or(rest, |(_, filter)| filter)
}

/// Whether a filter is one of topics that the broker itself publishes to.
fn is_of_broker(filter: &str) -> bool {
    matches!(filter.split('/').next(), Some("$SYS" | "$events" | "$dropped" | "$expired"))
}

/// Reads a number of digits and nothing else: no sign, no blank.
pub fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn last(text: &str) -> Option<Start> {
    let count = u32::try_from(decimal(text)?).ok().filter(|count| *count <= LAST_MAX)?;
    NonZeroU32::new(count).map(Start::Last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> Result<Start, AddressError> {
        Start::parse(text)
    }

    #[test]
    fn starts_are_read() {
        let last = |count| Start::Last(NonZeroU32::new(count).unwrap());
        for (text, expected) in [
            ("earliest", Start::Earliest),
            ("latest", Start::Latest),
            ("committed", Start::Committed),
            ("last-1", last(1)),
            ("last-100000", last(LAST_MAX)),
            ("o-0", Start::Offset(Offset::ZERO)),
            ("o-18422", Start::Offset(Offset::new(18_422))),
            ("o-18446744073709551615", Start::Offset(Offset::MAX)),
            ("t-1767225600000", Start::At(Timestamp::from_micros(1_767_225_600_000_000))),
            ("ago-15m", Start::Ago(Duration::from_mins(15))),
            ("ago-1h 30m", Start::Ago(Duration::from_mins(90))),
            ("ago-1h30m", Start::Ago(Duration::from_mins(90))),
            ("2026-01-01T00:00:00Z", Start::At(Timestamp::from_micros(1_767_225_600_000_000))),
            ("2026-01-01T00:00:00.25Z", Start::At(Timestamp::from_micros(1_767_225_600_250_000))),
        ] {
            assert_eq!(start(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_starts_are_refused_with_the_grammar() {
        for text in [
            "",
            "Earliest",
            "last-0",
            "last-100001",
            "last-",
            "last--1",
            "o-",
            "o-+1",
            "o- 1",
            "o-18446744073709551616",
            "t-99999999999999999999",
            "t-18446744073709551615",
            "ago-",
            "ago-15",
            "ago--15m",
            "ago-99999999999999999999y",
            "2026-01-01",
            "2026-01-01T00:00:00+08:00",
            "1969-12-31T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "yesterday",
            "o-1-2",
        ] {
            assert_eq!(start(text), Err(AddressError::BadStart), "{text}");
        }
        assert!(AddressError::BadStart.to_string().contains("earliest | latest | committed"));
    }

    #[test]
    fn a_text_splits_into_its_parts() {
        let parsed = Address::parse("$share/g/$meta/$replay/last-5/a/+/#").unwrap();
        assert_eq!(parsed.share.unwrap().as_str(), "g");
        assert!(parsed.meta);
        assert_eq!(parsed.replay, Some(Start::Last(NonZeroU32::new(5).unwrap())));
        assert_eq!(parsed.filter.as_str(), "a/+/#");
        let plain = Address::parse("a/b").unwrap();
        assert_eq!((plain.share, plain.meta, plain.replay), (None, false, None));
        let leading = Address::parse("$replay/earliest//a").unwrap();
        assert_eq!(leading.filter.as_str(), "/a");
        assert!(Address::parse("$SYS/#").is_ok() && Address::parse("$ctl/reply/me").is_ok());
        let exclusive = Address::parse("$exclusive/a/#").unwrap();
        assert_eq!((exclusive.exclusive, exclusive.filter.as_str()), (true, "a/#"));
    }

    #[test]
    fn texts_that_ask_for_nothing_are_refused() {
        for (text, error) in [
            ("$replay", AddressError::UnknownPrefix),
            ("$replay/earliest", AddressError::BadStart),
            ("$replay/earliest/", AddressError::Filter(Violation::TopicFilterEmpty)),
            ("$replay//a", AddressError::BadStart),
            ("$replay/+/a", AddressError::BadStart),
            ("$replay/earliest/$SYS/#", AddressError::UnknownPrefix),
            ("$replay/earliest/$replay/earliest/a", AddressError::UnknownPrefix),
            ("$replay/earliest/$meta/a", AddressError::UnknownPrefix),
            ("$meta/$meta/a", AddressError::UnknownPrefix),
            ("$meta/", AddressError::Filter(Violation::TopicFilterEmpty)),
            ("$meta", AddressError::UnknownPrefix),
            ("$nothing/a", AddressError::UnknownPrefix),
            ("$exclusive", AddressError::UnknownPrefix),
            ("$exclusive/", AddressError::Filter(Violation::TopicFilterEmpty)),
            ("$exclusive/$SYS/#", AddressError::UnknownPrefix),
            ("$exclusive/$exclusive/a", AddressError::UnknownPrefix),
            ("$exclusive/$meta/a", AddressError::NotExclusive),
            ("$exclusive/$replay/earliest/a", AddressError::NotExclusive),
            ("$share/g/$exclusive/a", AddressError::UnknownPrefix),
            ("$meta/$ctl/reply/me", AddressError::UnknownPrefix),
            ("$ctl/delayed/list", AddressError::UnknownPrefix),
            ("$SYSTEM/a", AddressError::UnknownPrefix),
            ("$share/g", AddressError::Filter(Violation::SharedFilterMissing)),
            ("$share//a", AddressError::Filter(Violation::ShareNameEmpty)),
            ("$share/g/$share/h/a", AddressError::UnknownPrefix),
            (
                "$replay/earliest/a/#/b",
                AddressError::Filter(Violation::MultiLevelWildcardMisplaced),
            ),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_plain_filter_is_what_parse_finds() {
        let replays = ["$replay/o-7/a", "$meta/$replay/earliest//a"];
        for text in ["a/+", "$meta/a/#", "$SYS/#", "$exclusive/a"].into_iter().chain(replays) {
            assert_eq!(plain_filter(text), &*Address::parse(text).unwrap().filter, "{text}");
        }
        assert_eq!(plain_filter("$share/g/a"), "$share/g/a");
    }
}
