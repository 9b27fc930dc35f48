//! What is kept for one client, and what its rows do to it.

use std::collections::BTreeMap;

use crate::collections::SortedMap;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::PacketId;
use crate::mqtt::Text;
use crate::store::AssignedRow;
use crate::store::ProgressRow;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::SessionRow;
use crate::store::SubscriptionRow;
use crate::store::WillRow;
use crate::store::state::Changes;
use crate::store::state::keys::Keys;

/// A run of retained messages that is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Where the stream stands still until the run is done.
    pub place: Offset,
    /// The whole text of the subscription's filter.
    pub filter: Text,
}

/// What survives of a client's session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The session; `None` for a client of which only a will is kept.
    pub session: Option<SessionRow>,
    /// Whether its rows go to the log. If not, all of them but the will end with the process.
    pub recorded: bool,
    /// How far the client has acknowledged.
    pub progress: ProgressRow,
    /// The subscriptions, under their filter's whole text; also those that have only closed spans.
    pub subscriptions: SortedMap<Text, SubscriptionRow>,
    /// Packet ids of QoS 2 messages that are not released.
    pub inbound: BTreeMap<PacketId, Offset>,
    /// What was given to this session alone, under place and counter.
    pub assigned: BTreeMap<(Offset, u64), AssignedRow>,
    /// The counter of the next assignment: above all in `assigned`.
    pub assigned_next: u64,
    /// Runs of retained messages that are due, in order of place.
    pub runs: Vec<Run>,
    /// What is published when the client goes.
    pub will: Option<Box<WillRow>>,
}

impl SessionState {
    /// Whether nothing is kept.
    fn is_empty(&self) -> bool {
        self.session.is_none()
            && self.will.is_none()
            && self.subscriptions.is_empty()
            && self.inbound.is_empty()
            && self.assigned.is_empty()
            && self.progress == ProgressRow::default()
    }
}

/// A client's state with what finds its way about in it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) state: SessionState,
    /// No record that the present value of one of its rows rests on has a lower offset.
    pub(super) oldest: Offset,
    /// No closed span ends below; [`Offset::MAX`] if there is none.
    closed_from: Offset,
    /// Where the assignments are; in a box, because most clients have none.
    places: Option<Box<Places>>,
}

/// The place of each assignment, under its counter.
#[derive(Clone, Debug, Default)]
struct Places(BTreeMap<u64, Offset>);

impl Client {
    pub(super) fn new(recorded: bool) -> Self {
        let state = SessionState { recorded, ..SessionState::default() };
        Self { state, oldest: Offset::MAX, closed_from: Offset::MAX, places: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// Puts a row of this client that is no tombstone of its session; notes what else changed.
    pub(super) fn put(&mut self, row: Row, offset: Offset, keys: &mut Keys, changes: &mut Changes) {
        match row {
            Row::Session(_, row) => self.state.session = row,
            Row::Progress(client, row) => self.advance(&client, row, keys, changes),
            Row::Subscription(_, filter, row) => self.subscribe(filter, row),
            Row::Inbound(_, id, Some(message)) => {
                self.state.inbound.insert(id, message);
            }
            Row::Inbound(_, id, None) => {
                self.state.inbound.remove(&id);
            }
            Row::Assigned(client, counter, row) => {
                self.assign(&client, counter, row, offset, keys);
            }
            Row::Will(_, row) => self.state.will = row.map(Box::new),
            Row::Group(..)
            | Row::Retained(..)
            | Row::Clock(_)
            | Row::Delayed(..)
            | Row::Held(..) => {}
        }
    }

    /// The present value of an assignment.
    pub(super) fn assigned(&self, counter: u64) -> Option<&AssignedRow> {
        let place = self.places.as_ref()?.0.get(&counter)?;
        self.state.assigned.get(&(*place, counter))
    }

    /// The present rows, the session's first.
    pub(super) fn rows(&self, client: &ClientId) -> Vec<Row> {
        let SessionState { session, recorded, progress, subscriptions, inbound, will, .. } =
            &self.state;
        let mut rows = Vec::new();
        if *recorded {
            rows.extend(session.clone().map(|row| Row::Session(client.clone(), Some(row))));
            rows.push(Row::Progress(client.clone(), progress.clone()));
            rows.extend(subscriptions.iter().map(|(filter, row)| {
                Row::Subscription(client.clone(), filter.clone(), Some(row.clone()))
            }));
            rows.extend(
                inbound
                    .iter()
                    .map(|(id, message)| Row::Inbound(client.clone(), *id, Some(*message))),
            );
            rows.extend(self.state.assigned.iter().map(|((_, counter), row)| {
                Row::Assigned(client.clone(), *counter, Some(row.clone()))
            }));
        }
        rows.extend(will.as_deref().map(|row| Row::Will(client.clone(), Some(row.clone()))));
        rows
    }

    /// Forgets all but the will.
    pub(super) fn keep_will_only(&mut self) {
        let will = self.state.will.take();
        let oldest = self.oldest;
        *self = Self::new(false);
        self.state.will = will;
        self.oldest = oldest;
    }

    fn advance(
        &mut self,
        client: &ClientId,
        row: ProgressRow,
        keys: &mut Keys,
        changes: &mut Changes,
    ) {
        let forward = row.runs_done >= self.state.progress.runs_done;
        self.state.progress = row;
        self.drop_assignments(client, keys, changes);
        if self.closed_from <= self.state.progress.position {
            self.drop_spans(client, changes);
        }
        if forward {
            let runs_done = self.state.progress.runs_done;
            let done = self.state.runs.partition_point(|run| run.place < runs_done);
            self.state.runs.drain(..done);
        } else {
            self.find_runs();
        }
    }

    fn drop_assignments(&mut self, client: &ClientId, keys: &mut Keys, changes: &mut Changes) {
        let position = self.state.progress.position;
        while let Some(entry) = self.state.assigned.first_entry() {
            let (place, counter) = *entry.key();
            if place >= position {
                break;
            }
            keys.let_go_assigned(&entry.remove());
            self.remove_place(counter);
            changes.insert(RowKey::Assigned(client.clone(), counter));
        }
        self.count_assignments();
    }

    /// Drops the spans that progress has passed, and subscriptions without any.
    fn drop_spans(&mut self, client: &ClientId, changes: &mut Changes) {
        let position = self.state.progress.position;
        let mut closed_from = Offset::MAX;
        self.state.subscriptions.retain(|filter, row| {
            let count = row.spans.len();
            row.spans.retain(|span| span.until.is_none_or(|until| until > position));
            if row.spans.len() < count {
                changes.insert(RowKey::Subscription(client.clone(), filter.clone()));
            }
            closed_from = closed_from.min(first_close(row));
            !row.spans.is_empty()
        });
        self.closed_from = closed_from;
    }

    fn subscribe(&mut self, filter: Text, row: Option<SubscriptionRow>) {
        self.state.runs.retain(|run| run.filter != filter);
        let mut row = row.unwrap_or_default();
        let position = self.state.progress.position;
        row.spans.retain(|span| span.until.is_none_or(|until| until > position));
        self.closed_from = self.closed_from.min(first_close(&row));
        if row.spans.is_empty() {
            self.state.subscriptions.remove(&filter);
            return;
        }
        if let Some(run) = due_run(&filter, &row, self.state.progress.runs_done) {
            let index = self.state.runs.partition_point(|other| *other < run);
            self.state.runs.insert(index, run);
        }
        self.state.subscriptions.insert(filter, row);
    }

    fn find_runs(&mut self) {
        let runs_done = self.state.progress.runs_done;
        let subscriptions = self.state.subscriptions.iter();
        let mut runs: Vec<Run> =
            subscriptions.filter_map(|(filter, row)| due_run(filter, row, runs_done)).collect();
        runs.sort_unstable();
        self.state.runs = runs;
    }

    /// Puts an assignment, or takes it out. One that progress has passed already stays out.
    fn assign(
        &mut self,
        client: &ClientId,
        counter: u64,
        row: Option<AssignedRow>,
        offset: Offset,
        keys: &mut Keys,
    ) {
        if let Some(place) = self.remove_place(counter)
            && let Some(row) = self.state.assigned.remove(&(place, counter))
        {
            keys.let_go_assigned(&row);
        }
        if let Some(mut row) = row {
            let place = row.place.unwrap_or(offset);
            if place >= self.state.progress.position {
                row.place = Some(place);
                keys.take_assigned(&row, client);
                self.places.get_or_insert_default().0.insert(counter, place);
                self.state.assigned.insert((place, counter), row);
            }
        }
        self.count_assignments();
    }

    fn count_assignments(&mut self) {
        let last = self.places.as_ref().and_then(|places| places.0.last_key_value());
        self.state.assigned_next = last.map_or(0, |(counter, _)| counter.saturating_add(1));
    }

    fn remove_place(&mut self, counter: u64) -> Option<Offset> {
        let places = self.places.as_mut()?;
        let place = places.0.remove(&counter);
        if places.0.is_empty() {
            self.places = None;
        }
        place
    }
}

fn due_run(filter: &Text, row: &SubscriptionRow, runs_done: Offset) -> Option<Run> {
    let span = row.open_span().filter(|span| span.retained_run && span.from >= runs_done)?;
    Some(Run { place: span.from, filter: filter.clone() })
}

/// Where the first closed span ends; [`Offset::MAX`] if there is none.
fn first_close(row: &SubscriptionRow) -> Offset {
    row.spans.iter().filter_map(|span| span.until).min().unwrap_or(Offset::MAX)
}
