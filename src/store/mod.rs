//! Our records in the log, and the state made of them.
//!
//! ```text
//!  append_message, put ──► Log (commitlog) ──take_batch──► PendingBatch ──► Writer
//!         │
//!         └─ the same rows ──► State ──take_checkpoint──► Checkpoint ──► Checkpointer ──► StateStore (sled)
//!
//!  open:  StateStore ──► State ◄── the log from the checkpoint's offset on
//! ```
//!
//! It knows what a message, a session, a subscription and a group are made of, and not what they are for: it
//! neither routes nor delivers, and reads no clock.
//!
//! - The log alone is the truth: every row of the state is the latest record of its name, or follows from records by the
//!   rules of [`State`]. Without the state store the same state is built from the log.
//! - A checkpoint is atomic, and never says more than what is durable in the log.
//! - What the cleaner drops changes nothing that is made of the log.
//! - Segments are given up only below the checkpoint before the latest, and after every row that rests on them has been
//!   appended again.

mod carry;
mod checkpoint;
mod clean;
mod clock;
mod codec;
mod describe;
mod error;
mod found;
mod memory_store;
mod message;
mod numbers;
mod options;
mod recovery;
mod rows;
mod sled_store;
mod state;
mod state_store;
mod verify;

use std::sync::Arc;

pub use carry::Carry;
pub use checkpoint::Checkpoint;
pub use checkpoint::CheckpointDone;
pub use checkpoint::Checkpointer;
pub use clean::Clean;
pub use clean::CleanDone;
pub use clean::Cleaner;
pub use clock::ClockFound;
pub use describe::describe;
pub use error::StateError;
pub use error::StoreError;
pub use memory_store::MemoryStateStore;
pub use message::MessageView;
pub use message::NewMessage;
pub use message::StoredMessage;
pub use numbers::NUMBERS_WIDE_MAX;
pub use numbers::NumberSet;
pub use options::Durability;
pub use options::Options;
pub use recovery::CheckpointUse;
pub use recovery::OpenProgress;
pub use recovery::Opened;
pub use recovery::RebuildReason;
pub use recovery::RecoverySummary;
pub use rows::AssignedRow;
pub use rows::ClockRow;
pub use rows::Declared;
pub use rows::DelayedRow;
pub use rows::Due;
pub use rows::GroupKey;
pub use rows::GroupRow;
pub use rows::HeldRow;
pub use rows::Jump;
pub use rows::Kind;
pub use rows::ProgressRow;
pub use rows::ReplayRow;
pub use rows::RetainedRow;
pub use rows::Row;
pub use rows::RowKey;
pub use rows::SessionRow;
pub use rows::Span;
pub use rows::SubscriptionRow;
pub use rows::WillRow;
pub use sled_store::SledStateStore;
pub use state::Delayed;
pub use state::Held;
pub use state::Retained;
pub use state::Run;
pub use state::SessionState;
pub use state::State;
pub use state_store::BATCH_CHANGES_MAX;
pub use state_store::Change;
pub use state_store::KEY_BYTES_MAX;
pub use state_store::StateOpened;
pub use state_store::StateStore;
pub use state_store::VALUE_BYTES_MAX;
pub use verify::StateReport;
pub use verify::is_readable;
pub use verify::verify_state;

use crate::commitlog::Committed;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Log;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::PendingBatch;
use crate::commitlog::Read;
use crate::commitlog::Record;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::PacketId;
use crate::mqtt::QoS;
use crate::mqtt::TopicName;
use crate::store::carry::Carrying;
use crate::store::checkpoint::Checkpoints;
use crate::store::clean::Cleaning;
use crate::store::message::Head;
use crate::store::rows::LAYOUT;
use crate::store::rows::encode_front;
use crate::store::state::Changes;
use crate::time::Timestamp;

/// The log and the state made of it, as their one owner sees them. Does no input or output.
pub struct Store {
    log: Log,
    state: State,
    options: Options,
    /// Rows whose value in the checkpoint is out of date.
    changes: Changes,
    checkpoints: Checkpoints,
    carrying: Option<Carrying>,
    cleaning: Cleaning,
    contents_lost: u64,
    /// Nothing more goes into the log.
    frozen: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Store {
    /// Appends a message and returns its offset. It becomes its topic's retained message, or takes its packet id, if it says so.
    ///
    /// The packet id goes into the record only for a publisher whose session is recorded; a transient session has it in
    /// memory. A message at QoS 0 without RETAIN is not appended when [`Options::log_qos0`] is off: the offset is
    /// the last one given then.
    pub fn append_message(&mut self, now: Timestamp, message: &NewMessage<'_>) -> Offset {
        if !self.keeps(message) {
            return self.last_offset();
        }
        let session = match (message.qos, message.packet_id) {
            (QoS::ExactlyOnce, Some(id)) => {
                self.publisher(message.publisher).map(|(client, kept)| (client, kept, id))
            }
            _ => None,
        };
        let packet_id = session.as_ref().and_then(|(_, recorded, id)| recorded.then_some(*id));
        let offset = self.append_encoded(now, message, packet_id);
        if message.retain || packet_id.is_some() {
            self.state.put_message(&view(message, packet_id, offset, now), &mut self.changes);
        }
        if let Some((client, false, id)) = session {
            self.state.put(
                Row::Inbound(client, id, Some(offset)),
                offset,
                false,
                &mut self.changes,
            );
        }
        offset
    }

    /// Appends a message that is kept back until it is due, and returns its id, which is the offset of its record. Whatever its QoS, it
    /// is appended; its packet id is not part of it.
    pub fn append_delayed(&mut self, now: Timestamp, due: Due, message: &NewMessage<'_>) -> Offset {
        let Ok(topic) = TopicName::try_from(message.topic) else { return self.last_offset() };
        let id = self.log.next_offset();
        if self.frozen {
            return id;
        }
        self.key.clear();
        self.value.clear();
        RowKey::Delayed(id).encode(&mut self.key);
        self.value.push(LAYOUT);
        encode_front(now, due, &topic, &mut self.value);
        self.value.extend_from_slice(Head::of(message, None).as_slice());
        let (key, value) = (&self.key, &self.value);
        let kind = Kind::Delayed.as_u8();
        let record = Record { kind, indexed: false, timestamp: now, key, value };
        let parts = [message.publisher.as_bytes(), message.properties, message.payload];
        appended(self.log.append_gathered(&record, &parts));
        let delayed = Delayed { offset: id, timestamp: now, due, topic };
        self.state.put_delayed(id, Some(delayed), &mut self.changes);
        id
    }

    /// Puts a row, into the log and the state, and returns the offset of its record.
    ///
    /// A **transient** session's rows go to the state only: a session is transient when its row is put for the first
    /// time with an expiry interval of 0, until [`Store::record_session`] or a row with a longer interval. The offset is then the
    /// last one already given, so that what begins at `offset + 1` begins behind everything that was appended before, for both.
    /// Wills are always in the log. Put a session's row before its other rows.
    pub fn put(&mut self, now: Timestamp, row: Row) -> Offset {
        if let Row::Session(client, Some(session)) = &row
            && session.expiry_interval > 0
        {
            let client = client.clone();
            let known = self.state.session(&client).is_some();
            if known && !self.state.is_recorded(&client) {
                self.state.put(row, self.last_offset(), false, &mut self.changes);
                return self.record_session(now, &client);
            }
        }
        let recorded = self.is_recorded(&row);
        let offset = if recorded { self.append_row(now, &row) } else { self.last_offset() };
        self.state.put(row, offset, recorded, &mut self.changes);
        offset
    }

    /// Puts the rows of a transient session into the log, where they stay from now on. Returns the last offset given.
    pub fn record_session(&mut self, now: Timestamp, client: &ClientId) -> Offset {
        if !self.state.is_recorded(client) {
            let oldest = self.log.next_offset();
            for row in self.state.record(client, oldest, &mut self.changes) {
                self.append_row(now, &row);
            }
        }
        self.last_offset()
    }

    /// The state that all records so far make.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The settings in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The offset that the next record gets. Never zero: the first record says which log this is.
    pub fn next_offset(&self) -> Offset {
        self.log.next_offset()
    }

    /// Everything below may be promised, by the durability in force.
    pub fn durable_offset(&self) -> Offset {
        match self.options.durability {
            Durability::Fsync | Durability::Os => self.log.durable_offset(),
            Durability::None => self.log.next_offset(),
        }
    }

    /// The first offset that is kept.
    pub fn start_offset(&self) -> Offset {
        self.log.start_offset()
    }

    /// Bytes that wait to be durable.
    pub fn pending_bytes(&self) -> usize {
        self.log.pending_bytes()
    }

    /// Bytes of the whole log.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// How many segments the log has.
    pub fn segments(&self) -> usize {
        self.log.segment_count()
    }

    /// Whether there is something to be committed.
    pub fn has_batch(&self) -> bool {
        self.log.has_batch()
    }

    /// The next batch to be committed, in order; `None` when nothing waits.
    pub fn take_batch(&mut self) -> Option<PendingBatch> {
        self.log.take_batch()
    }

    /// Ends a group of records that belong together: they are in one batch, durable together or not at all.
    pub fn end_group(&mut self) {
        self.log.end_group();
    }

    /// From now on nothing goes into the log: rows are put into the state only, and what is appended gets an offset that will
    /// never be durable. For a log that takes no more writes; take no checkpoint afterwards.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Notes what the writer made durable.
    pub fn committed(&mut self, committed: &Committed) {
        self.log.committed(committed);
    }

    /// The message at an offset, if it is in memory; the open batch is. It keeps its whole batch in memory: let go of it soon.
    pub fn peek(&self, offset: Offset) -> Option<StoredMessage> {
        self.log.peek(offset).and_then(StoredMessage::new)
    }

    /// As [`Store::peek`], of whatever kind: [`MessageView::from_record`] reads it once, where it is needed once.
    pub fn peek_record(&self, offset: Offset) -> Option<StoredRecord> {
        self.log.peek(offset)
    }

    /// The record at an offset, of whatever kind, from memory or by a cold read: what a retained message is read with.
    pub fn record(&self, offset: Offset) -> Read {
        self.log.record(offset)
    }

    /// The messages in `from..to` whose topic matches, at most `bytes_max` of them but at least one. Their records become
    /// messages by [`StoredMessage::new`], as those of a cold read do.
    pub fn read(
        &self,
        from: Offset,
        to: Offset,
        bytes_max: usize,
        matcher: &Arc<dyn KeyMatcher>,
    ) -> Read {
        self.log.read(from, to, bytes_max, matcher)
    }

    /// An offset at or below the first record of this moment or later.
    pub fn offset_below(&self, timestamp: Timestamp) -> Offset {
        self.log.offset_below(timestamp)
    }

    fn keeps(&self, message: &NewMessage<'_>) -> bool {
        self.options.log_qos0 || message.retain || message.qos != QoS::AtMostOnce
    }

    /// The session of a publisher, and whether it is recorded.
    fn publisher(&self, publisher: &str) -> Option<(ClientId, bool)> {
        let client = ClientId::try_from(publisher).ok()?;
        let recorded =
            self.state.session(&client).filter(|state| state.session.is_some())?.recorded;
        Some((client, recorded))
    }

    fn append_encoded(
        &mut self,
        now: Timestamp,
        message: &NewMessage<'_>,
        packet_id: Option<PacketId>,
    ) -> Offset {
        if self.frozen {
            return self.log.next_offset();
        }
        let head = Head::of(message, packet_id);
        let record = Record {
            kind: Kind::Message.as_u8(),
            indexed: true,
            timestamp: now,
            key: message.topic.as_bytes(),
            value: head.as_slice(),
        };
        let parts = [message.publisher.as_bytes(), message.properties, message.payload];
        appended(self.log.append_gathered(&record, &parts))
    }

    /// Whether a row goes to the log. A session's tombstone does also when only its will is there.
    fn is_recorded(&self, row: &Row) -> bool {
        match row {
            Row::Group(..)
            | Row::Retained(..)
            | Row::Will(..)
            | Row::Clock(_)
            | Row::Delayed(..)
            | Row::Held(..) => true,
            Row::Session(client, None) => self
                .state
                .session(client)
                .is_some_and(|state| state.recorded || state.will.is_some()),
            Row::Session(client, Some(row)) => {
                self.state.session(client).map_or(row.expiry_interval > 0, |state| state.recorded)
            }
            Row::Progress(client, _)
            | Row::Subscription(client, ..)
            | Row::Inbound(client, ..)
            | Row::Assigned(client, ..) => self.state.is_recorded(client),
        }
    }

    fn append_row(&mut self, now: Timestamp, row: &Row) -> Offset {
        if self.frozen {
            return self.log.next_offset();
        }
        self.key.clear();
        self.value.clear();
        row.key().encode(&mut self.key);
        row.encode_value(&mut self.value);
        let (key, value) = (&self.key, &self.value);
        let record =
            Record { kind: row.kind().as_u8(), indexed: false, timestamp: now, key, value };
        appended(self.log.append(&record))
    }

    fn last_offset(&self) -> Offset {
        Offset::new(self.log.next_offset().as_u64().saturating_sub(1))
    }
}

/// The offset of a record that the log can't refuse.
///
/// # Panics
/// When the log refuses it: its limit was raised above all that MQTT can carry, and there are 2^64 offsets.
fn appended(outcome: Result<Offset, LogError>) -> Offset {
    outcome.expect("the log has room for every record that MQTT allows")
}

fn view<'a>(
    message: &NewMessage<'a>,
    packet_id: Option<PacketId>,
    offset: Offset,
    timestamp: Timestamp,
) -> MessageView<'a> {
    let NewMessage { topic, payload, qos, retain, publisher, expiry_interval, properties, .. } =
        *message;
    MessageView {
        offset,
        timestamp,
        topic,
        payload,
        qos,
        retain,
        publisher,
        packet_id,
        expiry_interval,
        properties,
    }
}
