//! What every payload begins with: who published it, as which of its messages, and when it was due.
//!
//! ```text
//! 0    2     4           8         16       24
//! ├────┼─────┼───────────┼─────────┼────────┤
//! │ tl │ run │ publisher │ number  │ due    │  big endian; due in nanoseconds since 1970
//! └────┴─────┴───────────┴─────────┴────────┘
//! ```

/// How long a stamp is: the smallest payload.
pub(super) const STAMP_BYTES: usize = 24;

/// What the rest of a payload consists of.
pub(super) const FILLER: u8 = b'.';

/// What payloads are compared with, piece by piece.
static FILLING: [u8; 4096] = [FILLER; 4096];

/// What a stamp begins with.
const MARK: [u8; 2] = *b"tl";

/// A message's place in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Tells one run from another.
    pub(super) run: u16,
    /// Which publisher of the run.
    pub(super) publisher: u32,
    /// Which of its messages, from 0.
    pub(super) number: u64,
    /// When it was to be sent, in nanoseconds since 1970.
    pub(super) due: u64,
}

impl Stamp {
    /// As bytes.
    pub(super) fn encode(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let (mark, rest) = bytes.split_at_mut(2);
        mark.copy_from_slice(&MARK);
        let (run, rest) = rest.split_at_mut(2);
        run.copy_from_slice(&self.run.to_be_bytes());
        let (publisher, rest) = rest.split_at_mut(4);
        publisher.copy_from_slice(&self.publisher.to_be_bytes());
        let (number, due) = rest.split_at_mut(8);
        number.copy_from_slice(&self.number.to_be_bytes());
        due.copy_from_slice(&self.due.to_be_bytes());
        bytes
    }

    /// The stamp that a payload begins with, and what follows it; `None` if there is none.
    pub(super) fn split(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (mark, rest) = payload.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (due, rest) = rest.split_first_chunk()?;
        let stamp = Self {
            run: u16::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            number: u64::from_be_bytes(*number),
            due: u64::from_be_bytes(*due),
        };
        (*mark == MARK).then_some((stamp, rest))
    }
}

/// Whether these bytes are what follows a stamp.
pub(super) fn is_filler(bytes: &[u8]) -> bool {
    bytes.chunks(FILLING.len()).all(|piece| FILLING.get(..piece.len()) == Some(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_is_told_from_anything_else() {
        let mut bytes = vec![FILLER; 10_000];
        assert!(is_filler(&bytes) && is_filler(b""));
        bytes[9_999] = b'x';
        assert!(!is_filler(&bytes));
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { run: 0xABCD, publisher: 7, number: u64::MAX - 1, due: 1 << 60 };
        let mut payload = stamp.encode().to_vec();
        payload.extend_from_slice(b"...");
        assert_eq!(Stamp::split(&payload), Some((stamp, &b"..."[..])));
        assert_eq!(payload[..4], [b't', b'l', 0xAB, 0xCD]);
    }

    #[test]
    fn what_is_too_short_or_has_another_mark_is_no_stamp() {
        let payload = Stamp { run: 1, publisher: 2, number: 3, due: 4 }.encode();
        assert_eq!(Stamp::split(&payload[..STAMP_BYTES - 1]), None);
        assert_eq!(Stamp::split(b""), None);
        let mut other = payload;
        other[0] = b'x';
        assert_eq!(Stamp::split(&other), None);
    }
}
