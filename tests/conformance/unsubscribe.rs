//! Sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK.

use crate::prelude::*;

/// [MQTT-3.10.3-2] [3.1.1 MQTT-3.10.3-2]
#[test]
fn unsubscribe_without_a_filter_is_an_error() {
    if mosquitto_differs("answers it for 3.1") {
        return;
    }
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        client.send(&request::unsubscribe(version, 1, &[]));
        client.expect_close();
    });
}

/// [MQTT-3.10.4-1] [MQTT-3.10.4-2] [3.1.1 MQTT-3.10.4-1] [3.1.1 MQTT-3.10.4-2] [MQTT-4.7.3-4] [3.1.1 MQTT-4.7.3-4]
#[test]
fn only_the_same_filter_is_unsubscribed() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a/+", 1)]);
        subscriber.unsubscribe(&["a/b", "a/#", "A/+", "a/+/", "#", "a /+"]);
        publisher.publish(Publish::new("a/b", "1").qos(1));
        assert_eq!(subscriber.take().text(), "1");
        subscriber.unsubscribe(&["a/+"]);
        publisher.publish(Publish::new("a/b", "2").qos(1));
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
/// [3.1.1 MQTT-3.10.4-4] [3.1.1 MQTT-3.10.4-5] [3.1.1 MQTT-3.10.4-6]
#[test]
fn unsuback_has_a_code_for_each_filter_in_order() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        client.subscribe(&[("a", 1), ("b", 1)]);
        let codes = client.unsubscribe(&["none", "a", "a", "b"]);
        assert_eq!(codes, if version.is_v5() { &[0x11, 0, 0x11, 0][..] } else { &[] });
        let codes = client.unsubscribe(&["a"]);
        assert_eq!(codes, if version.is_v5() { &[0x11][..] } else { &[] });
    });
}

/// [MQTT-3.10.4-3] [3.1.1 MQTT-3.10.4-3]
#[test]
fn deliveries_already_begun_are_completed() {
    each_version(|broker, version| {
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a", 2)]);
        for qos in [1, 2] {
            publish_from_outside(broker, version, Publish::new("a", "x").qos(qos));
        }
        let sent = [subscriber.receive(), subscriber.receive()];
        subscriber.unsubscribe(&["a"]);
        subscriber.accept(&sent[1]);
        subscriber.cut();
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        assert_eq!(subscriber.take(), sent[0].clone().again());
        publish_from_outside(broker, version, Publish::new("a", "y").qos(1));
        subscriber.expect_nothing();
    });
}
