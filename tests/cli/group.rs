//! The whole: durable groups, `tidelog group` and groups of the configuration, against a broker that is killed.
#![expect(clippy::disallowed_types, reason = "a test that waits has a deadline")]

use std::time::Duration;
use std::time::Instant;

use crate::broker::Broker;
use crate::program::Ended;
use crate::program::run;
use crate::program::terminate;

/// Runs `tidelog group` with this broker's address.
fn group(broker: &Broker, command: &str, words: &[&str]) -> Ended {
    let port = broker.port_of("tcp");
    run(&[&["group", command, "-h", "127.0.0.1", "-p", &port], words].concat())
}

fn publish(broker: &Broker, topic: &str, payloads: &[&str]) {
    for payload in payloads {
        broker.run("pub", &["-q", "1", "-t", topic, "-m", payload]).expect_success("");
    }
}

/// What a member gets that takes so many and goes.
fn take(broker: &Broker, words: &[&str], count: &str) -> String {
    let got = broker.run("sub", &[&["-q", "1", "-C", count], words].concat());
    assert_eq!(got.code, Some(0), "{got:?}");
    got.stdout
}

/// One number of what is known of a group.
fn number(broker: &Broker, name: &str, pointer: &str) -> Option<u64> {
    let shown = group(broker, "show", &[name, "--json"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let known: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    known.pointer(pointer).and_then(serde_json::Value::as_u64)
}

/// Waits until a group's members are gone and what they acknowledged is on disk.
fn await_members_gone(broker: &Broker, name: &str) {
    let begun = Instant::now();
    while number(broker, name, "/members") != Some(0) {
        assert!(begun.elapsed() < Duration::from_mins(1), "the group keeps its members");
    }
    // What is acknowledged later is durable later.
    publish(broker, "later", &["x"]);
}

#[test]
fn a_group_is_made_fills_is_shared_and_removed() {
    let broker = Broker::start(&[]);
    group(&broker, "ls", &[]).expect_success("");
    group(&broker, "create", &["workers", "jobs/#", "--from", "earliest"]).expect_success("");
    publish(&broker, "jobs/a", &["1", "2", "3"]);
    let broker = broker.crash();
    assert_eq!(number(&broker, "workers", "/lag/messages"), Some(3));
    let table = group(&broker, "ls", &["-V", "5"]).stdout;
    assert!(table.starts_with("GROUP    FILTER  STRATEGY        COMMIT  POSITION"), "{table}");
    assert!(table.contains("\nworkers  jobs/#  least-inflight  ack "), "{table}");
    assert!(!table.contains("LAG") && table.lines().count() == 2, "{table}");
    let table = group(&broker, "show", &["workers"]).stdout;
    assert!(table.contains("LAG  SECONDS\n") && table.lines().count() == 2, "{table}");
    let member = ["-i", "m", "-t", "$share/workers/jobs/#"];
    assert_eq!(take(&broker, &member, "2"), "1\n2\n");
    await_members_gone(&broker, "workers");
    let broker = broker.crash();
    assert_eq!(take(&broker, &member, "1"), "3\n");
    await_members_gone(&broker, "workers");
    group(&broker, "rm", &["workers"]).expect_success("");
    group(&broker, "ls", &["--json"]).expect_success("");
    group(&broker, "show", &["workers"]).expect_failure(144, "there is no such durable group");
}

#[test]
fn a_group_goes_back_and_elsewhere() {
    let broker = Broker::start(&[]);
    publish(&broker, "jobs", &["1", "2", "3"]);
    let words = ["work", "jobs", "--from", "earliest", "--commit", "manual"];
    group(&broker, "create", &words).expect_success("");
    let member = ["-i", "m", "-c", "-t", "$share/work/jobs"];
    assert_eq!(take(&broker, &member, "3"), "1\n2\n3\n");
    assert_eq!(number(&broker, "work", "/held"), Some(3));
    group(&broker, "reset", &["work"]).expect_success("3 returned\n");
    assert_eq!(take(&broker, &member, "3"), "1\n2\n3\n");
    group(&broker, "commit", &["work", "--offset", "0"]).expect_success("0 committed\n");
    group(&broker, "commit", &["work"]).expect_success("3 committed\n");
    group(&broker, "reset", &["work"]).expect_success("0 returned\n");
    group(&broker, "seek", &["work", "last-1"]).expect_success("");
    assert_eq!(take(&broker, &member, "1"), "3\n");
    group(&broker, "seek", &["work", "committed"]).expect_success("1 returned\n");
    group(&broker, "rm", &["work"]).expect_failure(151, "the group has members");
}

#[test]
fn one_of_several_groups_of_a_name_is_named_by_its_filter() {
    let broker = Broker::start(&[]);
    group(&broker, "create", &["g", "a"]).expect_success("");
    group(&broker, "create", &["g", "b", "--strategy", "key"]).expect_success("");
    group(&broker, "show", &["g"]).expect_failure(153, "there are several");
    let shown = group(&broker, "show", &["g", "--filter", "b", "--json"]);
    assert!(shown.stdout.contains("\"strategy\":\"key\""), "{shown:?}");
    assert!(!shown.stdout.contains("\"ok\""), "{shown:?}");
    group(&broker, "commit", &["g"]).expect_success("0 committed\n");
    group(&broker, "rm", &["g", "--filter", "a"]).expect_success("");
    let left = group(&broker, "ls", &["--json"]).stdout;
    assert!(left.lines().count() == 1 && left.contains("\"filter\":\"b\""), "{left}");
}

#[test]
fn what_can_not_be_meant_is_refused() {
    for (command, words, message) in [
        ("create", &["a/b", "a"][..], "share name"),
        ("create", &["g", "a/#/b"], "topic filter"),
        ("create", &["g", "a", "--from", "tomorrow"], "bad start"),
        ("create", &["g", "a", "--strategy", "fastest"], "bad strategy"),
        ("create", &["g", "a", "--commit", "never"], "bad commit"),
        ("seek", &["g", "tomorrow"], "bad start"),
    ] {
        run(&[&["group", command, "-p", "1"], words].concat()).expect_failure(2, message);
    }
    let broker = Broker::start(&[]);
    group(&broker, "create", &["g", "a"]).expect_success("");
    let again = group(&broker, "create", &["g", "a", "--from", "earliest"]);
    again.expect_failure(153, "the group exists with another start");
    group(&broker, "seek", &["g", "o-999999"]).expect_failure(153, "beyond what is stored");
    group(&broker, "commit", &["none"]).expect_failure(144, "no such durable group");
}

#[test]
fn sub_is_a_member_by_a_flag() {
    let broker = Broker::start(&[]);
    publish(&broker, "jobs", &["1", "2"]);
    let first = ["-i", "m", "--group", "g", "--from", "earliest", "-t", "jobs"];
    assert_eq!(take(&broker, &first, "1"), "1\n");
    await_members_gone(&broker, "g");
    let broker = broker.crash();
    let next = ["-i", "m", "--group", "g", "-t", "jobs"];
    assert_eq!(take(&broker, &next, "1"), "2\n");
    let words = ["-V", "5", "--group", "h", "--from", "latest", "-t", "jobs", "-q", "1", "-E"];
    let declared = [&words[..], &["--strategy", "exclusive", "--commit", "manual"]].concat();
    broker.run("sub", &declared).expect_success("");
    let shown = group(&broker, "show", &["h", "--json"]).stdout;
    assert!(shown.contains("\"commit\":\"manual\"") && shown.contains("exclusive"), "{shown}");
    let old = broker.run("sub", &["--group", "g", "-t", "a", "--strategy", "key", "-V", "311"]);
    old.expect_failure(2, "need -V 5; for other versions `tidelog group create`");
    let nested = broker.run("sub", &["--group", "g", "-t", "$share/h/a"]);
    nested.expect_failure(2, "--group with -t '$share/h/a'");
}

#[test]
fn a_group_of_the_configuration_keeps_a_backlog_before_any_member_comes() {
    let words = ["--set", "group.0.name=workers", "--set", "group.0.filter=jobs/#"];
    let broker = Broker::start(&words);
    publish(&broker, "jobs/a", &["1", "2"]);
    // Without the block it stays, because it was made.
    let broker = broker.crash();
    assert_eq!(take(&broker, &["-t", "$share/workers/jobs/#"], "2"), "1\n2\n");
    let Broker { mut program, directory, .. } = broker;
    terminate(&mut program);
    assert_eq!(program.end().code, Some(0));
    let other = [&words[..], &["--set", "group.0.strategy=key"]].concat();
    let mut broker = Broker::start_in(directory, &other);
    let listed = group(&broker, "ls", &[]).stdout;
    assert!(listed.contains("least-inflight"), "{listed}");
    terminate(&mut broker.program);
    let said = broker.program.end().stderr;
    assert!(said.contains("strategy is least-inflight, not key"), "{said}");
    assert!(!said.contains("from is"), "{said}");
}
