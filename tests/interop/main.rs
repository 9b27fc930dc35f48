//! rumqttc, the client that Rust services use, against the real broker: version 3.1.1 and 5, over TCP, TLS with a client
//! certificate and WebSocket. The other clients are driven by `run.sh` beside this file.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "tests run a real process in real time, and a panic is how they fail"
)]

#[path = "../wire/mod.rs"]
#[expect(dead_code, reason = "other suites use more of it")]
mod wire;

mod peer;

use std::path::Path;
use std::process::Command;

use peer::Message;
use peer::Peer;
use peer::Profile;
use peer::Transport;
use peer::Version;
use tempfile::TempDir;
use wire::process::Broker;
use wire::process::Settings;
use wire::process::peer_is_mosquitto;

/// A broker with a listener for each transport, and the certificates for it.
struct World {
    broker: Broker,
    certificates: TempDir,
}

impl World {
    fn start() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        make_certificates(certificates.path());
        let settings = Settings {
            websocket: true,
            certificates: Some(certificates.path().to_owned()),
            ..Settings::default()
        };
        Self { broker: Broker::start_with(settings), certificates }
    }

    fn profile(&self, client_id: &str, version: Version, transport: Transport) -> Profile {
        let address = match transport {
            Transport::Tcp => self.broker.address(),
            Transport::WebSocket => self.broker.websocket_address(),
            Transport::Tls => self.broker.tls_address(),
        };
        Profile::new(client_id, version, transport, address, self.certificates.path())
    }

    fn connect(&self, client_id: &str, version: Version, transport: Transport) -> Peer {
        Peer::connect(&self.profile(client_id, version, transport))
    }
}

fn make_certificates(folder: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
    let made = command.args(["certs", "--client", "device", "--dir"]).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Runs the case for both versions over each transport, against one broker.
fn everywhere(case: impl Fn(&World, Version, Transport, &str)) {
    let world = World::start();
    for version in [Version::V4, Version::V5] {
        for transport in [Transport::Tcp, Transport::Tls, Transport::WebSocket] {
            eprintln!("{version:?} over {transport:?}");
            case(&world, version, transport, &format!("{version:?}-{transport:?}"));
        }
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.payload.as_str()).collect()
}

#[test]
fn messages_of_each_qos_arrive_in_order() {
    everywhere(|world, version, transport, name| {
        let mut peer = world.connect("both", version, transport);
        for qos in 0..3 {
            let topic = format!("{name}/q{qos}");
            peer.subscribe(&topic, qos);
            for number in 0..20 {
                peer.publish(&topic, &number.to_string(), qos, false);
            }
            for number in 0..20 {
                let message = peer.take();
                assert_eq!((message.payload, message.qos), (number.to_string(), qos));
            }
        }
    });
}

#[test]
fn retained_messages_are_kept_and_cleared() {
    everywhere(|world, version, transport, name| {
        let topic = format!("{name}/retained");
        let mut publisher = world.connect("publisher", version, transport);
        publisher.publish(&topic, "old", 1, true);
        publisher.publish(&topic, "kept", 1, true);
        let mut subscriber = world.connect("subscriber", version, transport);
        subscriber.subscribe(&topic, 1);
        let message = subscriber.take();
        assert_eq!((message.payload.as_str(), message.retain), ("kept", true));
        publisher.publish(&topic, "", 1, true);
        assert_eq!(subscriber.take().payload, "");
        let mut late = world.connect("late", version, transport);
        late.subscribe(&topic, 1);
        publisher.publish(&topic, "live", 1, false);
        assert_eq!(late.take().payload, "live");
    });
}

#[test]
fn will_is_published_when_the_client_dies() {
    everywhere(|world, version, transport, name| {
        let topic = format!("{name}/will");
        let mut watcher = world.connect("watcher", version, transport);
        watcher.subscribe(&topic, 1);
        let profile = world.profile("mortal", version, transport).will(&topic, "gone");
        Peer::connect(&profile).die();
        assert_eq!(watcher.take().payload, "gone");
        Peer::connect(&profile).disconnect();
        watcher.publish(&topic, "next", 1, false);
        assert_eq!(watcher.take().payload, "next");
    });
}

#[test]
fn shared_subscription_gives_each_message_to_one_member() {
    everywhere(|world, version, transport, name| {
        let mut members: Vec<Peer> =
            (0..3).map(|number| world.connect(&format!("m{number}"), version, transport)).collect();
        for member in &mut members {
            member.subscribe(&format!("$share/workers/{name}/jobs"), 1);
        }
        let mut publisher = world.connect("publisher", version, transport);
        for number in 0..30 {
            publisher.publish(&format!("{name}/jobs"), &number.to_string(), 1, false);
        }
        let mut got = Vec::new();
        for (number, member) in members.iter_mut().enumerate() {
            // What was on its way to the member has arrived before its own message.
            let fence = format!("{name}/fence/{number}");
            member.subscribe(&fence, 1);
            member.publish(&fence, "fence", 1, false);
            let messages = member.take_until(&fence);
            got.extend(texts(&messages).into_iter().map(|text| text.parse::<u32>().unwrap()));
        }
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<_>>());
    });
}

#[test]
fn persistent_session_goes_on_after_a_crash_of_the_broker() {
    if peer_is_mosquitto() {
        eprintln!("skipped: mosquitto saves its state every half an hour");
        return;
    }
    for version in [Version::V4, Version::V5] {
        let mut world = World::start();
        let mut subscriber =
            Peer::connect(&world.profile("kept", version, Transport::Tcp).persistent());
        subscriber.subscribe("a/#", 2);
        subscriber.disconnect();
        let mut publisher = world.connect("publisher", version, Transport::Tcp);
        for number in 0..20 {
            publisher.publish(
                &format!("a/{}", number % 2),
                &number.to_string(),
                1 + number % 2,
                false,
            );
        }
        world.broker.kill();
        world.broker.start_again();
        let subscriber =
            Peer::connect(&world.profile("kept", version, Transport::Tcp).persistent());
        assert!(subscriber.session_present());
        for number in 0..20 {
            assert_eq!(subscriber.take().payload, number.to_string());
        }
    }
}
