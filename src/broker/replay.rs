//! Replays: what is stored for a filter, in offset order, at the client's pace, then live without a gap and without a duplicate.
//!
//! ```text
//!   SUBSCRIBE ──► last-N: where does it begin? ──► walk ──► caught up ──► the seam: an ordinary subscription
//!                                                   │ until, limit
//!                                                   └─────────────────► the subscription has ended
//! ```
//!
//! A replay is a walk of its own beside its session's stream, so that a slow one holds up nothing else. What it gives above QoS 0 to a
//! session that is recorded is an assignment, and the row of the subscription, which has the replay's position, is in the same batch: both
//! are durable or neither. Everything else goes out directly. `docs/decisions/0007-replay.md` says why.
//!
//! At the seam, what was appended and is not yet handed on by the router is assigned too, so that the subscription begins behind it; where
//! nothing is assigned, it begins at the router's place, and the client's own walk brings it.

use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::StorageState;
use crate::broker::Timer;
use crate::broker::Turn;
use crate::broker::Unrouted;
use crate::broker::client::ClientRef;
use crate::broker::client::Mode;
use crate::broker::coverage::FilterSet;
use crate::broker::coverage::grant_of;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::retention::Mover;
use crate::broker::search::Search;
use crate::broker::stats::Dropped;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::Text;
use crate::mutant::Mutant;
use crate::session::plain_filter;
use crate::store::AssignedRow;
use crate::store::MessageView;
use crate::store::ReplayRow;
use crate::store::Row;
use crate::store::Span;
use crate::store::SubscriptionRow;
use crate::time::Timestamp;

/// A replay, by its place in the broker's table.
pub(super) type ReplayIndex = usize;

/// How many replays a client may have under way: each reads ahead.
pub(super) const REPLAYS_MAX: usize = 16;

/// How many bytes may be ahead of the router at the seam.
const AHEAD_BYTES: usize = 1 << 20;

/// A replay of a connected client that has not caught up.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) client: ClientRef,
    pub(super) client_id: ClientId,
    /// The subscription's whole text.
    pub(super) text: Text,
    pub(super) matcher: Arc<dyn KeyMatcher>,
    pub(super) cursor: Cursor,
    /// How far it has come; in the state as it was before this turn.
    pub(super) row: ReplayRow,
    /// The search for where `last-N` begins.
    pub(super) search: Option<Search>,
    /// Messages published at QoS 0 below were sent ahead of the walk.
    qos0_from: Offset,
    /// What the pace counts from: a message's moment, and when it was sent.
    anchor: Option<(Timestamp, Timestamp)>,
    /// When a timer wakes it.
    wakes_at: Option<Timestamp>,
    turn_queued: bool,
}

impl Broker {
    /// Lets a replay that a subscription's row speaks of begin, or go on.
    pub(super) fn start_replay(&mut self, client: ClientRef, client_id: &ClientId, text: &Text) {
        let Some(span) = self.replaying_span(client_id, text) else { return };
        let Some(row) = span.replay.as_deref().cloned() else { return };
        let replay = Replay {
            client,
            client_id: client_id.clone(),
            text: text.clone(),
            matcher: Arc::new(FilterSet::one(plain_filter(text))),
            cursor: Cursor::at(row.position),
            row,
            search: None,
            qos0_from: Offset::ZERO,
            anchor: None,
            wakes_at: None,
            turn_queued: false,
        };
        let index = self.replays.insert(Some(Box::new(replay)));
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.replays.push(index);
        }
        self.queue_replay_turn(index);
    }

    /// The replays that a session was at when its client left.
    pub(super) fn resume_replays(&mut self, client: ClientRef, client_id: &ClientId) {
        let session = self.store.state().session(client_id);
        let rows = session.into_iter().flat_map(|session| session.subscriptions.iter());
        let replaying = rows.filter(|(_, row)| row.open_span().is_some_and(Span::is_replaying));
        let texts: Vec<Text> = replaying.map(|(text, _)| text.clone()).collect();
        for text in texts {
            self.start_replay(client, client_id, &text);
            let last = self.clients.get(client.index()).and_then(|known| known.replays.last());
            if let (true, Some(index)) = (Mutant::ReplayResumesLate.is_active(), last.copied())
                && let Some(Some(replay)) = self.replays.get_mut(index)
            {
                replay.cursor = Cursor::at(replay.row.position.next());
            }
        }
    }

    /// Whether a subscription gets what is stored, and nothing live yet.
    pub(super) fn is_replaying(&self, client_id: &ClientId, text: &str) -> bool {
        self.replaying_span(client_id, text).is_some()
    }

    fn replaying_span(&self, client_id: &ClientId, text: &str) -> Option<&Span> {
        let session = self.store.state().session(client_id)?;
        session.subscriptions.get(text)?.open_span().filter(|span| span.is_replaying())
    }

    /// Ends the walk of a subscription that is replaced or ended.
    pub(super) fn stop_replay(&mut self, client: ClientRef, text: &str) {
        let client_id = self.clients.get(client.index()).map(|known| known.id.clone());
        if let Some(index) = client_id.and_then(|client_id| self.walk_of(&client_id, text)) {
            self.forget_replay(client, index);
        }
    }

    /// Ends the walks of a client that goes; their rows say where they stand.
    pub(super) fn leave_replays(&mut self, client: ClientRef) {
        let known = self.clients.get_mut(client.index());
        for index in known.map(|known| std::mem::take(&mut known.replays)).unwrap_or_default() {
            self.replays.try_remove(index);
        }
    }

    fn forget_replay(&mut self, client: ClientRef, index: ReplayIndex) {
        self.replays.try_remove(index);
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.replays.retain(|known| *known != index);
        }
    }

    pub(super) fn queue_replay_turn(&mut self, index: ReplayIndex) {
        let Some(Some(replay)) = self.replays.get_mut(index) else { return };
        if !replay.turn_queued {
            replay.turn_queued = true;
            self.turns.push_back(Turn::Replay(index));
        }
    }

    /// Gives the replays of a client that can take more a turn.
    pub(super) fn rouse_replays_of(&mut self, client: ClientRef) {
        let replays =
            self.clients.get(client.index()).map(|known| known.replays.clone()).unwrap_or_default();
        for index in replays {
            self.queue_replay_turn(index);
        }
    }

    /// The time of a replay's next message has come, perhaps.
    pub(super) fn replay_due(&mut self, index: ReplayIndex) {
        if let Some(Some(replay)) = self.replays.get_mut(index) {
            replay.wakes_at = None;
        }
        self.queue_replay_turn(index);
    }

    /// Lets a replay go on as far as its client can take it, within bounds, and writes down how far that was.
    pub(super) fn turn_replay(&mut self, index: ReplayIndex) {
        let writes = self.storage_state() != StorageState::ReadOnly;
        let Some(slot) = self.replays.get_mut(index) else { return };
        let Some(mut replay) = slot.take() else { return };
        replay.turn_queued = false;
        let client = replay.client;
        if self.stopping.has_begun() || !writes && self.is_recorded(&replay.client_id) {
            return self.put_back(index, replay);
        }
        let walk = self.walk(|broker| broker.step_replay(index, &mut replay));
        if walk == Walk::CaughtUp {
            return self.forget_replay(client, index);
        }
        self.keep_replay(&mut replay);
        self.put_back(index, replay);
        self.after_turn(Turn::Replay(index), walk);
    }

    fn put_back(&mut self, index: ReplayIndex, replay: Box<Replay>) {
        if let Some(slot) = self.replays.get_mut(index) {
            *slot = Some(replay);
        }
    }

    /// Writes down how far a replay has come, if it has.
    fn keep_replay(&mut self, replay: &mut Replay) {
        let Some(span) = self.replaying_span(&replay.client_id, &replay.text) else { return };
        if span.replay.as_deref() != Some(&replay.row) {
            let span = Span { replay: Some(Box::new(replay.row.clone())), ..span.clone() };
            self.put_open_span(&replay.client_id, &replay.text, Some(span));
        }
    }

    /// Replaces the span of a subscription that is open, or ends the subscription.
    fn put_open_span(&mut self, client_id: &ClientId, text: &Text, span: Option<Span>) {
        let session = self.store.state().session(client_id);
        let row = session.and_then(|session| session.subscriptions.get(text)).cloned();
        let mut row: SubscriptionRow = row.unwrap_or_default();
        row.spans.retain(|span| span.until.is_some());
        row.spans.extend(span);
        let row = if row.spans.is_empty() { None } else { Some(row) };
        self.store.put(self.now, Row::Subscription(client_id.clone(), text.clone(), row));
    }

    /// The replays whose position lies below an offset.
    pub(super) fn replays_below(&self, offset: Offset) -> Vec<Mover> {
        let sessions = self.store.state().sessions();
        let rows = sessions.flat_map(|(client_id, session)| {
            session.subscriptions.iter().map(move |(text, row)| (client_id, text, row))
        });
        let replaying = rows.filter(|(_, _, row)| row.open_span().is_some_and(Span::is_replaying));
        let below = replaying.filter(|(client_id, text, _)| {
            self.replay_position(client_id, text).is_some_and(|position| position < offset)
        });
        below.map(|(client_id, text, _)| Mover::Replay(client_id.clone(), text.clone())).collect()
    }

    /// Where a subscription's replay stands; `None` if it is still looking for where to begin.
    pub(super) fn replay_position(&self, client_id: &ClientId, text: &str) -> Option<Offset> {
        let row = self.replaying_span(client_id, text)?.replay.as_ref()?;
        let walk =
            self.walk_of(client_id, text).and_then(|index| self.replays.get(index)?.as_ref());
        let walked = walk.map_or(Offset::ZERO, |walk| walk.cursor.next);
        row.last.is_none().then(|| row.position.max(walked))
    }

    /// The walk of a subscription's replay, if its client is connected.
    fn walk_of(&self, client_id: &ClientId, text: &str) -> Option<ReplayIndex> {
        let known = self.clients.get(*self.client_slots.get(client_id)?)?;
        let mut indexes = known.replays.iter().copied();
        indexes.find(|index| {
            let replay = self.replays.get(*index).and_then(Option::as_ref);
            replay.is_some_and(|replay| *replay.text == *text)
        })
    }

    /// Moves a replay out of the part of the log that goes; so many messages are lost to it.
    pub(super) fn move_replay(
        &mut self,
        client_id: &ClientId,
        text: &Text,
        new_start: Offset,
        lost: u64,
    ) {
        let stands = self.replay_position(client_id, text);
        if stands.is_none_or(|position| position >= new_start) {
            return;
        }
        let Some(span) = self.replaying_span(client_id, text).cloned() else { return };
        let Some(replay) = span.replay.as_deref() else { return };
        if lost > 0 {
            tracing::warn!(
                client = client_id.as_str(),
                subscription = &**text,
                lost,
                "the replay loses messages that are older than messages are kept"
            );
            self.stats.drop_messages(Dropped::Retention, lost);
        }
        let row = ReplayRow { position: new_start, ..replay.clone() };
        let span = Span { replay: Some(Box::new(row.clone())), ..span };
        self.put_open_span(client_id, text, Some(span));
        let Some(index) = self.walk_of(client_id, text) else { return };
        if let Some(Some(replay)) = self.replays.get_mut(index) {
            replay.row = row;
            replay.cursor = Cursor::at(new_start);
        }
        self.queue_replay_turn(index);
    }

    fn step_replay(&mut self, index: ReplayIndex, replay: &mut Replay) -> Walk {
        if replay.cursor.fetch.is_some() {
            return Walk::WaitDisk;
        }
        let connected = self.clients.get(replay.client.index());
        if connected.is_none_or(|known| known.epoch != replay.client.epoch) {
            return Walk::CaughtUp;
        }
        if replay.row.last.is_some() {
            return self.step_search(index, replay);
        }
        if replay.row.left == Some(0) {
            return self.end_replay(replay);
        }
        match replay.cursor.chunk.pop_front() {
            Some(record) => self.step_replayed(index, replay, record),
            None => self.step_replay_read(index, replay),
        }
    }

    fn step_replay_read(&mut self, index: ReplayIndex, replay: &mut Replay) -> Walk {
        let (scanned, routed) = (replay.cursor.scanned, self.routed);
        replay.cursor.next = replay.cursor.next.max(scanned);
        let until = replay.row.until;
        if until.is_some_and(|until| scanned >= until) {
            return self.end_replay(replay);
        }
        if scanned < routed {
            let to = until.map_or(routed, |until| until.min(routed));
            let matcher = Arc::clone(&replay.matcher);
            return self.read_on(Turn::Replay(index), &mut replay.cursor, to, &matcher);
        }
        if until.is_some() || replay.row.left.is_some() {
            return Walk::WaitDurable;
        }
        self.seam(replay)
    }

    fn step_replayed(
        &mut self,
        index: ReplayIndex,
        replay: &mut Replay,
        record: StoredRecord,
    ) -> Walk {
        let offset = record.offset;
        let walk = match MessageView::from_record(&record) {
            None => {
                self.stats.drop_messages(Dropped::Damaged, 1);
                Walk::More
            }
            Some(view) if replay.row.until.is_some_and(|until| view.offset >= until) => {
                return self.end_replay(replay);
            }
            Some(view) if replay.row.ends_at.is_some_and(|end| view.timestamp >= end) => {
                return self.end_replay(replay);
            }
            Some(view) => {
                let message = Message::from(&view);
                match self.replayed_qos(replay, &message) {
                    None => Walk::More,
                    Some(_) if self.is_early(index, replay, &message) => Walk::WaitClient,
                    Some(qos) => self.give(replay, &record, &message, qos),
                }
            }
        };
        if walk == Walk::More {
            replay.cursor.next = offset.next();
        } else {
            replay.cursor.chunk.push_front(record);
        }
        walk
    }

    /// The QoS that a replay gives a message at; `None` if it leaves the message out.
    pub(super) fn replayed_qos(&self, replay: &Replay, message: &Message<'_>) -> Option<QoS> {
        let span = self.replaying_span(&replay.client_id, &replay.text)?;
        let offset = message.offset?;
        let sent = message.qos == QoS::AtMostOnce && offset < replay.qos0_from;
        let own = span.no_local && message.publisher == replay.client_id.as_str();
        let early = replay.row.not_before.is_some_and(|moment| message.published_at < moment);
        let present = self.store.present_for(message.published_at, self.now);
        let wanted = !sent && !own && !early && !message.is_expired(present);
        (wanted && self.may_receive(replay.client, message.topic))
            .then(|| message.qos.min(span.qos))
    }

    /// Whether the pace has a message wait; if so, a timer will tell.
    fn is_early(&mut self, index: ReplayIndex, replay: &mut Replay, message: &Message<'_>) -> bool {
        let Some(speed) = replay.row.speed else { return false };
        let (moment, sent) = *replay.anchor.get_or_insert((message.published_at, self.now));
        let due = sent + message.published_at.since(moment) / speed.get();
        if due <= self.now {
            return false;
        }
        if replay.wakes_at.is_none_or(|at| due < at) {
            replay.wakes_at = Some(due);
            self.set_far_timer(due, Timer::Replay(index));
        }
        true
    }

    /// Gives a message to the client: as an assignment if that has to survive, directly otherwise.
    fn give(
        &mut self,
        replay: &mut Replay,
        record: &StoredRecord,
        message: &Message<'_>,
        qos: QoS,
    ) -> Walk {
        let walk = if qos > QoS::AtMostOnce && self.is_recorded(&replay.client_id) {
            if self.has_room(replay.client) {
                self.assign_replayed(replay, record, qos);
                Walk::More
            } else {
                Walk::WaitClient
            }
        } else {
            self.send_replayed(replay, message, qos)
        };
        if walk == Walk::More {
            replay.row.position = record.offset.next();
            replay.row.left = replay.row.left.map(|left| left.saturating_sub(1));
        }
        walk
    }

    fn assign_replayed(&mut self, replay: &Replay, record: &StoredRecord, qos: QoS) {
        let Some(span) = self.replaying_span(&replay.client_id, &replay.text) else { return };
        let row = AssignedRow {
            place: None,
            message: record.offset,
            qos,
            retained: false,
            replayed: true,
            meta: span.meta,
            subscription_ids: span.subscription_id.into_iter().collect(),
            group: None,
            key: None,
        };
        let (place, counter) = self.assign(replay.client, &replay.client_id, row);
        if let Some(known) = self.clients.get_mut(replay.client.index()) {
            known.at_hand.keep(counter, record.clone());
        }
        let what = Routing::Assigned(replay.client, counter);
        self.unrouted.push_back(Unrouted { offset: place, what });
    }

    fn send_replayed(&mut self, replay: &Replay, message: &Message<'_>, qos: QoS) -> Walk {
        let Some(span) = self.replaying_span(&replay.client_id, &replay.text) else {
            return Walk::CaughtUp;
        };
        let ids: SubscriptionIds =
            span.subscription_id.and_then(SubscriptionId::new).into_iter().collect();
        let meta = span.meta;
        let place = match self.clients.get(replay.client.index()).map(|known| &known.mode) {
            Some(Mode::Behind(behind)) => behind.cursor.next,
            Some(Mode::Live) | None => self.routed,
        };
        let terms =
            Terms { qos, retain: false, subscription_ids: &ids, place, meta, replayed: true };
        let (mut delivery, _) = self.delivery();
        match delivery.send(replay.client, message, terms) {
            Sent::Done => Walk::More,
            Sent::NotNow => self.why_not_now(replay.client),
        }
    }

    /// The replay has come to its end, and with it the subscription.
    fn end_replay(&mut self, replay: &Replay) -> Walk {
        self.put_open_span(&replay.client_id, &replay.text, None);
        Walk::CaughtUp
    }

    /// Makes a replay that has caught up with the router an ordinary subscription.
    fn seam(&mut self, replay: &mut Replay) -> Walk {
        let Some(span) = self.replaying_span(&replay.client_id, &replay.text).cloned() else {
            return Walk::CaughtUp;
        };
        let (routed, end) = (self.routed, self.store.next_offset());
        let ahead = match self.store.read(routed, end, AHEAD_BYTES, &replay.matcher) {
            Read::Records { records, next } if next >= end => records,
            Read::Records { .. } | Read::Cold(_) => return Walk::WaitDurable,
        };
        let assigns = span.qos > QoS::AtMostOnce && self.is_recorded(&replay.client_id);
        let qos0_to = if assigns { end } else { self.walked_at_qos0(replay.client, end) };
        let walk = self.send_ahead(replay, &ahead, qos0_to);
        if walk != Walk::More {
            return walk;
        }
        if assigns && !Mutant::SeamLosesOne.is_active() {
            self.assign_ahead(replay, &ahead);
        }
        let from = if assigns { self.store.next_offset().next() } else { routed };
        let row = ReplayRow { live: true, position: from, ..replay.row.clone() };
        let span = Span { from, replay: Some(Box::new(row)), ..span };
        let grant = grant_of(&span);
        self.put_open_span(&replay.client_id, &replay.text, Some(span));
        self.router.subscribe(&replay.text, replay.client, grant);
        self.subscription_changed(replay.client);
        if let (false, Some(known)) = (assigns, self.clients.get_mut(replay.client.index())) {
            let lost = Mutant::SeamLosesOne.is_active();
            known.live_from = if lost { known.live_from } else { end };
            known.fall_behind(routed, end);
            self.queue_turn(replay.client);
        }
        Walk::CaughtUp
    }

    /// Messages published at QoS 0 from here on are brought by the client's own walk, if it is behind.
    fn walked_at_qos0(&self, client: ClientRef, end: Offset) -> Offset {
        match self.clients.get(client.index()).map(|known| &known.mode) {
            Some(Mode::Behind(behind)) => behind.qos0_from.min(end),
            Some(Mode::Live) | None => end,
        }
    }

    /// Sends what was published at QoS 0 and is ahead of the router: nobody will hand it on any more.
    fn send_ahead(&mut self, replay: &mut Replay, ahead: &[StoredRecord], to: Offset) -> Walk {
        for record in ahead.iter().filter(|record| record.offset < to) {
            let Some(view) = MessageView::from_record(record) else { continue };
            let message = Message::from(&view);
            if message.qos > QoS::AtMostOnce || self.replayed_qos(replay, &message).is_none() {
                continue;
            }
            let walk = self.send_replayed(replay, &message, QoS::AtMostOnce);
            if walk != Walk::More {
                return walk;
            }
            replay.qos0_from = record.offset.next();
        }
        Walk::More
    }

    /// Assigns what was published above QoS 0 and is ahead of the router.
    fn assign_ahead(&mut self, replay: &Replay, ahead: &[StoredRecord]) {
        for record in ahead {
            let Some(view) = MessageView::from_record(record) else { continue };
            let message = Message::from(&view);
            let qos = self.replayed_qos(replay, &message).filter(|qos| *qos > QoS::AtMostOnce);
            if let Some(qos) = qos {
                self.assign_replayed(replay, record, qos);
            }
        }
    }
}
