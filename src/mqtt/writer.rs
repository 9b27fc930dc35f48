//! [`Sink`]: where the fields of a packet go, either into bytes or, to know a length beforehand, into [`Length`].

use bytes::BytesMut;

use super::EncodeError;
use super::FIELD_LENGTH_MAX;

/// Takes the fields of a packet.
pub(super) trait Sink {
    fn slice(&mut self, bytes: &[u8]);

    fn u8(&mut self, number: u8) {
        self.slice(&[number]);
    }

    fn u16(&mut self, number: u16) {
        self.slice(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.slice(&number.to_be_bytes());
    }

    /// A variable byte integer in its shortest form. [MQTT-1.5.5-1]
    fn variable_byte_integer(&mut self, number: u32) {
        let mut rest = number;
        while rest > 0x7F {
            self.u8(0x80 | low_bits(rest));
            rest >>= 7;
        }
        self.u8(low_bits(rest));
    }

    /// A string or binary data, with its length; [`Length`] has seen that it fits.
    fn field(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.slice(bytes);
    }
}

const fn low_bits(number: u32) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7F
}

impl Sink for BytesMut {
    fn slice(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what is written, and notices fields that are too long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    bytes: usize,
    field_too_long: bool,
}

impl Length {
    /// The bytes counted.
    pub(super) const fn get(self) -> Result<usize, EncodeError> {
        if self.field_too_long { Err(EncodeError::FieldTooLong) } else { Ok(self.bytes) }
    }
}

impl Sink for Length {
    fn slice(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
    }

    fn field(&mut self, bytes: &[u8]) {
        self.field_too_long |= bytes.len() > FIELD_LENGTH_MAX;
        self.bytes = self.bytes.saturating_add(2).saturating_add(bytes.len());
    }
}

/// The properties of a packet, without their length.
pub(super) trait Properties {
    fn write_properties<S: Sink>(&self, out: &mut S);
}

/// Writes a property block with its length. [MQTT-2.2.2-1]
pub(super) fn write_block<S: Sink, P: Properties>(
    out: &mut S,
    properties: &P,
) -> Result<(), EncodeError> {
    let mut length = Length::default();
    properties.write_properties(&mut length);
    let length = u32::try_from(length.get()?).map_err(|_| EncodeError::TooLarge)?;
    out.variable_byte_integer(length);
    properties.write_properties(out);
    Ok(())
}
