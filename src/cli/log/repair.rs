//! `tidelog log repair`: gives up what can't be read, after a copy was made, and says what that was.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use super::directory;
use super::directory::DirectoryArgs;
use super::directory::Growing;
use super::failure;
use super::verify;
use crate::cli::Failure;
use crate::cli::moment::Moment;
use crate::cli::stdout;
use crate::cli::terminal;
use crate::commitlog;
use crate::commitlog::GivenUp;
use crate::commitlog::RepairReport;
use crate::commitlog::disk::Disk;

/// So many topics of one place are named.
const TOPICS_MAX: usize = 20;

/// The flags of `log repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Where the copy goes; missing or empty [default: DIR.before-repair-TIME]
    #[arg(long, value_name = "COPY")]
    copy_to: Option<PathBuf>,
}

impl RepairArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = self.directory.path()?;
        let disk = directory::open(&path)?;
        refuse_if_in_use(&disk)?;
        let before = verify::verify(&path)?.faults();
        let copy = self.copy_to.unwrap_or_else(|| {
            directory::with_suffix(&path, &format!(".before-repair-{}", Moment::now().file_name()))
        });
        let begun = directory::with_prefix(&path, ".before-repair-", directory::PARTIAL);
        let growing = Growing::begin(&copy)?;
        directory::copy(&path, growing.path())?;
        growing.finish()?;
        let mut text = format!("the directory as it was: {}\n", copy.display());
        text.extend(begun.iter().map(|begun| half_a_copy(begun)));
        let repaired = commitlog::repair(&disk).map_err(|error| failure(&error))?;
        text += &describe(&repaired);
        let state_is_wrong = before.iter().any(|fault| fault.starts_with("state:"));
        if state_is_wrong || !repaired.given_up.is_empty() {
            directory::remove(&path.join(directory::STATE))?;
            text += "the state was removed: the next start makes it of the log\n";
        }
        stdout::print(&text)?;
        let left = verify::verify(&path)?.faults();
        for fault in &left {
            terminal::error(fault);
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(Failure::failed("not everything could be mended"))
        }
    }
}

/// What is said of the copy that an earlier repair began.
fn half_a_copy(begun: &Path) -> String {
    let begun = begun.display();
    format!(
        "an earlier repair was interrupted; its copy is not whole and can be removed: {begun}\n"
    )
}

/// Fails while a broker uses the directory. The repair itself takes the lock again.
fn refuse_if_in_use(disk: &dyn Disk) -> Result<(), Failure> {
    match disk.lock("lock") {
        Ok(lock) => {
            drop(lock);
            Ok(())
        }
        Err(error) => {
            let directory = disk.directory();
            Err(Failure::failed(format!(
                "{directory} can't be locked, is a broker using it? {error}"
            )))
        }
    }
}

fn describe(repaired: &RepairReport) -> String {
    if repaired.is_empty() {
        return "nothing was wrong with the log\n".to_owned();
    }
    let mut lines: Vec<String> = repaired
        .given_up
        .iter()
        .map(|given_up| format!("given up: {}{}\n", given_up.damage, topics(given_up)))
        .collect();
    if repaired.leftover_removed {
        lines.push(
            "an earlier repair was interrupted; what it left in the directory was removed\n"
                .to_owned(),
        );
    }
    lines.extend(repaired.torn.as_ref().map(|torn| {
        let (bytes, position, file) = (torn.bytes, torn.position, &torn.file);
        format!("cut: {bytes} bytes that were no whole batch, at byte {position} of {file}\n")
    }));
    let places = repaired.given_up.iter().map(|given_up| &given_up.damage);
    let records: u64 = places.clone().map(|damage| damage.to.since(damage.from)).sum();
    let bytes: u64 = places.map(|damage| damage.bytes).sum();
    lines.push(format!(
        "given up in all: {records} offsets, {bytes} bytes; {} segments written anew, {} indexes made anew\n",
        repaired.segments_rewritten, repaired.indexes_rebuilt
    ));
    lines.concat()
}

/// The topics of what was given up, as far as they are known.
fn topics(given_up: &GivenUp) -> String {
    if given_up.damage.from == given_up.damage.to {
        return String::new();
    }
    let Some(keys) = &given_up.keys else { return ", topics unknown".to_owned() };
    let names = keys.iter().take(TOPICS_MAX).map(|key| String::from_utf8_lossy(key).into_owned());
    let names: Vec<String> = names.collect();
    let more = keys.len().saturating_sub(TOPICS_MAX);
    match (names.is_empty(), more) {
        (true, _) => ", no messages among them".to_owned(),
        (false, 0) => format!(", messages to {}", names.join(", ")),
        (false, more) => format!(", messages to {} and {more} more topics", names.join(", ")),
    }
}
