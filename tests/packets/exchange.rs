//! Sending generated packets through another codec and back.

use bytes::BytesMut;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;

use crate::check;
use crate::generate;
use crate::generate::Generator;

const ROUNDS: u64 = 400;

/// Whether a CONNECT has a login that neither peer can carry: their passwords are strings, and one that is empty, or has
/// only a user name or only a password, is an absent login to them.
pub(crate) fn has_odd_login(packet: &Packet) -> bool {
    let Packet::Connect(connect) = packet else { return false };
    match (&connect.user_name, &connect.password) {
        (None, None) => false,
        (Some(name), Some(password)) => {
            name.is_empty() || password.is_empty() || std::str::from_utf8(password).is_err()
        }
        _ => true,
    }
}

/// Decodes what a peer wrote; `packet` tells what it should be.
pub(crate) fn decode(
    packet: &Packet,
    version: ProtocolVersion,
    from_client: bool,
    bytes: &[u8],
) -> Packet {
    let mut decoder = match (from_client, packet) {
        (true, Packet::Connect(_)) => check::fresh_server(),
        (true, _) => check::server(version),
        (false, _) => check::client(version),
    };
    let (read, length) = check::check(&mut decoder, bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len(), "{packet:?} {bytes:02x?}");
    read
}

/// Sends generated packets through a peer, and gives how many it could carry.
pub(crate) fn exchange(
    version: ProtocolVersion,
    unsound: fn(&Packet) -> bool,
    through: fn(&Packet, BytesMut) -> BytesMut,
) -> usize {
    let mut carried = 0;
    for (from_client, types) in
        [(true, generate::from_client(version)), (false, generate::from_server(version))]
    {
        for packet_type in types {
            for seed in 0..ROUNDS {
                let packet = Generator::new(version, seed).packet(packet_type);
                if unsound(&packet) {
                    continue;
                }
                let bytes = through(&packet, check::encode(&packet, version));
                assert_eq!(decode(&packet, version, from_client, &bytes), packet, "seed {seed}");
                carried += 1;
            }
        }
    }
    carried
}
