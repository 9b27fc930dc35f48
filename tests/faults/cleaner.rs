//! The n-th call of the thread that cleans fails, or the process dies at it.
//!
//! One world for each n: a broker whose log is cleaned all the time. A failure ends cleaning and nothing else; after it, and after
//! a death, the log is whole, whichever of the old and the new segment is there.

use std::time::Duration;
use std::time::Instant;

use crate::call::CHANGES;
use crate::call::Outcome;
use crate::call::for_each_call;
use crate::chance::Chance;
use crate::control::Action;
use crate::control::EIO;
use crate::control::ENOSPC;
use crate::control::Plot;
use crate::control::READ;
use crate::load::Load;
use crate::load::Mix;
use crate::load::cleaning;
use crate::rig::Rig;

/// The calls of the first few segments: later ones are like them.
const CALLS_MAX: u64 = 50;

/// How long the cleaner has to come to the call.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn any_call_of_the_cleaner_may_fail() {
    let hit = for_each_call("any_call_of_the_cleaner_may_fail", CALLS_MAX, |call, chance| {
        let action = *chance.pick(&[
            Action::Fail(EIO),
            Action::FailShort(EIO),
            Action::Fail(ENOSPC),
            Action::FailShort(ENOSPC),
        ]);
        let kinds = *chance.pick(&[CHANGES, CHANGES, READ]);
        world(Plot { kinds, call, action, sticky: chance.percent(30) }, chance)
    });
    assert!(hit >= 50, "the cleaner was reached in only {hit} % of the worlds");
}

#[test]
fn the_process_may_be_killed_at_any_call_of_the_cleaner() {
    let name = "the_process_may_be_killed_at_any_call_of_the_cleaner";
    let hit = for_each_call(name, CALLS_MAX, |call, chance| {
        let action = *chance.pick(&[Action::KillBefore, Action::KillAfter]);
        world(Plot { kinds: CHANGES, call, action, sticky: false }, chance)
    });
    assert!(hit >= 50, "the cleaner was reached in only {hit} % of the worlds");
}

fn world(plot: Plot, chance: &mut Chance) -> Outcome {
    let mut load = Load::new(chance.bits(), Mix::for_cleaning(chance));
    let mut rig = Rig::start(cleaning::SETTINGS);
    rig.control.count_only_cleaner();
    rig.control.plot(plot);
    let dies = matches!(plot.action, Action::KillBefore | Action::KillAfter);
    let longer = Duration::from_millis(chance.below(500));
    load.storm(rig.broker.address(), |history| {
        let deadline = Instant::now() + PATIENCE;
        let mut ended = None;
        while ended.is_none() && rig.control.awaits() && Instant::now() < deadline {
            history.await_acknowledged(10, longer);
            ended = rig.broker.wait_for_end(Duration::ZERO);
        }
        let ended = ended.or_else(|| rig.broker.wait_for_end(longer));
        assert!(dies || ended.is_none(), "the cleaner ended the broker: {}", rig.broker.output());
        rig.kill();
    });
    let hit = rig.control.hit() > 0;
    let (acknowledged, cleaned) = (load.acknowledged(), cleaning::replaced(&rig.broker.data()));
    println!("{plot:?}: hit: {hit}, {acknowledged} acknowledged, {cleaned} segments cleaned");
    Outcome { hit, violations: rig.recover(load, chance) }
}
