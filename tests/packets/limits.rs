//! Sizes, order and sides: what a decoder refuses before it looks into a packet, and what an encoder refuses to write.

use std::num::NonZeroU16;

use bytes::Bytes;
use bytes::BytesMut;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::CONNECT_SIZE_MAX_DEFAULT;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::EncodeError;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::PACKET_SIZE_MAX;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketType;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::PublishHeader;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Suback;
use tidelog::mqtt::Text;
use tidelog::mqtt::UserProperties;
use tidelog::mqtt::Violation;

use ProtocolVersion::V3_1_1;
use ProtocolVersion::V5;

use crate::check;
use crate::table;
use crate::table::id;
use crate::table::topic;

fn refusal(decoder: &mut Decoder, input: &[u8]) -> Violation {
    check::check(decoder, input).unwrap_err()
}

#[test]
fn a_packet_above_the_limit_is_refused_by_its_header_alone() {
    let mut decoder = check::server(V5);
    decoder.set_packet_size_max(100);
    // 98 bytes remain, and two are the header's own.
    assert_eq!(check::check(&mut decoder, b"\x30\x62"), Ok(None));
    assert_eq!(refusal(&mut decoder, b"\x30\x63"), Violation::PacketTooLarge);
    assert_eq!(Violation::PacketTooLarge.reason_code(), ReasonCode::PacketTooLarge);
    // The length is not yet known, so it waits.
    assert_eq!(check::check(&mut decoder, b"\x30\xff\xff"), Ok(None));
    assert_eq!(refusal(&mut decoder, b"\x30\xff\xff\x7f"), Violation::PacketTooLarge);
}

#[test]
fn the_largest_packet_of_the_protocol_is_waited_for() {
    let mut decoder = check::server(V5);
    assert_eq!(check::check(&mut decoder, b"\x30\xff\xff\xff\x7f"), Ok(None));
    decoder.set_packet_size_max(PACKET_SIZE_MAX - 1);
    assert_eq!(refusal(&mut decoder, b"\x30\xff\xff\xff\x7f"), Violation::PacketTooLarge);
    assert_eq!(
        refusal(&mut decoder, b"\x30\xff\xff\xff\xff"),
        Violation::VariableByteIntegerTooLong
    );
}

#[test]
fn connect_has_a_limit_of_its_own() {
    let mut decoder = Decoder::for_server(CONNECT_SIZE_MAX_DEFAULT, 20);
    // 8,189 bytes remain and three are the header's: 8,192.
    assert_eq!(check::check(&mut decoder, b"\x10\xfd\x3f"), Ok(None));
    assert_eq!(refusal(&mut decoder, b"\x10\xfe\x3f"), Violation::PacketTooLarge);
    let long = check::encode(
        &Packet::Connect(Box::new(Connect::new(V3_1_1, Text::from_static("a-long-client-id")))),
        V3_1_1,
    );
    assert!(long.len() > 20);
    assert!(matches!(decoder.next(&long), Ok(Some(_))));
    assert_eq!(refusal(&mut decoder, b"\x30\x20"), Violation::PacketTooLarge);
}

#[test]
fn the_first_packet_is_connect_and_the_only_one() {
    for first in 2..=15_u8 {
        assert_eq!(refusal(&mut check::fresh_server(), &[first << 4]), Violation::ConnectMissing);
    }
    for version in ProtocolVersion::ALL {
        assert_eq!(refusal(&mut check::server(version), &[0x10]), Violation::ConnectTwice);
    }
}

#[test]
fn packets_of_the_other_side_are_refused() {
    for version in ProtocolVersion::ALL {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_eq!(
                refusal(&mut check::server(version), &[first]),
                Violation::PacketFromWrongSide
            );
        }
        for first in [0x10, 0x82, 0xA2, 0xC0] {
            assert_eq!(
                refusal(&mut check::client(version), &[first]),
                Violation::PacketFromWrongSide
            );
        }
    }
    assert_eq!(refusal(&mut check::client(V3_1_1), &[0xE0]), Violation::PacketFromWrongSide);
    let expiry = b"\xe0\x07\0\x05\x11\0\0\0\0";
    assert_eq!(refusal(&mut check::client(V5), expiry), Violation::SessionExpiryFromServer);
    assert!(check::check(&mut check::server(V5), expiry).is_ok());
}

#[test]
fn the_version_is_known_even_if_the_rest_of_connect_is_refused() {
    let mut decoder = check::fresh_server();
    assert_eq!(
        refusal(&mut decoder, b"\x10\x0d\0\x04MQTT\x05\x03\0\0\0\0\0"),
        Violation::ConnectFlagReserved
    );
    assert_eq!(decoder.version(), Some(V5));
}

#[test]
fn an_unknown_level_says_in_which_form_to_refuse_it() {
    for (level, violation, version) in [
        (0, Violation::ProtocolLevelTooLow, V3_1_1),
        (3, Violation::ProtocolLevelTooLow, V3_1_1),
        (6, Violation::ProtocolLevelTooHigh, V5),
        (0x83, Violation::ProtocolLevelTooLow, V3_1_1),
        (0x84, Violation::ProtocolLevelTooLow, V3_1_1),
        (0x85, Violation::ProtocolLevelTooHigh, V5),
        (255, Violation::ProtocolLevelTooHigh, V5),
    ] {
        let mut connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_vec();
        connect[8] = level;
        let mut decoder = check::fresh_server();
        assert_eq!(refusal(&mut decoder, &connect), violation, "level {level}");
        assert_eq!(violation.connack_version(), Some(version));
        assert_eq!(violation.reason_code().connack_return_code(), Some(1));
        assert_eq!(decoder.version(), None);
    }
    let name = refusal(&mut check::fresh_server(), b"\x10\x0c\0\x04MQTX\x04\x02\0\0\0\0");
    assert_eq!((name, name.connack_version()), (Violation::ProtocolNameInvalid, None));
}

#[test]
fn what_a_version_cannot_say_is_not_written() {
    let auth = Packet::Auth(Box::new(Auth::new(
        ReasonCode::ContinueAuthentication,
        Text::from_static("m"),
    )));
    let goodbye = Packet::Disconnect(Box::new(Disconnect::new(ReasonCode::ServerShuttingDown)));
    let refused = Packet::Connack(Box::new(Connack::new(ReasonCode::MalformedPacket)));
    let nameless = Publish {
        topic: None,
        topic_alias: NonZeroU16::new(1),
        ..Publish::new(topic("a"), Bytes::new())
    };
    let mut password = Connect::new(V3_1_1, Text::EMPTY);
    password.password = Some(Bytes::new());
    for packet in [
        auth,
        goodbye,
        refused,
        Packet::Publish(Box::new(nameless)),
        Packet::Connect(Box::new(password)),
    ] {
        expect_error(&packet, V3_1_1, EncodeError::NotInVersion);
    }
}

fn expect_error(packet: &Packet, version: ProtocolVersion, error: EncodeError) {
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(packet.encode(version, &mut out), Err(error), "{packet:?}");
    assert_eq!(packet.encoded_length(version), Err(error));
    assert_eq!(packet.encode_within(version, usize::MAX, &mut out), Err(error));
    assert_eq!(out, b"before"[..]);
}

#[test]
fn what_would_be_malformed_is_not_written() {
    let publish = Publish::new(topic("a"), Bytes::new());
    let qos1 = Publish { qos: QoS::AtLeastOnce, ..publish.clone() };
    expect_error(&Packet::Publish(Box::new(qos1)), V5, EncodeError::PacketIdMissing);
    let nameless = Publish { topic: None, ..publish.clone() };
    expect_error(&Packet::Publish(Box::new(nameless)), V5, EncodeError::TopicMissing);
    let long = MessageProperties {
        correlation_data: Some(Bytes::from(vec![0; 65_536])),
        ..MessageProperties::default()
    };
    assert_eq!(long.encode_block(), Err(EncodeError::FieldTooLong));
    let long = Publish { properties: long, ..publish };
    expect_error(&Packet::Publish(Box::new(long)), V5, EncodeError::FieldTooLong);
    let mut connect = Connect::new(V3_1_1, Text::EMPTY);
    connect.user_name = Some(Text::EMPTY);
    connect.password = Some(Bytes::from(vec![0; 65_536]));
    expect_error(&Packet::Connect(Box::new(connect)), V3_1_1, EncodeError::FieldTooLong);
    expect_error(&Packet::Suback(Suback::new(id(1), Vec::new())), V5, EncodeError::ListEmpty);
    let odd = Packet::Puback(Ack::with_reason(id(1), ReasonCode::ServerBusy));
    expect_error(&odd, V5, EncodeError::ReasonCodeInvalid);
    let auth = Auth { reason_code: ReasonCode::ReAuthenticate, ..Auth::default() };
    expect_error(&Packet::Auth(Box::new(auth)), V5, EncodeError::MethodMissing);
}

#[test]
fn a_message_above_the_largest_packet_is_not_written() {
    let header = |payload_length| PublishHeader {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a",
        packet_id: None,
        topic_alias: None,
        subscription_ids: &[],
        message_expiry_interval: None,
        properties: &[],
        payload_length,
    };
    let mut out = BytesMut::new();
    assert_eq!(header(268_435_452).encoded_length(V3_1_1), Ok(PACKET_SIZE_MAX));
    assert_eq!(header(268_435_452).encode(V3_1_1, &mut out), Ok(()));
    assert_eq!(out, b"\x30\xff\xff\xff\x7f\0\x01a"[..]);
    for length in [268_435_453, usize::MAX] {
        assert_eq!(header(length).encode(V3_1_1, &mut out), Err(EncodeError::TooLarge));
    }
    assert_eq!(header(268_435_452).encode(V5, &mut out), Err(EncodeError::TooLarge));
}

#[test]
fn an_expiry_takes_the_place_of_the_one_in_the_block() {
    let deliver = |properties: &[u8], message_expiry_interval| {
        let header = PublishHeader {
            dup: true,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: "a",
            packet_id: Some(id(1)),
            topic_alias: None,
            subscription_ids: &[],
            message_expiry_interval,
            properties,
            payload_length: 0,
        };
        let mut out = BytesMut::new();
        header.encode(V5, &mut out).unwrap();
        out
    };
    assert_eq!(deliver(b"\x01\x01", None), b"\x31\x06\0\x01a\x02\x01\x01"[..]);
    assert_eq!(deliver(b"\x01\x01", Some(7)), b"\x31\x0b\0\x01a\x07\x02\0\0\0\x07\x01\x01"[..]);
    let block = b"\x26\0\x01k\0\x01v\x02\0\0\0\x09\x01\x01";
    assert_eq!(
        deliver(block, Some(7)),
        b"\x31\x12\0\x01a\x0e\x26\0\x01k\0\x01v\x02\0\0\0\x07\x01\x01"[..]
    );
    assert_eq!(
        deliver(block, None),
        b"\x31\x12\0\x01a\x0e\x26\0\x01k\0\x01v\x02\0\0\0\x09\x01\x01"[..]
    );
}

#[test]
fn a_stored_block_has_only_the_messages_own_properties() {
    for block in [b"\x23\0\x01".as_slice(), b"\x0b\x01", b"\x18\0\0\0\x01", b"\x1f\0\0"] {
        assert_eq!(MessageProperties::from_block(block), Err(Violation::PropertyNotAllowed));
    }
    assert_eq!(MessageProperties::from_block(b""), Ok(MessageProperties::default()));
}

#[test]
fn diagnosis_is_left_out_of_answers_that_would_grow_too_large() {
    let mut ack = Ack::with_reason(id(1), ReasonCode::NotAuthorized);
    ack.reason_string = Some(Text::from_static("why"));
    ack.user_properties = UserProperties::from([(Text::from_static("k"), Text::from_static("v"))]);
    let packet = Packet::Puback(ack);
    let within = |size_max| {
        let mut out = BytesMut::new();
        packet.encode_within(V5, size_max, &mut out).map(|()| out.to_vec())
    };
    let full = b"\x40\x11\0\x01\x87\x0d\x1f\0\x03why\x26\0\x01k\0\x01v";
    assert_eq!(within(19), Ok(full.to_vec()));
    assert_eq!(within(18), Ok(b"\x40\x0a\0\x01\x87\x06\x1f\0\x03why".to_vec()));
    assert_eq!(within(12), Ok(b"\x40\x0a\0\x01\x87\x06\x1f\0\x03why".to_vec()));
    assert_eq!(within(11), Ok(b"\x40\x03\0\x01\x87".to_vec()));
    assert_eq!(within(5), Ok(b"\x40\x03\0\x01\x87".to_vec()));
    assert_eq!(within(4), Err(EncodeError::TooLarge));
}

#[test]
fn answers_lose_their_diagnosis_and_requests_keep_it() {
    for case in table::both_ways() {
        let mut stripped = case.packet.clone();
        stripped.strip_user_properties();
        stripped.strip_reason_string();
        let bytes = check::encode(&stripped, case.version);
        let pair = b"\x26\0\x01k\0\x01v";
        let kept = bytes.windows(pair.len()).any(|window| window == pair);
        let had = case.bytes.windows(pair.len()).any(|window| window == pair);
        let request = matches!(
            case.packet,
            Packet::Connect(_) | Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_)
        );
        assert_eq!(kept, had && request, "{stripped:?}");
    }
}

#[test]
fn before_5_every_failure_of_suback_is_0x80() {
    let allowed = |code: &ReasonCode| code.is_error() && code.is_allowed_in(PacketType::Suback);
    for code in ReasonCode::ALL.iter().copied().filter(allowed) {
        let mut out = BytesMut::new();
        let written = Packet::Suback(Suback::new(id(1), vec![code])).encode(V3_1_1, &mut out);
        assert_eq!(written, Ok(()), "{code}");
        assert_eq!(out, b"\x90\x03\0\x01\x80"[..]);
    }
}

#[test]
fn every_violation_has_a_failure_for_a_reason() {
    for violation in Violation::ALL {
        assert!(violation.reason_code().is_error(), "{violation}");
        assert!(violation.to_string().ends_with(']'));
    }
}
