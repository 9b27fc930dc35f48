//! `Inbound`: the offset of a QoS 2 message whose packet id its publisher has not released.
//!
//! ```text
//! offset
//! ```

use crate::commitlog::Offset;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

pub(super) fn encode(offset: Offset, out: &mut Vec<u8>) {
    out.put_offset(offset);
}

pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Offset> {
    input.offset()
}
