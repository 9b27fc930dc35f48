//! The power is cut under a mixed load, again and again, and every promise is kept.

use std::time::Duration;

use crate::chance::Chance;
use crate::load::Load;
use crate::load::Mix;
use crate::load::cleaning;
use crate::model::side_by_side::side_by_side;
use crate::number;
use crate::power::Lost;
use crate::power::Names;
use crate::rig::Rig;
use crate::seed;

/// How often a plain run cuts.
const CUTS: u64 = 10;

/// Worlds at a time: much of what they do is wait.
const WORLDS: usize = 4;

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
    /// The same, but the power is not cut.
    NotAskedAndNotCut,
}

/// How many messages a world acknowledged, how often segments were replaced that were there at once, and what was wrong.
struct Verdict {
    acknowledged: u64,
    cleaned: u64,
    lost: Lost,
    violations: Vec<String>,
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    let seed = seed();
    let cuts = number("FAULTS_CUTS").unwrap_or(CUTS);
    let worlds: Vec<u64> = (0..cuts.div_ceil(CUTS_OF_A_WORLD)).collect();
    let verdicts = side_by_side(WORLDS, &worlds, |world| {
        let left = cuts - world * CUTS_OF_A_WORLD;
        sound_world(seed + world, left.min(CUTS_OF_A_WORLD))
    });
    let (mut acknowledged, mut cleaned, mut lost) = (0, 0, Lost::default());
    for verdict in verdicts {
        acknowledged += verdict.acknowledged;
        cleaned += verdict.cleaned;
        lost += verdict.lost;
    }
    println!("{cuts} cuts, {acknowledged} messages acknowledged, none lost; undone: {lost:?}");
    println!("{cleaned} segments were cleaned meanwhile");
    assert!(cleaned > 0 || cuts < CUTS, "the cleaner was never reached");
    assert!(acknowledged > 10 * cuts, "there was no load");
    assert!(lost.files + lost.names > 0, "the cuts took nothing away");
}

fn sound_world(seed: u64, cuts: u64) -> Verdict {
    println!(
        "{cuts} cuts; replay: FAULTS_SEED={seed} FAULTS_CUTS={cuts} cargo test --test faults power_cuts_lose"
    );
    let verdict = run(seed, cuts, Flaw::None);
    assert!(verdict.violations.is_empty(), "seed {seed}:\n{}", verdict.violations.join("\n"));
    verdict
}

#[test]
fn a_disk_that_lies_is_found_out() {
    assert_found_out(Flaw::Lies);
}

#[test]
fn a_broker_that_does_not_sync_is_found_out() {
    assert_found_out(Flaw::NotAsked);
}

#[test]
fn a_broker_that_does_not_sync_loses_nothing_without_a_cut() {
    let seed = seed();
    println!("FAULTS_SEED={seed}");
    let verdict = run(seed, 3, Flaw::NotAskedAndNotCut);
    assert!(verdict.violations.is_empty(), "{}", verdict.violations.join("\n"));
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
    // Every other world has a log that is cleaned all the time.
    let cleans = seed.is_multiple_of(2);
    let draw = if cleans { Mix::for_cleaning } else { Mix::draw };
    let mut load = Load::new(chance.bits(), draw(&mut chance));
    let durability = if matches!(flaw, Flaw::NotAsked | Flaw::NotAskedAndNotCut) {
        "durability = \"os\"\n"
    } else {
        ""
    };
    let data = if cleans { cleaning::SETTINGS } else { DURABLE };
    let mut rig = Rig::start(&format!("{data}{durability}"));
    rig.ground.names = *chance.pick(&[Names::WithFolder, Names::WithAnything]);
    if flaw == Flaw::Lies {
        rig.control.forget_syncs();
    }
    let (mut lost, mut cleaned) = (Lost::default(), 0);
    let mut everything_seen = flaw == Flaw::NotAskedAndNotCut;
    for _ in 0..cuts {
        // A broker that was killed before the power was cut has left bytes behind that it never synced.
        for _ in 0..chance.below(3) {
            let target = chance.delay(1, 100);
            storm(&mut load, &mut rig, target);
            rig.broker.start_again();
            load.recovered();
        }
        let target = chance.delay(1, 400);
        // Some lives are long enough for checkpoints.
        let millis = chance.between(500, 2_500);
        let longer = Duration::from_millis(*chance.pick(&[0, 0, millis]));
        load.storm(rig.broker.address(), |history| {
            assert!(history.await_acknowledged(target, STALL), "the broker is stuck");
            assert!(rig.broker.wait_for_end(longer).is_none(), "{}", rig.broker.output());
            if cleans {
                cleaned = cleaned.max(cleaning::await_another(&rig.broker.data(), history));
            }
            rig.kill();
        });
        if flaw != Flaw::NotAskedAndNotCut {
            everything_seen |= rig.ground.saw_everything();
            lost += rig.cut(&mut chance);
        }
        if let Err(said) = rig.broker.try_start_again() {
            let violations = vec![said];
            return Verdict { acknowledged: load.acknowledged(), cleaned, lost, violations };
        }
        load.recovered();
    }
    assert!(everything_seen, "the shim does not see what it should");
    let acknowledged = load.acknowledged();
    let violations = rig.settle(load);
    Verdict { acknowledged, cleaned, lost, violations }
}

/// Everybody runs until so many messages are acknowledged; then the broker is killed.
fn storm(load: &mut Load, rig: &mut Rig, target: u64) {
    load.storm(rig.broker.address(), |history| {
        assert!(history.await_acknowledged(target, STALL), "the broker is stuck");
        rig.kill();
    });
}
