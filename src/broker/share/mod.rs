//! Shared groups: each message to one member.
//!
//! A group is `(share name, filter)` with a position in the log. While it is live, a message is assigned when it is appended, in the same
//! batch; if no member can take it, the group falls behind and assigns from the log when one can. What a member had not acknowledged
//! when its session ended comes back and is assigned first, but for QoS 2, which goes to nobody else [MQTT-4.8.2-5].
//!
//! A group ends with its last member, unless it was declared: then it lasts until it is removed (`durable`,
//! `docs/decisions/0010-durable-groups.md`).

mod assign;
mod choose;
mod durable;
mod lag;
mod walk;

use std::collections::BTreeSet;

pub(super) use durable::Committed;
pub(super) use lag::Lag;
pub(super) use lag::LagIndex;

use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::client::ClientRef;
use crate::broker::router::GroupIndex;
use crate::broker::search::Search;
use crate::broker::walk::Cursor;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::session::Commit;
use crate::session::Grant;
use crate::session::Strategy;
use crate::store::Declared;
use crate::store::GroupKey;
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
    /// Messages below were appended before the router knew of it.
    live_from: Offset,
    /// What it was declared with, if it was.
    terms: Option<(Strategy, Commit)>,
    /// The search for where it begins.
    search: Option<Search>,
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
        let declared = self.declared(key);
        let terms = declared.map(|declared| (declared.strategy, declared.commit));
        let group = self.groups.insert(Group {
            key: key.clone(),
            sessions: BTreeSet::new(),
            members: Vec::new(),
            mode,
            live_from: self.store.next_offset(),
            terms,
            search: None,
            turn_queued: false,
            rotation: 0,
        });
        self.group_indexes.insert(key.clone(), group);
        self.router.add_group(&key.filter, group);
        group
    }

    /// What a group was declared with; `None` if it ends with its members.
    pub(super) fn declared(&self, key: &GroupKey) -> Option<&Declared> {
        self.store.state().group(key)?.declared.as_deref()
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
        let Some(group) = self.groups.get_mut(index) else { return };
        group.members.retain(|(member, _)| *member != client);
        if let (true, Some(cursor)) = (group.members.is_empty(), group.cursor()) {
            // Nothing is read ahead for nobody, and a search begins anew.
            *cursor = Cursor::at(cursor.next);
            group.search = None;
        }
        // What was to be that member's may be another's now.
        self.queue_group_turn(index);
    }

    /// Removes a session from a group, which ends with its last one unless it is durable.
    pub(super) fn leave_group(&mut self, key: &GroupKey, client_id: &ClientId) {
        let Some(index) = self.group_indexes.get(key).copied() else { return };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.sessions.remove(client_id);
        if group.sessions.is_empty() && self.declared(key).is_none() {
            self.forget_group(index, key);
            self.store.put(self.now, Row::Group(key.clone(), None));
        } else {
            self.return_held(key, Some(client_id));
            // What its session gave back can go to the others.
            self.rouse_group(index);
        }
    }

    /// Forgets a group that has no row any more, or is about to have none.
    pub(super) fn forget_group(&mut self, index: GroupIndex, key: &GroupKey) {
        self.groups.remove(index);
        self.group_indexes.remove(key);
        self.router.remove_group(&key.filter, index);
    }

    /// A group stands at a place now that retention has left.
    pub(super) fn group_moved(&mut self, key: &GroupKey, position: Offset) {
        let Some(index) = self.group_indexes.get(key).copied() else { return };
        if let Some(group) = self.groups.get_mut(index)
            && let Some(cursor) = group.cursor()
            && cursor.next < position
        {
            *cursor = Cursor::at(position);
            group.search = None;
        }
        self.queue_group_turn(index);
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
}
