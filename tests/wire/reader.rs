//! Reads the fields of a packet from its bytes, and panics at the first broken rule: in a test that is a finding.

/// A position in the bytes of one packet.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            count <= self.rest.len(),
            "a field of {count} bytes reaches beyond the packet's end"
        );
        let (field, rest) = self.rest.split_at(count);
        self.rest = rest;
        field
    }

    /// All that is left.
    pub(crate) fn remaining(&mut self) -> &'a [u8] {
        self.take(self.rest.len())
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    /// One byte that is 0 or 1.
    pub(crate) fn flag(&mut self) -> u8 {
        let value = self.byte();
        assert!(value <= 1, "a flag is {value}");
        value
    }

    /// Two bytes.
    pub(crate) fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    /// Four bytes.
    pub(crate) fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    /// A packet identifier, which is never 0.
    pub(crate) fn packet_id(&mut self) -> u16 {
        let id = self.two();
        assert_ne!(id, 0, "a packet identifier is 0");
        id
    }

    /// A length and as many bytes.
    pub(crate) fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.take(usize::from(length)).to_vec()
    }

    /// A string: UTF-8, no surrogates, no U+0000.
    pub(crate) fn string(&mut self) -> String {
        let text = String::from_utf8(self.binary()).expect("strings are UTF-8");
        assert!(!text.contains('\0'), "U+0000 in {text:?}");
        text
    }

    /// A variable byte integer in as few bytes as possible.
    pub(crate) fn variable(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                assert!(
                    byte != 0 || shift == 0,
                    "a variable byte integer is longer than it has to be"
                );
                return value;
            }
        }
        panic!("a variable byte integer has more than four bytes");
    }
}
