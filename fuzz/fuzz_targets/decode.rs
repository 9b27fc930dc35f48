//! Any bytes, from either side: nothing panics, and nothing complete waits.
//!
//! The first byte says the side and the version, the rest is what comes in.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::PACKET_SIZE_MAX;
use tidelog::mqtt::ProtocolVersion;

fuzz_target!(|input: &[u8]| {
    let Some((first, input)) = input.split_first() else { return };
    let mut decoder = match first % 4 {
        0 => Decoder::for_server(8 * 1024, 64 * 1024),
        1 => Decoder::for_client(ProtocolVersion::V3_1, PACKET_SIZE_MAX),
        2 => Decoder::for_client(ProtocolVersion::V3_1_1, PACKET_SIZE_MAX),
        _ => Decoder::for_client(ProtocolVersion::V5, PACKET_SIZE_MAX),
    };
    let mut bytes = BytesMut::from(input);
    while let Ok(Some(_)) = decoder.decode(&mut bytes) {}
});
