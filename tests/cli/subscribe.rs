//! `tidelog sub`.

use std::io::Read;
use std::num::NonZeroU16;

use tidelog::mqtt::Ack;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Packet;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Suback;
use tidelog::mqtt::SubscriptionId;

use crate::peer::Peer;
use crate::peer::ack;
use crate::peer::id;
use crate::peer::message;
use crate::program::Program;
use crate::program::terminate;

/// More than a pipe takes before somebody reads it.
const MORE_THAN_A_PIPE: usize = 1 << 20;

/// `tidelog sub` from this peer.
fn subscriber(peer: &Peer, words: &[&str]) -> Program {
    let port = peer.port();
    Program::start(&[&["sub", "-h", "127.0.0.1", "-p", &port, "-V", "5"], words].concat())
}

/// What `tidelog sub` prints of these messages.
fn printed(words: &[&str], messages: &[Packet]) -> String {
    let peer = Peer::new();
    let count = messages.len().to_string();
    let program = subscriber(&peer, &[&["-t", "#", "-q", "1", "-C", &count], words].concat());
    let (mut connection, _) = peer.subscriber();
    for message in messages {
        connection.send(message);
    }
    while connection.next().is_some() {}
    drop(connection);
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

/// A message with a bit of everything.
fn rich() -> Packet {
    let Packet::Publish(mut publish) = message("a/b", "{\"x\": [1, \"y z\"]}", QoS::AtLeastOnce, 7)
    else {
        unreachable!("message makes a PUBLISH")
    };
    publish.retain = true;
    publish.subscription_ids.push(SubscriptionId::new(3).unwrap());
    publish.properties.content_type = Some("text/plain".try_into().unwrap());
    publish.properties.correlation_data = Some("cd".into());
    publish.properties.response_topic = Some("r/t".try_into().unwrap());
    publish.properties.message_expiry_interval = Some(60);
    publish.properties.payload_format_indicator = Some(true);
    let pair = ("k".try_into().unwrap(), "v".try_into().unwrap());
    publish.properties.user_properties = vec![pair.clone(), pair];
    Packet::Publish(publish)
}

#[test]
fn messages_are_printed_as_mosquitto_sub_prints_them() {
    let messages = [
        message("a/b", "one", QoS::AtMostOnce, 0),
        message("c", "", QoS::AtMostOnce, 0),
        message("d", "two", QoS::AtLeastOnce, 1),
    ];
    assert_eq!(printed(&[], &messages), "one\ntwo\n");
    assert_eq!(printed(&["-v"], &messages), "a/b one\nc (null)\nd two\n");
    assert_eq!(printed(&["-N"], &messages), "onetwo");
    assert_eq!(printed(&["-F", "%t=%p"], &messages), "a/b=one\nc=\nd=two\n");
}

#[test]
fn formats_have_every_part_of_a_message() {
    for (format, expected) in [
        ("%t|%p|%l", "a/b|{\"x\": [1, \"y z\"]}|17"),
        ("%q|%r|%m|%S", "1|1|7|3"),
        ("%C|%D|%R|%E|%F|%A", "text/plain|cd|r/t|60|1|"),
        ("%P", "k:v k:v"),
        ("%x", "7b2278223a205b312c202279207a225d7d"),
        ("%X", "7B2278223A205B312C202279207A225D7D"),
        ("%6t|%-6t|%06l|%.2t|%4.1t", "   a/b|a/b   |000017|a/|   a"),
        (r"%%@@\\\t\0\a\e\v\r", "%@\\\t\0\x07\x1b\x0b\r"),
    ] {
        assert_eq!(printed(&["-F", format, "-N"], &[rich()]), expected, "{format}");
    }
}

#[test]
fn json_has_every_part_of_a_message() {
    let head = "\"topic\":\"a/b\",\"qos\":1,\"retain\":1,\"payloadlen\":17,\"mid\":7,\"properties\":{\
        \"user-properties\":{\"k\":\"v\",\"k\":\"v\"},\"content-type\":\"text/plain\",\"correlation-data\":\"cd\",\
        \"response-topic\":\"r/t\",\"payload-format-indicator\":1,\"message-expiry-interval\":60,\
        \"subscription-identifier\":3},\"payload\":";
    for (format, payload) in [("%j", r#""{\"x\": [1, \"y z\"]}""#), ("%J", r#"{"x":[1,"y z"]}"#)] {
        let line = printed(&["-F", format], &[rich()]);
        let (time, rest) = line.split_once(',').unwrap();
        assert!(time.starts_with("{\"tst\":\"2") && time.ends_with("+0000\""), "{time}");
        assert_eq!(rest, format!("{head}{payload}}}\n"));
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn what_is_no_json_is_said() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-C", "1", "-F", "%J"]);
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "{", QoS::AtMostOnce, 0));
    connection.expect_goodbye();
    drop(connection);
    let ended = program.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "\n"));
    assert_eq!(ended.stderr, "tidelog: message payload is not valid JSON on topic a\n");
}

#[test]
fn a_message_is_acknowledged_when_it_has_been_printed_and_not_before() {
    let peer = Peer::new();
    let mut program = subscriber(&peer, &["-t", "#", "-q", "1", "-k", "1", "-C", "1"]);
    let (mut connection, _) = peer.subscriber();
    let payload = "x".repeat(MORE_THAN_A_PIPE);
    connection.send(&message("a", &payload, QoS::AtLeastOnce, 9));
    // While nobody reads what it prints there are signs of life, but no acknowledgement.
    assert_eq!(connection.expect(), Packet::Pingreq);
    connection.send(&Packet::Pingresp);
    let mut printed = String::new();
    let mut stdout = program.child().stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        stdout.read_to_string(&mut printed).unwrap();
        printed
    });
    let mut packet = connection.expect();
    while packet == Packet::Pingreq {
        packet = connection.expect();
    }
    assert_eq!(packet, Packet::Puback(ack(9)));
    connection.expect_goodbye();
    drop(connection);
    assert_eq!(reader.join().unwrap().len(), MORE_THAN_A_PIPE + 1);
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn a_count_ends_it_and_the_rest_stays_with_the_broker() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-q", "2", "-i", "s", "-c", "-C", "2", "-v"]);
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "one", QoS::AtLeastOnce, 1));
    connection.send(&message("b", "two", QoS::ExactlyOnce, 2));
    connection.send(&message("c", "three", QoS::AtLeastOnce, 3));
    assert_eq!(connection.expect(), Packet::Puback(ack(1)));
    assert_eq!(connection.expect(), Packet::Pubrec(ack(2)));
    connection.send(&Packet::Pubrel(ack(2)));
    assert_eq!(connection.expect(), Packet::Pubcomp(ack(2)));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("a one\nb two\n");
}

#[test]
fn a_message_at_qos_2_that_is_sent_again_is_printed_once() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-q", "2", "-i", "s", "-c", "-C", "2"]);
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "one", QoS::ExactlyOnce, 5));
    assert_eq!(connection.expect(), Packet::Pubrec(ack(5)));
    drop(connection);

    let present = Connack { session_present: true, ..Connack::default() };
    let (mut connection, _) = peer.welcome(&present);
    let Packet::Publish(again) = message("a", "one", QoS::ExactlyOnce, 5) else {
        unreachable!("message makes a PUBLISH")
    };
    connection.send(&Packet::Publish(Box::new(Publish { dup: true, ..*again })));
    assert_eq!(connection.expect(), Packet::Pubrec(ack(5)));
    connection.send(&Packet::Pubrel(ack(5)));
    assert_eq!(connection.expect(), Packet::Pubcomp(ack(5)));
    connection.send(&Packet::Pubrel(ack(6)));
    let unknown = Ack::with_reason(id(6), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(connection.expect(), Packet::Pubcomp(unknown));
    connection.send(&message("a", "two", QoS::AtMostOnce, 0));
    connection.expect_goodbye();
    drop(connection);
    let ended = program.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "one\ntwo\n"));
    assert_eq!(ended.stderr, "tidelog: the broker closed the connection; connecting again\n");
}

#[test]
fn it_subscribes_again_if_the_session_is_lost() {
    let peer = Peer::new();
    let words = [
        "-t",
        "a",
        "-t",
        "$share/g/b",
        "-U",
        "c",
        "-C",
        "1",
        "-D",
        "SUBSCRIBE",
        "subscription-identifier",
        "4",
    ];
    let program = subscriber(&peer, &words);
    for attempt in 0..2 {
        let (mut connection, subscribe) = peer.subscriber();
        let filters: Vec<_> =
            subscribe.filters.iter().map(|each| each.filter.to_string()).collect();
        assert_eq!(filters, ["a", "$share/g/b"]);
        assert_eq!(subscribe.subscription_id, SubscriptionId::new(4));
        let Packet::Unsubscribe(unsubscribe) = connection.expect() else {
            panic!("not an UNSUBSCRIBE")
        };
        assert_eq!(unsubscribe.filters.len(), 1);
        if attempt == 1 {
            connection.send(&message("a", "x", QoS::AtMostOnce, 0));
            connection.expect_goodbye();
        }
    }
    assert_eq!(program.end().stdout, "x\n");
}

#[test]
fn a_refused_subscription_is_a_line_and_if_it_was_the_only_one_the_exit_code() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "secret"]);
    let (mut connection, _) = peer.welcome(&Connack::default());
    let packet_id = connection.expect_subscribe().packet_id;
    connection.send(&Packet::Suback(Suback::new(packet_id, vec![ReasonCode::NotAuthorized])));
    drop(connection);
    program
        .end()
        .expect_failure(135, "subscription to 'secret' was refused: Not authorized (0x87)");
}

#[test]
fn flags_choose_what_is_printed() {
    let retained = |topic: &str, payload: &str| {
        let Packet::Publish(mut publish) = message(topic, payload, QoS::AtMostOnce, 0) else {
            unreachable!("message makes a PUBLISH")
        };
        publish.retain = true;
        Packet::Publish(publish)
    };
    for (words, expected) in
        [(&["-R"][..], "b\nd\n"), (&["-T", "x/#"], "a\nb\n"), (&["--retained-only"], "a\n")]
    {
        let peer = Peer::new();
        let program = subscriber(&peer, &[&["-t", "#", "-C", "2"], words].concat());
        let (mut connection, _) = peer.subscriber();
        connection.send(&retained("y", "a"));
        connection.send(&message("y", "b", QoS::AtMostOnce, 0));
        connection.send(&retained("x/c", "c"));
        connection.send(&message("x/d", "d", QoS::AtMostOnce, 0));
        connection.expect_goodbye();
        drop(connection);
        program.end().expect_success(expected);
    }
}

#[test]
fn retained_messages_are_cleared_and_the_clearing_is_waited_for() {
    let peer = Peer::new();
    let words = ["-t", "#", "--remove-retained", "--retained-only", "-T", "keep"];
    let program = subscriber(&peer, &words);
    let (mut connection, _) = peer.subscriber();
    for topic in ["keep", "drop"] {
        let Packet::Publish(mut publish) = message(topic, "x", QoS::AtMostOnce, 0) else {
            unreachable!("message makes a PUBLISH")
        };
        publish.retain = true;
        connection.send(&Packet::Publish(publish));
    }
    connection.send(&message("live", "x", QoS::AtMostOnce, 0));
    let publish = connection.expect_publish();
    assert_eq!(publish.topic.as_deref(), Some("drop"));
    assert!(publish.retain && publish.payload.is_empty());
    connection.send(&Packet::Puback(Ack::new(publish.packet_id.unwrap())));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("x\n");
}

#[test]
fn time_that_is_up_is_exit_code_27() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-W", "0.5"]);
    let (mut connection, _) = peer.subscriber();
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_failure(27, "tidelog: timed out\n");
    // A broker that says nothing at all is no different.
    subscriber(&peer, &["-t", "#", "-W", "0.05"]).end().expect_failure(27, "tidelog: timed out\n");
}

#[test]
fn it_can_end_as_soon_as_it_has_subscribed() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-E", "-i", "s", "-c"]);
    let (mut connection, _) = peer.subscriber();
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let peer = Peer::new();
    let mut program = subscriber(&peer, &["-t", "#", "-q", "1"]);
    drop(program.child().stdout.take());
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "x", QoS::AtLeastOnce, 1));
    // What nobody has read is not acknowledged.
    connection.expect_goodbye();
    drop(connection);
    let ended = program.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let peer = Peer::new();
    let words = ["-t", "#", "-C", "2", "-v", "-D", "CONNECT", "topic-alias-maximum", "2"];
    let program = subscriber(&peer, &words);
    let (mut connection, _) = peer.subscriber();
    for topic in [Some("a/b".try_into().unwrap()), None] {
        let Packet::Publish(mut publish) = message("a/b", "x", QoS::AtMostOnce, 0) else {
            unreachable!("message makes a PUBLISH")
        };
        publish.topic = topic;
        publish.topic_alias = NonZeroU16::new(2);
        connection.send(&Packet::Publish(publish));
    }
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("a/b x\na/b x\n");
}

#[test]
fn a_broker_that_falls_silent_is_left_and_found_again() {
    let peer = Peer::new();
    let program = subscriber(&peer, &["-t", "#", "-k", "1", "-C", "1"]);
    let (mut silent, _) = peer.subscriber();
    assert_eq!(silent.expect(), Packet::Pingreq);
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "x", QoS::AtMostOnce, 0));
    connection.expect_goodbye();
    drop(connection);
    let ended = program.end();
    assert_eq!(ended.stdout, "x\n");
    assert_eq!(ended.stderr, "tidelog: the broker does not answer any more; connecting again\n");
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let peer = Peer::new();
    let mut program = subscriber(&peer, &["-t", "#", "-q", "1"]);
    let (mut connection, _) = peer.subscriber();
    connection.send(&message("a", "x", QoS::AtLeastOnce, 1));
    assert_eq!(connection.expect(), Packet::Puback(ack(1)));
    terminate(&mut program);
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("x\n");
}
