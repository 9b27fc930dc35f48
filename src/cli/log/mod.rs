//! `tidelog log`: data directories looked into, copied and mended. A file for each command.
//!
//! Whatever only reads works beside a running broker, locks nothing and changes nothing.

mod directory;
mod dump;
mod repair;
mod snapshot;
mod verify;

use clap::Subcommand;

use super::Failure;
use crate::commitlog::LogError;

/// The commands of `log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check everything in a data directory, also beside a running broker; exit with 1 if something is wrong.
    Verify(verify::VerifyArgs),
    /// Print the records of a data directory, one JSON object a line.
    Dump(dump::DumpArgs),
    /// Make a damaged data directory whole by giving up what can't be read; copies it first.
    Repair(repair::RepairArgs),
    /// Copy the data of a running broker, as they are at this moment.
    Snapshot(snapshot::SnapshotArgs),
    /// Make a data directory of a snapshot.
    Restore(snapshot::RestoreArgs),
}

impl LogCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if the directory can't be read, or written where it has to be, or if something in it is wrong.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(arguments) => arguments.run(),
            Self::Dump(arguments) => arguments.run(),
            Self::Repair(arguments) => arguments.run(),
            Self::Snapshot(arguments) => arguments.run(),
            Self::Restore(arguments) => arguments.run(),
        }
    }
}

fn failure(error: &LogError) -> Failure {
    Failure::failed(error.to_string())
}
