//! Commits, and what their end lets go.

use std::collections::BTreeSet;

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
use crate::broker::storage::StorageState;
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

/// How much space the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Enough,
    /// What was set aside is being used.
    Reserve,
    /// None for the batch in flight: it is tried again from time to time.
    None,
}

/// What becomes of a batch in flight that met a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// It did not, or it is with the writer again.
    No,
    /// It waits for space.
    Waiting,
    /// It may be tried again.
    Due,
}

/// The commit under way, and who waits for the next one.
#[derive(Debug)]
pub(super) struct CommitState {
    durability: Durability,
    in_flight: Option<(PendingBatch, Timestamp)>,
    space: Space,
    retry: Retry,
    /// Whether somebody will look, or looks, whether there is space again.
    looking: bool,
    /// What the disk has failed with.
    poisoned: Option<StorageError>,
    checkpointing: bool,
    /// Clients and groups that go on when more is durable.
    waiting: BTreeSet<Turn>,
}

impl CommitState {
    pub(super) fn new(durability: Durability) -> Self {
        Self {
            durability,
            in_flight: None,
            space: Space::Enough,
            retry: Retry::No,
            looking: false,
            poisoned: None,
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

    /// What the disk still takes.
    pub(super) fn state(&self) -> StorageState {
        match (&self.poisoned, self.space) {
            (Some(_), _) => StorageState::ReadOnly,
            (None, Space::None) => StorageState::Waiting,
            (None, Space::Reserve) => StorageState::Full,
            (None, Space::Enough) => StorageState::Ok,
        }
    }

    /// Notes that the disk is full; returns whether that is news.
    pub(super) fn set_full(&mut self) -> bool {
        let news = self.space == Space::Enough;
        if news {
            self.space = Space::Reserve;
        }
        news
    }

    /// Notes that the disk has space again; returns whether that is news.
    pub(super) fn set_roomy(&mut self) -> bool {
        std::mem::replace(&mut self.space, Space::Enough) != Space::Enough
    }

    /// Whether it is time to set a timer for another look at a full disk: there is one at most.
    pub(super) fn may_look_again(&mut self) -> bool {
        !std::mem::replace(&mut self.looking, true)
    }

    /// The timer has fired.
    pub(super) fn looks_again(&mut self) {
        self.looking = false;
    }

    /// Nothing is written any more.
    pub(super) fn poison(&mut self, error: StorageError) {
        self.poisoned.get_or_insert(error);
    }

    /// What the disk has failed with.
    pub(super) fn poison_error(&self) -> Option<&StorageError> {
        self.poisoned.as_ref()
    }

    /// Changes what an acknowledgement promises.
    pub(super) fn promise(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Whether everything that was appended is durable and no checkpoint is under way.
    pub(super) fn is_idle(&self, store: &Store) -> bool {
        let written = self.in_flight.is_none() && store.durable_offset() == store.next_offset();
        (written || self.state().takes_nothing()) && !self.checkpointing
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

    /// Whether [`Broker::take_commit`] has something to give.
    pub fn wants_commit(&self) -> bool {
        match &self.commit.in_flight {
            Some(_) => self.commit.retry == Retry::Due,
            None => self.commit.poisoned.is_none() && self.store.has_batch(),
        }
    }

    /// What is to be written and made durable, then [`Event::Committed`]; `None` when nothing is, or while a commit is under way.
    ///
    /// It is everything that was appended until now: who asks a little later gets more with one sync. Who does not ask leaves
    /// everybody waiting.
    ///
    /// [`Event::Committed`]: crate::broker::Event::Committed
    #[must_use]
    pub fn take_commit(&mut self) -> Option<PendingBatch> {
        if !self.wants_commit() {
            return None;
        }
        if let Some((batch, _)) = &self.commit.in_flight {
            self.commit.retry = Retry::No;
            return Some(batch.clone());
        }
        let batch = self.store.take_batch()?;
        self.commit.in_flight = Some((batch.clone(), self.now));
        Some(batch)
    }

    /// Where nothing is promised, nothing waits for a commit.
    pub(super) fn advance_unpromised(&mut self) {
        if self.commit.durability == Durability::None {
            // Who waits although nothing is promised waits for a commit to end.
            let news = self.released() > self.routed;
            self.advance(news);
        }
    }

    pub(super) fn handle_committed(&mut self, result: Result<Committed, StorageError>) {
        let Some((batch, started)) = self.commit.in_flight.take() else { return };
        match result {
            Ok(committed) => {
                self.count_commit(&batch, started);
                if committed.is_short() {
                    self.disk_is_full();
                    if self.commit.space == Space::None {
                        // There is space again, perhaps enough.
                        self.commit.space = Space::Reserve;
                        self.outputs.push_back(Output::Replenish);
                    }
                } else {
                    self.disk_has_space();
                }
                self.store.committed(&committed);
                self.advance(true);
            }
            Err(error) if error.is_full() => {
                self.commit.in_flight = Some((batch, started));
                self.commit.retry = Retry::Waiting;
                self.disk_is_full();
                if std::mem::replace(&mut self.commit.space, Space::None) != Space::None {
                    tracing::error!(%error, "there is no space left: nothing is acknowledged until there is");
                    self.resume_held();
                }
            }
            Err(error) => self.storage_failed(error),
        }
    }

    /// Has the batch tried again that met a full disk.
    pub(super) fn retry_commit(&mut self) {
        if self.commit.retry == Retry::Waiting {
            self.commit.retry = Retry::Due;
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

    /// Lets go what has become durable: acknowledgements first, then deliveries, then, if there is news, those who are behind.
    fn advance(&mut self, news: bool) {
        let released = self.released();
        self.ended.retain(|_, until| *until > released);
        self.release_gates(released);
        self.route_durable(released);
        let waiting = if news { std::mem::take(&mut self.commit.waiting) } else { BTreeSet::new() };
        for turn in waiting {
            self.queue(turn);
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
            if opened {
                // Who waits for CONNACK may be silent.
                connection.last_received = self.now;
            }
            connection.gate_queued = connection.outbox.is_gated();
            if connection.gate_queued {
                self.gates.push(slot);
            }
            self.queue_write(slot);
            if let (true, Some(client)) = (opened, self.client_at(slot)) {
                self.queue_turn(client);
                self.rouse_walks_of(client);
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
                meta: effective.meta,
                replayed: false,
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
                meta: effective.meta,
                replayed: false,
            };
            if live && delivery.send(target.client, message, terms) == Sent::Done {
                continue;
            }
            let Some(offset) = offset else {
                delivery.dropped(Dropped::Qos0Full, message, target.client);
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
        // After a failed write the state says more than the log ever will.
        if self.commit.checkpointing || self.commit.poisoned.is_some() {
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
