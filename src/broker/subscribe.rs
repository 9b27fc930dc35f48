//! SUBSCRIBE and UNSUBSCRIBE.
//!
//! Each filter is a row of its own and takes effect at that row's offset: the subscription covers what is appended behind it.

use crate::access::Action;
use crate::broker::Broker;
use crate::broker::StorageState;
use crate::broker::asked::Asked;
use crate::broker::asked::AskedReplay;
use crate::broker::client::ClientRef;
use crate::broker::client::Reserved;
use crate::broker::client::Run;
use crate::broker::control::is_own_reply;
use crate::broker::control::is_request;
use crate::broker::coverage::grant_of;
use crate::broker::lifecycle::group_key;
use crate::broker::replay::REPLAYS_MAX;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::Packet;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::RetainHandling;
use crate::mqtt::Suback;
use crate::mqtt::Subscribe;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::SubscriptionId;
use crate::mqtt::Text;
use crate::mqtt::Unsuback;
use crate::mqtt::Unsubscribe;
use crate::mqtt::topic_levels;
use crate::mutant::Mutant;
use crate::session::Meta;
use crate::session::Wishes;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::Row;
use crate::store::SessionState;
use crate::store::Span;
use crate::store::SubscriptionRow;

/// How often a subscription may change while the session's progress stands still.
const SPANS_MAX: usize = 64;

/// How many filters of one packet are compared with each other.
const FILTERS_COMPARED_MAX: usize = 1_024;

/// Why a filter is refused.
pub(super) struct Refused {
    pub(super) reason: ReasonCode,
    /// The same in words, where there is more to say.
    pub(super) text: Option<String>,
}

impl From<ReasonCode> for Refused {
    fn from(reason: ReasonCode) -> Self {
        Self { reason, text: None }
    }
}

impl Broker {
    pub(super) fn handle_subscribe(&mut self, slot: usize, subscribe: &Subscribe) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(client_id) = self.client_id_of(slot) else { return };
        let mut after = Offset::ZERO;
        let mut suback =
            Suback::new(subscribe.packet_id, Vec::with_capacity(subscribe.filters.len()));
        let wishes = Wishes::parse(&subscribe.user_properties);
        let mut sys: Vec<Text> = Vec::new();
        for (index, filter) in subscribe.filters.iter().enumerate() {
            // A filter that comes again in the same packet counts once, as it comes last.
            let rest = subscribe.filters.get(index + 1..).unwrap_or_default();
            let again = rest.len() < FILTERS_COMPARED_MAX
                && rest.iter().any(|later| later.filter == filter.filter);
            let asked = match self.asked(&client_id, filter, &wishes) {
                Ok(asked) => asked,
                Err(error) => {
                    suback.reason_codes.push(ReasonCode::TopicFilterInvalid);
                    suback.reason_string = self.explanation(slot, &error.to_string());
                    continue;
                }
            };
            match self.refuses_subscription(slot, &client_id, &filter.filter, &asked) {
                Some(Refused { reason, text }) => {
                    suback.reason_codes.push(reason);
                    let text = text.and_then(|text| self.explanation(slot, &text));
                    suback.reason_string = text.or(suback.reason_string);
                }
                None if again => suback.reason_codes.push(granted(filter.options.qos)),
                None => {
                    sys.extend(self.sys_filter(&client_id, filter));
                    let id = subscribe.subscription_id;
                    after = after.max(self.subscribe(client, &client_id, filter, id, &asked));
                    suback.reason_codes.push(granted(filter.options.qos));
                }
            }
        }
        self.send_after(slot, after, Packet::Suback(suback));
        for filter in sys {
            self.send_sys(client, &filter, subscribe.subscription_id);
        }
    }

    /// Why a filter is refused, in words, for a client that wants them.
    fn explanation(&self, slot: usize, text: &str) -> Option<Text> {
        let connected = self.connections.get(slot)?.connected()?;
        let wants = connected.limits.problem_information;
        wants.then(|| Text::try_from(text).ok()).flatten()
    }

    /// The filter, if it wants values under `$SYS` at once: they are like retained messages.
    fn sys_filter(&self, client_id: &ClientId, wanted: &SubscribeFilter) -> Option<Text> {
        let text = wanted.filter.text();
        let is_new = self.subscription_row(client_id, text).open_span().is_none();
        (text.starts_with("$SYS") && asks_for_retained(wanted, is_new)).then(|| text.clone())
    }

    fn refuses_subscription(
        &self,
        slot: usize,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
        asked: &Asked,
    ) -> Option<Refused> {
        let topic_filter = &asked.filter;
        let connected = self.connections.get(slot)?.connected()?;
        let of_another = is_request(topic_filter) && !is_own_reply(topic_filter, client_id);
        if topic_levels(topic_filter) > self.options.topic_levels_max || of_another {
            return Some(ReasonCode::TopicFilterInvalid.into());
        }
        if !connected.grants.may(Action::Subscribe { filter: topic_filter }).allowed {
            return Some(ReasonCode::NotAuthorized.into());
        }
        if let Some(refused) = self.refuses_exclusive(client_id, filter, &connected.grants) {
            return Some(refused);
        }
        if let Some(reason) = self.refuses_row(client_id, filter) {
            return Some(reason.into());
        }
        let session = self.store.state().session(client_id)?;
        let begins = matches!(&asked.replay, AskedReplay::Begins(row) if !row.live);
        if begins && self.replays_enough(client_id) {
            return Some(ReasonCode::QuotaExceeded.into());
        }
        match session.subscriptions.get(&**filter.text()) {
            Some(row) => row.spans.len() >= SPANS_MAX,
            None => open_count_reaches(session, self.options.subscriptions_max),
        }
        .then_some(ReasonCode::QuotaExceeded.into())
    }

    fn replays_enough(&self, client_id: &ClientId) -> bool {
        let slot = self.client_slots.get(client_id).copied();
        let known = slot.and_then(|slot| self.clients.get(slot));
        known.is_some_and(|known| known.replays.len() >= REPLAYS_MAX)
    }

    /// Makes or replaces one subscription. Returns what has to be durable before SUBACK.
    fn subscribe(
        &mut self,
        client: ClientRef,
        client_id: &ClientId,
        wanted: &SubscribeFilter,
        id: Option<SubscriptionId>,
        asked: &Asked,
    ) -> Offset {
        let text = wanted.filter.text().clone();
        if wanted.filter.is_shared() && !self.is_recorded(client_id) {
            self.begin_recording(client, client_id);
        }
        let from = self.store.next_offset();
        // A recorded row takes the next offset itself, so that it begins behind it.
        let from = if self.is_recorded(client_id) { from.next() } else { from };
        let mut row = self.subscription_row(client_id, &text);
        let is_new = row.open_span().is_none();
        let mut span = self.span_of(wanted, id, from, is_new);
        span.meta = asked.meta;
        span.replay = match &asked.replay {
            AskedReplay::No => None,
            AskedReplay::GoesOn => row.open_span().and_then(|span| span.replay.clone()),
            AskedReplay::Begins(replay) => Some(replay.clone()),
        };
        span.retained_run &= span.replay.is_none();
        close_span(&mut row, from);
        row.spans.push(span.clone());
        let offset =
            self.store.put(self.now, Row::Subscription(client_id.clone(), text.clone(), Some(row)));
        self.subscription_changed(client);
        // The row lets go of spans that the session's progress has passed.
        self.progress_lags(client);
        if let Some((key, row)) = &asked.group {
            self.enter_group(client, key, row.as_ref(), &span);
        } else {
            self.enter_subscription(client, client_id, text, &span, &asked.replay);
        }
        let last = self.store.next_offset();
        if self.is_recorded(client_id) { last.max(offset.next()) } else { Offset::ZERO }
    }

    fn enter_subscription(
        &mut self,
        client: ClientRef,
        client_id: &ClientId,
        text: Text,
        span: &Span,
        replay: &AskedReplay,
    ) {
        if span.is_replaying() {
            if matches!(replay, AskedReplay::Begins(_)) {
                self.stop_replay(client, &text);
                self.router.unsubscribe(&text, client);
                self.forget_run(client, &text);
                self.start_replay(client, client_id, &text);
            }
            return;
        }
        self.stop_replay(client, &text);
        self.hold_exclusive(client_id, &text);
        self.router.subscribe(&text, client, grant_of(span));
        if span.retained_run {
            self.begin_run(client, Run { place: span.from, filter: text, after: None });
        }
    }

    /// A session that ends with its connection is recorded from its first shared subscription on, so that the group gets back what it
    /// had not acknowledged.
    fn begin_recording(&mut self, client: ClientRef, client_id: &ClientId) {
        self.store.record_session(self.now, client_id);
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.reserved = Reserved { limit: known.outbound.next_number(), pending: None };
        }
        self.progress_is_due(client);
    }

    pub(super) fn subscription_row(&self, client_id: &ClientId, text: &Text) -> SubscriptionRow {
        let session = self.store.state().session(client_id);
        session.and_then(|session| session.subscriptions.get(text)).cloned().unwrap_or_default()
    }

    fn span_of(
        &self,
        wanted: &SubscribeFilter,
        id: Option<SubscriptionId>,
        from: Offset,
        is_new: bool,
    ) -> Span {
        let options = wanted.options;
        Span {
            from,
            until: None,
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling,
            subscription_id: id.map(SubscriptionId::get),
            retained_run: asks_for_retained(wanted, is_new)
                && !wanted.filter.is_shared()
                && !self.store.state().retained().is_empty(),
            meta: Meta::None,
            replay: None,
        }
    }

    /// The stream stands at the run's place until the run is done.
    fn begin_run(&mut self, client: ClientRef, run: Run) {
        let (routed, qos0_from) = (self.routed, self.store.next_offset());
        self.forget_run(client, &run.filter);
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        known.runs.push_back(run);
        known.fall_behind(routed, qos0_from);
        self.queue_turn(client);
    }

    fn enter_group(
        &mut self,
        client: ClientRef,
        key: &GroupKey,
        new: Option<&GroupRow>,
        span: &Span,
    ) {
        let index = match new {
            // Another filter of the packet may have made it.
            Some(row) if self.store.state().group(key).is_none() => self.declare_group(key, row),
            _ => {
                if self.store.state().group(key).is_none() {
                    let row = GroupRow::at(self.store.next_offset());
                    self.store.put(self.now, Row::Group(key.clone(), Some(row)));
                }
                self.group_of(key, self.store.next_offset(), true)
            }
        };
        self.join_group(index, client, grant_of(span));
    }

    pub(super) fn subscription_changed(&mut self, client: ClientRef) {
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.filters_changed();
        }
    }

    pub(super) fn handle_unsubscribe(&mut self, slot: usize, unsubscribe: &Unsubscribe) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(client_id) = self.client_id_of(slot) else { return };
        if self.storage_state() == StorageState::ReadOnly && self.is_recorded(&client_id) {
            return self.refuse_unsubscribe(slot, unsubscribe);
        }
        let mut after = Offset::ZERO;
        let mut reason_codes = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            match self.unsubscribe(client, &client_id, filter) {
                Some(offset) => {
                    after = after.max(self.gate(&client_id, offset));
                    reason_codes.push(ReasonCode::Success);
                }
                None => reason_codes.push(ReasonCode::NoSubscriptionExisted),
            }
        }
        self.send_after(
            slot,
            after,
            Packet::Unsuback(Unsuback::new(unsubscribe.packet_id, reason_codes)),
        );
    }

    /// The end of a subscription can't be written down any more. Before version 5 UNSUBACK has no way to say so.
    fn refuse_unsubscribe(&mut self, slot: usize, unsubscribe: &Unsubscribe) {
        let reason = ReasonCode::ImplementationSpecificError;
        if !self.connections.get(slot).is_some_and(|connection| connection.version().is_v5()) {
            return self.close_for(slot, reason);
        }
        let reason_codes = unsubscribe.filters.iter().map(|_| reason).collect();
        self.send(slot, &Packet::Unsuback(Unsuback::new(unsubscribe.packet_id, reason_codes)));
    }

    /// Closes a subscription. `None` if there was none.
    pub(super) fn unsubscribe(
        &mut self,
        client: ClientRef,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
    ) -> Option<Offset> {
        let text = filter.text();
        let mut row = self.subscription_row(client_id, text);
        row.open_span()?;
        if Mutant::UnsubscribeIgnored.is_active() {
            return Some(Offset::ZERO);
        }
        let until = self.store.next_offset();
        close_span(&mut row, until);
        // A shared subscription is no part of the session's own stream, so nothing of it is kept.
        let row = if filter.is_shared() || row.spans.is_empty() { None } else { Some(row) };
        let offset =
            self.store.put(self.now, Row::Subscription(client_id.clone(), text.clone(), row));
        self.subscription_changed(client);
        self.progress_lags(client);
        if let Some(key) = group_key(text) {
            // With manual commit what was acknowledged goes back.
            self.settle_members(&key, Some(client_id));
            if let Some(index) = self.group_indexes.get(&key).copied() {
                self.part_group(index, client);
                if let Some(known) = self.clients.get_mut(client.index()) {
                    known.groups.retain(|group| *group != index);
                }
            }
            self.leave_group(&key, client_id);
        } else {
            self.stop_replay(client, text);
            self.free_exclusive(client_id, text);
            self.router.unsubscribe(text, client);
            self.forget_run(client, text);
        }
        Some(offset)
    }

    /// Whether a client may receive a retained message now: the rules may have changed since it subscribed.
    pub(super) fn may_receive(&self, client: ClientRef, topic: &str) -> bool {
        let connection = self
            .clients
            .get(client.index())
            .and_then(|known| self.connections.get(known.connection));
        let connected = connection.and_then(|connection| connection.connected());
        connected.is_some_and(|connected| connected.grants.may(Action::Receive { topic }).allowed)
    }

    /// What has to be durable for a row of this session, written at `offset`, to hold.
    pub(super) fn gate(&self, client_id: &ClientId, offset: Offset) -> Offset {
        if self.is_recorded(client_id) { offset.next() } else { Offset::ZERO }
    }
}

/// Whether a subscription wants what is retained now [MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11].
fn asks_for_retained(wanted: &SubscribeFilter, is_new: bool) -> bool {
    match wanted.options.retain_handling {
        RetainHandling::SendAtSubscribe => true,
        RetainHandling::SendIfNew => is_new,
        RetainHandling::DoNotSend => false,
    }
}

/// Whether a session has this many open subscriptions.
fn open_count_reaches(session: &SessionState, max: usize) -> bool {
    session.subscriptions.len() >= max
        && session.subscriptions.values().filter(|row| row.open_span().is_some()).count() >= max
}

/// A replay that has not caught up covers nothing, so nothing of it is kept.
fn close_span(row: &mut SubscriptionRow, until: Offset) {
    row.spans.retain(|span| span.until.is_some() || !span.is_replaying());
    for span in row.spans.iter_mut().filter(|span| span.until.is_none()) {
        span.until = Some(until);
    }
    row.spans.retain(|span| span.until.is_none_or(|until| until > span.from));
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
