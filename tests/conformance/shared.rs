//! Section 4.8: shared subscriptions.

use crate::prelude::*;
use crate::wire::request::ack;
use crate::wire::request::ack_with;

const FILTER: &str = "$share/workers/jobs/#";

fn member(broker: &Broker, version: Version, name: &str, qos: u8) -> Client {
    let mut client = Client::persistent(broker.address(), version, name);
    assert_eq!(client.subscribe(&[(FILTER, qos)]), [qos]);
    client
}

/// The numbers that were on their way to this client.
fn numbers(client: &mut Client) -> Vec<u32> {
    let packets = client.settle();
    packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => {
                client.accept(publish);
                publish.text().parse().unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

/// [MQTT-4.8.2-3] [MQTT-3.8.4-8]
#[test]
fn each_message_goes_to_one_member_at_its_granted_qos() {
    each_version(|broker, version| {
        let mut members: Vec<Client> =
            (0..3).map(|qos| member(broker, version, &format!("m{qos}"), qos)).collect();
        let mut outsider = Client::clean(broker.address(), version, "outsider");
        outsider.subscribe(&[("$share/others/jobs/#", 1)]);
        let mut publisher = Client::clean(broker.address(), version, "p");
        for number in 0..30 {
            publisher.publish(Publish::new("jobs/a", &number.to_string()).qos(2));
        }
        let mut seen = Vec::new();
        for (granted, member) in members.iter_mut().enumerate() {
            let packets = member.settle();
            assert!(!packets.is_empty(), "member {granted} has nothing to do");
            for packet in packets {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                assert_eq!(usize::from(publish.qos), granted);
                seen.push(publish.text().parse::<u32>().unwrap());
                if publish.qos == 1 {
                    member.accept(&publish);
                }
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
        // Another group of the same topics has them all, in order.
        for number in 0..30 {
            assert_eq!(outsider.take().text(), number.to_string());
        }
    });
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn retained_messages_are_not_sent_to_groups() {
    each_version(|broker, version| {
        publish_from_outside(broker, version, Publish::new("jobs/a", "1").qos(1).retained());
        let mut member = member(broker, version, "m", 1);
        if !mosquitto_differs("sends them") {
            member.expect_nothing();
        }
    });
}

/// [MQTT-4.8.2-4]
#[test]
fn qos2_is_completed_with_the_member_that_it_was_sent_to() {
    if mosquitto_differs("gives it to another member") {
        return;
    }
    let broker = Broker::start();
    let mut one = member(&broker, Version::V5, "one", 2);
    publish_from_outside(&broker, Version::V5, Publish::new("jobs/a", "1").qos(2));
    let sent = one.receive();
    let mut other = member(&broker, Version::V5, "other", 2);
    one.cut();
    other.expect_nothing();
    let mut one = Client::persistent(broker.address(), Version::V5, "one");
    assert_eq!(one.take(), sent.again());
    other.expect_nothing();
}

/// [MQTT-4.8.2-5]
#[test]
fn qos2_of_a_session_that_ended_goes_to_nobody_else() {
    if mosquitto_differs("gives it to another member") {
        return;
    }
    let broker = Broker::start();
    let mut one = member(&broker, Version::V5, "one", 2);
    publish_from_outside(&broker, Version::V5, Publish::new("jobs/a", "1").qos(2));
    let sent = one.receive();
    one.send(&ack(0x50, sent.packet_id));
    one.wait_pubrel(sent.packet_id);
    let mut other = member(&broker, Version::V5, "other", 2);
    one.cut();
    Client::clean(broker.address(), Version::V5, "one").disconnect();
    other.expect_nothing();
}

/// [MQTT-4.8.2-6] [MQTT-4.4.0-2]
#[test]
fn refused_message_is_offered_to_nobody_else() {
    let broker = Broker::start();
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let mut members =
            [member(&broker, Version::V5, "one", qos), member(&broker, Version::V5, "other", qos)];
        publish_from_outside(&broker, Version::V5, Publish::new("jobs/a", "1").qos(qos));
        for member in &mut members {
            for packet in member.settle() {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                member.send(&ack_with(first, publish.packet_id, 0x83));
                member.ping();
            }
        }
        for member in &mut members {
            member.expect_nothing();
        }
    }
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-3]
#[test]
fn messages_wait_for_the_group_while_nobody_is_there() {
    if mosquitto_differs("keeps them for one of the members") {
        return;
    }
    each_version(|broker, version| {
        member(broker, version, "one", 1).disconnect();
        for number in 0..20 {
            publish_from_outside(
                broker,
                version,
                Publish::new("jobs/a", &number.to_string()).qos(1),
            );
        }
        let mut one = Client::persistent(broker.address(), version, "one");
        assert_eq!(numbers(&mut one), (0..20).collect::<Vec<_>>());
    });
}
