//! The whole: `$exclusive/`, `$events/` and `$dropped/`, with clients of MQTT 3.1.1, against a broker that is killed.

use std::io::BufRead;
use std::io::BufReader;
use std::process::ChildStdout;

use crate::broker::Broker;
use crate::program::Program;

/// Somebody who is subscribed, and the topics of what comes.
struct Listener {
    _program: Program,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Listener {
    /// Is subscribed to `filter` when it is there: a retained message says so.
    fn start(broker: &Broker, filter: &str) -> Self {
        broker.run("pub", &["-q", "1", "-r", "-t", "birth", "-m", "!"]).expect_success("");
        let port = broker.port_of("tcp");
        let words = ["sub", "-V", "311", "-h", "127.0.0.1", "-p", &port, "-W", "60"];
        let words = [&words[..], &["-t", filter, "-t", "birth", "-v"]].concat();
        let mut program = Program::start(&words);
        let stdout = program.child().stdout.take().unwrap();
        let mut listener = Self { _program: program, lines: BufReader::new(stdout).lines() };
        assert_eq!(listener.next(), ("birth".to_owned(), "!".to_owned()));
        listener
    }

    /// The next message: topic and payload.
    fn next(&mut self) -> (String, String) {
        let line = self.lines.next().expect("it ended").unwrap();
        let (topic, payload) = line.split_once(' ').unwrap();
        (topic.to_owned(), payload.to_owned())
    }

    fn next_event(&mut self, topic: &str) -> serde_json::Value {
        let (got, payload) = self.next();
        assert_eq!(got, topic, "{payload}");
        serde_json::from_str(&payload).unwrap()
    }
}

#[test]
fn clients_that_come_and_go_are_told_of() {
    let broker = Broker::start(&[]);
    let mut listener = Listener::start(&broker, "$events/#");
    broker.session("s/1", "t");
    let event = listener.next_event("$events/client/s%2F1/connected");
    assert_eq!((&event["client"], &event["clean_start"]), (&"s/1".into(), &false.into()));
    assert!(event["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    let event = listener.next_event("$events/client/s%2F1/disconnected");
    assert_eq!((&event["by"], &event["code"]), (&"client".into(), &0.into()));
    assert!(event["ts"].as_u64().unwrap() > 1_700_000_000_000, "{event}");
}

#[test]
fn an_exclusive_subscription_has_one_session_although_the_broker_is_killed() {
    let broker = Broker::start(&[]);
    broker.session("s", "$exclusive/jobs/#");
    broker.run("pub", &["-V", "311", "-q", "1", "-t", "jobs/1", "-m", "x"]).expect_success("");
    let broker = broker.crash();
    let rival = ["-i", "rival", "-q", "1", "-t", "$exclusive/jobs/#", "-E"];
    let refused = broker.run("sub", &[&["-V", "5"], &rival[..]].concat());
    assert!(refused.stderr.contains("another session has it: s"), "{refused:?}");
    let before_5 = broker.run("sub", &[&["-V", "311"], &rival[..]].concat());
    assert_eq!((refused.code, before_5.code), (Some(151), Some(128)), "{before_5:?}");
    let words = ["-V", "311", "-i", "s", "-c", "-q", "2", "-t", "$exclusive/jobs/#", "-C", "1"];
    broker.run("sub", &[&words[..], &["-v"]].concat()).expect_success("jobs/1 x\n");
    // Without -c its session begins anew, and gives up what it had.
    broker.run("sub", &["-V", "311", "-i", "s", "-t", "t", "-E"]).expect_success("");
    broker.run("sub", &[&["-V", "311"], &rival[..]].concat()).expect_success("");
}

#[test]
fn what_nobody_gets_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "allow all readwrite birth\nallow all subscribe $dropped/#\n").unwrap();
    let acl = format!("access.acl={}", acl.to_str().unwrap());
    let broker = Broker::start(&["--set", &acl, "--set", "report.undelivered=plant/#"]);
    let mut listener = Listener::start(&broker, "$dropped/#");
    for topic in ["elsewhere", "plant/a"] {
        broker.run("pub", &["-V", "311", "-q", "0", "-t", topic, "-m", "x"]).expect_success("");
    }
    let reported = ("$dropped/not-authorized/plant/a".to_owned(), "x".to_owned());
    assert_eq!(listener.next(), reported);
}
