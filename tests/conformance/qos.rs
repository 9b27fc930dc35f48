//! Sections 4.3 and 4.4: what each QoS promises, step by step, and what is sent again.

use crate::prelude::*;
use crate::wire::request::ack;

fn pubrel(client: &mut Client) -> u16 {
    match client.next() {
        Packet::Pubrel(ack) => ack.packet_id,
        other => panic!("PUBREL was due, not {other:?}"),
    }
}

/// [MQTT-4.3.2-4] [MQTT-4.3.2-5] [3.1.1 MQTT-4.3.2-2] [3.1.1 MQTT-3.3.4-1] [MQTT-3.3.4-1]
#[test]
fn qos1_identifier_is_free_after_puback() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        publisher.publish(Publish::new("a", "1").qos(1).id(5));
        publisher.publish(Publish::new("a", "2").qos(1).id(5));
        publisher.publish(Publish::new("a", "3").qos(1).id(5).again());
        for text in ["1", "2", "3"] {
            assert_eq!(subscriber.take().text(), text);
        }
    });
}

/// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [3.1.1 MQTT-4.3.3-2] [3.1.1 MQTT-2.3.1-6]
#[test]
fn qos2_publish_is_taken_once() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 2)]);
        let first = Publish::new("a", "once").qos(2).id(9);
        publisher.send(&first.bytes(version));
        publisher.wait_pubrec(9);
        for repetition in 0..3 {
            publisher.send(&first.clone().again().bytes(version));
            publisher.wait_pubrec(9);
            if repetition == 0 && mosquitto_differs("takes a second repetition for an error") {
                break;
            }
        }
        publisher.send(&ack(0x62, 9));
        assert_eq!(publisher.wait_pubcomp(9), 0);
        publisher.publish(Publish::new("a", "another").qos(2).id(9));
        assert_eq!(subscriber.take().text(), "once");
        assert_eq!(subscriber.take().text(), "another");
        subscriber.expect_nothing();
    });
}

/// [MQTT-4.3.3-10] [3.1.1 MQTT-4.3.3-2] [MQTT-4.1.0-1] [3.1.1 MQTT-4.1.0-1]
#[test]
fn qos2_identifiers_are_remembered_over_reconnects() {
    each_version(|broker, version| {
        let mut subscriber = Client::clean(broker.address(), version, "s");
        subscriber.subscribe(&[("a", 2)]);
        let mut publisher = Client::persistent(broker.address(), version, "p");
        let publish = Publish::new("a", "once").qos(2).id(9);
        publisher.send(&publish.bytes(version));
        publisher.wait_pubrec(9);
        publisher.cut();
        let mut publisher = Client::persistent(broker.address(), version, "p");
        publisher.send(&publish.again().bytes(version));
        publisher.wait_pubrec(9);
        publisher.cut();
        let mut publisher = Client::persistent(broker.address(), version, "p");
        publisher.send(&ack(0x62, 9));
        assert_eq!(publisher.wait_pubcomp(9), 0);
        assert_eq!(subscriber.take().text(), "once");
        subscriber.expect_nothing();
    });
}

/// [MQTT-4.3.3-9]
#[test]
fn refused_qos2_identifier_is_free() {
    if mosquitto_differs("keeps access rules in another form") {
        return;
    }
    let rules = Some("allow all publish open/#\nallow all subscribe #\n".into());
    let broker = Broker::start_with(Settings { rules, ..Settings::default() });
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5);
    subscriber.subscribe(&[("#", 2)]);
    assert_eq!(publisher.publish(Publish::new("closed", "x").qos(2).id(3)), 0x87);
    assert_eq!(publisher.publish(Publish::new("open/a", "y").qos(2).id(3)), 0);
    assert_eq!(subscriber.take().text(), "y");
}

/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [3.1.1 MQTT-2.3.1-4] [3.1.1 MQTT-4.3.2-1] [3.1.1 MQTT-4.3.3-1]
#[test]
fn deliveries_in_flight_have_identifiers_of_their_own() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 2)]);
        let mut in_flight = std::collections::BTreeSet::new();
        for number in 0..18 {
            let qos = 1 + number % 2;
            publisher.publish(Publish::new("a", "x").qos(qos));
            let publish = subscriber.receive();
            assert_eq!((publish.qos, publish.dup), (qos, false));
            assert!(in_flight.insert(publish.packet_id), "{} is in use", publish.packet_id);
        }
    });
}

/// [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [3.1.1 MQTT-4.3.3-1] [MQTT-4.4.0-1] [3.1.1 MQTT-4.4.0-1]
#[test]
fn after_pubrec_only_pubrel_is_sent_again() {
    each_version(|broker, version| {
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a", 2)]);
        publish_from_outside(broker, version, Publish::new("a", "x").qos(2));
        let id = subscriber.receive().packet_id;
        subscriber.send(&ack(0x50, id));
        assert_eq!(pubrel(&mut subscriber), id);
        for _ in 0..2 {
            subscriber.cut();
            subscriber = Client::persistent(broker.address(), version, "s");
            assert_eq!(pubrel(&mut subscriber), id);
        }
        subscriber.send(&ack(0x70, id));
        subscriber.expect_nothing();
        subscriber.cut();
        Client::persistent(broker.address(), version, "s").expect_nothing();
    });
}

/// [MQTT-3.3.1-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.4.0-1] [MQTT-4.6.0-1]
/// [3.1.1 MQTT-3.3.1-1] [3.1.1 MQTT-4.3.2-1] [3.1.1 MQTT-4.4.0-1] [3.1.1 MQTT-4.6.0-1] [3.1.1 MQTT-2.3.1-4]
#[test]
fn unacknowledged_messages_are_sent_again_after_a_reconnect_only() {
    each_version(|broker, version| {
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a", 2)]);
        for number in 0..10 {
            publish_from_outside(
                broker,
                version,
                Publish::new("a", &number.to_string()).qos(1 + number % 2),
            );
        }
        let sent: Vec<Publish> = (0..10).map(|_| subscriber.receive()).collect();
        subscriber.ping();
        subscriber.expect_nothing();
        subscriber.send(&ack(0x40, sent[0].packet_id));
        subscriber.ping();
        subscriber.cut();
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        for publish in &sent[1..] {
            assert_eq!(subscriber.take(), publish.clone().again());
        }
        subscriber.expect_nothing();
    });
}

/// [MQTT-4.3.3-7] [MQTT-4.3.3-13]
#[test]
fn handshakes_go_on_after_a_message_expired() {
    let broker = Broker::start();
    let mut subscriber = Client::persistent(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a", 2)]);
    let mut publisher = Client::clean(broker.address(), Version::V5, "p");
    let publish = Publish::new("a", "x").qos(2).with(Property::MessageExpiry(1));
    publisher.publish(publish.clone());
    let id = subscriber.receive().packet_id;
    subscriber.unsubscribe(&["a"]);
    publisher.send(&publish.id(4).bytes(Version::V5));
    publisher.wait_pubrec(4);
    let_time_pass(&broker);
    publisher.send(&ack(0x62, 4));
    assert_eq!(publisher.wait_pubcomp(4), 0);
    subscriber.send(&ack(0x50, id));
    assert_eq!(pubrel(&mut subscriber), id);
    subscriber.send(&ack(0x70, id));
    subscriber.expect_nothing();
}

/// [MQTT-4.3.3-7]
#[test]
fn message_once_sent_no_longer_expires() {
    if mosquitto_differs("drops it") {
        return;
    }
    let broker = Broker::start();
    let mut subscriber = Client::persistent(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a", 2)]);
    let publish = Publish::new("a", "x").qos(2).with(Property::MessageExpiry(1));
    publish_from_outside(&broker, Version::V5, publish);
    let id = subscriber.receive().packet_id;
    subscriber.cut();
    let_time_pass(&broker);
    let again = Client::persistent(broker.address(), Version::V5, "s").take();
    assert_eq!((again.packet_id, again.dup), (id, true));
}

/// [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.1.0-1] [3.1.1 MQTT-4.4.0-1] [3.1.1 MQTT-4.1.0-1] [3.1.1 MQTT-3.1.2-4]
#[test]
fn deliveries_in_flight_survive_a_crash_of_the_broker() {
    if mosquitto_differs("saves its state every half an hour") {
        return;
    }
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut broker = Broker::start();
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a", 2)]);
        for number in 0..6 {
            publish_from_outside(
                &broker,
                version,
                Publish::new("a", &number.to_string()).qos(1 + number % 2),
            );
        }
        let sent: Vec<Publish> = (0..6).map(|_| subscriber.receive()).collect();
        subscriber.send(&ack(0x50, sent[1].packet_id));
        assert_eq!(pubrel(&mut subscriber), sent[1].packet_id);
        broker.kill();
        broker.start_again();
        let (mut subscriber, connack) =
            Client::connect(broker.address(), &Connect::persistent(version, "s"));
        assert_eq!(connack.session_present, version != Version::V3);
        let mut again = Vec::new();
        for _ in 0..6 {
            match subscriber.next() {
                Packet::Publish(publish) => again.push(publish),
                Packet::Pubrel(ack) => assert_eq!(ack.packet_id, sent[1].packet_id),
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<Publish> = sent
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != 1)
            .map(|(_, p)| p.clone().again())
            .collect();
        assert_eq!(again, expected);
    }
}
