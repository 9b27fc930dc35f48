//! `tidelog pub`.

use std::num::NonZeroU32;

use tidelog::access::scram;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Text;

use crate::peer::Peer;
use crate::peer::ack;
use crate::peer::id;
use crate::peer::one_at_a_time;
use crate::program::Program;
use crate::program::command;

/// `tidelog pub` to this peer.
fn publisher(peer: &Peer, words: &[&str]) -> Program {
    let port = peer.port();
    Program::start(&[&["pub", "-h", "127.0.0.1", "-p", &port], words].concat())
}

#[test]
fn every_version_and_qos_goes_through_its_flow() {
    for (word, version) in [
        ("31", ProtocolVersion::V3_1),
        ("mqttv311", ProtocolVersion::V3_1_1),
        ("5", ProtocolVersion::V5),
    ] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let peer = Peer::new();
            let words = ["-V", word, "-q", &qos.to_string(), "-t", "a/b", "-r", "-m", "hello"];
            let program = publisher(&peer, &words);
            let (mut connection, connect) = peer.welcome(&Connack::default());
            assert_eq!((connect.version, connect.clean_start), (version, true));
            let publish = connection.expect_publish();
            assert_eq!(publish.topic.as_deref(), Some("a/b"));
            assert_eq!((&publish.payload[..], publish.qos), (&b"hello"[..], qos));
            assert!(publish.retain && !publish.dup);
            match qos {
                QoS::AtMostOnce => (),
                QoS::AtLeastOnce => connection.send(&Packet::Puback(ack(1))),
                QoS::ExactlyOnce => {
                    connection.send(&Packet::Pubrec(ack(1)));
                    assert_eq!(connection.expect(), Packet::Pubrel(ack(1)));
                    connection.send(&Packet::Pubcomp(ack(1)));
                }
            }
            connection.expect_goodbye();
            drop(connection);
            program.end().expect_success("");
        }
    }
}

#[test]
fn a_refused_connection_is_the_exit_code() {
    for (version, code, exit_code) in [
        ("311", ReasonCode::NotAuthorized, 5),
        ("311", ReasonCode::BadUserNameOrPassword, 4),
        ("5", ReasonCode::NotAuthorized, 135),
        ("5", ReasonCode::ServerBusy, 137),
    ] {
        let peer = Peer::new();
        let program = publisher(&peer, &["-V", version, "-t", "a", "-n"]);
        drop(peer.welcome(&Connack::new(code)));
        program.end().expect_failure(exit_code, "connection refused: ");
    }
}

#[test]
fn a_refused_message_is_a_line_and_the_exit_code_and_does_not_stop_the_others() {
    let peer = Peer::new();
    let mut program = publisher(&peer, &["-V", "5", "-q", "1", "-t", "a", "-l"]);
    program.feed("one\ntwo\nthree\n");
    let (mut connection, _) = peer.welcome(&Connack::default());
    for number in 1..=3 {
        assert_eq!(connection.expect_publish().packet_id, Some(id(number)));
    }
    connection.send(&Packet::Puback(ack(1)));
    let reason_string = Some(Text::from_static("not for you"));
    let refused = Ack::with_reason(id(2), ReasonCode::NotAuthorized);
    connection.send(&Packet::Puback(Ack { reason_string, ..refused }));
    connection.send(&Packet::Puback(ack(3)));
    connection.expect_goodbye();
    drop(connection);
    let ended = program.end();
    ended.expect_failure(135, "message 2 was refused: Not authorized (0x87): not for you");
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_with_dup_and_its_id() {
    let peer = Peer::new();
    let words = ["-V", "5", "-i", "p", "-c", "-q", "2", "-t", "a", "-l"];
    let mut program = publisher(&peer, &words);
    program.feed("one\ntwo\n");
    let (mut connection, connect) = peer.welcome(&Connack::default());
    assert_eq!((connect.clean_start, connect.session_expiry_interval), (false, Some(u32::MAX)));
    connection.expect_publish();
    connection.expect_publish();
    connection.send(&Packet::Pubrec(ack(1)));
    assert_eq!(connection.expect(), Packet::Pubrel(ack(1)));
    drop(connection);

    let resumed = Connack { session_present: true, ..Connack::default() };
    let (mut connection, connect) = peer.welcome(&resumed);
    assert_eq!(connect.client_id, "p");
    assert_eq!(connection.expect(), Packet::Pubrel(ack(1)));
    let publish = connection.expect_publish();
    assert_eq!((publish.dup, publish.packet_id), (true, Some(id(2))));
    connection.send(&Packet::Pubcomp(ack(1)));
    connection.send(&Packet::Pubrec(ack(2)));
    assert_eq!(connection.expect(), Packet::Pubrel(ack(2)));
    connection.send(&Packet::Pubcomp(ack(2)));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn it_gives_up_when_the_broker_stays_away() {
    let peer = Peer::new();
    let program = publisher(&peer, &["-q", "1", "-t", "a", "-m", "x", "--give-up", "0.05"]);
    let (mut connection, _) = peer.welcome(&Connack::default());
    connection.expect_publish();
    drop(peer);
    drop(connection);
    program.end().expect_failure(1, "gave up: nothing was acknowledged for 50ms");
}

/// A broker of version 3.1.1 has no other word for a message that is too large.
#[test]
fn a_message_that_ends_every_connection_ends_the_program() {
    let peer = Peer::new();
    let mut program = publisher(&peer, &["-V", "311", "-q", "1", "-t", "a", "-l"]);
    program.feed("small\nlarge\n");
    let (mut connection, _) = peer.welcome(&Connack::default());
    connection.expect_publish();
    connection.send(&Packet::Puback(ack(1)));
    connection.expect_publish();
    drop(connection);
    for _ in 0..4 {
        let (mut connection, _) = peer.welcome(&Connack::default());
        assert_eq!(&connection.expect_publish().payload[..], b"large");
    }
    let ended = program.end();
    ended.expect_failure(
        1,
        "ended 5 times after message 2: it may be too large for the broker, or not allowed",
    );
    assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
}

#[test]
fn a_broker_that_is_not_there_is_a_failure_at_once() {
    let peer = Peer::new();
    let port = peer.port();
    drop(peer);
    let program = Program::start(&["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-n"]);
    program.end().expect_failure(1, "can't connect: ");
}

#[test]
fn standard_input_is_read_no_faster_than_messages_are_acknowledged() {
    let peer = Peer::new();
    let mut program = publisher(&peer, &["-V", "5", "-k", "1", "-q", "1", "-t", "a", "-l"]);
    program.feed("one\ntwo\n");
    let (mut connection, _) = peer.welcome(&one_at_a_time());
    assert_eq!(&connection.expect_publish().payload[..], b"one");
    // Nothing but a sign of life comes before the acknowledgement.
    assert_eq!(connection.expect(), Packet::Pingreq);
    connection.send(&Packet::Pingresp);
    connection.send(&Packet::Puback(ack(1)));
    assert_eq!(&connection.expect_publish().payload[..], b"two");
    connection.send(&Packet::Puback(ack(2)));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn a_message_that_is_too_large_for_the_broker_is_not_sent() {
    let peer = Peer::new();
    let mut program = publisher(&peer, &["-V", "5", "-q", "1", "-t", "a", "-l"]);
    program.feed(&format!("{}\nsmall\n", "x".repeat(100)));
    let maximum_packet_size = NonZeroU32::new(50);
    let (mut connection, _) = peer.welcome(&Connack { maximum_packet_size, ..Connack::default() });
    assert_eq!(&connection.expect_publish().payload[..], b"small");
    connection.send(&Packet::Puback(ack(1)));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_failure(149, "message 1 was refused: Packet too large (0x95)");
}

#[test]
fn a_broker_that_can_not_do_it_is_not_asked() {
    let no_retain = Connack { retain_available: Some(false), ..Connack::default() };
    let qos_1 = Connack { maximum_qos: Some(QoS::AtLeastOnce), ..Connack::default() };
    let cases: [(&[&str], &Connack, i32); 3] = [
        (&["-r"], &no_retain, 154),
        (&["-q", "2"], &qos_1, 155),
        (&["-D", "PUBLISH", "topic-alias", "1"], &Connack::default(), 148),
    ];
    for (words, connack, code) in cases {
        let peer = Peer::new();
        let program = publisher(&peer, &[words, &["-V", "5", "-t", "a", "-n"]].concat());
        let (mut connection, _) = peer.welcome(connack);
        assert_eq!(connection.next(), None);
        program.end().expect_failure(code, "the broker does not take such messages");
    }
}

#[test]
fn properties_and_the_will_reach_the_broker() {
    let peer = Peer::new();
    let words = [
        "-D",
        "PUBLISH",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "user-property",
        "k",
        "v",
        "-D",
        "CONNECT",
        "receive-maximum",
        "7",
        "-D",
        "WILL",
        "will-delay-interval",
        "3",
        "-D",
        "DISCONNECT",
        "session-expiry-interval",
        "9",
        "-x",
        "60",
        "-u",
        "me",
        "-P",
        "-secret",
        "--will-topic",
        "w",
        "--will-payload",
        "gone",
        "--will-qos",
        "1",
        "--will-retain",
        "-i",
        "dev",
        "-k",
        "5",
        "-t",
        "a",
        "-m",
        "-1",
    ];
    let program = publisher(&peer, &words);
    let (mut connection, connect) = peer.welcome(&Connack::default());
    assert_eq!(connect.version, ProtocolVersion::V5);
    assert_eq!(connect.receive_maximum.map(u16::from), Some(7));
    assert_eq!((connect.session_expiry_interval, connect.keep_alive), (Some(60), 5));
    assert_eq!(connect.user_name.as_deref(), Some("me"));
    assert_eq!(connect.password.as_deref(), Some(&b"-secret"[..]));
    assert_eq!(connect.client_id, "dev");
    let will = connect.will.unwrap();
    assert_eq!((&*will.topic, &will.payload[..]), ("w", &b"gone"[..]));
    assert_eq!((will.qos, will.retain, will.delay_interval), (QoS::AtLeastOnce, true, 3));
    let publish = connection.expect_publish();
    assert_eq!(&publish.payload[..], b"-1");
    assert_eq!(publish.properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(publish.properties.user_properties.len(), 1);
    let Packet::Disconnect(disconnect) = connection.expect() else { panic!("not a DISCONNECT") };
    assert_eq!(disconnect.session_expiry_interval, Some(9));
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn a_topic_alias_replaces_the_topic_once_the_broker_knows_it() {
    let peer = Peer::new();
    let words =
        ["-D", "PUBLISH", "topic-alias", "3", "-t", "a/b", "-m", "x", "--repeat", "2", "-q", "1"];
    let program = publisher(&peer, &words);
    let connack = Connack { topic_alias_maximum: Some(5), ..Connack::default() };
    let (mut connection, _) = peer.welcome(&connack);
    assert_eq!(connection.expect_publish().topic.as_deref(), Some("a/b"));
    let second = connection.expect_publish();
    assert_eq!((second.topic, second.topic_alias.map(u16::from)), (None, Some(3)));
    drop(connection);
    // Another connection has no aliases.
    let (mut connection, _) = peer.welcome(&connack);
    assert_eq!(connection.expect_publish().topic.as_deref(), Some("a/b"));
    assert_eq!(connection.expect_publish().topic, None);
    connection.send(&Packet::Puback(ack(1)));
    connection.send(&Packet::Puback(ack(2)));
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn payloads_come_from_files_and_from_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("payload");
    std::fs::write(&path, b"one\n\0two").unwrap();
    for words in [vec!["-s"], vec!["-f", path.to_str().unwrap()]] {
        let peer = Peer::new();
        let mut program = publisher(&peer, &[&words[..], &["-t", "a"]].concat());
        program.feed("one\n\0two");
        let (mut connection, _) = peer.welcome(&Connack::default());
        assert_eq!(&connection.expect_publish().payload[..], b"one\n\0two");
        connection.expect_goodbye();
        drop(connection);
        program.end().expect_success("");
    }
}

#[test]
fn scram_proves_the_password_without_sending_it() {
    let peer = Peer::new();
    let program = publisher(&peer, &["--scram", "-u", "me", "-P", "secret", "-t", "a", "-n"]);
    let mut connection = peer.accept();
    let connect = connection.expect_connect();
    assert_eq!((connect.user_name, connect.password), (None, None));
    assert_eq!(connect.authentication_method.as_deref(), Some(scram::METHOD));
    let first = scram::ClientFirst::decode(&connect.authentication_data.unwrap()).unwrap();
    let verifier = scram::Verifier::derive(b"secret", b"saltsalt", scram::ITERATIONS_MIN);
    let (server, challenge) = scram::Server::begin(first, verifier, true, b"0123456789abcdef");
    let method = Text::from_static(scram::METHOD);
    let mut auth = Auth::new(ReasonCode::ContinueAuthentication, method.clone());
    auth.authentication_data = Some(challenge.into());
    connection.send(&Packet::Auth(Box::new(auth)));
    let Packet::Auth(answer) = connection.expect() else { panic!("not an AUTH") };
    let proof = server.finish(&answer.authentication_data.unwrap()).unwrap();
    connection.send(&Packet::Connack(Box::new(Connack {
        authentication_method: Some(method),
        authentication_data: Some(proof.into()),
        ..Connack::default()
    })));
    connection.expect_publish();
    connection.expect_goodbye();
    drop(connection);
    program.end().expect_success("");
}

#[test]
fn a_broker_that_does_not_know_the_password_is_not_trusted() {
    let peer = Peer::new();
    let program = publisher(&peer, &["--scram", "-u", "me", "-P", "secret", "-t", "a", "-n"]);
    let (mut connection, _) = peer.welcome(&Connack::default());
    assert_eq!(connection.next(), None);
    program.end().expect_failure(1, "signature is wrong");
}

#[test]
fn a_broker_that_breaks_the_protocol_is_left() {
    let peer = Peer::new();
    let program = publisher(&peer, &["-V", "5", "-q", "1", "-t", "a", "-n"]);
    let (mut connection, _) = peer.welcome(&Connack::default());
    connection.expect_publish();
    connection.send(&Packet::Connack(Box::default()));
    assert_eq!(connection.next(), None);
    program.end().expect_failure(1, "the broker breaks the protocol: unexpected CONNACK");
}

#[test]
fn a_take_over_ends_it() {
    let peer = Peer::new();
    let program = publisher(&peer, &["-V", "5", "-q", "1", "-t", "a", "-n"]);
    let (mut connection, _) = peer.welcome(&Connack::default());
    connection.expect_publish();
    let disconnect = tidelog::mqtt::Disconnect::new(ReasonCode::SessionTakenOver);
    connection.send(&Packet::Disconnect(Box::new(disconnect)));
    program.end().expect_failure(142, "disconnected by the broker: Session taken over (0x8E)");
}

#[test]
fn quiet_says_nothing() {
    let peer = Peer::new();
    let program = publisher(&peer, &["--quiet", "-t", "a", "-n"]);
    drop(peer.welcome(&Connack::new(ReasonCode::NotAuthorized)));
    let ended = program.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(5), ""));
}

#[test]
fn standard_input_may_stay_open() {
    let peer = Peer::new();
    let port = peer.port();
    let words = ["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-l", "-V", "5"];
    let mut child = command(&words).spawn().unwrap();
    drop(peer.welcome(&Connack::new(ReasonCode::NotAuthorized)));
    assert_eq!(child.wait().unwrap().code(), Some(135));
}
