//! Conformance: every normative statement of MQTT 3.1.1 and 5.0 that a client can observe, over sockets, against the
//! real broker. One file per chapter; `statements.toml` says for each statement which tests show it, or why it is not ours.
//!
//! The doc comment of a test lists the statements that it shows, as `[MQTT-3.3.1-2]` for version 5 and
//! `[3.1.1 MQTT-3.3.1-2]` for version 3.1.1. `TIDELOG_TEST_PEER=mosquitto cargo test --test conformance` runs the tests against
//! mosquitto, which tells a wrong test from a wrong broker.
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

mod acknowledge;
mod auth;
mod connack;
mod connect;
mod connect_flags;
mod delivery;
mod disconnect;
mod flow;
mod format;
mod publish;
mod qos;
mod retained;
mod session;
mod shared;
mod statements;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
mod will;

/// What the tests of every chapter use.
mod prelude {
    pub(crate) use crate::each_numbered_version;
    pub(crate) use crate::each_version;
    pub(crate) use crate::let_time_pass;
    pub(crate) use crate::mosquitto_differs;
    pub(crate) use crate::pair;
    pub(crate) use crate::publish_from_outside;
    pub(crate) use crate::refused_connect;
    pub(crate) use crate::wire::Version;
    pub(crate) use crate::wire::client::Client;
    pub(crate) use crate::wire::packet::Packet;
    pub(crate) use crate::wire::process::Broker;
    pub(crate) use crate::wire::process::Settings;
    pub(crate) use crate::wire::property::Property;
    pub(crate) use crate::wire::request;
    pub(crate) use crate::wire::request::Connect;
    pub(crate) use crate::wire::request::Publish;
    pub(crate) use crate::wire::request::Will;
}

use prelude::*;

/// Runs the test for 3.1, 3.1.1 and 5.0, each with a broker of its own.
fn each_version(test: impl Fn(&Broker, Version)) {
    for version in [Version::V3, Version::V4, Version::V5] {
        eprintln!("version {version:?}");
        test(&Broker::start(), version);
    }
}

/// The same for 3.1.1 and 5.0, whose statements have numbers.
fn each_numbered_version(test: impl Fn(&Broker, Version)) {
    for version in [Version::V4, Version::V5] {
        eprintln!("version {version:?}");
        test(&Broker::start(), version);
    }
}

/// A client that will subscribe and one that will publish.
fn pair(broker: &Broker, version: Version) -> (Client, Client) {
    let subscriber = Client::clean(broker.address(), version, "subscriber");
    let publisher = Client::clean(broker.address(), version, "publisher");
    (subscriber, publisher)
}

/// Publishes through a connection that exists only for that.
fn publish_from_outside(broker: &Broker, version: Version, publish: Publish) {
    let mut publisher = Client::clean(broker.address(), version, "outside");
    assert!(publisher.publish(publish) < 0x80);
    publisher.disconnect();
}

/// Lets a second and a half of the broker's own time pass: that long it takes to give up a silent client.
fn let_time_pass(broker: &Broker) {
    let mut hourglass =
        Client::connect(broker.address(), &Connect::new(Version::V4, "hourglass").keep_alive(1)).0;
    hourglass.expect_close();
}

/// These bytes instead of a CONNECT close the connection: 3.1.1 without a word, 5.0 perhaps with a CONNACK that refuses.
fn refused_connect(broker: &Broker, version: Version, bytes: &[u8]) {
    let mut client = Client::open(broker.address(), version);
    client.send(bytes);
    match client.try_next() {
        None => {}
        Some(Packet::Connack(connack)) if version.is_v5() => {
            assert!(connack.code >= 0x80, "accepted {bytes:x?}");
            assert_eq!(client.try_next(), None, "CONNACK {:#x} and then more", connack.code);
        }
        Some(other) => panic!("{bytes:x?} was answered with {other:?}"),
    }
}

/// Whether the tests run against mosquitto, which does not do what the test asks for, in the way told.
fn mosquitto_differs(how: &str) -> bool {
    let differs = wire::process::peer_is_mosquitto();
    if differs {
        eprintln!("skipped: mosquitto {how}");
    }
    differs
}
