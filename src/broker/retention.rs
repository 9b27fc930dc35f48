//! Retention: sessions, groups and replays are moved out of the segments that go, and what they lose is counted.
//!
//! ```text
//!  due ─► move each session, group and replay whose position lies there ─► carry rows forward ─► commit ─► truncate
//!              │ counts the entries it loses, from the log                    │ a crash after it finds nobody there
//! ```
//!
//! One step at a time, so that it does not hold up anything else; each step is the timer's or the answer to a read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::StorageState;
use crate::broker::Timer;
use crate::broker::client::ClientRef;
use crate::broker::coverage::FilterSet;
use crate::broker::coverage::grants_at;
use crate::broker::event::Output;
use crate::broker::message::Message;
use crate::broker::stats::Dropped;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::ReadResult;
use crate::commitlog::StorageError;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::mutant::Mutant;
use crate::session::plain_filter;
use crate::store::Carry;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::MessageView;
use crate::store::ProgressRow;
use crate::store::Row;
use crate::store::SessionState;

const CHUNK_BYTES: usize = 256 << 10;

/// How many rows are carried forward per step.
const CARRY_ROWS: usize = 1_000;

/// How soon the next step follows while there is something to do.
const STEP_INTERVAL: Duration = Duration::from_millis(100);

/// How far the deletion of old segments has come.
#[derive(Debug, Default)]
pub(super) enum RetentionState {
    /// Nothing to do.
    #[default]
    Idle,
    /// Positions below the new start are moved.
    Moving { new_start: Offset, left: VecDeque<Mover>, counting: Option<Counting> },
    /// A read for counting is under way.
    Reading { new_start: Offset, left: VecDeque<Mover>, counting: Counting },
    /// Rows are carried forward.
    Carrying { new_start: Offset },
    /// A read for a row that is carried forward is under way.
    Fetching { new_start: Offset },
    /// Nobody stands below the new start any more. Where everybody stands is durable when the log is up to here.
    Settling { new_start: Offset, until: Offset },
    /// Segments are deleted.
    Truncating,
}

/// Whose position has to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mover {
    Session(ClientId),
    Group(GroupKey),
    /// The replay of a session's subscription.
    Replay(ClientId, Text),
}

/// What somebody loses, counted so far.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) mover: Mover,
    /// Where its position was when counting began; if it is elsewhere at the end, the count is worth nothing.
    pub(super) began: Offset,
    pub(super) next: Offset,
    pub(super) lost: u64,
}

/// What a session loses below an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// The number of the first delivery that is not below.
    number: u64,
    /// Retained runs that begin below.
    runs: u64,
    /// How many messages that are: what it has acknowledged is not lost, and what it has not got of a run counts as one.
    pub(super) messages: u64,
}

impl Loss {
    /// Below an offset, where so many messages of the session's stream are.
    pub(super) fn below(session: &SessionState, offset: Offset, messages: u64) -> Self {
        let assigned = session
            .assigned
            .iter()
            .filter(|((place, _), row)| *place < offset && row.qos > QoS::AtMostOnce)
            .count() as u64;
        let entries = messages + assigned;
        let number = session.progress.number + entries;
        let settled = session.progress.acked.iter().filter(|acked| *acked < number).count() as u64;
        let runs = session.runs.iter().filter(|run| run.place < offset).count() as u64;
        Self { number, runs, messages: entries.saturating_sub(settled) + runs }
    }
}

impl Broker {
    /// The timer: begins, or goes on.
    pub(super) fn retention_due(&mut self) {
        let again = self.retention_step();
        let wait = if again { STEP_INTERVAL } else { self.options.retention_interval };
        self.timers.set(self.now + wait, Timer::Retention);
    }

    /// Begins, or goes on. Returns whether there is more to do soon. Where nothing can be written, nothing is deleted:
    /// what rests on it could not be carried forward.
    pub(super) fn retention_step(&mut self) -> bool {
        if self.storage_state().takes_nothing() {
            return false;
        }
        match std::mem::take(&mut self.retention) {
            RetentionState::Idle if Mutant::LaggingLate.is_active() => {
                self.begin_retention() || self.watch_lagging()
            }
            // On a full disk nothing is worth waiting for.
            RetentionState::Idle if self.storage_state() == StorageState::Full => {
                self.begin_retention()
            }
            RetentionState::Idle => self.watch_lagging() || self.begin_retention(),
            RetentionState::Moving { new_start, left, counting } => {
                self.move_positions(new_start, left, counting)
            }
            RetentionState::Carrying { new_start } => self.carry_forward(new_start),
            RetentionState::Settling { new_start, until } => {
                self.settle_retention(new_start, until);
                true
            }
            waiting @ (RetentionState::Reading { .. }
            | RetentionState::Fetching { .. }
            | RetentionState::Truncating) => {
                self.retention = waiting;
                true
            }
        }
    }

    /// Whether old segments are about to be deleted.
    pub(super) fn is_retaining(&self) -> bool {
        !matches!(self.retention, RetentionState::Idle)
    }

    /// Whether there is something to do.
    fn begin_retention(&mut self) -> bool {
        let Some(new_start) = self.store.retention_due(self.now) else { return false };
        self.refresh_positions(new_start);
        let left = self.movers(new_start);
        tracing::info!(%new_start, moved = left.len(), "old segments are due to be deleted");
        self.retention = RetentionState::Moving { new_start, left, counting: None };
        true
    }

    /// Whose position lies below the new start.
    fn movers(&self, new_start: Offset) -> VecDeque<Mover> {
        let state = self.store.state();
        let sessions = state.sessions().filter(|(_, session)| {
            session.session.is_some() && session.progress.position < new_start
        });
        let groups = state.groups().iter().filter(|(key, row)| {
            let held = state.held().get(key).and_then(|held| held.keys().next());
            let first = held.into_iter().chain(&row.returned).min();
            row.position < new_start || first.is_some_and(|first| *first < new_start)
        });
        sessions
            .map(|(client_id, _)| Mover::Session(client_id.clone()))
            .chain(groups.map(|(key, _)| Mover::Group(key.clone())))
            .chain(self.replays_below(new_start))
            .collect()
    }

    /// Writes down where the connected clients stand. One that is so far behind all the same has stopped taking messages.
    fn refresh_positions(&mut self, new_start: Offset) {
        let clients: Vec<ClientRef> =
            self.clients.iter().filter_map(|(slot, _)| self.client_ref(slot)).collect();
        for client in clients {
            self.put_progress(client, true);
            let Some(known) = self.clients.get(client.index()) else { continue };
            let connection = known.connection;
            let position = self
                .store
                .state()
                .session(&known.id)
                .map_or(Offset::MAX, |session| session.progress.position);
            if position < new_start {
                tracing::warn!(
                    client = known.id.as_str(),
                    "the client is further behind than messages are kept"
                );
                self.disconnect(
                    connection,
                    ReasonCode::QuotaExceeded,
                    Some("further behind than messages are kept"),
                );
            }
        }
    }

    fn move_positions(
        &mut self,
        new_start: Offset,
        mut left: VecDeque<Mover>,
        counting: Option<Counting>,
    ) -> bool {
        let mut counting = counting;
        loop {
            let Some(count) = counting.take().or_else(|| self.next_count(&mut left)) else {
                self.retention = RetentionState::Carrying { new_start };
                return true;
            };
            if count.next >= new_start {
                self.moved(new_start, count, &mut left);
                continue;
            }
            let matcher = self.matcher_for(&count.mover);
            match self.store.read(count.next, new_start, CHUNK_BYTES, &matcher) {
                Read::Records { records, next } => {
                    counting = Some(self.count(count, &records, next));
                }
                Read::Cold(request) => {
                    let ticket = self.ticket(Awaited::Retention);
                    self.outputs.push_back(Output::Fetch { ticket, request });
                    self.retention = RetentionState::Reading { new_start, left, counting: count };
                    return true;
                }
            }
        }
    }

    fn next_count(&self, left: &mut VecDeque<Mover>) -> Option<Counting> {
        let mover = left.pop_front()?;
        let began = self.position_of(&mover);
        Some(Counting { mover, began, next: began, lost: 0 })
    }

    pub(super) fn position_of(&self, mover: &Mover) -> Offset {
        let state = self.store.state();
        match mover {
            Mover::Session(client_id) => {
                state.session(client_id).map_or(Offset::MAX, |session| session.progress.position)
            }
            Mover::Group(key) => state.group(key).map_or(Offset::MAX, |row| row.position),
            Mover::Replay(client_id, text) => {
                self.replay_position(client_id, text).unwrap_or(Offset::MAX)
            }
        }
    }

    pub(super) fn matcher_for(&self, mover: &Mover) -> Arc<dyn KeyMatcher> {
        Arc::new(match mover {
            Mover::Session(client_id) => FilterSet::of(self.store.state().session(client_id)),
            Mover::Group(key) => FilterSet::one(&key.filter),
            Mover::Replay(_, text) => FilterSet::one(plain_filter(text)),
        })
    }

    pub(super) fn count(
        &self,
        count: Counting,
        records: &[StoredRecord],
        next: Offset,
    ) -> Counting {
        let lost =
            records.iter().filter(|record| self.is_lost(&count.mover, record)).count() as u64;
        Counting { next: next.max(count.next.next()), lost: count.lost + lost, ..count }
    }

    /// Whether a record is an entry of the session's stream, or the group's.
    fn is_lost(&self, mover: &Mover, record: &StoredRecord) -> bool {
        let Some(view) = MessageView::from_record(record) else { return false };
        let message = Message::from(&view);
        match mover {
            Mover::Group(_) | Mover::Replay(..) => message.qos > QoS::AtMostOnce,
            Mover::Session(client_id) => {
                let Some(session) = self.store.state().session(client_id) else { return false };
                let grants = grants_at(session, message.topic, record.offset);
                let own = client_id.as_str() == message.publisher;
                grants
                    .effective(message.qos, own)
                    .is_some_and(|effective| effective.qos > QoS::AtMostOnce)
            }
        }
    }

    /// The answer to a read of [`Broker::move_positions`].
    pub(super) fn retention_fetched(&mut self, result: &ReadResult) {
        match std::mem::take(&mut self.retention) {
            RetentionState::Reading { new_start, left, counting } => {
                let next = if result.next > counting.next { result.next } else { new_start };
                let counting = self.count(counting, &result.records, next);
                self.move_positions(new_start, left, Some(counting));
            }
            other @ (RetentionState::Idle
            | RetentionState::Moving { .. }
            | RetentionState::Carrying { .. }
            | RetentionState::Fetching { .. }
            | RetentionState::Settling { .. }
            | RetentionState::Truncating) => self.retention = other,
        }
    }

    /// A read failed: the step is tried again later.
    pub(super) fn retention_read_failed(&mut self) {
        self.retention = match std::mem::take(&mut self.retention) {
            RetentionState::Reading { new_start, left, counting } => {
                RetentionState::Moving { new_start, left, counting: Some(counting) }
            }
            RetentionState::Fetching { new_start } => RetentionState::Carrying { new_start },
            other @ (RetentionState::Idle
            | RetentionState::Moving { .. }
            | RetentionState::Carrying { .. }
            | RetentionState::Settling { .. }
            | RetentionState::Truncating) => other,
        };
    }

    fn moved(&mut self, new_start: Offset, count: Counting, left: &mut VecDeque<Mover>) {
        if self.position_of(&count.mover) != count.began {
            // Its client came and went meanwhile.
            left.push_back(count.mover);
            return;
        }
        match &count.mover {
            Mover::Session(client_id) => self.move_session(client_id, new_start, count.lost),
            Mover::Group(key) => self.move_group(key, new_start, count.lost),
            Mover::Replay(client_id, text) => {
                self.move_replay(client_id, text, new_start, count.lost);
            }
        }
    }

    /// Moves a session's position; entries that it had not acknowledged are lost to it, and what it had not got of the retained messages
    /// that a SUBSCRIBE below the new start asked for, which counts as one.
    fn move_session(&mut self, client_id: &ClientId, new_start: Offset, messages: u64) {
        let Some(session) = self.store.state().session(client_id) else { return };
        let progress = &session.progress;
        if progress.position >= new_start || self.client_slots.contains_key(client_id) {
            return;
        }
        // A run that goes on below the new start would be numbered with what is given up there.
        let Loss { number, runs, messages: lost } = Loss::below(session, new_start, messages);
        let row = ProgressRow {
            position: new_start,
            number,
            acked: progress.acked.iter().filter(|acked| *acked >= number).collect(),
            received: progress.received.iter().filter(|received| *received >= number).collect(),
            sent_limit: progress.sent_limit.max(number),
            run: progress.run.clone().filter(|_| runs == 0),
            runs_done: if runs == 0 {
                progress.runs_done
            } else {
                progress.runs_done.max(new_start)
            },
        };
        if lost > 0 {
            tracing::warn!(
                client = client_id.as_str(),
                lost,
                "the session loses messages that are older than messages are kept"
            );
            self.stats.drop_messages(Dropped::Retention, lost);
        }
        let freed = self.groups_freed(client_id, new_start);
        self.store.put(self.now, Row::Progress(client_id.clone(), row));
        self.rouse_groups(freed);
    }

    fn move_group(&mut self, key: &GroupKey, new_start: Offset, messages: u64) {
        let Some(row) = self.store.state().group(key).cloned() else { return };
        let GroupRow { position, returned, declared } = row;
        let held = self.held_where(key, |_, message| message < new_start);
        self.drop_held(key, &held);
        let lost = returned.iter().filter(|offset| **offset < new_start).count() as u64
            + if position < new_start { messages } else { 0 };
        if lost > 0 {
            tracing::warn!(
                share = &*key.share,
                filter = &*key.filter,
                lost,
                "the shared group loses messages that are older than messages are kept"
            );
            self.stats.drop_messages(Dropped::Retention, lost);
        }
        let row = GroupRow {
            position: position.max(new_start),
            returned: returned.into_iter().filter(|offset| *offset >= new_start).collect(),
            declared,
        };
        let position = row.position;
        self.store.put(self.now, Row::Group(key.clone(), Some(row)));
        self.group_moved(key, position);
    }

    fn carry_forward(&mut self, new_start: Offset) -> bool {
        if self.is_backed_up() {
            self.retention = RetentionState::Carrying { new_start };
            return true;
        }
        let pending_bytes = self.options.pending_bytes_max;
        match self.store.carry_forward(self.now, new_start, CARRY_ROWS, pending_bytes) {
            Carry::Again => self.retention = RetentionState::Carrying { new_start },
            Carry::Fetch(request) => {
                let ticket = self.ticket(Awaited::Carry);
                self.outputs.push_back(Output::Fetch { ticket, request });
                self.retention = RetentionState::Fetching { new_start };
            }
            Carry::Done => self.finish_retention(new_start),
        }
        true
    }

    fn finish_retention(&mut self, new_start: Offset) {
        self.refresh_positions(new_start);
        self.settle_retention(new_start, self.store.next_offset());
    }

    /// Deletes the segments, unless somebody has come to stand in them meanwhile. After a crash everybody has to be found where they stand
    /// now: who was found below the new start would have packet ids counted anew for what is left.
    fn settle_retention(&mut self, new_start: Offset, until: Offset) {
        let left = self.movers(new_start);
        if !left.is_empty() {
            self.retention = RetentionState::Moving { new_start, left, counting: None };
            return;
        }
        if self.cleaning || self.store.durable_offset() < until {
            self.retention = RetentionState::Settling { new_start, until };
            return;
        }
        self.retention = match self.store.truncate_before(new_start) {
            Some(truncation) => {
                self.outputs.push_back(Output::Truncate(truncation));
                RetentionState::Truncating
            }
            None => RetentionState::Carrying { new_start },
        };
    }

    pub(super) fn carry_fetched(&mut self, result: &ReadResult) {
        self.store.carry_fetched(self.now, result);
        if let RetentionState::Fetching { new_start } = self.retention {
            self.carry_forward(new_start);
        }
    }

    pub(super) fn handle_truncated(&mut self, result: Result<(), StorageError>) {
        self.retention = RetentionState::Idle;
        if let Err(error) = result {
            tracing::error!(%error, "old segments could not be deleted");
        }
    }
}
