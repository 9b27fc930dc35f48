//! What holds for any input whatever. The fuzz targets use this file too.

use bytes::BytesMut;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::Incoming;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::PACKET_SIZE_MAX;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::PublishHeader;
use tidelog::mqtt::PublishView;
use tidelog::mqtt::Violation;

/// A decoder of the server's side that has seen a CONNECT of this version.
pub(crate) fn server(version: ProtocolVersion) -> Decoder {
    let connect: &[u8] = match version {
        ProtocolVersion::V3_1 => b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c",
        ProtocolVersion::V3_1_1 => b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c",
        ProtocolVersion::V5 => b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c",
    };
    let mut decoder = fresh_server();
    let outcome = decoder.next(connect);
    assert!(matches!(outcome, Ok(Some(_))), "{outcome:?}");
    decoder
}

/// A decoder of the server's side that waits for CONNECT.
pub(crate) fn fresh_server() -> Decoder {
    Decoder::for_server(PACKET_SIZE_MAX, PACKET_SIZE_MAX)
}

/// A decoder of a client's side.
pub(crate) fn client(version: ProtocolVersion) -> Decoder {
    Decoder::for_client(version, PACKET_SIZE_MAX)
}

/// Whether `input` begins with all the bytes that its fixed header declares; told apart from the decoder's own reading.
fn is_complete(input: &[u8]) -> bool {
    let mut declared = 0_usize;
    for (index, byte) in input.iter().skip(1).take(4).enumerate() {
        declared += usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return input.len() >= index + 2 + declared;
        }
    }
    input.len() >= 5
}

/// Decodes one packet both ways and checks everything that must hold; gives the packet and its length.
pub(crate) fn check(
    decoder: &mut Decoder,
    input: &[u8],
) -> Result<Option<(Packet, usize)>, Violation> {
    let before = decoder.clone();
    let taken = take(before.clone(), input);
    let (packet, length) = match decoder.next(input) {
        Err(violation) => {
            assert_eq!(taken, Err(violation), "decode and next differ");
            return Err(violation);
        }
        Ok(None) => {
            assert_eq!(taken, Ok(None), "decode and next differ");
            assert!(!is_complete(input), "asks for more of a complete packet: {input:02x?}");
            return Ok(None);
        }
        Ok(Some((incoming, length))) => {
            if let Incoming::Publish(view) = &incoming {
                check_view(view, decoder.version().unwrap());
            }
            (incoming.into_packet(), length)
        }
    };
    assert_eq!(taken, Ok(Some((packet.clone(), length))), "decode and next differ");
    check_stable(before, &packet, decoder.version().unwrap());
    Ok(Some((packet, length)))
}

fn take(mut decoder: Decoder, input: &[u8]) -> Result<Option<(Packet, usize)>, Violation> {
    let mut bytes = BytesMut::from(input);
    let packet = decoder.decode(&mut bytes)?;
    Ok(packet.map(|packet| (packet, input.len() - bytes.len())))
}

/// What was decoded encodes to the length foretold, and decodes to the same again.
fn check_stable(mut decoder: Decoder, packet: &Packet, version: ProtocolVersion) {
    decoder.set_packet_size_max(PACKET_SIZE_MAX);
    let bytes = encode(packet, version);
    let (again, length) = take(decoder, &bytes).unwrap().unwrap();
    assert_eq!(&again, packet, "{bytes:02x?}");
    assert_eq!(length, bytes.len());
    assert_eq!(encode(&again, version), bytes);
}

/// Encodes a packet, and checks that it has the length foretold.
pub(crate) fn encode(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes).unwrap();
    assert_eq!(packet.encoded_length(version), Ok(bytes.len()), "{packet:?}");
    bytes
}

/// A borrowed PUBLISH, stored and delivered as the broker does it, arrives as it was.
fn check_view(view: &PublishView<'_>, version: ProtocolVersion) {
    let block = view.properties.forwardable();
    let properties = MessageProperties::from_block(&block).unwrap();
    assert_eq!(properties, view.properties.to_owned());
    let header = PublishHeader {
        dup: view.dup,
        qos: view.qos,
        retain: view.retain,
        topic: view.topic,
        packet_id: view.packet_id,
        topic_alias: view.topic_alias,
        subscription_ids: &view.subscription_ids,
        message_expiry_interval: version.is_v5().then_some(7),
        properties: &block,
        payload_length: view.payload.len(),
    };
    let mut bytes = BytesMut::new();
    header.encode(version, &mut bytes).unwrap();
    bytes.extend_from_slice(view.payload);
    assert_eq!(header.encoded_length(version), Ok(bytes.len()));
    let delivered = take(client(version), &bytes).unwrap().unwrap().0;
    let mut expected = view.to_owned();
    expected.properties.message_expiry_interval = version.is_v5().then_some(7);
    assert_eq!(delivered, Packet::Publish(Box::new(expected)));
}

/// Decodes packet after packet until the input ends or breaks a rule.
pub(crate) fn check_stream(mut decoder: Decoder, input: &[u8]) {
    let mut rest = input;
    while let Ok(Some((_, length))) = check(&mut decoder, rest) {
        assert!(length >= 2);
        rest = &rest[length..];
    }
}
