//! Commits, and what their end lets go.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::Timer;
use crate::broker::Turn;
use crate::broker::client::ClientRef;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::event::Output;
use crate::broker::message::Message;
use crate::broker::router::Route;
use crate::broker::stats::Dropped;
use crate::commitlog::Committed;
use crate::commitlog::Offset;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;
use crate::mqtt::QoS;
use crate::store::CheckpointDone;
use crate::store::Durability;
use crate::store::MessageView;
use crate::store::StateError;
use crate::store::Store;
use crate::time::Timestamp;

/// How long to wait before a commit that met a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The commit under way, and who waits for the next one.
#[derive(Debug)]
pub(super) struct CommitState {
    durability: Durability,
    in_flight: Option<(PendingBatch, Timestamp)>,
    /// The disk is full: the batch in flight is tried again from time to time, and publishes are refused.
    full: bool,
    poisoned: bool,
    checkpointing: bool,
    /// Clients and groups that go on when more is durable.
    waiting: BTreeSet<Turn>,
}

impl CommitState {
    pub(super) fn new(durability: Durability) -> Self {
        Self {
            durability,
            in_flight: None,
            full: false,
            poisoned: false,
            checkpointing: false,
            waiting: BTreeSet::new(),
        }
    }

    /// Everything below may be relied on: acknowledged, and delivered.
    pub(super) fn released(&self, store: &Store) -> Offset {
        match self.durability {
            Durability::None => store.next_offset(),
            Durability::Os | Durability::Fsync => store.durable_offset(),
        }
    }

    /// Whether new messages are refused because nothing can be written.
    pub(super) fn refuses(&self) -> bool {
        self.full || self.poisoned
    }

    /// Whether everything that was appended is durable and no checkpoint is under way.
    pub(super) fn is_idle(&self, store: &Store) -> bool {
        let written = self.in_flight.is_none() && store.durable_offset() == store.next_offset();
        (written || self.full || self.poisoned) && !self.checkpointing
    }

    /// Gives `turn` another chance when more is durable.
    pub(super) fn wait(&mut self, turn: Turn) {
        self.waiting.insert(turn);
    }
}

impl Broker {
    /// Everything below may be relied on.
    pub(super) fn released(&self) -> Offset {
        self.commit.released(&self.store)
    }

    /// Starts a commit of all that was appended, unless one is under way.
    pub(super) fn start_commit(&mut self) {
        if self.commit.durability == Durability::None {
            self.advance();
        }
        if self.commit.in_flight.is_some() || self.commit.poisoned {
            return;
        }
        if let Some(batch) = self.store.take_batch() {
            self.commit.in_flight = Some((batch.clone(), self.now));
            self.outputs.push_back(Output::Commit(batch));
        }
    }

    pub(super) fn handle_committed(&mut self, result: Result<Committed, StorageError>) {
        let Some((batch, started)) = self.commit.in_flight.take() else { return };
        match result {
            Ok(committed) => {
                self.count_commit(&batch, started);
                self.commit.full = false;
                self.store.committed(&committed);
                self.advance();
            }
            Err(error) if error.is_full() => {
                if !self.commit.full {
                    tracing::error!(%error, "the disk is full: publishes are refused until there is space");
                }
                self.commit.full = true;
                self.commit.in_flight = Some((batch, started));
                self.timers.set(self.now + RETRY_AFTER, Timer::RetryCommit);
            }
            Err(error) => {
                tracing::error!(%error, "a write or sync failed: nothing more is acknowledged");
                self.commit.poisoned = true;
                self.outputs.push_back(Output::Poisoned(error));
            }
        }
    }

    /// Tries the batch again that met a full disk.
    pub(super) fn retry_commit(&mut self) {
        if let (true, Some((batch, _))) = (self.commit.full, &self.commit.in_flight) {
            self.outputs.push_back(Output::Commit(batch.clone()));
        }
    }

    fn count_commit(&mut self, batch: &PendingBatch, started: Timestamp) {
        let micros = u64::try_from(self.now.since(started).as_micros()).unwrap_or(u64::MAX);
        self.stats.commits += 1;
        self.stats.committed_bytes += batch.size_bytes() as u64;
        self.stats.committed_records +=
            batch.next_offset().checked_since(batch.base_offset()).unwrap_or(0);
        self.stats.commit_micros += micros;
        self.stats.commit_micros_max = self.stats.commit_micros_max.max(micros);
    }

    /// Lets go what has become durable: acknowledgements first, then deliveries, then those who are behind.
    fn advance(&mut self) {
        let released = self.released();
        self.ended.retain(|_, until| *until > released);
        self.release_gates(released);
        self.route_durable(released);
        for turn in std::mem::take(&mut self.commit.waiting) {
            match turn {
                Turn::Client(client) => self.queue_turn(client),
                Turn::Group(group) => self.queue_group_turn(group),
            }
        }
        self.resume_publishers();
    }

    fn release_gates(&mut self, released: Offset) {
        for slot in std::mem::take(&mut self.gates) {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            let was_opening = connection.outbox.is_opening();
            let finished = connection.outbox.release(released);
            if let Some(connected) = connection.connected_mut() {
                connected.inbound.finish(finished);
            }
            let opened = was_opening && !connection.outbox.is_opening();
            connection.gate_queued = connection.outbox.is_gated();
            if connection.gate_queued {
                self.gates.push(slot);
            }
            self.queue_write(slot);
            if let (true, Some(client)) = (opened, self.client_at(slot)) {
                self.queue_turn(client);
                self.rouse_groups_of(client);
            }
        }
    }

    /// Hands on, in offset order, what has become durable, to the clients that are live.
    fn route_durable(&mut self, released: Offset) {
        while let Some(unrouted) = self.unrouted.pop_front_if(|unrouted| unrouted.offset < released)
        {
            match unrouted.what {
                Routing::Message(route) => self.route_message(unrouted.offset, &route),
                Routing::Qos0(_) => {}
                Routing::Assigned(client, counter) => {
                    self.route_assigned(client, (unrouted.offset, counter));
                }
            }
        }
        self.routed = released;
    }

    fn route_message(&mut self, offset: Offset, route: &Route) {
        let qos0_from = self.store.next_offset();
        let mut fallen: Vec<ClientRef> = Vec::new();
        let mut low: Vec<ClientRef> = Vec::new();
        let (mut delivery, store) = self.delivery();
        let record = store.peek_record(offset);
        let view = record.as_ref().and_then(MessageView::from_record);
        for target in &route.targets {
            let Some(client) = delivery.client(target.client).filter(|client| client.is_live())
            else {
                continue;
            };
            let Some(view) = &view else {
                // Not in memory any more: the walk through the log finds it, or counts it.
                client.fall_behind(offset, qos0_from);
                fallen.push(target.client);
                continue;
            };
            let message = Message::from(view);
            let own = client.id.as_str() == message.publisher;
            let Some(effective) = target.grants.effective(message.qos, own) else { continue };
            let terms = Terms {
                qos: effective.qos,
                retain: message.retain && effective.retain_as_published,
                subscription_ids: &effective.subscription_ids,
                place: offset,
            };
            let sent = delivery.send(target.client, &message, terms);
            let Some(client) = delivery.client(target.client) else { continue };
            if sent == Sent::NotNow {
                client.fall_behind(offset, qos0_from);
                fallen.push(target.client);
            } else if client.is_low_on_numbers() {
                low.push(target.client);
            }
        }
        self.queue_fallen(fallen);
        for client in low {
            self.progress_is_due(client);
        }
    }

    /// Hands a message published at QoS 0 to all that are live, at once. `offset` is `None` if it is not logged.
    pub(super) fn route_qos0(
        &mut self,
        offset: Option<Offset>,
        message: &Message<'_>,
        route: &Route,
    ) -> bool {
        let routed = self.routed;
        let mut missed = false;
        let mut fallen: Vec<ClientRef> = Vec::new();
        let (mut delivery, _) = self.delivery();
        for target in &route.targets {
            let Some(client) = delivery.client(target.client) else { continue };
            let own = client.id.as_str() == message.publisher;
            let live = client.is_live();
            let Some(effective) = target.grants.effective(QoS::AtMostOnce, own) else { continue };
            let terms = Terms {
                qos: QoS::AtMostOnce,
                retain: message.retain && effective.retain_as_published,
                subscription_ids: &effective.subscription_ids,
                place: offset.unwrap_or(routed),
            };
            if live && delivery.send(target.client, message, terms) == Sent::Done {
                continue;
            }
            let Some(offset) = offset else {
                delivery.stats.drop_messages(Dropped::Qos0Full, 1);
                continue;
            };
            missed = true;
            if let (true, Some(client)) = (live, delivery.client(target.client)) {
                client.fall_behind(routed, offset);
                fallen.push(target.client);
            }
        }
        self.queue_fallen(fallen);
        missed
    }

    pub(super) fn queue_fallen(&mut self, fallen: Vec<ClientRef>) {
        for client in fallen {
            self.queue_turn(client);
        }
    }

    /// Starts a checkpoint if something changed, and looks again later.
    pub(super) fn checkpoint_due(&mut self) {
        self.timers.set(self.now + self.options.checkpoint_interval, Timer::Checkpoint);
        self.start_checkpoint();
    }

    pub(super) fn start_checkpoint(&mut self) {
        if self.commit.checkpointing {
            return;
        }
        if let Some(checkpoint) = self.store.take_checkpoint() {
            self.commit.checkpointing = true;
            self.outputs.push_back(Output::Checkpoint(checkpoint));
        }
    }

    pub(super) fn handle_checkpointed(&mut self, result: Result<CheckpointDone, StateError>) {
        self.commit.checkpointing = false;
        if let Err(error) = &result {
            tracing::error!(%error, "a checkpoint failed; the log has everything");
        }
        self.store.checkpointed(result);
    }
}
