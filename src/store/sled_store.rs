//! The state store on sled 0.34, inside the fences that its faults ask for.
//!
//! - `flush()` there is no sync for a power cut, so each is followed by an `fdatasync` of its file `db`.
//! - Large batches leak memory and large values go to files that are never synced: both are refused.
//! - It may panic on damaged files: every call is caught, and its end. A directory that does not open is renamed, so that nothing
//!   is lost for whoever wants to look, and a new one takes its place.
//! - Its own background flusher is off: nothing is written but by a checkpoint.

#![expect(
    clippy::disallowed_methods,
    reason = "sled's directory is renamed, removed and waited for here, and nowhere else"
)]

use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::commitlog::disk::Access;
use crate::commitlog::disk::Disk;
use crate::commitlog::disk::DiskFile;
use crate::commitlog::disk::OsDisk;
use crate::store::Change;
use crate::store::StateError;
use crate::store::StateOpened;
use crate::store::StateStore;
use crate::store::state_store::check;

/// sled's cache: more would not be used, since it is read only at start.
const CACHE_BYTES: u64 = 16 << 20;

/// A database that was just dropped holds its lock a little longer: how often to try, and the time between.
const LOCK_TRIES: usize = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// sled's one file of data.
const DATA_FILE: &str = "db";

/// A state store in a directory of its own.
pub struct SledStateStore {
    path: PathBuf,
    open: Option<OpenSled>,
    /// Whether a call has failed in a way that says that the files are damaged.
    damaged: bool,
}

struct OpenSled {
    database: Database,
    data: Arc<dyn DiskFile>,
}

/// A database that may be let go: sled writes once more then, and panics if its file fails.
struct Database(Option<sled::Db>);

impl Drop for Database {
    fn drop(&mut self) {
        let database = self.0.take();
        // Nothing is lost: a checkpoint that was promised is synced, and the log has the rest.
        let _ = caught(|| {
            drop(database);
            Ok(())
        });
    }
}

/// Why sled did not do what it was asked.
enum Failure {
    Refused(sled::Error),
    Panicked,
}

impl SledStateStore {
    /// A state store in the directory `path`, which is made when it is opened.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), open: None, damaged: false }
    }

    fn directory(&self) -> Box<str> {
        self.path.display().to_string().into()
    }

    fn io(&self, what: &'static str, error: io::Error) -> StateError {
        StateError::Io { directory: self.directory(), what, source: Arc::new(error) }
    }

    fn error(&self, what: &'static str, failure: Failure) -> StateError {
        let directory = self.directory();
        match failure {
            Failure::Panicked => StateError::Panicked { directory, what },
            Failure::Refused(error) if is_locked(&error) => StateError::Locked { directory },
            Failure::Refused(sled::Error::Io(error)) => self.io(what, error),
            Failure::Refused(_) => StateError::Damaged { directory, what },
        }
    }

    /// Calls sled.
    fn call<T>(
        &mut self,
        what: &'static str,
        call: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StateError> {
        let open = self.open.as_ref().and_then(|open| open.database.0.as_ref());
        let database = open.ok_or(StateError::NotOpen)?;
        let outcome = caught(|| call(database));
        outcome.map_err(|failure| {
            self.damaged |= is_damage(&failure);
            self.error(what, failure)
        })
    }

    fn try_open(&self) -> Result<Database, Failure> {
        let config =
            sled::Config::new().path(&self.path).flush_every_ms(None).cache_capacity(CACHE_BYTES);
        let mut tries = 1;
        loop {
            match caught(|| config.open()) {
                Err(Failure::Refused(error)) if is_locked(&error) && tries < LOCK_TRIES => {
                    tries += 1;
                    thread::sleep(LOCK_PAUSE);
                }
                outcome => return outcome.map(|database| Database(Some(database))),
            }
        }
    }

    /// Takes an opened database into use, with everything that names its files durable.
    fn take(&mut self, database: Database) -> Result<(), StateError> {
        let data = OsDisk::open(&self.path).and_then(|disk| {
            disk.sync_dir()?;
            disk.open(DATA_FILE, Access::Write)
        });
        let data = data.map_err(|error| self.io("opening its file", error))?;
        self.sync_parent()?;
        self.open = Some(OpenSled { database, data });
        Ok(())
    }

    /// Renames the directory to the first free name, which is returned.
    fn move_aside(&mut self) -> Result<Box<str>, StateError> {
        self.open = None;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut number = 1_u64;
        let aside = loop {
            let aside = format!("{name}.damaged-{number}");
            if !self.path.with_file_name(&aside).exists() {
                break aside;
            }
            number += 1;
        };
        fs::rename(&self.path, self.path.with_file_name(&aside))
            .map_err(|error| self.io("moving it aside", error))?;
        self.sync_parent()?;
        Ok(aside.into())
    }

    fn sync_parent(&self) -> Result<(), StateError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = OsDisk::open(parent.unwrap_or(Path::new(".")));
        parent
            .and_then(|disk| disk.sync_dir())
            .map_err(|error| self.io("syncing the directory above", error))
    }

    /// Keeps what is there under another name, and makes a new one.
    fn open_aside(&mut self) -> Result<StateOpened, StateError> {
        let moved_aside = Some(self.move_aside()?);
        self.open_new()?;
        Ok(StateOpened { moved_aside })
    }

    fn open_new(&mut self) -> Result<(), StateError> {
        let database =
            self.try_open().map_err(|failure| self.error("making a new one", failure))?;
        self.damaged = false;
        self.take(database)
    }
}

impl StateStore for SledStateStore {
    fn open(&mut self) -> Result<StateOpened, StateError> {
        self.open = None;
        if self.path.is_file() {
            return self.open_aside();
        }
        match self.try_open() {
            Ok(database) => {
                self.take(database)?;
                Ok(StateOpened::default())
            }
            Err(failure) if is_damage(&failure) => self.open_aside(),
            Err(failure) => Err(self.error("opening", failure)),
        }
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        self.call("a scan", |database| {
            for entry in database.iter() {
                let (key, value) = entry?;
                visit(&key, &value);
            }
            Ok(())
        })
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let value = self.call("a read", |database| database.get(key))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StateError> {
        check(changes)?;
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.call("a batch", |database| database.apply_batch(batch))
    }

    fn sync(&mut self) -> Result<(), StateError> {
        self.call("a flush", |database| database.flush().map(drop))?;
        let data = &self.open.as_ref().ok_or(StateError::NotOpen)?.data;
        data.sync_data().map_err(|error| self.io("a sync", error))
    }

    fn wipe(&mut self) -> Result<(), StateError> {
        self.open = None;
        if self.damaged {
            self.move_aside()?;
        } else if self.path.exists() {
            let doomed = self.path.with_extension("old");
            remove(&doomed).map_err(|error| self.io("removing", error))?;
            fs::rename(&self.path, &doomed).map_err(|error| self.io("renaming", error))?;
            self.sync_parent()?;
            remove(&doomed).map_err(|error| self.io("removing", error))?;
        }
        self.open_new()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn caught<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(Failure::Refused),
        Err(_) => Err(Failure::Panicked),
    }
}

/// sled says this in words only.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Whether the files are at fault, and not the system's permissions or space.
fn is_damage(failure: &Failure) -> bool {
    match failure {
        Failure::Refused(error) if is_locked(error) => false,
        Failure::Refused(sled::Error::Io(error)) => !is_system(error),
        Failure::Refused(_) | Failure::Panicked => true,
    }
}

fn is_system(error: &io::Error) -> bool {
    use io::ErrorKind::FileTooLarge;
    use io::ErrorKind::NotADirectory;
    use io::ErrorKind::NotFound;
    use io::ErrorKind::PermissionDenied;
    use io::ErrorKind::QuotaExceeded;
    use io::ErrorKind::ReadOnlyFilesystem;
    use io::ErrorKind::StorageFull;
    matches!(
        error.kind(),
        FileTooLarge
            | NotADirectory
            | NotFound
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | StorageFull
    )
}
