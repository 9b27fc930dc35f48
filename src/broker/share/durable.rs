//! Durable groups: declared, committed, put back, moved, removed. `docs/decisions/0010-durable-groups.md` says why it is as it is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::broker::Broker;
use crate::broker::asked::Place;
use crate::broker::client::AssignedKey;
use crate::broker::client::ProgressState;
use crate::broker::router::GroupIndex;
use crate::broker::share::GroupMode;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mutant::Mutant;
use crate::session::Commit;
use crate::store::AssignedRow;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::HeldRow;
use crate::store::Row;
use crate::store::SessionState;

/// What a commit is of.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) enum Committed<'a> {
    /// Everything that was delivered to a client.
    DeliveredTo(&'a ClientId),
    /// Everything that was delivered to anybody, up to an offset.
    UpTo(Offset),
}

impl Broker {
    /// How many groups last without members.
    pub(in crate::broker) fn declared_groups(&self) -> usize {
        self.store.state().groups().values().filter(|row| row.declared.is_some()).count()
    }

    /// Makes a durable group.
    pub(in crate::broker) fn declare_group(
        &mut self,
        key: &GroupKey,
        row: &GroupRow,
    ) -> GroupIndex {
        // What an ordinary group of this name left in flight is nothing to it.
        let in_flight = self.in_flight(std::slice::from_ref(key), |_| true);
        self.cut_off(in_flight);
        self.store.put(self.now, Row::Group(key.clone(), Some(row.clone())));
        let index = self.group_of(key, row.position, false);
        self.queue_group_turn(index);
        index
    }

    /// Makes what was acknowledged, in a group with manual commit, something that is to be committed. A session that has left the group can't
    /// commit any more: what it acknowledges is done with.
    pub(in crate::broker) fn hold_settled(&mut self, client_id: &ClientId, key: AssignedKey) {
        let Some(row) = self.store.state().assigned(client_id, key) else { return };
        let Some(group) = row.group.clone() else { return };
        let Some(index) = self.group_indexes.get(&group).copied() else { return };
        let (message, key) = (row.message, row.key);
        let Some(known) = self.groups.get(index) else { return };
        if known.sessions.contains(client_id)
            && known.terms.is_some_and(|terms| terms.1 == Commit::Manual)
            && !Mutant::CommitAtAcknowledgement.is_active()
        {
            let row = HeldRow { client: client_id.clone(), key };
            self.store.put(self.now, Row::Held(group, message, Some(row)));
        }
    }

    /// The group whose key an assignment has.
    pub(in crate::broker) fn keyed_group(
        &self,
        client_id: &ClientId,
        place: AssignedKey,
    ) -> Option<GroupKey> {
        let row = self.store.state().assigned(client_id, place)?;
        row.key.and(row.group.clone())
    }

    /// Lets groups go on for which keys have come free.
    pub(in crate::broker) fn rouse_groups(&mut self, keys: BTreeSet<GroupKey>) {
        for key in keys {
            if let Some(index) = self.group_indexes.get(&key).copied() {
                self.rouse_group(index);
            }
        }
    }

    /// The groups whose keys come free when a session's position is this one.
    pub(in crate::broker) fn groups_freed(
        &self,
        client_id: &ClientId,
        position: Offset,
    ) -> BTreeSet<GroupKey> {
        let session = self.store.state().session(client_id);
        let passed = session.map(|session| session.assigned.range(..(position, 0)));
        let keyed = passed.into_iter().flatten().filter(|(_, row)| row.key.is_some());
        keyed.filter_map(|(_, row)| row.group.clone()).collect()
    }

    /// Gives messages back to a group.
    pub(in crate::broker) fn give_back(&mut self, key: &GroupKey, messages: &[Offset]) {
        let Some(mut row) = self.store.state().group(key).cloned() else { return };
        for message in messages {
            row.give_back(*message);
        }
        self.store.put(self.now, Row::Group(key.clone(), Some(row)));
        if let Some(index) = self.group_indexes.get(key).copied() {
            self.rouse_group(index);
        }
    }

    /// Gives back what is held: by one session, or by all. Returns how many messages that are.
    pub(in crate::broker) fn return_held(
        &mut self,
        key: &GroupKey,
        of: Option<&ClientId>,
    ) -> usize {
        let messages = self.held_where(key, |client, _| of.is_none_or(|of| of == client));
        self.drop_held(key, &messages);
        if !messages.is_empty() {
            self.give_back(key, &messages);
        }
        messages.len()
    }

    /// Takes a group back to its last commit. Returns how many messages that are.
    pub(in crate::broker) fn reset_group(&mut self, key: &GroupKey) -> usize {
        self.settle_members(key, None);
        self.return_held(key, None)
    }

    /// Writes down what a group's members, or one of them, have acknowledged, so that what follows rests on it.
    pub(in crate::broker) fn settle_members(&mut self, key: &GroupKey, of: Option<&ClientId>) {
        let index = self.group_indexes.get(key);
        let group = index.and_then(|index| self.groups.get(*index));
        let members = group.map(|group| group.members.clone()).unwrap_or_default();
        for (client, _) in members {
            let known = self.clients.get(client.index());
            let lags = known.is_some_and(|known| {
                known.progress != ProgressState::Clean && of.is_none_or(|of| known.id == *of)
            });
            if lags {
                self.put_progress(client, true);
            }
        }
    }

    /// The groups of which a session holds messages.
    pub(in crate::broker) fn groups_held_by(&self, client_id: &ClientId) -> Vec<GroupKey> {
        let held = self.store.state().held().iter();
        let by = held.filter(|(_, held)| held.values().any(|held| held.row.client == *client_id));
        by.map(|(key, _)| key.clone()).collect()
    }

    /// Commits in groups, which are in order. Returns how many messages that are.
    pub(in crate::broker) fn commit_groups(
        &mut self,
        keys: &[GroupKey],
        committed: Committed<'_>,
    ) -> usize {
        let in_flight = match committed {
            Committed::DeliveredTo(by) => {
                let sessions = self.store.state().session(by).map(|session| (by, session));
                in_flight_of(sessions.into_iter(), keys, |place, _| self.had_its_turn(by, place))
            }
            Committed::UpTo(offset) => self.in_flight(keys, |row| row.message <= offset),
        };
        let mut count = in_flight.len();
        self.cut_off(in_flight);
        for key in keys {
            let held = self.held_where(key, |client, message| match committed {
                Committed::DeliveredTo(by) => client == by,
                Committed::UpTo(offset) => message <= offset,
            });
            self.drop_held(key, &held);
            count += held.len();
            if let Committed::UpTo(offset) = committed {
                count += self.commit_returned(key, offset);
            }
            if let Some(index) = self.group_indexes.get(key).copied() {
                self.queue_group_turn(index);
            }
        }
        count
    }

    /// Commits what came back to a group, up to an offset. Returns how many messages that are.
    fn commit_returned(&mut self, key: &GroupKey, offset: Offset) -> usize {
        let Some(mut row) = self.store.state().group(key).cloned() else { return 0 };
        let before = row.returned.len();
        row.returned.retain(|message| *message > offset);
        let count = before - row.returned.len();
        if count > 0 {
            self.store.put(self.now, Row::Group(key.clone(), Some(row)));
        }
        count
    }

    /// Lets groups, which are in order, go on somewhere else; what is in flight is nothing to them any more.
    pub(in crate::broker) fn seek_groups(&mut self, keys: &[GroupKey], place: &Place) {
        let in_flight = self.in_flight(keys, |_| true);
        self.cut_off(in_flight);
        for key in keys {
            let Some(row) = self.store.state().group(key).cloned() else { continue };
            let held = self.held_where(key, |_, _| true);
            self.drop_held(key, &held);
            let declared = row.declared.map(|mut declared| {
                (declared.not_before, declared.last) = (place.not_before, place.last);
                declared
            });
            let row = GroupRow { declared, ..GroupRow::at(place.position) };
            self.store.put(self.now, Row::Group(key.clone(), Some(row)));
            let Some(index) = self.group_indexes.get(key).copied() else { continue };
            if let Some(group) = self.groups.get_mut(index) {
                group.mode = GroupMode::behind(place.position);
                group.search = None;
            }
            self.queue_group_turn(index);
        }
    }

    /// Removes groups, which are in order and have no members.
    pub(in crate::broker) fn remove_groups(&mut self, keys: &[GroupKey]) {
        let in_flight = self.in_flight(keys, |_| true);
        self.cut_off(in_flight);
        for key in keys {
            let held = self.held_where(key, |_, _| true);
            self.drop_held(key, &held);
            if let Some(index) = self.group_indexes.get(key).copied() {
                self.forget_group(index, key);
            }
            self.store.put(self.now, Row::Group(key.clone(), None));
        }
    }

    /// Whether a group has members, connected or not.
    pub(in crate::broker) fn has_members(&self, key: &GroupKey) -> bool {
        let index = self.group_indexes.get(key);
        let group = index.and_then(|index| self.groups.get(*index));
        group.is_some_and(|group| !group.sessions.is_empty())
    }

    /// How many messages of each group are on their way, and the oldest of them.
    pub(in crate::broker) fn in_flight_of_groups(&self) -> BTreeMap<&GroupKey, (usize, Offset)> {
        let sessions = self.store.state().sessions();
        let mut found = BTreeMap::new();
        for row in sessions.flat_map(|(_, session)| session.assigned.values()) {
            if let Some(key) = &row.group {
                let (count, first) = found.entry(key).or_insert((0, row.message));
                *count += 1;
                *first = row.message.min(*first);
            }
        }
        found
    }

    /// What a group has given out and is not done with, of which so many are on their way.
    pub(in crate::broker) fn outstanding(
        &self,
        key: &GroupKey,
        in_flight: Option<(usize, Offset)>,
    ) -> Outstanding {
        let state = self.store.state();
        let held = state.held().get(key);
        let returned = state.group(key).map(|row| row.returned.as_slice()).unwrap_or_default();
        let first_held = held.and_then(|held| held.keys().next());
        let firsts = [first_held.copied(), returned.first().copied()].into_iter().flatten();
        Outstanding {
            in_flight: in_flight.map_or(0, |(count, _)| count),
            held: held.map_or(0, BTreeMap::len),
            returned: returned.len(),
            first: firsts.chain(in_flight.map(|(_, first)| first)).min(),
        }
    }

    pub(in crate::broker) fn held_where(
        &self,
        key: &GroupKey,
        is_meant: impl Fn(&ClientId, Offset) -> bool,
    ) -> Vec<Offset> {
        let held = self.store.state().held().get(key).into_iter().flatten();
        let meant = held.filter(|(message, held)| is_meant(&held.row.client, **message));
        meant.map(|(message, _)| *message).collect()
    }

    pub(in crate::broker) fn drop_held(&mut self, key: &GroupKey, messages: &[Offset]) {
        for message in messages {
            self.store.put(self.now, Row::Held(key.clone(), *message, None));
        }
    }

    /// The assignments of groups, which are in order, that are not acknowledged, as far as the log knows.
    fn in_flight(
        &self,
        keys: &[GroupKey],
        is_meant: impl Fn(&AssignedRow) -> bool,
    ) -> Vec<(ClientId, u64, AssignedRow)> {
        in_flight_of(self.store.state().sessions(), keys, |_, row| is_meant(row))
    }

    /// Whether an assignment was sent on its session's connection.
    fn had_its_turn(&self, client_id: &ClientId, place: AssignedKey) -> bool {
        let known = self.client_slots.get(client_id).and_then(|slot| self.clients.get(*slot));
        known.is_some_and(|known| known.last_assigned.is_some_and(|last| place <= last))
    }

    /// Makes assignments their sessions' own: they go back to nobody.
    fn cut_off(&mut self, assignments: Vec<(ClientId, u64, AssignedRow)>) {
        for (client_id, counter, row) in assignments {
            let row = AssignedRow { group: None, key: None, ..row };
            self.store.put(self.now, Row::Assigned(client_id, counter, Some(row)));
        }
    }
}

/// What a group has given out and is not done with.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct Outstanding {
    pub(in crate::broker) in_flight: usize,
    pub(in crate::broker) held: usize,
    pub(in crate::broker) returned: usize,
    /// The oldest of those messages.
    pub(in crate::broker) first: Option<Offset>,
}

/// The assignments of groups, which are in order, that some sessions have not acknowledged.
fn in_flight_of<'a>(
    sessions: impl Iterator<Item = (&'a ClientId, &'a SessionState)>,
    keys: &[GroupKey],
    is_meant: impl Fn(AssignedKey, &AssignedRow) -> bool,
) -> Vec<(ClientId, u64, AssignedRow)> {
    let rows = sessions.flat_map(|(client_id, session)| {
        session.assigned.iter().map(move |(place, row)| (client_id, *place, row))
    });
    let meant = rows.filter(|(_, place, row)| {
        row.group.as_ref().is_some_and(|key| keys.binary_search(key).is_ok())
            && is_meant(*place, row)
    });
    meant.map(|(client_id, place, row)| (client_id.clone(), place.1, row.clone())).collect()
}
