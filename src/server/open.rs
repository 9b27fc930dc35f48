//! Opens the data directory and makes the broker of what is in it, before anybody can connect.

#![expect(clippy::disallowed_methods, reason = "a start waits for the process before it to end")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::committer::Committer;
use super::error::ServerError;
use super::holder::holder;
use super::options;
use super::random;
use super::startup;
use super::work::Tools;
use crate::broker::Broker;
use crate::broker::event::Event;
use crate::broker::event::Output;
use crate::collections::set_hash_seed;
use crate::commitlog::LogError;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;
use crate::commitlog::StorageFault;
use crate::commitlog::disk::Access as DiskAccess;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::OsDisk;
use crate::config::Config;
use crate::config::Data;
use crate::store::OpenProgress;
use crate::store::Opened;
use crate::store::RecoverySummary;
use crate::store::SledStateStore;
use crate::store::StateError;
use crate::store::Store;
use crate::store::StoreError;
use crate::time::Timestamp;

use super::driver::Core;
use super::files::AccessFiles;

/// The folder of the state in the data directory.
const STATE: &str = "state";
/// The file in the data directory whose bytes nobody outside knows, the same at every start.
const SECRET: &str = "secret";
/// The file in the data directory that is locked.
const LOCK: &str = "lock";
/// How long a lock that another process holds is waited for, and the time between two looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
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
    /// Never before anything in the log.
    pub(super) clock: Clock,
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

    fn wants_commit(&self) -> bool {
        Self::wants_commit(self)
    }

    fn take_commit(&mut self) -> Option<PendingBatch> {
        Self::take_commit(self)
    }
}

/// Locks the data directory, opens and verifies every store in it, reads the files of access, makes the broker.
pub(super) fn broker(config: &Config, clock: Clock) -> Result<OpenedBroker, ServerError> {
    let seed = u64::from_le_bytes(random()?);
    HASH_SEED.call_once(|| set_hash_seed(seed));
    let started = clock.now();
    let path = &config.data.dir;
    let disk =
        Arc::new(OsDisk::create(path).map_err(|error| unusable(path, not_a_file(path, error)))?);
    let opened = store(config, &(Arc::clone(&disk) as Arc<dyn Disk>), &clock)?;
    let access = AccessFiles::new(config.access.clone(), secret(path, disk.as_ref())?);
    let Opened { store, writer, reader, checkpointer, cleaner, recovery, now } = opened;
    let took = clock.now().since(started);
    let clock = clock.not_before(now);
    let committer = Committer::new(writer, options::durability(config).commit());
    let options = options::broker(config);
    let mut broker = Broker::new(options, store, access.open()?, random()?, clock.now());
    let clean_rate = config.data.clean_rate;
    let verifiers = verifiers();
    let tools = Tools { committer, reader, checkpointer, cleaner, clean_rate, verifiers };
    broker.set_recovery(&recovery, took);
    Ok(OpenedBroker { broker, tools, access, recovery, took, clock })
}

/// Opens the store. A process that was killed an instant ago may hold the directory a little longer: it is waited for.
fn store(config: &Config, disk: &Arc<dyn Disk>, clock: &Clock) -> Result<Opened, ServerError> {
    let deadline = clock.now() + LOCK_PATIENCE;
    let mut told = false;
    loop {
        let error = match try_store(config, Arc::clone(disk), clock)? {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if !is_in_use(&error) || clock.now() >= deadline {
            return Err(refusal(&config.data, error));
        }
        if !told {
            let holder = holder(&config.data.dir);
            tracing::info!("the data directory is in use{holder}: waiting up to {LOCK_PATIENCE:?}");
            told = true;
        }
        thread::sleep(LOCK_PAUSE);
    }
}

fn is_in_use(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Log(LogError::Locked { .. }) | StoreError::State(StateError::Locked { .. })
    )
}

/// Why the store does not open, in words that name the directory.
fn refusal(data: &Data, error: StoreError) -> ServerError {
    let path = data.dir.as_path();
    if is_in_use(&error) {
        return ServerError::InUse { path: path.to_owned(), holder: holder(path) };
    }
    if let StoreError::Log(LogError::Storage(StorageError { file, what, .. })) = &error
        && let (LOCK, StorageFault::Write(source)) = (&**file, what)
    {
        return ServerError::Directory { path: path.to_owned(), source: Arc::clone(source) };
    }
    if let StoreError::Log(LogError::Storage(source)) = &error
        && source.is_full()
    {
        let needed = data.segment_size.saturating_mul(2).saturating_add(data.reserve);
        return ServerError::Full { path: path.to_owned(), source: source.clone(), needed };
    }
    ServerError::Store(error)
}

fn unusable(path: &Path, error: io::Error) -> ServerError {
    ServerError::Directory { path: path.to_owned(), source: Arc::new(error) }
}

/// What the system calls "exists" where a file is in the directory's place.
fn not_a_file(path: &Path, error: io::Error) -> io::Error {
    if path.is_file() { io::ErrorKind::NotADirectory.into() } else { error }
}

fn try_store(
    config: &Config,
    disk: Arc<dyn Disk>,
    clock: &Clock,
) -> Result<Result<Opened, StoreError>, ServerError> {
    let state = Box::new(SledStateStore::new(config.data.dir.join(STATE)));
    let options = options::store(config, u64::from_le_bytes(random()?));
    let mut told = clock.now();
    let mut tell = |progress: &OpenProgress| {
        if clock.now().since(told) >= PROGRESS_INTERVAL {
            told = clock.now();
            tracing::info!("{}", startup::progress(progress));
        }
    };
    Ok(Store::open(disk, state, options, clock.now(), &mut tell))
}

/// The secret of this data directory; made when there is none.
fn secret(directory: &Path, disk: &dyn Disk) -> Result<[u8; 32], ServerError> {
    let unusable = |error| unusable(&directory.join(SECRET), error);
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
