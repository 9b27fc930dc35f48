//! The broker is killed with -9 under a mixed load, again and again, and keeps every promise.
//!
//! A world is a data directory, a load and a few lives of the broker: whenever a number of messages that chance has chosen is
//! acknowledged, the process is killed and started again over the same directory. In the end everybody comes back and the checker
//! says what is missing, what came twice, and what should not have come.
//!
//! `KILL_ROUNDS=500 cargo test --test kill` kills more often; `KILL_SEED=...` makes the same clients and the same choices again, on
//! the machine's own timing.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::struct_excessive_bools,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests run a real process in real time, and a panic is how they fail"
)]

#[path = "../checker/mod.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod checker;
#[path = "../load/mod.rs"]
#[expect(dead_code, reason = "the tests of faults use more of it")]
mod load;
#[path = "../model/mod.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod model;
#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod wire;

use std::time::Duration;

use chance::Chance;
use load::Load;
use load::Mix;
use load::cleaning;
use model::chance;
use model::client;
use model::persona;
use wire::process::Broker;
use wire::process::Settings;

/// How often a plain run kills.
const ROUNDS: u64 = 20;

/// How often the broker of one world is killed.
const LIVES: u64 = 5;

/// Worlds in which a broker that does not do what it says has to be found out.
const CONTROLS_MAX: u64 = 6;

/// A loaded broker that acknowledges nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn fresh_seed() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u64::from(u32::from_le_bytes(bytes)) << 16
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let seed = from_environment("KILL_SEED").unwrap_or_else(fresh_seed);
    let rounds = from_environment("KILL_ROUNDS").unwrap_or(ROUNDS);
    let (mut acknowledged, mut cleaned) = (0, 0);
    for (world, first) in (0..rounds).step_by(usize::try_from(LIVES).unwrap()).enumerate() {
        let kills = LIVES.min(rounds - first);
        let seed = seed + world as u64;
        println!(
            "{kills} kills; replay: KILL_SEED={seed} KILL_ROUNDS={kills} cargo test --test kill"
        );
        let verdict = run(seed, kills, "fsync");
        assert!(verdict.violations.is_empty(), "seed {seed}:\n{}", verdict.violations.join("\n"));
        acknowledged += verdict.acknowledged;
        cleaned += verdict.cleaned;
    }
    println!(
        "{rounds} kills, {acknowledged} messages acknowledged, none lost; {cleaned} segments were cleaned meanwhile"
    );
    assert!(acknowledged > 10 * rounds, "there was no load");
    assert!(cleaned > 0 || rounds < ROUNDS, "the cleaner was never reached");
}

#[test]
fn a_broker_that_does_not_write_is_found_out() {
    let seed = fresh_seed();
    let found = (0..CONTROLS_MAX)
        .find_map(|world| run(seed + world, 2, "none").violations.into_iter().next());
    println!("KILL_SEED={seed}: found: {}", found.as_deref().unwrap_or("nothing"));
    assert!(found.is_some(), "kills that take acknowledged messages away are not seen");
}

/// How many messages a world acknowledged, how often a segment was cleaned before the last kill, and what was wrong.
struct Verdict {
    acknowledged: u64,
    cleaned: u64,
    violations: Vec<String>,
}

fn run(seed: u64, kills: u64, durability: &str) -> Verdict {
    let mut chance = Chance::new(seed);
    // Every other world has a log that is cleaned all the time.
    let cleans = seed.is_multiple_of(2);
    let draw = if cleans { Mix::for_cleaning } else { Mix::draw };
    let mut load = Load::new(chance.bits(), draw(&mut chance));
    let mut broker = Broker::start_with(settings(cleans, &mut chance, durability));
    for _ in 0..kills {
        let target = chance.delay(1, 800);
        load.storm(broker.address(), |history| {
            assert!(history.await_acknowledged(target, STALL), "the broker is stuck");
            if cleans {
                cleaning::await_another(&broker.data(), history);
            }
            broker.kill();
        });
        broker.start_again();
        load.recovered();
    }
    let (acknowledged, cleaned) = (load.acknowledged(), cleaning::replaced(&broker.data()));
    let violations = load.settle(broker.address());
    Verdict { acknowledged, cleaned, violations }
}

/// Small segments and frequent checkpoints, so that a kill meets them too.
fn settings(cleans: bool, chance: &mut Chance, durability: &str) -> Settings {
    let checkpoint = *chance.pick(&["1s", "30s"]);
    let data = if cleans {
        cleaning::SETTINGS.to_owned()
    } else {
        format!("segment_size = \"1 MiB\"\ncheckpoint_interval = \"{checkpoint}\"\n")
    };
    let data = format!("{data}durability = \"{durability}\"\n");
    Settings { data, ..Settings::default() }
}
