//! Section 4.7: topic names and filters.

use crate::prelude::*;

/// Filter, topic, and whether they match.
const MATCHES: [(&str, &str, bool); 33] = [
    ("a", "a", true),
    ("a", "b", false),
    ("a", "A", false),
    ("a", "a/", false),
    ("a", "/a", false),
    ("a ", "a", false),
    ("a/b", "a/b", true),
    ("a//b", "a//b", true),
    ("a//b", "a/b", false),
    ("/", "/", true),
    ("+", "a", true),
    ("+", "/a", false),
    ("+", "a/b", false),
    ("/+", "/a", true),
    ("+/+", "/a", true),
    ("a/+", "a/b", true),
    ("a/+", "a/", true),
    ("a/+", "a", false),
    ("a/+", "a/b/c", false),
    ("a/+/c", "a/b/c", true),
    ("a/+/c", "a//c", true),
    ("+/b/+", "a/b/c", true),
    ("#", "a", true),
    ("#", "/a/b/c", true),
    ("a/#", "a", true),
    ("a/#", "a/", true),
    ("a/#", "a/b/c", true),
    ("a/#", "ab", false),
    ("+/#", "a/b", true),
    ("a/+/#", "a/b", true),
    ("a/+/#", "a", false),
    ("é/+", "é/日本", true),
    ("é", "e\u{301}", false),
];

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-4] [MQTT-3.3.2-3]
/// [3.1.1 MQTT-4.7.1-2] [3.1.1 MQTT-4.7.1-3] [3.1.1 MQTT-4.7.3-4] [3.1.1 MQTT-3.3.2-3] [3.1.1 MQTT-3.8.3-2]
#[test]
fn filters_match_level_by_level_and_byte_by_byte() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        for (filter, topic, matches) in MATCHES {
            assert_eq!(subscriber.subscribe(&[(filter, 1)]), [1]);
            publisher.publish(Publish::new(topic, "x").qos(1));
            let came = match subscriber.settle().as_slice() {
                [] => false,
                [Packet::Publish(publish)] => {
                    subscriber.accept(publish);
                    assert_eq!(publish.topic, topic);
                    true
                }
                other => panic!("{filter} and {topic}: {other:?}"),
            };
            assert_eq!(came, matches, "filter {filter}, topic {topic}");
            subscriber.unsubscribe(&[filter]);
        }
    });
}

/// [MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]
#[test]
fn leading_wildcards_do_not_match_topics_of_the_server() {
    // The broker's own statistics are the topics with a dollar sign that are sure to exist.
    let broker = Broker::start_with(Settings {
        toml: "[sys]\ninterval = \"1s\"\n".into(),
        mosquitto: "sys_interval 1\n".into(),
        ..Settings::default()
    });
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut by_name = Client::clean(broker.address(), version, "by name");
        let mut by_wildcard = Client::clean(broker.address(), version, "by wildcard");
        by_wildcard.subscribe(&[("#", 0), ("+/broker/#", 0), ("+/#", 0), ("+/+/uptime", 0)]);
        by_name.subscribe(&[("$SYS/broker/uptime", 0)]);
        // The retained one, and one that is published now.
        for _ in 0..2 {
            assert_eq!(by_name.take().topic, "$SYS/broker/uptime");
        }
        by_wildcard.expect_nothing();
    }
}

/// [MQTT-4.7.3-3] [3.1.1 MQTT-4.7.3-3]
#[test]
fn filters_may_be_65535_bytes_long() {
    if mosquitto_differs("limits topics to its own length") {
        return;
    }
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        let filter = format!("{}/#", "f".repeat(65_533));
        assert_eq!(client.subscribe(&[(&filter, 0)]), [0]);
        client.unsubscribe(&[&filter]);
    });
}
