//! What the store can be told.

use std::time::Duration;

use crate::commitlog;

/// When a record counts as durable, so that what it promises may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut: an `fdatasync` begun after the write has returned.
    #[default]
    Fsync,
    /// It survives the process: it was handed to the operating system.
    Os,
    /// At once: it may be lost with the process.
    None,
}

impl Durability {
    /// How far a commit has to go.
    pub const fn commit(self) -> commitlog::Durability {
        match self {
            Self::Fsync => commitlog::Durability::Fsync,
            Self::Os | Self::None => commitlog::Durability::Os,
        }
    }
}

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Of the log. `record_bytes_max` is raised so that every message MQTT can carry has room.
    pub log: commitlog::Options,
    /// When a record counts as durable.
    pub durability: Durability,
    /// Whether messages at QoS 0 are kept in the log; retained ones always are.
    pub log_qos0: bool,
    /// How much time passes between two checkpoints.
    pub checkpoint_interval: Duration,
    /// How far the wall clock may be ahead of the log at a start. What is more does not count for what may expire.
    pub clock_jump_max: Duration,
    /// A segment is rewritten when so many percent of it are dead (default 10).
    pub clean_dead_percent: u8,
    /// A round of cleaning begins when the segments that no round has seen have so many percent of the bytes of the others
    /// (default 50).
    pub clean_growth_percent: u32,
    /// How many names of rows and clients a round of cleaning may remember, at 48 bytes (default 1,000,000). What it does not
    /// remember it does not drop.
    pub clean_names_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: commitlog::Options::default(),
            durability: Durability::default(),
            log_qos0: true,
            checkpoint_interval: Duration::from_secs(1),
            clock_jump_max: Duration::from_hours(30 * 24),
            clean_dead_percent: 10,
            clean_growth_percent: 50,
            clean_names_max: 1_000_000,
        }
    }
}
