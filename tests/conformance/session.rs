//! Section 4.1 and the Session Expiry Interval: how long state is kept.

use crate::prelude::*;
use crate::wire::request::disconnect_with;

fn with_expiry(seconds: u32) -> Connect {
    Connect { clean_start: false, ..Connect::new(Version::V5, "s") }
        .with(Property::SessionExpiry(seconds))
}

fn present(broker: &Broker) -> bool {
    let (client, connack) = Client::connect(broker.address(), &with_expiry(1_000));
    client.disconnect();
    connack.session_present
}

/// [MQTT-3.1.2-23] [MQTT-4.1.0-2]
#[test]
fn session_is_kept_for_its_expiry_interval() {
    if mosquitto_differs("expires sessions with its own clock of some seconds") {
        return;
    }
    let broker = Broker::start();
    Client::connect(broker.address(), &with_expiry(1)).0.disconnect();
    assert!(present(&broker));
    Client::connect(broker.address(), &with_expiry(1)).0.cut();
    let_time_pass(&broker);
    assert!(!present(&broker));
    Client::connect(broker.address(), &with_expiry(u32::MAX)).0.cut();
    let_time_pass(&broker);
    assert!(present(&broker));
}

/// [MQTT-4.1.0-2] [MQTT-3.1.2-23]
#[test]
fn session_without_expiry_interval_ends_with_its_connection() {
    let broker = Broker::start();
    let without = Connect { clean_start: false, ..Connect::new(Version::V5, "s") };
    for connect in [with_expiry(0), without] {
        let (mut client, connack) = Client::connect(broker.address(), &connect);
        assert!(!connack.session_present);
        client.subscribe(&[("a", 1)]);
        client.cut();
    }
    assert!(!present(&broker));
}

/// [MQTT-3.1.2-23] [MQTT-4.1.0-2]
#[test]
fn disconnect_changes_the_expiry_interval() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address(), &with_expiry(1_000)).0;
    client.send(&disconnect_with(0, &[Property::SessionExpiry(0)]));
    assert_eq!(client.try_next(), None);
    assert!(!present(&broker));
    let mut client = Client::connect(broker.address(), &with_expiry(1)).0;
    client.send(&disconnect_with(0, &[Property::SessionExpiry(1_000)]));
    assert_eq!(client.try_next(), None);
    let_time_pass(&broker);
    assert!(present(&broker));
}

/// [MQTT-4.13.1-1] [MQTT-3.14.2-1]
#[test]
fn disconnect_can_not_bring_a_session_back_to_life() {
    let broker = Broker::start();
    let mut client = Client::connect(broker.address(), &with_expiry(0)).0;
    client.send(&disconnect_with(0, &[Property::SessionExpiry(1_000)]));
    client.expect_close_because(0x82);
    assert!(!present(&broker));
}

/// [MQTT-4.1.0-1] [3.1.1 MQTT-4.1.0-2] [3.1.1 MQTT-3.1.2-6] [MQTT-3.1.2-4]
#[test]
fn clean_session_leaves_nothing_behind() {
    each_version(|broker, version| {
        let mut client = Client::persistent(broker.address(), version, "s");
        client.subscribe(&[("a", 1)]);
        client.disconnect();
        publish_from_outside(broker, version, Publish::new("a", "old").qos(1));
        let mut client = Client::clean(broker.address(), version, "s");
        client.expect_nothing();
        client.subscribe(&[("b", 1)]);
        publish_from_outside(broker, version, Publish::new("b", "x").qos(1));
        assert_eq!(client.take().text(), "x");
        client.disconnect();
        let mut client = Client::persistent(broker.address(), version, "s");
        publish_from_outside(broker, version, Publish::new("a", "x").qos(1));
        publish_from_outside(broker, version, Publish::new("b", "x").qos(1));
        client.expect_nothing();
    });
}

/// [MQTT-3.1.2-5] [MQTT-4.1.0-1] [3.1.1 MQTT-3.1.2-4] [3.1.1 MQTT-4.1.0-1]
#[test]
fn subscriptions_survive_a_crash_of_the_broker() {
    if mosquitto_differs("saves its state every half an hour") {
        return;
    }
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut broker = Broker::start();
        let mut client = Client::persistent(broker.address(), version, "s");
        client.subscribe(&[("a", 2), ("b", 1), ("c/+", 0)]);
        client.unsubscribe(&["b"]);
        broker.kill();
        broker.start_again();
        for topic in ["a", "b"] {
            publish_from_outside(&broker, version, Publish::new(topic, "x").qos(2));
        }
        let mut client = Client::persistent(broker.address(), version, "s");
        let publish = client.take();
        assert_eq!((publish.topic.as_str(), publish.qos), ("a", 2));
        client.expect_nothing();
        publish_from_outside(&broker, version, Publish::new("c/d", "x").qos(2));
        assert_eq!(client.take().topic, "c/d");
    }
}
