//! Section 3.3: PUBLISH, its flags, its properties and the subscribers it reaches.

use crate::prelude::*;
use crate::wire::property::user_properties;
use crate::wire::request::RETAIN_AS_PUBLISHED;
use crate::wire::request::frame;

/// [MQTT-3.3.1-4] [3.1.1 MQTT-3.3.1-4]
#[test]
fn qos_3_is_malformed() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "c");
        client.send(&Publish::new("a", "x").qos(3).id(1).bytes(version));
        client.expect_close_because(0x81);
    });
}

/// [MQTT-3.3.1-3] [3.1.1 MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]
#[test]
fn dup_of_the_publisher_is_not_passed_on() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 2)]);
        for qos in [1, 2] {
            publisher.publish(Publish::new("a", "x").qos(qos).again());
            let publish = subscriber.take();
            assert_eq!((publish.qos, publish.dup), (qos, false));
        }
    });
}

/// [MQTT-3.3.2-2] [3.1.1 MQTT-3.3.2-2] [MQTT-4.7.0-1] [3.1.1 MQTT-4.7.1-1] [MQTT-4.7.3-1] [3.1.1 MQTT-4.7.3-1]
#[test]
fn topic_names_have_no_wildcards_and_are_not_empty() {
    each_version(|broker, version| {
        for topic in ["#", "+", "a/+/b", "a/#", "a+", "a#", ""] {
            let mut client = Client::clean(broker.address(), version, "c");
            client.send(&Publish::new(topic, "x").bytes(version));
            client.expect_close();
        }
    });
}

/// [MQTT-3.3.2-1] [3.1.1 MQTT-3.3.2-1] [MQTT-4.7.3-3] [3.1.1 MQTT-4.7.3-3]
#[test]
fn topics_may_be_65535_bytes_long() {
    if mosquitto_differs("limits topics to 200 levels and its own length") {
        return;
    }
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        let topic = "t".repeat(65_535);
        subscriber.subscribe(&[(&topic, 1)]);
        publisher.publish(Publish::new(&topic, "x").qos(1));
        assert_eq!(subscriber.take().topic, topic);
    });
}

/// [MQTT-3.3.2-3] [3.1.1 MQTT-3.3.2-3] [MQTT-4.5.0-1] [3.1.1 MQTT-4.5.0-1]
#[test]
fn every_matching_subscriber_gets_the_topic_as_it_was_published() {
    each_version(|broker, version| {
        let filters = ["a/b/c", "a/+/c", "a/#", "#", "+/b/+", "a/b/c/#"];
        let mut subscribers: Vec<Client> = filters
            .iter()
            .map(|filter| {
                let mut client = Client::clean(broker.address(), version, &format!("to {filter}"));
                assert_eq!(client.subscribe(&[(filter, 1)]), [1]);
                client
            })
            .collect();
        let mut other = Client::clean(broker.address(), version, "other");
        other.subscribe(&[("a/b", 1), ("a/b/c/d", 1), ("+", 1)]);
        publish_from_outside(broker, version, Publish::new("a/b/c", "x").qos(1));
        for subscriber in &mut subscribers {
            let publish = subscriber.take();
            assert_eq!((publish.topic.as_str(), publish.text()), ("a/b/c", "x"));
        }
        other.expect_nothing();
    });
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-13] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-19] [MQTT-3.3.2-20]
#[test]
fn properties_are_forwarded_unchanged() {
    let broker = Broker::start();
    let (mut subscriber, mut publisher) = pair(&broker, Version::V5);
    subscriber.subscribe(&[("a", 2)]);
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain; charset=utf-8 \u{1F600}".into()),
        Property::ResponseTopic("answers/to/me".into()),
        Property::CorrelationData(vec![0, 1, 254, 255]),
        Property::user("z", "1"),
        Property::user("a", "2"),
        Property::user("z", "3"),
        Property::user("a", "2"),
        Property::user("", ""),
    ];
    for qos in 0..3 {
        let publish = properties
            .iter()
            .fold(Publish::new("a", "x").qos(qos), |p, property| p.with(property.clone()));
        publisher.publish(publish);
        let got = subscriber.take();
        assert_eq!(
            user_properties(&got.properties),
            [("z", "1"), ("a", "2"), ("z", "3"), ("a", "2"), ("", "")]
        );
        for property in &properties {
            assert!(got.properties.contains(property), "{property:?} is missing");
        }
        assert_eq!(
            got.properties.len(),
            properties.len(),
            "more than was published: {:?}",
            got.properties
        );
    }
}

/// [MQTT-3.3.2-14] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
#[test]
fn response_topic_and_content_type_are_checked() {
    if mosquitto_differs("forwards response topics with wildcards") {
        return;
    }
    let broker = Broker::start();
    let mut bad = vec![
        Publish::new("a", "x").with(Property::ResponseTopic("a/+".into())).bytes(Version::V5),
        Publish::new("a", "x").with(Property::ResponseTopic("#".into())).bytes(Version::V5),
    ];
    for id in [3, 8] {
        bad.push(frame(0x30, &[0, 1, b'a', 5, id, 0, 2, 0xC3, 0x28]));
    }
    for bytes in bad {
        let mut client = Client::clean(broker.address(), Version::V5, "c");
        client.send(&bytes);
        client.expect_close();
    }
}

fn expiry(publish: &Publish) -> Option<u32> {
    publish.properties.iter().find_map(|p| match p {
        Property::MessageExpiry(seconds) => Some(*seconds),
        _ => None,
    })
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn messages_expire_while_they_wait() {
    let broker = Broker::start();
    let mut subscriber = Client::persistent(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a/#", 1)]);
    subscriber.disconnect();
    for (topic, seconds) in [("a/short", 1), ("a/long", 100)] {
        let publish = Publish::new(topic, "x").qos(1).with(Property::MessageExpiry(seconds));
        publish_from_outside(&broker, Version::V5, publish);
    }
    publish_from_outside(&broker, Version::V5, Publish::new("a/ever", "x").qos(1));
    let_time_pass(&broker);
    let mut subscriber = Client::persistent(broker.address(), Version::V5, "s");
    let long = subscriber.take();
    assert_eq!(long.topic, "a/long");
    let left = expiry(&long).expect("an expiry interval");
    assert!((90..=99).contains(&left), "{left} s left of 100");
    let ever = subscriber.take();
    assert_eq!((ever.topic.as_str(), expiry(&ever)), ("a/ever", None));
    subscriber.expect_nothing();
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn retained_messages_expire() {
    let broker = Broker::start();
    for (topic, seconds) in [("a/short", 1), ("a/long", 100)] {
        let publish =
            Publish::new(topic, "x").qos(1).retained().with(Property::MessageExpiry(seconds));
        publish_from_outside(&broker, Version::V5, publish);
    }
    let_time_pass(&broker);
    let mut subscriber = Client::clean(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a/#", 1)]);
    let publish = subscriber.take();
    assert_eq!(publish.topic, "a/long");
    assert!((90..=99).contains(&expiry(&publish).unwrap()));
    subscriber.expect_nothing();
}

fn alias_maximum(connack: &crate::wire::packet::Connack) -> u16 {
    connack
        .properties
        .iter()
        .find_map(|p| match p {
            Property::TopicAliasMaximum(maximum) => Some(*maximum),
            _ => None,
        })
        .unwrap_or(0)
}

/// [MQTT-3.3.2-12] [MQTT-3.3.2-7]
#[test]
fn topic_aliases_up_to_the_maximum_are_taken() {
    let broker = Broker::start();
    let mut subscriber = Client::clean(broker.address(), Version::V5, "s");
    subscriber.subscribe(&[("a/#", 1)]);
    let (mut publisher, connack) =
        Client::connect(broker.address(), &Connect::new(Version::V5, "p"));
    let maximum = alias_maximum(&connack);
    assert!(maximum > 0);
    for alias in 1..=maximum {
        let topic = format!("a/{alias}");
        publisher.publish(Publish::new(&topic, "named").qos(1).with(Property::TopicAlias(alias)));
        assert_eq!(subscriber.take().topic, topic);
    }
    for alias in 1..=maximum {
        publisher.publish(Publish::new("", "by alias").qos(1).with(Property::TopicAlias(alias)));
        let publish = subscriber.take();
        assert_eq!(
            (publish.topic.as_str(), publish.text()),
            (format!("a/{alias}").as_str(), "by alias")
        );
    }
    // A new name takes the alias over.
    publisher.publish(Publish::new("a/new", "x").qos(1).with(Property::TopicAlias(1)));
    assert_eq!(subscriber.take().topic, "a/new");
    publisher.publish(Publish::new("", "x").qos(1).with(Property::TopicAlias(1)));
    assert_eq!(subscriber.take().topic, "a/new");
}

/// [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17]
#[test]
fn unknown_aliases_and_those_out_of_range_are_errors() {
    let broker = Broker::start();
    let connect = Connect::persistent(Version::V5, "p");
    let (mut publisher, connack) = Client::connect(broker.address(), &connect);
    publisher.publish(Publish::new("a", "x").with(Property::TopicAlias(1)));
    publisher.disconnect();
    // The mapping ended with the connection, though the session goes on.
    let beyond = alias_maximum(&connack) + 1;
    for (topic, alias) in [("", 1), ("a", 0), ("a", beyond), ("a", u16::MAX)] {
        let mut publisher = Client::connect(broker.address(), &connect).0;
        publisher
            .send(&Publish::new(topic, "x").with(Property::TopicAlias(alias)).bytes(Version::V5));
        publisher.expect_close();
    }
}

/// [MQTT-3.2.2-18] [MQTT-3.3.2-9]
#[test]
fn server_without_aliases_takes_none() {
    if mosquitto_differs("can't be told so") {
        return;
    }
    let toml = "[limits]\ntopic_alias_maximum = 0\n".into();
    let broker = Broker::start_with(Settings { toml, ..Settings::default() });
    let (mut client, connack) = Client::connect(broker.address(), &Connect::new(Version::V5, "c"));
    assert_eq!(alias_maximum(&connack), 0);
    client.send(&Publish::new("a", "x").with(Property::TopicAlias(1)).bytes(Version::V5));
    client.expect_close_because(0x94);
}

/// [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11] [MQTT-3.3.2-8]
#[test]
fn aliases_of_the_server_keep_within_the_clients_maximum() {
    let broker = Broker::start();
    for maximum in [None, Some(0), Some(2)] {
        let mut connect = Connect::new(Version::V5, "s");
        connect.properties.extend(maximum.map(Property::TopicAliasMaximum));
        let mut subscriber = Client::connect(broker.address(), &connect).0;
        subscriber.subscribe(&[("a/#", 0)]);
        let mut publisher = Client::clean(broker.address(), Version::V5, "p");
        let mut names = [String::new(), String::new()];
        for number in (0..5).chain(0..5) {
            publisher.publish(Publish::new(&format!("a/{number}"), "x"));
            let publish = subscriber.receive();
            let alias = publish.properties.iter().find_map(|p| match p {
                Property::TopicAlias(alias) => Some(*alias),
                _ => None,
            });
            let topic = match alias {
                None => publish.topic,
                Some(alias) => {
                    assert!(
                        alias <= maximum.unwrap_or(0),
                        "alias {alias} for a maximum of {maximum:?}"
                    );
                    let name = &mut names[usize::from(alias) - 1];
                    if !publish.topic.is_empty() {
                        name.clone_from(&publish.topic);
                    }
                    name.clone()
                }
            };
            assert_eq!(topic, format!("a/{number}"));
        }
    }
}

/// [MQTT-3.3.4-6]
#[test]
fn subscription_identifier_from_a_client_is_an_error() {
    if mosquitto_differs("forwards it") {
        return;
    }
    let broker = Broker::start();
    let mut client = Client::clean(broker.address(), Version::V5, "c");
    client.send(&Publish::new("a", "x").with(Property::SubscriptionId(1)).bytes(Version::V5));
    client.expect_close();
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25] [MQTT-3.2.2-15]
#[test]
fn packets_too_large_for_a_client_count_as_delivered() {
    let broker = Broker::start();
    for qos in 0..3 {
        let connect = Connect::persistent(Version::V5, &format!("s{qos}"))
            .with(Property::MaximumPacketSize(100));
        let mut subscriber = Client::connect(broker.address(), &connect).0;
        subscriber.subscribe(&[("a", qos)]);
        let mut publisher = Client::clean(broker.address(), Version::V5, "p");
        publisher.publish(Publish::new("a", &"large".repeat(30)).qos(qos));
        publisher.publish(Publish::new("a", "small").qos(qos));
        assert_eq!(subscriber.take().text(), "small");
        // It was not kept for a connection that would take it.
        subscriber.disconnect();
        Client::persistent(broker.address(), Version::V5, &format!("s{qos}")).expect_nothing();
    }
}

/// [MQTT-4.13.1-1] [MQTT-3.2.2-15]
#[test]
fn packets_too_large_for_the_server_close_the_connection() {
    let broker = Broker::start_with(Settings {
        toml: "[limits]\npacket_size = \"1 KiB\"\n".into(),
        mosquitto: "max_packet_size 1024\n".into(),
        ..Settings::default()
    });
    let (mut client, connack) = Client::connect(broker.address(), &Connect::new(Version::V5, "c"));
    assert!(connack.properties.contains(&Property::MaximumPacketSize(1024)));
    client.publish(Publish::new("a", &"x".repeat(900)).qos(1));
    // The header alone says enough: nobody waits for the rest.
    client.send(&[0x30, 0x80, 0x80, 0x01]);
    client.expect_close_because(0x95);
}

/// [MQTT-3.3.1-12] [3.1.1 MQTT-3.3.1-9] [MQTT-3.3.1-13]
#[test]
fn retain_flag_reaches_established_subscriptions_only_if_asked_for() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        publisher.publish(Publish::new("a", "x").qos(1).retained());
        assert!(!subscriber.take().retain);
        if version.is_v5() {
            subscriber.subscribe(&[("b", 1 | RETAIN_AS_PUBLISHED)]);
            publisher.publish(Publish::new("b", "x").qos(1).retained());
            assert!(subscriber.take().retain);
            publisher.publish(Publish::new("b", "y").qos(1));
            assert!(!subscriber.take().retain);
        }
    });
}

/// [3.1.1 MQTT-3.3.5-2] [MQTT-3.4.2-1] [MQTT-3.5.2-1]
#[test]
fn unauthorized_publish_reaches_nobody() {
    if mosquitto_differs("keeps access rules in another form") {
        return;
    }
    let rules = Some("allow all publish open/#\nallow all subscribe #\n".into());
    let broker = Broker::start_with(Settings { rules, ..Settings::default() });
    for version in [Version::V3, Version::V4, Version::V5] {
        let mut subscriber = Client::clean(broker.address(), version, "s");
        subscriber.subscribe(&[("closed/#", 2), ("open/#", 2)]);
        for qos in [1, 2] {
            let mut publisher = Client::clean(broker.address(), version, "p");
            publisher.send(&Publish::new("closed/a", "x").qos(qos).id(1).bytes(version));
            match publisher.try_next() {
                Some(Packet::Puback(ack) | Packet::Pubrec(ack)) => {
                    assert_eq!(ack.code, if version.is_v5() { 0x87 } else { 0 });
                }
                // What older versions may do, which have no code for it.
                None => assert!(!version.is_v5()),
                Some(other) => panic!("{other:?}"),
            }
        }
        let mut publisher = Client::clean(broker.address(), version, "p");
        publisher.publish(Publish::new("open/a", "x").qos(1));
        assert_eq!(subscriber.take().topic, "open/a");
    }
}
