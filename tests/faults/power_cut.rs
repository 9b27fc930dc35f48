//! The power is cut under a mixed load, again and again, and every promise is kept.

use std::time::Duration;

use crate::chance::Chance;
use crate::load::Load;
use crate::load::Mix;
use crate::number;
use crate::power::Survives;
use crate::rig::Rig;
use crate::seed;

/// How often a plain run cuts.
const CUTS: u64 = 10;

/// How often the power of one world is cut.
const CUTS_OF_A_WORLD: u64 = 5;

/// A loaded broker that acknowledges nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);

/// Worlds in which a broker that does not do what it says has to be found out.
const CONTROLS_MAX: u64 = 6;

const DURABLE: &str = "segment_size = \"1 MiB\"\ncheckpoint_interval = \"1s\"\n";

/// What is wrong with the broker's disk or its settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// A sync is not remembered.
    Lies,
    /// The broker does not ask for one.
    NotAsked,
}

/// How many messages a world acknowledged, and what was wrong in it.
struct Verdict {
    acknowledged: u64,
    lost: usize,
    violations: Vec<String>,
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    let seed = seed();
    let cuts = number("FAULTS_CUTS").unwrap_or(CUTS);
    let mut totals = (0, 0);
    for (world, first) in (0..cuts).step_by(usize::try_from(CUTS_OF_A_WORLD).unwrap()).enumerate() {
        let (seed, cuts) = (seed + world as u64, CUTS_OF_A_WORLD.min(cuts - first));
        println!(
            "{cuts} cuts; replay: FAULTS_SEED={seed} FAULTS_CUTS={cuts} cargo test --test faults power_cuts_lose"
        );
        let verdict = run(seed, cuts, Flaw::None);
        assert!(verdict.violations.is_empty(), "seed {seed}:\n{}", verdict.violations.join("\n"));
        totals.0 += verdict.acknowledged;
        totals.1 += verdict.lost;
    }
    println!(
        "{cuts} cuts, {} messages acknowledged, none lost; {} files lost bytes",
        totals.0, totals.1
    );
    assert!(totals.0 > 10 * cuts, "there was no load");
    assert!(totals.1 > 0, "no cut took anything away");
}

#[test]
fn a_disk_that_lies_is_found_out() {
    assert_found_out(Flaw::Lies);
}

#[test]
fn a_broker_that_does_not_sync_is_found_out() {
    assert_found_out(Flaw::NotAsked);
}

fn assert_found_out(flaw: Flaw) {
    let seed = seed();
    println!("FAULTS_SEED={seed}");
    let found = (0..CONTROLS_MAX)
        .find_map(|world| run(seed + world, 3, flaw).violations.into_iter().next());
    println!("found: {}", found.as_deref().unwrap_or("nothing"));
    assert!(found.is_some(), "cuts that take acknowledged messages away are not seen");
}

fn run(seed: u64, cuts: u64, flaw: Flaw) -> Verdict {
    let mut chance = Chance::new(seed);
    let mut load = Load::new(chance.bits(), Mix::draw(&mut chance));
    let durability = if flaw == Flaw::NotAsked { "durability = \"os\"\n" } else { "" };
    let mut rig = Rig::start(&format!("{DURABLE}{durability}"));
    if flaw == Flaw::Lies {
        rig.control.forget_syncs();
    }
    let mut lost = 0;
    for _ in 0..cuts {
        // A broker that was killed before the power was cut has left bytes behind that it never synced.
        for _ in 0..chance.below(3) {
            let target = chance.delay(1, 100);
            storm(&mut load, &mut rig, target);
            rig.broker.start_again();
            load.recovered();
        }
        let target = chance.delay(1, 400);
        storm(&mut load, &mut rig, target);
        let survives =
            *chance.pick(&[Survives::Nothing, Survives::Blocks(512), Survives::Blocks(4_096)]);
        let taken = rig.cut(survives, &mut chance);
        println!("{survives:?}: {taken:?}");
        lost += taken.files;
        if let Err(said) = rig.broker.try_start_again() {
            let violations = vec![said];
            return Verdict { acknowledged: load.acknowledged(), lost, violations };
        }
        load.recovered();
    }
    let acknowledged = load.acknowledged();
    let mut violations = load.violations();
    violations.extend(rig.damage());
    if violations.is_empty() {
        violations = load.settle(rig.broker.address());
    }
    Verdict { acknowledged, lost, violations }
}

/// Everybody runs until so many messages are acknowledged, then the broker is killed.
fn storm(load: &mut Load, rig: &mut Rig, target: u64) {
    load.storm(rig.broker.address(), |history| {
        assert!(history.await_acknowledged(target, STALL), "the broker is stuck");
        rig.kill();
    });
}
