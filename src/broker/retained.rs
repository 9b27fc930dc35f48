//! Retained messages for a new subscription: complete, in topic order, at the client's pace.
//!
//! A SUBSCRIBE opens a run at the place where the subscription begins, and the client's stream stands there until the run is done.
//! Messages above QoS 0 are assigned, as many at a time as the window takes, so that they have their place and number in the stream
//! and survive; those at QoS 0 are sent directly. Retained messages newer than the subscription are left out: it delivers them itself.

use std::ops::Bound;

use crate::broker::Broker;
use crate::broker::catch_up::Located;
use crate::broker::client::Behind;
use crate::broker::client::ClientRef;
use crate::broker::client::Run;
use crate::broker::coverage::is_shared;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::walk::Walk;
use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::session::plain_filter;
use crate::store::AssignedRow;
use crate::store::MessageView;
use crate::store::Retained;
use crate::store::Row;
use crate::store::SessionState;
use crate::store::Span;
use crate::store::State;
use crate::store::StoredMessage;

/// How many topics are looked at per step.
const TOPICS_PER_STEP: usize = 64;

/// What a run found next.
enum Next {
    /// A retained message that the subscription wants.
    Topic(Text, Retained),
    /// None among those looked at; the last of them.
    Nothing(Text),
    /// No topic is left.
    End,
}

impl Broker {
    /// One step of the client's first run.
    pub(super) fn step_run(&mut self, client: ClientRef, behind: &mut Behind) -> Walk {
        let Some(known) = self.clients.get(client.index()) else { return Walk::CaughtUp };
        let Some(run) = known.runs.front().cloned() else { return Walk::More };
        let session = self.store.state().session(&known.id);
        let Some(span) = session.and_then(|session| span_of(session, &run)).cloned() else {
            return self.end_run(client, &run);
        };
        match self.next_retained(&run) {
            Next::End => self.end_run(client, &run),
            Next::Nothing(topic) => self.pass_topic(client, topic),
            Next::Topic(topic, retained) => {
                self.step_retained(client, behind, &run, &span, topic, retained)
            }
        }
    }

    fn is_recorded_client(&self, client: ClientRef) -> bool {
        self.clients.get(client.index()).is_some_and(|known| self.is_recorded(&known.id))
    }

    fn end_run(&mut self, client: ClientRef, run: &Run) -> Walk {
        let recorded = self.is_recorded_client(client);
        let Some(known) = self.clients.get_mut(client.index()) else { return Walk::CaughtUp };
        known.runs.pop_front();
        known.runs_done = run.place.next();
        if recorded {
            // What follows takes numbers that a run done again after a crash would give to other messages.
            known.runs_done_after = Offset::MAX;
            self.progress_is_due(client);
        } else {
            self.progress_lags(client);
        }
        Walk::More
    }

    /// The subscription is ended or replaced, and with it what was left of its run.
    pub(super) fn forget_run(&mut self, client: ClientRef, filter: &str) {
        let after = self.store.next_offset();
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        let before = known.runs.len();
        known.runs.retain(|run| &*run.filter != filter);
        if known.runs.len() < before && self.is_recorded_client(client) {
            // What follows takes numbers that the run would give to its messages if a crash forgot its end.
            if let Some(known) = self.clients.get_mut(client.index()) {
                known.runs_done_after = known.runs_done_after.max(after);
            }
        }
    }

    fn pass_topic(&mut self, client: ClientRef, topic: Text) -> Walk {
        if let Some(run) =
            self.clients.get_mut(client.index()).and_then(|known| known.runs.front_mut())
        {
            run.after = Some(topic);
        }
        Walk::More
    }

    /// The next retained message of a run, among a bounded number of topics.
    fn next_retained(&self, run: &Run) -> Next {
        let filter = plain_filter(&run.filter);
        let prefix = literal_prefix(filter);
        let exact = !filter.contains(['+', '#']);
        let from: Bound<&str> = match &run.after {
            Some(topic) => Bound::Excluded(topic),
            None => Bound::Included(prefix),
        };
        let mut last = None;
        for (topic, retained) in self
            .store
            .state()
            .retained()
            .range::<str, _>((from, Bound::Unbounded))
            .take(TOPICS_PER_STEP)
        {
            if !topic.starts_with(prefix) || (exact && **topic != *filter) {
                return Next::End;
            }
            let expired = retained.expires_at.is_some_and(|deadline| {
                deadline <= self.store.present_for(retained.timestamp, self.now)
            });
            if !expired
                && retained.message_offset < run.place
                && TopicFilter::text_matches(filter, topic)
            {
                return Next::Topic(Text::from(topic.clone()), *retained);
            }
            last = Some(topic);
        }
        last.map_or(Next::End, |topic| Next::Nothing(Text::from(topic.clone())))
    }

    fn step_retained(
        &mut self,
        client: ClientRef,
        behind: &mut Behind,
        run: &Run,
        span: &Span,
        topic: Text,
        retained: Retained,
    ) -> Walk {
        let fetched = match self.locate(client, behind, retained.offset) {
            Located::Memory => None,
            Located::Fetched(record) => Some(record),
            Located::Gone => {
                self.stats.drop_messages(crate::broker::Dropped::Damaged, 1);
                return self.pass_topic(client, topic);
            }
            Located::Awaited => return Walk::WaitDisk,
        };
        let Some(known) = self.clients.get(client.index()) else { return Walk::CaughtUp };
        // What the subscription wants of it: its QoS, unless it is the client's own [MQTT-3.8.3-3].
        let wanted = |view: MessageView<'_>| {
            (!span.no_local || view.publisher != known.id.as_str()).then(|| view.qos.min(span.qos))
        };
        let qos = match &fetched {
            Some(record) => MessageView::from_record(record).and_then(wanted),
            None => self.store.peek(retained.offset).and_then(|stored| wanted(stored.view())),
        };
        let Some(qos) = qos else { return self.pass_topic(client, topic) };
        let walk = if !self.may_receive(client, &topic) {
            Walk::More
        } else if qos > QoS::AtMostOnce {
            let walk = self.assign_retained(client, run, span, retained.offset, qos);
            if walk == Walk::More {
                self.progress_is_due(client);
            }
            walk
        } else {
            self.send_retained(client, fetched.as_ref(), retained.offset, span, run.place)
        };
        if walk == Walk::More {
            self.pass_topic(client, topic);
        } else if let Some(record) = fetched {
            behind.cursor.single = Some((retained.offset, Some(record)));
        }
        walk
    }

    fn send_retained(
        &mut self,
        client: ClientRef,
        fetched: Option<&crate::commitlog::StoredRecord>,
        offset: Offset,
        span: &Span,
        place: Offset,
    ) -> Walk {
        let ids: SubscriptionIds =
            span.subscription_id.and_then(SubscriptionId::new).into_iter().collect();
        let terms = Terms {
            qos: QoS::AtMostOnce,
            retain: true,
            subscription_ids: &ids,
            place,
            meta: span.meta,
            replayed: false,
        };
        let (mut delivery, store) = self.delivery();
        let stored = store.peek(offset);
        let view = match fetched {
            Some(record) => MessageView::from_record(record),
            None => stored.as_ref().map(StoredMessage::view),
        };
        let Some(view) = view else { return Walk::More };
        match delivery.send(client, &Message::from(&view), terms) {
            Sent::Done => Walk::More,
            Sent::NotNow => Walk::WaitClient,
        }
    }

    /// Gives a retained message its place in the client's stream.
    fn assign_retained(
        &mut self,
        client: ClientRef,
        run: &Run,
        span: &Span,
        message: Offset,
        qos: QoS,
    ) -> Walk {
        let Some(known) = self.clients.get(client.index()) else { return Walk::CaughtUp };
        if known.outbound.quota() == 0 {
            return Walk::WaitClient;
        }
        let client_id = known.id.clone();
        let row = AssignedRow {
            place: Some(run.place),
            message,
            qos,
            retained: true,
            replayed: false,
            meta: span.meta,
            subscription_ids: span.subscription_id.into_iter().collect(),
            group: None,
            key: None,
        };
        self.assign(client, &client_id, row);
        Walk::More
    }

    /// Appends an assignment; returns its offset and counter.
    pub(super) fn assign(
        &mut self,
        client: ClientRef,
        client_id: &crate::mqtt::ClientId,
        row: AssignedRow,
    ) -> (Offset, u64) {
        let counter = self.clients.get(client.index()).map_or(0, |known| known.next_counter);
        let offset = self.store.put(self.now, Row::Assigned(client_id.clone(), counter, Some(row)));
        let recorded = self.is_recorded(client_id);
        if let Some(known) = self.clients.get_mut(client.index()) {
            known.assigned_waiting += 1;
            known.next_counter = counter + 1;
            if recorded {
                known.assigned_after = offset.next();
            }
        }
        (offset, counter)
    }
}

/// The retained message with the content that an assignment means, if it was carried forward meanwhile.
pub(super) fn carried_copy(state: &State, message: Offset) -> Option<Offset> {
    let carried = state.retained().values().find(|retained| retained.message_offset == message);
    carried.map(|retained| retained.offset).filter(|offset| *offset != message)
}

/// The open span that a run belongs to; `None` once the subscription is gone or replaced.
fn span_of<'a>(session: &'a SessionState, run: &Run) -> Option<&'a Span> {
    let row = session.subscriptions.get(&run.filter)?;
    row.spans.iter().find(|span| span.from == run.place && span.until.is_none())
}

/// The runs that a resumed session still has to do, in the order of their places: those that promise more than QoS 0.
pub(super) fn runs_left(session: &SessionState) -> std::collections::VecDeque<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (filter, row) in session.subscriptions.iter().filter(|(filter, _)| !is_shared(filter)) {
        let open = row.spans.iter().find(|span| span.until.is_none());
        let Some(span) = open.filter(|span| span.retained_run && span.qos > QoS::AtMostOnce) else {
            continue;
        };
        if span.from >= session.progress.runs_done {
            let after = session
                .progress
                .run
                .as_ref()
                .filter(|run| run.0 == *filter)
                .map(|run| run.1.clone());
            runs.push(Run { place: span.from, filter: filter.clone(), after });
        }
    }
    runs.sort_by_key(|run| run.place);
    runs.into()
}

/// What every topic that the filter matches begins with.
fn literal_prefix(filter: &str) -> &str {
    match filter.find(['+', '#']) {
        // `a/#` matches `a` too.
        Some(wildcard) => {
            filter.get(..wildcard).map_or("", |prefix| prefix.strip_suffix('/').unwrap_or(prefix))
        }
        None => filter,
    }
}
