//! How many acknowledged messages a crash costs: `cargo bench --bench durability -- --rounds 20`.
//!
//! A publisher sends at QoS 1 to the topic of a session that is kept and not connected; at a random moment the broker is killed with
//! -9, or the power is cut: then what it had not made durable is undone by the shim that the tests use
//! (`tests/faults/shim.c`); a new name counts as durable with the next sync of anything, as it is on ext4. The broker starts again, the session takes what it is given,
//! and what was acknowledged and is not in it is lost. Before each round broker and session rest: the subscription was on
//! disk, by an orderly end, before the first message was sent.
//!
//! Tidelog with `data.durability` `fsync` and `os`, and mosquitto (`/usr/sbin/mosquitto`, left out where it is not) with
//! `persistence true`, as it comes and with `autosave_on_changes true` and `autosave_interval 1`. Printed is a table for
//! docs/durability.md. `cargo bench` itself gives `--bench`.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark runs a real process in real time, prints what it finds, and a panic is how it fails"
)]

#[path = "../tests/model/chance.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod chance;
#[path = "../tests/faults/control.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod control;
#[path = "../tests/faults/power.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod power;
#[path = "../tests/faults/rig.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod rig;
#[path = "../tests/wire/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use chance::Chance;
use power::Names;
use rig::Rig;
use wire::Version;
use wire::client::Client;
use wire::packet::Packet;
use wire::process::Settings;
use wire::request;
use wire::request::Connect;
use wire::request::Publish;

/// Messages on their way at the same time.
const WINDOW: u32 = 20;

/// How long the broker may take to acknowledge one.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker and how it is set.
struct Subject {
    name: &'static str,
    data: &'static str,
    mosquitto: Option<&'static str>,
}

const SUBJECTS: [Subject; 4] = [
    Subject { name: "tidelog, `fsync` (default)", data: "", mosquitto: None },
    Subject { name: "tidelog, `os`", data: "durability = \"os\"\n", mosquitto: None },
    Subject { name: "mosquitto, `persistence true`", data: "", mosquitto: Some("") },
    Subject {
        name: "mosquitto, `autosave_on_changes true`, `autosave_interval 1`",
        data: "",
        mosquitto: Some("autosave_on_changes true\nautosave_interval 1\n"),
    },
];

/// What ends a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Kill,
    PowerCut,
}

/// All rounds of one broker and one kind of crash.
#[derive(Default)]
struct Total {
    acknowledged: usize,
    lost: usize,
    /// Rounds in which something was lost.
    rounds: u32,
}

fn main() {
    let rounds = rounds();
    let seed = 1;
    println!(
        "| {rounds} crashes of each kind | acknowledged | lost per kill -9 | acknowledged | lost per power cut |"
    );
    println!("|---|---|---|---|---|");
    for subject in &SUBJECTS {
        if subject.mosquitto.is_some() && !Path::new("/usr/sbin/mosquitto").exists() {
            println!("| {} | not installed here | | | |", subject.name);
            continue;
        }
        let mut cells = Vec::new();
        for crash in [Crash::Kill, Crash::PowerCut] {
            let mut chance = Chance::new(seed);
            let mut total = Total::default();
            for _ in 0..rounds {
                run(subject, crash, &mut chance, &mut total);
            }
            cells.push(total.acknowledged.to_string());
            cells.push(summary(&total, rounds));
        }
        println!("| {} | {} |", subject.name, cells.join(" | "));
    }
}

fn rounds() -> u32 {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("--rounds") => arguments.next().unwrap().parse().unwrap(),
        Some(other) => panic!("{other} is not known; there is --rounds"),
        None => 20,
    }
}

fn summary(total: &Total, rounds: u32) -> String {
    if total.lost == 0 {
        return "0".to_owned();
    }
    let count = |number: usize| f64::from(u32::try_from(number).unwrap());
    let mean = count(total.lost) / f64::from(rounds);
    let percent = 100.0 * count(total.lost) / count(total.acknowledged);
    format!("{mean:.0} ({percent:.0} %), in {} of {rounds}", total.rounds)
}

fn run(subject: &Subject, crash: Crash, chance: &mut Chance, total: &mut Total) {
    let mut rig = Rig::start_as(Settings {
        data: subject.data.to_owned(),
        mosquitto: subject.mosquitto.unwrap_or_default().to_owned(),
        is_mosquitto: subject.mosquitto.is_some(),
        ..Settings::default()
    });
    rig.ground.names = Names::WithAnything;
    let connect = Connect::persistent(Version::V4, "subscriber");
    let mut subscriber = Client::connect(rig.broker.address(), &connect).0;
    subscriber.subscribe(&[("load", 1)]);
    subscriber.disconnect();
    rig.broker.stop();
    rig.broker.start_again();
    let acknowledged = load_and_crash(&mut rig, crash, chance);
    rig.broker.start_again();
    let (mut subscriber, connack) = Client::connect(rig.broker.address(), &connect);
    let kept = if connack.session_present { take_all(&mut subscriber) } else { BTreeSet::new() };
    let lost = acknowledged.difference(&kept).count();
    total.acknowledged += acknowledged.len();
    total.lost += lost;
    total.rounds += u32::from(lost > 0);
}

/// Publishes for a time that chance chooses, then crashes the broker in the middle of it.
/// Returns what was acknowledged.
fn load_and_crash(rig: &mut Rig, crash: Crash, chance: &mut Chance) -> BTreeSet<u32> {
    let address = rig.broker.address();
    let (progress, acknowledged) = mpsc::channel();
    let publisher = thread::spawn(move || publish(address, &progress));
    wait_for_one(&acknowledged);
    thread::sleep(Duration::from_millis(chance.between(100, 3_000)));
    match crash {
        Crash::Kill => rig.kill(),
        Crash::PowerCut => {
            rig.cut(chance);
        }
    }
    publisher.join().unwrap()
}

fn wait_for_one(acknowledged: &Receiver<()>) {
    acknowledged.recv_timeout(PATIENCE).expect("the broker acknowledges");
}

/// Publishes until the broker is gone. Returns the numbers that it acknowledged.
fn publish(address: SocketAddr, progress: &mpsc::Sender<()>) -> BTreeSet<u32> {
    let mut client = Client::clean(address, Version::V4, "publisher");
    let mut acknowledged = BTreeSet::new();
    let (mut sent, mut open) = (0_u32, 0);
    loop {
        while open < WINDOW {
            let id = u16::try_from(sent % 60_000 + 1).unwrap();
            let publish = Publish::new("load", &sent.to_string()).qos(1).id(id);
            if !client.try_send(&publish.bytes(Version::V4)) {
                break;
            }
            (sent, open) = (sent + 1, open + 1);
        }
        match client.try_next() {
            Some(Packet::Puback(ack)) => {
                open -= 1;
                // Both brokers acknowledge in order, and far fewer than 60,000 are open.
                let id = u32::from(ack.packet_id) - 1;
                let behind = (sent - 1) % 60_000;
                let number = sent - 1 - (behind + 60_000 - id) % 60_000;
                acknowledged.insert(number);
                progress.send(()).ok();
            }
            Some(other) => panic!("PUBACK was due, not {other:?}"),
            None => return acknowledged,
        }
    }
}

/// Everything that waits for this session.
fn take_all(subscriber: &mut Client) -> BTreeSet<u32> {
    subscriber.subscribe(&[("end", 1)]);
    let id = subscriber.next_packet_id();
    subscriber.send(&Publish::new("end", "").qos(1).id(id).bytes(Version::V4));
    let mut taken = BTreeSet::new();
    let mut ended = false;
    let mut early = subscriber.early();
    while !ended {
        let packet = early.pop_front().unwrap_or_else(|| subscriber.next());
        if let Packet::Publish(publish) = packet {
            ended = publish.topic == "end";
            subscriber.send(&request::ack(0x40, publish.packet_id));
            taken.extend((!ended).then(|| publish.text().parse::<u32>().unwrap()));
        }
    }
    taken
}
