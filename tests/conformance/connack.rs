//! Section 3.2: CONNACK.

use crate::prelude::*;

/// [MQTT-3.2.0-1] [3.1.1 MQTT-3.2.0-1] [MQTT-3.2.2-1] [MQTT-3.2.0-2]
#[test]
fn connack_comes_before_everything_else() {
    each_version(|broker, version| {
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a/#", 2)]);
        subscriber.disconnect();
        for payload in ["1", "2", "3"] {
            publish_from_outside(broker, version, Publish::new("a/b", payload).qos(2));
        }
        // `persistent` takes nothing but a CONNACK as the first packet.
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        for payload in ["1", "2", "3"] {
            assert_eq!(subscriber.take().text(), payload);
        }
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.4-4]
/// [3.1.1 MQTT-3.2.2-1] [3.1.1 MQTT-3.2.2-2] [3.1.1 MQTT-3.2.2-3] [3.1.1 MQTT-3.1.2-4] [3.1.1 MQTT-3.1.2-6] [3.1.1 MQTT-3.1.4-3]
#[test]
fn session_present_tells_the_truth() {
    each_version(|broker, version| {
        let keep = Connect::persistent(version, "s");
        let clean = Connect::new(version, "s");
        let present = |connect: &Connect| {
            let (client, connack) = Client::connect(broker.address(), connect);
            client.disconnect();
            connack.session_present
        };
        // 3.1 has no such flag, and the reader refuses it there.
        let kept = version != Version::V3;
        assert!(!present(&keep));
        assert_eq!(present(&keep), kept);
        assert_eq!(present(&keep), kept);
        assert!(!present(&clean));
        assert!(!present(&keep));
        assert_eq!(present(&keep), kept);
    });
}

/// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-12] [MQTT-3.2.2-13]
#[test]
fn everything_of_the_protocol_is_available() {
    let broker = Broker::start();
    let (_, connack) = Client::connect(broker.address(), &Connect::new(Version::V5, "c"));
    let limited = |p: &&Property| {
        matches!(
            p,
            Property::MaximumQos(_)
                | Property::RetainAvailable(0)
                | Property::WildcardAvailable(0)
                | Property::SubscriptionIdsAvailable(0)
                | Property::SharedAvailable(0)
        )
    };
    assert_eq!(connack.properties.iter().find(limited), None);
    let will = Will::new("w", "x").qos(2).retained();
    Client::connect(broker.address(), &Connect::new(Version::V5, "w").will(will)).0.disconnect();
}

/// [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-24]
#[test]
fn connack_keeps_within_the_clients_maximum_packet_size() {
    let broker = Broker::start();
    for maximum in [8, 12, 16, 20, 24, 32, 64] {
        let connect = Connect::new(Version::V5, "small")
            .with(Property::MaximumPacketSize(maximum))
            .with(Property::AuthenticationMethod("NO-SUCH-METHOD".into()));
        let mut client = Client::open(broker.address(), Version::V5);
        client.send(&connect.bytes());
        let answer = client.bytes_until_closed();
        assert!(
            answer.len() <= maximum as usize,
            "{} bytes for a maximum of {maximum}",
            answer.len()
        );
    }
}

/// [MQTT-3.1.2-28]
#[test]
fn response_information_only_on_request() {
    let broker = Broker::start();
    for connect in [
        Connect::new(Version::V5, "c"),
        Connect::new(Version::V5, "c").with(Property::RequestResponseInformation(0)),
    ] {
        let (_, connack) = Client::connect(broker.address(), &connect);
        assert!(!connack.properties.iter().any(|p| matches!(p, Property::ResponseInformation(_))));
    }
}
