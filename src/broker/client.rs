//! A session whose client is connected: where it stands in the log, and what is in flight.
//!
//! ```text
//!              everything up to the router's place was handled
//!   ┌────────┐  a delivery could not be made (window, socket, limit)  ┌────────┐
//!   │  Live  │ ─────────────────────────────────────────────────────► │ Behind │
//!   └────────┘ ◄───────────────────────────────────────────────────── └────────┘
//!                             the walk has caught up
//! ```
//!
//! A live client gets messages from memory as the router reaches them. A client that is behind is a place in the log, from
//! which it reads when it can take more; a resumed session begins like that.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::replay::ReplayIndex;
use crate::broker::router::GroupIndex;
use crate::broker::walk::Cursor;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::PacketId;
use crate::mqtt::Text;
use crate::session::Outbound;

/// Names a connected client; a slot that is used again has another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClientRef {
    pub(super) slot: u32,
    pub(super) epoch: u32,
}

impl ClientRef {
    /// The slot as an index.
    pub(super) fn index(self) -> usize {
        usize::try_from(self.slot).unwrap_or(usize::MAX)
    }
}

/// The counter that orders assignments at one place.
pub(super) type AssignedKey = (Offset, u64);

/// How many numbers are reserved at a time: numbers below the reserved limit may have been sent before a crash.
pub(super) const NUMBERS_RESERVED: u64 = 2_048;

/// How many bytes are kept for assignments that had no turn yet, and one record more.
const AT_HAND_BYTES: usize = 256 << 10;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) epoch: u32,
    /// The slot of its connection.
    pub(super) connection: usize,
    pub(super) outbound: Outbound,
    pub(super) mode: Mode,
    /// Retained messages due because of subscriptions, first come first; the stream stands at the first one's place.
    pub(super) runs: VecDeque<Run>,
    /// Runs at places below are done.
    pub(super) runs_done: Offset,
    /// That they are done has to be durable before anything behind them is sent: below this offset, which is the highest as
    /// long as no row says so.
    pub(super) runs_done_after: Offset,
    /// Numbers below may have been sent on an earlier connection: they go with DUP [MQTT-3.3.1-1].
    pub(super) dup_below: u64,
    /// The log's end when it connected: deliveries at QoS 0 below are not made.
    pub(super) connected_at: Offset,
    /// Messages below are not brought by the router, because they were appended before it knew of this client, or of a subscription.
    pub(super) live_from: Offset,
    /// What an earlier connection had left open.
    pub(super) resumed: Resumed,
    pub(super) reserved: Reserved,
    /// The assignments behind numbers in flight, and behind numbers acknowledged out of order.
    pub(super) assigned_numbers: BTreeMap<u64, AssignedKey>,
    /// Everything below has to be durable before an assignment is sent.
    pub(super) assigned_after: Offset,
    /// The last assignment that had its turn on this connection, live or behind.
    pub(super) last_assigned: Option<AssignedKey>,
    /// The next counter: never used twice on a connection, so that keys at one place only grow.
    pub(super) next_counter: u64,
    /// Assignments that had no turn yet.
    pub(super) assigned_waiting: usize,
    /// Numbers of which PUBREC came before their turn did: what an earlier connection sent, and the walk has not come to yet.
    pub(super) received_early: BTreeSet<u64>,
    /// PUBREL packets to send once the row that remembers their PUBREC is durable.
    pub(super) to_release: Vec<PacketId>,
    pub(super) progress: ProgressState,
    pub(super) turn_queued: bool,
    /// Its replays that have not caught up.
    pub(super) replays: SmallVec<[ReplayIndex; 1]>,
    /// Records of assignments that had no turn yet.
    pub(super) at_hand: AtHand,
    /// The shared groups it is a member of.
    pub(super) groups: SmallVec<[GroupIndex; 1]>,
}

/// Records that were read for an assignment, under its counter: they need not be read a second time.
#[derive(Debug, Default)]
pub(super) struct AtHand {
    records: BTreeMap<u64, StoredRecord>,
    bytes: usize,
}

impl AtHand {
    /// Keeps a record, unless there is much already.
    pub(super) fn keep(&mut self, counter: u64, record: StoredRecord) {
        if self.bytes < AT_HAND_BYTES {
            self.bytes += record.size_bytes();
            self.records.insert(counter, record);
        }
    }

    pub(super) fn get(&self, counter: u64) -> Option<StoredRecord> {
        self.records.get(&counter).cloned()
    }

    pub(super) fn remove(&mut self, counter: u64) {
        if let Some(record) = self.records.remove(&counter) {
            self.bytes = self.bytes.saturating_sub(record.size_bytes());
        }
    }
}

/// Whether the progress row has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgressState {
    /// It says what is true.
    Clean,
    /// It lags; the next round of the timer writes it.
    Lagging,
    /// Something waits for it: it is written at the end of this event.
    Due,
}

/// What an earlier connection had left open, beyond the first unacknowledged number.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub(super) acked: Vec<u64>,
    pub(super) received: Vec<u64>,
}

/// How far numbers may be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// Numbers below may be sent.
    pub(super) limit: u64,
    /// A higher limit, and the offset below which everything has to be durable before it holds.
    pub(super) pending: Option<(Offset, u64)>,
}

impl Reserved {
    /// Numbers without end, for a session that ends with its connection.
    pub(super) const UNLIMITED: Self = Self { limit: u64::MAX, pending: None };

    /// Whether `number` may be sent, with everything below `durable` durable.
    pub(super) fn allows(&mut self, number: u64, durable: Offset) -> bool {
        if let Some((after, limit)) = self.pending
            && after <= durable
        {
            self.limit = limit;
            self.pending = None;
        }
        number < self.limit
    }

    /// Asks for a higher limit, which holds when everything below `after` is durable. What was asked for before and is nearly as high
    /// holds sooner, and stays: else rows that come faster than syncs would put it off again and again.
    pub(super) fn ask(&mut self, after: Offset, limit: u64, durable: Offset) {
        // A limit asked for before and durable by now is not forgotten.
        let _ = self.allows(0, durable);
        if self.pending.is_none_or(|(_, asked)| asked + NUMBERS_RESERVED / 2 < limit) {
            self.pending = Some((after, limit));
        }
    }

    /// The highest limit asked for.
    pub(super) fn newest(&self) -> u64 {
        self.pending.map_or(self.limit, |(_, limit)| limit)
    }
}

/// How a client gets its messages.
#[derive(Debug)]
pub(super) enum Mode {
    /// From memory, as the router reaches them.
    Live,
    /// From the log.
    Behind(Box<Behind>),
}

/// Where a client that is behind stands.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) cursor: Cursor,
    /// Messages published at QoS 0 below were handed on when they came, or are not for this connection.
    pub(super) qos0_from: Offset,
    /// The session's filters as one question, as long as they don't change.
    pub(super) matcher: Option<Arc<dyn KeyMatcher>>,
}

impl std::fmt::Debug for dyn KeyMatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMatcher")
    }
}

impl Behind {
    /// Behind from `next` on; QoS 0 from `qos0_from` on.
    pub(super) fn at(next: Offset, qos0_from: Offset) -> Box<Self> {
        Box::new(Self { cursor: Cursor::at(next), qos0_from, matcher: None })
    }
}

/// Retained messages due because of one subscription.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Where the subscription begins: the stream stands here until the run is done.
    pub(super) place: Offset,
    pub(super) filter: Text,
    /// The last topic that had its turn.
    pub(super) after: Option<Text>,
}

impl Client {
    /// Whether it gets messages from memory.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live)
    }

    /// Lets the client fall behind: messages from `next` on come from the log, those at QoS 0 from `qos0_from` on.
    pub(super) fn fall_behind(&mut self, next: Offset, qos0_from: Offset) {
        if self.is_live() {
            self.mode = Mode::Behind(Behind::at(next, qos0_from));
        }
    }

    /// Whether more numbers have to be reserved in good time.
    pub(super) fn is_low_on_numbers(&self) -> bool {
        let next = self.outbound.next_number();
        next.saturating_add(NUMBERS_RESERVED / 2) > self.reserved.newest()
    }

    /// Forgets what depends on the session's filters.
    pub(super) fn filters_changed(&mut self) {
        if let Mode::Behind(behind) = &mut self.mode {
            behind.matcher = None;
        }
    }

    /// The number that a packet id means and that an earlier connection may have sent, if its turn on this one is still to come.
    pub(super) fn number_to_come(&self, id: PacketId) -> Option<u64> {
        let number = self.outbound.number_of(id);
        let sent_before = number >= self.outbound.next_number() && number < self.dup_below;
        (!self.is_live() && sent_before).then_some(number)
    }

    /// Whether a delivery above QoS 0 could be numbered now.
    pub(super) fn may_number(&mut self, durable: Offset) -> bool {
        let next = self.outbound.next_number();
        self.outbound.quota() > 0 && self.reserved.allows(next, durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_asked_for_holds_although_others_follow_before_it_is_durable() {
        let mut reserved = Reserved { limit: NUMBERS_RESERVED, pending: None };
        // A row for each number, and a sync that is always ten rows behind.
        for number in 0..10 * NUMBERS_RESERVED {
            let durable = Offset::new(number.saturating_sub(10));
            assert!(reserved.allows(number, durable), "{number}");
            reserved.ask(Offset::new(number), number + NUMBERS_RESERVED, durable);
        }
    }
}
