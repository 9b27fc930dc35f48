//! Section 3.3.1.3: retained messages.

use crate::prelude::*;
use crate::wire::request::RETAIN_IF_NEW;
use crate::wire::request::RETAIN_NEVER;

/// What a new subscription to `#` is sent, as `topic=payload`, sorted.
fn retained(broker: &Broker, version: Version) -> Vec<String> {
    let mut client = Client::clean(broker.address(), version, "reader");
    client.subscribe(&[("#", 1)]);
    let mut found: Vec<String> = client
        .settle()
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => {
                assert!(publish.retain);
                format!("{}={}", publish.topic, publish.text())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort();
    found
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-9] [MQTT-3.3.1-8] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
/// [3.1.1 MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-6] [3.1.1 MQTT-3.3.1-7] [3.1.1 MQTT-3.3.1-8] [3.1.1 MQTT-3.3.1-10] [3.1.1 MQTT-3.3.1-11]
/// [3.1.1 MQTT-3.3.1-12]
#[test]
fn last_retained_message_of_a_topic_is_kept() {
    each_version(|broker, version| {
        let mut publisher = Client::clean(broker.address(), version, "p");
        let mut say = |topic: &str, payload: &str, qos: u8, retain: bool| {
            let publish = Publish { retain, ..Publish::new(topic, payload).qos(qos) };
            publisher.publish(publish);
            publisher.ping();
        };
        say("a/1", "first", 1, true);
        say("a/1", "second", 2, true);
        say("a/2", "other", 0, true);
        assert_eq!(retained(broker, version), ["a/1=second", "a/2=other"]);
        say("a/1", "not retained", 1, false);
        say("a/1", "", 1, false);
        assert_eq!(retained(broker, version), ["a/1=second", "a/2=other"]);
        say("a/1", "of QoS 0", 0, true);
        assert_eq!(retained(broker, version), ["a/1=of QoS 0", "a/2=other"]);
        say("a/1", "", 1, true);
        assert_eq!(retained(broker, version), ["a/2=other"]);
        say("a/2", "", 0, true);
        assert!(retained(broker, version).is_empty());
    });
}

/// [MQTT-3.3.1-6] [3.1.1 MQTT-3.3.1-10]
#[test]
fn empty_retained_message_is_forwarded_like_any_other() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        publisher.publish(Publish::new("a", "").qos(1).retained());
        let publish = subscriber.take();
        assert_eq!((publish.text(), publish.retain), ("", false));
    });
}

/// [3.1.1 MQTT-3.1.2-7] [MQTT-3.3.1-5]
#[test]
fn retained_messages_outlive_sessions() {
    each_version(|broker, version| {
        let mut publisher = Client::clean(broker.address(), version, "p");
        publisher.publish(Publish::new("a", "x").qos(1).retained());
        publisher.disconnect();
        Client::clean(broker.address(), version, "p").disconnect();
        assert_eq!(retained(broker, version), ["a=x"]);
    });
}

/// [MQTT-3.3.1-9] [MQTT-3.8.4-4] [MQTT-3.8.4-3] [3.1.1 MQTT-3.3.1-6] [3.1.1 MQTT-3.8.4-3]
#[test]
fn subscribing_again_sends_retained_messages_again() {
    each_version(|broker, version| {
        publish_from_outside(broker, version, Publish::new("a", "x").qos(1).retained());
        let mut subscriber = Client::clean(broker.address(), version, "s");
        for _ in 0..3 {
            subscriber.subscribe(&[("a", 1)]);
            let publish = subscriber.take();
            assert_eq!((publish.text(), publish.retain), ("x", true));
        }
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[test]
fn retain_handling_decides_what_a_subscription_is_sent() {
    let broker = Broker::start();
    publish_from_outside(&broker, Version::V5, Publish::new("a", "x").qos(1).retained());
    let mut subscriber = Client::clean(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a", 1 | RETAIN_NEVER)]);
    subscriber.expect_nothing();
    subscriber.subscribe(&[("a", 1 | RETAIN_IF_NEW)]);
    subscriber.expect_nothing();
    subscriber.unsubscribe(&["a"]);
    subscriber.subscribe(&[("a", 1 | RETAIN_IF_NEW)]);
    assert_eq!(subscriber.take().text(), "x");
    subscriber.subscribe(&[("a", 1 | RETAIN_IF_NEW)]);
    subscriber.expect_nothing();
}

/// [MQTT-3.3.1-9] [MQTT-3.8.4-8] [3.1.1 MQTT-3.3.1-6] [3.1.1 MQTT-3.8.4-6]
#[test]
fn retained_messages_come_at_the_lower_qos_and_complete() {
    each_version(|broker, version| {
        let mut publisher = Client::clean(broker.address(), version, "p");
        for number in 0..300 {
            publisher.publish(Publish::new(&format!("r/{number}"), "x").qos(2).retained());
        }
        for qos in 0..3 {
            let mut subscriber = Client::clean(broker.address(), version, "s");
            subscriber.subscribe(&[("r/#", qos)]);
            let mut topics = std::collections::BTreeSet::new();
            while topics.len() < 300 {
                let publish = subscriber.take();
                assert_eq!(publish.qos, qos);
                assert!(topics.insert(publish.topic.clone()), "{} came twice", publish.topic);
            }
            subscriber.expect_nothing();
        }
    });
}

/// [MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-5]
#[test]
fn retained_messages_survive_a_crash_of_the_broker() {
    if mosquitto_differs("saves its state every half an hour") {
        return;
    }
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut broker = Broker::start();
        for (topic, payload) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "")] {
            publish_from_outside(&broker, version, Publish::new(topic, payload).qos(1).retained());
        }
        broker.kill();
        broker.start_again();
        assert_eq!(retained(&broker, version), ["a=3"]);
    }
}
