//! Whatever clients do, the broker's memory stays within what the configuration names, and the others are served.
//!
//! Each test has a broker process of its own and looks at its resident memory as the system counts it: the peak, not what is left
//! in the end. What is allowed is computed from the settings, with one allowance for the allocator.
//!
//! `LIMITS_BYTES=1000000000` publishes more to a subscriber that does not read; `LIMITS_CONNECTIONS=10000` holds more idle
//! connections.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests run a real process in real time, and a panic is how they fail"
)]

#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod wire;

#[expect(dead_code, reason = "the benchmark of connections uses more of it")]
mod broker;
mod connections;
mod flood;
mod floods;
mod retained;
mod slow_subscriber;
mod start;

use std::path::Path;

use broker::Broker;

/// One mebibyte.
const MIB: u64 = 1 << 20;

/// Batches of the log at their largest: one is being filled, in a buffer that doubles, and two threads read the disk.
const BATCHES: u64 = (2 + 2) * 4 * MIB;

/// What the checkpoint keeps in memory at most.
const CHECKPOINT: u64 = 32 * MIB;

/// What memory may grow by beside what has a name: free memory that the allocator keeps for each thread.
const ALLOWANCE: u64 = 24 * MIB;

fn start(settings: &[&str]) -> Broker {
    Broker::start(Path::new(env!("CARGO_BIN_EXE_tidelog")), settings)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The peak of the broker's memory has not grown by more than `bytes_max` over `before`, which was resident.
fn assert_grown_at_most(broker: &Broker, before: u64, bytes_max: u64) {
    let grown = broker.memory().peak.saturating_sub(before);
    println!("grown by {} KiB of at most {} KiB", grown / 1024, bytes_max / 1024);
    assert!(grown <= bytes_max, "memory grew by {grown} bytes; {bytes_max} are within the limits");
}
