//! Opens the data directory and makes the broker of what is in it, before anybody can connect.

use std::path::Path;
use std::sync::Arc;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::error::ServerError;
use super::options;
use super::random;
use super::work::Tools;
use crate::broker::Broker;
use crate::broker::event::Event;
use crate::broker::event::Output;
use crate::collections::set_hash_seed;
use crate::commitlog::disk::Access as DiskAccess;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::OsDisk;
use crate::config::Config;
use crate::store::OpenProgress;
use crate::store::Opened;
use crate::store::RecoverySummary;
use crate::store::SledStateStore;
use crate::store::Store;
use crate::time::Timestamp;

use super::driver::Core;
use super::files::AccessFiles;

/// The key that names the data directory.
const DATA: &str = "data.dir (--data)";
/// The folder of the state in the data directory.
const STATE: &str = "state";
/// The file in the data directory whose bytes nobody outside knows, the same at every start.
const SECRET: &str = "secret";
/// How often a long start says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

static HASH_SEED: Once = Once::new();

/// A broker on an open store, and all that belongs to it.
pub(super) struct OpenedBroker {
    pub(super) broker: Broker,
    pub(super) tools: Tools,
    pub(super) access: AccessFiles,
    pub(super) recovery: RecoverySummary,
    pub(super) took: Duration,
}

impl Core for Broker {
    fn handle(&mut self, now: Timestamp, event: Event<'_>) {
        Self::handle(self, now, event);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        Self::poll_timeout(self)
    }
}

/// Locks the data directory, opens and verifies every store in it, reads the files of access, makes the broker.
pub(super) fn broker(config: &Config, clock: &Clock) -> Result<OpenedBroker, ServerError> {
    let seed = u64::from_le_bytes(random()?);
    HASH_SEED.call_once(|| set_hash_seed(seed));
    let started = clock.now();
    let path = &config.data.dir;
    let unusable = |source| ServerError::Unreadable { key: DATA, path: path.clone(), source };
    let disk = Arc::new(OsDisk::create(path).map_err(unusable)?);
    let opened = store(config, Arc::clone(&disk) as Arc<dyn Disk>, clock)?;
    let access = AccessFiles::new(config.access.clone(), secret(path, disk.as_ref())?);
    let Opened { store, writer, reader, checkpointer, recovery } = opened;
    let durability = options::durability(config).commit();
    let options = options::broker(config);
    let broker = Broker::new(options, store, access.open()?, random()?, clock.now());
    let tools = Tools { writer, durability, reader, checkpointer, verifiers: verifiers() };
    let took = clock.now().since(started);
    Ok(OpenedBroker { broker, tools, access, recovery, took })
}

fn store(config: &Config, disk: Arc<dyn Disk>, clock: &Clock) -> Result<Opened, ServerError> {
    let state = Box::new(SledStateStore::new(config.data.dir.join(STATE)));
    let options = options::store(config, u64::from_le_bytes(random()?));
    let mut told = clock.now();
    let mut tell = |progress: &OpenProgress| {
        if clock.now().since(told) >= PROGRESS_INTERVAL {
            told = clock.now();
            tracing::info!(?progress, "opening the data directory");
        }
    };
    Ok(Store::open(disk, state, options, clock.now(), &mut tell)?)
}

/// The secret of this data directory; made when there is none.
fn secret(directory: &Path, disk: &dyn Disk) -> Result<[u8; 32], ServerError> {
    let unusable =
        |source| ServerError::Unreadable { key: DATA, path: directory.join(SECRET), source };
    let mut secret = [0; 32];
    if let Ok(file) = disk.open(SECRET, DiskAccess::Read)
        && file.read_at(&mut secret, 0).map_err(unusable)? == secret.len()
    {
        return Ok(secret);
    }
    secret = random()?;
    let file = disk.open(SECRET, DiskAccess::Create).map_err(unusable)?;
    file.write_at(&secret, 0).and_then(|()| file.sync_data()).map_err(unusable)?;
    disk.sync_dir().map_err(unusable)?;
    Ok(secret)
}

/// How many threads check passwords: half of the cores.
fn verifiers() -> usize {
    thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}
