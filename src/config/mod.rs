//! The configuration: one value, made once from several sources and checked.
//!
//! - [`Config`] is what the server reads: every value in its own type, nothing left to check.
//! - [`Layers`] are the sources one upon the other, each key with where it came from.
//! - [`Sources`] is what the command line and the environment say; the only door to the file and the environment.
//!
//! Invariants: `config/tidelog.toml` holds every key at its default, so a key without a line there does not exist; no
//! layer below `server` imports this.

mod group;
mod layers;
mod listener;
mod load;
mod nearest;
mod values;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::broker::GroupOptions;

pub use layers::ConfigError;
pub use layers::Layers;
pub use layers::Setting;
pub use layers::Source;
pub use listener::ClientCertificate;
pub use listener::Endpoint;
pub use listener::Listener;
pub use listener::Tls;
pub use listener::TlsVersion;
pub use listener::UserFromCertificate;
pub use load::Sources;
pub use load::load;

use crate::mqtt::TopicFilter;
use group::GroupKeys;
use listener::ListenerKeys;

/// The defaults with their meaning and their cost, as a user reads them.
pub const DEFAULTS: &str = include_str!("../../config/tidelog.toml");

/// Everything a user can decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where messages are kept, and how surely.
    pub data: Data,
    /// Every bound on what a peer can make the broker hold.
    pub limits: Limits,
    /// Where the broker listens. At least one.
    pub listeners: Vec<Listener>,
    /// Durable groups that there are from the start. No two have the same name and filter.
    pub groups: Vec<GroupOptions>,
    /// Who is let in.
    pub access: Access,
    /// Choices that the protocol leaves open.
    pub mqtt: Mqtt,
    /// Reports of what somebody did not get.
    pub report: Report,
    /// `$SYS`.
    pub sys: Sys,
    /// Diagnostics.
    pub trace: Trace,
}

/// `[data]`: where messages are kept, and how surely.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The data directory.
    pub dir: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// The size of a segment in bytes, 16 KiB to 1 GiB.
    #[serde(deserialize_with = "values::size")]
    pub segment_size: u64,
    /// How many bytes of the newest end of the log stay in memory.
    #[serde(deserialize_with = "values::size")]
    pub tail_memory: u64,
    /// The age at which messages are deleted; `None` for never.
    #[serde(deserialize_with = "values::time_limit")]
    pub retention_age: Option<Duration>,
    /// The size of the log in bytes at which the oldest messages are deleted; `None` for never.
    #[serde(deserialize_with = "values::size_limit")]
    pub retention_bytes: Option<u64>,
    /// The time between two checkpoints of the state.
    #[serde(deserialize_with = "values::time")]
    pub checkpoint_interval: Duration,
    /// How many bytes a second the cleaner reads and writes; zero to clean nothing.
    #[serde(deserialize_with = "values::size")]
    pub clean_rate: u64,
    /// The time between two looks at whether there is something to clean.
    #[serde(deserialize_with = "values::time")]
    pub clean_interval: Duration,
    /// Whether messages of `QoS` 0 are records of the log.
    pub log_qos0: bool,
    /// Bytes of disk that are set aside for the day when it is full; 0 for none, at most 16 GiB.
    #[serde(deserialize_with = "values::size")]
    pub reserve: u64,
    /// What follows when the disk fails a write or a sync.
    pub on_write_failure: OnWriteFailure,
    /// How far the clock may be ahead of the log at a start before it is not believed.
    #[serde(deserialize_with = "values::time")]
    pub clock_jump_max: Duration,
}

/// What follows when the disk fails a write or a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnWriteFailure {
    /// The process ends with the error.
    Exit,
    /// What is durable is served on, and nothing more is taken.
    ReadOnly,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On disk: survives a power cut.
    Fsync,
    /// With the operating system: survives a crash of the broker.
    Os,
    /// In memory.
    None,
}

/// `[limits]`: every bound on what a peer can make the broker hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections in all.
    #[serde(deserialize_with = "values::count")]
    pub connections: u32,
    /// Connections from one address; `None` for no limit of its own.
    #[serde(deserialize_with = "values::count_limit")]
    pub connections_per_address: Option<u32>,
    /// The time until CONNECT is complete.
    #[serde(deserialize_with = "values::time")]
    pub connect_timeout: Duration,
    /// The largest CONNECT packet in bytes.
    #[serde(deserialize_with = "values::size")]
    pub connect_packet_size: u64,
    /// The largest packet from a client in bytes: Maximum Packet Size.
    #[serde(deserialize_with = "values::size")]
    pub packet_size: u64,
    /// The Receive Maximum that clients are told; not 0.
    #[serde(deserialize_with = "values::short_count")]
    pub receive_maximum: u16,
    /// What happens to a client that exceeds it.
    pub receive_maximum_enforcement: Enforcement,
    /// `QoS` 1 and 2 messages in flight to one client; not 0.
    #[serde(deserialize_with = "values::short_count")]
    pub in_flight_max: u16,
    /// Topic aliases of one connection, each way.
    #[serde(deserialize_with = "values::short_count")]
    pub topic_alias_maximum: u16,
    /// The longest Keep Alive, 1 s to 65,535 s; `None` leaves it to the client.
    #[serde(deserialize_with = "values::time_limit")]
    pub keep_alive_max: Option<Duration>,
    /// The longest life of a session without a connection; `None` leaves it to the client.
    #[serde(deserialize_with = "values::time_limit")]
    pub session_expiry_max: Option<Duration>,
    /// Sessions in all.
    #[serde(deserialize_with = "values::count")]
    pub sessions: u32,
    /// Topics that may have a retained message.
    #[serde(deserialize_with = "values::count")]
    pub retained_messages: u32,
    /// Groups that last without members.
    #[serde(deserialize_with = "values::count")]
    pub groups_max: u32,
    /// Messages of a group with manual commit that are delivered and not committed.
    #[serde(deserialize_with = "values::count")]
    pub uncommitted_max: u32,
    /// Messages that are kept back until they are due.
    #[serde(deserialize_with = "values::count")]
    pub delayed_max: u32,
    /// How far off a message may be due.
    #[serde(deserialize_with = "values::time")]
    pub delay_max: Duration,
    /// Subscriptions of one client.
    #[serde(deserialize_with = "values::count")]
    pub subscriptions_per_client: u32,
    /// Levels of a topic name or filter.
    #[serde(deserialize_with = "values::short_count")]
    pub topic_levels: u16,
    /// The longest client id in bytes, 23 to 65,535.
    #[serde(deserialize_with = "values::short_count")]
    pub client_id_bytes: u16,
    /// Bytes received and not durable yet, in all.
    #[serde(deserialize_with = "values::size")]
    pub pending_bytes: u64,
    /// Bytes waiting to be sent to one connection.
    #[serde(deserialize_with = "values::size")]
    pub output_buffer: u64,
}

/// What happens to a client that breaks a rule which clients in the field break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// It is disconnected with the reason code of the rule.
    Strict,
    /// It is counted.
    Warn,
}

/// `[access]`: who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Whether clients without a user name are let in. [`Listener::anonymous`] is what holds.
    pub anonymous: Anonymous,
    /// The password file.
    #[serde(deserialize_with = "values::path")]
    pub passwords: Option<PathBuf>,
    /// The ACL file.
    #[serde(deserialize_with = "values::path")]
    pub acl: Option<PathBuf>,
    /// How long a right password is not hashed again; zero for not at all.
    #[serde(deserialize_with = "values::time")]
    pub remember_passwords: Duration,
}

/// Whether clients without a user name are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// From this machine only.
    Loopback,
    /// From everywhere.
    Always,
    /// From nowhere.
    Never,
}

/// `[mqtt]`: choices that the protocol leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// Whether payloads that claim to be UTF-8 are checked.
    pub check_payload_format: bool,
    /// The Server Reference of the DISCONNECT at shutdown.
    #[serde(deserialize_with = "values::text")]
    pub server_reference: Option<String>,
}

/// `[report]`: reports of what somebody did not get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Messages to topics that match one of these are reported under `$dropped/` and `$expired/`.
    #[serde(deserialize_with = "values::filters")]
    pub undelivered: Vec<TopicFilter>,
}

/// `[sys]`: `$SYS`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sys {
    /// The time between two publications of `$SYS/broker/...`; zero for none at all.
    #[serde(deserialize_with = "values::time")]
    pub interval: Duration,
}

/// `[trace]`: diagnostics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// A level, or directives as `tracing_subscriber::EnvFilter` has them.
    pub level: String,
    /// How a line looks.
    pub format: TraceFormat,
}

/// How a line of diagnostics looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The keys as they stand in a file: every value in its form, the whole not yet checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    data: Data,
    limits: Limits,
    listener: Vec<ListenerKeys>,
    group: Vec<GroupKeys>,
    access: Access,
    mqtt: Mqtt,
    report: Report,
    sys: Sys,
    trace: Trace,
}

/// A rule between keys, or of a key's range, that does not hold.
struct Broken {
    key: String,
    why: Cow<'static, str>,
}

impl Broken {
    fn new(key: impl Into<String>, why: impl Into<Cow<'static, str>>) -> Self {
        Self { key: key.into(), why: why.into() }
    }
}

impl Keys {
    /// The configuration, if every rule holds.
    fn check(self) -> Result<Config, Broken> {
        check_ranges(&self)?;
        let listeners = listener::check(self.listener, self.access.anonymous)?;
        let groups = group::check(self.group, self.limits.topic_levels)?;
        Ok(Config {
            data: self.data,
            limits: self.limits,
            listeners,
            groups,
            access: self.access,
            mqtt: self.mqtt,
            report: self.report,
            sys: self.sys,
            trace: self.trace,
        })
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const PROTOCOL_PACKET_SIZE_MAX: u64 = 256 * MIB;
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(65_535);

fn check_ranges(keys: &Keys) -> Result<(), Broken> {
    let Keys { data, limits, .. } = keys;
    let sizes = 128..=PROTOCOL_PACKET_SIZE_MAX;
    let keep_alive = Duration::from_secs(1)..=KEEP_ALIVE_MAX;
    let rules: [(&str, bool, &'static str); 20] = [
        ("data.dir", !data.dir.as_os_str().is_empty(), "a directory is needed"),
        (
            "data.segment_size",
            (16 * KIB..=1024 * MIB).contains(&data.segment_size),
            "a segment has 16 KiB to 1 GiB",
        ),
        ("data.reserve", data.reserve <= 16 * 1024 * MIB, "at most 16 GiB"),
        ("data.checkpoint_interval", !data.checkpoint_interval.is_zero(), "more than 0s"),
        (
            "data.clean_interval",
            !data.clean_interval.is_zero(),
            "more than 0s; a clean_rate of 0 cleans nothing",
        ),
        (
            "data.retention_age",
            data.retention_age != Some(Duration::ZERO),
            "more than 0s, or \"unlimited\"",
        ),
        ("limits.connections", limits.connections > 0, "at least 1"),
        ("limits.connections_per_address", limits.connections_per_address != Some(0), "at least 1"),
        ("limits.connect_timeout", !limits.connect_timeout.is_zero(), "more than 0s"),
        (
            "limits.connect_packet_size",
            sizes.contains(&limits.connect_packet_size),
            "128 B to 256 MiB",
        ),
        ("limits.packet_size", sizes.contains(&limits.packet_size), "128 B to 256 MiB"),
        ("limits.receive_maximum", limits.receive_maximum > 0, "1 to 65535"),
        ("limits.in_flight_max", limits.in_flight_max > 0, "1 to 65535"),
        (
            "limits.keep_alive_max",
            limits.keep_alive_max.is_none_or(|time| keep_alive.contains(&time)),
            "1s to 65535s, or \"unlimited\"",
        ),
        ("limits.sessions", limits.sessions > 0, "at least 1"),
        ("limits.uncommitted_max", limits.uncommitted_max > 0, "at least 1"),
        ("limits.topic_levels", limits.topic_levels > 0, "at least 1"),
        (
            "limits.client_id_bytes",
            limits.client_id_bytes >= 23,
            "at least 23, as the specification wants",
        ),
        (
            "limits.pending_bytes",
            limits.pending_bytes >= limits.packet_size,
            "at least limits.packet_size",
        ),
        ("limits.output_buffer", limits.output_buffer >= 4_096, "at least 4 KiB"),
    ];
    rules
        .into_iter()
        .find(|(_, holds, _)| !holds)
        .map_or(Ok(()), |(key, _, why)| Err(Broken::new(key, why)))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: Data::default(),
            limits: Limits::default(),
            listeners: vec![Listener::default()],
            groups: Vec::new(),
            access: Access::default(),
            mqtt: Mqtt::default(),
            report: Report::default(),
            sys: Sys::default(),
            trace: Trace::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data"),
            durability: Durability::Fsync,
            segment_size: 64 * MIB,
            tail_memory: 64 * MIB,
            retention_age: Some(Duration::from_hours(7 * 24)),
            retention_bytes: None,
            checkpoint_interval: Duration::from_secs(30),
            clean_rate: 32 * MIB,
            clean_interval: Duration::from_secs(10),
            log_qos0: true,
            reserve: 4 * MIB,
            on_write_failure: OnWriteFailure::Exit,
            clock_jump_max: Duration::from_hours(30 * 24),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: None,
            connect_timeout: Duration::from_secs(10),
            connect_packet_size: 8 << 10,
            packet_size: 2 * MIB,
            receive_maximum: 1_024,
            receive_maximum_enforcement: Enforcement::Warn,
            in_flight_max: 128,
            topic_alias_maximum: 32,
            keep_alive_max: None,
            session_expiry_max: None,
            sessions: 1_000_000,
            retained_messages: 1_000_000,
            groups_max: 10_000,
            uncommitted_max: 10_000,
            delayed_max: 100_000,
            delay_max: Duration::from_hours(365 * 24),
            subscriptions_per_client: 10_000,
            topic_levels: 128,
            client_id_bytes: 1_024,
            pending_bytes: 64 * MIB,
            output_buffer: 256 << 10,
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Loopback,
            passwords: None,
            acl: None,
            remember_passwords: Duration::from_mins(1),
        }
    }
}

#[expect(clippy::derivable_impls, reason = "the defaults stand beside each other")]
impl Default for Mqtt {
    fn default() -> Self {
        Self { check_payload_format: false, server_reference: None }
    }
}

impl Default for Sys {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10) }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: TraceFormat::Text }
    }
}
