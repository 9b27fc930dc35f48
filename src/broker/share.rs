//! Shared groups: each message to one member.
//!
//! A group is `(share name, filter)` with a position in the log. While it is live, a message is assigned when it is appended, in the same
//! batch; if no member can take it, the group falls behind and assigns from the log when one can. What a member had not acknowledged
//! when its session ended comes back and is assigned first, but for QoS 2, which goes to nobody else [MQTT-4.8.2-5].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::StorageState;
use crate::broker::Turn;
use crate::broker::Unrouted;
use crate::broker::client::AssignedKey;
use crate::broker::client::ClientRef;
use crate::broker::coverage::FilterSet;
use crate::broker::coverage::subscription_ids;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::router::GroupIndex;
use crate::broker::router::Route;
use crate::broker::stats::Dropped;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mutant::Mutant;
use crate::session::Grant;
use crate::store::AssignedRow;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::MessageView;
use crate::store::Row;

/// A shared group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: GroupKey,
    /// Every session with a subscription to it, connected or not.
    pub(super) sessions: BTreeSet<ClientId>,
    /// The connected ones.
    pub(super) members: Vec<(ClientRef, Grant)>,
    mode: GroupMode,
    turn_queued: bool,
    /// Where the search for a member begins: the one after the last chosen.
    rotation: usize,
}

#[derive(Debug)]
enum GroupMode {
    Live,
    Behind(Box<Cursor>),
}

impl GroupMode {
    fn behind(next: Offset) -> Self {
        Self::Behind(Box::new(Cursor::at(next)))
    }
}

impl Group {
    /// Where it stands if it is behind.
    pub(super) fn cursor(&mut self) -> Option<&mut Cursor> {
        match &mut self.mode {
            GroupMode::Behind(cursor) => Some(cursor),
            GroupMode::Live => None,
        }
    }
}

impl Broker {
    /// The group with this key; made, at `position`, if it is new.
    pub(super) fn group_of(&mut self, key: &GroupKey, position: Offset, live: bool) -> GroupIndex {
        if let Some(group) = self.group_indexes.get(key) {
            return *group;
        }
        let mode = if live { GroupMode::Live } else { GroupMode::behind(position) };
        let group = self.groups.insert(Group {
            key: key.clone(),
            sessions: BTreeSet::new(),
            members: Vec::new(),
            mode,
            turn_queued: false,
            rotation: 0,
        });
        self.group_indexes.insert(key.clone(), group);
        self.router.add_group(&key.filter, group);
        group
    }

    /// Adds a connected member, or replaces its options.
    pub(super) fn join_group(&mut self, index: GroupIndex, client: ClientRef, grant: Grant) {
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        if !known.groups.contains(&index) {
            known.groups.push(index);
        }
        let client_id = known.id.clone();
        let Some(group) = self.groups.get_mut(index) else { return };
        group.sessions.insert(client_id);
        match group.members.iter_mut().find(|(member, _)| *member == client) {
            Some((_, known)) => *known = grant,
            None => group.members.push((client, grant)),
        }
        self.queue_group_turn(index);
    }

    /// Removes a connected member; its session may stay.
    pub(super) fn part_group(&mut self, index: GroupIndex, client: ClientRef) {
        if let Some(group) = self.groups.get_mut(index) {
            group.members.retain(|(member, _)| *member != client);
        }
    }

    /// Removes a session from a group, which ends with its last one.
    pub(super) fn leave_group(&mut self, key: &GroupKey, client_id: &ClientId) {
        let Some(index) = self.group_indexes.get(key).copied() else { return };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.sessions.remove(client_id);
        if group.sessions.is_empty() {
            self.groups.remove(index);
            self.group_indexes.remove(key);
            self.router.remove_group(&key.filter, index);
            self.store.put(self.now, Row::Group(key.clone(), None));
        } else {
            // What its session gave back can go to the others.
            self.rouse_group(index);
        }
    }

    /// Makes a group look for messages that came back.
    fn rouse_group(&mut self, index: GroupIndex) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let returned =
            self.store.state().group(&group.key).is_some_and(|row| !row.returned.is_empty());
        if returned && matches!(group.mode, GroupMode::Live) {
            group.mode = GroupMode::behind(self.store.next_offset());
        }
        self.queue_group_turn(index);
    }

    pub(super) fn queue_group_turn(&mut self, index: GroupIndex) {
        let Some(group) = self.groups.get_mut(index) else { return };
        if !group.turn_queued && matches!(group.mode, GroupMode::Behind(_)) {
            group.turn_queued = true;
            self.turns.push_back(Turn::Group(index));
        }
    }

    /// Gives the groups and the replays of a client that can take more a turn.
    pub(super) fn rouse_walks_of(&mut self, client: ClientRef) {
        let groups =
            self.clients.get(client.index()).map(|known| known.groups.clone()).unwrap_or_default();
        for group in groups {
            self.queue_group_turn(group);
        }
        self.rouse_replays_of(client);
    }

    /// Assigns a new message above QoS 0 to a member of each group that is live.
    pub(super) fn assign_to_groups(
        &mut self,
        offset: Offset,
        message: &Message<'_>,
        route: &Route,
    ) {
        for index in &route.groups {
            let Some(group) = self.groups.get(*index) else { continue };
            if !matches!(group.mode, GroupMode::Live) {
                continue;
            }
            match self.choose_member(*index) {
                Some((client, grant)) => {
                    self.assign_to(*index, client, grant, offset, message);
                    if Mutant::SharedToTwo.is_active()
                        && let Some((client, grant)) = self.choose_member(*index)
                    {
                        self.assign_to(*index, client, grant, offset, message);
                    }
                }
                None => {
                    if let Some(group) = self.groups.get_mut(*index) {
                        group.mode = GroupMode::behind(offset);
                    }
                }
            }
        }
    }

    /// Sends a message published at QoS 0 to one member of each group, if one can take it at once.
    pub(super) fn send_qos0_to_groups(&mut self, message: &Message<'_>, route: &Route) {
        for index in &route.groups {
            let members = self
                .groups
                .get(*index)
                .map(|group| (group.members.clone(), group.rotation))
                .unwrap_or_default();
            let (members, rotation) = members;
            let routed = self.routed;
            let (mut delivery, _) = self.delivery();
            let taken =
                (0..members.len()).map(|step| (rotation + step) % members.len()).find(|at| {
                    let Some((client, grant)) = members.get(*at) else { return false };
                    let ids: SubscriptionIds = grant.subscription_id.into_iter().collect();
                    let retain = message.retain && grant.retain_as_published;
                    let terms = Terms {
                        qos: QoS::AtMostOnce,
                        retain,
                        subscription_ids: &ids,
                        place: routed,
                        meta: grant.meta,
                        replayed: false,
                    };
                    delivery.send(*client, message, terms) == Sent::Done
                });
            match (taken, self.groups.get_mut(*index)) {
                (Some(at), Some(group)) => group.rotation = at + 1,
                (_, group) => {
                    let whom = group.map(|group| group.key.text());
                    let reason = Dropped::Qos0NoMember;
                    self.undelivered.count(&mut self.stats, reason, message, whom.as_deref());
                }
            }
        }
    }

    /// The member with the fewest messages in flight that can take another, the longest not chosen first.
    fn choose_member(&mut self, index: GroupIndex) -> Option<(ClientRef, Grant)> {
        let group = self.groups.get(index)?;
        let count = group.members.len();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let at = (group.rotation + step) % count;
            let Some((client, _)) = group.members.get(at) else { continue };
            let Some(known) = self.clients.get(client.index()) else { continue };
            if !self.has_room(*client) {
                continue;
            }
            let load = known.outbound.in_flight() + known.assigned_waiting;
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, at));
            }
        }
        let (_, at) = best?;
        let group = self.groups.get_mut(index)?;
        group.rotation = at + 1;
        group.members.get(at).copied()
    }

    /// Whether the client's window takes more than what is assigned to it already, and its socket more than what is on its way.
    pub(super) fn has_room(&self, client: ClientRef) -> bool {
        let Some(known) = self.clients.get(client.index()) else { return false };
        let connection = self.connections.get(known.connection);
        connection.is_some_and(|connection| connection.outbox.has_room())
            && known.outbound.quota() > known.assigned_waiting
    }

    fn assign_to(
        &mut self,
        index: GroupIndex,
        client: ClientRef,
        grant: Grant,
        offset: Offset,
        message: &Message<'_>,
    ) {
        let Some(group) = self.groups.get(index) else { return };
        let key = group.key.clone();
        let Some(client_id) = self.clients.get(client.index()).map(|known| known.id.clone()) else {
            return;
        };
        let row = AssignedRow {
            place: None,
            message: offset,
            qos: message.qos.min(grant.qos),
            retained: message.retain && grant.retain_as_published,
            replayed: false,
            meta: grant.meta,
            subscription_ids: grant.subscription_id.map(SubscriptionId::get).into_iter().collect(),
            group: Some(key),
        };
        let (place, counter) = self.assign(client, &client_id, row);
        self.unrouted
            .push_back(Unrouted { offset: place, what: Routing::Assigned(client, counter) });
    }

    /// Sends an assignment that has become durable to a client that is live.
    pub(super) fn route_assigned(&mut self, client: ClientRef, key: AssignedKey) {
        let Some(known) = self
            .clients
            .get(client.index())
            .filter(|known| known.epoch == client.epoch && known.is_live())
        else {
            return;
        };
        let row = self
            .store
            .state()
            .session(&known.id)
            .and_then(|session| session.assigned.get(&key))
            .cloned();
        let Some(row) = row else { return };
        let ids = subscription_ids(&row.subscription_ids);
        let terms = Terms::of_assigned(&row, &ids, key.0);
        let walk = match known.at_hand.get(key.1) {
            Some(record) => self.send_record(client, &record, terms, key),
            None if self.store.peek(row.message).is_some() => {
                self.send_from_memory(client, &row, terms, key)
            }
            None => Walk::WaitDisk,
        };
        if walk == Walk::More {
            self.assignment_had_its_turn(client, key);
            return;
        }
        let qos0_from = self.store.next_offset();
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.fall_behind(key.0, qos0_from);
        }
        self.queue_turn(client);
    }

    /// Lets a group that is behind assign as much as its members can take, within bounds.
    pub(super) fn turn_group(&mut self, index: GroupIndex) {
        let assigns = self.storage_state() != StorageState::ReadOnly;
        let Some(group) = self.groups.get_mut(index) else { return };
        group.turn_queued = false;
        if !assigns {
            return;
        }
        let GroupMode::Behind(mut cursor) = std::mem::replace(&mut group.mode, GroupMode::Live)
        else {
            return;
        };
        let walk = self.walk(|broker| broker.step_group(index, &mut cursor));
        if walk == Walk::CaughtUp {
            return;
        }
        if let Some(group) = self.groups.get_mut(index) {
            group.mode = GroupMode::Behind(cursor);
        }
        self.after_turn(Turn::Group(index), walk);
    }

    fn step_group(&mut self, index: GroupIndex, cursor: &mut Cursor) -> Walk {
        if cursor.fetch.is_some() {
            return Walk::WaitDisk;
        }
        let Some(group) = self.groups.get(index) else { return Walk::CaughtUp };
        let key = group.key.clone();
        let returned = self.store.state().group(&key).and_then(|row| row.returned.first().copied());
        if let Some(offset) = returned {
            return self.step_returned(index, cursor, &key, offset);
        }
        match cursor.chunk.pop_front() {
            Some(record) => self.step_group_message(index, cursor, record),
            None => self.step_group_read(index, cursor, &key),
        }
    }

    /// Assigns a message that came back.
    fn step_returned(
        &mut self,
        index: GroupIndex,
        cursor: &mut Cursor,
        key: &GroupKey,
        offset: Offset,
    ) -> Walk {
        let record = match self.find_record(Turn::Group(index), cursor, offset) {
            Poll::Ready(Some(record)) => record,
            Poll::Ready(None) => return self.forget_returned(key, offset),
            Poll::Pending => return Walk::WaitDisk,
        };
        let view = MessageView::from_record(&record);
        let Some(message) = view.as_ref().map(Message::from) else {
            return self.forget_returned(key, offset);
        };
        if let Some((client, grant)) = self.choose_member(index) {
            self.assign_to(index, client, grant, offset, &message);
            Walk::More
        } else {
            cursor.single = Some((offset, Some(record)));
            Walk::WaitClient
        }
    }

    /// A message that came back and can't be read any more.
    fn forget_returned(&mut self, key: &GroupKey, offset: Offset) -> Walk {
        self.stats.drop_messages(Dropped::Damaged, 1);
        let row = self.store.state().group(key).cloned();
        if let Some(GroupRow { position, returned }) = row {
            let returned = returned.into_iter().filter(|known| *known != offset).collect();
            self.store
                .put(self.now, Row::Group(key.clone(), Some(GroupRow { position, returned })));
        }
        Walk::More
    }

    fn step_group_message(
        &mut self,
        index: GroupIndex,
        cursor: &mut Cursor,
        record: StoredRecord,
    ) -> Walk {
        // Some may have been assigned before they were durable, when the walk was almost at its end.
        if record.offset < cursor.next {
            return Walk::More;
        }
        let view = MessageView::from_record(&record);
        let message = view.as_ref().map(Message::from);
        let wanted = message.filter(|message| message.qos > QoS::AtMostOnce);
        if wanted.is_some_and(|message| {
            message.is_expired(self.store.present_for(message.published_at, self.now))
        }) {
            let whom = self.groups.get(index).map(|group| group.key.text());
            if let Some(message) = wanted {
                let reason = Dropped::Expired;
                self.undelivered.count(&mut self.stats, reason, &message, whom.as_deref());
            }
        } else if let Some(message) = wanted {
            let Some((client, grant)) = self.choose_member(index) else {
                cursor.chunk.push_front(record);
                return Walk::WaitClient;
            };
            self.assign_to(index, client, grant, record.offset, &message);
        }
        cursor.next = record.offset.next();
        Walk::More
    }

    fn step_group_read(&mut self, index: GroupIndex, cursor: &mut Cursor, key: &GroupKey) -> Walk {
        cursor.next = cursor.next.max(cursor.scanned);
        if cursor.scanned >= self.routed {
            return self.finish_group_walk(index, cursor);
        }
        let matcher: Arc<dyn KeyMatcher> = Arc::new(FilterSet::one(&key.filter));
        self.read_on(Turn::Group(index), cursor, self.routed, &matcher)
    }

    /// Assigns what was appended and is not yet durable; then the group is live.
    fn finish_group_walk(&mut self, index: GroupIndex, cursor: &mut Cursor) -> Walk {
        let left: Vec<Offset> = self
            .unrouted
            .iter()
            .filter(|unrouted| unrouted.offset >= cursor.next)
            .filter_map(|unrouted| match &unrouted.what {
                Routing::Message(route) if route.groups.contains(&index) => Some(unrouted.offset),
                Routing::Message(_) | Routing::Qos0(_) | Routing::Assigned(..) => None,
            })
            .collect();
        for offset in left {
            let Some((client, grant)) = self.choose_member(index) else { return Walk::WaitClient };
            let Some((qos, retain)) =
                self.store.peek(offset).map(|stored| (stored.view().qos, stored.view().retain))
            else {
                return Walk::WaitDurable;
            };
            let message = Message {
                offset: Some(offset),
                topic: "",
                payload: &[],
                qos,
                retain,
                properties: &[],
                published_at: self.now,
                expires_at: None,
                publisher: "",
            };
            self.assign_to(index, client, grant, offset, &message);
            cursor.next = offset.next();
        }
        Walk::CaughtUp
    }
}
