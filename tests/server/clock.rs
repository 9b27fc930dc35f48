//! A data directory whose newest record is not where the wall clock is.

#![expect(clippy::disallowed_types, reason = "the test says what the wall says")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tidelog::commitlog::disk::OsDisk;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::server::Running;
use tidelog::server::Server;
use tidelog::store::ClockFound;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::Row;
use tidelog::store::SessionRow;
use tidelog::store::SledStateStore;
use tidelog::store::Store;
use tidelog::time::Timestamp;

use super::echo::config;
use super::echo::listener;

const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);

/// A data directory in which a session was left at `moment`, to be kept for 60 days.
fn left_at(dir: &Path, moment: Timestamp) {
    let disk = Arc::new(OsDisk::create(dir).unwrap());
    let states = Box::new(SledStateStore::new(dir.join("state")));
    let opened = Store::open(disk, states, Options::default(), moment, &mut |_| {}).unwrap();
    let Opened { mut store, mut writer, .. } = opened;
    let row = SessionRow {
        user: None,
        version: ProtocolVersion::V5,
        expiry_interval: 60 * 24 * 3_600,
        connected: false,
        created_at: moment,
        disconnected_at: moment,
    };
    store.put(moment, Row::Session(ClientId::try_from("c").unwrap(), Some(row)));
    let batch = store.take_batch().unwrap();
    writer.commit(&batch, store.options().durability.commit()).unwrap();
}

fn start(dir: &Path) -> Running {
    let mut config = config(listener("plain"));
    config.data.dir = dir.into();
    Server::new(config).start().unwrap()
}

fn wall() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::EPOCH + now
}

/// Whether the start warned, and what it found of the clock and of sessions.
fn found(running: &Running) -> (bool, ClockFound, usize) {
    let startup = running.startup();
    let (recovery, _) = startup.recovery.as_ref().unwrap();
    let warned = startup.warnings.iter().any(|warning| warning.contains("the clock is"));
    (warned, recovery.clock, recovery.sessions)
}

#[test]
fn a_wall_ten_years_ahead_of_the_log_expires_nothing_at_once() {
    let dir = tempfile::tempdir().unwrap();
    left_at(dir.path(), wall() - TEN_YEARS);
    let running = start(dir.path());
    let (warned, clock, sessions) = found(&running);
    assert!(warned && matches!(clock, ClockFound::Ahead { .. }), "{clock:?}");
    assert_eq!(sessions, 1);
    running.shutdown().unwrap();
    // What was kept is kept at the next start, too, which finds no jump.
    let (warned, clock, sessions) = found(&start(dir.path()));
    assert_eq!((warned, clock, sessions), (false, ClockFound::Agrees, 1));
}

#[test]
fn a_wall_behind_the_log_is_said_and_not_followed() {
    for behind in [Duration::from_hours(1), TEN_YEARS] {
        let dir = tempfile::tempdir().unwrap();
        left_at(dir.path(), wall() + behind);
        let running = start(dir.path());
        let (warned, clock, sessions) = found(&running);
        assert!(warned && matches!(clock, ClockFound::Behind { .. }), "{clock:?}");
        assert_eq!(sessions, 1);
        running.shutdown().unwrap();
        let (_, clock, sessions) = found(&start(dir.path()));
        assert!(matches!(clock, ClockFound::Behind { .. }), "time went back: {clock:?}");
        assert_eq!(sessions, 1);
    }
}
