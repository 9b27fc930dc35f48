//! `$dropped/{reason}/{topic}` and `$expired/{topic}`: messages that somebody was to get and did not.
//!
//! Each goes out once more as a report, with its payload and properties unchanged and user properties that say for whom it was and
//! why it was dropped, if its topic matches a filter of the configuration and somebody is subscribed to reports.
//!
//! **Invariants:** what an event notes is bounded, and reported at its end; no report is made of a topic that begins with `$`, so none of a
//! report.

use bytes::Bytes;

use crate::broker::Broker;
use crate::broker::message::Message;
use crate::broker::stats::Dropped;
use crate::broker::stats::Stats;
use crate::mqtt::MessageProperties;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;

/// The first level of reports, but for those of messages that have expired.
const DROPPED: &str = "$dropped";

/// The first level of reports of messages that have expired.
const EXPIRED: &str = "$expired";

/// How many messages one event notes.
const NOTES_MAX: usize = 256;

/// How many bytes of them, and one message more.
const NOTE_BYTES_MAX: usize = 1 << 20;

/// The messages to report.
#[derive(Debug)]
pub(super) struct Undelivered {
    /// Messages to these topics are reported.
    filters: Vec<TopicFilter>,
    /// Somebody was subscribed to reports when the event began.
    heard: bool,
    notes: Vec<Note>,
    bytes: usize,
}

#[derive(Debug)]
struct Note {
    topic: String,
    payload: Vec<u8>,
    properties: Bytes,
}

impl Undelivered {
    pub(super) fn new(filters: Vec<TopicFilter>) -> Self {
        Self { filters, heard: false, notes: Vec::new(), bytes: 0 }
    }

    /// Counts a message that `whom` does not get, and notes it if it is to be reported.
    pub(super) fn count(
        &mut self,
        stats: &mut Stats,
        reason: Dropped,
        message: &Message<'_>,
        whom: Option<&str>,
    ) {
        stats.drop_messages(reason, 1);
        self.note(stats, reason, message, whom);
    }

    /// Notes a message that was counted.
    pub(super) fn note(
        &mut self,
        stats: &mut Stats,
        reason: Dropped,
        message: &Message<'_>,
        whom: Option<&str>,
    ) {
        let topic = message.topic;
        let concerns = |filter: &TopicFilter| TopicFilter::text_matches(filter, topic);
        if !self.heard || topic.starts_with('$') || !self.filters.iter().any(concerns) {
            return;
        }
        if self.notes.len() >= NOTES_MAX || self.bytes >= NOTE_BYTES_MAX {
            return stats.drop_messages(Dropped::ReportFull, 1);
        }
        let topic = if reason == Dropped::Expired {
            format!("{EXPIRED}/{topic}")
        } else {
            format!("{DROPPED}/{}/{topic}", reason.name())
        };
        let (payload, properties) = (message.payload.to_vec(), properties(reason, message, whom));
        self.bytes += topic.len() + payload.len() + properties.len();
        self.notes.push(Note { topic, payload, properties });
    }
}

/// The message's own properties but for its expiry, which is over or not the report's, and what is told beside.
fn properties(reason: Dropped, message: &Message<'_>, whom: Option<&str>) -> Bytes {
    let offset = message.offset.map(|offset| offset.as_u64().to_string());
    let publisher = Some(message.publisher).filter(|publisher| !publisher.is_empty());
    let told = [
        ("dropped-reason", Some(reason.name())),
        ("dropped-for", whom),
        ("publisher", publisher),
        ("offset", offset.as_deref()),
    ];
    let pair = |(name, value): (&'static str, Option<&str>)| {
        Some((Text::from_static(name), Text::try_from(value?).ok()?))
    };
    let mut properties = MessageProperties::from_block(message.properties).unwrap_or_default();
    properties.message_expiry_interval = None;
    properties.user_properties.extend(told.into_iter().filter_map(pair));
    properties.encode_block().unwrap_or_default()
}

impl Broker {
    /// Finds out whether anybody wants reports: as long as nobody does, nothing is noted.
    pub(super) fn look_for_listeners(&mut self) {
        let wanted = !self.undelivered.filters.is_empty();
        self.undelivered.heard = wanted && (self.is_heard(DROPPED) || self.is_heard(EXPIRED));
    }

    /// Reports what the event has noted.
    pub(super) fn report_undelivered(&mut self) {
        self.undelivered.bytes = 0;
        for note in std::mem::take(&mut self.undelivered.notes) {
            self.report(&note.topic, &note.payload, &note.properties);
        }
    }
}
