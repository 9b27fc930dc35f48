//! Faults of the machine under the real process: power cuts, failing calls, a full disk, a slow disk.
//!
//! A shim in C ([`shim.c`](../tests/faults/shim.c)) stands between the broker and its files. Every test prints the seed, and the
//! command that replays it. More of everything:
//!
//! - `FAULTS_CUTS=500 cargo test --test faults power` cuts the power more often, `FAULTS_SEED=...` replays;
//! - `FAULTS_CALLS=300 cargo test --test faults call` has each of so many first calls fail, or kill, `FAULTS_CALL=17` one of them;
//! - `FAULTS_SLOW_MILLIS=30000 cargo test --test faults slow` makes each sync so slow.
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

mod call;
#[path = "../checker/mod.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod checker;
mod cleaner;
mod control;
mod failing;
mod full;
#[path = "../load/mod.rs"]
mod load;
#[path = "../model/mod.rs"]
#[expect(dead_code, reason = "the simulation uses more of it")]
mod model;
mod power;
mod power_cut;
mod rig;
mod slow;
mod verdict;
#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod wire;

use model::chance;
use model::client;
use model::persona;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The seed that was asked for, or a fresh one.
fn seed() -> u64 {
    number("FAULTS_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        u64::from(u32::from_le_bytes(bytes)) << 16
    })
}
