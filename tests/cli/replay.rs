//! Replays, with the real process and `tidelog pub` and `sub`.

use crate::broker::Broker;
use crate::program::Program;
use crate::program::run;

fn publish_lines(broker: &Broker, topic: &str, lines: &str) {
    let port = broker.port_of("tcp");
    let mut publisher =
        Program::start(&["pub", "-h", "127.0.0.1", "-p", &port, "-q", "2", "-t", topic, "-l"]);
    publisher.feed(lines);
    publisher.end().expect_success("");
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.fold(String::new(), |lines, number| format!("{lines}line {number}\n"))
}

#[test]
fn what_is_stored_comes_again_after_the_broker_was_killed() {
    let broker = Broker::start(&[]);
    publish_lines(&broker, "p/a", &lines(0..500));
    publish_lines(&broker, "q", "other\n");
    let all = ["-q", "1", "-t", "$replay/earliest/p/#", "-C", "500"];
    broker.run("sub", &all).expect_success(&lines(0..500));
    let broker = broker.crash();
    for version in ["311", "5"] {
        let words = ["-V", version, "-q", "2", "--from", "earliest", "-t", "p/#", "-C", "500"];
        broker.run("sub", &words).expect_success(&lines(0..500));
    }
    let last = ["-q", "1", "--from", "last-3", "-t", "p/+", "-C", "3"];
    broker.run("sub", &last).expect_success(&lines(497..500));
    let offset = ["-q", "1", "--from", "last-1", "-t", "$meta/q", "-C", "1"];
    let wrapped = broker.run("sub", &offset);
    assert!(wrapped.stdout.contains("\"payload\":\"other\",\"qos\":2"), "{}", wrapped.stdout);
}

#[test]
fn a_kept_session_goes_on_with_its_replay_and_then_live() {
    let broker = Broker::start(&[]);
    publish_lines(&broker, "p", &lines(0..300));
    let session = ["-i", "s", "-c", "-q", "2", "-t", "$replay/earliest/p"];
    let first = broker.run("sub", &[&session[..], &["-C", "100"]].concat());
    first.expect_success(&lines(0..100));
    let broker = broker.crash();
    let second = broker.run("sub", &[&session[..], &["-C", "100"]].concat());
    second.expect_success(&lines(100..200));
    publish_lines(&broker, "p", &lines(300..400));
    let third = broker.run("sub", &[&session[..], &["-C", "200"]].concat());
    third.expect_success(&lines(200..400));
}

#[test]
fn a_bad_start_is_named() {
    let words = ["sub", "-h", "127.0.0.1", "-p", "1", "-t", "a", "--from", "yesterday"];
    run(&words).expect_failure(2, "earliest | latest | committed | last-N");
    let shared = ["sub", "-p", "1", "-t", "$share/g/a", "--from", "earliest"];
    run(&shared).expect_failure(2, "--from with -t '$share/g/a'");
    let broker = Broker::start(&[]);
    let refused = broker.run("sub", &["-V", "5", "-t", "$replay/o-99999/a"]);
    assert_eq!(refused.code, Some(0x8f));
    assert!(refused.stderr.contains("the start is beyond what is stored"), "{}", refused.stderr);
}
