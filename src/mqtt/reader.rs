//! [`Reader`]: takes the fields of a packet off its bytes, checking each.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use super::PacketId;
use super::PacketType;
use super::ReasonCode;
use super::Text;
use super::Violation;

/// What is left of a packet, or of the property block in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// What it is called if a field goes past the end.
    overrun: Violation,
}

impl<'a> Reader<'a> {
    /// Reads the body of a packet: everything after the fixed header.
    pub(super) const fn of_body(rest: &'a [u8]) -> Self {
        Self { rest, overrun: Violation::Truncated }
    }

    /// Reads a property block, without its length.
    pub(super) const fn of_properties(rest: &'a [u8]) -> Self {
        Self { rest, overrun: Violation::PropertyOverrun }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Makes sure that nothing is left.
    pub(super) const fn finish(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes) }
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(self.overrun)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(self.overrun)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_be_bytes)
    }

    /// A property of two bytes that must not be zero.
    pub(super) fn non_zero_u16(&mut self) -> Result<NonZeroU16, Violation> {
        NonZeroU16::new(self.u16()?).ok_or(Violation::PropertyZero)
    }

    /// A property of four bytes that must not be zero.
    pub(super) fn non_zero_u32(&mut self) -> Result<NonZeroU32, Violation> {
        NonZeroU32::new(self.u32()?).ok_or(Violation::PropertyZero)
    }

    /// A property of one byte that is 0 or 1.
    pub(super) fn boolean(&mut self) -> Result<bool, Violation> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Violation::PropertyNotBoolean),
        }
    }

    /// A variable byte integer. [MQTT-1.5.5-1]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, Violation> {
        let (number, length) = variable_byte_integer(self.rest)?.ok_or(self.overrun)?;
        self.slice(length)?;
        Ok(number)
    }

    /// Binary data with its length.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.slice(usize::from(length))
    }

    /// A UTF-8 string. [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    pub(super) fn str(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Violation::TextNotUtf8)?;
        if bytes.contains(&0) { Err(Violation::TextWithNul) } else { Ok(text) }
    }

    pub(super) fn text(&mut self) -> Result<Text, Violation> {
        self.str().map(Text::from_checked)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::try_from(self.u16()?)
    }

    /// A reason code that this packet may have.
    pub(super) fn reason_code(&mut self, packet: PacketType) -> Result<ReasonCode, Violation> {
        ReasonCode::from_u8(self.u8()?)
            .filter(|code| code.is_allowed_in(packet))
            .ok_or(Violation::ReasonCodeInvalid)
    }
}

/// The variable byte integer that `bytes` begin with, and its length in bytes; `None` if it goes on after them.
pub(super) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        number |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let minimal = *byte != 0 || index == 0;
            return if minimal {
                Ok(Some((number, index + 1)))
            } else {
                Err(Violation::VariableByteIntegerNotMinimal)
            };
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Violation::VariableByteIntegerTooLong) }
}
