//! A full disk: publishes are refused, everything else goes on, and so do publishes when there is space again.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;

use crate::control::Action;
use crate::control::ENOSPC;
use crate::control::Plot;
use crate::control::SIZE;
use crate::control::WRITE;
use crate::rig::Rig;
use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::process::Broker;
use crate::wire::process::Settings;
use crate::wire::request::Publish;

/// How long the broker may take to notice.
const NOTICE: Duration = Duration::from_secs(20);

/// Quota exceeded.
const REFUSED: u8 = 0x97;

/// Messages that are sent so that the disk is full, and how large they are.
const MESSAGES: u16 = 64;
const MESSAGE_BYTES: usize = 64 << 10;

const SMALL: &str = "segment_size = \"1 MiB\"\ntail_memory = \"1 MiB\"\n";

#[test]
fn a_write_that_finds_no_space_refuses_publishes_until_there_is() {
    let mut rig = Rig::start(SMALL);
    let control = &rig.control;
    let action = Action::Fail(ENOSPC);
    let fill = || control.plot(Plot { kinds: WRITE | SIZE, call: 1, action, sticky: true });
    check(&mut rig.broker, fill, || control.clear());
}

#[test]
fn a_file_system_without_space_refuses_publishes_until_there_is() {
    let Some((mut broker, mounted)) = start_mounted() else { return };
    let filler = mounted.0.join("filler");
    check(&mut broker, || fill(&filler), || fs::remove_file(&filler).unwrap());
}

/// What else is missing when a broker starts on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    State,
    Reserve,
    Both,
}

#[test]
fn a_broker_that_starts_on_a_full_disk_serves_what_is_there_and_refuses_publishes() {
    for missing in [Missing::Nothing, Missing::State, Missing::Reserve, Missing::Both] {
        println!("missing: {missing:?}");
        let Some((mut broker, mounted)) = start_mounted() else { return };
        let data = &mounted.0;
        let mut owed = Client::persistent(broker.address(), Version::V5, "owed");
        owed.subscribe(&[("owed", 1)]);
        owed.disconnect();
        let mut publisher = Client::clean(broker.address(), Version::V5, "publisher");
        assert_eq!(publisher.publish(message("owed", 1)), 0);
        broker.stop();
        if matches!(missing, Missing::State | Missing::Both) {
            fs::remove_dir_all(data.join("state")).unwrap();
        }
        if matches!(missing, Missing::Reserve | Missing::Both) {
            fs::remove_file(data.join("reserve")).unwrap();
        }
        // A start would give its space back.
        fs::remove_file(data.join("next.tmp")).ok();
        let filler = data.join("filler");
        fill(&filler);
        broker.start_again();
        let mut owed = Client::persistent(broker.address(), Version::V5, "owed");
        assert_eq!(owed.take().topic, "owed");
        owed.disconnect();
        let free = || fs::remove_file(&filler).unwrap();
        if matches!(missing, Missing::Nothing | Missing::State) {
            check(&mut broker, || (), free);
        } else {
            check_without_reserve(&broker, free);
        }
    }
}

/// Nothing is set aside, so that the first message is refused.
fn check_without_reserve(broker: &Broker, free: impl FnOnce()) {
    let mut publisher = Client::clean(broker.address(), Version::V5, "publisher");
    assert_eq!(publisher.publish(message("owed", 1)), REFUSED);
    free();
    let begun = Instant::now();
    while publisher.publish(message("owed", 1)) == REFUSED {
        assert!(begun.elapsed() < NOTICE, "there is space, and messages are still refused");
    }
    let mut owed = Client::persistent(broker.address(), Version::V5, "owed");
    assert_eq!(owed.take().topic, "owed");
}

#[test]
fn a_new_directory_on_a_full_disk_is_refused_by_name() {
    let Some((mut broker, mounted)) = start_mounted() else { return };
    let data = &mounted.0;
    broker.stop();
    for entry in fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }.unwrap();
    }
    fill(&data.join("filler"));
    let said = broker.try_start_again().unwrap_err();
    let line = said.lines().find(|line| line.contains("os error 28"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(data.to_str().unwrap()) && line.contains("full"), "{said}");
}

/// A file that may not grow is a disk that is full: the signal that the system sends with it must not end the process, which
/// would end without a word.
#[test]
fn a_file_that_may_not_grow_refuses_publishes_until_it_may() {
    let mut broker = Broker::start_with(small());
    let process = Pid::from_raw(i32::try_from(broker.id()).unwrap());
    let limit = |current| {
        prlimit(process, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    };
    check(&mut broker, || limit(Some(0)), || limit(None));
    assert!(broker.output().contains("os error 27"), "{}", broker.output());
}

fn small() -> Settings {
    Settings { data: SMALL.to_owned(), ..Settings::default() }
}

/// A broker whose data directory is a tmpfs of 16 MiB, and that directory; `None` where none can be mounted.
fn start_mounted() -> Option<(Broker, Mounted)> {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&data).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIPPED: a small tmpfs can't be mounted here, which takes root");
        return None;
    }
    let mounted = Mounted(data);
    Some((Broker::start_in(folder, small()), mounted))
}

/// The place of a tmpfs, until the end of the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // The broker may still have its files open.
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

/// Takes all the space that is left.
fn fill(filler: &Path) {
    let mut file = fs::File::create(filler).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

fn check(broker: &mut Broker, fill: impl FnOnce(), free: impl FnOnce()) {
    let (address, process) = (broker.address(), broker.id());
    let mut subscriber = Client::persistent(address, Version::V5, "subscriber");
    subscriber.subscribe(&[("a/#", 1)]);
    let mut first = Client::persistent(address, Version::V5, "first");
    let mut new = Client::persistent(address, Version::V5, "new");
    let mut old = Client::persistent(address, Version::V4, "old");
    assert_eq!(new.publish(message("a/before", 1)), 0);
    assert_eq!(subscriber.take().topic, "a/before");
    fill();
    for number in 0..MESSAGES {
        let payload = "x".repeat(MESSAGE_BYTES);
        let publish = Publish::new("b", &payload).qos(1).id(number + 1);
        first.send(&publish.bytes(Version::V5));
    }
    assert!(broker.wait_for_line("the disk is full", NOTICE), "{}", broker.output());
    assert_eq!(new.publish(message("a/refused", 1)), REFUSED);
    assert_eq!(new.publish(message("a/refused", 2)), REFUSED);
    old.send(&message("a/refused", 1).id(1).bytes(Version::V4));
    assert_eq!(old.expect_close(), None);
    subscriber.ping();
    new.ping();
    free();
    for number in 0..MESSAGES {
        let code = first.wait_puback(number + 1);
        assert!(code == 0 || code == REFUSED, "{code:#04x}");
    }
    // It looks twice a second whether there is space.
    let begun = Instant::now();
    while new.publish(message("a/after", 1)) == REFUSED {
        assert!(begun.elapsed() < NOTICE, "there is space, and messages are still refused");
    }
    assert_eq!(subscriber.take().topic, "a/after");
    assert_eq!(broker.id(), process);
}

fn message(topic: &str, qos: u8) -> Publish {
    Publish::new(topic, "text").qos(qos)
}
