//! The few protocol types that `access` names, until the protocol's own are here.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// 0.
    AtMostOnce,
    /// 1.
    AtLeastOnce,
    /// 2.
    ExactlyOnce,
}

impl TryFrom<u8> for QoS {
    type Error = u8;

    fn try_from(level: u8) -> Result<Self, u8> {
        match level {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(other),
        }
    }
}

/// The reason codes that a login can end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReasonCode {
    /// 0x86.
    BadUserNameOrPassword = 0x86,
    /// 0x87.
    NotAuthorized = 0x87,
    /// 0x89.
    ServerBusy = 0x89,
    /// 0x8C.
    BadAuthenticationMethod = 0x8C,
}

/// A UTF-8 string of MQTT.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

/// Not a string of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextError;

impl TryFrom<&str> for Text {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        let fits = text.len() <= 65_535 && !text.contains('\0');
        if fits { Ok(Self(Bytes::copy_from_slice(text.as_bytes()))) } else { Err(TextError) }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// A client identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Text);

impl TryFrom<&str> for ClientId {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Text::try_from(text).map(Self)
    }
}

impl Deref for ClientId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
