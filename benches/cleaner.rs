//! What the cleaner costs live traffic: `cargo bench --bench cleaner -- --seconds 20 --clients 8`.
//!
//! A data directory is made whose old segments are mostly superseded rows. On copies of it a broker in this process takes durable
//! messages at `QoS` 1 from a few clients that wait for each PUBACK, without the cleaner and with it, in turns, twice. Printed are
//! publishes per second, p50 and p99 of the time to the PUBACK, what was cleaned, the ratio of both p99, and how long an
//! `fdatasync` of 4 KiB takes beside it all.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark measures real files in real time, prints what it finds, and a panic is how it fails"
)]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tidelog::commitlog;
use tidelog::commitlog::Durability;
use tidelog::commitlog::disk::OsDisk;
use tidelog::config::Config;
use tidelog::config::Endpoint;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::server::Link;
use tidelog::server::Running;
use tidelog::server::Server;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::Options;
use tidelog::store::ProgressRow;
use tidelog::store::Row;
use tidelog::store::SessionRow;
use tidelog::store::Store;
use tidelog::time::Timestamp;

/// The size of the segments, so that there are many.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Until the cleaner has found work.
const LEAD: Duration = Duration::from_secs(14);
/// How often each kind has its turn.
const TURNS: u32 = 2;
const PAYLOAD_BYTES: usize = 256;
const PROBES: usize = 500;

/// What the command line asks for.
struct Arguments {
    seconds: u64,
    clients: u32,
    /// MiB of old segments.
    old: u64,
}

/// What one kind of turn took.
#[derive(Default)]
struct Measured {
    latencies: Vec<Duration>,
    took: Duration,
    cleaned: u64,
}

fn main() {
    let arguments = arguments();
    let folder = tempfile::Builder::new().prefix("cleaner").tempdir_in("target").unwrap();
    let template = folder.path().join("template");
    fill(&template, arguments.old << 20);
    let (mut without, mut with) = (Measured::default(), Measured::default());
    let mut probes = Vec::new();
    for turn in 0..TURNS {
        for (rate, measured) in [(0, &mut without), (32 << 20, &mut with)] {
            let data = folder.path().join(format!("data-{turn}-{rate}"));
            copy(&template, &data);
            probes.extend(probe(&data));
            measure(&data, rate, &arguments, measured);
            fs::remove_dir_all(&data).unwrap();
        }
    }
    println!("fdatasync of 4 KiB        {}", percentiles(&mut probes));
    println!("without the cleaner       {}", summary(&mut without));
    println!("with the cleaner          {}", summary(&mut with));
    println!("cleaned                   {:.1} MiB", mebibytes(with.cleaned));
    let ratio = at(&with.latencies, 99).as_secs_f64() / at(&without.latencies, 99).as_secs_f64();
    println!("p99 with to p99 without   {ratio:.2}");
}

fn arguments() -> Arguments {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let mut rest = words.iter().skip_while(|word| *word != name);
        rest.nth(1).map_or(default, |word| word.parse().unwrap())
    };
    let clients = u32::try_from(number("--clients", 8)).unwrap();
    Arguments { seconds: number("--seconds", 20), clients, old: number("--old", 256) }
}

/// Makes a log of so many bytes: for each message four rows, of which the next ones supersede all.
fn fill(directory: &Path, bytes: u64) {
    let disk = Arc::new(OsDisk::create(directory).unwrap());
    let log = commitlog::Options { segment_bytes: SEGMENT_BYTES, ..commitlog::Options::default() };
    let options = Options { log, ..Options::default() };
    let states = Box::new(MemoryStateStore::new());
    let opened = Store::open(disk, states, options, now(), &mut |_| {}).unwrap();
    let (mut store, mut writer) = (opened.store, opened.writer);
    let clients: Vec<ClientId> =
        (0..100).map(|number| ClientId::try_from(format!("device-{number}")).unwrap()).collect();
    for client in &clients {
        store.put(now(), Row::Session(client.clone(), Some(session())));
    }
    let payload = vec![7; PAYLOAD_BYTES];
    while store.size_bytes() < bytes {
        let time = now();
        for client in &clients {
            let position = store.next_offset();
            let row = ProgressRow { position, ..ProgressRow::default() };
            for _ in 0..4 {
                store.put(time, Row::Progress(client.clone(), row.clone()));
            }
            store.append_message(time, &message(client, &payload));
        }
        while let Some(batch) = store.take_batch() {
            store.committed(&writer.commit(&batch, Durability::Os).unwrap());
            while writer.maintain().unwrap() {}
        }
    }
}

fn session() -> SessionRow {
    SessionRow {
        user: None,
        version: ProtocolVersion::V5,
        expiry_interval: u32::MAX,
        connected: false,
        created_at: now(),
        disconnected_at: now(),
    }
}

fn message<'a>(client: &'a ClientId, payload: &'a [u8]) -> NewMessage<'a> {
    NewMessage {
        topic: "old",
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: client.as_str(),
        packet_id: None,
        expiry_interval: None,
        properties: &[],
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    File::open(to).unwrap().sync_all().unwrap();
}

/// How long this disk takes to make 4 KiB durable.
fn probe(directory: &Path) -> Vec<Duration> {
    let path = directory.join("probe");
    let file = File::create(&path).unwrap();
    let block = [1; 4 << 10];
    for number in 0..PROBES {
        file.write_all_at(&block, (number * block.len()) as u64).unwrap();
    }
    file.sync_all().unwrap();
    let times = (0..PROBES).map(|number| {
        let started = Instant::now();
        file.write_all_at(&block, (number * block.len()) as u64).unwrap();
        file.sync_data().unwrap();
        started.elapsed()
    });
    let times = times.collect();
    fs::remove_file(path).unwrap();
    times
}

/// Lets clients publish for a while, and notes how long each waited.
fn measure(data: &Path, clean_rate: u64, arguments: &Arguments, measured: &mut Measured) {
    let mut config = Config::default();
    data.clone_into(&mut config.data.dir);
    config.data.segment_size = SEGMENT_BYTES;
    config.data.tail_memory = SEGMENT_BYTES;
    config.data.checkpoint_interval = Duration::from_secs(1);
    config.data.clean_rate = clean_rate;
    for listener in &mut config.listeners {
        listener.endpoint = Endpoint::Tcp("127.0.0.1:0".parse().unwrap());
    }
    let running = Server::new(config).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(talk(&running, arguments, measured));
    running.shutdown().unwrap();
}

async fn talk(running: &Running, arguments: &Arguments, measured: &mut Measured) {
    let length = Duration::from_secs(arguments.seconds);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..arguments.clients {
        let link = running.link(&format!("publisher-{number}")).await.unwrap();
        tasks.push(tokio::spawn(publish(link, started, length)));
    }
    for task in tasks {
        measured.latencies.extend(task.await.unwrap());
    }
    measured.took += length;
    let mut link = running.link("reader").await.unwrap();
    link.subscribe("$SYS/broker/log/cleaned/bytes", QoS::AtMostOnce).await.unwrap();
    let value = link.next().await.unwrap().payload;
    measured.cleaned += String::from_utf8_lossy(&value).parse::<u64>().unwrap();
}

async fn publish(mut link: Link, started: Instant, length: Duration) -> Vec<Duration> {
    let payload = vec![7; PAYLOAD_BYTES];
    let mut latencies = Vec::new();
    while started.elapsed() < LEAD + length {
        let sent = Instant::now();
        link.publish("live", payload.clone(), QoS::AtLeastOnce, false).await.unwrap();
        if started.elapsed() >= LEAD {
            latencies.push(sent.elapsed());
        }
    }
    latencies
}

/// The time that so many percent stay below.
fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!("p50 {:>8.1?}  p99 {:>8.1?}", at(times, 50), at(times, 99))
}

fn summary(measured: &mut Measured) -> String {
    let count = u32::try_from(measured.latencies.len()).map_or(f64::MAX, f64::from);
    let rate = count / measured.took.as_secs_f64();
    format!("{}  {rate:>8.0} publishes a second", percentiles(&mut measured.latencies))
}

fn mebibytes(bytes: u64) -> f64 {
    u32::try_from(bytes >> 10).map_or(f64::MAX, f64::from) / 1_024.0
}
