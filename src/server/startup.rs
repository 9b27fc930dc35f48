//! What a start found and opened, as a person wants to read it.

use std::fmt;
use std::time::Duration;

use super::listener::ListenerAddress;
use crate::config::Config;
use crate::config::Durability;
use crate::store::CheckpointUse;
use crate::store::ClockFound;
use crate::store::OpenProgress;
use crate::store::RecoverySummary;

/// A clock that is behind by less was only put right.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// What a server found, opened and promises. Its display is a few lines for the terminal, without a newline at the end.
#[derive(Clone, Debug)]
pub struct Startup {
    /// What the data directory held, and how long it took to open; `None` for a core without one.
    pub recovery: Option<(RecoverySummary, Duration)>,
    /// Where the server listens, with the ports that it got; in the order of the configuration.
    pub addresses: Vec<ListenerAddress>,
    /// What should not go unseen: clients let in without a name, acknowledgements that promise little, damage.
    pub warnings: Vec<String>,
    directory: String,
    durability: Durability,
}

impl Startup {
    pub(super) fn new(
        config: &Config,
        recovery: Option<(RecoverySummary, Duration)>,
        addresses: Vec<ListenerAddress>,
    ) -> Self {
        let mut warnings = Vec::new();
        let open_to_all = config
            .listeners
            .iter()
            .filter(|listener| listener.lets_anonymous_in() && !listener.is_loopback());
        warnings.extend(open_to_all.map(|listener| {
            let name = &listener.name;
            format!("listener {name} lets everybody in who can reach it, without a user name (anonymous)")
        }));
        if config.data.durability != Durability::Fsync {
            warnings.push(
                "acknowledged messages can be lost by a power cut (data.durability)".to_owned(),
            );
        }
        if let Some((recovery, _)) = &recovery {
            warnings.extend(damage(recovery));
        }
        let directory = config.data.dir.display().to_string();
        Self { recovery, addresses, warnings, directory, durability: config.data.durability }
    }

    /// Says the same to the diagnostics.
    pub(super) fn trace(&self) {
        for line in self.to_string().lines().filter(|line| !line.starts_with("WARNING")) {
            tracing::info!("{line}");
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Each thing that recovery found wrong.
fn damage(recovery: &RecoverySummary) -> Vec<String> {
    let places = recovery.places();
    let mut found: Vec<String> = places.iter().map(|damage| format!("damage: {damage}")).collect();
    if recovery.records_unreadable > 0 {
        found
            .push(format!("{} records can't be read by this version", recovery.records_unreadable));
    }
    match &recovery.checkpoint {
        CheckpointUse::Rebuilt(reason) if !recovery.log.created => {
            found.push(format!("the state is rebuilt from the whole log: {reason}"));
        }
        CheckpointUse::Rebuilt(_) | CheckpointUse::Used { .. } => {}
    }
    match recovery.clock {
        ClockFound::Behind { by } if by >= CLOCK_TOLERANCE => {
            found.push(recovery.clock.to_string());
        }
        ClockFound::Ahead { .. } => found.push(recovery.clock.to_string()),
        ClockFound::Agrees | ClockFound::Behind { .. } => {}
    }
    if let Some(error) = &recovery.checkpoint_error {
        found.push(format!("no checkpoint: {error}"));
    }
    found
}

/// How far a long start has come, as one line.
pub(super) fn progress(progress: &OpenProgress) -> String {
    let mebibytes = |bytes: u64| bytes >> 20;
    match progress {
        OpenProgress::Log(log) => format!(
            "opening the log: {} of {} segments, {} MiB read",
            log.segments,
            log.segments_total,
            mebibytes(log.bytes)
        ),
        OpenProgress::Replay { from, offset, next_offset, records, bytes } => {
            let percent = offset.since(*from).saturating_mul(100) / next_offset.since(*from).max(1);
            let (all, read) = (next_offset.since(*from), mebibytes(*bytes));
            format!(
                "making the state of the log: {records} of {all} records ({percent} %), {read} MiB read"
            )
        }
    }
}

impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((recovery, took)) = &self.recovery {
            write_recovery(f, &self.directory, recovery, *took)?;
            let promise = match self.durability {
                Durability::Fsync => "an acknowledged message is on disk (fsync)",
                Durability::Os => "an acknowledged message is with the operating system (os)",
                Durability::None => "an acknowledged message is in memory (none)",
            };
            writeln!(f, "durability: {promise}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "WARNING: {warning}")?;
        }
        f.write_str("listening:")?;
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {address}")?;
            if !address.says_its_name() {
                write!(f, " ({})", address.name)?;
            }
        }
        Ok(())
    }
}

fn write_recovery(
    f: &mut fmt::Formatter<'_>,
    directory: &str,
    recovery: &RecoverySummary,
    took: Duration,
) -> fmt::Result {
    let log = &recovery.log;
    if log.created {
        return writeln!(f, "data: {directory}, new");
    }
    write!(f, "data: {directory}, offsets {} to {}", log.start_offset, log.next_offset)?;
    let RecoverySummary { sessions, subscriptions, retained, records_replayed, .. } = recovery;
    write!(f, ", {sessions} sessions, {subscriptions} subscriptions, {retained} retained")?;
    if recovery.delayed > 0 {
        write!(f, ", {} delayed", recovery.delayed)?;
    }
    let from = match &recovery.checkpoint {
        CheckpointUse::Used { .. } => "after the checkpoint",
        CheckpointUse::Rebuilt(_) => "of the whole log",
    };
    let millis = took.as_millis();
    write!(f, "; {records_replayed} records {from} replayed in {millis} ms")?;
    if let Some(torn) = &log.torn {
        write!(f, "; cut {} unfinished bytes in {}", torn.bytes, torn.file)?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitlog::Offset;
    use crate::commitlog::RecoveryProgress;

    #[test]
    fn progress_is_told_in_words() {
        let log = RecoveryProgress { segments: 3, segments_total: 16, bytes: 201 << 20 };
        assert_eq!(
            progress(&OpenProgress::Log(log)),
            "opening the log: 3 of 16 segments, 201 MiB read"
        );
        let replay = OpenProgress::Replay {
            from: Offset::new(1_000),
            offset: Offset::new(2_000),
            next_offset: Offset::new(5_000),
            records: 1_000,
            bytes: 5 << 20,
        };
        assert_eq!(
            progress(&replay),
            "making the state of the log: 1000 of 4000 records (25 %), 5 MiB read"
        );
    }
}
