//! Subscribers that do not read: a place in the log, not a queue.

use std::net::SocketAddr;
use std::thread;

use super::ALLOWANCE;
use super::BATCHES;
use super::CHECKPOINT;
use super::MIB;
use super::assert_grown_at_most;
use super::from_environment;
use super::start;
use super::wire::Version;
use super::wire::client::Client;
use super::wire::request::Publish;

/// How much is published, unless `LIMITS_BYTES` says otherwise.
const BYTES: u64 = 256 << 20;
const PAYLOAD_BYTES: usize = 60_000;
/// Messages that the publisher has in flight.
const WINDOW: u16 = 32;

const TAIL: u64 = 8 * MIB;
const PENDING: u64 = 8 * MIB;
const OUTPUT: u64 = 256 << 10;

const SETTINGS: [&str; 4] = [
    "data.tail_memory=8 MiB",
    "data.segment_size=16 MiB",
    "limits.pending_bytes=8 MiB",
    "limits.output_buffer=256 KiB",
];

fn count() -> u32 {
    let bytes = from_environment("LIMITS_BYTES").unwrap_or(BYTES);
    u32::try_from(bytes / PAYLOAD_BYTES as u64).unwrap()
}

fn payload(number: u32) -> String {
    format!("{number:0PAYLOAD_BYTES$}")
}

/// The number that a payload begins with, all its other bytes looked at.
fn number(publish: &Publish) -> u32 {
    assert_eq!(publish.payload.len(), PAYLOAD_BYTES);
    publish.text().parse().unwrap()
}

/// Publishes all messages; between two windows the others have their turn.
fn publish_all(address: SocketAddr, mut between: impl FnMut(u32)) {
    let mut publisher = Client::clean(address, Version::V4, "publisher");
    let mut sent = 0;
    while sent < count() {
        let window = WINDOW.min(u16::try_from(count() - sent).unwrap_or(WINDOW));
        for id in 1..=window {
            let publish = Publish::new("fat/topic", &payload(sent)).qos(1).id(id);
            publisher.send(&publish.bytes(Version::V4));
            sent += 1;
        }
        for id in 1..=window {
            publisher.wait_puback(id);
        }
        between(sent);
    }
}

/// Reads all messages, which have to be there and in order.
fn read_all(subscriber: &mut Client) {
    for expected in 0..count() {
        let publish = subscriber.take();
        assert_eq!(number(&publish), expected);
    }
}

#[test]
fn subscribers_that_never_read_cost_a_place_in_the_log() {
    let broker = start(&SETTINGS);
    let address = broker.address();
    let mut silent = Vec::new();
    for (version, qos) in [(Version::V4, 0), (Version::V5, 0), (Version::V4, 1), (Version::V5, 2)] {
        let name = format!("silent-{version:?}-{qos}");
        let mut client = Client::persistent(address, version, &name);
        client.subscribe(&[("fat/#", qos)]);
        silent.push(client);
    }
    let mut quick = Client::clean(address, Version::V4, "quick");
    quick.subscribe(&[("fat/topic", 1)]);
    let mut bystander = Client::clean(address, Version::V5, "bystander");
    bystander.subscribe(&[("thin", 1)]);
    let clients = silent.len() as u64 + 3;
    let before = broker.memory().resident;
    thread::scope(|scope| {
        scope.spawn(|| read_all(&mut quick));
        publish_all(address, |sent| {
            // Whoever has nothing to do with it is served all the while.
            let id = bystander.next_packet_id();
            let text = sent.to_string();
            bystander.send(&Publish::new("thin", &text).qos(1).id(id).bytes(Version::V5));
            bystander.wait_puback(id);
            assert_eq!(bystander.take().text(), text);
        });
    });
    // For each client: what was encoded and not yet taken by its socket, and what was read ahead for it.
    let each = 2 * (OUTPUT + PAYLOAD_BYTES as u64) + 2 * PAYLOAD_BYTES as u64;
    let allowed = TAIL + PENDING + BATCHES + CHECKPOINT + clients * each + ALLOWANCE;
    assert_grown_at_most(&broker, before, allowed);
    // Nothing is lost to one that begins to read at last.
    read_all(&mut silent[2]);
    assert_grown_at_most(&broker, before, allowed);
}

/// Many of them, and small messages in large batches: none may keep a batch in memory for the sake of a few records.
#[test]
fn many_that_never_read_cost_no_more_than_their_buffers() {
    const SILENT: u64 = 200;
    const READ_AHEAD: u64 = 64 << 10;
    const OUTPUT: u64 = 16 << 10;
    let broker = start(&[
        "data.tail_memory=8 MiB",
        "data.segment_size=16 MiB",
        "limits.pending_bytes=8 MiB",
        "limits.output_buffer=16 KiB",
    ]);
    let silent: Vec<Client> = (0..SILENT)
        .map(|number| {
            let name = format!("silent-{number}");
            let mut client = Client::clean(broker.address(), Version::V4, &name);
            client.subscribe(&[("small", u8::from(number % 2 == 0))]);
            client
        })
        .collect();
    let before = broker.memory().resident;
    let mut publisher = Client::clean(broker.address(), Version::V5, "publisher");
    let payload = "x".repeat(1_000);
    for _ in 0..16 {
        let packet = |id| Publish::new("small", &payload).qos(1).id(id).bytes(Version::V5);
        let bytes: Vec<u8> = (1..=4_000).flat_map(packet).collect();
        publisher.send(&bytes);
        for id in 1..=4_000 {
            publisher.wait_puback(id);
        }
    }
    let each = 2 * OUTPUT + READ_AHEAD;
    let named = TAIL + PENDING + BATCHES + CHECKPOINT;
    assert_grown_at_most(&broker, before, named + SILENT * each + ALLOWANCE);
    drop(silent);
}
