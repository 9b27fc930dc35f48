//! `tidelog log snapshot` and `tidelog log restore`: a copy of a log as it was at one moment, and the way back.
//!
//! A snapshot is a data directory of its own: the log, without the state, which the first start makes of it.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use super::directory;
use super::directory::DirectoryArgs;
use super::directory::Growing;
use super::failure;
use super::verify;
use crate::cli::Failure;
use crate::cli::stdout;
use crate::cli::terminal;
use crate::commitlog;
use crate::commitlog::SnapshotReport;
use crate::commitlog::StorageError;
use crate::commitlog::StorageFault;

/// The file in a data directory whose bytes nobody outside knows.
const SECRET: &str = "secret";

/// The flags of `log snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Copy every file, where otherwise the new directory would share the segments that are complete with the old one.
    #[arg(long)]
    copy: bool,
    /// The directory to make; missing or empty.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
}

/// The flags of `log restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The data directory to make; missing or empty.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
}

impl SnapshotArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = self.directory.path()?;
        let taken = take(&source, &self.target, !self.copy)?;
        stdout::print(&format!("{}: {}\n", self.target.display(), summary(&taken)))?;
        for damage in &taken.damage {
            terminal::error(&damage.to_string());
        }
        if taken.damage.is_empty() {
            return Ok(());
        }
        Err(Failure::failed("the snapshot has the damage of the directory it was taken of"))
    }
}

impl RestoreArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let faults = verify::verify(&self.snapshot)?.faults();
        for fault in &faults {
            terminal::error(fault);
        }
        if !faults.is_empty() {
            let snapshot = self.snapshot.display();
            return Err(Failure::failed(format!("{snapshot} is damaged; nothing was restored")));
        }
        let taken = take(&self.snapshot, &self.target, false)?;
        stdout::print(&format!("{}: {}\n", self.target.display(), summary(&taken)))
    }
}

/// Copies a log into a new directory.
fn take(source: &Path, target: &Path, share: bool) -> Result<SnapshotReport, Failure> {
    let from = directory::open(source)?;
    let growing = Growing::begin(target)?;
    let to = directory::open(growing.path())?;
    let link = |name: &str| {
        if share {
            directory::link(source, growing.path(), name)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    };
    let taken = commitlog::snapshot(&from, &to, &link).map_err(|error| failure(&error))?;
    match commitlog::copy_file(&from, &to, SECRET) {
        Err(error) if !is_missing(&error) => return Err(Failure::failed(error.to_string())),
        Ok(_) | Err(_) => {}
    }
    growing.finish()?;
    Ok(taken)
}

fn is_missing(error: &StorageError) -> bool {
    matches!(&error.what, StorageFault::Read(error) if error.kind() == io::ErrorKind::NotFound)
}

fn summary(taken: &SnapshotReport) -> String {
    format!(
        "offsets {} up to {}, {} bytes in {} segments, {} of them shared",
        taken.start_offset, taken.next_offset, taken.bytes, taken.segments, taken.linked
    )
}
