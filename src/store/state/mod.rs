//! The fold: durable state as a value, made of rows put one after the other.
//!
//! It knows neither log nor disk: live operation, recovery and tests put the same rows in the same order and
//! have the same state. What a row does beyond its own name:
//!
//! - a message with RETAIN is its topic's retained message, or with an empty payload clears it;
//! - a QoS 2 message with a packet id takes that id, if its publisher has a session;
//! - the tombstone of a session deletes every row of the client; what a shared group had assigned to it at QoS 1 and is not
//!   deleted by progress goes back to the group, at QoS 2 not [MQTT-4.8.2-5];
//! - an assignment by a group that has a row moves the group's position past the message and takes it out of `returned`;
//! - progress deletes the assignments and closed spans that it has passed;
//! - assignments and held messages that have a key take it for their session, until the last of them is gone.
//!
//! **Invariants:** `runs` is what the open spans and `runs_done` say, in order of place; an assignment's place is never below
//! its session's position; nothing is kept for a client that has nothing.

mod client;
mod keys;
mod saved;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

pub use client::Run;
pub use client::SessionState;

use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::PacketId;
use crate::mqtt::QoS;
use crate::mqtt::TopicName;
use crate::mutant::Mutant;
use crate::store::AssignedRow;
use crate::store::ClockRow;
use crate::store::Due;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::HeldRow;
use crate::store::MessageView;
use crate::store::RetainedRow;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::state::client::Client;
use crate::store::state::keys::Keys;
use crate::time::Timestamp;

/// The names of rows whose value has changed.
pub(super) type Changes = BTreeSet<RowKey>;

/// Where the retained message of a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The record that has its content: the message's own, or a later copy.
    pub offset: Offset,
    /// The offset it was published at.
    pub message_offset: Offset,
    /// When it was published.
    pub timestamp: Timestamp,
    /// When it expires; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// A message that is kept back until it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// The record that has its content: the first one, or a later copy.
    pub offset: Offset,
    /// When it was published.
    pub timestamp: Timestamp,
    /// When it is due.
    pub due: Due,
    /// The Topic Name that it will have.
    pub topic: TopicName,
}

/// A group's message that was delivered and is not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The row.
    pub row: HeldRow,
    /// Its record.
    pub(in crate::store) offset: Offset,
}

/// All that the log says about sessions, groups, retained and delayed messages.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Apart from their names, so that these lie close together.
    clients: BTreeMap<ClientId, Box<Client>>,
    retained: BTreeMap<TopicName, Retained>,
    groups: BTreeMap<GroupKey, GroupRow>,
    held: BTreeMap<GroupKey, BTreeMap<Offset, Held>>,
    keys: Keys,
    clock: ClockRow,
    delayed: BTreeMap<Offset, Delayed>,
}

impl PartialEq for State {
    /// Whether both say the same; from which records they know it does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.sessions().eq(other.sessions())
            && self.retained == other.retained
            && self.groups == other.groups
            && self.held_rows().eq(other.held_rows())
            && self.clock == other.clock
            && self.delayed == other.delayed
    }
}

impl Eq for State {}

impl State {
    /// What is kept for a client; `None` if nothing. A client may have a will and no session.
    pub fn session(&self, client: &ClientId) -> Option<&SessionState> {
        self.clients.get(client).map(|client| &client.state)
    }

    /// The assignment of a client at a place of its stream, with its counter.
    pub fn assigned(&self, client: &ClientId, place: (Offset, u64)) -> Option<&AssignedRow> {
        self.session(client)?.assigned.get(&place)
    }

    /// What is kept for every client, in the order of client ids.
    pub fn sessions(&self) -> impl Iterator<Item = (&ClientId, &SessionState)> {
        self.clients.iter().map(|(id, client)| (id, &client.state))
    }

    /// How many clients something is kept for.
    pub fn session_count(&self) -> usize {
        self.clients.len()
    }

    /// The retained messages, in the order of topics. An expired one is there until its tombstone is put.
    pub fn retained(&self) -> &BTreeMap<TopicName, Retained> {
        &self.retained
    }

    /// How far a shared group has come.
    pub fn group(&self, group: &GroupKey) -> Option<&GroupRow> {
        self.groups.get(group)
    }

    /// Every shared group, in the order of names.
    pub fn groups(&self) -> &BTreeMap<GroupKey, GroupRow> {
        &self.groups
    }

    /// The messages that were delivered and are not committed, of every group that has any.
    pub fn held(&self) -> &BTreeMap<GroupKey, BTreeMap<Offset, Held>> {
        &self.held
    }

    /// The session that messages of a key have to go to, because others of it are in flight there or held.
    pub fn holder(&self, group: &GroupKey, key: u64) -> Option<&ClientId> {
        self.keys.holder(group, key)
    }

    fn held_rows(&self) -> impl Iterator<Item = (&GroupKey, &Offset, &HeldRow)> {
        let rows = |(group, held)| {
            let held: &BTreeMap<Offset, Held> = held;
            held.iter().map(move |(message, held)| (group, message, &held.row))
        };
        self.held.iter().flat_map(rows)
    }

    /// The jumps of the wall clock.
    pub fn clock(&self) -> &ClockRow {
        &self.clock
    }

    /// The messages that are kept back until they are due, under their ids: the offsets of their first records.
    pub fn delayed(&self) -> &BTreeMap<Offset, Delayed> {
        &self.delayed
    }

    /// Whether the rows of a client go to the log.
    pub fn is_recorded(&self, client: &ClientId) -> bool {
        self.session(client).is_some_and(|session| session.recorded)
    }

    /// Puts a row whose record has this offset.
    pub fn apply(&mut self, row: Row, offset: Offset) {
        self.put(row, offset, true, &mut Changes::new());
    }

    /// Puts a message record: nothing happens for one without RETAIN and packet id.
    pub fn apply_message(&mut self, message: &MessageView<'_>) {
        self.put_message(message, &mut Changes::new());
    }

    /// Drops the rows of clients that have no session, but for wills: what is left over when the log has been read through.
    pub fn drop_orphans(&mut self) {
        self.drop_orphans_noting(&mut Changes::new());
    }

    pub(super) fn drop_orphans_noting(&mut self, changes: &mut Changes) {
        let keys = &mut self.keys;
        self.clients.retain(|id, client| {
            if client.state.session.is_none() {
                changes.extend(client.rows(id).iter().map(Row::key));
                client.state.assigned.values().for_each(|row| keys.let_go_assigned(row));
                client.keep_will_only();
            }
            !client.is_empty()
        });
    }

    /// Makes a transient session a recorded one and returns its rows, which are to be appended from offset `oldest` on.
    pub(super) fn record(
        &mut self,
        id: &ClientId,
        oldest: Offset,
        changes: &mut Changes,
    ) -> Vec<Row> {
        let Some(client) = self.clients.get_mut(id).filter(|client| client.state.session.is_some())
        else {
            return Vec::new();
        };
        client.state.recorded = true;
        self.renew(id, oldest, changes)
    }

    /// The rows of a client, which are to be appended again from offset `oldest` on.
    pub(super) fn renew(
        &mut self,
        id: &ClientId,
        oldest: Offset,
        changes: &mut Changes,
    ) -> Vec<Row> {
        let Some(client) = self.clients.get_mut(id) else { return Vec::new() };
        client.oldest = oldest;
        let rows = client.rows(id);
        changes.extend(rows.iter().map(Row::key));
        rows
    }

    /// The clients with a row that may rest on a record below an offset.
    pub(super) fn clients_older_than<C: FromIterator<ClientId>>(&self, offset: Offset) -> C {
        let older = self.clients.iter().filter(|(_, client)| client.oldest < offset);
        older.map(|(id, _)| id.clone()).collect()
    }

    /// The held messages whose record lies below an offset.
    pub(super) fn held_older_than<C: FromIterator<(GroupKey, Offset)>>(&self, offset: Offset) -> C {
        let rows = self.held.iter().flat_map(|(group, held)| {
            held.iter().map(move |(message, held)| (group, message, held.offset))
        });
        let older = rows.filter(|(_, _, at)| *at < offset);
        older.map(|(group, message, _)| (group.clone(), *message)).collect()
    }

    /// Puts a message record and notes the names of the rows that changed.
    pub(super) fn put_message(&mut self, message: &MessageView<'_>, changes: &mut Changes) {
        if message.retain {
            self.retain_message(message, changes);
        }
        if let (QoS::ExactlyOnce, Some(id)) = (message.qos, message.packet_id) {
            self.take_packet_id(message.publisher, id, message.offset, changes);
        }
    }

    /// Puts a row and notes the names of all rows that changed, but for those that are in memory only.
    /// `recorded` is for a client that is new.
    pub(super) fn put(&mut self, row: Row, offset: Offset, recorded: bool, changes: &mut Changes) {
        match row {
            Row::Retained(topic, row) => self.put_retained(topic, row, offset, changes),
            Row::Group(group, row) => self.put_group(group, row, changes),
            Row::Clock(row) => {
                changes.insert(RowKey::Clock);
                self.clock = row;
            }
            Row::Delayed(id, row) => {
                self.put_delayed(id, row.map(|row| row.place(offset)), changes);
            }
            Row::Held(group, message, row) => {
                self.put_held(&group, message, row.map(|row| Held { row, offset }), changes);
            }
            Row::Session(client, None) => self.end_session(&client, changes),
            Row::Session(ref client, _)
            | Row::Progress(ref client, _)
            | Row::Subscription(ref client, ..)
            | Row::Inbound(ref client, ..)
            | Row::Assigned(ref client, ..)
            | Row::Will(ref client, _) => {
                let client = client.clone();
                self.put_client_row(&client, row, offset, recorded, changes);
            }
        }
    }

    fn put_client_row(
        &mut self,
        id: &ClientId,
        row: Row,
        offset: Offset,
        recorded: bool,
        changes: &mut Changes,
    ) {
        if let Row::Assigned(_, _, Some(assigned)) = &row {
            self.note_assignment(assigned, changes);
        }
        let is_will = matches!(row, Row::Will(..));
        let client = self
            .clients
            .entry(id.clone())
            .or_insert_with(|| Box::new(Client::new(recorded && !is_will)));
        let known = client.state.recorded;
        client.state.recorded |= recorded && matches!(row, Row::Session(..));
        client.oldest = client.oldest.min(offset);
        let mut unnoted = Changes::new();
        let noted = if client.state.recorded || is_will {
            changes.insert(row.key());
            &mut *changes
        } else {
            &mut unnoted
        };
        client.put(row, offset, &mut self.keys, noted);
        if !known && client.state.recorded {
            // In a log that was cleaned, the session's first record may be behind those of its other rows.
            changes.extend(client.rows(id).iter().map(Row::key));
        }
        if client.is_empty() {
            self.clients.remove(id);
        }
    }

    fn note_assignment(&mut self, row: &AssignedRow, changes: &mut Changes) {
        let Some(key) = &row.group else { return };
        if let Some(group) = self.groups.get_mut(key) {
            group.assign(row.message);
            changes.insert(RowKey::Group(key.clone()));
        }
    }

    fn end_session(&mut self, id: &ClientId, changes: &mut Changes) {
        let Some(client) = self.clients.remove(id) else { return };
        for row in client.state.assigned.values() {
            self.keys.let_go_assigned(row);
            let Some(key) = row.group.as_ref().filter(|_| row.qos == QoS::AtLeastOnce) else {
                continue;
            };
            if let Some(group) = self.groups.get_mut(key) {
                group.give_back(row.message);
                changes.insert(RowKey::Group(key.clone()));
            }
        }
        changes.extend(client.rows(id).iter().map(Row::key));
    }

    fn put_group(&mut self, group: GroupKey, row: Option<GroupRow>, changes: &mut Changes) {
        changes.insert(RowKey::Group(group.clone()));
        match row {
            Some(mut row) => {
                row.normalize();
                self.groups.insert(group, row);
            }
            None => {
                self.groups.remove(&group);
            }
        }
    }

    fn put_held(
        &mut self,
        group: &GroupKey,
        message: Offset,
        held: Option<Held>,
        changes: &mut Changes,
    ) {
        changes.insert(RowKey::Held(group.clone(), message));
        let of_group = self.held.entry(group.clone()).or_default();
        if let Some(key) = held.as_ref().and_then(|held| held.row.key)
            && let Some(held) = &held
        {
            self.keys.take(group, key, &held.row.client);
        }
        let before = match held {
            Some(held) => of_group.insert(message, held),
            None => of_group.remove(&message),
        };
        if of_group.is_empty() {
            self.held.remove(group);
        }
        if let Some(key) = before.and_then(|held| held.row.key) {
            self.keys.let_go(group, key);
        }
    }

    pub(super) fn put_delayed(
        &mut self,
        id: Offset,
        delayed: Option<Delayed>,
        changes: &mut Changes,
    ) {
        changes.insert(RowKey::Delayed(id));
        match delayed {
            Some(delayed) => {
                self.delayed.insert(id, delayed);
            }
            None => {
                self.delayed.remove(&id);
            }
        }
    }

    fn put_retained(
        &mut self,
        topic: TopicName,
        row: Option<RetainedRow>,
        offset: Offset,
        changes: &mut Changes,
    ) {
        changes.insert(RowKey::Retained(topic.clone()));
        match row.and_then(|row| row.place(&topic, offset)) {
            Some(place) => {
                self.retained.insert(topic, place);
            }
            None => {
                self.retained.remove(&topic);
            }
        }
    }

    fn retain_message(&mut self, message: &MessageView<'_>, changes: &mut Changes) {
        let Ok(topic) = TopicName::try_from(message.topic) else { return };
        changes.insert(RowKey::Retained(topic.clone()));
        if message.payload.is_empty() {
            if !Mutant::RetainedNotCleared.is_active() {
                self.retained.remove(&topic);
            }
            return;
        }
        let place = Retained {
            offset: message.offset,
            message_offset: message.offset,
            timestamp: message.timestamp,
            expires_at: message.expires_at(),
        };
        self.retained.insert(topic, place);
    }

    fn take_packet_id(
        &mut self,
        publisher: &str,
        id: PacketId,
        message: Offset,
        changes: &mut Changes,
    ) {
        let Ok(client) = ClientId::try_from(publisher) else { return };
        self.put(Row::Inbound(client, id, Some(message)), message, true, changes);
    }
}
