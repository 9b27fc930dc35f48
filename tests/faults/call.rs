//! The n-th call to the file system fails, or the process dies at it: while it starts, while it recovers, under load.
//!
//! One world for each n: a broker with something in its log is killed and started again with the fault plotted; calls are
//! counted from its first one. Whatever happens then, the broker after it keeps every promise.

use std::time::Duration;
use std::time::Instant;

use crate::chance::Chance;
use crate::control::Action;
use crate::control::EIO;
use crate::control::ENOSPC;
use crate::control::NAME;
use crate::control::Plot;
use crate::control::READ;
use crate::control::SIZE;
use crate::control::SYNC;
use crate::control::WRITE;
use crate::load::Load;
use crate::load::Mix;
use crate::model::side_by_side::side_by_side;
use crate::number;
use crate::rig::Rig;
use crate::seed;

/// How many calls a plain run has fail or kill, and how far apart.
const CALLS: u64 = 12;
const STEP: u64 = 8;

/// The calls of the first checkpoints: later ones are like them. A checkpoint a second makes 15 to 20 of these calls, and what is
/// acknowledged meanwhile has to be judged: the 200th came after 11 s and 20,000 messages, and the 300th took a world of 60 to 95 s
/// even with ten checkpoints a second.
const STATE_CALLS_MAX: u64 = 100;

/// Worlds at a time: most of what they do is wait.
const WORLDS: usize = 12;

/// A loaded broker that acknowledges nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);

/// As `SMALL` has it.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// How many messages are acknowledged at most while the call that is to fail has not come: so many at least, and so many for each
/// call. Under load a call that can find no space was seen to come with up to 13 of them, others with up to 5.
const ACKNOWLEDGED_MIN: u64 = 1_500;
const ACKNOWLEDGED_PER_CALL: u64 = 30;

/// What changes a disk.
pub(crate) const CHANGES: u64 = WRITE | SYNC | NAME | SIZE;

const SMALL: &str =
    "segment_size = \"1 MiB\"\ncheckpoint_interval = \"1s\"\ntail_memory = \"1 KiB\"\n";

/// What came of a world.
pub(crate) struct Outcome {
    /// The fault came about.
    pub(crate) hit: bool,
    pub(crate) violations: Vec<String>,
}

/// How a life under a fault ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It did not start, and said so.
    NotStarted(String),
    /// It ended by itself under load, and said so.
    Ended(String),
    /// It went on.
    WentOn,
}

#[test]
fn any_call_may_fail_with_an_input_output_error() {
    let hit =
        for_each_call("any_call_may_fail_with_an_input_output_error", u64::MAX, |call, chance| {
            let action = *chance.pick(&[Action::Fail(EIO), Action::FailShort(EIO)]);
            let plot = Plot { kinds: CHANGES, call, action, sticky: chance.percent(30) };
            world(plot, chance, |end| match end {
                End::NotStarted(said) | End::Ended(said) => {
                    assert_names_the_file(said, "os error 5");
                }
                End::WentOn => {}
            })
        });
    assert!(hit >= 50, "only {hit} % of the faults came about");
}

#[test]
fn any_call_may_find_no_space() {
    let hit = for_each_call("any_call_may_find_no_space", u64::MAX, |call, chance| {
        let kinds = WRITE | NAME | SIZE;
        let action = *chance.pick(&[Action::Fail(ENOSPC), Action::FailShort(ENOSPC)]);
        world(Plot { kinds, call, action, sticky: false }, chance, |end| match end {
            End::NotStarted(said) => assert_names_the_file(said, "os error 28"),
            End::Ended(said) => panic!("a full disk ended the broker: {said}"),
            End::WentOn => {}
        })
    });
    assert!(hit >= 50, "only {hit} % of the faults came about");
}

#[test]
fn any_call_may_fail_to_read() {
    let hit = for_each_call("any_call_may_fail_to_read", u64::MAX, |call, chance| {
        let plot = Plot { kinds: READ, call, action: Action::Fail(EIO), sticky: false };
        world(plot, chance, |end| match end {
            End::NotStarted(said) => assert_names_the_file(said, "os error 5"),
            End::Ended(said) => panic!("a failed read ended the broker: {said}"),
            End::WentOn => {}
        })
    });
    assert!(hit > 0, "no read failed");
}

#[test]
fn the_process_may_be_killed_at_any_call() {
    let hit = for_each_call("the_process_may_be_killed_at_any_call", u64::MAX, |call, chance| {
        let action = *chance.pick(&[Action::KillBefore, Action::KillAfter]);
        let plot = Plot { kinds: CHANGES, call, action, sticky: false };
        world(plot, chance, |_| {})
    });
    assert!(hit >= 50, "only {hit} % of the faults came about");
}

#[test]
fn any_call_for_the_state_may_fail() {
    let hit = for_each_call("any_call_for_the_state_may_fail", STATE_CALLS_MAX, |call, chance| {
        let action = *chance.pick(&[Action::Fail(EIO), Action::FailShort(EIO)]);
        state_world(Plot { kinds: CHANGES, call, action, sticky: false }, chance)
    });
    assert!(hit > 0, "no call failed");
}

/// A checkpoint fails somewhere, others after it don't: what is left of them is what a start believes.
fn state_world(plot: Plot, chance: &mut Chance) -> Outcome {
    let mut load = Load::new(chance.bits(), Mix::draw(chance));
    let mut rig = Rig::start(SMALL);
    rig.control.count_only_state();
    rig.control.plot(plot);
    load.expect_failure();
    load.storm(rig.broker.address(), |history| {
        let deadline = Instant::now() + 10 * CHECKPOINT;
        while rig.control.awaits() && Instant::now() < deadline {
            history.await_acknowledged(10, CHECKPOINT / 10);
        }
        let ended = rig.broker.wait_for_end(2 * CHECKPOINT + CHECKPOINT / 2);
        assert!(ended.is_none(), "a failed checkpoint ended the broker: {}", rig.broker.output());
        rig.kill();
    });
    let hit = rig.control.hit() > 0;
    rig.control.clear();
    if let Err(said) = rig.broker.try_start_again() {
        return Outcome { hit, violations: vec![said] };
    }
    load.recovered();
    Outcome { hit, violations: load.settle(rig.broker.address()) }
}

/// Runs a world for each of the first calls up to a last, a few at a time, or for the one that is asked for. Returns in how many
/// of a hundred the fault came about.
pub(crate) fn for_each_call(
    test: &str,
    last: u64,
    world: impl Fn(u64, &mut Chance) -> Outcome + Sync,
) -> u64 {
    let seed = seed();
    let calls: Vec<u64> = match (number("FAULTS_CALL"), number("FAULTS_CALLS")) {
        (Some(call), _) => vec![call],
        (None, Some(calls)) => (1..=calls.min(last)).collect(),
        (None, None) => {
            let calls = (0..CALLS).map(|call| 1 + STEP * call + (seed >> 16) % STEP);
            calls.filter(|call| *call <= last).collect()
        }
    };
    println!("FAULTS_SEED={seed}, calls {calls:?}");
    let hit = side_by_side(WORLDS, &calls, |call| {
        let replay =
            format!("FAULTS_SEED={seed} FAULTS_CALL={call} cargo test --test faults {test}");
        println!("replay: {replay}");
        let outcome = world(*call, &mut Chance::new(seed ^ (call << 32)));
        let violations = outcome.violations.join("\n");
        assert!(violations.is_empty(), "{violations}\n{replay}");
        u64::from(outcome.hit)
    });
    let (hit, all) = (hit.into_iter().sum::<u64>(), calls.len());
    println!("{hit} of {all} calls were hit");
    100 * hit / all as u64
}

/// Something is in the log, then the fault is plotted; `judge` sees how that life ended. What is left has to be sound,
/// also if the process dies several times more while it recovers.
fn world(plot: Plot, chance: &mut Chance, judge: impl Fn(&End)) -> Outcome {
    let mut load = Load::new(chance.bits(), Mix::draw(chance));
    let mut rig = Rig::start(SMALL);
    live(&mut load, &mut rig, chance.delay(1, 200), 0);
    if matches!(plot.action, Action::Fail(_) | Action::FailShort(_)) {
        load.expect_failure();
    }
    rig.control.plot(plot);
    let end = start_and_live(&mut load, &mut rig, chance.delay(1, 200), plot.call);
    let hit = rig.control.hit() > 0;
    let acknowledged = load.acknowledged();
    println!(
        "call {} {:?}: {acknowledged} acknowledged, {}",
        plot.call,
        plot.action,
        summary(&end, hit)
    );
    judge(&end);
    if matches!(plot.action, Action::KillBefore | Action::KillAfter) {
        for _ in 0..chance.below(4) {
            let call = chance.between(1, 12);
            rig.control.plot(Plot { call, ..plot });
            start_and_live(&mut load, &mut rig, chance.delay(1, 50), call);
        }
    }
    Outcome { hit, violations: rig.recover(load, chance) }
}

/// Starts the broker, if it starts, and lets it live.
fn start_and_live(load: &mut Load, rig: &mut Rig, target: u64, call: u64) -> End {
    if let Err(said) = rig.broker.try_start_again() {
        rig.ground.trim();
        return End::NotStarted(said);
    }
    load.recovered();
    live(load, rig, target, call)
}

/// Runs the load until the broker ends, or so many messages are acknowledged and the call that was plotted has come.
fn live(load: &mut Load, rig: &mut Rig, target: u64, call: u64) -> End {
    let mut ended = false;
    load.storm(rig.broker.address(), |history| {
        let goal = history.acknowledged() + target;
        let limit = goal + ACKNOWLEDGED_MIN.max(ACKNOWLEDGED_PER_CALL * call);
        let more = |done| done < goal || (done < limit && rig.control.awaits());
        let (mut done, mut moved) = (history.acknowledged(), Instant::now());
        while !ended && more(done) {
            ended = rig.broker.wait_for_end(Duration::from_millis(20)).is_some();
            let before = std::mem::replace(&mut done, history.acknowledged());
            if done > before {
                moved = Instant::now();
            }
            assert!(moved.elapsed() < STALL, "the broker is stuck:\n{}", rig.broker.output());
        }
        rig.kill();
    });
    if ended { End::Ended(rig.broker.output()) } else { End::WentOn }
}

/// The broker ends with a message that says where it went wrong and how, not with a panic. (The database below the state
/// panics when its file fails; that is caught, and told.)
fn assert_names_the_file(said: &str, how: &str) {
    let names = [
        ".log",
        ".index",
        "format",
        "lock",
        "next.tmp",
        "reserve",
        "secret",
        "/state",
        "data directory",
        " .",
    ];
    let names_it = |line: &&str| names.iter().any(|name| line.contains(name));
    let clear = said.lines().filter(|line| line.contains(how)).any(|line| names_it(&line));
    let panics = said.lines().filter(|line| line.contains("panicked at"));
    let own = panics.filter(|line| !line.contains("sled-")).count();
    assert!(clear && own == 0, "no clear message of {how}:\n{said}");
}

fn summary(end: &End, hit: bool) -> String {
    let (how, said) = match end {
        End::NotStarted(said) => ("did not start", said.as_str()),
        End::Ended(said) => ("ended", said.as_str()),
        End::WentOn => ("went on", ""),
    };
    format!("hit: {hit}, {how}: {}", said.lines().last().unwrap_or_default())
}
