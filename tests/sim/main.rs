//! Deterministic simulation: the broker, its disk, its network and its clients under one clock and one seed, against the
//! promises that docs/durability.md makes.
//!
//! - `cargo test --test sim` runs 200 seeds.
//! - `SIM_SEED=7 cargo test --test sim seeds -- --nocapture` replays one with its history.
//! - `SIM_SEEDS=5000 cargo test --test sim seeds` runs as many, from a fresh base.
//! - `SIM_MUTANT=name` puts a bug into the broker first (with `--features mutants`).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(
    clippy::struct_excessive_bools,
    reason = "what happened to a connection or a will are facts that do not exclude each other"
)]
#![expect(clippy::print_stdout, reason = "histories are printed")]

#[path = "../checker/mod.rs"]
mod checker;
mod engine;
#[path = "../model/mod.rs"]
mod model;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod plan;
mod storm;
mod trace;
mod watch;
mod world;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use model::chance;
use model::client;
use model::persona;
use model::side_by_side::cores;
use model::side_by_side::side_by_side;
use world::Outcome;
use world::World;

/// How many seeds a plain run tries.
const SEEDS: u64 = 200;

/// Runs a seed; what panics is a violation like any other.
fn run(seed: u64, prints: bool) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, prints).run())).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map_or("a panic", String::as_str).to_owned();
        Outcome { violations: vec![format!("panicked: {what}")], hash: 0, tail: String::new() }
    })
}

fn check(seed: u64) {
    let outcome = run(seed, false);
    assert!(
        outcome.violations.is_empty(),
        "seed {seed}:\n{}\n{}replay it with: SIM_SEED={seed} cargo test --test sim seeds -- --nocapture",
        outcome.violations.join("\n"),
        outcome.tail
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seed to replay comes from whoever runs the test"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A base for fresh seeds.
fn fresh() -> u64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u64::from(u32::from_le_bytes(bytes)) << 16
}

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run(seed, true);
        assert!(outcome.violations.is_empty(), "seed {seed}:\n{}", outcome.violations.join("\n"));
        return;
    }
    let (base, count) = number("SIM_SEEDS").map_or((0, SEEDS), |count| (fresh(), count));
    println!("seeds {base} to {}", base + count - 1);
    // One simulation is one thread.
    let seeds: Vec<u64> = (base..base + count).collect();
    side_by_side(cores(), &seeds, |seed| check(*seed));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1_000..1_010 {
        assert_eq!(run(seed, false).hash, run(seed, false).hash, "seed {seed}");
    }
}
