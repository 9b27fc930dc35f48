//! What is counted. Every message that is not delivered is counted under its reason: nothing is dropped silently.

/// Why a message was not delivered to somebody it was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its Message Expiry Interval had passed [MQTT-3.3.2-5].
    Expired,
    /// It is larger than the client's Maximum Packet Size [MQTT-3.1.2-25].
    TooLarge,
    /// Published at QoS 0, not logged, and the client could not take it at once.
    Qos0Full,
    /// Published at QoS 0 to a shared group without a member that could take it.
    Qos0NoMember,
    /// Retention deleted it before the session had read it.
    Retention,
    /// The log could not read it.
    Damaged,
    /// The publisher may not publish there; it was told if its QoS has an answer for that.
    NotAuthorized,
    /// Clients don't publish to such a topic, or the payload is not what it claims to be; the publisher was told if its QoS has an
    /// answer for that.
    Invalid,
    /// There are as many retained messages as there may be; the publisher was told if its QoS has an answer for that.
    RetainedFull,
    /// As many messages are kept back as may be; the publisher was told if its QoS has an answer for that.
    DelayedFull,
    /// The disk is full; the publisher was told if its QoS has an answer for that.
    DiskFull,
    /// An event, or a report of another message, that its subscriber could not take at once.
    ReportFull,
}

/// How many kinds of [`Dropped`] there are.
const DROPPED_KINDS: usize = 12;

impl Dropped {
    /// All kinds, in the order of their names under `$SYS`.
    pub const ALL: [Self; DROPPED_KINDS] = [
        Self::Expired,
        Self::TooLarge,
        Self::Qos0Full,
        Self::Qos0NoMember,
        Self::Retention,
        Self::Damaged,
        Self::NotAuthorized,
        Self::Invalid,
        Self::RetainedFull,
        Self::DelayedFull,
        Self::DiskFull,
        Self::ReportFull,
    ];

    /// Its name in topics and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TooLarge => "too-large",
            Self::Qos0Full => "qos0-full",
            Self::Qos0NoMember => "qos0-no-member",
            Self::Retention => "retention",
            Self::Damaged => "damaged",
            Self::NotAuthorized => "not-authorized",
            Self::Invalid => "invalid",
            Self::RetainedFull => "retained-full",
            Self::DelayedFull => "delayed-full",
            Self::DiskFull => "disk-full",
            Self::ReportFull => "report-full",
        }
    }
}

/// Counters since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// PUBLISH packets received.
    pub publish_received: u64,
    /// PUBLISH packets sent.
    pub publish_sent: u64,
    /// Bytes taken from connections.
    pub bytes_received: u64,
    /// Bytes given to connections.
    pub bytes_sent: u64,
    /// Packets of any kind received.
    pub packets_received: u64,
    /// Packets other than deliveries given to connections, and deliveries.
    pub packets_sent: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Clients whose CONNECT was accepted.
    pub connects_accepted: u64,
    /// Clients whose CONNECT was refused.
    pub connects_refused: u64,
    /// Connections ended because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Times that a client exceeded the Receive Maximum and was let go on.
    pub receive_maximum_exceeded: u64,
    /// Sessions taken over by a new connection.
    pub take_overs: u64,
    /// Commits that ended.
    pub commits: u64,
    /// Records made durable by them.
    pub committed_records: u64,
    /// Bytes made durable by them.
    pub committed_bytes: u64,
    /// Microseconds that commits took, all together.
    pub commit_micros: u64,
    /// Microseconds that the slowest commit took.
    pub commit_micros_max: u64,
    /// Messages at QoS 0 that were handed on and not logged, because the disk is full or has failed.
    pub not_logged: u64,
    /// Delayed messages that were published.
    pub delayed_published: u64,
    /// Milliseconds that the latest of them came after it was due.
    pub delayed_late_millis_max: u64,
    /// Reads that failed. Each is tried again.
    pub read_errors: u64,
    /// Segments of which the cleaner has taken something out.
    pub segments_cleaned: u64,
    /// Records that it took out.
    pub records_cleaned: u64,
    /// Bytes that were given back by that.
    pub bytes_cleaned: u64,
    dropped: [u64; DROPPED_KINDS],
}

impl Stats {
    /// Counts messages that were not delivered.
    pub(super) fn drop_messages(&mut self, reason: Dropped, count: u64) {
        let index = Dropped::ALL.iter().position(|kind| *kind == reason);
        if let Some(counter) = index.and_then(|index| self.dropped.get_mut(index)) {
            *counter += count;
        }
    }

    /// How many messages were not delivered for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        let index = Dropped::ALL.iter().position(|kind| *kind == reason);
        index.and_then(|index| self.dropped.get(index)).copied().unwrap_or(0)
    }

    /// How many messages were not delivered, for whatever reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}
