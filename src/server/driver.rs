//! Who drives the core: everybody who has news for it takes a turn, one at a time.
//!
//! ```text
//!  connection task ──┐                 ┌─► mailboxes ─► connection tasks
//!  alarm task ───────┼─► turn (lock) ──┼─► work: fetch, verify, checkpoint, truncate, clean
//!  worker threads ───┤                 ├─► the end: stopped, poisoned
//!  commit task ──────┘                 └─► commit due ─► commit task, or, while the disk is slow, work
//! ```
//!
//! A turn hands events in, takes all outputs and passes each on without waiting for anything; whom to wake is found
//! out under the lock and done after it. Nobody else knows that there is a lock: a thread of its own, fed in batches,
//! could stand behind [`Driver::turn`] instead.

#![expect(
    clippy::disallowed_types,
    reason = "those who take turns on the core share it through a mutex"
)]

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::task;
use tokio::time;

use super::clock::Clock;
use super::committer::CommitEnd;
use super::committer::Committer;
use super::mailbox::Mailbox;
use super::work::Work;
use crate::broker::event::ConnectionId;
use crate::broker::event::Event;
use crate::broker::event::Output;
use crate::collections::Map;
use crate::commitlog::PendingBatch;
use crate::commitlog::StorageError;
use crate::time::Timestamp;

/// How often a commit lets go first who is ready: those who wait for the thread, and those whom the system then says are ready.
const YIELDS: usize = 2;

/// What is driven: [`Broker`](crate::broker::Broker), or something simpler to test transports with.
pub trait Core: Send {
    /// Takes an event. `now` never decreases from call to call.
    fn handle(&mut self, now: Timestamp, event: Event<'_>);

    /// The next thing to do, in order; `None` until the next event.
    fn poll_output(&mut self) -> Option<Output>;

    /// When to come back at the latest, with [`Event::Tick`].
    fn poll_timeout(&self) -> Option<Timestamp>;

    /// Whether [`Core::take_commit`] has something to give.
    fn wants_commit(&self) -> bool;

    /// What is to be made durable, then [`Event::Committed`].
    fn take_commit(&mut self) -> Option<PendingBatch>;
}

/// What is driven after the end.
struct NoCore;

impl Core for NoCore {
    fn handle(&mut self, _now: Timestamp, _event: Event<'_>) {}

    fn poll_output(&mut self) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    fn wants_commit(&self) -> bool {
        false
    }

    fn take_commit(&mut self) -> Option<PendingBatch> {
        None
    }
}

/// Why a core is driven no more.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It was asked to stop and has.
    Stopped,
    /// The store takes no more writes.
    Poisoned(StorageError),
    /// A thread panicked while it held the core or worked for it.
    Panicked,
}

/// The core, and how to reach everything around it.
pub(super) struct Driver {
    clock: Clock,
    turn: Mutex<Turn>,
    /// Says that the alarm is to go off earlier than it was set for.
    earlier: Notify,
    /// Says that the core wants a commit.
    commit_due: Notify,
    end: watch::Sender<Option<End>>,
    connections: AtomicU64,
}

/// What whoever has the turn works with.
struct Turn {
    core: Box<dyn Core>,
    mailboxes: Map<ConnectionId, Arc<Mailbox>>,
    /// Where slow work is done; gone after the end.
    work: Option<Work>,
    /// When the alarm goes off.
    alarm: Option<Timestamp>,
    /// The commit task was told, and will come.
    commit_coming: bool,
    wakers: Vec<Waker>,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Driver {
    /// Drives `core`. Slow work is refused until [`Driver::employ`].
    pub(super) fn new(clock: Clock, core: Box<dyn Core>) -> Arc<Self> {
        let turn = Turn {
            core,
            mailboxes: Map::default(),
            work: None,
            alarm: None,
            commit_coming: false,
            wakers: Vec::new(),
        };
        Arc::new(Self {
            clock,
            turn: Mutex::new(turn),
            earlier: Notify::new(),
            commit_due: Notify::new(),
            end: watch::Sender::new(None),
            connections: AtomicU64::new(0),
        })
    }

    /// Says where slow work is done from now on.
    pub(super) fn employ(&self, work: Work) {
        if let Ok(mut turn) = self.turn.lock() {
            turn.work = Some(work);
        }
    }

    /// A number for a new connection, and where its bytes and orders will be.
    pub(super) fn connect(&self) -> (ConnectionId, Arc<Mailbox>) {
        let connection = ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed) + 1);
        let mailbox = Arc::new(Mailbox::default());
        if let Ok(mut turn) = self.turn.lock() {
            turn.mailboxes.insert(connection, Arc::clone(&mailbox));
        }
        (connection, mailbox)
    }

    /// Hands events to the core and passes on what it wants done. After the end nothing happens.
    pub(super) fn turn<'a>(&self, events: impl IntoIterator<Item = Event<'a>>) {
        if self.has_ended() {
            return;
        }
        let _guard = PanicGuard(self);
        let Ok(mut turn) = self.turn.lock() else { return self.finish(End::Panicked) };
        let now = self.clock.now();
        for event in events {
            turn.take(now, event, |end| self.finish(end));
        }
        let timeout = turn.core.poll_timeout();
        if timeout.is_some_and(|timeout| turn.alarm.is_none_or(|alarm| timeout < alarm)) {
            turn.alarm = timeout;
            self.earlier.notify_one();
        }
        let commit_due = turn.see_to_commit();
        let mut wakers = std::mem::take(&mut turn.wakers);
        drop(turn);
        if commit_due {
            self.commit_due.notify_one();
        }
        for waker in wakers.drain(..) {
            waker.wake();
        }
    }

    /// Brings the end about, if it was not before: work under way is finished, no more is begun.
    pub(super) fn finish(&self, end: End) {
        self.end.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(end);
            }
            first
        });
    }

    /// Lets the workers go, and the core with all that it holds. The workers end once what was given to them is done.
    pub(super) fn dismiss(&self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut turn.core, Box::new(NoCore));
        turn.work = None;
        turn.mailboxes = Map::default();
        drop(turn);
        drop(old);
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            Ok(None) | Err(_) => End::Panicked,
        }
    }

    /// Whether the end has come.
    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Commits when the core wants it, until the end.
    pub(super) async fn run_commits(&self) {
        let mut end = pin!(self.ended());
        loop {
            tokio::select! {
                () = self.commit_due.notified() => {}
                _ = &mut end => return,
            }
            // Who is ready goes first: what they append shares the sync.
            for _ in 0..YIELDS {
                task::yield_now().await;
            }
            self.commit();
        }
    }

    /// Commits what waits, here, or has it done if somebody else has the writer.
    fn commit(&self) {
        let _guard = PanicGuard(self);
        let Some((batch, committer)) = self.take_commit() else { return };
        let (end, time) = self.timed(|| committer.try_commit(&batch));
        let Some(CommitEnd { result, wants_maintenance }) = end else {
            return self.give_work(|work| work.commit(batch));
        };
        committer.took(time);
        if wants_maintenance {
            self.give_work(Work::maintain);
        }
        self.turn([Event::Committed(result)]);
    }

    fn take_commit(&self) -> Option<(PendingBatch, Arc<Committer>)> {
        let mut turn = self.turn.lock().ok()?;
        turn.commit_coming = false;
        let committer = Arc::clone(turn.work.as_ref()?.committer());
        Some((turn.core.take_commit()?, committer))
    }

    fn give_work(&self, give: impl FnOnce(&Work)) {
        if let Some(work) = self.turn.lock().ok().as_ref().and_then(|turn| turn.work.as_ref()) {
            give(work);
        }
    }

    /// Does something and says how long it took.
    pub(super) fn timed<T>(&self, task: impl FnOnce() -> T) -> (T, Duration) {
        let begun = self.clock.now();
        let done = task();
        (done, self.clock.now().since(begun))
    }

    /// Ticks when the core wants it, until the end.
    pub(super) async fn run_alarm(&self) {
        while !self.has_ended() {
            match self.set_alarm().map(|alarm| self.clock.until(alarm)) {
                Some(wait) if wait.is_zero() => {
                    self.turn([Event::Tick]);
                    task::yield_now().await;
                }
                Some(wait) => {
                    tokio::select! {
                        () = time::sleep(wait) => self.turn([Event::Tick]),
                        () = self.earlier.notified() => {}
                        _ = self.ended() => {}
                    }
                }
                None => {
                    tokio::select! {
                        () = self.earlier.notified() => {}
                        _ = self.ended() => {}
                    }
                }
            }
        }
    }

    /// Sets the alarm to what the core wants now.
    fn set_alarm(&self) -> Option<Timestamp> {
        let Ok(mut turn) = self.turn.lock() else {
            self.finish(End::Panicked);
            return None;
        };
        turn.alarm = turn.core.poll_timeout();
        turn.alarm
    }
}

/// Brings the end about when its thread panics.
pub(super) struct PanicGuard<'a>(pub(super) &'a Driver);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.finish(End::Panicked);
        }
    }
}

impl Turn {
    /// Sees to a commit, if the core wants one. Returns whether the commit task has to be told.
    fn see_to_commit(&mut self) -> bool {
        if self.commit_coming || !self.core.wants_commit() {
            return false;
        }
        let Some(work) = &self.work else { return false };
        self.commit_coming = work.committer().is_quick();
        if !self.commit_coming
            && let Some(batch) = self.core.take_commit()
        {
            work.commit(batch);
        }
        self.commit_coming
    }

    fn take(&mut self, now: Timestamp, event: Event<'_>, end: impl Fn(End)) {
        let closed =
            if let Event::Closed { connection } = &event { Some(*connection) } else { None };
        self.core.handle(now, event);
        while let Some(output) = self.core.poll_output() {
            self.pass_on(output, &end);
        }
        if let Some(connection) = closed {
            self.mailboxes.remove(&connection);
        }
    }

    fn pass_on(&mut self, output: Output, end: &impl Fn(End)) {
        match output {
            Output::Write { connection, chunks } => {
                self.post(connection, |mailbox| mailbox.write(chunks));
            }
            Output::Close { connection } => self.post(connection, Mailbox::close),
            Output::Pause { connection } => self.post(connection, |mailbox| {
                mailbox.pause();
                None
            }),
            Output::Resume { connection } => self.post(connection, Mailbox::resume),
            Output::Poisoned(error) => end(End::Poisoned(error)),
            Output::Stopped => end(End::Stopped),
            work @ (Output::Fetch { .. }
            | Output::Verify { .. }
            | Output::Checkpoint(_)
            | Output::Truncate(_)
            | Output::Replenish
            | Output::Clean(_)) => {
                if let Some(place) = &self.work {
                    place.begin(work);
                }
            }
        }
    }

    fn post(&mut self, connection: ConnectionId, put: impl FnOnce(&Mailbox) -> Option<Waker>) {
        if let Some(mailbox) = self.mailboxes.get(&connection) {
            self.wakers.extend(put(mailbox));
        }
    }
}
