//! The walk of a group that is behind: what came back first, then the log from where it stands.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::Poll;

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::StorageState;
use crate::broker::Turn;
use crate::broker::coverage::FilterSet;
use crate::broker::message::Message;
use crate::broker::router::GroupIndex;
use crate::broker::share::GroupMode;
use crate::broker::stats::Dropped;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::QoS;
use crate::store::Declared;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::MessageView;
use crate::store::Row;

/// With more groups than these none keeps what was read while it waits for its members: each chunk is up to 64 KiB.
const CHUNKS_KEPT: usize = 256;

impl Broker {
    /// Lets a group that is behind assign as much as its members can take, within bounds.
    pub(in crate::broker) fn turn_group(&mut self, index: GroupIndex) {
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
        let many = self.groups.len() > CHUNKS_KEPT;
        if let Some(group) = self.groups.get_mut(index) {
            if many && walk == Walk::WaitClient && group.search.is_none() {
                *cursor = Cursor::at(cursor.next);
            }
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
        let Some(row) = self.store.state().group(&key) else { return Walk::CaughtUp };
        if let Some(last) = row.declared.as_ref().and_then(|declared| declared.last) {
            return self.step_group_search(index, cursor, &key, last);
        }
        if let Some(offset) = row.returned.first().copied() {
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
        let candidate = self.candidate(index, &message);
        if let Some((client, grant)) = self.choose_member(index, candidate.key) {
            self.assign_to(index, client, grant, offset, candidate);
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
        if let Some(mut row) = row {
            row.returned.retain(|known| *known != offset);
            self.store.put(self.now, Row::Group(key.clone(), Some(row)));
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
        let wanted = message.filter(|message| self.is_of_group(index, message));
        if wanted.is_some_and(|message| {
            message.is_expired(self.store.present_for(message.published_at, self.now))
        }) {
            let whom = self.groups.get(index).map(|group| group.key.text());
            if let Some(message) = wanted {
                let reason = Dropped::Expired;
                self.undelivered.count(&mut self.stats, reason, &message, whom.as_deref());
            }
        } else if let Some(message) = wanted {
            let candidate = self.candidate(index, &message);
            let Some((client, grant)) = self.choose_member(index, candidate.key) else {
                cursor.chunk.push_front(record);
                return Walk::WaitClient;
            };
            self.assign_to(index, client, grant, record.offset, candidate);
        }
        cursor.next = record.offset.next();
        Walk::More
    }

    fn step_group_read(&mut self, index: GroupIndex, cursor: &mut Cursor, key: &GroupKey) -> Walk {
        cursor.next = cursor.next.max(cursor.scanned);
        if self.groups.get(index).is_some_and(|group| group.members.is_empty()) {
            return Walk::WaitClient;
        }
        if cursor.scanned >= self.routed {
            return self.finish_group_walk(index, cursor);
        }
        let matcher: Arc<dyn KeyMatcher> = Arc::new(FilterSet::one(&key.filter));
        self.read_on(Turn::Group(index), cursor, self.routed, &matcher)
    }

    /// Assigns what was appended and is not yet durable; then the group is live.
    fn finish_group_walk(&mut self, index: GroupIndex, cursor: &mut Cursor) -> Walk {
        if self.groups.get(index).is_some_and(|group| self.routed < group.live_from) {
            return Walk::WaitDurable;
        }
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
            let Some(stored) = self.store.peek(offset) else { return Walk::WaitDurable };
            let view = stored.view();
            let message = Message::from(&view);
            let wanted = self.is_of_group(index, &message);
            let candidate = self.candidate(index, &message);
            if wanted {
                let Some((client, grant)) = self.choose_member(index, candidate.key) else {
                    return Walk::WaitClient;
                };
                self.assign_to(index, client, grant, offset, candidate);
            }
            cursor.next = offset.next();
        }
        Walk::CaughtUp
    }

    /// Whether a message is one of those that a group gives out.
    pub(super) fn is_of_group(&self, index: GroupIndex, message: &Message<'_>) -> bool {
        let declared = self.groups.get(index).and_then(|group| self.declared(&group.key));
        let not_before = declared.and_then(|declared| declared.not_before);
        message.qos > QoS::AtMostOnce
            && not_before.is_none_or(|moment| message.published_at >= moment)
    }

    /// Looks for where the group begins.
    fn step_group_search(
        &mut self,
        index: GroupIndex,
        cursor: &mut Cursor,
        key: &GroupKey,
        last: NonZeroU32,
    ) -> Walk {
        let Some(row) = self.store.state().group(key).cloned() else { return Walk::CaughtUp };
        let search = self.groups.get_mut(index).and_then(|group| group.search.take());
        let search = search.map_or_else(|| self.search_from(row.position, last, cursor), Ok);
        let mut search = match search {
            Ok(search) => search,
            Err(walk) => return walk,
        };
        let matcher: Arc<dyn KeyMatcher> = Arc::new(FilterSet::one(&key.filter));
        let counts = |broker: &Self, message: &Message<'_>| broker.is_of_group(index, message);
        let step = self.search_on(Turn::Group(index), cursor, &matcher, &mut search, counts);
        match step {
            Ok(position) => {
                let declared =
                    row.declared.map(|declared| Box::new(Declared { last: None, ..*declared }));
                let row = GroupRow { position, declared, ..row };
                self.store.put(self.now, Row::Group(key.clone(), Some(row)));
                Walk::More
            }
            Err(walk) => {
                if let Some(group) = self.groups.get_mut(index) {
                    group.search = Some(search);
                }
                walk
            }
        }
    }
}
