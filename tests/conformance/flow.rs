//! Section 4.9: Receive Maximum in both directions.

use crate::prelude::*;
use crate::wire::request::ack;

/// [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
#[test]
fn receive_maximum_of_the_client_is_kept() {
    let broker = Broker::start();
    for qos in [1, 2] {
        let connect = Connect::new(Version::V5, "s").with(Property::ReceiveMaximum(3));
        let mut subscriber = Client::connect(broker.address(), &connect).0;
        subscriber.subscribe(&[("a", qos)]);
        for number in 0..8 {
            publish_from_outside(
                &broker,
                Version::V5,
                Publish::new("a", &number.to_string()).qos(qos),
            );
        }
        let mut open: Vec<Publish> = (0..3).map(|_| subscriber.receive()).collect();
        // Everything else goes on: the answers are the next packets, and no fourth PUBLISH is among them.
        subscriber.send(request::PINGREQ);
        assert_eq!(subscriber.next(), Packet::Pingresp);
        subscriber.send(&request::subscribe(Version::V5, 100, &[("b", 0)], &[]));
        assert!(matches!(subscriber.next(), Packet::Suback(_)));
        subscriber.send(&Publish::new("c", "x").qos(1).id(101).bytes(Version::V5));
        assert!(matches!(subscriber.next(), Packet::Puback(_)));
        // Each acknowledgement lets one more through.
        for number in 3..8 {
            subscriber.accept(&open.remove(0));
            let publish = subscriber.receive();
            assert_eq!(publish.text(), number.to_string());
            open.push(publish);
            subscriber.ping();
        }
    }
}

/// [MQTT-4.9.0-2] [MQTT-3.3.4-9]
#[test]
fn qos2_occupies_the_window_until_pubcomp() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "s").with(Property::ReceiveMaximum(1));
    let mut subscriber = Client::connect(broker.address(), &connect).0;
    subscriber.subscribe(&[("a", 2)]);
    for number in 0..2 {
        publish_from_outside(&broker, Version::V5, Publish::new("a", &number.to_string()).qos(2));
    }
    let first = subscriber.receive();
    subscriber.send(&ack(0x50, first.packet_id));
    assert!(matches!(subscriber.next(), Packet::Pubrel(_)));
    subscriber.send(request::PINGREQ);
    assert_eq!(subscriber.next(), Packet::Pingresp);
    subscriber.send(&ack(0x70, first.packet_id));
    assert_eq!(subscriber.receive().text(), "1");
}

/// [MQTT-4.9.0-1] [MQTT-4.9.0-2] [3.1.1 MQTT-4.4.0-1]
#[test]
fn window_is_counted_again_after_a_reconnect() {
    if mosquitto_differs("sends everything again at once") {
        return;
    }
    let broker = Broker::start();
    let connect =
        |maximum| Connect::persistent(Version::V5, "s").with(Property::ReceiveMaximum(maximum));
    let mut subscriber = Client::connect(broker.address(), &connect(4)).0;
    subscriber.subscribe(&[("a", 1)]);
    for number in 0..6 {
        publish_from_outside(&broker, Version::V5, Publish::new("a", &number.to_string()).qos(1));
    }
    let sent: Vec<Publish> = (0..4).map(|_| subscriber.receive()).collect();
    subscriber.cut();
    let mut subscriber = Client::connect(broker.address(), &connect(2)).0;
    for publish in &sent[..2] {
        assert_eq!(subscriber.receive(), publish.clone().again());
    }
    subscriber.send(request::PINGREQ);
    assert_eq!(subscriber.next(), Packet::Pingresp);
    subscriber.accept(&sent[0]);
    assert_eq!(subscriber.receive(), sent[2].clone().again());
}

/// [MQTT-3.3.4-7] [MQTT-4.13.1-1]
#[test]
fn receive_maximum_of_the_server_is_enforced_when_configured() {
    let broker = Broker::start_with(Settings {
        toml: "[limits]\nreceive_maximum = 2\nreceive_maximum_enforcement = \"strict\"\n".into(),
        mosquitto: "max_inflight_messages 2\n".into(),
        ..Settings::default()
    });
    let (mut client, connack) = Client::connect(broker.address(), &Connect::new(Version::V5, "c"));
    assert!(connack.properties.contains(&Property::ReceiveMaximum(2)));
    let mut bytes = Vec::new();
    for id in 1..=3 {
        // QoS 2 without PUBREL stays open, whenever the broker looks at it.
        bytes.extend(Publish::new("a", "x").qos(2).id(id).bytes(Version::V5));
    }
    client.send(&bytes);
    loop {
        match client.try_next() {
            Some(Packet::Pubrec(_)) => {}
            Some(Packet::Disconnect(reason)) => {
                assert_eq!(reason.code, 0x93);
                break;
            }
            None => break,
            Some(other) => panic!("{other:?}"),
        }
    }
}
