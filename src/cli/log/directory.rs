//! The directories that the commands work on, beside the files of the log: opened, made under a name for the time being, copied.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a user's directories are made, copied and renamed here"
)]

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use crate::cli::Failure;
use crate::cli::check_config::ConfigArgs;
use crate::commitlog::disk::OsDisk;
use crate::config;
use crate::config::Sources;

/// The folder of the state in a data directory.
pub(super) const STATE: &str = "state";
/// The end of the name of a directory that is not whole yet.
pub(super) const PARTIAL: &str = ".partial";
/// How often the state is copied again because a broker wrote to it meanwhile.
const STATE_ATTEMPTS: usize = 50;

/// Which data directory.
#[derive(Debug, Args)]
pub(super) struct DirectoryArgs {
    /// The data directory; otherwise the configuration's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl DirectoryArgs {
    /// The path of the directory.
    pub(super) fn path(self) -> Result<PathBuf, Failure> {
        match self.data {
            Some(directory) => Ok(directory),
            None => Ok(config::load(&Sources::from(self.config))?.data.dir),
        }
    }
}

/// Opens a directory that is there.
pub(super) fn open(path: &Path) -> Result<OsDisk, Failure> {
    OsDisk::open(path).map_err(|error| failed("open", path, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("can't {what} {}: {error}", path.display()))
}

/// A directory that is being filled under another name, and gets its own when it is whole.
pub(super) struct Growing {
    target: PathBuf,
    partial: PathBuf,
}

impl Growing {
    /// Begins. The target has to be missing or empty.
    pub(super) fn begin(target: &Path) -> Result<Self, Failure> {
        if fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Failure::failed(format!("{} is not empty", target.display())));
        }
        if target.is_file() {
            return Err(Failure::failed(format!("{} is a file", target.display())));
        }
        let partial = with_suffix(target, PARTIAL);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| failed("remove", &partial, &error))?;
        }
        fs::create_dir_all(&partial).map_err(|error| failed("make", &partial, &error))?;
        Ok(Self { target: target.to_owned(), partial })
    }

    /// Where it is filled.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
        let named = sync(&self.partial)
            .and_then(|()| fs::rename(&self.partial, &self.target))
            .and_then(|()| sync(&parent(&self.target)));
        named.map_err(|error| failed("make", &self.target, &error))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // Nobody wants a half of it; after it was renamed there is nothing to remove.
        drop(fs::remove_dir_all(&self.partial));
    }
}

/// The same name with something behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directories beside this one whose names are its own with this behind it, anything, and this end.
pub(super) fn with_prefix(path: &Path, behind: &str, end: &str) -> Vec<PathBuf> {
    let prefix = with_suffix(path, behind);
    let (Some(prefix), Ok(entries)) = (prefix.file_name(), fs::read_dir(parent(path))) else {
        return Vec::new();
    };
    let prefix = prefix.as_encoded_bytes();
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.starts_with(prefix) && name.ends_with(end.as_bytes())
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(fits).collect();
    found.sort();
    found
}

fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Gives a file of one directory the same name in another, where the system can.
pub(super) fn link(source: &Path, target: &Path, name: &str) -> io::Result<()> {
    fs::hard_link(source.join(name), target.join(name))
}

/// Copies a directory and all that is in it, durably.
pub(super) fn copy(source: &Path, target: &Path) -> Result<(), Failure> {
    copy_all(source, target).map_err(|error| failed("copy to", target, &error))
}

fn copy_all(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    File::open(target)?.sync_all()
}

/// Removes a directory, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A copy of the state of a data directory, removed when it is dropped.
pub(super) struct StateCopy {
    folder: PathBuf,
}

impl StateCopy {
    /// Copies the state; `None` if there is none, or if a broker writes to it all the time.
    pub(super) fn take(data: &Path) -> Result<Option<Self>, Failure> {
        let source = data.join(STATE);
        if !source.is_dir() {
            return Ok(None);
        }
        let name = format!("tidelog-verify-{}", std::process::id());
        let copy = Self { folder: std::env::temp_dir().join(name) };
        for _ in 0..STATE_ATTEMPTS {
            remove(&copy.folder)?;
            let before = signature(&source);
            let copied = copy_all(&source, &copy.path());
            let unchanged =
                before.is_ok_and(|before| signature(&source).is_ok_and(|now| now == before));
            if copied.is_ok() && unchanged {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }

    /// Where the copy is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(STATE)
    }
}

impl Drop for StateCopy {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The names, sizes and times of change of all files in a folder: the same twice means that nothing was written between.
fn signature(folder: &Path) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            found.extend(signature(&entry.path())?);
        } else {
            found.push((entry.path(), metadata.len(), metadata.modified()?));
        }
    }
    found.sort();
    Ok(found)
}
