//! Values as people write them: sizes, times, limits, paths.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::Visitor;

use crate::mqtt::TopicFilter;

/// How a limit says that there is none.
const UNLIMITED: &str = "unlimited";

/// The units of a size.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
];

/// Bytes: a number, or text as in "64 MiB".
pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    written::<Size, D>(deserializer)
}

/// Bytes, or "unlimited".
pub(super) fn size_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    written::<Limit<Size>, D>(deserializer)
}

/// A number of things.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    written::<Count<u32>, D>(deserializer)
}

/// A number of things that a field of a packet can say.
pub(super) fn short_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    written::<Count<u16>, D>(deserializer)
}

/// A number, or "unlimited".
pub(super) fn count_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    written::<Limit<Count<u32>>, D>(deserializer)
}

/// A time as in "1h 30m".
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    written::<Time, D>(deserializer)
}

/// A time, or "unlimited".
pub(super) fn time_limit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    written::<Limit<Time>, D>(deserializer)
}

/// A path; an empty one is none.
pub(super) fn path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    Ok(text(deserializer)?.map(PathBuf::from))
}

/// Text; empty text is none.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()))
}

/// Topic filters with commas between them; empty text is none.
pub(super) fn filters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TopicFilter>, D::Error> {
    let text = text(deserializer)?.unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    let filter = |part: &str| {
        TopicFilter::try_from(part)
            .map_err(|_| de::Error::custom("expected topic filters with commas between them"))
    };
    parts.map(filter).collect()
}

fn written<'de, W: Written, D: Deserializer<'de>>(deserializer: D) -> Result<W::Value, D::Error> {
    deserializer.deserialize_any(WrittenVisitor::<W>(PhantomData))
}

/// A kind of value that is written as text, or as a bare number where that is plain.
trait Written {
    type Value;
    /// What is expected, in words.
    fn form() -> String;
    fn from_text(text: &str) -> Option<Self::Value>;
    fn from_number(number: u64) -> Option<Self::Value>;
}

struct WrittenVisitor<W>(PhantomData<W>);

impl<W: Written> Visitor<'_> for WrittenVisitor<W> {
    type Value = W::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&W::form())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<W::Value, E> {
        W::from_text(text.trim()).ok_or_else(refused::<W, E>)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<W::Value, E> {
        u64::try_from(number).ok().and_then(W::from_number).ok_or_else(refused::<W, E>)
    }
}

/// Whoever reports it says the value, too.
fn refused<W: Written, E: de::Error>() -> E {
    E::custom(format_args!("expected {}", W::form()))
}

struct Size;

impl Written for Size {
    type Value = u64;

    fn form() -> String {
        "a size as in \"64 MiB\"".to_owned()
    }

    fn from_text(text: &str) -> Option<u64> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits)?;
        let unit = unit.trim().to_ascii_uppercase();
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
        number.replace('_', "").parse::<u64>().ok()?.checked_mul(*bytes)
    }

    fn from_number(number: u64) -> Option<u64> {
        Some(number)
    }
}

struct Count<T>(PhantomData<T>);

impl<T: Bounded + fmt::Display + FromStr + TryFrom<u64>> Written for Count<T> {
    type Value = T;

    fn form() -> String {
        format!("a whole number up to {}", T::MAX)
    }

    fn from_text(text: &str) -> Option<T> {
        text.replace('_', "").parse().ok()
    }

    fn from_number(number: u64) -> Option<T> {
        number.try_into().ok()
    }
}

/// A kind of number with an end.
trait Bounded {
    const MAX: Self;
}

impl Bounded for u16 {
    const MAX: Self = Self::MAX;
}

impl Bounded for u32 {
    const MAX: Self = Self::MAX;
}

struct Time;

impl Written for Time {
    type Value = Duration;

    fn form() -> String {
        "a time with its unit as in \"30s\" or \"1h 30m\"".to_owned()
    }

    fn from_text(text: &str) -> Option<Duration> {
        humantime::parse_duration(text).ok()
    }

    fn from_number(number: u64) -> Option<Duration> {
        (number == 0).then_some(Duration::ZERO)
    }
}

struct Limit<W>(PhantomData<W>);

impl<W: Written> Written for Limit<W> {
    type Value = Option<W::Value>;

    fn form() -> String {
        format!("{}, or \"{UNLIMITED}\"", W::form())
    }

    fn from_text(text: &str) -> Option<Option<W::Value>> {
        if text.eq_ignore_ascii_case(UNLIMITED) { Some(None) } else { W::from_text(text).map(Some) }
    }

    fn from_number(number: u64) -> Option<Option<W::Value>> {
        W::from_number(number).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary() {
        let cases = [
            ("0", Some(0)),
            ("64 MiB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1 kB", Some(1_000)),
            ("2 TB", Some(2_000_000_000_000)),
            ("1_024 B", Some(1_024)),
            ("", None),
            ("MiB", None),
            ("1.5 MiB", None),
            ("64 M", None),
            ("-1", None),
            ("99999999999 TiB", None),
            ("1 MiB x", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(Size::from_text(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn a_time_needs_its_unit_unless_it_is_zero() {
        assert_eq!(Time::from_text("1h 30m"), Some(Duration::from_mins(90)));
        assert_eq!(Time::from_text("30"), None);
        assert_eq!(Time::from_number(30), None);
        assert_eq!(Time::from_number(0), Some(Duration::ZERO));
    }

    #[test]
    fn unlimited_is_no_limit() {
        assert_eq!(Limit::<Count<u32>>::from_text("unlimited"), Some(None));
        assert_eq!(Limit::<Count<u32>>::from_text("Unlimited"), Some(None));
        assert_eq!(Limit::<Count<u32>>::from_text("7"), Some(Some(7)));
        assert_eq!(Limit::<Count<u32>>::from_text("none"), None);
        assert_eq!(Count::<u32>::from_number(1 << 32), None);
    }
}
