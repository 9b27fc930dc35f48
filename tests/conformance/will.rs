//! Section 3.1.2.5 and 3.1.3.2: when a will is published, and how.

use crate::prelude::*;
use crate::wire::property::user_properties;
use crate::wire::request::disconnect_with;

fn watcher(broker: &Broker, version: Version) -> Client {
    let mut watcher = Client::clean(broker.address(), version, "watcher");
    watcher.subscribe(&[("will/#", 2)]);
    watcher
}

/// [MQTT-3.1.2-7] [MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8] [MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-10]
#[test]
fn will_is_published_once_when_the_connection_breaks() {
    each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        for qos in 0..3 {
            let will = Will::new(&format!("will/{qos}"), "gone").qos(qos);
            let mut keep = Connect::persistent(version, "mortal").will(will);
            // In version 5 the will waits for its delay at most, which is none here.
            Client::connect(broker.address(), &keep).0.cut();
            let publish = watcher.take();
            assert_eq!((publish.topic, publish.qos), (format!("will/{qos}"), qos));
            // The next connection of the session has no will.
            keep.will = None;
            Client::connect(broker.address(), &keep).0.cut();
        }
        watcher.expect_nothing();
    });
}

/// [MQTT-3.14.4-3] [3.1.1 MQTT-3.14.4-3] [MQTT-3.1.2-8] [MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-10]
#[test]
fn disconnect_discards_the_will() {
    each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        let connect = Connect::new(version, "polite").will(Will::new("will/no", "x"));
        Client::connect(broker.address(), &connect).0.disconnect();
        watcher.expect_nothing();
    });
}

/// [3.1.1 MQTT-3.1.2-12]
#[test]
fn without_a_will_nothing_is_published() {
    each_version(|broker, version| {
        let mut watcher = Client::clean(broker.address(), version, "watcher");
        watcher.subscribe(&[("#", 2)]);
        Client::clean(broker.address(), version, "mortal").cut();
        watcher.expect_nothing();
    });
}

/// [MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8]
#[test]
fn will_is_published_after_a_protocol_error_and_a_take_over() {
    each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        let connect = Connect::new(version, "mortal").will(Will::new("will/error", "x"));
        let mut client = Client::connect(broker.address(), &connect).0;
        client.send(&[0x00, 0x00]);
        client.expect_close();
        assert_eq!(watcher.take().topic, "will/error");
        let mut client = Client::connect(broker.address(), &connect).0;
        let _new = Client::clean(broker.address(), version, "mortal");
        client.expect_close();
        assert_eq!(watcher.take().topic, "will/error");
    });
}

/// [MQTT-3.1.2-14] [MQTT-3.1.2-15] [3.1.1 MQTT-3.1.2-16] [3.1.1 MQTT-3.1.2-17]
#[test]
fn will_is_retained_if_it_says_so() {
    each_version(|broker, version| {
        let mut watcher = watcher(broker, version);
        for will in [Will::new("will/plain", "x"), Will::new("will/kept", "y").retained()] {
            let connect = Connect::new(version, "mortal").will(will);
            Client::connect(broker.address(), &connect).0.cut();
            assert!(!watcher.take().retain);
        }
        let mut late = Client::clean(broker.address(), version, "late");
        late.subscribe(&[("will/#", 1)]);
        let publish = late.take();
        assert_eq!(
            (publish.topic.as_str(), publish.text(), publish.retain),
            ("will/kept", "y", true)
        );
        late.expect_nothing();
    });
}

/// [MQTT-3.1.2-8]
#[test]
fn disconnect_with_will_message_publishes_it() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker, Version::V5);
    // With a property length, and in the short form that mosquitto's own library sends.
    for disconnect in [disconnect_with(0x04, &[]), vec![0xE0, 1, 4]] {
        let connect = Connect::new(Version::V5, "mortal").will(Will::new("will/asked", "x"));
        let mut client = Client::connect(broker.address(), &connect).0;
        client.send(&disconnect);
        assert_eq!(client.try_next(), None);
        assert_eq!(watcher.take().topic, "will/asked");
    }
}

fn delayed(seconds: u32) -> Connect {
    Connect::persistent(Version::V5, "mortal")
        .will(Will::new("will/late", "x").with(Property::WillDelay(seconds)))
}

/// [MQTT-3.1.3-9] [MQTT-3.1.2-8]
#[test]
fn reconnect_within_the_will_delay_prevents_the_will() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker, Version::V5);
    Client::connect(broker.address(), &delayed(2)).0.cut();
    watcher.expect_nothing();
    let (mut back, connack) =
        Client::connect(broker.address(), &Connect::persistent(Version::V5, "mortal"));
    assert!(connack.session_present);
    let_time_pass(&broker);
    let_time_pass(&broker);
    back.ping();
    watcher.expect_nothing();
}

/// [MQTT-3.1.2-8]
#[test]
fn will_is_published_when_its_delay_is_over() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker, Version::V5);
    let start = std::time::Instant::now();
    Client::connect(broker.address(), &delayed(2)).0.cut();
    assert_eq!(watcher.take().topic, "will/late");
    assert!(start.elapsed().as_millis() >= 1_900, "the delay was 2 s, not {:?}", start.elapsed());
}

/// [MQTT-3.1.2-8] [MQTT-3.1.2-4]
#[test]
fn end_of_the_session_publishes_the_will_at_once() {
    if mosquitto_differs("publishes it when the delay is over") {
        return;
    }
    let broker = Broker::start();
    let mut watcher = watcher(&broker, Version::V5);
    // A clean start ends the old session.
    Client::connect(broker.address(), &delayed(1_000)).0.cut();
    watcher.expect_nothing();
    Client::clean(broker.address(), Version::V5, "mortal").disconnect();
    assert_eq!(watcher.take().topic, "will/late");
    // A session that ends with its connection.
    let mut connect = delayed(1_000);
    connect.properties = vec![Property::SessionExpiry(0)];
    Client::connect(broker.address(), &connect).0.cut();
    assert_eq!(watcher.take().topic, "will/late");
}

/// [MQTT-3.1.3-10]
#[test]
fn will_properties_are_forwarded_in_order() {
    let broker = Broker::start();
    let mut watcher = watcher(&broker, Version::V5);
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("a", "2")];
    let mut will = Will::new("will/properties", "x")
        .with(Property::PayloadFormat(1))
        .with(Property::ContentType("text/plain".into()))
        .with(Property::ResponseTopic("answer".into()))
        .with(Property::CorrelationData(vec![0, 255]));
    for (name, value) in pairs {
        will = will.with(Property::user(name, value));
    }
    Client::connect(broker.address(), &Connect::new(Version::V5, "mortal").will(will.clone()))
        .0
        .cut();
    let publish = watcher.take();
    assert_eq!(user_properties(&publish.properties), pairs);
    for property in &will.properties {
        assert!(publish.properties.contains(property), "{property:?} is missing");
    }
}

/// [MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8]
#[test]
fn will_of_a_connection_that_died_with_the_broker_is_published() {
    if mosquitto_differs("does not keep wills") {
        return;
    }
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut broker = Broker::start();
        let mut watcher = Client::persistent(broker.address(), version, "watcher");
        watcher.subscribe(&[("will/#", 1)]);
        let connect = Connect::persistent(version, "mortal").will(Will::new("will/crash", "x"));
        let _mortal = Client::connect(broker.address(), &connect).0;
        broker.kill();
        broker.start_again();
        let mut watcher = Client::persistent(broker.address(), version, "watcher");
        assert_eq!(watcher.take().topic, "will/crash");
    }
}
