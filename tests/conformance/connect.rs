//! Section 3.1: CONNECT, what it has to look like and what an accepted one does.

use crate::prelude::*;
use crate::wire::request::frame;

/// [MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1]
#[test]
fn first_packet_is_connect() {
    each_version(|broker, version| {
        let firsts = [
            request::PINGREQ.to_vec(),
            Publish::new("a", "x").bytes(version),
            request::subscribe(version, 1, &[("a", 0)], &[]),
            request::DISCONNECT.to_vec(),
            frame(0xF0, &[]),
        ];
        for bytes in firsts {
            let mut client = Client::open(broker.address(), version);
            client.send(&bytes);
            assert_eq!(client.try_next(), None, "{bytes:x?} without CONNECT");
        }
    });
}

/// [MQTT-3.1.0-2] [3.1.1 MQTT-3.1.0-2] [MQTT-3.2.0-2]
#[test]
fn second_connect_is_a_protocol_error() {
    each_version(|broker, version| {
        let mut client = Client::clean(broker.address(), version, "twice");
        client.send(&Connect::new(version, "twice").bytes());
        client.expect_close_because(0x82);
    });
}

/// [MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1]
#[test]
fn other_protocol_names_are_not_ours() {
    each_version(|broker, version| {
        let connect = Connect::new(version, "name");
        for name in ["MQTX", "mqtt", "", "HTTP/1.1", "MQTTT"] {
            let bytes = connect.bytes_with(name, version.level(), connect.flags());
            refused_connect(broker, version, &bytes);
        }
    });
}

/// [MQTT-3.1.2-2] [3.1.1 MQTT-3.1.2-2] [3.1.1 MQTT-3.2.2-5]
#[test]
fn unsupported_protocol_levels_are_refused() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V4, "level");
    for level in [0, 1, 2, 6, 100] {
        let mut client = Client::open(broker.address(), Version::V4);
        client.send(&connect.bytes_with("MQTT", level, connect.flags()));
        let answer = client.bytes_until_closed();
        // CONNACK in the form of 3.1.1, or in that of 5.0.
        let known = answer == [0x20, 2, 0, 1]
            || (answer.starts_with(&[0x20]) && answer.get(3) == Some(&0x84));
        assert!(known, "level {level} was answered with {answer:x?}");
    }
}

/// [MQTT-3.1.2-3] [3.1.1 MQTT-3.1.2-3] [MQTT-3.1.4-1] [3.1.1 MQTT-3.1.4-1] [3.1.1 MQTT-3.2.2-6]
#[test]
fn reserved_connect_flag_is_zero() {
    // 3.1 leaves these bits undefined.
    each_numbered_version(|broker, version| {
        let connect = Connect::new(version, "flag");
        let bytes =
            connect.bytes_with(version.protocol_name(), version.level(), connect.flags() | 1);
        refused_connect(broker, version, &bytes);
    });
}

/// [MQTT-3.1.4-1] [3.1.1 MQTT-3.1.4-1]
#[test]
fn connect_that_breaks_its_format_is_refused() {
    if mosquitto_differs("ignores bytes behind the end of CONNECT") {
        return;
    }
    each_version(|broker, version| {
        let whole = Connect::new(version, "format").bytes();
        refused_connect(broker, version, &frame(0x10, &[&whole[2..], b"behind"].concat()));
        for length in [0, 1, 5, 9, whole.len() - 3] {
            refused_connect(broker, version, &frame(0x10, &whole[2..2 + length]));
        }
    });
}

/// [MQTT-3.1.4-1]
#[test]
fn connect_properties_are_checked() {
    if mosquitto_differs("takes authentication data without a method") {
        return;
    }
    let broker = Broker::start();
    let bad: [&[Property]; 9] = [
        &[Property::SessionExpiry(1), Property::SessionExpiry(1)],
        &[Property::ReceiveMaximum(0)],
        &[Property::MaximumPacketSize(0)],
        &[Property::RequestProblemInformation(2)],
        &[Property::RequestResponseInformation(2)],
        &[Property::AuthenticationData(vec![1])],
        &[Property::TopicAlias(1)],
        &[Property::WillDelay(1)],
        &[Property::ServerKeepAlive(1)],
    ];
    for properties in bad {
        let connect =
            Connect { properties: properties.to_vec(), ..Connect::new(Version::V5, "properties") };
        refused_connect(&broker, Version::V5, &connect.bytes());
    }
}

/// [MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-3.1.4-5] [MQTT-3.1.3-12]
/// [3.1.1 MQTT-3.1.3-1] [3.1.1 MQTT-3.1.3-3] [3.1.1 MQTT-3.1.2-9] [3.1.1 MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-21] [3.1.1 MQTT-3.1.4-4]
#[test]
fn payload_fields_are_read_in_their_order() {
    each_version(|broker, version| {
        let mut watcher = Client::clean(broker.address(), version, "watcher");
        watcher.subscribe(&[("will/topic", 1)]);
        let connect = Connect::new(version, "all")
            .will(Will::new("will/topic", "will payload"))
            .login("user", "\u{1}\u{2}");
        Client::connect(broker.address(), &connect).0.cut();
        let will = watcher.take();
        assert_eq!((will.topic.as_str(), will.text()), ("will/topic", "will payload"));
    });
}

/// [MQTT-3.1.3-5] [3.1.1 MQTT-3.1.3-5]
#[test]
fn client_ids_of_letters_and_digits_up_to_23_bytes_are_taken() {
    each_version(|broker, version| {
        for id in
            ["0", "Z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"]
        {
            Client::clean(broker.address(), version, id).disconnect();
        }
    });
}

/// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[test]
fn empty_client_id_is_replaced_by_one_of_the_server() {
    let broker = Broker::start();
    let assigned = |connack: &crate::wire::packet::Connack| {
        connack.properties.iter().find_map(|p| match p {
            Property::AssignedClientId(id) => Some(id.clone()),
            _ => None,
        })
    };
    let connect = Connect::persistent(Version::V5, "");
    let (first, connack) = Client::connect(broker.address(), &connect);
    let first_id = assigned(&connack).expect("an assigned client identifier");
    let (second, connack) = Client::connect(broker.address(), &connect);
    assert_ne!(Some(&first_id), assigned(&connack).as_ref());
    second.disconnect();
    first.disconnect();
    let (_, connack) =
        Client::connect(broker.address(), &Connect::persistent(Version::V5, &first_id));
    assert!(connack.session_present);
    assert_eq!(assigned(&connack), None);
}

/// [3.1.1 MQTT-3.1.3-6] [3.1.1 MQTT-3.1.3-7] [3.1.1 MQTT-3.1.3-8] [3.1.1 MQTT-3.1.3-9] [3.1.1 MQTT-3.2.2-4] [3.1.1 MQTT-3.2.2-5]
/// [MQTT-3.1.3-8]
#[test]
fn empty_client_id_needs_a_clean_session() {
    let broker = Broker::start();
    // Two of them do not take each other over: each has an identifier of its own.
    let mut first = Client::clean(broker.address(), Version::V4, "");
    let mut second = Client::clean(broker.address(), Version::V4, "");
    first.ping();
    second.ping();
    let (mut client, connack) =
        Client::try_connect(broker.address(), &Connect::persistent(Version::V4, ""));
    assert_eq!((connack.code, connack.session_present), (2, false));
    assert_eq!(client.try_next(), None);
}

/// [MQTT-3.1.3-2] [3.1.1 MQTT-3.1.3-2]
#[test]
fn sessions_are_told_apart_by_client_id() {
    each_version(|broker, version| {
        for id in ["one", "One", "one "] {
            let mut client = Client::persistent(broker.address(), version, id);
            client.subscribe(&[(&format!("to/{id}"), 1)]);
            client.disconnect();
        }
        publish_from_outside(broker, version, Publish::new("to/One", "x").qos(1));
        Client::persistent(broker.address(), version, "one").expect_nothing();
        Client::persistent(broker.address(), version, "one ").expect_nothing();
        assert_eq!(Client::persistent(broker.address(), version, "One").take().topic, "to/One");
    });
}

/// [MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] [MQTT-3.14.4-2]
#[test]
fn same_client_id_takes_the_connection_over() {
    if mosquitto_differs("closes without DISCONNECT") {
        return;
    }
    each_version(|broker, version| {
        let mut old = Client::clean(broker.address(), version, "same");
        let mut new = Client::clean(broker.address(), version, "same");
        let reason = old.expect_close();
        assert_eq!(reason.map(|r| r.code), version.is_v5().then_some(0x8E));
        new.ping();
    });
}

/// [MQTT-3.1.4-6] [3.1.1 MQTT-3.1.4-5] [MQTT-3.1.4-2] [MQTT-3.2.2-7]
#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    // 3.1 leaves these bits undefined.
    each_numbered_version(|broker, version| {
        let (mut subscriber, _) = pair(broker, version);
        subscriber.subscribe(&[("a", 1)]);
        let connect = Connect::new(version, "refused");
        let mut bytes =
            connect.bytes_with(version.protocol_name(), version.level(), connect.flags() | 1);
        bytes.extend(Publish::new("a", "x").qos(1).id(1).bytes(version));
        refused_connect(broker, version, &bytes);
        subscriber.expect_nothing();
    });
}

/// [MQTT-3.1.2-22] [MQTT-3.2.2-22] [3.1.1 MQTT-3.1.2-24]
#[test]
fn silent_client_is_given_up_after_one_and_a_half_keep_alives() {
    each_version(|broker, version| {
        let mut watcher = Client::clean(broker.address(), version, "watcher");
        watcher.subscribe(&[("gone", 1)]);
        let start = std::time::Instant::now();
        let connect =
            Connect::new(version, "silent").keep_alive(2).will(Will::new("gone", "silent"));
        let mut silent = Client::connect(broker.address(), &connect).0;
        silent.expect_close_because(0x8D);
        let waited = start.elapsed().as_secs_f32();
        assert!((2.9..8.0).contains(&waited), "given up after {waited} s");
        assert_eq!(watcher.take().text(), "silent");
    });
}

/// [MQTT-3.1.2-20] [3.1.1 MQTT-3.1.2-23] [MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1]
#[test]
fn pings_keep_a_connection_alive() {
    if mosquitto_differs("looks at keep-alives every few seconds only") {
        return;
    }
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "alive").keep_alive(2);
    let mut client = Client::connect(broker.address(), &connect).0;
    let mut without = Client::clean(broker.address(), Version::V5, "no keep-alive");
    for _ in 0..3 {
        let_time_pass(&broker);
        client.ping();
    }
    without.ping();
}

/// [MQTT-3.1.2-21] [MQTT-3.2.2-21] [MQTT-3.1.2-22]
#[test]
fn server_keep_alive_counts_instead_of_the_clients() {
    if mosquitto_differs("takes no maximum below ten seconds") {
        return;
    }
    let toml = "[limits]\nkeep_alive_max = \"1s\"\n".into();
    let broker = Broker::start_with(Settings { toml, ..Settings::default() });
    for keep_alive in [0, 2, 600] {
        let connect = Connect::new(Version::V5, "c").keep_alive(keep_alive);
        let start = std::time::Instant::now();
        let (mut client, connack) = Client::connect(broker.address(), &connect);
        assert!(connack.properties.contains(&Property::ServerKeepAlive(1)));
        client.expect_close_because(0x8D);
        assert!(start.elapsed().as_secs_f32() < 10.0);
    }
}

/// [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-4.13.2-1] [3.1.1 MQTT-3.2.2-4] [3.1.1 MQTT-3.2.2-5]
#[test]
fn wrong_password_is_refused() {
    if mosquitto_differs("keeps passwords in another form") {
        return;
    }
    let passwords = Some(crate::auth::password_file());
    let broker = Broker::start_with(Settings { passwords, ..Settings::default() });
    for version in [Version::V3, Version::V4, Version::V5] {
        let refused = if version.is_v5() { [0x86, 0x87] } else { [4, 5] };
        for (user, password) in [("alice", "wrong"), ("nobody", "secret"), ("alice", "")] {
            let connect = Connect::persistent(version, "user").login(user, password);
            let (mut client, connack) = Client::try_connect(broker.address(), &connect);
            assert!(refused.contains(&connack.code), "{connack:?}");
            assert!(!connack.session_present);
            assert_eq!(client.try_next(), None);
        }
        let right = Connect::new(version, "user").login("alice", "secret");
        Client::connect(broker.address(), &right).0.disconnect();
    }
}
