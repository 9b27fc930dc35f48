//! Progress rows: how far each client has come, so that a restart finds what is in flight.

use std::time::Duration;

use crate::broker::Broker;
use crate::broker::Timer;
use crate::broker::client::Client;
use crate::broker::client::ClientRef;
use crate::broker::client::Mode;
use crate::broker::client::NUMBERS_RESERVED;
use crate::broker::client::ProgressState;
use crate::commitlog::Offset;
use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::store::ProgressRow;
use crate::store::Row;

/// How far a progress row may lag.
const LAG_MAX: Duration = Duration::from_millis(100);

impl Broker {
    /// Notes that a client's row lags behind the truth.
    pub(super) fn progress_lags(&mut self, client: ClientRef) {
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        if known.progress == ProgressState::Clean {
            known.progress = ProgressState::Lagging;
            if self.lagging.is_empty() {
                self.timers.set(self.now + LAG_MAX, Timer::Progress);
            }
            self.lagging.push(client);
        }
    }

    /// Notes that something waits for a client's row: it is written at the end of this event.
    pub(super) fn progress_is_due(&mut self, client: ClientRef) {
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        if known.progress != ProgressState::Due {
            known.progress = ProgressState::Due;
            self.due.push(client);
        }
    }

    pub(super) fn write_lagging_progress(&mut self) {
        for client in std::mem::take(&mut self.lagging) {
            if self.is_connected(client, |known| known.progress == ProgressState::Lagging) {
                self.put_progress(client, true);
            }
        }
    }

    /// Writes the rows that something waits for, and lets follow what waits for them.
    pub(super) fn write_due_progress(&mut self) {
        for client in std::mem::take(&mut self.due) {
            if !self.is_connected(client, |known| known.progress == ProgressState::Due) {
                continue;
            }
            let after = self.put_progress(client, true);
            let Some(known) = self.clients.get_mut(client.index()) else { continue };
            known.progress = ProgressState::Clean;
            let slot = known.connection;
            for packet_id in std::mem::take(&mut known.to_release) {
                self.send_after(slot, after, Packet::Pubrel(Ack::new(packet_id)));
            }
        }
    }

    fn is_connected(&self, client: ClientRef, condition: impl Fn(&Client) -> bool) -> bool {
        self.clients
            .get(client.index())
            .is_some_and(|known| known.epoch == client.epoch && condition(known))
    }

    /// Writes a client's progress row; returns the offset that has to be durable for it to hold.
    /// `staying`: the connection goes on, so numbers are reserved ahead.
    pub(super) fn put_progress(&mut self, client: ClientRef, staying: bool) -> Offset {
        let (routed, released) = (self.routed, self.released());
        let Some(known) = self.clients.get_mut(client.index()) else { return Offset::ZERO };
        let settled = settled_assignments(known);
        let ahead = self.clients.get(client.index()).and_then(|known| self.next_assigned(known));
        let Some(known) = self.clients.get_mut(client.index()) else { return Offset::ZERO };
        let row = progress_row(known, routed, ahead.map(|(place, _)| place), staying);
        let limit = row.sent_limit;
        let position = row.position;
        // What waits for the row at the end of this event still does.
        if known.progress == ProgressState::Lagging {
            known.progress = ProgressState::Clean;
        }
        let client_id = known.id.clone();
        let now = self.now;
        let mut freed = self.groups_freed(&client_id, position);
        for (place, counter) in settled {
            self.hold_settled(&client_id, (place, counter));
            if place >= position {
                freed.extend(self.keyed_group(&client_id, (place, counter)));
                self.store.put(now, Row::Assigned(client_id.clone(), counter, None));
            }
        }
        let offset = self.store.put(now, Row::Progress(client_id.clone(), row));
        self.rouse_groups(freed);
        let recorded = self.is_recorded(&client_id);
        let after = if recorded { offset.next() } else { Offset::ZERO };
        if let Some(known) = self.clients.get_mut(client.index())
            && recorded
            && staying
        {
            known.reserved.ask(after, limit, released);
            if known.runs_done_after == Offset::MAX {
                known.runs_done_after = after;
            }
        }
        after
    }

    /// Whether a session's rows are in the log.
    pub(super) fn is_recorded(&self, client_id: &crate::mqtt::ClientId) -> bool {
        self.store.state().session(client_id).is_some_and(|session| session.recorded)
    }
}

/// Takes the assignments that are acknowledged, with everything before them.
fn settled_assignments(client: &mut Client) -> Vec<(Offset, u64)> {
    let open = client.assigned_numbers.split_off(&client.outbound.base());
    std::mem::replace(&mut client.assigned_numbers, open).into_values().collect()
}

fn progress_row(
    client: &Client,
    routed: Offset,
    ahead: Option<Offset>,
    staying: bool,
) -> ProgressRow {
    let walked = match &client.mode {
        Mode::Live => routed,
        Mode::Behind(behind) => behind.cursor.next,
    };
    let run = client.runs.front().map(|run| run.place);
    let walked = [run, ahead].into_iter().flatten().fold(walked, Offset::min);
    let number = client.outbound.base();
    // What an earlier connection left open and this one has not come to yet is still open.
    let unwalked = |numbers: &[u64]| {
        numbers
            .iter()
            .copied()
            .filter(|left| *left >= client.outbound.next_number())
            .collect::<Vec<_>>()
    };
    let acked = client.outbound.done_numbers().chain(unwalked(&client.resumed.acked));
    let received = client.outbound.released_numbers().chain(unwalked(&client.resumed.received));
    let used = client.outbound.next_number().max(client.dup_below);
    ProgressRow {
        position: client.outbound.first_place().unwrap_or(walked),
        number,
        acked: acked.collect(),
        received: received.collect(),
        sent_limit: if staying { used + NUMBERS_RESERVED } else { used },
        run: client
            .runs
            .front()
            .and_then(|run| Some(Box::new((run.filter.clone(), run.after.clone()?)))),
        runs_done: client.runs_done,
    }
}
