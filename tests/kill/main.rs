//! The broker is killed with -9 under load, again and again, and everything it acknowledged is there.
//!
//! Publishers send numbered messages at QoS 1 and 2 and retained ones, several in flight; subscribers with persistent
//! sessions write down what arrives. Whenever a number of messages that chance has chosen is acknowledged, the process is killed and
//! started again over the same directory. What is checked:
//!
//! - nothing acknowledged is lost: in the end every subscriber has every number;
//! - nothing arrives twice at QoS 2;
//! - messages of one publisher and topic arrive in order, repetitions aside;
//! - a session that existed is present after the crash;
//! - a retained message is the last one acknowledged, or one sent after it.
//!
//! `KILL_ROUNDS=500 cargo test --test kill` kills more often; `KILL_SEED=...` chooses the same moments again.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "tests run a real process in real time, and a panic is how they fail"
)]

#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod wire;

mod publisher;
mod subscriber;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use publisher::Publisher;
use subscriber::Subscriber;
use wire::Version;
use wire::client::Client;
use wire::process::Broker;
use wire::process::Settings;
use wire::request::Connect;

const ROUNDS: u32 = 20;

/// A loaded broker that acknowledges nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);

/// Numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        low + (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % (high - low)
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn seed() -> u64 {
    from_environment("KILL_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        u64::from(u32::from_le_bytes(bytes)) + 1
    })
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let seed = seed();
    let rounds = from_environment("KILL_ROUNDS").unwrap_or(u64::from(ROUNDS));
    println!("KILL_SEED={seed} KILL_ROUNDS={rounds}");
    let mut dice = Dice(seed);
    let mut broker = Broker::start_with(Settings::default());
    let mut publishers = publishers();
    let mut subscribers = subscribers();
    for subscriber in &mut subscribers {
        subscriber.subscribe(broker.address());
    }
    for round in 0..rounds {
        println!("round {round}");
        let target = dice.between(1, 600);
        load_and_kill(&mut broker, &mut publishers, &mut subscribers, target);
        broker.start_again();
        check_retained(broker.address(), &publishers);
    }
    for publisher in &mut publishers {
        publisher.finish(broker.address());
    }
    let totals: BTreeMap<String, u32> = publishers.iter().flat_map(Publisher::totals).collect();
    assert!(totals.values().sum::<u32>() > 100, "there was no load: {totals:?}");
    for subscriber in &mut subscribers {
        subscriber.finish(broker.address(), &totals);
    }
    check_retained(broker.address(), &publishers);
    println!("{totals:?}");
}

fn publishers() -> Vec<Publisher> {
    [Version::V4, Version::V5, Version::V4, Version::V5]
        .into_iter()
        .enumerate()
        .map(|(number, version)| Publisher::new(&format!("p{number}"), version))
        .collect()
}

fn subscribers() -> Vec<Subscriber> {
    vec![
        Subscriber::new("all4", Version::V4, &[("load/#", 2)]),
        Subscriber::new("all5", Version::V5, &[("load/#", 2)]),
        Subscriber::new("once", Version::V4, &[("load/+/q2", 2)]),
        Subscriber::new("least", Version::V5, &[("load/+/q1", 1), ("load/p1/#", 1)]),
    ]
}

/// Lets everybody run until `target` messages are acknowledged, then kills the broker in the middle of it.
fn load_and_kill(
    broker: &mut Broker,
    publishers: &mut [Publisher],
    subscribers: &mut [Subscriber],
    target: u64,
) {
    let address = broker.address();
    let (progress, acknowledged) = mpsc::channel();
    thread::scope(|scope| {
        for publisher in publishers {
            let progress = progress.clone();
            scope.spawn(move || publisher.run(address, &progress));
        }
        for subscriber in subscribers {
            scope.spawn(move || subscriber.run(address));
        }
        drop(progress);
        wait_for(&acknowledged, target);
        broker.kill();
    });
}

fn wait_for(acknowledged: &Receiver<()>, target: u64) {
    for count in 0..target {
        assert!(acknowledged.recv_timeout(STALL).is_ok(), "stuck after {count} acknowledgements");
    }
}

/// What a stranger is told about the retained messages.
fn check_retained(address: SocketAddr, publishers: &[Publisher]) {
    let mut stranger = Client::connect(address, &Connect::new(Version::V5, "stranger")).0;
    for publisher in publishers {
        let (topic, allowed) = publisher.retained();
        stranger.subscribe(&[(&topic, 1)]);
        let values: Vec<u32> = stranger.settle().iter().map(subscriber::number).collect();
        let right = match values.as_slice() {
            [] => *allowed.start() == 0,
            [value] => allowed.contains(&(value + 1)),
            _ => false,
        };
        assert!(right, "{topic} is {values:?}; {allowed:?} would be right, counted from 1");
        stranger.unsubscribe(&[&topic]);
    }
}
