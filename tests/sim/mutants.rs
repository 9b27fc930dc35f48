//! Each bug put in on purpose has to be caught by some seed.

use tidelog::mutant::Mutant;
use tidelog::mutant::activate;

use crate::run;

/// How many seeds a bug may survive.
const SEEDS_MAX: u64 = 150;

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

/// The bugs to try: all, or the one that `SIM_MUTANT` names.
#[expect(clippy::disallowed_methods, reason = "the bug to try comes from whoever runs the test")]
fn chosen() -> Vec<Mutant> {
    let name = std::env::var("SIM_MUTANT").ok();
    let chosen = |mutant: &Mutant| name.as_deref().is_none_or(|name| mutant.name() == name);
    Mutant::ALL.into_iter().filter(chosen).collect()
}

#[test]
fn mutants() {
    let chosen = chosen();
    assert!(!chosen.is_empty(), "SIM_MUTANT names no bug");
    let mut survivors = Vec::new();
    for mutant in chosen {
        match caught(mutant) {
            Some((seed, violation)) => println!("{}: seed {seed}: {violation}", mutant.name()),
            None => survivors.push(mutant.name()),
        }
    }
    assert!(survivors.is_empty(), "not caught in {SEEDS_MAX} seeds: {survivors:?}");
}
