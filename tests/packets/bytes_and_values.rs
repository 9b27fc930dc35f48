//! The table of known packets, read and written.

use tidelog::mqtt::Decoder;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketType;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Role;

use crate::check;
use crate::table;
use crate::table::Case;

fn decoder_for(case: &Case) -> Decoder {
    match (case.reader, &case.packet) {
        (Role::Client, _) => check::client(case.version),
        (Role::Server, Packet::Connect(_)) => check::fresh_server(),
        (Role::Server, _) => check::server(case.version),
    }
}

#[test]
fn known_bytes_are_read_as_their_values() {
    for case in table::both_ways().iter().chain(&table::only_read()) {
        let decoded = check::check(&mut decoder_for(case), &case.bytes);
        let expected = Some((case.packet.clone(), case.bytes.len()));
        assert_eq!(decoded, Ok(expected), "{} {:02x?}", case.version, case.bytes);
    }
}

#[test]
fn known_values_are_written_as_their_bytes() {
    for case in table::both_ways() {
        let bytes = check::encode(&case.packet, case.version);
        assert_eq!(bytes, case.bytes, "{} {:?}\n{bytes:02x?}", case.version, case.packet);
    }
}

#[test]
fn every_packet_type_of_every_version_is_in_the_table() {
    let cases = table::both_ways();
    for version in ProtocolVersion::ALL {
        for packet_type in PacketType::ALL {
            if packet_type == PacketType::Auth && !version.is_v5() {
                continue;
            }
            let found = cases
                .iter()
                .any(|case| case.version == version && case.packet.packet_type() == packet_type);
            assert!(found, "{packet_type} of {version}");
        }
    }
}
