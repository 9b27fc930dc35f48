//! Known packets of every type and version: the bytes, written by hand from the standard, and the value.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Role;
use tidelog::mqtt::Suback;
use tidelog::mqtt::Subscribe;
use tidelog::mqtt::SubscribeFilter;
use tidelog::mqtt::SubscriptionFilter;
use tidelog::mqtt::SubscriptionId;
use tidelog::mqtt::SubscriptionOptions;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::mqtt::Unsuback;
use tidelog::mqtt::Unsubscribe;
use tidelog::mqtt::UserProperties;
use tidelog::mqtt::Will;

use ProtocolVersion::V3_1;
use ProtocolVersion::V3_1_1;
use ProtocolVersion::V5;

/// Bytes and the value that they stand for.
pub(crate) struct Case {
    pub(crate) version: ProtocolVersion,
    /// The side that reads it.
    pub(crate) reader: Role,
    pub(crate) bytes: Vec<u8>,
    pub(crate) packet: Packet,
}

fn case(version: ProtocolVersion, reader: Role, bytes: &[u8], packet: Packet) -> Case {
    Case { version, reader, bytes: bytes.to_vec(), packet }
}

pub(crate) fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

pub(crate) fn topic(topic: &str) -> TopicName {
    TopicName::try_from(topic).unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn pair(name: &str, value: &str) -> UserProperties {
    vec![(text(name), text(value))]
}

fn filter(filter: &str, options: SubscriptionOptions) -> SubscribeFilter {
    SubscribeFilter { filter: SubscriptionFilter::parse(filter).unwrap(), options }
}

fn qos(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..SubscriptionOptions::default() }
}

/// Packets that are encoded to exactly these bytes.
pub(crate) fn both_ways() -> Vec<Case> {
    let mut cases = connects();
    cases.extend(connacks());
    cases.extend(publishes());
    cases.extend(acks());
    cases.extend(subscriptions());
    cases.extend(endings());
    cases
}

fn connects() -> Vec<Case> {
    let mut full3 = Connect::new(V3_1_1, text("c"));
    full3.clean_start = false;
    full3.keep_alive = 60;
    full3.will = Some(Will {
        topic: topic("w"),
        payload: Bytes::from_static(&[0, 0xFF]),
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_interval: 0,
        properties: MessageProperties::default(),
    });
    full3.user_name = Some(Text::EMPTY);
    full3.password = Some(Bytes::from_static(&[0xC0, 0x80]));
    let mut password_only = Connect::new(V5, Text::EMPTY);
    password_only.password = Some(Bytes::from_static(b"p"));
    vec![
        case(V3_1, Role::Server, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c", {
            let mut connect = Connect::new(V3_1, text("c"));
            connect.keep_alive = 10;
            Packet::Connect(Box::new(connect))
        }),
        case(
            V3_1_1,
            Role::Server,
            b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0",
            Packet::Connect(Box::new(Connect::new(V3_1_1, Text::EMPTY))),
        ),
        case(
            V3_1_1,
            Role::Server,
            b"\x10\x1a\0\x04MQTT\x04\xec\0\x3c\0\x01c\0\x01w\0\x02\0\xff\0\0\0\x02\xc0\x80",
            Packet::Connect(Box::new(full3)),
        ),
        case(
            V5,
            Role::Server,
            b"\x10\x10\0\x04MQTT\x05\x42\0\0\0\0\0\0\x01p",
            Packet::Connect(Box::new(password_only)),
        ),
        full_connect(),
    ]
}

fn full_connect() -> Case {
    let mut connect = Connect::new(V5, text("c"));
    connect.clean_start = true;
    connect.keep_alive = 0x0102;
    connect.session_expiry_interval = Some(10);
    connect.receive_maximum = NonZeroU16::new(20);
    connect.maximum_packet_size = NonZeroU32::new(256);
    connect.topic_alias_maximum = Some(5);
    connect.request_response_information = true;
    connect.request_problem_information = false;
    connect.authentication_method = Some(text("m"));
    connect.authentication_data = Some(Bytes::from_static(&[1, 2]));
    connect.user_properties = pair("k", "v");
    connect.will = Some(Will {
        topic: topic("w"),
        payload: Bytes::from_static(b"x"),
        qos: QoS::ExactlyOnce,
        retain: false,
        delay_interval: 3,
        properties: MessageProperties {
            payload_format_indicator: Some(true),
            ..all_message_properties()
        },
    });
    connect.user_name = Some(text("u"));
    connect.password = Some(Bytes::from_static(b"p"));
    let mut bytes = b"\x10\x60\0\x04MQTT\x05\xd6\x01\x02".to_vec();
    bytes.extend_from_slice(b"\x24\x11\0\0\0\x0a\x21\0\x14\x27\0\0\x01\0\x22\0\x05\x19\x01\x17\0");
    bytes.extend_from_slice(b"\x15\0\x01m\x16\0\x02\x01\x02\x26\0\x01k\0\x01v");
    bytes.extend_from_slice(b"\0\x01c");
    bytes.extend_from_slice(
        b"\x21\x18\0\0\0\x03\x01\x01\x02\0\0\0\x09\x03\0\x01t\x08\0\x01r\x09\0\x03\0\x01\x02",
    );
    bytes.extend_from_slice(b"\x26\0\x01k\0\x01v");
    bytes.extend_from_slice(b"\0\x01w\0\x01x\0\x01u\0\x01p");
    case(V5, Role::Server, &bytes, Packet::Connect(Box::new(connect)))
}

fn all_message_properties() -> MessageProperties {
    MessageProperties {
        payload_format_indicator: Some(false),
        message_expiry_interval: Some(9),
        content_type: Some(text("t")),
        response_topic: Some(topic("r")),
        correlation_data: Some(Bytes::from_static(&[0, 1, 2])),
        user_properties: pair("k", "v"),
    }
}

fn connacks() -> Vec<Case> {
    let refusal = |code| Packet::Connack(Box::new(Connack::new(code)));
    let present = Connack { session_present: true, ..Connack::new(ReasonCode::Success) };
    vec![
        case(V3_1, Role::Client, b"\x20\x02\0\0", refusal(ReasonCode::Success)),
        case(V3_1_1, Role::Client, b"\x20\x02\x01\0", Packet::Connack(Box::new(present.clone()))),
        case(
            V3_1_1,
            Role::Client,
            b"\x20\x02\0\x01",
            refusal(ReasonCode::UnsupportedProtocolVersion),
        ),
        case(
            V3_1_1,
            Role::Client,
            b"\x20\x02\0\x02",
            refusal(ReasonCode::ClientIdentifierNotValid),
        ),
        case(V3_1_1, Role::Client, b"\x20\x02\0\x03", refusal(ReasonCode::ServerUnavailable)),
        case(V3_1_1, Role::Client, b"\x20\x02\0\x04", refusal(ReasonCode::BadUserNameOrPassword)),
        case(V3_1_1, Role::Client, b"\x20\x02\0\x05", refusal(ReasonCode::NotAuthorized)),
        case(V5, Role::Client, b"\x20\x03\x01\0\0", Packet::Connack(Box::new(present))),
        case(V5, Role::Client, b"\x20\x03\0\x87\0", refusal(ReasonCode::NotAuthorized)),
        full_connack(),
    ]
}

fn full_connack() -> Case {
    let connack = Connack {
        session_present: false,
        reason_code: ReasonCode::Success,
        session_expiry_interval: Some(1),
        receive_maximum: NonZeroU16::new(2),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: NonZeroU32::new(3),
        assigned_client_id: Some(ClientId::try_from("i").unwrap()),
        topic_alias_maximum: Some(4),
        reason_string: Some(text("s")),
        user_properties: pair("k", "v"),
        wildcard_subscription_available: Some(true),
        subscription_ids_available: Some(false),
        shared_subscription_available: Some(true),
        server_keep_alive: Some(6),
        response_information: Some(text("n")),
        server_reference: Some(text("f")),
        authentication_method: Some(text("m")),
        authentication_data: Some(Bytes::from_static(&[7])),
    };
    let mut bytes = b"\x20\x3f\0\0\x3c".to_vec();
    bytes.extend_from_slice(
        b"\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\0\x27\0\0\0\x03\x12\0\x01i\x22\0\x04\x1f\0\x01s",
    );
    bytes.extend_from_slice(
        b"\x26\0\x01k\0\x01v\x28\x01\x29\0\x2a\x01\x13\0\x06\x1a\0\x01n\x1c\0\x01f",
    );
    bytes.extend_from_slice(b"\x15\0\x01m\x16\0\x01\x07");
    case(V5, Role::Client, &bytes, Packet::Connack(Box::new(connack)))
}

fn publishes() -> Vec<Case> {
    let plain = |payload| Publish::new(topic("a/b"), Bytes::from_static(payload));
    let again = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        packet_id: Some(id(10)),
        ..plain(b"x")
    };
    let qos2 = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(0xFFFF)), ..plain(b"") };
    let alias_only = Publish { topic: None, topic_alias: NonZeroU16::new(7), ..plain(b"x") };
    let full = Publish {
        qos: QoS::AtLeastOnce,
        packet_id: Some(id(1)),
        topic_alias: NonZeroU16::new(2),
        subscription_ids: [1, 128, 268_435_455]
            .into_iter()
            .filter_map(SubscriptionId::new)
            .collect(),
        properties: all_message_properties(),
        ..plain(b"PAYL")
    };
    let mut full_bytes =
        b"\x32\x35\0\x03a/b\0\x01\x29\x23\0\x02\x0b\x01\x0b\x80\x01\x0b\xff\xff\xff\x7f".to_vec();
    full_bytes.extend_from_slice(
        b"\x01\0\x02\0\0\0\x09\x03\0\x01t\x08\0\x01r\x09\0\x03\0\x01\x02\x26\0\x01k\0\x01v",
    );
    full_bytes.extend_from_slice(b"PAYL");
    let mut cases = Vec::new();
    for version in [V3_1, V3_1_1] {
        for (bytes, publish) in [
            (b"\x30\x06\0\x03a/bx".as_slice(), plain(b"x")),
            (b"\x30\x05\0\x03a/b", plain(b"")),
            (b"\x3b\x08\0\x03a/b\0\x0ax", again.clone()),
            (b"\x34\x07\0\x03a/b\xff\xff", qos2.clone()),
        ] {
            cases.push(case(version, Role::Server, bytes, Packet::Publish(Box::new(publish))));
        }
    }
    for (reader, bytes, publish) in [
        (Role::Server, b"\x30\x07\0\x03a/b\0x".as_slice(), plain(b"x")),
        (Role::Server, b"\x3b\x09\0\x03a/b\0\x0a\0x", again),
        (Role::Server, b"\x34\x08\0\x03a/b\xff\xff\0", qos2),
        (Role::Server, b"\x30\x07\0\0\x03\x23\0\x07x", alias_only),
        (Role::Client, &full_bytes, full),
    ] {
        cases.push(case(V5, reader, bytes, Packet::Publish(Box::new(publish))));
    }
    cases
}

type AckKind = fn(Ack) -> Packet;

fn acks() -> Vec<Case> {
    let kinds: [(u8, AckKind, u8, ReasonCode); 4] = [
        (0x40, Packet::Puback, 0x10, ReasonCode::NoMatchingSubscribers),
        (0x50, Packet::Pubrec, 0x97, ReasonCode::QuotaExceeded),
        (0x62, Packet::Pubrel, 0x92, ReasonCode::PacketIdentifierNotFound),
        (0x70, Packet::Pubcomp, 0x92, ReasonCode::PacketIdentifierNotFound),
    ];
    let mut cases = Vec::new();
    for (first, packet, number, code) in kinds {
        for version in ProtocolVersion::ALL {
            let bytes = [first, 2, 0x12, 0x34];
            cases.push(case(version, Role::Server, &bytes, packet(Ack::new(id(0x1234)))));
        }
        let bytes = [first, 3, 0, 1, number];
        cases.push(case(V5, Role::Server, &bytes, packet(Ack::with_reason(id(1), code))));
        let mut full = Ack::with_reason(id(1), code);
        full.reason_string = Some(text("s"));
        full.user_properties = pair("k", "v");
        let mut bytes = vec![first, 15, 0, 1, number];
        bytes.extend_from_slice(b"\x0b\x1f\0\x01s\x26\0\x01k\0\x01v");
        cases.push(case(V5, Role::Server, &bytes, packet(full)));
    }
    cases
}

fn subscriptions() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [V3_1, V3_1_1] {
        cases.extend(subscriptions_before_5(version));
    }
    cases.extend(subscriptions_of_5());
    cases
}

fn subscriptions_before_5(version: ProtocolVersion) -> [Case; 4] {
    let subscribe = Subscribe {
        packet_id: id(10),
        subscription_id: None,
        user_properties: UserProperties::new(),
        filters: vec![filter("a/b", qos(QoS::AtLeastOnce)), filter("#", qos(QoS::ExactlyOnce))],
    };
    let unsubscribe = Unsubscribe {
        packet_id: id(10),
        user_properties: UserProperties::new(),
        filters: vec![
            SubscriptionFilter::parse("a/b").unwrap(),
            SubscriptionFilter::parse("$share/g/+").unwrap(),
        ],
    };
    let codes =
        vec![ReasonCode::GRANTED_QOS_0, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
    [
        case(
            version,
            Role::Server,
            b"\x82\x0c\0\x0a\0\x03a/b\x01\0\x01#\x02",
            Packet::Subscribe(Box::new(subscribe)),
        ),
        case(
            version,
            Role::Client,
            b"\x90\x05\0\x0a\0\x02\x80",
            Packet::Suback(Suback::new(id(10), codes)),
        ),
        case(
            version,
            Role::Server,
            b"\xa2\x13\0\x0a\0\x03a/b\0\x0a$share/g/+",
            Packet::Unsubscribe(Box::new(unsubscribe)),
        ),
        case(
            version,
            Role::Client,
            b"\xb0\x02\0\x0a",
            Packet::Unsuback(Unsuback::new(id(10), Vec::new())),
        ),
    ]
}

fn subscriptions_of_5() -> [Case; 4] {
    let all = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let if_new =
        SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..qos(QoS::AtMostOnce) };
    let subscribe = Subscribe {
        packet_id: id(1),
        subscription_id: SubscriptionId::new(200),
        user_properties: pair("k", "v"),
        filters: vec![filter("a", all), filter("$share/g/a", if_new)],
    };
    let suback = Suback {
        reason_string: Some(text("s")),
        ..Suback::new(
            id(1),
            vec![ReasonCode::GrantedQos1, ReasonCode::SharedSubscriptionsNotSupported],
        )
    };
    let unsubscribe = Unsubscribe {
        packet_id: id(1),
        user_properties: pair("k", "v"),
        filters: vec![SubscriptionFilter::parse("a").unwrap()],
    };
    let unsuback = Unsuback {
        user_properties: pair("k", "v"),
        ..Unsuback::new(id(1), vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted])
    };
    [
        case(
            V5,
            Role::Server,
            b"\x82\x1e\0\x01\x0a\x0b\xc8\x01\x26\0\x01k\0\x01v\0\x01a\x2e\0\x0a$share/g/a\x10",
            Packet::Subscribe(Box::new(subscribe)),
        ),
        case(V5, Role::Client, b"\x90\x09\0\x01\x04\x1f\0\x01s\x01\x9e", Packet::Suback(suback)),
        case(
            V5,
            Role::Server,
            b"\xa2\x0d\0\x01\x07\x26\0\x01k\0\x01v\0\x01a",
            Packet::Unsubscribe(Box::new(unsubscribe)),
        ),
        case(
            V5,
            Role::Client,
            b"\xb0\x0c\0\x01\x07\x26\0\x01k\0\x01v\0\x11",
            Packet::Unsuback(unsuback),
        ),
    ]
}

fn endings() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in ProtocolVersion::ALL {
        cases.push(case(version, Role::Server, b"\xc0\0", Packet::Pingreq));
        cases.push(case(version, Role::Client, b"\xd0\0", Packet::Pingresp));
    }
    for version in [V3_1, V3_1_1] {
        cases.push(case(version, Role::Server, b"\xe0\0", Packet::Disconnect(Box::default())));
    }
    let full = Disconnect {
        session_expiry_interval: Some(8),
        reason_string: Some(text("s")),
        user_properties: pair("k", "v"),
        ..Disconnect::new(ReasonCode::DisconnectWithWill)
    };
    let moved = Disconnect {
        server_reference: Some(text("f")),
        ..Disconnect::new(ReasonCode::ServerMoved)
    };
    let busy = Packet::Disconnect(Box::new(Disconnect::new(ReasonCode::ServerBusy)));
    let auth = Auth {
        authentication_data: Some(Bytes::from_static(&[7])),
        reason_string: Some(text("s")),
        user_properties: pair("k", "v"),
        ..Auth::new(ReasonCode::ContinueAuthentication, text("m"))
    };
    let auth_bytes = b"\xf0\x15\x18\x13\x15\0\x01m\x16\0\x01\x07\x1f\0\x01s\x26\0\x01k\0\x01v";
    cases.extend([
        case(V5, Role::Client, b"\xe0\x02\x89\0", busy),
        case(
            V5,
            Role::Server,
            b"\xe0\x12\x04\x10\x11\0\0\0\x08\x1f\0\x01s\x26\0\x01k\0\x01v",
            Packet::Disconnect(Box::new(full)),
        ),
        case(V5, Role::Client, b"\xe0\x06\x9d\x04\x1c\0\x01f", Packet::Disconnect(Box::new(moved))),
        case(V5, Role::Server, b"\xf0\0", Packet::Auth(Box::default())),
        case(V5, Role::Client, auth_bytes, Packet::Auth(Box::new(auth))),
    ]);
    cases
}

/// Forms that others may send and we never do.
pub(crate) fn only_read() -> Vec<Case> {
    let disconnect = |code| Packet::Disconnect(Box::new(Disconnect::new(code)));
    let connect3 = Packet::Connect(Box::new(Connect::new(V3_1, text("c"))));
    let connect5 = Packet::Connect(Box::new(Connect::new(V5, text("c"))));
    vec![
        case(V5, Role::Server, b"\x40\x03\0\x01\0", Packet::Puback(Ack::new(id(1)))),
        case(V5, Role::Server, b"\x40\x04\0\x01\0\0", Packet::Puback(Ack::new(id(1)))),
        case(V5, Role::Server, b"\xe0\0", disconnect(ReasonCode::NORMAL_DISCONNECTION)),
        case(V5, Role::Server, b"\xe0\x01\x04", disconnect(ReasonCode::DisconnectWithWill)),
        case(V5, Role::Server, b"\xf0\x02\0\0", Packet::Auth(Box::default())),
        // MQTT 3.1 sends these again with DUP.
        case(V3_1, Role::Server, b"\x6a\x02\0\x01", Packet::Pubrel(Ack::new(id(1)))),
        // MQTT 3.1: the remaining length takes precedence over the user name flag.
        case(V3_1, Role::Server, b"\x10\x0f\0\x06MQIsdp\x03\x82\0\0\0\x01c", connect3),
        // MQTT 3.1 knows no Session Present.
        case(V3_1, Role::Client, b"\x20\x02\x01\0", Packet::Connack(Box::default())),
        // Defaults that are said all the same.
        case(
            V5,
            Role::Server,
            b"\x10\x12\0\x04MQTT\x05\x02\0\0\x04\x17\x01\x19\0\0\x01c",
            connect5,
        ),
    ]
}
