//! A data directory with everything in it, made by the broker itself: sealed segments and their indexes, an active segment,
//! a checkpoint and what came after it, sessions, retained messages, wills, what is in flight, what a shared group gave out.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::OsDisk;
use tidelog::config::Anonymous;
use tidelog::config::Config;
use tidelog::config::Endpoint;
use tidelog::config::Listener;
use tidelog::server::Running;
use tidelog::server::Server;

use crate::folder;
use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::packet::Packet;
use crate::wire::property::Property;
use crate::wire::request::Connect;
use crate::wire::request::Publish;
use crate::wire::request::Will;

/// Never, for a session.
const FOR_EVER: u32 = u32::MAX;
/// The session that is owed everything.
pub(crate) const READER: &str = "reader";
/// How many segments the cleaner has to replace, and in which time.
const CLEANED_MIN: usize = 4;
const CLEANED_WITHIN: Duration = Duration::from_mins(1);
/// Segments as small as they come, so that there are many.
const SEGMENT_BYTES: u64 = 16 << 10;

/// The directory, and the same as it was earlier.
pub(crate) struct Filled {
    _root: TempDir,
    /// As the broker left it that was killed last.
    pub(crate) now: PathBuf,
    /// As it was half way, after a shutdown in good order.
    pub(crate) earlier: PathBuf,
}

/// What makes a broker over a directory.
pub(crate) fn config(directory: &Path, checkpoint_interval: Duration) -> Config {
    let listener = Listener {
        name: "tcp".to_owned(),
        endpoint: Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
        websocket_path: None,
        tls: None,
        connections: None,
        anonymous: Anonymous::Loopback,
    };
    let mut config = Config { listeners: vec![listener], ..Config::default() };
    directory.clone_into(&mut config.data.dir);
    config.data.segment_size = SEGMENT_BYTES;
    config.data.checkpoint_interval = checkpoint_interval;
    config
}

/// Where a broker listens.
pub(crate) fn address(running: &Running) -> SocketAddr {
    match &running.local_addresses()[0].endpoint {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(path) => panic!("{} is no address", path.display()),
    }
}

/// A session that stays for ever.
pub(crate) fn lasting(client_id: &str) -> Connect {
    let connect = Connect::new(Version::V5, client_id).with(Property::SessionExpiry(FOR_EVER));
    Connect { clean_start: false, ..connect }
}

/// What the message with this number says: no two are alike, and they are of all sizes.
pub(crate) fn payload(number: u32) -> String {
    let size = match number % 50 {
        17 => 6_000,
        rest => 20 + (rest * 37 % 400) as usize,
    };
    let word = format!("{}-", number.wrapping_mul(2_654_435_761));
    format!("{number}:{}", word.repeat(size / word.len() + 1))
}

/// Makes the directory.
pub(crate) fn fill() -> Filled {
    let root = tempfile::tempdir().unwrap();
    let (now, earlier) = (root.path().join("now"), root.path().join("earlier"));
    let hour = Duration::from_hours(1);

    let running = Server::new(config(&now, hour)).start().unwrap();
    let broker = address(&running);
    sessions(broker);
    publish(broker, 0..250);
    running.shutdown().unwrap();
    folder::copy_to(&now, &earlier);

    let running = Server::new(config(&now, hour)).start().unwrap();
    let broker = address(&running);
    churn(broker);
    publish(broker, 250..500);
    running.shutdown().unwrap();

    let running = Server::new(config(&now, hour)).start().unwrap();
    let broker = address(&running);
    let members = leave_in_flight(broker);
    publish(broker, 500..600);
    Client::connect(broker, &lasting("late")).0.subscribe(&[("plant/+/1", 1)]);
    publish(broker, 600..620);
    begin_a_segment(broker, &now);
    publish(broker, 620..640);
    drop(running);
    drop(members);
    wait_for_the_end(&now);
    Filled { _root: root, now, earlier }
}

/// Makes the same, with a client that does not know what it wants among the messages, and lets the broker clean it.
pub(crate) fn fill_and_clean() -> Filled {
    let filled = fill();
    let mut config = config(&filled.now, Duration::from_millis(50));
    config.data.clean_interval = Duration::from_millis(20);
    // What is in memory is not cleaned.
    config.data.tail_memory = 1 << 10;
    let running = Server::new(config).start().unwrap();
    let mut client = Client::connect(address(&running), &lasting("session-10")).0;
    let fickle = format!("fickle/{}", "level/".repeat(40));
    let begun = Instant::now();
    for number in 1_000.. {
        if cleaned_segments(&filled.now) >= CLEANED_MIN {
            break;
        }
        assert!(begun.elapsed() < CLEANED_WITHIN, "the broker cleans nothing");
        client.publish(Publish::new("plant/here", &payload(number)).qos(1));
        client.subscribe(&[(&fickle, 1)]);
        client.unsubscribe(&[&fickle]);
    }
    drop(running);
    wait_for_the_end(&filled.now);
    filled
}

/// How many segments of a folder the cleaner has replaced, by their headers as `docs/format.md` has them.
pub(crate) fn cleaned_segments(folder: &Path) -> usize {
    let generation = |name: &String| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        bytes.get(32..36).is_some_and(|bytes| bytes != [0; 4])
    };
    crate::truth::segments(folder).iter().filter(|name| generation(name)).count()
}

/// A broker that was dropped may be in the middle of a write: it holds the lock until it is done.
fn wait_for_the_end(folder: &Path) {
    let disk = OsDisk::open(folder).unwrap();
    while disk.lock("lock").is_err() {
        std::thread::yield_now();
    }
}

/// Publishes until a segment has just begun.
fn begin_a_segment(broker: SocketAddr, folder: &Path) {
    let before = crate::truth::segments(folder).len();
    let mut publisher = Client::connect(broker, &lasting("publisher")).0;
    while crate::truth::segments(folder).len() == before {
        publisher.publish(Publish::new("filling", "up").qos(1));
    }
}

/// Sessions of every kind.
fn sessions(broker: SocketAddr) {
    let mut reader = Client::connect(broker, &lasting(READER)).0;
    reader.subscribe(&[("plant/#", 1)]);
    reader.disconnect();
    for number in 0..12 {
        let mut client = Client::connect(broker, &lasting(&format!("session-{number}"))).0;
        let own = format!("plant/{number}/#");
        client.subscribe(&[(&own, 1), ("alarm/#", 2), ("$share/readers/plant/+/2", 1)]);
        client.disconnect();
    }
}

/// Publishes the messages with these numbers, at every `QoS`, each tenth of them retained.
fn publish(broker: SocketAddr, numbers: std::ops::Range<u32>) {
    let mut publisher = Client::connect(broker, &lasting("publisher")).0;
    for number in numbers {
        let topic = format!("plant/{}/{}", number % 13, number % 7);
        let publish = Publish::new(&topic, &payload(number)).qos([1, 2, 0][number as usize % 3]);
        publisher.publish(publish);
        if number % 10 == 0 {
            let topic = format!("state/{number}");
            publisher.publish(Publish::new(&topic, &payload(number)).qos(1).retained());
        }
    }
    publisher.disconnect();
}

/// Sessions end, subscriptions go, retained messages are replaced and cleared.
fn churn(broker: SocketAddr) {
    for number in 0..4 {
        let connect = Connect::new(Version::V5, &format!("session-{number}"));
        Client::connect(broker, &connect).0.disconnect();
    }
    let mut client = Client::connect(broker, &lasting("session-5")).0;
    client.unsubscribe(&["alarm/#"]);
    for (number, text) in [(10, "replaced"), (20, "")] {
        let topic = format!("state/{number}");
        client.publish(Publish::new(&topic, text).qos(1).retained());
    }
    client.disconnect();
}

/// Clients with wills and with messages that they have not acknowledged; they live until the broker dies.
fn leave_in_flight(broker: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 6..9 {
        let connect = lasting(&format!("session-{number}"));
        let will = Will::new("wills/here", "gone");
        let mut client = Client::connect(broker, &connect.will(will)).0;
        // Some of its messages stay unacknowledged, those of its group, too.
        for _ in 0..3 {
            client.take();
        }
        client.wait(|packet| matches!(packet, Packet::Publish(_)).then_some(()));
        clients.push(client);
    }
    let mut publisher = Client::connect(broker, &lasting("half-way")).0;
    for id in 1..5 {
        publisher.send(&Publish::new("alarm/1", "released?").qos(2).id(id).bytes(Version::V5));
        publisher.wait_pubrec(id);
    }
    clients.push(publisher);
    clients
}
