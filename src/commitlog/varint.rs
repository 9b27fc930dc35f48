//! Numbers of one to ten bytes: seven bits each, the lowest first, the top bit set on all but the last.

/// The most bytes a number takes.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends a number.
pub(super) fn put(target: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        target.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    target.push((number & 0x7f) as u8);
}

/// Appends a signed number: small ones of either sign are short.
pub(super) fn put_signed(target: &mut Vec<u8>, number: i64) {
    put(target, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Takes a number off the front; `None` if there is no whole one of at most 64 bits.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..)?;
            return Some(number);
        }
    }
    None
}

/// Takes a signed number off the front.
pub(super) fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let number = take(bytes)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// Takes a length off the front.
pub(super) fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(take(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in
            [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]
        {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut rest = bytes.as_slice();
            assert_eq!(take(&mut rest), Some(number));
            assert!(rest.is_empty());
        }
        for number in [0, -1, 1, 63, -64, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, number);
            assert_eq!(take_signed(&mut bytes.as_slice()), Some(number));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0x80; 11]] {
            assert_eq!(take(&mut &*bytes), None);
        }
    }
}
