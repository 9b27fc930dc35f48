//! A sync that fails: nothing more is acknowledged, nothing is tried again, and what was acknowledged is there afterwards.

use std::time::Duration;

use crate::control::Action;
use crate::control::EIO;
use crate::control::Plot;
use crate::control::READ;
use crate::control::SYNC;
use crate::rig::Rig;
use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::request::Publish;

/// How long the process may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Implementation specific error.
const FAILED: u8 = 0x83;

/// The reads of a small log at a start, and of what stands beside it: so many at most.
const READS_MAX: u64 = 40;

/// Every sync fails: the next one may be of a file that is only prepared.
fn fail_syncs(rig: &Rig) {
    rig.control.plot(Plot { kinds: SYNC, call: 1, action: Action::Fail(EIO), sticky: true });
}

fn message(topic: &str) -> Publish {
    Publish::new(topic, "text").qos(1)
}

/// A subscriber with a kept session, and a publisher whose first message has arrived there.
fn begin(rig: &Rig) -> (Client, Client) {
    let address = rig.broker.address();
    let mut subscriber = Client::persistent(address, Version::V5, "subscriber");
    subscriber.subscribe(&[("a/#", 1)]);
    let mut publisher = Client::persistent(address, Version::V5, "publisher");
    assert_eq!(publisher.publish(message("a/before")), 0);
    assert_eq!(subscriber.take().topic, "a/before");
    (subscriber, publisher)
}

#[test]
fn a_failed_sync_ends_the_process_and_says_where() {
    let mut rig = Rig::start("");
    let (_subscriber, mut publisher) = begin(&rig);
    fail_syncs(&rig);
    publisher.send(&message("a/doubtful").id(77).bytes(Version::V5));
    publisher.expect_close_because(FAILED);
    let status = rig.broker.wait_for_end(PATIENCE).expect("the process ends by itself");
    assert!(!status.success(), "{status}");
    let said = rig.broker.output();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains(".log at byte ") && last.contains("sync failed"), "{said}");
    rig.control.clear();
    rig.broker.start_again();
    let mut publisher = Client::persistent(rig.broker.address(), Version::V5, "publisher");
    assert_eq!(publisher.publish(message("a/after")), 0);
    let mut subscriber = Client::persistent(rig.broker.address(), Version::V5, "subscriber");
    while subscriber.take().topic != "a/after" {}
}

#[test]
fn a_broker_that_stays_up_after_a_failed_sync_only_reads() {
    let rig = Rig::start("on_write_failure = \"read-only\"\n");
    let address = rig.broker.address();
    let (mut subscriber, mut publisher) = begin(&rig);
    let mut other = Client::persistent(address, Version::V5, "other");
    let mut old = Client::persistent(address, Version::V4, "old");
    fail_syncs(&rig);
    publisher.send(&message("a/doubtful").id(77).bytes(Version::V5));
    publisher.expect_close_because(FAILED);
    // The disk is well again, but nobody knows what is on it.
    rig.control.clear();
    assert_eq!(other.publish(message("a/refused")), FAILED);
    old.send(&message("a/refused").id(1).bytes(Version::V4));
    assert_eq!(old.expect_close(), None);
    subscriber.ping();
    other.ping();
    assert_eq!(other.publish(message("a/refused")), FAILED);
}

#[test]
fn a_read_of_a_segment_that_fails_at_a_start_refuses_it_by_file_and_position() {
    let mut rig = Rig::start("");
    let (subscriber, mut publisher) = begin(&rig);
    subscriber.disconnect();
    assert_eq!(publisher.publish(message("a/owed")), 0);
    rig.kill();
    let mut places = Vec::new();
    for call in 1..=READS_MAX {
        rig.control.plot(Plot { kinds: READ, call, action: Action::Fail(EIO), sticky: false });
        let outcome = rig.broker.try_start_again();
        let hit = rig.control.hit() > 0;
        rig.control.clear();
        if let Err(said) = outcome {
            let line = said.lines().find(|line| line.contains("os error 5"));
            places.push(line.unwrap_or_else(|| panic!("{said}")).to_owned());
        }
        rig.kill();
        if !hit {
            break;
        }
    }
    let segment = "00000000000000000000.log at byte ";
    assert!(places.iter().any(|line| line.contains(segment)), "{places:?}");
    rig.broker.start_again();
    let mut subscriber = Client::persistent(rig.broker.address(), Version::V5, "subscriber");
    // The one before it may come again.
    while subscriber.take().topic != "a/owed" {}
}
