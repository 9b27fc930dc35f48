//! Giving a group's messages to its members: as they are appended, and once their assignment is durable.

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::Unrouted;
use crate::broker::client::AssignedKey;
use crate::broker::client::ClientRef;
use crate::broker::coverage::subscription_ids;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::router::GroupIndex;
use crate::broker::router::Route;
use crate::broker::share::GroupMode;
use crate::broker::share::choose::Candidate;
use crate::broker::stats::Dropped;
use crate::broker::walk::Walk;
use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mutant::Mutant;
use crate::session::Grant;
use crate::store::AssignedRow;

impl Broker {
    /// Assigns a new message above QoS 0 to a member of each group that is live.
    pub(in crate::broker) fn assign_to_groups(
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
            let candidate = self.candidate(*index, message);
            match self.choose_member(*index, candidate.key) {
                Some((client, grant)) => {
                    self.assign_to(*index, client, grant, offset, candidate);
                    if Mutant::SharedToTwo.is_active()
                        && let Some((client, grant)) = self.choose_member(*index, candidate.key)
                    {
                        self.assign_to(*index, client, grant, offset, candidate);
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
    pub(in crate::broker) fn send_qos0_to_groups(&mut self, message: &Message<'_>, route: &Route) {
        for index in &route.groups {
            let order = self.order_of_qos0(*index, message);
            let members =
                self.groups.get(*index).map(|group| group.members.clone()).unwrap_or_default();
            let routed = self.routed;
            let (mut delivery, _) = self.delivery();
            let taken = order.into_iter().find(|at| {
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

    pub(super) fn assign_to(
        &mut self,
        index: GroupIndex,
        client: ClientRef,
        grant: Grant,
        offset: Offset,
        candidate: Candidate,
    ) {
        let Some(group) = self.groups.get(index) else { return };
        let key = group.key.clone();
        let Some(client_id) = self.clients.get(client.index()).map(|known| known.id.clone()) else {
            return;
        };
        let row = AssignedRow {
            place: None,
            message: offset,
            qos: candidate.qos.min(grant.qos),
            retained: candidate.retain && grant.retain_as_published,
            replayed: false,
            meta: grant.meta,
            subscription_ids: grant.subscription_id.map(SubscriptionId::get).into_iter().collect(),
            group: Some(key),
            key: candidate.key,
        };
        let (place, counter) = self.assign(client, &client_id, row);
        self.unrouted
            .push_back(Unrouted { offset: place, what: Routing::Assigned(client, counter) });
    }

    /// Sends an assignment that has become durable to a client that is live.
    pub(in crate::broker) fn route_assigned(&mut self, client: ClientRef, key: AssignedKey) {
        let Some(known) = self
            .clients
            .get(client.index())
            .filter(|known| known.epoch == client.epoch && known.is_live())
        else {
            return;
        };
        let row = self.store.state().assigned(&known.id, key).cloned();
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
}
