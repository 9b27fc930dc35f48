//! All sessions and their one owner: route, deliver, wait for durability.
//!
//! A [`Broker`] is a value. It has no thread, no clock, no socket and no file: [`Broker::handle`] takes the time and an [`Event`],
//! [`Broker::poll_output`] says what is to be done, [`Broker::take_commit`] what is to be made durable, [`Broker::poll_timeout`] when to come back at the latest. The same events at the same times
//! with the same seed give the same outputs.
//!
//! ```text
//!  bytes ─► receive ─► publish ───► store (open batch) ─► route ─► deliver (QoS 0, live)
//!               │      subscribe ─┘        │                └────► unrouted ──┐
//!               │      connect             ▼ take_commit                      │
//!               └────► acknowledge   Event::Committed ─► release acks ─► route durable ─► deliver (QoS 1, 2, live)
//!                                                                  └─► turns: clients and groups that are behind, replays
//! ```
//!
//! - **Nothing leaves before what it promises is durable**: `outbox` is the one place.
//! - A message is delivered at QoS 1 or 2 only below the durable offset.
//! - Whether a message belongs to a session's stream depends on the log alone (`docs/decisions/0001-delivery-numbers.md`).
//! - All records that one event causes are in one batch.

mod acknowledge;
mod address;
mod asked;
mod catch_up;
mod cleaning;
mod client;
mod close;
mod connect;
mod connection;
mod control;
mod coverage;
mod delayed;
mod deliver;
mod durability;
pub mod event;
mod events;
mod exclusive;
mod fetched;
mod found;
mod lagging;
mod lifecycle;
mod message;
mod meta;
mod options;
mod outbox;
mod progress;
mod publish;
mod random;
mod reauthenticate;
mod receive;
mod recovery;
mod replay;
mod report;
mod retained;
mod retention;
mod revoke;
mod router;
mod search;
mod share;
mod stats;
mod storage;
mod subscribe;
mod sys;
mod timers;
mod undelivered;
mod walk;
mod will;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::access::Access;
use crate::broker::client::Client;
use crate::broker::client::ClientRef;
use crate::broker::connection::Connection;
use crate::broker::delayed::DelayedQueue;
use crate::broker::deliver::Delivery;
use crate::broker::random::Random;
use crate::broker::replay::Replay;
use crate::broker::replay::ReplayIndex;
use crate::broker::router::GroupIndex;
use crate::broker::router::Route;
use crate::broker::router::Router;
use crate::broker::share::Group;
use crate::broker::share::Lag;
use crate::broker::share::LagIndex;
use crate::broker::timers::TimerWheel;
use crate::collections::Map;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::Text;
use crate::store::GroupKey;
use crate::store::Store;
use crate::time::Timestamp;

pub use event::ConnectionId;
pub use event::Event;
pub use event::Origin;
pub use event::Output;
pub use options::GroupOptions;
pub use options::OnWriteFailure;
pub use options::Options;
pub use stats::Dropped;
pub use stats::Stats;
pub use storage::StorageState;

/// The core.
pub struct Broker {
    options: Options,
    access: Access,
    random: Random,
    store: Store,
    connections: Slab<Connection>,
    connection_slots: Map<ConnectionId, usize>,
    clients: Slab<Client>,
    client_slots: Map<ClientId, usize>,
    /// Sessions whose end is not durable yet, and the offset below which everything has to be for that.
    ended: Map<ClientId, Offset>,
    epoch: u32,
    router: Router,
    groups: Slab<Group>,
    /// Groups of which somebody asked how far they are behind; `None` while one has its turn.
    lags: Slab<Option<Box<Lag>>>,
    /// Replays under way; `None` while one has its turn.
    replays: Slab<Option<Box<Replay>>>,
    group_indexes: BTreeMap<GroupKey, GroupIndex>,
    /// What the router has still to hand on once it is durable, in offset order.
    unrouted: VecDeque<Unrouted>,
    /// Every message below was handed on to the clients that are live.
    routed: Offset,
    /// Who holds each exclusive subscription, under its whole text.
    exclusive: BTreeMap<Text, ClientId>,
    delayed: DelayedQueue,
    timers: TimerWheel<Timer>,
    turns: VecDeque<Turn>,
    /// Clients whose progress row lags.
    lagging: Vec<ClientRef>,
    /// Clients whose progress row is written at the end of this event.
    due: Vec<ClientRef>,
    /// Slots of connections with bytes to write.
    writes: Vec<usize>,
    /// Slots of connections that wait for something to become durable.
    gates: Vec<usize>,
    /// Slots of connections that are not read from until less waits to become durable.
    paused: BTreeSet<usize>,
    outputs: VecDeque<Output>,
    tickets: Map<u64, Awaited>,
    next_ticket: u64,
    commit: durability::CommitState,
    retention: retention::RetentionState,
    /// Who retention is about to pass.
    lagging_watch: lagging::LaggingWatch,
    /// A segment is being cleaned.
    cleaning: bool,
    stopping: lifecycle::Stopping,
    stats: Stats,
    undelivered: undelivered::Undelivered,
    found: found::Found,
    started: Timestamp,
    now: Timestamp,
}

/// A message or an assignment that waits to become durable.
#[derive(Debug)]
struct Unrouted {
    offset: Offset,
    what: Routing,
}

#[derive(Debug)]
enum Routing {
    /// A message and whom it matched when it was appended.
    Message(Arc<Route>),
    /// A message published at QoS 0 that somebody who was behind has not got.
    Qos0(Arc<Route>),
    /// An assignment to a client, by its counter.
    Assigned(ClientRef, u64),
}

/// A moment the core waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Timer {
    /// The connection has to have sent CONNECT.
    Connect(ConnectionId),
    /// The connection has to have sent something.
    KeepAlive(ConnectionId),
    /// A will is due.
    Will(ClientId, Timestamp),
    /// A session without a connection ends.
    SessionExpiry(ClientId, Timestamp),
    /// Progress rows that lag are written.
    Progress,
    /// Statistics are published.
    Sys,
    /// A checkpoint is due.
    Checkpoint,
    /// Old segments may go.
    Retention,
    /// A full disk may have space again.
    Space,
    /// A read that failed may succeed: who waits for it, and its ticket.
    ReadAgain(Turn, u64),
    /// The log may be cleaned.
    Clean,
    /// The next message of a replay that has a pace is due.
    Replay(ReplayIndex),
    /// A delayed message may be due.
    Delayed,
}

/// Somebody who is behind and may be able to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Client(ClientRef),
    Group(GroupIndex),
    Replay(ReplayIndex),
    /// A group's lag is counted.
    Lag(LagIndex),
    /// The delayed messages that are due.
    Delayed,
}

/// What a ticket's answer is for.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    /// A chunk of the log for somebody who is behind.
    Chunk(Turn),
    /// One record for somebody who is behind: a retained or an assigned message, or one that came back to a group.
    Record(Turn, Offset),
    /// A password.
    Password(ConnectionId),
    /// A chunk of the log in which retention counts what a session loses.
    Retention,
    /// A retained message that is to be carried forward.
    Carry,
    /// A chunk of the log in which is counted what a session would lose.
    Lagging,
}

/// Turns that one event may take, so that clients far behind do not hold up the others.
const TURNS_PER_EVENT: usize = 32;

/// How long a timer may stay without being looked at.
const TIMER_REACH: Duration = Duration::from_mins(1);

impl Broker {
    /// Takes an event. Afterwards take every [`Output`] with [`Broker::poll_output`], and, soon, what [`Broker::take_commit`] has.
    ///
    /// `now` never decreases from call to call.
    pub fn handle(&mut self, now: Timestamp, event: Event<'_>) {
        self.now = self.now.max(now);
        self.look_for_listeners();
        match event {
            Event::Opened { connection, origin } => self.handle_opened(connection, origin),
            Event::Received { connection, input } => self.handle_received(connection, input),
            Event::Drained { connection, bytes } => self.handle_drained(connection, bytes),
            Event::Closed { connection } => self.handle_closed(connection),
            Event::Committed(result) => self.handle_committed(result),
            Event::Fetched { ticket, result } => self.handle_fetched(ticket, result),
            Event::Verified { ticket, verdict } => self.handle_verified(ticket, verdict),
            Event::Checkpointed(result) => self.handle_checkpointed(result),
            Event::Truncated(result) => self.handle_truncated(result),
            Event::Replenished(result) => self.handle_replenished(result),
            Event::Cleaned(result) => self.handle_cleaned(&result),
            Event::AccessRead { passwords, acl } => {
                self.handle_access_read(passwords.as_deref(), acl.as_deref());
            }
            Event::Tick => {}
            Event::Stop => self.handle_stop(),
        }
        self.fire_timers();
        self.take_turns();
        self.write_due_progress();
        self.store.end_group();
        self.advance_unpromised();
        self.go_on_stopping();
        self.report_undelivered();
    }

    /// The next thing to do, in order; `None` until the next event.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(slot) = self.writes.pop() {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.write_queued = false;
            if connection.outbox.is_ready() {
                let chunks = connection.outbox.take();
                self.stats.bytes_sent += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
                return Some(Output::Write { connection: connection.id, chunks });
            }
        }
        None
    }

    /// When to call [`Broker::handle`] with [`Event::Tick`] if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.turns.is_empty() { self.timers.next() } else { Some(self.now) }
    }

    /// What was counted since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The store, to be looked at.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many clients are connected.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    fn fire_timers(&mut self) {
        let mut due = Vec::new();
        self.timers.advance(self.now, &mut due);
        for timer in due {
            match timer {
                Timer::Connect(connection) => self.connect_overdue(connection),
                Timer::KeepAlive(connection) => self.check_keep_alive(connection),
                Timer::Will(client_id, fires_at) => self.will_due(client_id, fires_at),
                Timer::SessionExpiry(client_id, left_at) => {
                    self.session_expiry_due(client_id, left_at);
                }
                Timer::Progress => self.write_lagging_progress(),
                Timer::Sys => self.publish_sys(),
                Timer::Checkpoint => self.checkpoint_due(),
                Timer::Retention => self.retention_due(),
                Timer::Space => self.space_due(),
                Timer::ReadAgain(turn, ticket) => self.read_again(turn, ticket),
                Timer::Clean => self.cleaning_due(),
                Timer::Replay(replay) => self.replay_due(replay),
                Timer::Delayed => self.delayed_due(),
            }
        }
    }

    /// Sets a timer that may be far off. It fires early then, and who set it sets it again if it still means anything: timers of
    /// connections that came and went do not pile up.
    fn set_far_timer(&mut self, deadline: Timestamp, timer: Timer) {
        self.timers.set(deadline.min(self.now + TIMER_REACH), timer);
    }

    fn take_turns(&mut self) {
        for _ in 0..TURNS_PER_EVENT {
            match self.turns.pop_front() {
                Some(Turn::Client(client)) => self.turn_client(client),
                Some(Turn::Group(group)) => self.turn_group(group),
                Some(Turn::Lag(lag)) => self.turn_lag(lag),
                Some(Turn::Replay(replay)) => self.turn_replay(replay),
                Some(Turn::Delayed) => self.turn_delayed(),
                None => return,
            }
        }
    }

    /// Gives a client that is behind a turn, unless it has one coming.
    fn queue_turn(&mut self, client: ClientRef) {
        let Some(known) =
            self.clients.get_mut(client.index()).filter(|known| known.epoch == client.epoch)
        else {
            return;
        };
        if !known.turn_queued && !known.is_live() {
            known.turn_queued = true;
            self.turns.push_back(Turn::Client(client));
        }
    }

    /// The name of the client in a slot.
    fn client_ref(&self, slot: usize) -> Option<ClientRef> {
        let client = self.clients.get(slot)?;
        Some(ClientRef { slot: u32::try_from(slot).ok()?, epoch: client.epoch })
    }

    /// A ticket whose answer is for `awaited`.
    fn ticket(&mut self, awaited: Awaited) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, awaited);
        self.next_ticket
    }

    /// The parts that a delivery touches, and the store to borrow the message from.
    fn delivery(&mut self) -> (Delivery<'_>, &Store) {
        let durable = self.commit.released(&self.store);
        let delivery = Delivery {
            clients: &mut self.clients,
            connections: &mut self.connections,
            stats: &mut self.stats,
            undelivered: &mut self.undelivered,
            writes: &mut self.writes,
            durable,
            now: self.now,
            clock: self.store.state().clock(),
        };
        (delivery, &self.store)
    }
}
