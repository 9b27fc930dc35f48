//! Any bytes, from either side: the ways to decode agree, and what is accepted encodes to what decodes to the same.
//!
//! The first byte says the side and the version, the rest is what comes in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog::mqtt::ProtocolVersion;

#[path = "../../tests/packets/check.rs"]
mod check;

fuzz_target!(|input: &[u8]| {
    let Some((first, input)) = input.split_first() else { return };
    let decoder = match first % 7 {
        0 => check::fresh_server(),
        1 => check::server(ProtocolVersion::V3_1),
        2 => check::server(ProtocolVersion::V3_1_1),
        3 => check::server(ProtocolVersion::V5),
        4 => check::client(ProtocolVersion::V3_1),
        5 => check::client(ProtocolVersion::V3_1_1),
        _ => check::client(ProtocolVersion::V5),
    };
    check::check_stream(decoder, input);
});
