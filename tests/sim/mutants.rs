//! Each bug put in on purpose has to be caught by some seed.

use tidelog::mutant::Mutant;
use tidelog::mutant::activate;

use crate::cores;
use crate::run;
use crate::side_by_side;

/// How many seeds a bug may survive.
const SEEDS_MAX: u64 = 400;

/// Bugs that histories show too seldom; who sees them.
const SEEN_ELSEWHERE: [(Mutant, &str); 6] = [
    (Mutant::CheckpointStampFirst, "cargo test --features mutants --test store seen"),
    (Mutant::ReserveNotRemade, "cargo test --features mutants --test log seen"),
    (Mutant::CleanerDropsTombstone, "cargo test --features mutants --test store seen"),
    (Mutant::PauseIsSilence, "cargo test --features mutants --test scripts seen"),
    (Mutant::CommitAtAcknowledgement, "cargo test --features mutants --test scripts seen"),
    (Mutant::LaggingLate, "cargo test --features mutants --test scripts seen"),
];

/// The first seed that shows the bug, and how.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    activate(Some(mutant));
    let found = (0..SEEDS_MAX).find_map(|seed| {
        let violation = run(seed, false).violations.into_iter().next()?;
        Some((seed, violation))
    });
    activate(None);
    found
}

/// The bugs to try: all that histories show, or the one that `SIM_MUTANT` names.
#[expect(clippy::disallowed_methods, reason = "the bug to try comes from whoever runs the test")]
fn chosen() -> Vec<Mutant> {
    let name = std::env::var("SIM_MUTANT").ok();
    let elsewhere = |mutant: &Mutant| SEEN_ELSEWHERE.iter().any(|(seen, _)| seen == mutant);
    let chosen = |mutant: &Mutant| match &name {
        Some(name) => mutant.name() == name,
        None => !elsewhere(mutant),
    };
    Mutant::ALL.into_iter().filter(chosen).collect()
}

#[test]
fn mutants() {
    let chosen = chosen();
    assert!(!chosen.is_empty(), "SIM_MUTANT names no bug");
    for (mutant, command) in SEEN_ELSEWHERE {
        println!("{}: not tried here, but by {command}", mutant.name());
    }
    // A bug is switched on for one thread.
    let survivors = side_by_side(cores(), &chosen, |mutant| match caught(*mutant) {
        Some((seed, violation)) => {
            println!("{}: seed {seed}: {violation}", mutant.name());
            None
        }
        None => Some(mutant.name()),
    });
    let survivors: Vec<&str> = survivors.into_iter().flatten().collect();
    assert!(survivors.is_empty(), "not caught in {SEEDS_MAX} seeds: {survivors:?}");
}
