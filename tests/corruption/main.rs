//! A disk that goes bad: files of a data directory with flipped bits, with zeroed, repeated, stale and swapped sectors, cut, gone.
//!
//! Whatever happens to one file, of whatever kind: the broker starts, what it serves is right byte for byte, nothing that
//! was not hit is missing, and what is missing is named, in the first lines, in the trace and in `$SYS`.
//!
//! `CORRUPTIONS=500 cargo test --test corruption` spoils more directories; `CORRUPTION_SEED=...` the same again, the first
//! of them in the same way.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests run a real broker on real files, and a panic is how they fail"
)]

#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "the conformance tests use more of it")]
mod wire;

mod chance;
mod filled;
mod folder;
mod opened;
mod served;
mod spoil;
mod state;
mod tail;
mod truth;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use chance::Chance;
use filled::Filled;
use spoil::Spoil;
use truth::Truth;

const CORRUPTIONS: u64 = 50;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn seed() -> u64 {
    from_environment("CORRUPTION_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        u64::from(u32::from_le_bytes(bytes))
    })
}

/// The sound directory, made once.
fn filled() -> &'static (Filled, Truth) {
    static FILLED: OnceLock<(Filled, Truth)> = OnceLock::new();
    FILLED.get_or_init(|| {
        let filled = filled::fill();
        let truth = Truth::of(&filled.now);
        (filled, truth)
    })
}

/// Another one, of which segments were cleaned.
fn cleaned() -> &'static (Filled, Truth) {
    static CLEANED: OnceLock<(Filled, Truth)> = OnceLock::new();
    CLEANED.get_or_init(|| {
        let filled = filled::fill_and_clean();
        let truth = Truth::of(&filled.now);
        (filled, truth)
    })
}

#[test]
fn a_cleaned_directory_has_everything_in_it_and_is_served_whole() {
    let (filled, truth) = cleaned();
    assert!(filled::cleaned_segments(&filled.now) >= 4);
    let gaps = truth.records.windows(2).filter(|two| two[0].offset.next() != two[1].offset);
    assert!(gaps.count() > 10, "records are gone from between others");
    let none = BTreeSet::new();
    let copy = folder::copy(&filled.now);
    assert!(!opened::verify_complains(copy.path()) && !opened::state_complains(copy.path()));
    opened::check(copy.path(), truth, &none);
    let copy = folder::copy(&filled.now);
    std::fs::remove_dir_all(copy.path().join("state")).unwrap();
    let served = served::serve(copy.path(), truth, &none);
    assert_eq!((served.number("log/damage"), served.number("recovery/damaged-places")), (0, 0));
}

#[test]
fn a_sound_directory_has_everything_in_it_and_is_served_whole() {
    let (filled, truth) = filled();
    let names = folder::files(&filled.now);
    let logs = names.iter().filter(|name| folder::is_of(name, "log")).count();
    let indexes = names.iter().filter(|name| folder::is_of(name, "index")).count();
    assert!(logs > 8 && indexes >= logs - 2, "{names:?}");
    let none = BTreeSet::new();
    let copy = folder::copy(&filled.now);
    assert!(!opened::verify_complains(copy.path()) && !opened::state_complains(copy.path()));
    opened::check(copy.path(), truth, &none);
    let state = truth.state(tidelog::commitlog::Offset::ZERO, &none);
    assert!(state.sessions().any(|(_, session)| !session.inbound.is_empty()));
    assert!(state.sessions().any(|(_, session)| !session.assigned.is_empty()));
    assert!(state.sessions().any(|(_, session)| session.will.is_some()));
    assert!(state.retained().len() > 50 && state.groups().len() == 1);
    let copy = folder::copy(&filled.now);
    let served = served::serve(copy.path(), truth, &none);
    assert!(!served.startup.contains("WARNING: damage"), "{}", served.startup);
    assert_eq!((served.number("log/damage"), served.number("recovery/damaged-places")), (0, 0));
    assert_eq!(served.sys["$SYS/broker/recovery/checkpoint"], "used");
}

#[test]
fn a_spoiled_directory_is_served_right_and_the_damage_is_named() {
    let seed = seed();
    let count = from_environment("CORRUPTIONS").unwrap_or(CORRUPTIONS);
    println!("{count} corruptions, the first with CORRUPTION_SEED={seed}");
    for number in 0..count {
        let seed = seed + number;
        println!(
            "replay: CORRUPTION_SEED={seed} CORRUPTIONS=1 cargo test --test corruption spoiled"
        );
        corrupt(&mut Chance(seed));
    }
}

fn corrupt(chance: &mut Chance) {
    let is_cleaned = chance.below(2) == 1;
    let (filled, truth) = if is_cleaned { cleaned() } else { filled() };
    let spoiled = folder::copy(&filled.now);
    let spoil = spoil::spoil(chance, spoiled.path(), &filled.earlier);
    println!("{spoil}");
    let lost = truth.lost(spoiled.path());
    check(spoiled.path(), truth, &lost, &spoil, is_cleaned);
}

fn check(folder: &Path, truth: &Truth, lost: &BTreeSet<u64>, spoil: &Spoil, is_cleaned: bool) {
    let copy = folder::copy(folder);
    let complains = opened::verify_complains(folder) || opened::state_complains(copy.path());
    let copy = folder::copy(folder);
    opened::check_repaired(copy.path(), truth, lost);
    let copy = folder::copy(folder);
    opened::check(copy.path(), truth, lost);
    let copy = folder::copy(folder);
    let served = served::serve(copy.path(), truth, lost);
    // The end of the log that is gone without a trace, as if it had never been written.
    let suffix =
        lost.iter().copied().eq(truth.next_offset() - lost.len() as u64..truth.next_offset());
    if !lost.is_empty() && !suffix {
        assert!(complains, "a check of the directory finds it");
    }
    // In the cleaned directory, whose checkpoint is younger, much is below it and read by nobody.
    let unread = is_cleaned && truth.has_all_that_is_read(lost);
    if !lost.is_empty() && !suffix && !unread {
        assert!(served.number("log/damage") > 0, "$SYS says it: {:?}", served.sys);
        assert!(served.trace.contains("damage"), "the trace says it: {}", served.trace);
    }
    if spoil.file == "format" {
        assert!(served.startup.contains("damage: format"), "{}", served.startup);
    }
}
