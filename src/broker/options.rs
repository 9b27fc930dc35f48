//! What the core can be told.

use std::time::Duration;

use crate::mqtt::ShareName;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::session;
use crate::session::Commit;
use crate::session::Start;
use crate::session::Strategy;

/// What follows when the disk fails a write or a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnWriteFailure {
    /// The process ends, and a restart recovers what was durable.
    #[default]
    Exit,
    /// What is durable is served on, and nothing more is taken.
    ReadOnly,
}

/// A durable group that there is from the start of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Its share name.
    pub share: ShareName,
    /// Which topics: a filter without prefixes.
    pub filter: TopicFilter,
    /// Where it begins when it is made.
    pub start: Start,
    /// The same in the words that are kept, and compared.
    pub from: Text,
    /// Who gets the next message.
    pub strategy: Strategy,
    /// What ends a delivery.
    pub commit: Commit,
}

/// Limits and habits of the core.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is granted to each client.
    pub session: session::Options,
    /// How long a connection may take to send CONNECT.
    pub connect_timeout: Duration,
    /// The largest CONNECT in bytes.
    pub connect_size_max: usize,
    /// The longest client id in bytes.
    pub client_id_bytes_max: usize,
    /// How many levels a topic or filter may have.
    pub topic_levels_max: usize,
    /// How many subscriptions a session may have.
    pub subscriptions_max: usize,
    /// How many sessions there may be, connected or not.
    pub sessions_max: usize,
    /// How many topics may have a retained message.
    pub retained_max: usize,
    /// How many groups may be durable.
    pub groups_max: usize,
    /// How many messages of a group may be delivered and not committed; at that number it waits.
    pub uncommitted_max: usize,
    /// Groups that are made at the start, unless they exist. One that exists with other words stays as it is, with a warning.
    pub groups: Vec<GroupOptions>,
    /// How many messages may be kept back until they are due.
    pub delayed_max: usize,
    /// How far off a message may be due.
    pub delay_max: Duration,
    /// Bytes held for one connection before it counts as one that can't keep up.
    pub output_bytes_max: usize,
    /// Bytes that wait to become durable before publishers are no longer read from.
    pub pending_bytes_max: usize,
    /// Whether messages published at QoS 0 are kept in the log.
    pub log_qos0: bool,
    /// Whether a payload that is announced as UTF-8 is checked to be that.
    pub check_payload_format: bool,
    /// Which messages are reported that somebody does not get: those to topics that match one of these.
    pub report_undelivered: Vec<TopicFilter>,
    /// How often `$SYS` topics are published; zero for never.
    pub sys_interval: Duration,
    /// How often the checkpoint is brought up to date.
    pub checkpoint_interval: Duration,
    /// How often old segments are looked for.
    pub retention_interval: Duration,
    /// What follows when the disk fails.
    pub on_write_failure: OnWriteFailure,
    /// How often to look whether the log is to be cleaned; zero for never.
    pub clean_interval: Duration,
    /// Where clients are sent when the server shuts down (0x9C), if anywhere [5.0, 4.11].
    pub server_reference: Option<Text>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session: session::Options::default(),
            connect_timeout: Duration::from_secs(10),
            connect_size_max: 8 << 10,
            client_id_bytes_max: 1_024,
            topic_levels_max: 128,
            subscriptions_max: 10_000,
            sessions_max: 1_000_000,
            retained_max: 1_000_000,
            groups_max: 10_000,
            uncommitted_max: 10_000,
            groups: Vec::new(),
            delayed_max: 100_000,
            delay_max: Duration::from_hours(365 * 24),
            output_bytes_max: 256 << 10,
            pending_bytes_max: 64 << 20,
            log_qos0: true,
            check_payload_format: false,
            report_undelivered: Vec::new(),
            sys_interval: Duration::from_secs(10),
            checkpoint_interval: Duration::from_secs(1),
            retention_interval: Duration::from_mins(1),
            on_write_failure: OnWriteFailure::Exit,
            clean_interval: Duration::from_secs(10),
            server_reference: None,
        }
    }
}
