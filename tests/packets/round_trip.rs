//! Generated packets, encoded and outcome again.

use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;

use crate::check;
use crate::generate;
use crate::generate::Generator;

const ROUNDS: u64 = 400;

#[test]
fn what_a_client_sends_decodes_to_what_it_was() {
    for version in ProtocolVersion::ALL {
        for packet_type in generate::from_client(version) {
            for seed in 0..ROUNDS {
                let packet = Generator::new(version, seed).packet(packet_type);
                let connect = matches!(packet, Packet::Connect(_));
                let mut decoder =
                    if connect { check::fresh_server() } else { check::server(version) };
                let bytes = check::encode(&packet, version);
                let length = bytes.len();
                let outcome = check::check(&mut decoder, &bytes);
                assert_eq!(outcome, Ok(Some((packet, length))), "{version}, seed {seed}");
                assert_eq!(decoder.version(), Some(version));
            }
        }
    }
}

#[test]
fn what_a_server_sends_decodes_to_what_it_was() {
    for version in ProtocolVersion::ALL {
        for packet_type in generate::from_server(version) {
            for seed in 0..ROUNDS {
                let packet = Generator::new(version, seed).packet(packet_type);
                let bytes = check::encode(&packet, version);
                let length = bytes.len();
                let outcome = check::check(&mut check::client(version), &bytes);
                assert_eq!(outcome, Ok(Some((packet, length))), "{version}, seed {seed}");
            }
        }
    }
}

#[test]
fn deliveries_keep_all_their_subscription_ids() {
    for seed in 0..ROUNDS {
        let version = ProtocolVersion::V5;
        let publish = Packet::Publish(Box::new(Generator::new(version, seed).delivery(5)));
        let bytes = check::encode(&publish, version);
        let length = bytes.len();
        let outcome = check::check(&mut check::client(version), &bytes);
        assert_eq!(outcome, Ok(Some((publish, length))), "seed {seed}");
    }
}

#[test]
fn every_beginning_of_a_packet_waits_for_the_rest() {
    for version in ProtocolVersion::ALL {
        for packet_type in generate::from_client(version) {
            for seed in 0..20 {
                let packet = Generator::new(version, seed).packet(packet_type);
                let bytes = check::encode(&packet, version);
                let connect = matches!(packet, Packet::Connect(_));
                for end in 0..bytes.len() {
                    let mut decoder =
                        if connect { check::fresh_server() } else { check::server(version) };
                    assert_eq!(
                        check::check(&mut decoder, &bytes[..end]),
                        Ok(None),
                        "{packet:?} up to {end}"
                    );
                }
            }
        }
    }
}

#[test]
fn packets_that_come_together_are_told_apart() {
    let version = ProtocolVersion::V5;
    let mut stream = Vec::new();
    let mut packets = Vec::new();
    for packet_type in generate::from_client(version) {
        let packet = Generator::new(version, 7).packet(packet_type);
        stream.extend_from_slice(&check::encode(&packet, version));
        packets.push(packet);
    }
    let mut decoder = check::fresh_server();
    let mut rest = stream.as_slice();
    for packet in packets {
        let (outcome, length) = check::check(&mut decoder, rest).unwrap().unwrap();
        assert_eq!(outcome, packet);
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
}
