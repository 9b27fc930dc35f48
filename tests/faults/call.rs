//! The n-th call to the file system fails, or the process dies at it: while it starts, while it recovers, under load.
//!
//! One world for each n: a broker with something in its log is killed and started again with the fault plotted; calls are
//! counted from its first one. Whatever happens then, the broker after it keeps every promise.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
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
use crate::number;
use crate::power::Survives;
use crate::rig::Rig;
use crate::seed;

/// How many first calls a plain run has fail or kill.
const CALLS: u64 = 12;

/// Worlds at a time: most of what they do is wait.
const WORLDS: usize = 4;

/// A loaded broker that acknowledges nothing for so long is stuck.
const STALL: Duration = Duration::from_mins(1);

/// What changes a disk.
const CHANGES: u64 = WRITE | SYNC | NAME | SIZE;

const SMALL: &str =
    "segment_size = \"1 MiB\"\ncheckpoint_interval = \"1s\"\ntail_memory = \"64 KiB\"\n";

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
    for_each_call("any_call_may_fail_with_an_input_output_error", |call, chance| {
        let action = *chance.pick(&[Action::Fail(EIO), Action::FailShort(EIO)]);
        let plot = Plot { kinds: CHANGES, call, action, sticky: chance.percent(30) };
        world(plot, chance, |end| match end {
            End::NotStarted(said) | End::Ended(said) => assert_names_the_file(said, "os error 5"),
            End::WentOn => {}
        })
    });
}

#[test]
fn any_call_may_find_no_space() {
    for_each_call("any_call_may_find_no_space", |call, chance| {
        let kinds = WRITE | NAME | SIZE;
        let action = *chance.pick(&[Action::Fail(ENOSPC), Action::FailShort(ENOSPC)]);
        world(Plot { kinds, call, action, sticky: false }, chance, |end| match end {
            End::NotStarted(said) => assert_names_the_file(said, "os error 28"),
            End::Ended(said) => panic!("a full disk ended the broker: {said}"),
            End::WentOn => {}
        })
    });
}

#[test]
fn any_call_may_fail_to_read() {
    for_each_call("any_call_may_fail_to_read", |call, chance| {
        let plot = Plot { kinds: READ, call, action: Action::Fail(EIO), sticky: false };
        world(plot, chance, |end| match end {
            End::NotStarted(said) => assert_names_the_file(said, "os error 5"),
            End::Ended(said) => panic!("a failed read ended the broker: {said}"),
            End::WentOn => {}
        })
    });
}

#[test]
fn the_process_may_be_killed_at_any_call() {
    for_each_call("the_process_may_be_killed_at_any_call", |call, chance| {
        let action = *chance.pick(&[Action::KillBefore, Action::KillAfter]);
        let plot = Plot { kinds: CHANGES, call, action, sticky: false };
        world(plot, chance, |_| {})
    });
}

/// Runs a world for each of the first calls, a few at a time, or for the one that is asked for.
fn for_each_call(test: &str, world: impl Fn(u64, &mut Chance) -> Vec<String> + Sync) {
    let seed = seed();
    let (first, last) = match number("FAULTS_CALL") {
        Some(call) => (call, call),
        None => (1, number("FAULTS_CALLS").unwrap_or(CALLS)),
    };
    println!("calls {first} to {last}, FAULTS_SEED={seed}");
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if call > last {
                        return;
                    }
                    let replay = format!(
                        "FAULTS_SEED={seed} FAULTS_CALL={call} cargo test --test faults {test}"
                    );
                    println!("replay: {replay}");
                    let violations = world(call, &mut Chance::new(seed ^ (call << 32)));
                    assert!(violations.is_empty(), "{}\n{replay}", violations.join("\n"));
                }
            });
        }
    });
}

/// Something is in the log, then the fault is plotted; `judge` sees how that life ended. What is left has to be sound,
/// also if the process dies several times more while it recovers.
fn world(plot: Plot, chance: &mut Chance, judge: impl Fn(&End)) -> Vec<String> {
    let mut load = Load::new(chance.bits(), Mix::draw(chance));
    let mut rig = Rig::start(SMALL);
    live(&mut load, &mut rig, chance.delay(1, 200));
    rig.control.plot(plot);
    let end = start_and_live(&mut load, &mut rig, chance.delay(1, 200));
    println!("call {} {:?}: {}", plot.call, plot.action, summary(&end, rig.control.hit()));
    judge(&end);
    if matches!(plot.action, Action::KillBefore | Action::KillAfter) {
        for _ in 0..chance.below(4) {
            rig.control.plot(Plot { call: chance.between(1, 12), ..plot });
            start_and_live(&mut load, &mut rig, chance.delay(1, 50));
        }
    }
    rig.control.clear();
    let survives = [Survives::Nothing, Survives::Blocks(512), Survives::Blocks(4_096)];
    if chance.percent(50) {
        rig.cut(*chance.pick(&survives), chance);
    }
    if let Err(said) = rig.broker.try_start_again() {
        return vec![said];
    }
    load.recovered();
    let mut violations = load.violations();
    violations.extend(rig.damage());
    if violations.is_empty() { load.settle(rig.broker.address()) } else { violations }
}

/// Starts the broker, if it starts, and runs the load until it ends or so many messages are acknowledged.
fn start_and_live(load: &mut Load, rig: &mut Rig, target: u64) -> End {
    if let Err(said) = rig.broker.try_start_again() {
        rig.ground.trim();
        return End::NotStarted(said);
    }
    load.recovered();
    live(load, rig, target)
}

fn live(load: &mut Load, rig: &mut Rig, target: u64) -> End {
    let mut ended = false;
    load.storm(rig.broker.address(), |history| {
        let (goal, deadline) = (history.acknowledged() + target, Instant::now() + STALL);
        while !ended && history.acknowledged() < goal {
            assert!(Instant::now() < deadline, "the broker is stuck:\n{}", rig.broker.output());
            ended = rig.broker.wait_for_end(Duration::from_millis(20)).is_some();
        }
        rig.kill();
    });
    if ended { End::Ended(rig.broker.output()) } else { End::WentOn }
}

/// The broker ends with a message that says where it went wrong and how, not with a panic. (The database below the state
/// panics when its file fails; that is caught, and told.)
fn assert_names_the_file(said: &str, how: &str) {
    let names = [".log", ".index", "format", "lock", "next.tmp", "secret", "/state", " ."];
    let names_it = |line: &&str| names.iter().any(|name| line.contains(name));
    let clear = said.lines().filter(|line| line.contains(how)).any(|line| names_it(&line));
    let panics = said.lines().filter(|line| line.contains("panicked at"));
    let own = panics.filter(|line| !line.contains("sled-")).count();
    assert!(clear && own == 0, "no clear message of {how}:\n{said}");
}

fn summary(end: &End, hit: u64) -> String {
    let (how, said) = match end {
        End::NotStarted(said) => ("did not start", said.as_str()),
        End::Ended(said) => ("ended", said.as_str()),
        End::WentOn => ("went on", ""),
    };
    format!("hit {hit} times, {how}: {}", said.lines().last().unwrap_or_default())
}
