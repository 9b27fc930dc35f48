//! `Held`: a message of a durable group with manual commit that was delivered and is not committed.
//!
//! ```text
//! client id | key (optional, 8 bytes)
//! ```

use crate::mqtt::ClientId;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// A message that was delivered and is not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// Whom it was delivered to.
    pub client: ClientId,
    /// The hash of its key, in a group that promises an order.
    pub key: Option<u64>,
}

impl HeldRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.client.as_bytes());
        out.put_option(self.key, Vec::put_varint);
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let client = ClientId::try_from(std::str::from_utf8(input.bytes()?).ok()?).ok()?;
        Some(Self { client, key: input.option(Decoder::varint)? })
    }
}
