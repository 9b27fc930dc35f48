//! Clients that ask and publish without end and never read an answer: they are not heard until they do.

use super::ALLOWANCE;
use super::BATCHES;
use super::MIB;
use super::assert_grown_at_most;
use super::broker::Broker;
use super::flood::Flood;
use super::start;
use super::wire::Version;
use super::wire::client::Client;
use super::wire::packet::Packet;
use super::wire::request;
use super::wire::request::Publish;

const TAIL: u64 = 4 * MIB;
const PENDING: u64 = 4 * MIB;
const OUTPUT: u64 = 64 << 10;

/// Packets in what is sent at once.
const PACKETS: u16 = 500;

/// Far more than a broker that holds back takes.
const TIMES_MAX: u64 = 4_000;

fn small() -> Broker {
    start(&[
        "data.segment_size=4 MiB",
        "data.tail_memory=4 MiB",
        "limits.pending_bytes=4 MiB",
        "limits.output_buffer=64 KiB",
    ])
}

/// Floods a broker with these packets, which are answered one for one; it stops reading, serves another client, and answers
/// everything once the answers are read. Returns them.
fn held(version: Version, packet: impl Fn(u16) -> Vec<u8>) -> Vec<Packet> {
    let broker = small();
    let mut flood = Flood::connect(broker.address(), version, "flood");
    let before = broker.memory().resident;
    let bytes: Vec<u8> = (1..=PACKETS).flat_map(&packet).collect();
    let flooded = flood.send(&bytes, TIMES_MAX);
    println!("{} packets of {} bytes", flooded.times * u64::from(PACKETS), packet(1).len());
    assert!(flooded.held, "the broker took everything");
    let mut other = Client::clean(broker.address(), Version::V5, "other");
    other.subscribe(&[("other", 1)]);
    assert_eq!(other.publish(Publish::new("other", "x").qos(1)), 0);
    assert_eq!(other.take().topic, "other");
    let allowed = TAIL + PENDING + BATCHES + 4 * OUTPUT + ALLOWANCE;
    assert_grown_at_most(&broker, before, allowed);
    let answers = flood.read(flooded.times * u64::from(PACKETS));
    assert_grown_at_most(&broker, before, allowed);
    answers
}

#[test]
fn pingreq_is_not_heard_while_pingresp_is_not_read() {
    let answers = held(Version::V4, |_| request::PINGREQ.to_vec());
    assert!(answers.iter().all(|packet| *packet == Packet::Pingresp));
}

#[test]
fn subscribe_is_not_heard_while_suback_is_not_read() {
    let answers = held(Version::V5, |id| {
        request::subscribe(Version::V5, id, &[(&format!("flood/{id}"), 1)], &[])
    });
    for (answer, id) in answers.iter().zip((1..=PACKETS).cycle()) {
        match answer {
            Packet::Suback(suback) => {
                assert_eq!((suback.packet_id, &suback.codes[..]), (id, &[1][..]));
            }
            other => panic!("SUBACK was due, not {other:?}"),
        }
    }
}

#[test]
fn one_filter_again_and_again_is_no_exception() {
    let answers =
        held(Version::V4, |id| request::subscribe(Version::V4, id, &[("flood/#", 1)], &[]));
    assert!(answers.iter().all(|packet| matches!(packet, Packet::Suback(_))));
}

#[test]
fn unsubscribe_is_not_heard_while_unsuback_is_not_read() {
    let answers = held(Version::V5, |id| request::unsubscribe(Version::V5, id, &["flood/#"]));
    assert!(answers.iter().all(|packet| matches!(packet, Packet::Unsuback(_))));
}

#[test]
fn a_publisher_that_reads_no_puback_is_held() {
    for version in [Version::V4, Version::V5] {
        let payload = "x".repeat(100);
        let answers =
            held(version, |id| Publish::new("flood", &payload).qos(1).id(id).bytes(version));
        for (answer, id) in answers.iter().zip((1..=PACKETS).cycle()) {
            match answer {
                Packet::Puback(ack) => assert_eq!((ack.packet_id, ack.code < 0x80), (id, true)),
                other => panic!("PUBACK was due, not {other:?}"),
            }
        }
    }
}

#[test]
fn a_publisher_that_reads_no_pubrec_is_held() {
    let answers =
        held(Version::V4, |id| Publish::new("flood", "x").qos(2).id(id).again().bytes(Version::V4));
    assert!(answers.iter().all(|packet| matches!(packet, Packet::Pubrec(_))));
}
