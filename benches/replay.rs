//! What a replay of a rare topic reads of a large log: `cargo bench --bench replay -- --mib 256 --rare 100`.
//!
//! A log is made of messages on a thousand topics, with a few of one rare topic strewn in. A broker in this process then replays the
//! rare topic from the earliest message on, and from the last ten. Printed are the size of the log, how long each replay took from
//! SUBSCRIBE to its last message, and how many bytes the process read for it (`rchar` of `/proc/self/io`: from the system, be it from
//! the disk or its cache). What is read of a log are its batches (`--batch` messages each). The first replay finds the indexes on disk only, the second one in memory.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark measures real files in real time, prints what it finds, and a panic is how it fails"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tidelog::commitlog::Durability;
use tidelog::commitlog::disk::OsDisk;
use tidelog::config::Config;
use tidelog::config::Endpoint;
use tidelog::mqtt::QoS;
use tidelog::server::Running;
use tidelog::server::Server;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::Options;
use tidelog::store::Store;
use tidelog::time::Timestamp;

const PAYLOAD_BYTES: usize = 256;
const TOPICS: u64 = 1_000;
const RARE: &str = "rare/topic";

fn main() {
    let (mib, rare) = (argument("--mib", 256), argument("--rare", 100));
    let folder = tempfile::Builder::new().prefix("replay").tempdir_in("target").unwrap();
    let data = folder.path().join("data");
    let batch = argument("--batch", 100);
    let messages = fill(&data, mib << 20, rare, batch);
    let mut config = Config::default();
    config.data.dir.clone_from(&data);
    for listener in &mut config.listeners {
        listener.endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    }
    let running = Server::new(config).start().unwrap();
    println!("the log                 {mib} MiB, {messages} messages, {rare} of them rare");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (what, start, count) in [
        ("cold, from the first", "earliest", rare),
        ("again", "earliest", rare),
        ("the last ten", "last-10", rare.min(10)),
    ] {
        let (took, read) = runtime.block_on(replay(&running, start, count));
        println!("{what:<23} {:>7.1} ms, {:>8} KiB read", took.as_secs_f64() * 1e3, read >> 10);
    }
    running.shutdown().unwrap();
}

fn argument(name: &str, default: u64) -> u64 {
    let mut rest = std::env::args().skip_while(|word| word != name);
    rest.nth(1).map_or(default, |word| word.parse().unwrap())
}

/// Makes a log of so many bytes, with so many messages in a batch and so many rare ones; returns how many messages it has.
fn fill(directory: &Path, bytes: u64, rare: u64, batch: u64) -> u64 {
    let disk = Arc::new(OsDisk::create(directory).unwrap());
    let states = Box::new(MemoryStateStore::new());
    let opened = Store::open(disk, states, Options::default(), now(), &mut |_| {}).unwrap();
    let (mut store, mut writer) = (opened.store, opened.writer);
    let payload = vec![7; PAYLOAD_BYTES];
    let (mut messages, mut strewn) = (0, 0);
    while store.size_bytes() < bytes {
        let time = now();
        for _ in 0..batch {
            let topic = format!("device/{}/temp", messages % TOPICS);
            store.append_message(time, &message(&topic, &payload));
            messages += 1;
        }
        while strewn < rare && strewn * bytes <= store.size_bytes() * rare {
            store.append_message(time, &message(RARE, &payload));
            strewn += 1;
        }
        while let Some(batch) = store.take_batch() {
            store.committed(&writer.commit(&batch, Durability::Os).unwrap());
            while writer.maintain().unwrap() {}
        }
    }
    assert_eq!(strewn, rare, "there is room for all of them");
    messages + strewn
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> NewMessage<'a> {
    NewMessage {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: "publisher",
        packet_id: None,
        expiry_interval: None,
        properties: &[],
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap())
}

/// Bytes that this process has read, whatever from.
fn bytes_read() -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

/// How long a replay of the rare topic took, and how many bytes were read for it.
async fn replay(running: &Running, start: &str, count: u64) -> (Duration, u64) {
    let mut link = running.link(&format!("reader-{start}")).await.unwrap();
    let (started, before) = (Instant::now(), bytes_read());
    link.subscribe(&format!("$replay/{start}/{RARE}"), QoS::AtLeastOnce).await.unwrap();
    for _ in 0..count {
        assert_eq!(link.next().await.unwrap().topic.unwrap().as_str(), RARE);
    }
    (started.elapsed(), bytes_read() - before)
}
