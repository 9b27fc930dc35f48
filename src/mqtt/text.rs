//! [`Text`], the UTF-8 string of the protocol, and [`ClientId`].
//!
//! A `Text` is valid UTF-8 without U+0000 and at most 65,535 bytes long, so it can always be encoded.
//! A byte order mark is an ordinary character. [MQTT-1.5.4-3]

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::Violation;

/// The longest string or binary field, in bytes. [MQTT-4.7.3-3]
pub const FIELD_LENGTH_MAX: usize = 65_535;

/// A string that every packet can carry. Cloning is cheap.
#[derive(Clone)]
pub struct Text(Content);

#[derive(Clone)]
enum Content {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    /// The empty string.
    pub const EMPTY: Self = Self(Content::Static(""));

    /// A string of the program's own, without a copy.
    ///
    /// # Panics
    ///
    /// If the string is no [`Text`]; in a constant this fails the build.
    pub const fn from_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= FIELD_LENGTH_MAX, "a text has at most 65,535 bytes");
        let mut rest = bytes;
        while let Some((first, tail)) = rest.split_first() {
            assert!(*first != 0, "a text has no U+0000");
            rest = tail;
        }
        Self(Content::Static(text))
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Content::Static(text) => text,
            Content::Shared(text) => text,
        }
    }

    /// Takes a string whose content [`check`] has seen.
    pub(super) fn from_checked(text: &str) -> Self {
        if text.is_empty() { Self::EMPTY } else { Self(Content::Shared(Arc::from(text))) }
    }
}

/// Checks what is not already a property of `str`: no U+0000, not too long. [MQTT-1.5.4-2]
pub(super) fn check(text: &str) -> Result<(), Violation> {
    if text.len() > FIELD_LENGTH_MAX {
        return Err(Violation::TextTooLong);
    }
    if text.as_bytes().contains(&0) {
        return Err(Violation::TextWithNul);
    }
    Ok(())
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl TryFrom<&str> for Text {
    type Error = Violation;

    fn try_from(text: &str) -> Result<Self, Violation> {
        check(text)?;
        Ok(Self::from_checked(text))
    }
}

impl TryFrom<String> for Text {
    type Error = Violation;

    fn try_from(text: String) -> Result<Self, Violation> {
        Self::try_from(text.as_str())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = Violation;

    /// Also refuses what is not UTF-8. [MQTT-1.5.4-1]
    fn try_from(bytes: Bytes) -> Result<Self, Violation> {
        let text = simdutf8::basic::from_utf8(&bytes).map_err(|_| Violation::TextNotUtf8)?;
        Self::try_from(text)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Makes a type of its own out of [`Text`]: everything a string can do, but only for strings that `$check` passes.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::mqtt::Text);

        impl $name {
            /// The string itself.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The string as the protocol's general type.
            pub fn as_text(&self) -> &$crate::mqtt::Text {
                &self.0
            }
        }

        impl TryFrom<$crate::mqtt::Text> for $name {
            type Error = $crate::mqtt::Violation;

            fn try_from(text: $crate::mqtt::Text) -> Result<Self, Self::Error> {
                let check: fn(&str) -> Result<(), $crate::mqtt::Violation> = $check;
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::mqtt::Violation;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::try_from($crate::mqtt::Text::try_from(text)?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::mqtt::Violation;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::try_from(text.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::mqtt::Violation;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text)
            }
        }

        impl From<$name> for $crate::mqtt::Text {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

pub(super) use checked_text;

checked_text! {
    /// A Client Identifier that names a session: a text of at least one byte. The empty one of a CONNECT
    /// names none, and the server assigns another. [MQTT-3.1.3-2] [MQTT-3.1.3-6]
    ClientId,
    |text| if text.is_empty() { Err(Violation::ClientIdEmpty) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_short_enough_and_has_no_nul() {
        assert_eq!(Text::try_from("a\0"), Err(Violation::TextWithNul));
        assert_eq!(Text::try_from("x".repeat(FIELD_LENGTH_MAX + 1)), Err(Violation::TextTooLong));
        assert_eq!(Text::try_from("x".repeat(FIELD_LENGTH_MAX)).unwrap().len(), FIELD_LENGTH_MAX);
        assert_eq!(Text::try_from("\u{FEFF}a").unwrap(), "\u{FEFF}a");
    }

    #[test]
    fn bytes_become_text_if_they_are_utf8() {
        assert_eq!(Text::try_from(Bytes::from_static("ä€".as_bytes())).unwrap(), "ä€");
        for broken in
            [b"\xff".as_slice(), b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\xc3"]
        {
            assert_eq!(Text::try_from(Bytes::from_static(broken)), Err(Violation::TextNotUtf8));
        }
    }

    #[test]
    fn texts_are_equal_and_hash_alike_wherever_they_lie() {
        const NAME: Text = Text::from_static("name");
        let copied = Text::try_from(String::from("name")).unwrap();
        assert_eq!((NAME, NAME.cmp(&copied)), (copied.clone(), Ordering::Equal));
        let set: crate::collections::Set<Text> = [NAME, copied].into_iter().collect();
        assert_eq!(set.len(), 1);
        assert!(set.contains("name"));
    }

    #[test]
    fn a_client_id_is_not_empty() {
        assert_eq!(ClientId::try_from(""), Err(Violation::ClientIdEmpty));
        assert_eq!(ClientId::try_from("ü").unwrap(), "ü");
    }
}
