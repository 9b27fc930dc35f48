//! The whole: delayed messages, `tidelog delayed`, and the prefixes beside them, against a broker that is killed.
#![expect(
    clippy::disallowed_types,
    clippy::indexing_slicing,
    reason = "how long it takes is what is tested, and a panic is how it fails"
)]

use std::time::Duration;
use std::time::Instant;

use crate::broker::Broker;
use crate::program::Ended;
use crate::program::run;

/// Runs `tidelog delayed` with this broker's address.
fn delayed(broker: &Broker, command: &str, words: &[&str]) -> Ended {
    let port = broker.port_of("tcp");
    run(&[&["delayed", command, "-h", "127.0.0.1", "-p", &port], words].concat())
}

fn ids(broker: &Broker) -> Vec<String> {
    let listed = delayed(broker, "ls", &["--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let line = |line: &str| {
        let delayed: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", delayed["id"], delayed["topic"].as_str().unwrap())
    };
    listed.stdout.lines().map(line).collect()
}

#[test]
fn a_delayed_message_comes_at_its_time_once_although_the_broker_is_killed() {
    let broker = Broker::start(&[]);
    broker.session("s", "later/#");
    let begun = Instant::now();
    for (version, topic) in [("311", "$delayed/3/later/a"), ("5", "$delayed/3s/later/b")] {
        broker.run("pub", &["-V", version, "-q", "1", "-t", topic, "-m", "x"]).expect_success("");
    }
    let words = ["-V", "5", "-q", "2", "-t", "later/c", "-m", "x", "-D", "publish"];
    let words = [&words[..], &["user-property", "delay", "3"]].concat();
    broker.run("pub", &words).expect_success("");
    assert_eq!(ids(&broker).len(), 3);
    let broker = broker.crash();
    let words = ["-i", "s", "-c", "-q", "2", "-t", "later/#", "-C", "3", "-v"];
    let got = broker.run("sub", &words);
    got.expect_success("later/a x\nlater/b x\nlater/c x\n");
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    // Nothing comes again, and what comes next is what is published next.
    let broker = broker.crash();
    assert_eq!(ids(&broker), Vec::<String>::new());
    broker.run("pub", &["-q", "1", "-t", "later/end", "-m", "end"]).expect_success("");
    let words = ["-i", "s", "-c", "-q", "2", "-t", "later/#", "-C", "1"];
    broker.run("sub", &words).expect_success("end\n");
}

#[test]
fn delayed_messages_are_listed_and_cancelled() {
    let broker = Broker::start(&[]);
    delayed(&broker, "ls", &[]).expect_success("");
    for topic in ["$delayed/1h/a", "$delayed/2h/b"] {
        broker.run("pub", &["-q", "1", "-t", topic, "-m", "x"]).expect_success("");
    }
    let known = ids(&broker);
    assert_eq!(known.len(), 2);
    let (first, _) = known[0].split_once(' ').unwrap();
    let table = delayed(&broker, "ls", &["-V", "5"]).stdout;
    assert!(table.starts_with("ID ") && table.lines().count() == 3, "{table}");
    delayed(&broker, "cancel", &[first]).expect_success("");
    let broker = broker.crash();
    assert_eq!(ids(&broker), known[1..]);
    let again = delayed(&broker, "cancel", &["-V", "5", first]);
    again.expect_failure(144, "no delayed message with this id waits");
}

#[test]
fn a_request_that_is_not_allowed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "allow all readwrite #\nallow all subscribe $ctl/reply/%c\n").unwrap();
    let acl = format!("access.acl={}", acl.to_str().unwrap());
    let broker = Broker::start(&["--set", &acl]);
    delayed(&broker, "ls", &[]).expect_failure(135, "not allowed");
    let words = ["-V", "5", "-q", "1", "-t", "$ctl/delayed/list", "-n"];
    broker.run("pub", &words).expect_failure(135, "not allowed");
}

#[test]
fn a_message_of_311_expires_and_a_filter_has_one_subscriber() {
    let broker = Broker::start(&[]);
    let words = ["-V", "311", "-q", "1", "-r", "-t", "$ttl/3600/a", "-m", "x"];
    broker.run("pub", &words).expect_success("");
    let words = ["-V", "5", "-t", "a", "-C", "1", "-F", "%E %p"];
    let got = broker.run("sub", &words);
    assert!(matches!(got.stdout.as_str(), "3600 x\n" | "3599 x\n"), "{got:?}");
    broker.session("s", "$exclusive/jobs/#");
    let words = ["-V", "5", "-t", "$exclusive/jobs/#", "-E"];
    assert_eq!(broker.run("sub", &words).code, Some(151));
}
