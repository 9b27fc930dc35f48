//! Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP.

use crate::prelude::*;
use crate::wire::request::ack;
use crate::wire::request::ack_with;
use crate::wire::request::frame;

fn closes(broker: &Broker, bytes: &[u8]) {
    let mut client = Client::clean(broker.address(), Version::V5, "bad");
    client.send(bytes);
    client.expect_close();
}

/// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
#[test]
fn undefined_reason_codes_are_malformed() {
    if mosquitto_differs("takes them") {
        return;
    }
    let broker = Broker::start();
    for (first, codes) in [
        (0x40, &[0x01, 0x92, 0x9A, 0xFF][..]),
        (0x50, &[0x01, 0x92, 0x9A, 0xFF]),
        (0x62, &[0x01, 0x10, 0x80, 0xFF]),
        (0x70, &[0x01, 0x10, 0x80, 0xFF]),
    ] {
        for code in codes {
            closes(&broker, &ack_with(first, 1, *code));
        }
    }
}

/// [MQTT-4.13.1-1]
#[test]
fn broken_acknowledgements_are_malformed() {
    if mosquitto_differs("takes some of them") {
        return;
    }
    let broker = Broker::start();
    for first in [0x40, 0x50, 0x62, 0x70] {
        closes(&broker, &frame(first, &[]));
        closes(&broker, &frame(first, &[1]));
        closes(&broker, &frame(first, &[0, 0]));
        closes(&broker, &frame(first, &[0, 1, 0, 0, 9]));
        closes(&broker, &frame(first, &[0, 1, 0, 6, 31, 0, 0, 31, 0, 0]));
        closes(&broker, &frame(first, &[0, 1, 0, 5, 2, 0, 0, 0, 1]));
    }
}

/// [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-4.3.3-11]
#[test]
fn pubrel_of_an_unknown_identifier_is_answered() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        client.send(&ack(0x62, 77));
        let code = client.wait_pubcomp(77);
        if !mosquitto_differs("answers with success") {
            assert_eq!(code, if version.is_v5() { 0x92 } else { 0 });
        }
        client.ping();
    });
}

/// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
#[test]
fn acknowledgements_keep_within_the_clients_maximum_packet_size() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "small").with(Property::MaximumPacketSize(40));
    let mut client = Client::connect(broker.address(), &connect).0;
    client.send(&Publish::new("nobody/listens", "x").qos(1).id(1).bytes(Version::V5));
    client.send(&Publish::new("nobody/listens", "x").qos(2).id(2).bytes(Version::V5));
    client.send(&ack(0x62, 2));
    client.send(&ack(0x62, 99));
    for _ in 0..4 {
        let (packet, length) = client.next_with_length();
        assert!(length <= 40, "{packet:?} has {length} bytes");
    }
}

/// [MQTT-4.4.0-2] [MQTT-3.4.2-1] [MQTT-3.5.2-1]
#[test]
fn negative_acknowledgements_end_a_delivery() {
    if mosquitto_differs("keeps the place in the window occupied") {
        return;
    }
    let broker = Broker::start();
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let connect = Connect::persistent(Version::V5, "s").with(Property::ReceiveMaximum(1));
        let mut subscriber = Client::connect(broker.address(), &connect).0;
        subscriber.subscribe(&[("a", qos)]);
        publish_from_outside(&broker, Version::V5, Publish::new("a", "refused").qos(qos));
        let publish = subscriber.receive();
        assert_eq!(publish.text(), "refused");
        subscriber.send(&ack_with(first, publish.packet_id, 0x83));
        // The place in the window is free again.
        publish_from_outside(&broker, Version::V5, Publish::new("a", "next").qos(qos));
        assert_eq!(subscriber.take().text(), "next");
        subscriber.disconnect();
        Client::persistent(broker.address(), Version::V5, "s").expect_nothing();
    }
}
