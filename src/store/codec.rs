//! Numbers and strings inside rows and messages: little-endian, lengths as LEB128.
//!
//! Decoding never panics and never allocates by a declared length; `None` means that the bytes are no such value.

use crate::commitlog::Offset;
use crate::mqtt::Text;
use crate::time::Timestamp;

/// The most bytes that a LEB128 number takes.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends values to a buffer.
pub(super) trait Encode {
    /// One byte.
    fn put_u8(&mut self, value: u8);
    /// Bytes as they are.
    fn put_raw(&mut self, bytes: &[u8]);

    /// Four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put_raw(&value.to_le_bytes());
    }

    /// Eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put_raw(&value.to_le_bytes());
    }

    /// LEB128.
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.put_u8(value.to_le_bytes()[0]);
    }

    /// Length and bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put_raw(bytes);
    }

    /// Whether there is a value, and the value.
    fn put_option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.put_u8(0),
            Some(value) => {
                self.put_u8(1);
                put(self, value);
            }
        }
    }

    /// A record's number.
    fn put_offset(&mut self, offset: Offset) {
        self.put_varint(offset.as_u64());
    }

    /// A moment.
    fn put_timestamp(&mut self, timestamp: Timestamp) {
        self.put_varint(timestamp.as_micros());
    }
}

impl Encode for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes values from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// A decoder of all of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not taken.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// `value`, if nothing is left.
    pub(super) fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }

    pub(super) fn raw(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if group == VARINT_BYTES_MAX - 1 && bits > 1 {
                return None;
            }
            value |= bits << (7 * group);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.raw(length)
    }

    pub(super) fn text(&mut self) -> Option<Text> {
        Text::try_from(std::str::from_utf8(self.bytes()?).ok()?).ok()
    }

    #[expect(clippy::option_option, reason = "not a value, no value, a value")]
    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => take(self).map(Some),
            _ => None,
        }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn offset(&mut self) -> Option<Offset> {
        self.varint().map(Offset::new)
    }

    pub(super) fn timestamp(&mut self) -> Option<Timestamp> {
        self.varint().map(Timestamp::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_overlong_ones_are_refused() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]
        {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            let mut decoder = Decoder::new(&bytes);
            assert_eq!(decoder.varint(), Some(value));
            assert_eq!(decoder.finish(()), Some(()));
        }
        assert_eq!(Decoder::new(&[0xff; 11]).varint(), None);
        assert_eq!(Decoder::new(&[0x80]).varint(), None);
    }

    #[test]
    fn a_declared_length_beyond_the_end_is_no_value() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX);
        assert_eq!(Decoder::new(&bytes).bytes(), None);
    }
}
