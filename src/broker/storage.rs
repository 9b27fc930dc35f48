//! What the disk still takes, and what is refused because of it (`docs/decisions/0005-full-disk.md`).
//!
//! ```text
//!            written out of the reserve             even the reserve is used up
//!   ┌────┐ ────────────────────────► ┌──────┐ ────────────────────────► ┌─────────┐
//!   │ Ok │                           │ Full │                           │ Waiting │
//!   └────┘ ◄──────────────────────── └──────┘ ◄──────────────────────── └─────────┘
//!      │      the reserve is made again  │        the batch was written      │
//!      └────────────── a write or a sync failed: ReadOnly, for good ─────────┘
//! ```

use std::time::Duration;

use crate::broker::Broker;
use crate::broker::Timer;
use crate::broker::Turn;
use crate::broker::close::Ending;
use crate::broker::event::Output;
use crate::broker::options::OnWriteFailure;
use crate::commitlog::StorageError;
use crate::mqtt::ClientId;
use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::Packet;
use crate::mqtt::ReasonCode;
use crate::mqtt::SubscriptionFilter;
use crate::mutant::Mutant;
use crate::session::Limits;
use crate::store::Durability;

/// How long to wait before it is looked again whether a full disk takes messages.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long to wait before a read that failed is tried again; doubled with each failure.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// How often the wait is doubled at most.
const READ_AGAIN_DOUBLED_MAX: u32 = 6;

/// What clients are told when the disk has failed.
const FAILED: &str = "the disk has failed";

/// What the disk still takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageState {
    /// Everything.
    Ok,
    /// What makes room: messages are refused.
    Full,
    /// Nothing, until there is space again.
    Waiting,
    /// Nothing any more.
    ReadOnly,
}

impl StorageState {
    /// Its name under `$SYS` and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Waiting => "waiting",
            Self::ReadOnly => "read-only",
        }
    }

    /// Why a message above QoS 0 is not taken, if it is not.
    pub(super) const fn refuses_message(self) -> Option<ReasonCode> {
        match self {
            Self::Ok => None,
            Self::Full | Self::Waiting => Some(ReasonCode::QuotaExceeded),
            Self::ReadOnly => Some(ReasonCode::ImplementationSpecificError),
        }
    }

    /// Whether nothing can become durable now.
    pub(super) const fn takes_nothing(self) -> bool {
        matches!(self, Self::Waiting | Self::ReadOnly)
    }
}

impl Broker {
    /// What the disk still takes.
    pub fn storage_state(&self) -> StorageState {
        self.commit.state()
    }

    /// The disk is full: messages are refused from now on, and it is looked after from time to time.
    pub(super) fn disk_is_full(&mut self) {
        if self.commit.set_full() {
            tracing::error!("the disk is full: publishes are refused until there is space");
            self.resume_held();
        }
        if self.commit.may_look_again() {
            self.timers.set(self.now + LOOK_AGAIN, Timer::Space);
        }
    }

    /// There is space again.
    pub(super) fn disk_has_space(&mut self) {
        if self.commit.set_roomy() {
            tracing::warn!("the disk has space again: publishes are taken");
        }
    }

    /// Looks whether there is space again: the batch that waits is tried again or, without one, the reserve.
    pub(super) fn space_due(&mut self) {
        self.commit.looks_again();
        let state = self.storage_state();
        if state == StorageState::Waiting {
            self.retry_commit();
        } else if state == StorageState::Full {
            self.retention_step();
            self.outputs.push_back(Output::Replenish);
        }
    }

    /// The reserve was made again, or could not be.
    pub(super) fn handle_replenished(&mut self, result: Result<(), StorageError>) {
        match result {
            Ok(()) => {
                self.disk_has_space();
                // It may have met the full disk while space was being set aside.
                self.retry_commit();
            }
            Err(error) if error.is_full() => self.disk_is_full(),
            Err(error) if error.is_failed_sync() => self.storage_failed(error),
            Err(error) => {
                tracing::error!(%error, "the reserve was not made");
                self.disk_is_full();
            }
        }
    }

    /// A write or sync failed, and nobody knows what is on the disk: nothing more is acknowledged.
    pub(super) fn storage_failed(&mut self, error: StorageError) {
        if Mutant::ServeAfterPoison.is_active() {
            return self.commit.promise(Durability::None);
        }
        tracing::error!(%error, "a write or sync failed: nothing more is acknowledged");
        self.commit.poison(error.clone());
        match self.options.on_write_failure {
            OnWriteFailure::Exit => self.outputs.push_back(Output::Poisoned(error)),
            OnWriteFailure::ReadOnly => self.begin_read_only(),
        }
    }

    fn begin_read_only(&mut self) {
        tracing::error!(
            "read-only from now on: publishes, subscriptions and kept sessions are refused"
        );
        self.store.freeze();
        for slot in std::mem::take(&mut self.gates) {
            self.end_unpromised(slot);
        }
        self.resume_held();
    }

    /// Ends a connection that waits for a promise which will not be made.
    fn end_unpromised(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.gate_queued = false;
        if connection.outbox.is_opening() {
            connection.outbox.end();
            let (reason, text) = (ReasonCode::ServerUnavailable, Some(FAILED));
            self.send(slot, &Packet::Connack(Box::new(Connack::new(reason))));
            if let Some(client) = self.client_at(slot) {
                self.detach(client, Ending::Ended(reason, text));
            }
            self.close(slot);
        } else if connection.outbox.is_gated() {
            connection.outbox.end();
            let reason = ReasonCode::ImplementationSpecificError;
            self.disconnect(slot, reason, Some(FAILED));
        }
    }

    /// Why a CONNECT that would have to wait for the disk is refused, if it is.
    pub(super) fn refuses_to_remember(
        &self,
        connect: &Connect,
        client_id: &ClientId,
    ) -> Option<(ReasonCode, &'static str)> {
        let refused = match self.storage_state() {
            StorageState::Ok | StorageState::Full => return None,
            StorageState::Waiting => (ReasonCode::QuotaExceeded, "the disk is full"),
            StorageState::ReadOnly => (ReasonCode::ServerUnavailable, FAILED),
        };
        let kept = Limits::negotiate(connect, &self.options.session).session_expiry > 0;
        let session = self.store.state().session(client_id);
        let known = session.is_some_and(|session| session.recorded || session.will.is_some());
        let ending = self.ended.get(client_id).is_some_and(|until| *until > self.released());
        (kept || known || ending || connect.will.is_some()).then_some(refused)
    }

    /// Why a SUBSCRIBE is refused that the disk would have to remember, if it is.
    pub(super) fn refuses_row(
        &self,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
    ) -> Option<ReasonCode> {
        let recorded = self.is_recorded(client_id) || filter.is_shared();
        match self.storage_state() {
            StorageState::Ok | StorageState::Full => None,
            StorageState::Waiting => recorded.then_some(ReasonCode::QuotaExceeded),
            // What comes behind the log's end is never durable, so nobody could catch up with it.
            StorageState::ReadOnly => (recorded || !filter.text().starts_with("$SYS"))
                .then_some(ReasonCode::ImplementationSpecificError),
        }
    }

    /// A read failed: who needs it asks again later, and less often each time.
    pub(super) fn read_again_later(&mut self, turn: Turn, ticket: u64, failures: u32) {
        let wait = READ_AGAIN * (1 << failures.min(READ_AGAIN_DOUBLED_MAX));
        self.timers.set(self.now + wait, Timer::ReadAgain(turn, ticket));
    }

    /// Lets whoever waits for this read ask again.
    pub(super) fn read_again(&mut self, turn: Turn, ticket: u64) {
        if let Some(cursor) = self.cursor(turn) {
            cursor.fetch.take_if(|awaited| *awaited == ticket);
        }
        self.queue(turn);
    }

    /// How an orderly end ends: with what has failed, if something has.
    pub(super) fn last_words(&self) -> Output {
        match self.commit.poison_error() {
            Some(error) => Output::Poisoned(error.clone()),
            None => Output::Stopped,
        }
    }
}
