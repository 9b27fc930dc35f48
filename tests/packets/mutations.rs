//! Valid packets, broken in every way: nothing panics, nothing complete waits, what is accepted is stable.

use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;

use crate::check;
use crate::generate;
use crate::generate::Generator;

/// Broken inputs per version and side.
const INPUTS: u64 = 50_000;

/// Breaks a packet at a few places, and half the time repairs its remaining length.
fn mutate(generator: &mut Generator, bytes: &mut Vec<u8>) {
    for _ in 0..=generator.below(3) {
        let at = generator.below(bytes.len());
        match generator.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << generator.below(8),
            1 if !bytes.is_empty() => bytes[at] = generator.byte(),
            2 if !bytes.is_empty() => {
                bytes[at] = generator.pick(&[0, 1, 0x7F, 0x80, 0xFF, b'#', b'+', b'/']);
            }
            3 => bytes.insert(at, generator.byte()),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => bytes.truncate(at),
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail);
            }
        }
    }
    if generator.coin() && bytes.len() >= 2 && bytes.len() < 130 {
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
    }
}

fn hold_from_client(version: ProtocolVersion) {
    let types = generate::from_client(version);
    let mut generator = Generator::new(version, 1);
    for _ in 0..INPUTS {
        let packet_type = generator.pick(&types);
        let packet = generator.packet(packet_type);
        let mut bytes = check::encode(&packet, version).to_vec();
        mutate(&mut generator, &mut bytes);
        let connect = matches!(packet, Packet::Connect(_));
        let decoder = if connect { check::fresh_server() } else { check::server(version) };
        check::check_stream(decoder, &bytes);
    }
}

fn hold_from_server(version: ProtocolVersion) {
    let types = generate::from_server(version);
    let mut generator = Generator::new(version, 2);
    for _ in 0..INPUTS {
        let packet_type = generator.pick(&types);
        let mut bytes = check::encode(&generator.packet(packet_type), version).to_vec();
        mutate(&mut generator, &mut bytes);
        check::check_stream(check::client(version), &bytes);
    }
}

#[test]
fn broken_packets_of_3_1_clients() {
    hold_from_client(ProtocolVersion::V3_1);
}

#[test]
fn broken_packets_of_3_1_1_clients() {
    hold_from_client(ProtocolVersion::V3_1_1);
}

#[test]
fn broken_packets_of_5_0_clients() {
    hold_from_client(ProtocolVersion::V5);
}

#[test]
fn broken_packets_of_3_1_servers() {
    hold_from_server(ProtocolVersion::V3_1);
}

#[test]
fn broken_packets_of_3_1_1_servers() {
    hold_from_server(ProtocolVersion::V3_1_1);
}

#[test]
fn broken_packets_of_5_0_servers() {
    hold_from_server(ProtocolVersion::V5);
}

#[test]
fn noise() {
    let mut generator = Generator::new(ProtocolVersion::V5, 3);
    for _ in 0..INPUTS {
        let length = generator.below(40);
        let bytes: Vec<u8> = (0..length).map(|_| generator.byte()).collect();
        for version in ProtocolVersion::ALL {
            check::check_stream(check::client(version), &bytes);
            check::check_stream(check::server(version), &bytes);
        }
        check::check_stream(check::fresh_server(), &bytes);
    }
}
