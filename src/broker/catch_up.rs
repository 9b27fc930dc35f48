//! The walk of a client that is behind: through its stream, from where it stands, at its own pace.
//!
//! The stream is made of three things, merged by place: assignments, retained runs, messages. At one place they come in this order.
//!
//! ```text
//!  place:        ... 17     17        17        18 ...
//!                   assigned  run at 17  message 17
//! ```
//!
//! The walk ends when it has reached what is durable; then the client is live again.

use std::ops::Bound;
use std::sync::Arc;
use std::task::Poll;

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::Turn;
use crate::broker::client::AssignedKey;
use crate::broker::client::Behind;
use crate::broker::client::Client;
use crate::broker::client::ClientRef;
use crate::broker::client::Mode;
use crate::broker::coverage::FilterSet;
use crate::broker::coverage::grants_at;
use crate::broker::coverage::subscription_ids;
use crate::broker::deliver::Delivery;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::retained::carried_copy;
use crate::broker::stats::Dropped;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::mqtt::QoS;
use crate::mutant::Mutant;
use crate::session::Effective;
use crate::session::Step;
use crate::session::packet_id_of;
use crate::store::AssignedRow;
use crate::store::MessageView;

impl Broker {
    /// Lets a client that is behind go on as far as it can, within bounds.
    pub(super) fn turn_client(&mut self, client: ClientRef) {
        let Some(known) =
            self.clients.get_mut(client.index()).filter(|known| known.epoch == client.epoch)
        else {
            return;
        };
        known.turn_queued = false;
        // While its turn lasts, nothing else is routed.
        let Mode::Behind(mut behind) = std::mem::replace(&mut known.mode, Mode::Live) else {
            return;
        };
        let walk = self.walk(|broker| broker.step(client, &mut behind));
        if walk == Walk::CaughtUp {
            return self.answer_early_receipts(client);
        }
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.mode = Mode::Behind(behind);
        }
        self.after_turn(Turn::Client(client), walk);
    }

    fn step(&mut self, client: ClientRef, behind: &mut Behind) -> Walk {
        if behind.cursor.fetch.is_some() {
            return Walk::WaitDisk;
        }
        if behind.cursor.chunk.is_empty() {
            behind.cursor.next = behind.cursor.next.max(behind.cursor.scanned);
        }
        let frontier =
            behind.cursor.chunk.front().map_or(behind.cursor.next, |record| record.offset);
        let Some(known) = self.clients.get(client.index()) else { return Walk::CaughtUp };
        let run = known.runs.front().map(|run| run.place).filter(|place| *place <= frontier);
        let late = Mutant::RetainedOutOfOrder.is_active()
            && !(behind.cursor.chunk.is_empty() && behind.cursor.scanned >= self.routed);
        let run = run.filter(|_| !late);
        let assigned = self.next_assigned(known).filter(|(place, _)| *place <= frontier);
        let behind_runs = assigned.is_none_or(|(place, _)| place >= known.runs_done);
        if run.is_none() && behind_runs && known.runs_done_after > self.released() {
            return Walk::WaitDurable;
        }
        match (assigned, run) {
            (Some(key), None) => self.step_assigned(client, behind, key),
            // As long as one commit can take more of a run, more is assigned.
            (Some(key), Some(place)) if key.0 <= place && !self.may_assign_more(known) => {
                self.step_assigned(client, behind, key)
            }
            (_, Some(_)) => self.step_run(client, behind),
            (None, None) => match behind.cursor.chunk.pop_front() {
                Some(record) => self.step_message(client, behind, record),
                None => self.step_read(client, behind),
            },
        }
    }

    /// Whether the assignments so far wait to become durable, and the window takes more than those.
    fn may_assign_more(&self, known: &Client) -> bool {
        known.assigned_after > self.released() && known.outbound.quota() > known.assigned_waiting
    }

    /// The next assignment that had no turn.
    pub(super) fn next_assigned(&self, known: &Client) -> Option<AssignedKey> {
        let session = self.store.state().session(&known.id)?;
        let from = known.last_assigned.map_or(Bound::Unbounded, Bound::Excluded);
        session.assigned.range((from, Bound::Unbounded)).next().map(|(key, _)| *key)
    }

    /// Reads more of the log, or ends the walk.
    fn step_read(&mut self, client: ClientRef, behind: &mut Behind) -> Walk {
        if behind.cursor.scanned >= self.routed {
            return self.finish_walk(client, behind);
        }
        let matcher = match &behind.matcher {
            Some(matcher) => Arc::clone(matcher),
            None => self.matcher_of(client),
        };
        behind.matcher = Some(Arc::clone(&matcher));
        self.read_on(Turn::Client(client), &mut behind.cursor, self.routed, &matcher)
    }

    /// Hands on what was published at QoS 0 in the meantime; then the client is live.
    fn finish_walk(&mut self, client: ClientRef, behind: &mut Behind) -> Walk {
        if !self.may_be_live(client) {
            return Walk::WaitDurable;
        }
        let durable = self.released();
        let store = &self.store;
        let mut delivery = Delivery {
            clients: &mut self.clients,
            connections: &mut self.connections,
            stats: &mut self.stats,
            undelivered: &mut self.undelivered,
            writes: &mut self.writes,
            durable,
            now: self.now,
            clock: store.state().clock(),
        };
        let from = self.unrouted.partition_point(|unrouted| unrouted.offset < behind.qos0_from);
        for unrouted in self.unrouted.range(from..) {
            let Routing::Qos0(route) = &unrouted.what else { continue };
            let Some(target) = route.target(client) else { continue };
            let Some(stored) = store.peek(unrouted.offset) else { continue };
            let view = stored.view();
            let message = Message::from(&view);
            let own =
                delivery.client(client).is_some_and(|known| known.id.as_str() == message.publisher);
            if let Some(effective) = target.grants.effective(QoS::AtMostOnce, own) {
                let terms = Terms {
                    qos: QoS::AtMostOnce,
                    retain: message.retain && effective.retain_as_published,
                    subscription_ids: &effective.subscription_ids,
                    place: unrouted.offset,
                    meta: effective.meta,
                    replayed: false,
                };
                if delivery.send(client, &message, terms) == Sent::NotNow {
                    return Walk::WaitClient;
                }
            }
            behind.qos0_from = unrouted.offset.next();
        }
        Walk::CaughtUp
    }

    /// Whether all that the router will not bring to this connection had its turn: what was appended or assigned before
    /// it was connected or a replay became live, and retained messages.
    fn may_be_live(&self, client: ClientRef) -> bool {
        let Some(known) = self.clients.get(client.index()) else { return true };
        let assigned_before =
            self.next_assigned(known).is_some_and(|(place, _)| place < known.connected_at);
        known.runs.is_empty() && !assigned_before && self.routed >= known.live_from
    }

    fn step_message(
        &mut self,
        client: ClientRef,
        behind: &mut Behind,
        record: StoredRecord,
    ) -> Walk {
        let offset = record.offset;
        let Some(view) = MessageView::from_record(&record) else {
            self.stats.drop_messages(Dropped::Damaged, 1);
            behind.cursor.next = offset.next();
            return Walk::More;
        };
        let message = Message::from(&view);
        let effective = self.effective_at(client, &message, offset);
        let wanted = effective
            .filter(|effective| self.is_wanted(client, behind, &message, effective.qos, offset));
        let walk = match wanted {
            Some(effective) => {
                let terms = Terms {
                    qos: effective.qos,
                    retain: message.retain && effective.retain_as_published,
                    subscription_ids: &effective.subscription_ids,
                    place: offset,
                    meta: effective.meta,
                    replayed: false,
                };
                self.walk_to(client, Some(&message), terms, None)
            }
            None => Walk::More,
        };
        if walk == Walk::More {
            behind.cursor.next = offset.next();
        } else {
            behind.cursor.chunk.push_front(record);
        }
        walk
    }

    /// Whether a delivery without a number is still to be made.
    fn is_wanted(
        &self,
        client: ClientRef,
        behind: &Behind,
        message: &Message<'_>,
        qos: QoS,
        offset: Offset,
    ) -> bool {
        if message.qos == QoS::AtMostOnce {
            return offset >= behind.qos0_from;
        }
        let connected_at =
            self.clients.get(client.index()).map_or(Offset::MAX, |known| known.connected_at);
        qos > QoS::AtMostOnce || offset >= connected_at
    }

    fn step_assigned(&mut self, client: ClientRef, behind: &mut Behind, key: AssignedKey) -> Walk {
        let walk = self.send_assigned(client, behind, key);
        if walk == Walk::More {
            self.assignment_had_its_turn(client, key);
        }
        walk
    }

    fn send_assigned(&mut self, client: ClientRef, behind: &mut Behind, key: AssignedKey) -> Walk {
        let released = self.released();
        let Some(known) = self.clients.get(client.index()) else { return Walk::More };
        let at_hand = known.at_hand.get(key.1);
        let after = known.assigned_after;
        let late = key.0 < known.connected_at;
        let row = self.store.state().assigned(&known.id, key).cloned();
        let Some(mut row) = row else { return Walk::More };
        // A row with its own place is durable when the log is up to there.
        if after > released && !(row.replayed && key.0 < released) {
            return Walk::WaitDurable;
        }
        // QoS 0 that may have been sent before is not sent twice.
        if row.qos == QoS::AtMostOnce && late && !row.retained {
            return Walk::More;
        }
        let ids = subscription_ids(&row.subscription_ids);
        let terms = Terms::of_assigned(&row, &ids, key.0);
        let mut located = match at_hand {
            Some(record) => Located::Fetched(record),
            None => self.locate(client, behind, row.message),
        };
        if matches!(located, Located::Gone)
            && let Some(copy) = carried_copy(self.store.state(), row.message)
        {
            row.message = copy;
            located = self.locate(client, behind, copy);
        }
        let walk = match located {
            Located::Memory => self.send_from_memory(client, &row, terms, key),
            Located::Fetched(record) => {
                let walk = self.send_record(client, &record, terms, key);
                behind.cursor.single = Some((row.message, Some(record)));
                walk
            }
            Located::Gone => self.walk_to(client, None, terms, Some(key)),
            Located::Awaited => return Walk::WaitDisk,
        };
        if walk == Walk::More {
            behind.cursor.single = None;
        }
        walk
    }

    pub(super) fn assignment_had_its_turn(&mut self, client: ClientRef, key: AssignedKey) {
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.assigned_waiting = known.assigned_waiting.saturating_sub(1);
            known.last_assigned = Some(key);
            known.at_hand.remove(key.1);
        }
        // What was sent at QoS 0 is done with, and nobody says so.
        self.progress_lags(client);
        self.rouse_walks_of(client);
    }

    /// Sends an assigned message whose record is here.
    pub(super) fn send_record(
        &mut self,
        client: ClientRef,
        record: &StoredRecord,
        terms: Terms<'_>,
        key: AssignedKey,
    ) -> Walk {
        let view = MessageView::from_record(record);
        self.walk_to(client, view.as_ref().map(Message::from).as_ref(), terms, Some(key))
    }

    /// Sends an assigned message that is in memory.
    pub(super) fn send_from_memory(
        &mut self,
        client: ClientRef,
        row: &AssignedRow,
        terms: Terms<'_>,
        key: AssignedKey,
    ) -> Walk {
        if let Some(walk) = self.walk_over(client, terms, Some(key)) {
            return walk;
        }
        let (mut delivery, store) = self.delivery();
        let Some(stored) = store.peek(row.message) else { return Walk::WaitDurable };
        let number = delivery.client(client).map(|known| known.outbound.next_number());
        let sent = delivery.send(client, &Message::from(&stored.view()), terms);
        self.after_send(client, sent, terms, number, Some(key))
    }

    /// Lets the client pass the next entry of its stream: sends it, or notes that it needs no sending. `message` is `None` if it can't be read.
    fn walk_to(
        &mut self,
        client: ClientRef,
        message: Option<&Message<'_>>,
        terms: Terms<'_>,
        key: Option<AssignedKey>,
    ) -> Walk {
        if let Some(walk) = self.walk_over(client, terms, key) {
            return walk;
        }
        let Some(message) = message else {
            self.stats.drop_messages(Dropped::Damaged, 1);
            if let Some(known) = self.clients.get_mut(client.index())
                && terms.qos > QoS::AtMostOnce
            {
                let number = known.outbound.next_number();
                known.outbound.push(terms.place, Step::Done);
                if let Some(key) = key {
                    known.assigned_numbers.insert(number, key);
                }
            }
            return Walk::More;
        };
        let (mut delivery, _) = self.delivery();
        let number = delivery.client(client).map(|known| known.outbound.next_number());
        let sent = delivery.send(client, message, terms);
        self.after_send(client, sent, terms, number, key)
    }

    /// What an earlier connection has settled needs no sending: done, or PUBREL only [MQTT-4.4.0-1].
    fn walk_over(
        &mut self,
        client: ClientRef,
        terms: Terms<'_>,
        key: Option<AssignedKey>,
    ) -> Option<Walk> {
        if terms.qos == QoS::AtMostOnce {
            return None;
        }
        let known = self.clients.get_mut(client.index())?;
        let number = known.outbound.next_number();
        let step = if known.resumed.acked.binary_search(&number).is_ok() {
            Step::Done
        } else if known.resumed.received.binary_search(&number).is_ok() {
            Step::Released
        } else {
            return None;
        };
        known.outbound.push(terms.place, step);
        if let Some(key) = key {
            known.assigned_numbers.insert(number, key);
        }
        let slot = known.connection;
        if step == Step::Released {
            self.send(slot, &Packet::Pubrel(Ack::new(packet_id_of(number))));
        }
        Some(Walk::More)
    }

    fn after_send(
        &mut self,
        client: ClientRef,
        sent: Sent,
        terms: Terms<'_>,
        number: Option<u64>,
        key: Option<AssignedKey>,
    ) -> Walk {
        if sent == Sent::NotNow {
            return self.why_not_now(client);
        }
        let Some(known) = self.clients.get_mut(client.index()) else { return Walk::More };
        if let (Some(number), Some(key), true) = (number, key, terms.qos > QoS::AtMostOnce) {
            known.assigned_numbers.insert(number, key);
        }
        self.reserve_numbers(client);
        Walk::More
    }

    /// Asks for more numbers in good time.
    pub(super) fn reserve_numbers(&mut self, client: ClientRef) {
        if self.clients.get(client.index()).is_some_and(Client::is_low_on_numbers) {
            self.progress_is_due(client);
        }
    }

    pub(super) fn why_not_now(&mut self, client: ClientRef) -> Walk {
        let durable = self.released();
        let Some(known) = self.clients.get_mut(client.index()) else { return Walk::WaitClient };
        let next = known.outbound.next_number();
        if known.outbound.quota() > 0 && !known.reserved.allows(next, durable) {
            if known.reserved.pending.is_none() {
                self.progress_is_due(client);
            }
            return Walk::WaitDurable;
        }
        Walk::WaitClient
    }

    /// Finds one record for a client that is behind: in memory, already fetched, or by asking the disk.
    pub(super) fn locate(
        &mut self,
        client: ClientRef,
        behind: &mut Behind,
        offset: Offset,
    ) -> Located {
        if self.store.peek(offset).is_some() {
            return Located::Memory;
        }
        match self.find_record(Turn::Client(client), &mut behind.cursor, offset) {
            Poll::Ready(Some(record)) => Located::Fetched(record),
            Poll::Ready(None) => Located::Gone,
            Poll::Pending => Located::Awaited,
        }
    }

    /// What the session's subscriptions say about a message at an offset: those that covered it then.
    fn effective_at(
        &self,
        client: ClientRef,
        message: &Message<'_>,
        offset: Offset,
    ) -> Option<Effective> {
        let known = self.clients.get(client.index())?;
        let session = self.store.state().session(&known.id)?;
        let own = known.id.as_str() == message.publisher;
        grants_at(session, message.topic, offset).effective(message.qos, own)
    }

    /// The session's filters as one question.
    fn matcher_of(&self, client: ClientRef) -> Arc<dyn KeyMatcher> {
        let session = self
            .clients
            .get(client.index())
            .and_then(|known| self.store.state().session(&known.id));
        Arc::new(FilterSet::of(session))
    }
}

/// Where a single record is.
#[derive(Debug)]
pub(super) enum Located {
    /// In memory: [`crate::store::Store::peek`] has it.
    Memory,
    /// Here.
    Fetched(StoredRecord),
    /// Nowhere: deleted, or damaged.
    Gone,
    /// The disk was asked.
    Awaited,
}
