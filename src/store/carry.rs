//! Retention: before the front of the log goes, everything that rests on it is appended again.
//!
//! ```text
//! retention_due ──► carry_forward ──► Again ──► carry_forward ...
//!                        │
//!                        ├──► Fetch(read) ──► carry_fetched ──► carry_forward ...
//!                        └──► Done ──► (commit) ──► truncate_before ──► Truncation, for the writer
//! ```
//!
//! A client whose oldest row lies in the part that goes is carried with all its rows; a retained or delayed message with its
//! content; what a group holds with its row; shared groups and the clock always, and last: groups also change by rows of others.

use std::collections::VecDeque;

use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::ReadRequest;
use crate::commitlog::ReadResult;
use crate::commitlog::RetentionLeft;
use crate::commitlog::StoredRecord;
use crate::commitlog::Truncation;
use crate::mqtt::ClientId;
use crate::mqtt::TopicName;
use crate::store::DelayedRow;
use crate::store::GroupKey;
use crate::store::Kind;
use crate::store::RetainedRow;
use crate::store::Row;
use crate::store::Store;
use crate::time::Timestamp;

/// What a step of [`Store::carry_forward`] came to.
#[derive(Debug)]
pub enum Carry {
    /// The budget is used up: call again.
    Again,
    /// The content of a retained or delayed message is not in memory: execute this, hand the result to
    /// [`Store::carry_fetched`], then call again.
    Fetch(ReadRequest),
    /// Nothing rests on the front of the log any more, once what was appended is durable.
    Done,
}

/// What is still to be carried.
#[derive(Debug)]
pub(super) struct Carrying {
    new_start: Offset,
    clients: VecDeque<ClientId>,
    contents: VecDeque<Content>,
    /// Messages that are held, of each group.
    held: VecDeque<(GroupKey, Offset)>,
    /// The end of the log when all was carried.
    done_at: Option<Offset>,
}

/// Where a step ends.
#[derive(Clone, Copy)]
struct Limit {
    /// The end of the log that its rows may reach.
    rows: Offset,
    pending_bytes: usize,
}

/// Whose content is carried: a record's, by a copy of it.
#[derive(Clone, Debug)]
enum Content {
    Retained(TopicName),
    /// A message that is kept back, by its id.
    Delayed(Offset),
}

impl Store {
    /// The start of the log that the retention settings ask for; `None` if nothing is to go yet. Never above what the
    /// checkpoint before the latest covers.
    pub fn retention_due(&self, now: Timestamp) -> Option<Offset> {
        let present = self.present_for_oldest(now);
        self.log.retention_candidate(present).filter(|start| *start <= self.checkpoints.previous)
    }

    /// The offset below which the log may be deleted soon: a quarter of what it may keep is left, or less. `None` if nothing is that old.
    pub fn retention_warning(&self, now: Timestamp) -> Option<Offset> {
        self.log.retention_warning(self.present_for_oldest(now))
    }

    /// How much is left until the record at an offset may be deleted.
    pub fn retention_left(&self, offset: Offset, now: Timestamp) -> RetentionLeft {
        self.log.retention_left(offset, self.present_for_oldest(now))
    }

    /// For what is newer than the oldest segment more time may count than this; its turn comes when it is the oldest.
    fn present_for_oldest(&self, now: Timestamp) -> Timestamp {
        let oldest = self.log.oldest_timestamp().unwrap_or(now);
        self.state.clock().present_for(oldest, now)
    }

    /// Appends again what rests on records below `new_start`: some `rows` at a time, and no more once so many bytes are pending.
    pub fn carry_forward(
        &mut self,
        now: Timestamp,
        new_start: Offset,
        rows: usize,
        pending_bytes: usize,
    ) -> Carry {
        let mut carrying = match self.carrying.take() {
            Some(carrying) if carrying.new_start >= new_start => carrying,
            _ => self.to_carry(new_start),
        };
        let rows = self.next_offset().saturating_add(rows.max(1) as u64);
        let outcome = self.carry(now, &mut carrying, Limit { rows, pending_bytes });
        self.carrying = Some(carrying);
        outcome
    }

    /// Takes the content that [`Carry::Fetch`] asked for. Content that could not be read is lost with its part of
    /// the log, and counted ([`Store::contents_lost`]).
    pub fn carry_fetched(&mut self, now: Timestamp, result: &ReadResult) {
        let Some(carrying) = &mut self.carrying else { return };
        let new_start = carrying.new_start;
        let Some(content) = carrying.contents.pop_front() else { return };
        let Some(offset) = self.place_of(&content).filter(|offset| *offset < new_start) else {
            return;
        };
        let record = result.records.iter().find(|record| record.offset == offset);
        self.carry_content(now, content, record);
    }

    /// Gives up whole segments below `new_start`; `None` until [`Store::carry_forward`] is done up to there and
    /// what it appended is durable.
    pub fn truncate_before(&mut self, new_start: Offset) -> Option<Truncation> {
        let durable = self.log.durable_offset();
        let covered = new_start <= self.checkpoints.previous;
        self.carrying.take_if(|carrying| {
            covered
                && carrying.new_start >= new_start
                && carrying.done_at.is_some_and(|at| at <= durable)
        })?;
        Some(self.log.truncate_before(new_start))
    }

    /// Retained and delayed messages that were lost because their content could not be read when it had to be carried forward.
    pub fn contents_lost(&self) -> u64 {
        self.contents_lost
    }

    fn to_carry(&self, new_start: Offset) -> Carrying {
        let retained = self.state.retained().iter().filter(|(_, place)| place.offset < new_start);
        let delayed = self.state.delayed().iter().filter(|(_, place)| place.offset < new_start);
        let retained = retained.map(|(topic, _)| Content::Retained(topic.clone()));
        Carrying {
            new_start,
            clients: self.state.clients_older_than(new_start),
            contents: retained.chain(delayed.map(|(id, _)| Content::Delayed(*id))).collect(),
            held: self.state.held_older_than(new_start),
            done_at: None,
        }
    }

    /// The record that has a content now; `None` if it is wanted no more.
    fn place_of(&self, content: &Content) -> Option<Offset> {
        match content {
            Content::Retained(topic) => self.state.retained().get(topic).map(|place| place.offset),
            Content::Delayed(id) => self.state.delayed().get(id).map(|place| place.offset),
        }
    }

    fn is_over(&self, limit: Limit) -> bool {
        self.next_offset() >= limit.rows || self.pending_bytes() >= limit.pending_bytes
    }

    fn carry(&mut self, now: Timestamp, carrying: &mut Carrying, limit: Limit) -> Carry {
        if carrying.done_at.is_some() {
            return Carry::Done;
        }
        while let Some(client) = carrying.clients.pop_front() {
            self.carry_client(now, &client);
            if self.is_over(limit) {
                return Carry::Again;
            }
        }
        while let Some(content) = carrying.contents.pop_front() {
            let place = self.place_of(&content).filter(|offset| *offset < carrying.new_start);
            let Some(offset) = place else { continue };
            if self.drop_expired(now, &content) {
                // It needs no copy.
            } else {
                match self.log.record(offset) {
                    Read::Records { records, .. } => {
                        self.carry_content(now, content, records.first());
                    }
                    Read::Cold(request) => {
                        carrying.contents.push_front(content);
                        return Carry::Fetch(request);
                    }
                }
            }
            if self.is_over(limit) {
                return Carry::Again;
            }
        }
        while let Some((group, message)) = carrying.held.pop_front() {
            self.carry_held(now, group, message);
            if self.is_over(limit) {
                return Carry::Again;
            }
        }
        self.carry_groups(now);
        carrying.done_at = Some(self.next_offset());
        Carry::Done
    }

    fn carry_client(&mut self, now: Timestamp, client: &ClientId) {
        let oldest = self.next_offset();
        for row in self.state.renew(client, oldest, &mut self.changes) {
            self.append_row(now, &row);
        }
    }

    /// Deletes a retained message that has expired; whether it was one.
    fn drop_expired(&mut self, now: Timestamp, content: &Content) -> bool {
        let Content::Retained(topic) = content else { return false };
        let Some(place) = self.state.retained().get(topic) else { return false };
        let present = self.state.clock().present_for(place.timestamp, now);
        let expired = place.expires_at.is_some_and(|at| at <= present);
        if expired {
            self.put(now, Row::Retained(topic.clone(), None));
        }
        expired
    }

    /// Appends a content again; one that can't be read is lost.
    fn carry_content(&mut self, now: Timestamp, content: Content, record: Option<&StoredRecord>) {
        let (row, lost) = match content {
            Content::Retained(topic) => {
                let row = record.and_then(copy);
                let lost = row.is_none();
                (Row::Retained(topic, row), lost)
            }
            Content::Delayed(id) => {
                let row = record.and_then(copy_delayed);
                let lost = row.is_none();
                (Row::Delayed(id, row), lost)
            }
        };
        self.contents_lost += u64::from(lost);
        self.put(now, row);
    }

    fn carry_held(&mut self, now: Timestamp, group: GroupKey, message: Offset) {
        let held = self.state.held().get(&group).and_then(|held| held.get(&message));
        if let Some(row) = held.map(|held| held.row.clone()) {
            self.put(now, Row::Held(group, message, Some(row)));
        }
    }

    /// Appends a record of every shared group.
    pub(super) fn carry_groups(&mut self, now: Timestamp) {
        let groups: Vec<Row> = self
            .state
            .groups()
            .iter()
            .map(|(group, row)| Row::Group(group.clone(), Some(row.clone())))
            .collect();
        for row in groups {
            self.append_row(now, &row);
        }
        if !self.state.clock().is_empty() {
            self.append_row(now, &Row::Clock(self.state.clock().clone()));
        }
    }
}

/// The copy of the retained message in a record.
fn copy(record: &StoredRecord) -> Option<RetainedRow> {
    let kind = Kind::from_u8(record.kind)?;
    if kind == Kind::Message {
        let message = record.shared_value();
        return Some(RetainedRow {
            message_offset: record.offset,
            timestamp: record.timestamp,
            message,
        });
    }
    if let Row::Retained(_, row) = Row::decode(kind, record.key(), record.value())? {
        row
    } else {
        None
    }
}

/// The copy of the delayed message in a record.
fn copy_delayed(record: &StoredRecord) -> Option<DelayedRow> {
    let kind = Kind::from_u8(record.kind).filter(|kind| *kind == Kind::Delayed)?;
    if let Row::Delayed(_, row) = Row::decode(kind, record.key(), record.value())? {
        row
    } else {
        None
    }
}
