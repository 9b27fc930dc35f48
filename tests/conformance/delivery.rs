//! Sections 4.5 and 4.6: who gets a message, and in which order.

use crate::prelude::*;

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6] [3.1.1 MQTT-4.6.0-5] [3.1.1 MQTT-4.6.0-6]
#[test]
fn messages_of_a_topic_and_qos_keep_their_order() {
    each_version(|broker, version| {
        let (mut subscriber, mut publisher) = pair(broker, version);
        for qos in 0..3 {
            let topic = format!("a/{qos}");
            subscriber.subscribe(&[(&topic, qos)]);
            for number in 0..200 {
                let mut publish = Publish::new(&topic, &number.to_string()).qos(qos);
                if qos > 0 {
                    publish.packet_id = publisher.next_packet_id();
                }
                publisher.send(&publish.bytes(version));
                if qos == 2 {
                    publisher.wait_pubrec(publish.packet_id);
                    publisher.send(&request::ack(0x62, publish.packet_id));
                }
            }
            for number in 0..200 {
                assert_eq!(subscriber.take().text(), number.to_string());
            }
        }
    });
}

/// [MQTT-4.5.0-1] [3.1.1 MQTT-4.5.0-1] [3.1.1 MQTT-3.1.2-5] [MQTT-4.6.0-5]
#[test]
fn absent_sessions_get_their_messages_when_they_return() {
    each_version(|broker, version| {
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        subscriber.subscribe(&[("a/1", 1), ("a/2", 2)]);
        subscriber.disconnect();
        let mut publisher = Client::clean(broker.address(), version, "p");
        let numbers: Vec<(u32, u8)> = (0..300).zip([1, 2].into_iter().cycle()).collect();
        for (number, qos) in &numbers {
            publisher.publish(Publish::new(&format!("a/{qos}"), &number.to_string()).qos(*qos));
        }
        let mut subscriber = Client::persistent(broker.address(), version, "s");
        for (number, qos) in numbers {
            let publish = subscriber.take();
            assert_eq!((publish.text(), publish.qos), (number.to_string().as_str(), qos));
            assert!(!publish.dup);
        }
        subscriber.expect_nothing();
    });
}

/// [MQTT-4.5.0-1] [3.1.1 MQTT-4.5.0-1] [MQTT-3.3.4-1] [3.1.1 MQTT-4.5.0-2]
#[test]
fn every_subscriber_has_a_copy_of_its_own() {
    each_version(|broker, version| {
        let mut subscribers: Vec<Client> = (0..10)
            .map(|number| {
                let mut client = Client::clean(broker.address(), version, &format!("s{number}"));
                client.subscribe(&[("a", number % 3)]);
                client
            })
            .collect();
        for text in ["1", "2"] {
            publish_from_outside(broker, version, Publish::new("a", text).qos(2));
        }
        for (number, subscriber) in subscribers.iter_mut().enumerate() {
            for text in ["1", "2"] {
                let publish = subscriber.take();
                assert_eq!((publish.text(), usize::from(publish.qos)), (text, number % 3));
            }
            subscriber.expect_nothing();
        }
    });
}
