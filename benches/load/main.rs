//! What a broker carries, and what that costs: `cargo bench --bench load -- S1 S2 --seconds 5 --rounds 3`.
//!
//! Every broker is a process of its own in a directory of its own; in each round each takes its turn, so that a ratio compares what
//! ran side by side. One thread publishes, one subscribes; every message is checked when it comes. Printed is a table for each case with the
//! medians, and each goal with what was reached. `docs/speed.md` says how to read it. Only for Linux.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark measures real processes in real time, prints what it finds, and a panic is how it fails"
)]

mod arguments;
mod broker;
mod disk;
mod figures;
mod flow;
mod goal;
mod histogram;
mod link;
mod peer;
mod process;
mod publisher;
mod report;
mod run;
mod scenario;
mod subscriber;
mod transport;
mod wire;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use arguments::Arguments;
use broker::Broker;
use figures::Figures;
use figures::Measure;
use peer::Peer;
use report::Report;
use run::Pace;
use scenario::Case;
use scenario::Scale;

/// How long runs get going before what counts.
const WARM: Duration = Duration::from_secs(1);

fn main() {
    let arguments = match Arguments::given() {
        Ok(arguments) => arguments,
        Err(why) => {
            println!("{why}");
            std::process::exit(2);
        }
    };
    raise_open_files();
    let peers = found(&arguments.peers);
    let mut report = Report::default();
    for case in scenario::cases(&arguments.scenarios) {
        let rounds = run_case(&case, &peers, &arguments);
        report.add(case, rounds);
        if !arguments.json {
            report.print_newest();
        }
    }
    if arguments.json {
        println!("{:#}", report.json());
    }
}

/// The brokers that are there. Says loudly which are not.
fn found(names: &[String]) -> Vec<Peer> {
    let mut peers = Vec::new();
    for name in names {
        match Peer::find(name) {
            Ok(peer) => peers.push(peer),
            // What speed is compared with before a change is seldom there.
            Err(_) if name == "baseline" => {}
            Err(why) => say(&format!("ABSENT: {name}: {why}")),
        }
    }
    peers
}

#[expect(clippy::print_stderr, reason = "it is no part of the tables")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// All rounds of a case: in each, every broker that can takes its turn.
fn run_case(
    case: &Case,
    peers: &[Peer],
    arguments: &Arguments,
) -> Vec<(&'static str, Vec<Figures>)> {
    let scale = Scale {
        pace: Pace { warm: WARM, measured: arguments.seconds, ahead: arguments.ahead },
        messages: arguments.messages,
        connections: arguments.connections,
    };
    let able: Vec<&Peer> = peers.iter().filter(|peer| case.can(peer)).collect();
    let mut all: Vec<(&'static str, Vec<Figures>)> =
        able.iter().map(|peer| (peer.name, Vec::new())).collect();
    for _ in 0..arguments.rounds {
        for (peer, (_, rounds)) in able.iter().zip(&mut all) {
            let round = || run_round(case, peer, &scale, &arguments.directory);
            match catch_unwind(AssertUnwindSafe(round)) {
                Ok(figures) => rounds.push(figures),
                Err(_) => say(&format!("FAILED: {peer} in {}", case.title)),
            }
        }
    }
    all
}

/// One broker's turn.
fn run_round(case: &Case, peer: &Peer, scale: &Scale, directory: &Path) -> Figures {
    let mut broker = Broker::start(peer, directory, case.carrier, case.settings);
    let mut figures = case.run(peer, &mut broker, scale);
    if peer.is_durable() {
        figures.set(Measure::SyncP50, broker.sync.p50);
        figures.set(Measure::SyncP99, broker.sync.p99);
    }
    figures
}

/// As many open files as the system allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).unwrap();
}
