//! A slow disk: what does not need it goes on, and what does waits outside and not in memory.
//!
//! `FAULTS_SLOW_MILLIS=30000` makes each sync so slow.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::number;
use crate::rig::Rig;
use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::request::Connect;
use crate::wire::request::Publish;

/// Milliseconds that a sync takes.
const SLOW: u64 = 4_000;

/// Bytes that may wait in the broker, as it is told, and how much more the process may take for them.
const PENDING_BYTES: u64 = 4 << 20;
const MEMORY_BYTES_MAX: u64 = 8 * PENDING_BYTES;

/// What is sent: far more than may wait.
const PUBLISHERS: u16 = 4;
const MESSAGES: u16 = 250;
const MESSAGE_BYTES: usize = 128 << 10;

const DATA: &str = "tail_memory = \"1 MiB\"\n";

fn slow_millis() -> u64 {
    number("FAULTS_SLOW_MILLIS").unwrap_or(SLOW)
}

#[test]
fn what_needs_no_disk_does_not_wait_for_it() {
    let rig = Rig::start(DATA);
    let address = rig.broker.address();
    let mut writer = Client::clean(address, Version::V5, "writer");
    let connect = Connect::new(Version::V4, "listener").keep_alive(10);
    let mut listener = Client::connect(address, &connect).0;
    listener.subscribe(&[("quick", 0)]);
    rig.control.delay_syncs(slow_millis() * 1_000);
    let begun = Instant::now();
    writer.send(&Publish::new("kept", "text").qos(1).id(7).bytes(Version::V5));
    for number in 0..20 {
        let text = number.to_string();
        writer.send(&Publish::new("quick", &text).bytes(Version::V5));
        assert_eq!(listener.receive().text(), text);
        listener.ping();
    }
    let quick = begun.elapsed();
    assert_eq!(writer.wait_puback(7), 0);
    let waited = begun.elapsed();
    println!(
        "20 messages at QoS 0 and as many pings took {quick:?}, one acknowledgement {waited:?}"
    );
    assert!(waited >= Duration::from_millis(slow_millis()), "the disk was not slow");
    assert!(quick < waited / 2, "QoS 0 and keep-alive waited for the disk");
    rig.control.delay_syncs(0);
}

#[test]
fn what_needs_the_disk_waits_outside() {
    let rig = Rig::start_with(DATA, &format!("[limits]\npending_bytes = {PENDING_BYTES}\n"));
    let address = rig.broker.address();
    let clients: Vec<Client> = (0..PUBLISHERS)
        .map(|number| Client::clean(address, Version::V4, &format!("flood{number}")))
        .collect();
    let mut witness = Client::clean(address, Version::V5, "witness");
    rig.control.delay_syncs(slow_millis() * 1_000);
    let before = memory_bytes(rig.broker.id());
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| flood(client, &sent));
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(slow_millis()) * 2 {
            witness.ping();
        }
        let (grown, all) = (memory_bytes(rig.broker.id()).saturating_sub(before), all_bytes());
        let sent = sent.load(Ordering::Relaxed);
        println!("{} of {} MiB sent, {} MiB more in memory", sent >> 20, all >> 20, grown >> 20);
        rig.control.delay_syncs(0);
        assert!(sent < all, "nothing held the publishers back");
        assert!(grown < MEMORY_BYTES_MAX, "the process has grown by {grown} bytes");
    });
    assert_eq!(sent.load(Ordering::Relaxed), all_bytes());
}

fn all_bytes() -> u64 {
    u64::from(PUBLISHERS) * u64::from(MESSAGES) * MESSAGE_BYTES as u64
}

/// Sends all it has as fast as the broker takes it, then waits for all acknowledgements.
fn flood(mut client: Client, sent: &AtomicU64) {
    let payload = "x".repeat(MESSAGE_BYTES);
    for number in 1..=MESSAGES {
        client.send(&Publish::new("flood", &payload).qos(1).id(number).bytes(Version::V4));
        sent.fetch_add(MESSAGE_BYTES as u64, Ordering::Relaxed);
    }
    for number in 1..=MESSAGES {
        client.wait_puback(number);
    }
}

/// The most memory that the process ever had.
fn memory_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
