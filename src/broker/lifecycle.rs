//! The life of a session: opened or resumed by CONNECT, left by its connection, taken over, ended.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use crate::access::Grants;
use crate::access::Identity;
use crate::broker::Broker;
use crate::broker::Timer;
use crate::broker::client::AssignedKey;
use crate::broker::client::AtHand;
use crate::broker::client::Behind;
use crate::broker::client::Client;
use crate::broker::client::ClientRef;
use crate::broker::client::Mode;
use crate::broker::client::ProgressState;
use crate::broker::client::Reserved;
use crate::broker::client::Resumed;
use crate::broker::close::Ending;
use crate::broker::connection::Connected;
use crate::broker::connection::Connection;
use crate::broker::connection::Phase;
use crate::broker::coverage::grant_of;
use crate::broker::coverage::is_shared;
use crate::broker::retained::runs_left;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::Disconnect;
use crate::mqtt::Packet;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::mqtt::Violation;
use crate::mutant::Mutant;
use crate::session::Address;
use crate::session::EXCLUSIVE;
use crate::session::Grant;
use crate::session::Inbound;
use crate::session::InboundAliases;
use crate::session::Limits;
use crate::session::Meta;
use crate::session::Outbound;
use crate::session::OutboundAliases;
use crate::store::GroupKey;
use crate::store::Row;
use crate::store::SessionRow;
use crate::time::Timestamp;

/// Traces of clients that come and go have a name of their own, so that they can be had without all else that is debugged.
const CLIENTS: &str = "tidelog::clients";

/// How far an orderly end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// Not asked for.
    No,
    /// What was received becomes durable and is acknowledged.
    Draining,
    /// The clients were told; their sessions become durable.
    Leaving,
    /// The checkpoint is brought up to date.
    Checkpointing,
    /// Done.
    Stopped,
}

impl Stopping {
    /// Whether the end was asked for.
    pub(super) fn has_begun(self) -> bool {
        self != Self::No
    }
}

impl Broker {
    /// Binds a session to a connection whose CONNECT is accepted, and answers.
    pub(super) fn attach(
        &mut self,
        slot: usize,
        connect: &Connect,
        identity: Identity,
        grants: Grants,
        assigned: Option<ClientId>,
        authentication_data: Option<Bytes>,
    ) {
        let client_id = identity.client_id;
        self.take_over(slot, &client_id, connect.clean_start);
        if connect.clean_start {
            self.end_session(&client_id);
        }
        let limits = Limits::negotiate(connect, &self.options.session);
        let session_present =
            self.store.state().session(&client_id).is_some_and(|session| session.session.is_some());
        self.cancel_will(&client_id);
        let row = self.session_row(&client_id, identity.user_name.clone(), &limits);
        let opened = self.store.put(self.now, Row::Session(client_id.clone(), Some(row)));
        let client = self.insert_client(slot, &client_id, &limits, session_present);
        let recorded = self.is_recorded(&client_id);
        let reserved = if recorded { self.put_progress(client, true) } else { Offset::ZERO };
        let will = connect.will.as_ref().map(|will| self.keep_will(&client_id, will));
        let opened = if recorded { opened.next() } else { Offset::ZERO };
        // A crash must not bring back, after CONNACK said there is none, a session that ended before [MQTT-3.1.2-4].
        let ended = self.ended.get(&client_id).copied().unwrap_or(Offset::ZERO);
        let after = opened.max(reserved).max(ended).max(will.map_or(Offset::ZERO, Offset::next));
        self.enter_subscriptions(client, &client_id);
        self.end_subscriptions_denied(client, &client_id, &grants);
        let silence_max = limits.silence_max();
        let connack =
            self.connack(connect, &limits, session_present, assigned, authentication_data);
        let open =
            self.store.state().session(&client_id).map_or(0, |session| session.inbound.len());
        let connected = Connected {
            client: client.index(),
            user: identity.user_name,
            inbound: Inbound::new(self.options.session.receive_maximum, open),
            inbound_aliases: InboundAliases::new(self.options.session.topic_alias_maximum),
            outbound_aliases: OutboundAliases::new(limits.topic_alias_maximum),
            limits,
            authentication_method: connect.authentication_method.clone(),
            exchange: None,
            meta: meta_of(connect),
            grants,
        };
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.phase = Phase::Connected(Box::new(connected));
        trace_connected(connection, &client_id, connect, session_present);
        let id = connection.id;
        self.stats.connects_accepted += 1;
        self.send_after(slot, after, Packet::Connack(Box::new(connack)));
        self.tell_connected(slot, &client_id, connect, session_present);
        if let Some(silence_max) = silence_max {
            self.set_far_timer(self.now + silence_max, Timer::KeepAlive(id));
        }
        self.queue_turn(client);
    }

    fn session_row(&self, client_id: &ClientId, user: Option<Text>, limits: &Limits) -> SessionRow {
        let known =
            self.store.state().session(client_id).and_then(|session| session.session.as_ref());
        SessionRow {
            user,
            version: limits.version,
            expiry_interval: limits.session_expiry,
            connected: true,
            created_at: known.map_or(self.now, |row| row.created_at),
            disconnected_at: Timestamp::EPOCH,
        }
    }

    /// The runtime of a session, standing where its progress says.
    fn insert_client(
        &mut self,
        slot: usize,
        client_id: &ClientId,
        limits: &Limits,
        session_present: bool,
    ) -> ClientRef {
        let next_offset = self.store.next_offset();
        let recorded = self.is_recorded(client_id);
        let session = self.store.state().session(client_id);
        let progress = session.map(|session| session.progress.clone()).unwrap_or_default();
        let runs = session.filter(|_| session_present).map(runs_left).unwrap_or_default();
        let assigned_waiting = session.map_or(0, |session| session.assigned.len());
        self.epoch += 1;
        let mode = if session_present {
            Mode::Behind(Behind::at(progress.position, next_offset))
        } else {
            Mode::Live
        };
        let client = Client {
            id: client_id.clone(),
            epoch: self.epoch,
            connection: slot,
            outbound: Outbound::new(progress.number, limits.window),
            mode,
            runs: if session_present { runs } else { VecDeque::new() },
            runs_done: progress.runs_done,
            runs_done_after: Offset::ZERO,
            dup_below: progress.sent_limit,
            connected_at: next_offset,
            live_from: next_offset,
            resumed: Resumed {
                acked: progress.acked.iter().collect(),
                received: progress.received.iter().collect(),
            },
            reserved: if recorded {
                Reserved { limit: progress.sent_limit, pending: None }
            } else {
                Reserved::UNLIMITED
            },
            assigned_numbers: BTreeMap::new(),
            assigned_after: next_offset,
            last_assigned: None,
            next_counter: session.map_or(0, |session| session.assigned_next),
            assigned_waiting,
            received_early: BTreeSet::new(),
            to_release: Vec::new(),
            progress: ProgressState::Clean,
            turn_queued: false,
            replays: smallvec::SmallVec::new(),
            at_hand: AtHand::default(),
            groups: smallvec::SmallVec::new(),
        };
        let index = self.clients.insert(client);
        self.client_slots.insert(client_id.clone(), index);
        ClientRef { slot: u32::try_from(index).unwrap_or(u32::MAX), epoch: self.epoch }
    }

    /// Makes the session's open subscriptions known to the router.
    fn enter_subscriptions(&mut self, client: ClientRef, client_id: &ClientId) {
        self.resume_replays(client, client_id);
        for (filter, grant) in self.open_grants(client_id) {
            if self.is_replaying(client_id, &filter) {
                continue;
            }
            if !is_shared(&filter) {
                self.router.subscribe(&filter, client, grant);
            } else if let Some(key) = group_key(&filter) {
                let position = self.store.next_offset();
                let group = self.group_of(&key, position, true);
                self.join_group(group, client, grant);
            }
        }
    }

    pub(super) fn open_grants(&self, client_id: &ClientId) -> Vec<(Text, Grant)> {
        let session = self.store.state().session(client_id);
        let rows = session.into_iter().flat_map(|session| session.subscriptions.iter());
        rows.filter_map(|(filter, row)| Some((filter.clone(), grant_of(row.open_span()?))))
            .collect()
    }

    fn connack(
        &self,
        connect: &Connect,
        limits: &Limits,
        session_present: bool,
        assigned: Option<ClientId>,
        authentication_data: Option<Bytes>,
    ) -> Connack {
        let mut connack = Connack::new(ReasonCode::Success);
        connack.session_present =
            session_present || (Mutant::SessionPresentLied.is_active() && !connect.clean_start);
        limits.announce(connect, &self.options.session, &mut connack);
        if limits.version.is_v5() {
            connack.authentication_method.clone_from(&connect.authentication_method);
            connack.authentication_data = authentication_data;
            if connect.request_response_information {
                let client_id = assigned.as_ref().map_or(&*connect.client_id, |id| id.as_str());
                connack.response_information = Text::try_from(format!("response/{client_id}")).ok();
            }
            connack.assigned_client_id = assigned;
        }
        connack
    }

    /// Ends the connection that a client id has now, for the one in `successor` [MQTT-3.1.4-3].
    fn take_over(&mut self, successor: usize, client_id: &ClientId, clean_start: bool) {
        let Some(client) =
            self.client_slots.get(client_id).and_then(|index| self.client_ref(*index))
        else {
            return;
        };
        let Some(slot) = self.clients.get(client.index()).map(|known| known.connection) else {
            return;
        };
        self.stats.take_overs += 1;
        tracing::info!(
            client = client_id.as_str(),
            "the session is taken over by a new connection"
        );
        self.tell_taken_over(client_id, slot, successor);
        if clean_start {
            // The session ends, so its will can't wait for anything.
            self.fire_will_now(client_id);
        }
        self.disconnect(slot, ReasonCode::SessionTakenOver, None);
    }

    /// DISCONNECT from the client: it may change when its session ends, and whether its will is published.
    pub(super) fn handle_disconnect(&mut self, slot: usize, disconnect: &Disconnect) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(connected) =
            self.connections.get_mut(slot).and_then(|connection| connection.connected_mut())
        else {
            return;
        };
        if let Some(expiry) = disconnect.session_expiry_interval {
            if connected.limits.session_expiry == 0 && expiry > 0 {
                return self.violated(slot, Violation::SessionExpiryRaisedFromZero);
            }
            connected.limits.session_expiry = expiry.min(self.options.session.session_expiry_max);
        }
        self.detach(client, Ending::Left(disconnect.reason_code));
        self.close(slot);
    }

    /// Unbinds a session from its connection.
    pub(super) fn detach(&mut self, client: ClientRef, ending: Ending) {
        let Some(known) =
            self.clients.get(client.index()).filter(|known| known.epoch == client.epoch)
        else {
            return;
        };
        let client_id = known.id.clone();
        let groups = known.groups.clone();
        let slot = known.connection;
        let event = self.disconnected_event(client, ending);
        let connection = self.connections.get(slot);
        let expiry = connection
            .and_then(|connection| connection.connected())
            .map_or(0, |connected| connected.limits.session_expiry);
        let id = connection.map(|connection| tracing::field::display(connection.id));
        tracing::debug!(target: CLIENTS, connection = id, client = client_id.as_str(), why = %ending, "disconnected");
        if Mutant::InFlightForgottenOnCut.is_active()
            && let Some(known) = self.clients.get_mut(client.index())
        {
            known.outbound = Outbound::new(known.outbound.next_number(), 1);
        }
        self.put_progress(client, false);
        if expiry == 0 {
            self.forget_acknowledged(client, &client_id);
            self.return_unsent(client, &client_id);
        }
        for (filter, _) in self.open_grants(&client_id) {
            if !is_shared(&filter) {
                self.router.unsubscribe(&filter, client);
            }
        }
        for group in groups {
            self.part_group(group, client);
        }
        self.leave_replays(client);
        self.clients.remove(client.index());
        self.client_slots.remove(&client_id);
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.phase = Phase::New;
        }
        self.leave_session(&client_id, expiry);
        if ending.with_will() {
            self.will_of_lost(&client_id, expiry);
        } else {
            self.cancel_will(&client_id);
        }
        if expiry == 0 {
            self.end_session(&client_id);
        }
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// What was acknowledged out of order does not go back to its group when the session ends.
    fn forget_acknowledged(&mut self, client: ClientRef, client_id: &ClientId) {
        let Some(known) = self.clients.get(client.index()) else { return };
        let done =
            known.outbound.done_numbers().filter_map(|number| known.assigned_numbers.get(&number));
        let settled: Vec<AssignedKey> = done.copied().collect();
        for (place, counter) in settled {
            self.hold_settled(client_id, (place, counter));
            self.store.put(self.now, Row::Assigned(client_id.clone(), counter, None));
        }
    }

    /// What a group had assigned at QoS 2 and was never sent goes to another member: only what was sent goes to nobody
    /// else [MQTT-4.8.2-5].
    fn return_unsent(&mut self, client: ClientRef, client_id: &ClientId) {
        let Some(known) = self.clients.get(client.index()) else { return };
        let Some(session) = self.store.state().session(client_id) else { return };
        let from = known.last_assigned.map_or(Bound::Unbounded, Bound::Excluded);
        let unsent = session.assigned.range((from, Bound::Unbounded));
        let unsent: Vec<(u64, Offset, GroupKey)> = unsent
            .filter(|(_, row)| row.qos == QoS::ExactlyOnce)
            .filter_map(|((_, counter), row)| Some((*counter, row.message, row.group.clone()?)))
            .collect();
        let mut returned: BTreeMap<GroupKey, Vec<Offset>> = BTreeMap::new();
        for (counter, message, key) in unsent {
            self.store.put(self.now, Row::Assigned(client_id.clone(), counter, None));
            returned.entry(key).or_default().push(message);
        }
        for (key, messages) in returned {
            self.give_back(&key, &messages);
        }
    }

    /// Notes that nobody is connected to the session any more, and when it ends.
    fn leave_session(&mut self, client_id: &ClientId, expiry: u32) {
        let row = self.store.state().session(client_id).and_then(|session| session.session.clone());
        let Some(row) = row else { return };
        let row = SessionRow {
            connected: false,
            disconnected_at: self.now,
            expiry_interval: expiry,
            ..row
        };
        self.store.put(self.now, Row::Session(client_id.clone(), Some(row)));
        if expiry > 0 && expiry < u32::MAX {
            let deadline = self.now + Duration::from_secs(u64::from(expiry));
            let timer = Timer::SessionExpiry(client_id.clone(), self.now);
            self.set_far_timer(deadline, timer);
        }
    }

    /// Ends a session that was left at `left_at`, if nobody came back and its time has come.
    pub(super) fn session_expiry_due(&mut self, client_id: ClientId, left_at: Timestamp) {
        let session = self.store.state().session(&client_id);
        let Some(row) = session.and_then(|session| session.session.clone()) else { return };
        if row.connected || row.expiry_interval == u32::MAX || row.disconnected_at != left_at {
            return;
        }
        let forgiven = self.store.state().clock().forgiven_since(left_at);
        let deadline = left_at + Duration::from_secs(u64::from(row.expiry_interval)) + forgiven;
        if self.now >= deadline {
            tracing::debug!(client = client_id.as_str(), "the session has expired");
            self.end_session(&client_id);
            self.tell_expired(&client_id, &row);
        } else {
            self.set_far_timer(deadline, Timer::SessionExpiry(client_id, left_at));
        }
    }

    /// Deletes a session that is not connected; its will is due now at the latest [MQTT-3.1.2-8].
    pub(super) fn end_session(&mut self, client_id: &ClientId) {
        self.fire_will_now(client_id);
        let Some(session) = self.store.state().session(client_id) else { return };
        let mut shared: BTreeSet<GroupKey> =
            session.subscriptions.keys().filter_map(|filter| group_key(filter)).collect();
        // A group it has left may get something back, too.
        shared.extend(session.assigned.values().filter_map(|row| row.group.clone()));
        // Who is not recorded is a member of none.
        if session.recorded {
            shared.extend(self.groups_held_by(client_id));
        }
        let held = session.subscriptions.keys().filter(|text| text.starts_with(EXCLUSIVE));
        let held: Vec<Text> = held.cloned().collect();
        let before = self.store.next_offset();
        self.store.put(self.now, Row::Session(client_id.clone(), None));
        for text in held {
            self.free_exclusive(client_id, &text);
        }
        for key in shared {
            self.leave_group(&key, client_id);
        }
        if self.store.next_offset() > before {
            self.ended.insert(client_id.clone(), self.store.next_offset());
        }
    }

    /// An orderly end begins: nothing more is taken from the clients.
    pub(super) fn handle_stop(&mut self) {
        if !self.stopping.has_begun() {
            self.stopping = Stopping::Draining;
        }
    }

    /// The next step of an orderly end, once the one before is durable.
    pub(super) fn go_on_stopping(&mut self) {
        if !self.stopping.has_begun() || !self.commit.is_idle(&self.store) {
            return;
        }
        match self.stopping {
            Stopping::Draining => {
                self.stopping = Stopping::Leaving;
                self.disconnect_all();
                self.go_on_stopping();
            }
            Stopping::Leaving => {
                self.stopping = Stopping::Checkpointing;
                self.start_checkpoint();
                self.go_on_stopping();
            }
            Stopping::Checkpointing => {
                self.stopping = Stopping::Stopped;
                let last = self.last_words();
                self.outputs.push_back(last);
            }
            Stopping::No | Stopping::Stopped => {}
        }
    }

    fn disconnect_all(&mut self) {
        let reason = if self.options.server_reference.is_some() {
            ReasonCode::UseAnotherServer
        } else {
            ReasonCode::ServerShuttingDown
        };
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if self.client_at(slot).is_some() {
                self.disconnect(slot, reason, None);
            } else {
                self.close(slot);
            }
        }
    }
}

/// What a client wants to be told with everything: the user property `meta=1`.
fn meta_of(connect: &Connect) -> Meta {
    let wants =
        connect.user_properties.iter().any(|(name, value)| &**name == "meta" && &**value == "1");
    if wants { Meta::Properties } else { Meta::None }
}

/// Who is there now. Never a password, and no payload.
fn trace_connected(
    connection: &Connection,
    client_id: &ClientId,
    connect: &Connect,
    session_present: bool,
) {
    let Some(Connected { user, limits, .. }) = connection.connected() else { return };
    tracing::debug!(
        target: CLIENTS,
        connection = %connection.id,
        listener = %connection.origin.listener,
        peer = %connection.origin.peer,
        client = client_id.as_str(),
        user = user.as_deref(),
        version = %limits.version,
        keep_alive = limits.keep_alive,
        clean_start = connect.clean_start,
        session_present,
        "connected"
    );
}

/// The group of a shared subscription's text.
pub(super) fn group_key(text: &str) -> Option<GroupKey> {
    if !is_shared(text) {
        return None;
    }
    let Address { share, filter, .. } = Address::parse(text).ok()?;
    Some(GroupKey { share: share?.into(), filter: filter.into() })
}
