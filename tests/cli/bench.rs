//! `tidelog bench`: what it counts, and what it says of brokers that break their promises.

use serde_json::Value;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::Packet;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;

use crate::broker::Broker;
use crate::peer::Connection;
use crate::peer::Peer;
use crate::peer::id;
use crate::peer::message;
use crate::program::Ended;
use crate::program::Program;
use crate::program::run;
use crate::program::signal;

/// Runs `bench` against a broker of ours, as JSON.
#[track_caller]
fn bench(broker: &Broker, scenario: &str, words: &[&str]) -> Value {
    let port = broker.port_of("tcp");
    report(&run(&[&["bench", scenario, "-p", &port, "--json"], words].concat()))
}

/// What it printed, if it ended well.
#[track_caller]
fn report(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    parse(ended)
}

#[track_caller]
fn parse(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Fails the test unless these are the counts.
#[track_caller]
fn check(report: &Value, counts: &[(&str, u64)]) {
    for (key, count) in counts {
        assert_eq!(report[key].as_u64(), Some(*count), "{key} in {report}");
    }
}

/// Starts `bench pair` against a peer, which gets its subscriber and its publisher.
fn pair(words: &[&str]) -> (Program, Connection, Connection) {
    let peer = Peer::new();
    let port = peer.port();
    let words = [&["bench", "pair", "-p", &port, "--timeout", "1s", "--json"], words].concat();
    let program = Program::start(&words);
    let (subscriber, subscribe) = peer.subscriber();
    let filters: Vec<_> = subscribe.filters.iter().map(|each| each.filter.text()).collect();
    assert_eq!(filters, ["bench/0"]);
    let (publisher, connect) = peer.welcome(&Connack::default());
    assert!(connect.client_id.ends_with("-p0"), "{}", connect.client_id);
    (program, subscriber, publisher)
}

/// Takes so many messages, and acknowledges them at `QoS` 1.
fn take(publisher: &mut Connection, count: usize) -> Vec<Publish> {
    let messages: Vec<_> = (0..count).map(|_| publisher.expect_publish()).collect();
    for publish in messages.iter().filter(|publish| publish.qos == QoS::AtLeastOnce) {
        publisher.send(&Packet::Puback(Ack::new(publish.packet_id.unwrap())));
    }
    messages
}

/// Takes one at `QoS` 2.
fn take_exactly_once(publisher: &mut Connection) -> Publish {
    let publish = publisher.expect_publish();
    let ack = Ack::new(publish.packet_id.unwrap());
    publisher.send(&Packet::Pubrec(ack.clone()));
    assert_eq!(publisher.expect(), Packet::Pubrel(ack.clone()));
    publisher.send(&Packet::Pubcomp(ack));
    publish
}

fn give(subscriber: &mut Connection, publish: &Publish, packet_id: u16) {
    let packet_id = publish.packet_id.map(|_| id(packet_id));
    subscriber.send(&Packet::Publish(Box::new(Publish { packet_id, ..publish.clone() })));
}

#[test]
fn pairs_get_everything_in_every_version_at_every_qos() {
    let broker = Broker::start(&[]);
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let words = ["-V", version, "-q", qos, "-c", "3", "--messages", "61", "-s", "24"];
            let report = bench(&broker, "pair", &words);
            check(&report, &[("published", 61), ("delivered", 61), ("lost", 0)]);
            check(&report, &[("duplicates", 0), ("out_of_order", 0), ("unknown", 0)]);
            check(&report, &[("publishers", 3), ("subscribers", 3), ("size", 24)]);
            assert!(report["delivery_us"]["p99_9"].as_f64().is_some_and(|micros| micros > 0.0));
            assert!(report["delivered_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
            if qos != "0" {
                check(&report, &[("acknowledged", 61), ("refused", 0)]);
                assert!(report["ack_us"]["max"].as_f64().is_some_and(|micros| micros > 0.0));
            }
        }
    }
}

#[test]
fn every_scenario_counts_what_it_is_for() {
    let broker = Broker::start(&[]);
    let report = bench(&broker, "pub", &["-q", "1", "-c", "2", "--messages", "51"]);
    check(&report, &[("published", 51), ("acknowledged", 51), ("subscribers", 0)]);
    assert!(report["delivered"].is_null());

    let words = ["-q", "1", "-c", "2", "--subscribers", "3", "--messages", "21"];
    let report = bench(&broker, "fan-out", &words);
    check(&report, &[("published", 21), ("delivered", 63), ("lost", 0), ("out_of_order", 0)]);

    let report = bench(&broker, "shared", &[&words[..], &["-V", "5"]].concat());
    check(&report, &[("published", 21), ("delivered", 21), ("lost", 0), ("duplicates", 0)]);

    let report = bench(&broker, "latency", &["--messages", "20"]);
    check(&report, &[("delivered", 20), ("qos", 1)]);
    assert!(report["ack_us"]["p50"].is_number() && report["delivery_us"]["p50"].is_number());

    let report = bench(&broker, "connect", &["-c", "30", "--rate", "1000", "--time", "0.1s"]);
    check(&report, &[("connected", 30)]);
    assert!(report["connect_us"]["p99"].is_number());
}

#[test]
fn sessions_that_were_away_drain_what_was_published() {
    let broker = Broker::start(&[]);
    for version in ["311", "5"] {
        let words = ["-V", version, "-q", "2", "--subscribers", "2", "--messages", "300"];
        let report = bench(&broker, "backlog", &[&words[..], &["-i", "away"]].concat());
        check(&report, &[("published", 300), ("delivered", 600), ("lost", 0), ("duplicates", 0)]);
        // Their sessions are gone: nothing is kept for them any more.
        broker.run("pub", &["-q", "1", "-t", "bench/0", "-m", "late"]).expect_success("");
        let words = ["-i", "away-s0", "-c", "-q", "2", "-t", "other", "-E", "-d"];
        let ended = broker.run("sub", &words);
        assert!(ended.stderr.contains("session present 0"), "{ended:?}");
        broker.run("sub", &["-i", "away-s0", "-t", "other", "-E"]).expect_success("");
    }
}

#[test]
fn others_are_listened_to() {
    let broker = Broker::start(&[]);
    let port = broker.port_of("tcp");
    let words = ["bench", "pub", "-p", &port, "-q", "1", "-c", "2", "--rate", "2000"];
    let _publishing = Program::start(&[&words[..], &["--time", "60s"]].concat());
    let report = bench(&broker, "sub", &["-q", "1", "--subscribers", "2", "--messages", "100"]);
    assert!(report["delivered"].as_u64().is_some_and(|count| count >= 100), "{report}");
    check(&report, &[("lost", 0), ("duplicates", 0), ("out_of_order", 0), ("unknown", 0)]);
    assert!(report["delivery_us"]["p50"].is_number(), "{report}");
}

#[test]
fn tls_and_websocket_carry_the_load() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = directory.path().join("certs");
    let words = ["certs", "--dir", certificates.to_str().unwrap()];
    assert_eq!(run(&words).code, Some(0));
    let tls = format!(
        "address = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\n",
        certificates.join("server.pem"),
        certificates.join("server-key.pem")
    );
    let listener = |kind: &str, rest: &str| {
        format!("[[listener]]\nname = \"{kind}\"\nkind = \"{kind}\"\n{rest}\n")
    };
    let plain = listener("websocket", "address = \"127.0.0.1:0\"");
    let text = [plain, listener("tls", &tls), listener("wss", &tls)].concat();
    let configuration = directory.path().join("tidelog.toml");
    std::fs::write(&configuration, text).unwrap();
    let words = ["--config", configuration.to_str().unwrap()];
    let broker = Broker::start_configured(directory, &words);
    let authority = certificates.join("ca.pem");
    let authority = authority.to_str().unwrap();
    for (kind, words) in [
        ("websocket", &["--ws"][..]),
        ("tls", &["--cafile", authority]),
        ("wss", &["--ws", "--cafile", authority]),
    ] {
        let port = broker.port_of(kind);
        let all = ["bench", "pair", "-p", &port, "-q", "1", "--messages", "200", "--json"];
        let report = report(&run(&[&all, words, &["-s", "2000"]].concat()));
        check(&report, &[("delivered", 200), ("acknowledged", 200), ("lost", 0)]);
    }
}

#[test]
fn a_rate_is_kept() {
    let broker = Broker::start(&[]);
    let words = ["-q", "1", "-c", "3", "--rate", "100", "--time", "1s", "--warm-up", "0s"];
    let report = bench(&broker, "pair", &words);
    // Never more than were due; that it is hardly less is what the broker can do.
    let published = report["published"].as_u64().unwrap();
    assert!((80..=100).contains(&published), "{report}");
    check(&report, &[("delivered", published), ("rate", 100)]);
    let report = bench(&broker, "pub", &["-q", "1", "--rate", "100", "--messages", "31"]);
    check(&report, &[("published", 31)]);
    // The last is due after 300 ms.
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.299), "{report}");
}

#[test]
fn a_message_says_when_it_was_due_and_not_when_it_was_sent() {
    let peer = Peer::new();
    let port = peer.port();
    let words = ["bench", "pub", "-p", &port, "-q", "1", "--window", "1", "--json"];
    let program = Program::start(&[&words[..], &["--rate", "1000", "--messages", "5"]].concat());
    let (mut publisher, _) = peer.welcome(&Connack::default());
    // Each waits for the acknowledgement of the one before it, whenever that comes.
    let due = |publish: &Publish| {
        u64::from_be_bytes(publish.payload.get(16..24).unwrap().try_into().unwrap())
    };
    let messages: Vec<_> = (0..5).map(|_| take(&mut publisher, 1).remove(0)).collect();
    for pair in messages.windows(2) {
        assert_eq!(due(&pair[1]) - due(&pair[0]), 1_000_000, "nanoseconds at 1,000 a second");
    }
    let report = report(&program.end());
    check(&report, &[("acknowledged", 5)]);
}

#[test]
fn messages_of_others_count_whatever_they_say() {
    let peer = Peer::new();
    let port = peer.port();
    let program = Program::start(&["bench", "sub", "-p", &port, "--messages", "1", "--json"]);
    let (mut subscriber, subscribe) = peer.subscriber();
    let filters: Vec<_> = subscribe.filters.iter().map(|each| each.filter.text()).collect();
    assert_eq!(filters, ["bench/#"]);
    subscriber.send(&message("bench/x", "hello", QoS::AtMostOnce, 0));
    check(&report(&program.end()), &[("delivered", 1), ("unknown", 1), ("lost", 0)]);
}

#[test]
fn idle_connections_ping_and_want_an_answer() {
    let peer = Peer::new();
    let port = peer.port();
    let words = ["bench", "connect", "-p", &port, "-c", "1", "-k", "1", "--time", "60s"];
    let program = Program::start(&words);
    let (mut connection, connect) = peer.welcome(&Connack::default());
    assert_eq!(connect.keep_alive, 1);
    assert_eq!(connection.expect(), Packet::Pingreq);
    connection.send(&Packet::Pingresp);
    assert_eq!(connection.expect(), Packet::Pingreq);
    program.end().expect_failure(1, "the broker does not answer any more");
}

#[test]
fn the_broker_s_cost_is_measured() {
    let mut broker = Broker::start(&[]);
    let process = broker.program.child().id().to_string();
    let words = ["--broker-pid", &process, "--messages", "5000"];
    let report = bench(&broker, "pair", &words);
    if cfg!(target_os = "linux") {
        for key in ["own_cpu_us_per_message", "broker_cpu_us_per_message"] {
            assert!(report[key].is_number(), "{key} in {report}");
        }
        assert!(report["broker_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1_000_000));
    }
    let ended = run(&["bench", "pair", "--broker-pid", "4294967295"]);
    ended.expect_failure(2, "--broker-pid");
}

#[test]
fn people_get_a_table() {
    let broker = Broker::start(&[]);
    let ended = run(&["bench", "pair", "-p", &broker.port_of("tcp"), "--messages", "1234"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let title = "pair: MQTT 3.1.1, 1 publisher, 1 subscriber, QoS 0, 128 bytes\n";
    assert!(ended.stdout.starts_with(title), "{}", ended.stdout);
    assert!(ended.stdout.contains("\ndelivered                 1,234 "), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nlost                          0\n"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "", "no live line where there is no terminal");
}

#[test]
fn loss_at_qos_0_is_reported() {
    let (program, mut subscriber, mut publisher) = pair(&["--messages", "3"]);
    let messages = take(&mut publisher, 3);
    give(&mut subscriber, &messages[0], 0);
    give(&mut subscriber, &messages[2], 0);
    let report = report(&program.end());
    check(&report, &[("published", 3), ("delivered", 2), ("lost", 1), ("duplicates", 0)]);
}

#[test]
fn a_subscriber_that_gets_nothing_any_more_does_not_stop_its_publisher_at_qos_0() {
    let (program, subscriber, mut publisher) = pair(&["--messages", "7", "--window", "5"]);
    take(&mut publisher, 7);
    let report = report(&program.end());
    check(&report, &[("published", 7), ("delivered", 0), ("lost", 7)]);
    drop(subscriber);
}

#[test]
fn loss_at_qos_1_is_exit_code_1() {
    let (program, mut subscriber, mut publisher) = pair(&["-q", "1", "--messages", "3"]);
    let messages = take(&mut publisher, 3);
    give(&mut subscriber, &messages[2], 1);
    let ended = program.end();
    ended.expect_failure(1, "2 messages at QoS 1 or 2 did not come");
    check(&parse(&ended), &[("lost", 2), ("delivered", 1), ("acknowledged", 3)]);
    assert_eq!(parse(&ended)["error"], "2 messages at QoS 1 or 2 did not come");
}

#[test]
fn repetition_and_order_are_judged_by_content() {
    let (program, mut subscriber, mut publisher) = pair(&["-q", "1", "--messages", "3"]);
    let messages = take(&mut publisher, 3);
    for (place, number) in [(1, 1), (1, 2), (0, 3), (2, 4)] {
        give(&mut subscriber, &messages[place], number);
    }
    let report = report(&program.end());
    check(&report, &[("delivered", 4), ("duplicates", 1), ("out_of_order", 1), ("lost", 0)]);
}

#[test]
fn what_nobody_has_published_is_not_taken_for_a_message() {
    let (program, mut subscriber, mut publisher) = pair(&["--messages", "1"]);
    let messages = take(&mut publisher, 1);
    let mut damaged = messages[0].payload.to_vec();
    *damaged.last_mut().unwrap() = b'x';
    give(&mut subscriber, &Publish { payload: damaged.into(), ..messages[0].clone() }, 0);
    give(&mut subscriber, &messages[0], 0);
    check(&report(&program.end()), &[("delivered", 1), ("unknown", 1), ("lost", 0)]);
}

#[test]
fn a_duplicate_at_qos_2_is_exit_code_1() {
    let (program, mut subscriber, mut publisher) = pair(&["-q", "2", "--messages", "2"]);
    let first = publisher.expect_publish();
    let second = publisher.expect_publish();
    give(&mut subscriber, &first, 1);
    give(&mut subscriber, &first, 2);
    give(&mut subscriber, &second, 3);
    for publish in [&first, &second] {
        let ack = Ack::new(publish.packet_id.unwrap());
        publisher.send(&Packet::Pubrec(ack.clone()));
        assert_eq!(publisher.expect(), Packet::Pubrel(ack.clone()));
        publisher.send(&Packet::Pubcomp(ack));
    }
    let ended = program.end();
    ended.expect_failure(1, "1 message at QoS 2 came twice");
    check(&parse(&ended), &[("duplicates", 1), ("lost", 0), ("delivered", 3)]);
}

#[test]
fn refused_messages_are_exit_code_1_and_not_lost() {
    let (program, mut subscriber, mut publisher) = pair(&["-V", "5", "-q", "1", "--messages", "2"]);
    let first = publisher.expect_publish();
    let second = publisher.expect_publish();
    let refusal = Ack::with_reason(first.packet_id.unwrap(), ReasonCode::QuotaExceeded);
    publisher.send(&Packet::Puback(refusal));
    publisher.send(&Packet::Puback(Ack::new(second.packet_id.unwrap())));
    give(&mut subscriber, &second, 1);
    let ended = program.end();
    ended.expect_failure(1, "1 message was refused: ");
    check(&parse(&ended), &[("refused", 1), ("lost", 0), ("delivered", 1)]);
}

#[test]
fn a_broker_that_closes_ends_it() {
    let (program, subscriber, mut publisher) = pair(&["-q", "1", "--messages", "100"]);
    take(&mut publisher, 1);
    drop(publisher);
    let ended = program.end();
    ended.expect_failure(1, "connection");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(parse(&ended)["error"].is_string());
    drop(subscriber);

    let (program, _subscriber, mut publisher) = pair(&["-V", "5", "--messages", "100"]);
    let farewell = Disconnect::new(ReasonCode::ServerShuttingDown);
    publisher.send(&Packet::Disconnect(Box::new(farewell)));
    program.end().expect_failure(1, "disconnected by the broker: ");
}

#[test]
fn a_broker_that_does_not_answer_ends_it() {
    for qos in ["1", "2"] {
        let (program, _subscriber, _publisher) = pair(&["-q", qos, "--messages", "5"]);
        program.end().expect_failure(1, "the broker has not answered for 1s");
    }
    let peer = Peer::new();
    let words = ["bench", "pub", "-p", &peer.port(), "--timeout", "0.2s"];
    let program = Program::start(&words);
    let _silent = peer.accept();
    program.end().expect_failure(1, "the broker did not answer in time");
    let program = Program::start(&[&words[..1], &["sub"], &words[2..]].concat());
    let (_silent, _) = peer.welcome(&Connack::default());
    program.end().expect_failure(1, "the broker has not answered for 200ms");
}

#[test]
fn a_broker_that_acknowledges_what_was_not_sent_ends_it() {
    let (program, _subscriber, mut publisher) = pair(&["-q", "2", "--messages", "1"]);
    take_exactly_once(&mut publisher);
    publisher.send(&Packet::Pubcomp(Ack::new(id(20))));
    program.end().expect_failure(1, "the broker acknowledged packet id 20, which is not in flight");
}

#[test]
fn a_broker_that_refuses_ends_it() {
    for (scenario, words) in [("pub", &["-V", "5"][..]), ("pair", &[]), ("connect", &[])] {
        let peer = Peer::new();
        let port = peer.port();
        let words = [&["bench", scenario, "-p", &port, "-c", "1"], words].concat();
        let program = Program::start(&words);
        drop(peer.welcome(&Connack::new(ReasonCode::NotAuthorized)));
        let ended = program.end();
        ended.expect_failure(1, "connection refused: ");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    let nobody = Peer::new().port();
    let ended = run(&["bench", "pair", "-p", &nobody, "--json"]);
    ended.expect_failure(1, "can't connect: ");
    assert!(parse(&ended)["error"].is_string(), "{ended:?}");
}

#[test]
fn a_broker_that_can_not_do_it_is_not_measured() {
    let peer = Peer::new();
    let program = Program::start(&["bench", "pub", "-V", "5", "-q", "2", "-p", &peer.port()]);
    let limited = Connack { maximum_qos: Some(QoS::AtLeastOnce), ..Connack::default() };
    drop(peer.welcome(&limited));
    program.end().expect_failure(1, "the broker takes QoS 1 at most");
}

#[test]
fn an_interrupt_prints_the_summary_so_far() {
    let broker = Broker::start(&[]);
    let port = broker.port_of("tcp");
    let words = ["bench", "pub", "-p", &port, "-q", "1", "--time", "600s", "--json"];
    let mut program = Program::start(&words);
    let listen = ["-t", "bench/#", "-C", "10", "-F", "%q"];
    broker.run("sub", &listen).expect_success(&"0\n".repeat(10));
    signal(&mut program, rustix::process::Signal::INT);
    let report = report(&program.end());
    assert_eq!(report["interrupted"], true, "{report}");
    assert!(report["published"].as_u64().is_some_and(|count| count >= 10), "{report}");
}

#[test]
fn flags_that_make_no_sense_are_usage_errors() {
    for (words, message) in [
        (&["pair", "-s", "23"][..], "--size 23: a payload has 24 bytes at least"),
        (&["latency", "--window", "5"], "no --window"),
        (&["backlog", "-q", "0"], "nothing is kept at QoS 0"),
        (&["pair", "--messages", "5", "--warm-up", "1s"], "no --warm-up"),
        (&["pair", "--messages", "5", "--time", "1s"], "cannot be used with"),
        (&["pair", "--timeout", "0s"], "--timeout 0s"),
        (&["pair", "--topic", "a/#"], "--topic: "),
        (&["pub", "-c", "0"], "a whole number from 1"),
        (&["pub", "--rate", "0"], "a whole number from 1"),
        (&["fan-out", "-c", "9999", "--subscribers", "9999"], "are too many"),
        (&["frob"], "unrecognized subcommand"),
        (&[], "Usage: tidelog bench <COMMAND>"),
    ] {
        run(&[&["bench"], words].concat()).expect_failure(2, message);
    }
    let help = run(&["bench", "pair", "--help"]);
    assert_eq!(help.code, Some(0), "{help:?}");
    assert!(help.stdout.contains("-c, --clients <COUNT>"), "{}", help.stdout);
    assert!(help.stdout.contains("-h, --host <HOST>"), "{}", help.stdout);
}
