//! Connections: many idle ones are held and cost little, those over the cap are refused.

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use super::ALLOWANCE;
use super::assert_grown_at_most;
use super::from_environment;
use super::start;
use super::wire::Version;
use super::wire::client::Client;
use super::wire::request::Connect;

/// How many are held, unless `LIMITS_CONNECTIONS` says otherwise.
const CONNECTIONS: u64 = 2_000;

/// What an idle connection may cost the broker, in bytes.
const CONNECTION_BYTES: u64 = 8 << 10;

const CAP: usize = 300;

/// Raises the limit of open files of this process.
fn allow_files(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the system allows as many open files");
    }
}

#[test]
fn idle_ones_are_held() {
    let connections = from_environment("LIMITS_CONNECTIONS").unwrap_or(CONNECTIONS);
    allow_files(connections + 1_024);
    let broker = start(&[]);
    let before = broker.memory().resident;
    let mut clients: Vec<Client> = (0..connections)
        .map(|number| {
            let version = if number % 2 == 0 { Version::V4 } else { Version::V5 };
            Client::clean(broker.address(), version, &format!("idle-{number}"))
        })
        .collect();
    assert_grown_at_most(&broker, before, connections * CONNECTION_BYTES + ALLOWANCE);
    for client in &mut clients {
        client.ping();
    }
    assert_grown_at_most(&broker, before, connections * CONNECTION_BYTES + ALLOWANCE);
}

#[test]
fn those_over_the_cap_are_refused_until_there_is_room() {
    allow_files(4_096);
    let broker = start(&["limits.connections=300"]);
    let address = broker.address();
    let mut clients: Vec<Client> = (0..CAP)
        .map(|number| Client::clean(address, Version::V4, &format!("client-{number}")))
        .collect();
    for number in 0..20 {
        let connect = Connect::new(Version::V5, &format!("refused-{number}"));
        assert!(Client::attempt(address, &connect).is_none(), "there were {CAP} already");
    }
    for client in &mut clients {
        client.ping();
    }
    clients.pop().unwrap().disconnect();
    // The broker sees a little later that the socket is closed on both sides.
    let connect = Connect::new(Version::V5, "let-in");
    let mut client = std::iter::repeat_with(|| Client::attempt(address, &connect))
        .take(10_000)
        .flatten()
        .next()
        .expect("there is room");
    client.0.ping();
}
