//! Delayed messages: kept back, found again by their due time, published once.
//!
//! ```text
//!  PUBLISH ─► row (durable, then acknowledged) ─► due ─┬─► message and tombstone in one batch          QoS 1, 2
//!                  │                                   └─► tombstone ─► (durable) ─► message           QoS 0
//!                  └─► cancelled: tombstone
//! ```
//!
//! - A message fires at most once: what ends its row is in the batch of what it becomes, or durable before it.
//! - Only ids and due times are in memory here; the content is read when it is due.
//!
//! `docs/decisions/0008-delayed.md` says why.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::StorageState;
use crate::broker::Timer;
use crate::broker::Turn;
use crate::broker::message::Message;
use crate::broker::stats::Dropped;
use crate::broker::storage::LOOK_AGAIN;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::QoS;
use crate::mutant::Mutant;
use crate::store::Delayed;
use crate::store::Due;
use crate::store::MessageView;
use crate::store::NewMessage;
use crate::store::Row;
use crate::time::Timestamp;

/// How many messages at QoS 0 may wait for the durable end of their rows.
const ENDING_MAX: usize = 256;

/// The messages that are kept back, in the order in which they are due.
#[derive(Debug)]
pub(super) struct DelayedQueue {
    /// When each is due as time counts in this run, and its id.
    due: BTreeSet<(Timestamp, Offset)>,
    /// The earliest timer that is set.
    timer_at: Option<Timestamp>,
    turn_queued: bool,
    cursor: Cursor,
    /// Messages at QoS 0 whose rows have ended: below which offset all has to be durable, and when they were due.
    ending: VecDeque<(Offset, Timestamp, StoredRecord)>,
}

impl DelayedQueue {
    pub(super) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            timer_at: None,
            turn_queued: false,
            cursor: Cursor::at(Offset::ZERO),
            ending: VecDeque::new(),
        }
    }

    pub(super) fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }
}

impl Broker {
    /// Keeps a message back until it is due. Returns its id, which is the offset of its record.
    pub(super) fn delay(&mut self, message: &NewMessage<'_>, due: Due) -> Offset {
        let id = self.store.append_delayed(self.now, due, message);
        self.enter_delayed(due.at, id);
        id
    }

    /// Takes in what waited when the broker ended.
    pub(super) fn recover_delayed(&mut self) {
        if Mutant::DelayedLostAtRestart.is_active() {
            return;
        }
        let known = self.store.state().delayed().iter();
        self.delayed.due = known.map(|(id, delayed)| (self.deadline_of(delayed), *id)).collect();
        self.set_delayed_timer();
    }

    /// Takes a message out that is not to be published. Returns whether one with this id waited.
    pub(super) fn cancel_delayed(&mut self, id: Offset) -> bool {
        let Some(delayed) = self.store.state().delayed().get(&id) else { return false };
        if !Mutant::DelayedCancelForgotten.is_active() {
            let deadline = self.deadline_of(delayed);
            self.delayed.due.remove(&(deadline, id));
            self.store.put(self.now, Row::Delayed(id, None));
        }
        true
    }

    /// When a message is due as time counts in this run.
    pub(super) fn deadline_of(&self, delayed: &Delayed) -> Timestamp {
        let forgiven = self.store.state().clock().forgiven_since(delayed.timestamp);
        delayed.due.at + if delayed.due.instant { Duration::ZERO } else { forgiven }
    }

    /// The timer: something may be due.
    pub(super) fn delayed_due(&mut self) {
        self.delayed.timer_at = None;
        self.queue_delayed_turn();
    }

    pub(super) fn queue_delayed_turn(&mut self) {
        if !std::mem::replace(&mut self.delayed.turn_queued, true) {
            self.turns.push_back(Turn::Delayed);
        }
    }

    /// Publishes what is due, as far as it can, within bounds.
    pub(super) fn turn_delayed(&mut self) {
        self.delayed.turn_queued = false;
        let mut cursor = std::mem::replace(&mut self.delayed.cursor, Cursor::at(Offset::ZERO));
        let walk = self.walk(|broker| broker.step_delayed(&mut cursor));
        self.delayed.cursor = cursor;
        if walk == Walk::CaughtUp {
            self.set_delayed_timer();
        }
        self.after_turn(Turn::Delayed, walk);
    }

    fn enter_delayed(&mut self, deadline: Timestamp, id: Offset) {
        self.delayed.due.insert((deadline, id));
        self.set_delayed_timer();
    }

    /// There is a timer for the first that is due, and no later.
    fn set_delayed_timer(&mut self) {
        let Some((first, _)) = self.delayed.due.first().copied() else { return };
        let early = Mutant::DelayedFiresEarly.is_active();
        let first = if early { first - Duration::from_secs(2) } else { first };
        if self.delayed.timer_at.is_none_or(|set| first < set) {
            self.delayed.timer_at = Some(first);
            self.set_far_timer(first, Timer::Delayed);
        }
    }

    fn step_delayed(&mut self, cursor: &mut Cursor) -> Walk {
        if self.publish_ended() {
            return Walk::More;
        }
        let held = self.storage_state() != StorageState::Ok || self.stopping.has_begun();
        if held {
            self.delayed.timer_at = Some(self.now + LOOK_AGAIN);
            self.timers.set(self.now + LOOK_AGAIN, Timer::Delayed);
        }
        if held || cursor.fetch.is_some() {
            let ended = !self.delayed.ending.is_empty();
            return if ended { Walk::WaitDurable } else { Walk::WaitDisk };
        }
        let full = self.delayed.ending.len() >= ENDING_MAX || self.is_backed_up();
        let next = self.next_delayed().filter(|_| !full);
        let Some((deadline, id, place)) = next else {
            let waits = full || !self.delayed.ending.is_empty();
            return if waits { Walk::WaitDurable } else { Walk::CaughtUp };
        };
        match self.find_record(Turn::Delayed, cursor, place) {
            Poll::Pending => return Walk::WaitDisk,
            Poll::Ready(record) => self.fire(id, deadline, record),
        }
        Walk::More
    }

    /// The first that is due: when, its id, and where its content is.
    fn next_delayed(&mut self) -> Option<(Timestamp, Offset, Offset)> {
        let early = Mutant::DelayedFiresEarly.is_active();
        let now = if early { self.now + Duration::from_secs(2) } else { self.now };
        loop {
            let (deadline, id) = *self.delayed.due.first().filter(|(at, _)| *at <= now)?;
            match self.store.state().delayed().get(&id) {
                Some(delayed) => return Some((deadline, id, delayed.offset)),
                None => self.delayed.due.remove(&(deadline, id)),
            };
        }
    }

    /// Ends the row of a message that is due, and publishes the message; at QoS 0 only once the end is durable.
    fn fire(&mut self, id: Offset, deadline: Timestamp, record: Option<StoredRecord>) {
        self.delayed.due.remove(&(deadline, id));
        let view = record.as_ref().and_then(MessageView::from_record);
        let qos = view.as_ref().map(|view| view.qos);
        match view {
            Some(view) if view.qos > QoS::AtMostOnce => self.publish_delayed(&view, deadline),
            Some(_) => {}
            None => {
                tracing::error!(%id, "a delayed message can't be read, and is given up");
                self.stats.drop_messages(Dropped::Damaged, 1);
            }
        }
        let twice = Mutant::DelayedFiresTwice.is_active();
        let end = if twice { id } else { self.store.put(self.now, Row::Delayed(id, None)) };
        if let (Some(QoS::AtMostOnce), Some(record)) = (qos, record) {
            self.delayed.ending.push_back((end.next(), deadline, record));
        }
    }

    /// Publishes the first message at QoS 0 whose row's end is durable; whether there was one.
    fn publish_ended(&mut self) -> bool {
        let released = self.released();
        let ended = self.delayed.ending.pop_front_if(|(after, ..)| *after <= released);
        let Some((_, deadline, record)) = ended else { return false };
        if let Some(view) = MessageView::from_record(&record) {
            self.publish_delayed(&view, deadline);
        }
        true
    }

    /// The message becomes one like any other. Its Message Expiry Interval counts from the moment it was due.
    fn publish_delayed(&mut self, view: &MessageView<'_>, deadline: Timestamp) {
        let late = self.now.since(deadline);
        let left =
            view.expiry_interval.map(|seconds| u64::from(seconds).saturating_sub(late.as_secs()));
        if left == Some(0) {
            let (reason, message) = (Dropped::Expired, Message::from(view));
            return self.undelivered.count(&mut self.stats, reason, &message, None);
        }
        let millis = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        self.stats.delayed_published += 1;
        self.stats.delayed_late_millis_max = self.stats.delayed_late_millis_max.max(millis);
        let full = view.retain && self.retains_enough(view.topic, view.payload);
        if full {
            self.stats.drop_messages(Dropped::RetainedFull, 1);
        }
        let message = NewMessage {
            topic: view.topic,
            payload: view.payload,
            qos: view.qos,
            retain: view.retain && !full,
            publisher: view.publisher,
            packet_id: None,
            expiry_interval: left.and_then(|left| u32::try_from(left).ok()),
            properties: view.properties,
        };
        self.publish(&message);
    }
}
