//! The probes: packets that eight other codecs were measured with, 38 of MQTT 3.1.1 and 54 of MQTT 5. All right here.

use tidelog::mqtt::Decoder;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Violation;

use Expected::Accept;
use Expected::Refuse;
use Violation as V;

use crate::check;

/// What has to become of a probe.
enum Expected {
    Accept,
    Refuse(Violation),
}

type Probe = (&'static str, &'static [u8], Expected);

fn decoder_for(version: ProtocolVersion, bytes: &[u8]) -> Decoder {
    if bytes[0] >> 4 == 1 { check::fresh_server() } else { check::server(version) }
}

fn hold(version: ProtocolVersion, probes: &[Probe]) {
    for (name, bytes, expected) in probes {
        let outcome = check::check(&mut decoder_for(version, bytes), bytes);
        match expected {
            Accept => assert!(
                matches!(&outcome, Ok(Some((_, length))) if *length == bytes.len()),
                "{name}: {outcome:?}"
            ),
            Refuse(violation) => assert_eq!(outcome, Err(*violation), "{name}"),
        }
    }
}

fn before_5() -> Vec<Probe> {
    let mut probes: Vec<Probe> = vec![
        ("CONNECT 3.1.1", b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c", Accept),
        ("CONNECT 3.1 MQIsdp level 3", b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c", Accept),
        (
            "CONNECT reserved flag=1",
            b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01c",
            Refuse(V::ConnectFlagReserved),
        ),
        (
            "CONNECT password w/o username",
            b"\x10\x10\0\x04MQTT\x04\x42\0\x3c\0\x01c\0\x01p",
            Refuse(V::PasswordWithoutUserName),
        ),
        (
            "CONNECT binary password",
            b"\x10\x14\0\x04MQTT\x04\xc2\0\x3c\0\x01c\0\x01u\0\x02\xff\xfe",
            Accept,
        ),
        (
            "CONNECT will qos 3",
            b"\x10\x13\0\x04MQTT\x04\x1e\0\x3c\0\x01c\0\x01w\0\x01x",
            Refuse(V::WillQosInvalid),
        ),
        (
            "CONNECT will qos w/o will",
            b"\x10\x0d\0\x04MQTT\x04\x0a\0\x3c\0\x01c",
            Refuse(V::WillQosWithoutWill),
        ),
        (
            "CONNECT will topic wildcard",
            b"\x10\x13\0\x04MQTT\x04\x06\0\x3c\0\x01c\0\x01#\0\x01x",
            Refuse(V::TopicNameWildcard),
        ),
        (
            "CONNECT trailing bytes",
            b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x01c\0",
            Refuse(V::TrailingBytes),
        ),
        (
            "CONNECT client id with U+0000",
            b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02c\0",
            Refuse(V::TextWithNul),
        ),
    ];
    probes.extend(publishes_before_5());
    probes.extend(others_before_5());
    probes
}

fn publishes_before_5() -> [Probe; 10] {
    [
        ("PUBLISH ok", b"\x30\x06\0\x03a/bx", Accept),
        ("PUBLISH empty payload", b"\x30\x05\0\x03a/b", Accept),
        ("PUBLISH topic U+0000", b"\x30\x06\0\x03a\0bx", Refuse(V::TextWithNul)),
        ("PUBLISH topic wildcard +", b"\x30\x06\0\x03a/+x", Refuse(V::TopicNameWildcard)),
        ("PUBLISH empty topic", b"\x30\x03\0\0x", Refuse(V::TopicNameEmpty)),
        ("PUBLISH topic bad UTF-8", b"\x30\x05\0\x02\xc3\x28x", Refuse(V::TextNotUtf8)),
        ("PUBLISH topic surrogate", b"\x30\x06\0\x03\xed\xa0\x80x", Refuse(V::TextNotUtf8)),
        ("PUBLISH QoS0 DUP=1", b"\x38\x06\0\x03a/bx", Refuse(V::DupWithQos0)),
        ("PUBLISH QoS3", b"\x36\x08\0\x03a/b\0\x01x", Refuse(V::QosInvalid)),
        ("PUBLISH QoS1 pkid 0", b"\x32\x08\0\x03a/b\0\0x", Refuse(V::PacketIdZero)),
    ]
}

fn others_before_5() -> [Probe; 18] {
    [
        ("SUBSCRIBE flags 0", b"\x80\x08\0\x01\0\x03a/b\0", Refuse(V::FlagsInvalid)),
        ("SUBSCRIBE pkid 0", b"\x82\x08\0\0\0\x03a/b\0", Refuse(V::PacketIdZero)),
        ("SUBSCRIBE no filter", b"\x82\x02\0\x01", Refuse(V::FiltersMissing)),
        (
            "SUBSCRIBE reserved opts",
            b"\x82\x08\0\x01\0\x03a/b\x04",
            Refuse(V::SubscriptionOptionsReserved),
        ),
        (
            "SUBSCRIBE filter a/#/b",
            b"\x82\x0a\0\x01\0\x05a/#/b\0",
            Refuse(V::MultiLevelWildcardMisplaced),
        ),
        (
            "SUBSCRIBE filter sport+",
            b"\x82\x0b\0\x01\0\x06sport+\0",
            Refuse(V::SingleLevelWildcardMisplaced),
        ),
        ("UNSUBSCRIBE no filter", b"\xa2\x02\0\x01", Refuse(V::UnsubscribeFiltersMissing)),
        ("UNSUBSCRIBE flags 0", b"\xa0\x07\0\x01\0\x03a/b", Refuse(V::FlagsInvalid)),
        ("PUBREL flags 0", b"\x60\x02\0\x01", Refuse(V::FlagsInvalid)),
        ("PUBACK trailing", b"\x40\x03\0\x01\0", Refuse(V::TrailingBytes)),
        ("PUBACK pkid 0", b"\x40\x02\0\0", Refuse(V::PacketIdZero)),
        ("PINGREQ flags 1", b"\xc1\0", Refuse(V::FlagsInvalid)),
        ("PINGREQ with body", b"\xc0\x01\0", Refuse(V::TrailingBytes)),
        ("DISCONNECT ok", b"\xe0\0", Accept),
        ("DISCONNECT flags 1", b"\xe1\0", Refuse(V::FlagsInvalid)),
        ("type 0", b"\0\0", Refuse(V::PacketTypeInvalid)),
        ("type 15 (v4)", b"\xf0\0", Refuse(V::PacketTypeInvalid)),
        (
            "remaining length 5 bytes",
            b"\x30\xff\xff\xff\xff\x01",
            Refuse(V::VariableByteIntegerTooLong),
        ),
    ]
}

fn of_5() -> Vec<Probe> {
    let mut probes: Vec<Probe> = Vec::new();
    probes.extend(connects_of_5());
    probes.extend(publishes_of_5());
    probes.extend(acks_of_5());
    probes.extend(subscriptions_of_5());
    probes.extend(endings_of_5());
    probes
}

fn connects_of_5() -> [Probe; 12] {
    [
        ("CONNECT v5", b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c", Accept),
        (
            "CONNECT v5 all props",
            b"\x10\x32\0\x04MQTT\x05\x02\0\x3c\x24\x11\0\0\0\x0a\x21\0\x14\x27\0\0\x01\0\x22\0\x05\x19\x01\x17\0\
              \x15\0\x01m\x16\0\x02\x01\x02\x26\0\x01k\0\x01v\0\x01c",
            Accept,
        ),
        (
            "CONNECT v5 will + props",
            b"\x10\x1c\0\x04MQTT\x05\x06\0\x3c\0\0\x01c\x07\x18\0\0\0\x03\x01\x01\0\x01w\0\x01x",
            Accept,
        ),
        (
            "CONNECT v5 dup session expiry",
            b"\x10\x18\0\x04MQTT\x05\x02\0\x3c\x0a\x11\0\0\0\x0a\x11\0\0\0\x0a\0\x01c",
            Refuse(V::PropertyTwice),
        ),
        ("CONNECT v5 receive max 0", b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\x03\x21\0\0\0\x01c", Refuse(V::PropertyZero)),
        (
            "CONNECT v5 max packet 0",
            b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x05\x27\0\0\0\0\0\x01c",
            Refuse(V::PropertyZero),
        ),
        (
            "CONNECT v5 req problem info 2",
            b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\x02\x17\x02\0\x01c",
            Refuse(V::PropertyNotBoolean),
        ),
        (
            "CONNECT v5 auth data w/o method",
            b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\x04\x16\0\x01x\0\x01c",
            Refuse(V::AuthenticationDataWithoutMethod),
        ),
        ("CONNECT v5 password only", b"\x10\x11\0\x04MQTT\x05\x42\0\x3c\0\0\x01c\0\x01p", Accept),
        (
            "CONNECT v5 prop not allowed",
            b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\x03\x23\0\x01\0\x01c",
            Refuse(V::PropertyNotAllowed),
        ),
        ("CONNECT v5 reserved flag", b"\x10\x0e\0\x04MQTT\x05\x03\0\x3c\0\0\x01c", Refuse(V::ConnectFlagReserved)),
        (
            "CONNECT v5 prop len overrun",
            b"\x10\x11\0\x04MQTT\x05\x02\0\x3c\x02\x21\0\x14\0\x01c",
            Refuse(V::PropertyOverrun),
        ),
    ]
}

fn publishes_of_5() -> [Probe; 15] {
    [
        ("PUBLISH v5", b"\x30\x07\0\x03a/b\0x", Accept),
        (
            "PUBLISH v5 dup expiry",
            b"\x30\x11\0\x03a/b\x0a\x02\0\0\0\x09\x02\0\0\0\x09x",
            Refuse(V::PropertyTwice),
        ),
        ("PUBLISH v5 pfi 2", b"\x30\x09\0\x03a/b\x02\x01\x02x", Refuse(V::PropertyNotBoolean)),
        ("PUBLISH v5 pfi dup", b"\x30\x0b\0\x03a/b\x04\x01\x01\x01\x01x", Refuse(V::PropertyTwice)),
        ("PUBLISH v5 alias 0", b"\x30\x0a\0\x03a/b\x03\x23\0\0x", Refuse(V::TopicAliasZero)),
        ("PUBLISH v5 alias + empty topic", b"\x30\x07\0\0\x03\x23\0\x01x", Accept),
        ("PUBLISH v5 empty topic no alias", b"\x30\x04\0\0\0x", Refuse(V::TopicMissing)),
        ("PUBLISH v5 subid 0", b"\x30\x09\0\x03a/b\x02\x0b\0x", Refuse(V::SubscriptionIdInvalid)),
        (
            "PUBLISH v5 3 subids keep payload",
            b"\x30\x0d\0\x03a/b\x06\x0b\x01\x0b\x02\x0b\x03x",
            // Right for a client (see below); to a server it is a fault that the client sends them.
            Refuse(V::SubscriptionIdFromClient),
        ),
        (
            "PUBLISH v5 response topic wildcard",
            b"\x30\x0d\0\x03a/b\x06\x08\0\x03a/+x",
            Refuse(V::ResponseTopicInvalid),
        ),
        ("PUBLISH v5 topic U+0000", b"\x30\x07\0\x03a\0b\0x", Refuse(V::TextWithNul)),
        ("PUBLISH v5 topic wildcard", b"\x30\x07\0\x03a/#\0x", Refuse(V::TopicNameWildcard)),
        ("PUBLISH v5 QoS0 DUP", b"\x38\x07\0\x03a/b\0x", Refuse(V::DupWithQos0)),
        (
            "PUBLISH v5 user prop bad UTF-8",
            b"\x30\x0e\0\x03a/b\x07\x26\0\x01k\0\x01\xffx",
            Refuse(V::TextNotUtf8),
        ),
        ("PUBLISH v5 no property length", b"\x30\x05\0\x03a/b", Refuse(V::PropertyLengthMissing)),
    ]
}

fn acks_of_5() -> [Probe; 6] {
    [
        ("PUBACK v5 len 2", b"\x40\x02\0\x01", Accept),
        ("PUBACK v5 len 3", b"\x40\x03\0\x01\x10", Accept),
        ("PUBACK v5 len 4", b"\x40\x04\0\x01\x10\0", Accept),
        ("PUBACK v5 bad reason 0x92", b"\x40\x03\0\x01\x92", Refuse(V::ReasonCodeInvalid)),
        (
            "PUBACK v5 dup reason string",
            b"\x40\x0c\0\x01\0\x08\x1f\0\x01a\x1f\0\x01b",
            Refuse(V::PropertyTwice),
        ),
        ("PUBREL v5 0x92", b"\x62\x03\0\x01\x92", Accept),
    ]
}

fn subscriptions_of_5() -> [Probe; 11] {
    [
        ("SUBSCRIBE v5", b"\x82\x09\0\x01\0\0\x03a/b\x01", Accept),
        (
            "SUBSCRIBE v5 subid 0",
            b"\x82\x0b\0\x01\x02\x0b\0\0\x03a/b\x01",
            Refuse(V::SubscriptionIdInvalid),
        ),
        (
            "SUBSCRIBE v5 2 subids",
            b"\x82\x0d\0\x01\x04\x0b\x01\x0b\x02\0\x03a/b\x01",
            Refuse(V::PropertyTwice),
        ),
        (
            "SUBSCRIBE v5 subid + user prop",
            b"\x82\x12\0\x01\x09\x0b\x01\x26\0\x01k\0\x01v\0\x03a/b\x01",
            Accept,
        ),
        (
            "SUBSCRIBE v5 retain handling 3",
            b"\x82\x09\0\x01\0\0\x03a/b\x30",
            Refuse(V::RetainHandlingInvalid),
        ),
        (
            "SUBSCRIBE v5 reserved bits",
            b"\x82\x09\0\x01\0\0\x03a/b\x40",
            Refuse(V::SubscriptionOptionsReserved),
        ),
        (
            "SUBSCRIBE v5 shared + no local",
            b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04",
            Refuse(V::NoLocalOnShared),
        ),
        ("SUBSCRIBE v5 $share//a", b"\x82\x0f\0\x01\0\0\x09$share//a\0", Refuse(V::ShareNameEmpty)),
        ("SUBSCRIBE v5 flags 0", b"\x80\x09\0\x01\0\0\x03a/b\x01", Refuse(V::FlagsInvalid)),
        ("UNSUBSCRIBE v5", b"\xa2\x08\0\x01\0\0\x03a/b", Accept),
        ("UNSUBSCRIBE v5 no filter", b"\xa2\x03\0\x01\0", Refuse(V::UnsubscribeFiltersMissing)),
    ]
}

fn endings_of_5() -> [Probe; 10] {
    [
        ("DISCONNECT v5 E0 00", b"\xe0\0", Accept),
        ("DISCONNECT v5 reason only", b"\xe0\x01\x04", Accept),
        ("DISCONNECT v5 reason+len 0", b"\xe0\x02\x04\0", Accept),
        ("DISCONNECT v5 expiry", b"\xe0\x07\0\x05\x11\0\0\0\x0a", Accept),
        ("AUTH F0 00", b"\xf0\0", Accept),
        ("AUTH continue", b"\xf0\x09\x18\x07\x15\0\x01m\x16\0\0", Accept),
        // These two may not panic; the server refuses them by their side.
        ("CONNACK v5 from client", b"\x20\x03\0\0\0", Refuse(V::PacketFromWrongSide)),
        ("UNSUBACK v5 from client", b"\xb0\x04\0\x01\0\0", Refuse(V::PacketFromWrongSide)),
        ("PINGREQ non-minimal RL", b"\xc0\x80\0", Refuse(V::VariableByteIntegerNotMinimal)),
        ("PINGREQ flags 1", b"\xc1\0", Refuse(V::FlagsInvalid)),
    ]
}

#[test]
fn all_38_probes_of_3_1_1_are_right() {
    let probes = before_5();
    assert_eq!(probes.len(), 38);
    hold(ProtocolVersion::V3_1_1, &probes);
}

#[test]
fn all_54_probes_of_5_are_right() {
    let probes = of_5();
    assert_eq!(probes.len(), 54);
    hold(ProtocolVersion::V5, &probes);
}

#[test]
fn a_client_takes_what_only_servers_send() {
    let mut decoder = check::client(ProtocolVersion::V5);
    for bytes in [b"\x20\x03\0\0\0".as_slice(), b"\xb0\x04\0\x01\0\0"] {
        assert!(matches!(check::check(&mut decoder, bytes), Ok(Some(_))));
    }
    let delivery = b"\x30\x0d\0\x03a/b\x06\x0b\x01\x0b\x02\x0b\x03x";
    let Ok(Some((Packet::Publish(publish), _))) = check::check(&mut decoder, delivery) else {
        panic!("a delivery with three subscription identifiers is right");
    };
    let ids: Vec<u32> = publish.subscription_ids.iter().map(|id| id.get()).collect();
    assert_eq!((ids, publish.payload.as_ref()), (vec![1, 2, 3], b"x".as_slice()));
}

#[test]
fn more_that_is_refused() {
    for (name, bytes, violation) in [
        ("body beyond the packet", b"\x30\x02\0\x05".as_slice(), V::Truncated),
        ("packet id beyond the packet", b"\x40\x01\0", V::Truncated),
        ("property length beyond the packet", b"\x30\x06\0\x03a/b\x05", V::PropertyOverrun),
        ("property length without end", b"\x30\x06\0\x03a/b\x80", V::Truncated),
        (
            "property length not minimal",
            b"\x30\x07\0\x03a/b\x80\0",
            V::VariableByteIntegerNotMinimal,
        ),
        (
            "property identifier not minimal",
            b"\x30\x0a\0\x03a/b\x03\x81\0\x01x",
            V::VariableByteIntegerNotMinimal,
        ),
        (
            "property identifier of two bytes",
            b"\x30\x09\0\x03a/b\x02\x80\x01x",
            V::PropertyNotAllowed,
        ),
        ("unknown property", b"\x30\x07\0\x03a/b\x01\x3f", V::PropertyNotAllowed),
        ("property of another packet", b"\x30\x0a\0\x03a/b\x03\x21\0\x01x", V::PropertyNotAllowed),
        ("will delay in PUBLISH", b"\x30\x0c\0\x03a/b\x05\x18\0\0\0\x01x", V::PropertyNotAllowed),
        ("property block cut in a value", b"\x30\x09\0\x03a/b\x02\x23\0x", V::PropertyOverrun),
        ("empty response topic", b"\x30\x0a\0\x03a/b\x03\x08\0\0x", V::ResponseTopicInvalid),
        ("user property half", b"\x30\x0a\0\x03a/b\x04\x26\0\x01k", V::PropertyOverrun),
        ("QoS 3 in options", b"\x82\x09\0\x01\0\0\x03a/b\x03", V::SubscriptionQosInvalid),
        ("SUBSCRIBE without properties", b"\x82\x02\0\x01", V::PropertyLengthMissing),
        ("SUBSCRIBE without options", b"\x82\x08\0\x01\0\0\x03a/b", V::Truncated),
        ("AUTH without method", b"\xf0\x02\x18\0", V::AuthWithoutMethod),
        ("AUTH without property length", b"\xf0\x01\x18", V::PropertyLengthMissing),
        ("AUTH with data alone", b"\xf0\x06\0\x04\x16\0\x01x", V::AuthWithoutMethod),
        ("AUTH flags", b"\xf1\0", V::FlagsInvalid),
        ("AUTH with another packet's reason", b"\xf0\x02\x80\0", V::ReasonCodeInvalid),
        ("DISCONNECT with another packet's reason", b"\xe0\x01\x01", V::ReasonCodeInvalid),
        ("DISCONNECT goes on", b"\xe0\x03\0\0\0", V::TrailingBytes),
        ("PUBACK goes on", b"\x40\x05\0\x01\0\0\0", V::TrailingBytes),
        ("PINGREQ goes on", b"\xc0\x01\0", V::TrailingBytes),
        ("DUP on PUBREL", b"\x6a\x02\0\x01", V::FlagsInvalid),
    ] {
        let outcome = check::check(&mut check::server(ProtocolVersion::V5), bytes);
        assert_eq!(outcome, Err(violation), "{name}");
    }
    for (name, bytes, violation) in [
        (
            "will retain without will",
            b"\x10\x0e\0\x04MQTT\x05\x22\0\x3c\0\0\x01c".as_slice(),
            V::WillRetainWithoutWill,
        ),
        (
            "topic alias in a will",
            b"\x10\x18\0\x04MQTT\x05\x06\0\x3c\0\0\x01c\x03\x23\0\x01\0\x01w\0\x01x",
            V::PropertyNotAllowed,
        ),
        (
            "empty will topic",
            b"\x10\x13\0\x04MQTT\x05\x06\0\x3c\0\0\x01c\0\0\0\0\x01x",
            V::TopicNameEmpty,
        ),
        ("3.1 and level 4", b"\x10\x0f\0\x06MQIsdp\x04\x02\0\x3c\0\x01c", V::ProtocolLevelTooLow),
        ("3.1.1 without its user name", b"\x10\x0d\0\x04MQTT\x04\x82\0\x3c\0\x01c", V::Truncated),
        ("flags of CONNECT", b"\x11", V::FlagsInvalid),
    ] {
        assert_eq!(check::check(&mut check::fresh_server(), bytes), Err(violation), "{name}");
    }
}

#[test]
fn more_that_a_client_refuses() {
    for (version, bytes, violation) in [
        (ProtocolVersion::V5, b"\x20\x03\x02\0\0".as_slice(), V::ConnackFlagsInvalid),
        (ProtocolVersion::V5, b"\x20\x03\x01\x87\0", V::SessionPresentWithError),
        (ProtocolVersion::V5, b"\x20\x03\0\x01\0", V::ReasonCodeInvalid),
        (ProtocolVersion::V5, b"\x20\x02\0\0", V::PropertyLengthMissing),
        (ProtocolVersion::V5, b"\x20\x05\0\0\x02\x24\x02", V::PropertyNotBoolean),
        (ProtocolVersion::V5, b"\x20\x06\0\0\x03\x12\0\0", V::ClientIdEmpty),
        (ProtocolVersion::V5, b"\x20\x07\0\0\x04\x16\0\x01x", V::AuthenticationDataWithoutMethod),
        (ProtocolVersion::V5, b"\x90\x03\0\x01\0", V::ReasonCodesMissing),
        (ProtocolVersion::V5, b"\xb0\x03\0\x01\0", V::ReasonCodesMissing),
        (ProtocolVersion::V5, b"\x90\x04\0\x01\0\x03", V::ReasonCodeInvalid),
        (ProtocolVersion::V3_1_1, b"\x20\x02\0\x06", V::ReasonCodeInvalid),
        (ProtocolVersion::V3_1_1, b"\x20\x02\x01\x05", V::SessionPresentWithError),
        (ProtocolVersion::V3_1_1, b"\x90\x03\0\x01\x87", V::ReasonCodeInvalid),
        (ProtocolVersion::V3_1_1, b"\x90\x02\0\x01", V::ReasonCodesMissing),
        (ProtocolVersion::V3_1_1, b"\xb0\x03\0\x01\0", V::TrailingBytes),
        (ProtocolVersion::V3_1_1, b"\xf0\0", V::PacketTypeInvalid),
    ] {
        let outcome = check::check(&mut check::client(version), bytes);
        assert_eq!(outcome, Err(violation), "{version} {bytes:02x?}");
    }
}
