//! Many retained messages reach a new subscriber that is slow, all of them, however small its window and the broker's memory.

use std::collections::BTreeSet;

use super::ALLOWANCE;
use super::BATCHES;
use super::CHECKPOINT;
use super::MIB;
use super::assert_grown_at_most;
use super::broker::Broker;
use super::start;
use super::wire::Version;
use super::wire::client::Client;
use super::wire::property::Property;
use super::wire::request;
use super::wire::request::Connect;
use super::wire::request::Publish;

const COUNT: u16 = 20_000;
const TAIL: u64 = MIB;
const PENDING: u64 = 4 * MIB;

fn topic(number: u16) -> String {
    format!("plant/{}/{number}", number % 100)
}

/// A broker that has all of them, most of them on disk only.
fn filled() -> Broker {
    let broker = start(&[
        "data.tail_memory=1 MiB",
        "limits.pending_bytes=4 MiB",
        "limits.output_buffer=16 KiB",
    ]);
    let mut publisher = Client::clean(broker.address(), Version::V4, "publisher");
    let payload = "x".repeat(200);
    for round in 0..COUNT / 500 {
        let ids = round * 500 + 1..=(round + 1) * 500;
        for id in ids.clone() {
            let publish = Publish::new(&topic(id), &format!("{id} {payload}")).retained();
            publisher.send(&publish.qos(1).id(id).bytes(Version::V4));
        }
        for id in ids {
            publisher.wait_puback(id);
        }
    }
    broker
}

/// Subscribes, lets another client do things meanwhile, then reads one message after the other.
fn read_slowly(
    broker: &Broker,
    connect: &Connect,
    (filter, qos): (&str, u8),
    due: impl Iterator<Item = u16>,
) {
    let mut slow = Client::connect(broker.address(), connect).0;
    let version = connect.version;
    slow.send(&request::subscribe(version, 1, &[(filter, qos)], &[]));
    let mut other = Client::clean(broker.address(), Version::V4, "other");
    for number in 1..=100 {
        other.publish(Publish::new("other", "x").qos(1).id(number));
    }
    slow.wait(|packet| matches!(packet, super::wire::packet::Packet::Suback(_)).then_some(()));
    let mut missing: BTreeSet<String> = due.map(topic).collect();
    while !missing.is_empty() {
        let publish = slow.take();
        assert!(publish.retain && publish.qos == qos, "{publish:?}");
        assert!(missing.remove(&publish.topic), "{} came twice", publish.topic);
        let number = publish.text().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(topic(number), publish.topic);
    }
    slow.expect_nothing();
    slow.disconnect();
}

#[test]
fn all_of_them_reach_a_slow_subscriber() {
    let broker = filled();
    let before = broker.memory().resident;
    read_slowly(&broker, &Connect::new(Version::V4, "zero"), ("plant/#", 0), 1..=COUNT);
    read_slowly(&broker, &Connect::new(Version::V4, "one"), ("plant/#", 1), 1..=COUNT);
    let narrow = Connect::new(Version::V5, "narrow").with(Property::ReceiveMaximum(10));
    read_slowly(&broker, &narrow, ("plant/7/+", 1), (7..=COUNT).step_by(100));
    assert_grown_at_most(&broker, before, TAIL + PENDING + BATCHES + CHECKPOINT + ALLOWANCE);
}
