//! Sections 3.12 to 3.14: PINGREQ and DISCONNECT.

use crate::prelude::*;
use crate::wire::request::disconnect_with;
use crate::wire::request::frame;

/// [MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1]
#[test]
fn every_pingreq_is_answered() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        client.send(&request::PINGREQ.repeat(20));
        for _ in 0..20 {
            assert_eq!(client.next(), Packet::Pingresp);
        }
    });
}

/// [MQTT-3.14.1-1] [3.1.1 MQTT-3.14.1-1] [3.1.1 MQTT-3.1.2-8] [MQTT-3.1.2-8]
#[test]
fn disconnect_with_reserved_flags_is_malformed() {
    if mosquitto_differs("does not look at them") {
        return;
    }
    each_version(|broker, version| {
        let mut watcher = Client::clean(broker.address(), version, "watcher");
        watcher.subscribe(&[("will", 1)]);
        for flags in [1, 2, 4, 8, 15] {
            let connect = Connect::new(version, "c").will(Will::new("will", "x"));
            let mut client = Client::connect(broker.address(), &connect).0;
            client.send(&frame(0xE0 | flags, &[]));
            client.expect_close_because(0x81);
            assert_eq!(watcher.take().text(), "x");
        }
    });
}

/// [MQTT-3.14.2-1] [MQTT-4.13.1-1]
#[test]
fn undefined_disconnect_reasons_are_malformed() {
    if mosquitto_differs("takes them") {
        return;
    }
    let broker = Broker::start();
    for code in [0x01, 0x18, 0x85, 0x92, 0xFF] {
        let mut client = Client::clean(broker.address(), Version::V5, "c");
        client.send(&disconnect_with(code, &[]));
        client.expect_close_because(0x81);
    }
}

/// [MQTT-3.14.4-1] [MQTT-3.14.4-2] [3.1.1 MQTT-3.14.4-1] [3.1.1 MQTT-3.14.4-2]
#[test]
fn nothing_behind_a_disconnect_is_processed() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        let mut bytes = request::DISCONNECT.to_vec();
        bytes.extend(Publish::new("a", "x").qos(1).id(1).bytes(version));
        bytes.extend(request::PINGREQ);
        publisher.send(&bytes);
        assert_eq!(publisher.try_next(), None);
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.14.0-1] [MQTT-3.2.0-1] [3.1.1 MQTT-3.1.4-1]
#[test]
fn no_disconnect_before_connack() {
    each_numbered_version(|broker, version| {
        let connect = Connect::new(version, "c");
        // The answer to a broken CONNECT is a CONNACK that refuses, or nothing.
        for flags in [0x01, 0x1C, 0x08] {
            refused_connect(broker, version, &connect.bytes_with("MQTT", version.level(), flags));
        }
        refused_connect(broker, version, request::PINGREQ);
    });
}

/// [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.1.2-24] [MQTT-4.13.2-1]
#[test]
fn disconnect_of_the_server_keeps_within_the_clients_maximum_packet_size() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "c").with(Property::MaximumPacketSize(40));
    let mut client = Client::connect(broker.address(), &connect).0;
    client.send(&Publish::new("a/#", "x").bytes(Version::V5));
    // The reader refuses reason codes and properties that do not belong there.
    let bytes = client.bytes_until_closed();
    assert!(bytes.len() <= 40, "{bytes:x?}");
    if let Some((packet, length)) = Packet::read(&bytes, Version::V5) {
        assert!(matches!(packet, Packet::Disconnect(_)));
        assert_eq!(length, bytes.len());
    }
}

/// [MQTT-4.13.1-1] [MQTT-4.13.2-1] [3.1.1 MQTT-4.8.0-1] [3.1.1 MQTT-4.8.0-2]
#[test]
fn errors_close_their_own_connection_only() {
    each_version(|broker, version| {
        let mut bystander = Client::clean(broker.address(), version, "bystander");
        for bytes in
            [&[0x00, 0x00][..], &[0x30, 0x00], &[0xF0, 0x01, 0xFF], &[0x82, 0x03, 0, 1, 0xFF]]
        {
            let mut client = Client::clean(broker.address(), version, "bad");
            client.send(bytes);
            if let Some(reason) = client.expect_close() {
                assert!(reason.code >= 0x80);
            }
            bystander.ping();
        }
    });
}
