//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use crate::prelude::*;
use crate::wire::request::NO_LOCAL;
use crate::wire::request::frame;

fn closes(broker: &Broker, version: Version, bytes: &[u8]) {
    let mut client = Client::clean(broker.address(), version, "bad");
    client.send(bytes);
    client.expect_close();
}

/// [MQTT-3.8.4-1] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
/// [3.1.1 MQTT-3.8.4-1] [3.1.1 MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-5] [3.1.1 MQTT-3.9.3-1] [3.1.1 MQTT-3.9.3-2]
#[test]
fn suback_has_a_code_for_each_filter_in_order() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        assert_eq!(client.subscribe(&[("a", 0)]), [0]);
        let granted = client.subscribe(&[("a", 2), ("b", 0), ("c/#", 1), ("a", 1), ("+/d", 2)]);
        assert_eq!(granted, [2, 0, 1, 1, 2]);
        // In order as if sent singly: the last one for `a` counts.
        client.publish(Publish::new("a", "x").qos(2));
        assert_eq!(client.take().qos, 1);
        client.expect_nothing();
    });
}

/// [MQTT-3.8.3-2] [3.1.1 MQTT-3.8.3-3]
#[test]
fn subscribe_without_a_filter_is_an_error() {
    if mosquitto_differs("answers it for 3.1") {
        return;
    }
    each_version(|broker, version| {
        closes(broker, version, &request::subscribe(version, 1, &[], &[]));
    });
}

/// [MQTT-3.8.3-5] [3.1.1 MQTT-3.8.3-4]
#[test]
fn reserved_bits_of_the_options_are_malformed() {
    each_version(|broker, version| {
        let bad: &[u8] = if version.is_v5() {
            &[3, 0x30, 0x40, 0x80, 0xC1]
        } else {
            &[3, 4, 8, 0x10, 0x80, 0xFF]
        };
        for options in bad {
            closes(broker, version, &request::subscribe(version, 1, &[("a", *options)], &[]));
        }
    });
}

/// [MQTT-3.8.4-3] [3.1.1 MQTT-3.8.4-3]
#[test]
fn same_filter_replaces_the_subscription() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        for qos in [2, 0, 1] {
            subscriber.subscribe(&[("a/+", qos)]);
            publisher.publish(Publish::new("a/b", "x").qos(2));
            assert_eq!(subscriber.take().qos, qos);
        }
        subscriber.expect_nothing();
        subscriber.unsubscribe(&["a/+"]);
        publisher.publish(Publish::new("a/b", "x").qos(2));
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-3]
#[test]
fn replacing_a_subscription_loses_no_message() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        for number in 0..50 {
            let id = publisher.next_packet_id();
            publisher.send(&Publish::new("a", &number.to_string()).qos(1).id(id).bytes(version));
            subscriber.subscribe(&[("a", 1 + number % 2)]);
        }
        for number in 0..50 {
            assert_eq!(subscriber.take().text(), number.to_string());
        }
    });
}

/// [MQTT-3.8.4-8] [3.1.1 MQTT-3.8.4-6]
#[test]
fn delivery_is_at_the_lower_of_both_qos() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        for granted in 0..3 {
            subscriber.subscribe(&[("a", granted)]);
            for published in 0..3 {
                publisher.publish(Publish::new("a", "x").qos(published));
                assert_eq!(subscriber.take().qos, granted.min(published));
            }
        }
    });
}

/// [MQTT-3.3.4-2] [3.1.1 MQTT-3.3.5-1]
#[test]
fn overlapping_subscriptions_deliver_at_the_highest_qos() {
    if mosquitto_differs("delivers a copy for each") {
        return;
    }
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a/+", 0), ("a/b", 2), ("a/#", 1)]);
        publisher.publish(Publish::new("a/b", "x").qos(2));
        let publish = subscriber.take();
        assert_eq!(publish.qos, 2);
        subscriber.expect_nothing();
    });
}

fn identifiers(publish: &Publish) -> Vec<u32> {
    let mut found: Vec<u32> = publish
        .properties
        .iter()
        .filter_map(|p| match p {
            Property::SubscriptionId(id) => Some(*id),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found
}

/// [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]
#[test]
fn subscription_identifiers_come_with_the_message() {
    let broker = Broker::start();
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5);
    subscriber.subscribe_with(&[("a/+", 1)], &[Property::SubscriptionId(1)]);
    subscriber.subscribe_with(&[("a/#", 0)], &[Property::SubscriptionId(268_435_455)]);
    subscriber.subscribe(&[("a/b", 2)]);
    subscriber.subscribe_with(&[("other", 2)], &[Property::SubscriptionId(3)]);
    publisher.publish(Publish::new("a/b/c", "x").qos(2));
    assert_eq!(identifiers(&subscriber.take()), [268_435_455]);
    if !mosquitto_differs("delivers a copy for each") {
        publisher.publish(Publish::new("a/b", "x").qos(2));
        let publish = subscriber.take();
        assert_eq!((identifiers(&publish), publish.qos), (vec![1, 268_435_455], 2));
        subscriber.expect_nothing();
    }
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_holds_back_what_the_subscriber_published() {
    let broker = Broker::start();
    let (mut one, mut other) = pair(&broker, Version::V5);
    one.subscribe(&[("a", 1 | NO_LOCAL)]);
    other.subscribe(&[("a", 1)]);
    one.publish(Publish::new("a", "own").qos(1));
    other.publish(Publish::new("a", "foreign").qos(1));
    assert_eq!(one.take().text(), "foreign");
    one.expect_nothing();
    assert_eq!(other.take().text(), "own");
    assert_eq!(other.take().text(), "foreign");
}

/// [MQTT-3.8.3-4] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn shared_filters_are_checked() {
    if mosquitto_differs("takes some of them") {
        return;
    }
    let broker = Broker::start();
    for (filter, options) in [
        ("$share/g/a", NO_LOCAL),
        ("$share//a", 0),
        ("$share/g", 0),
        ("$share/g/", 0),
        ("$share/g+/a", 0),
        ("$share/#/a", 0),
    ] {
        closes(
            &broker,
            Version::V5,
            &request::subscribe(Version::V5, 1, &[(filter, options)], &[]),
        );
    }
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.1-2] [3.1.1 MQTT-4.7.1-3] [3.1.1 MQTT-4.7.3-1]
#[test]
fn wildcards_stand_in_their_places_only() {
    each_version(|broker, version| {
        for filter in ["a#", "a/#/b", "#/a", "##", "a+", "+a", "a/+b/c", "++", "a/b+", ""] {
            closes(broker, version, &request::subscribe(version, 1, &[(filter, 0)], &[]));
        }
    });
}

/// [MQTT-4.13.1-1] [MQTT-3.9.2-1] [MQTT-3.9.2-2]
#[test]
fn subscribe_properties_are_checked() {
    let broker = Broker::start();
    let bad: [&[Property]; 4] = [
        &[Property::SubscriptionId(0)],
        &[Property::SubscriptionId(1), Property::SubscriptionId(2)],
        &[Property::MessageExpiry(1)],
        &[Property::ReasonString("r".into())],
    ];
    for properties in bad {
        closes(&broker, Version::V5, &request::subscribe(Version::V5, 1, &[("a", 0)], properties));
    }
    closes(&broker, Version::V5, &frame(0x82, &[0, 1, 2, 11, 0x80, 0, 1, b'a', 0]));
}

/// [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.1.2-24]
#[test]
fn answers_keep_within_the_clients_maximum_packet_size() {
    let broker = Broker::start();
    // Just enough for CONNACK; five codes make SUBACK and UNSUBACK 10 bytes long.
    let connect = Connect::new(Version::V5, "s").with(Property::MaximumPacketSize(40));
    let mut client = Client::connect(broker.address(), &connect).0;
    let filters = [("a", 0), ("$SYS/#", 0), ("c", 0), ("d", 0), ("e", 0)];
    client.send(&request::subscribe(Version::V5, 1, &filters, &[]));
    client.send(&request::unsubscribe(Version::V5, 2, &["a", "none", "c", "d", "e"]));
    let mut lengths = Vec::new();
    while lengths.len() < 2 {
        let (packet, length) = client.next_with_length();
        if matches!(packet, Packet::Suback(_) | Packet::Unsuback(_)) {
            lengths.push(length);
        }
        assert!(length <= 40, "{packet:?} has {length} bytes");
    }
}

/// [3.1.1 MQTT-3.9.3-2] [MQTT-3.9.3-2] [MQTT-3.8.4-7] [3.1.1 MQTT-3.8.4-5] [MQTT-3.1.2-29]
#[test]
fn refused_filters_have_a_failure_code_in_their_place() {
    if mosquitto_differs("keeps access rules in another form") {
        return;
    }
    let rules = Some("allow all readwrite open/#\n".into());
    let broker = Broker::start_with(Settings { rules, ..Settings::default() });
    for version in [Version::V4, Version::V5] {
        let failure = if version.is_v5() { 0x87 } else { 0x80 };
        let mut client = Client::clean(broker.address(), version, "c");
        let codes = client.subscribe(&[("open/a", 1), ("closed", 1), ("#", 0), ("open/b", 2)]);
        assert_eq!(codes, [1, failure, failure, 2]);
    }
    let quiet = Connect::new(Version::V5, "quiet").with(Property::RequestProblemInformation(0));
    let mut client = Client::connect(broker.address(), &quiet).0;
    client.send(&request::subscribe(Version::V5, 1, &[("closed", 1)], &[]));
    client.send(&Publish::new("closed", "x").qos(1).id(2).bytes(Version::V5));
    client.send(&request::unsubscribe(Version::V5, 3, &["none"]));
    for _ in 0..3 {
        let properties = match client.next() {
            Packet::Suback(codes) | Packet::Unsuback(codes) => codes.properties,
            Packet::Puback(ack) => ack.properties,
            other => panic!("{other:?}"),
        };
        assert!(properties.is_empty(), "problem information was not asked for: {properties:?}");
    }
}
