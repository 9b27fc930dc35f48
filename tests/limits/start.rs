//! What a start costs: its memory does not grow with the messages that wait for sessions, and an offline session costs little.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tidelog::commitlog::Offset;
use tidelog::commitlog::disk::OsDisk;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Text;
use tidelog::session::Meta;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::Row;
use tidelog::store::SessionRow;
use tidelog::store::Span;
use tidelog::store::Store;
use tidelog::store::SubscriptionRow;
use tidelog::time::Timestamp;

use super::ALLOWANCE;
use super::MIB;
use super::broker::Broker;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidelog");
const SESSIONS: u32 = 40_000;
/// What an offline session with a subscription may cost.
const SESSION_BYTES_MAX: u64 = 1_024;
/// The same when the state was made from the log: the names of all its rows are in memory until the new checkpoint is written.
const REBUILT_BYTES_MAX: u64 = 2 * SESSION_BYTES_MAX;
const MESSAGE_BYTES: usize = 4 << 10;
/// Messages that wait for the sessions: 256 MiB of them.
const MESSAGES: u32 = 64 << 10;
/// What a start keeps of the log in memory, as the settings say.
const TAIL: u64 = 4 * MIB;
const SETTINGS: [&str; 1] = ["data.tail_memory=4 MiB"];

/// A data directory with so many offline sessions, and then so many messages that each of them is owed.
fn filled(sessions: u32, messages: u32) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::create(&directory.path().join("data")).unwrap());
    let states = Box::new(MemoryStateStore::new());
    let mut opened =
        Store::open(disk, states, Options::default(), Timestamp::EPOCH, &mut |_| ()).unwrap();
    for number in 0..sessions {
        put_session(&mut opened.store, number);
        commit_each(&mut opened, number, 10_000);
    }
    let payload = vec![0x61; MESSAGE_BYTES];
    for number in 0..messages {
        let topic = format!("plant/{}/{}", number % 100, number % 7);
        let message = NewMessage {
            topic: &topic,
            payload: &payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            publisher: "publisher",
            packet_id: None,
            expiry_interval: None,
            properties: &[],
        };
        opened.store.append_message(Timestamp::EPOCH, &message);
        commit_each(&mut opened, number, 500);
    }
    commit_each(&mut opened, 0, 1);
    directory
}

fn put_session(store: &mut Store, number: u32) {
    let client = ClientId::try_from(format!("device-{number}").as_str()).unwrap();
    let row = SessionRow {
        user: None,
        version: ProtocolVersion::V5,
        expiry_interval: u32::MAX,
        connected: false,
        created_at: Timestamp::EPOCH,
        disconnected_at: Timestamp::EPOCH,
    };
    let from = store.put(Timestamp::EPOCH, Row::Session(client.clone(), Some(row)));
    let filter = Text::try_from(format!("plant/+/{number}/#").as_str()).unwrap();
    store.put(Timestamp::EPOCH, Row::Subscription(client, filter, Some(subscription(from))));
}

fn subscription(from: Offset) -> SubscriptionRow {
    let span = Span {
        from,
        until: None,
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
        subscription_id: None,
        retained_run: false,
        meta: Meta::None,
        replay: None,
    };
    SubscriptionRow { spans: vec![span] }
}

fn commit_each(opened: &mut Opened, number: u32, step: u32) {
    if number % step != step - 1 && step > 1 {
        return;
    }
    while let Some(batch) = opened.store.take_batch() {
        let committed = opened.writer.commit(&batch, tidelog::commitlog::Durability::Os).unwrap();
        opened.store.committed(&committed);
    }
}

fn start(directory: TempDir) -> Broker {
    Broker::start_in(Path::new(PROGRAM), directory, &SETTINGS)
}

#[test]
fn what_waits_for_sessions_costs_a_start_no_memory() {
    let none = start(filled(10, 0)).memory();
    // Once without a checkpoint, which reads the whole log, and once with one.
    let first = start(filled(10, MESSAGES));
    let rebuilt = first.memory();
    let resumed = start(first.kill()).memory();
    for after in [rebuilt, resumed] {
        let grown = after.peak.saturating_sub(none.peak);
        println!("grown by {} KiB for {} MiB of messages", grown / 1024, MESSAGES / 256);
        assert!(grown <= TAIL + ALLOWANCE, "a start needs {grown} bytes more");
    }
}

#[test]
fn an_offline_session_costs_at_most_a_kilobyte() {
    let few = offline(SESSIONS / 8);
    let many = offline(SESSIONS);
    let each = |few: u64, many: u64| many.saturating_sub(few) / u64::from(SESSIONS - SESSIONS / 8);
    let rebuilt = each(few.rebuilt, many.rebuilt);
    let resumed = each(few.resumed, many.resumed);
    println!("{resumed} bytes for each of {SESSIONS} sessions; {rebuilt} without a checkpoint");
    assert!(resumed <= SESSION_BYTES_MAX, "{resumed} bytes for each session");
    assert!(rebuilt <= REBUILT_BYTES_MAX, "{rebuilt} bytes for each session without a checkpoint");
}

/// What is resident after a start.
struct Resident {
    /// Without a checkpoint.
    rebuilt: u64,
    /// With one.
    resumed: u64,
}

/// What is resident with so many offline sessions.
fn offline(sessions: u32) -> Resident {
    let first = start(filled(sessions, 0));
    let rebuilt = first.memory().resident;
    Resident { rebuilt, resumed: start(first.kill()).memory().resident }
}
