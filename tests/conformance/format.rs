//! Chapters 1 and 2: strings, numbers, fixed headers, packet identifiers, property lengths.

use crate::prelude::*;
use crate::wire::property::put_properties;
use crate::wire::request::frame;
use crate::wire::request::put_string;

/// Not UTF-8, a surrogate, cut off, and U+0000.
const BAD_STRINGS: [&[u8]; 5] = [b"\xC3\x28", b"\xFF", b"\xED\xA0\x80", b"a\xE2\x82", b"a\0b"];

/// A body of the parts that are there, with the empty property block that version 5 has in the middle.
fn body(version: Version, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut body = head.to_vec();
    if version.is_v5() {
        body.push(0);
    }
    body.extend(tail);
    body
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, bytes);
    out
}

fn closes(broker: &Broker, version: Version, bytes: &[u8]) {
    let mut client = Client::clean(broker.address(), version, "bad");
    client.send(bytes);
    client.expect_close();
}

/// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2] [MQTT-4.13.1-1]
/// [3.1.1 MQTT-1.5.3-1] [3.1.1 MQTT-1.5.3-2] [3.1.1 MQTT-3.3.2-1] [3.1.1 MQTT-3.8.3-1] [3.1.1 MQTT-3.10.3-1] [3.1.1 MQTT-4.7.3-2]
/// [3.1.1 MQTT-4.8.0-1]
#[test]
fn ill_formed_strings_close_the_connection() {
    each_version(|broker, version| {
        for bad in BAD_STRINGS {
            closes(broker, version, &frame(0x30, &body(version, &string(bad), b"x")));
            let filter = string(bad);
            closes(
                broker,
                version,
                &frame(0x82, &body(version, &[0, 1], &[&filter[..], &[0]].concat())),
            );
            closes(broker, version, &frame(0xA2, &body(version, &[0, 1], &filter)));
        }
    });
}

/// [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [3.1.1 MQTT-3.1.3-4] [3.1.1 MQTT-3.1.3-10] [3.1.1 MQTT-3.1.3-11]
#[test]
fn ill_formed_strings_in_connect_close_the_connection() {
    if mosquitto_differs("takes user names that are not UTF-8") {
        return;
    }
    each_version(|broker, version| {
        let plain = Connect::new(version, "").bytes();
        let header = &plain[2..plain.len() - 2];
        for bad in BAD_STRINGS {
            refused_connect(broker, version, &frame(0x10, &[header, &string(bad)].concat()));
        }
        // The flags are the byte behind name and level; the strings behind the client identifier are the will's topic or the user name.
        let flags_at = 2 + version.protocol_name().len() + 1;
        for bad in BAD_STRINGS {
            let mut with_user = [header, &string(b"id"), &string(bad)].concat();
            with_user[flags_at] |= 0x80;
            refused_connect(broker, version, &frame(0x10, &with_user));
            let will = body(version, &string(b"id"), &[string(bad), string(b"x")].concat());
            let mut with_will = [header, &will].concat();
            with_will[flags_at] |= 0x04;
            refused_connect(broker, version, &frame(0x10, &with_will));
        }
    });
}

/// [MQTT-1.5.4-3] [3.1.1 MQTT-1.5.3-3] [MQTT-4.7.3-4] [3.1.1 MQTT-4.7.3-4]
#[test]
fn byte_order_mark_is_a_character_like_any_other() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("\u{FEFF}a", 1)]);
        publisher.publish(Publish::new("a", "without").qos(1));
        publisher.publish(Publish::new("\u{FEFF}a", "with").qos(1));
        let publish = subscriber.take();
        assert_eq!((publish.topic.as_str(), publish.text()), ("\u{FEFF}a", "with"));
        subscriber.expect_nothing();
    });
}

/// [MQTT-1.5.5-1]
#[test]
fn variable_byte_integers_are_as_short_as_possible() {
    if mosquitto_differs("takes lengths that are longer than they have to be") {
        return;
    }
    let broker = Broker::start();
    closes(&broker, Version::V5, &[0xC0, 0x80, 0x00]);
    closes(&broker, Version::V5, &[0x30, 5, 0, 1, b'a', 0x80, 0x00]);
    closes(&broker, Version::V5, &[0x82, 8, 0, 1, 0x80, 0, 0, 1, b'a', 0]);
    let mut client = Client::clean(broker.address(), Version::V5, "five bytes");
    client.send(&[0xC0, 0x80, 0x80, 0x80, 0x80, 0x00]);
    client.expect_close();
}

/// [MQTT-1.5.7-1]
#[test]
fn both_strings_of_a_pair_are_strings() {
    let broker = Broker::start();
    for bad in BAD_STRINGS {
        for (name, value) in [(bad, &b"v"[..]), (b"n", bad)] {
            let pair = [vec![38], string(name), string(value)].concat();
            let length = u8::try_from(pair.len()).unwrap();
            let body = [string(b"t"), vec![length], pair, b"x".to_vec()].concat();
            closes(&broker, Version::V5, &frame(0x30, &body));
        }
    }
}

/// [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
/// [3.1.1 MQTT-2.2.2-1] [3.1.1 MQTT-2.2.2-2] [3.1.1 MQTT-3.6.1-1] [3.1.1 MQTT-3.8.1-1] [3.1.1 MQTT-3.10.1-1]
#[test]
fn reserved_header_flags_are_checked() {
    if mosquitto_differs("does not look at most of the reserved flags") {
        return;
    }
    // 3.1 allows DUP in PUBREL, SUBSCRIBE and UNSUBSCRIBE.
    each_numbered_version(|broker, version| {
        let subscribe = request::subscribe(version, 1, &[("a", 0)], &[]);
        let unsubscribe = request::unsubscribe(version, 1, &["a"]);
        for flags in 0..16 {
            let reserved_zero = [0x40, 0x50, 0x70, 0xC0, 0xD0];
            for kind in reserved_zero.into_iter().filter(|_| flags != 0) {
                let body: &[u8] = if kind < 0xC0 { &[0, 1] } else { &[] };
                closes(broker, version, &frame(kind | flags, body));
            }
            if flags != 2 {
                closes(broker, version, &frame(0x60 | flags, &[0, 1]));
                closes(broker, version, &frame(0x80 | flags, &subscribe[2..]));
                closes(broker, version, &frame(0xA0 | flags, &unsubscribe[2..]));
            }
        }
        let connect = Connect::new(version, "flags").bytes();
        refused_connect(broker, version, &frame(0x12, &connect[2..]));
    });
}

/// [MQTT-2.2.1-3] [3.1.1 MQTT-2.3.1-1]
#[test]
fn packet_identifier_zero_is_malformed() {
    each_version(|broker, version| {
        closes(broker, version, &request::subscribe(version, 0, &[("a", 0)], &[]));
        closes(broker, version, &request::unsubscribe(version, 0, &["a"]));
        closes(broker, version, &Publish::new("a", "x").qos(1).bytes(version));
        closes(broker, version, &Publish::new("a", "x").qos(2).bytes(version));
    });
}

/// [MQTT-2.2.1-2] [3.1.1 MQTT-2.3.1-5] [MQTT-4.3.1-1] [3.1.1 MQTT-4.3.1-1] [MQTT-3.3.1-2] [3.1.1 MQTT-3.3.1-2]
#[test]
fn qos0_has_neither_packet_identifier_nor_dup() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 0)]);
        publisher.publish(Publish::new("a", "exactly this"));
        let publish = subscriber.receive();
        // A packet identifier would be the first bytes of the payload.
        assert_eq!((publish.qos, publish.dup, publish.text()), (0, false, "exactly this"));
        if mosquitto_differs("takes DUP at QoS 0") {
            return;
        }
        publisher.send(&Publish::new("a", "x").again().bytes(version));
        publisher.expect_close();
    });
}

/// [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5] [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
/// [3.1.1 MQTT-2.3.1-6] [3.1.1 MQTT-2.3.1-7] [3.1.1 MQTT-3.8.4-2] [3.1.1 MQTT-3.10.4-4] [3.1.1 MQTT-3.3.4-1]
#[test]
fn answers_repeat_the_packet_identifier() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        for id in [1, 256, 4711, u16::MAX] {
            client.send(&Publish::new("a", "x").qos(1).id(id).bytes(version));
            assert!(client.wait_puback(id) < 0x80);
            client.send(&Publish::new("a", "x").qos(2).id(id).bytes(version));
            assert!(client.wait_pubrec(id) < 0x80);
            client.send(&request::ack(0x62, id));
            assert_eq!(client.wait_pubcomp(id), 0);
            client.send(&request::subscribe(version, id, &[("b", 0)], &[]));
            client.wait(|p| matches!(p, Packet::Suback(s) if s.packet_id == id).then_some(()));
            client.send(&request::unsubscribe(version, id, &["b"]));
            client.wait(|p| matches!(p, Packet::Unsuback(s) if s.packet_id == id).then_some(()));
        }
        client.expect_nothing();
    });
}

/// [MQTT-2.2.2-1]
#[test]
fn property_length_is_never_left_out() {
    let broker = Broker::start();
    // PUBLISH, SUBSCRIBE and UNSUBSCRIBE that end where the property length should be; the broker may not wait for more.
    closes(&broker, Version::V5, &frame(0x30, &string(b"topic")));
    closes(&broker, Version::V5, &frame(0x82, &[0, 1]));
    closes(&broker, Version::V5, &frame(0xA2, &[0, 1]));
    // The reader of these tests refuses answers without it: CONNACK, SUBACK, UNSUBACK and PUBLISH.
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5);
    subscriber.subscribe(&[("a", 0)]);
    publisher.publish(Publish::new("a", "x"));
    assert_eq!(subscriber.receive().text(), "x");
    subscriber.unsubscribe(&["a"]);
}

/// [MQTT-4.13.1-1] [MQTT-2.2.2-1]
#[test]
fn properties_belong_into_their_packets_once_and_in_range() {
    if mosquitto_differs("takes values that are out of range") {
        return;
    }
    let broker = Broker::start();
    let bad: [&[Property]; 9] = [
        &[Property::PayloadFormat(2)],
        &[Property::PayloadFormat(1), Property::PayloadFormat(1)],
        &[Property::MessageExpiry(1), Property::MessageExpiry(1)],
        &[Property::TopicAlias(0)],
        &[Property::SubscriptionId(1)],
        &[Property::SessionExpiry(1)],
        &[Property::ReasonString("r".into())],
        &[Property::ResponseTopic("a/#".into())],
        &[Property::ContentType("a".into()), Property::ContentType("b".into())],
    ];
    for properties in bad {
        if matches!(properties[0], Property::ResponseTopic(_))
            && mosquitto_differs("forwards such response topics")
        {
            continue;
        }
        let publish =
            properties.iter().fold(Publish::new("a", "x"), |p, property| p.with(property.clone()));
        closes(&broker, Version::V5, &publish.bytes(Version::V5));
    }
    let mut overrun = string(b"a");
    overrun.extend([9, 2, 0, 0, 0, 1]);
    closes(&broker, Version::V5, &frame(0x30, &overrun));
}

/// [MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1]
#[test]
fn bytes_behind_the_end_of_a_packet_are_malformed() {
    if mosquitto_differs("ignores bytes behind the end") {
        return;
    }
    each_version(|broker, version| {
        closes(broker, version, &frame(0xC0, &[0]));
        let mut subscribe = vec![0, 1];
        if version.is_v5() {
            put_properties(&mut subscribe, &[]);
        }
        put_string(&mut subscribe, b"a");
        closes(broker, version, &frame(0x82, &subscribe));
        closes(broker, version, &[0x00, 0x00]);
    });
}

/// [3.1.1 MQTT-2.2.2-2] [MQTT-4.13.1-1]
#[test]
fn packets_that_only_a_server_sends_close_the_connection() {
    if mosquitto_differs("ignores some packets that only servers send") {
        return;
    }
    each_version(|broker, version| {
        closes(broker, version, &frame(0x20, if version.is_v5() { &[0, 0, 0] } else { &[0, 0] }));
        closes(
            broker,
            version,
            &frame(0x90, if version.is_v5() { &[0, 1, 0, 0] } else { &[0, 1, 0] }),
        );
        closes(
            broker,
            version,
            &frame(0xB0, if version.is_v5() { &[0, 1, 0, 0] } else { &[0, 1] }),
        );
        closes(broker, version, &frame(0xD0, &[]));
    });
}
