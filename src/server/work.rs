//! Slow work, on threads of its own: commits, cold reads, password checks, checkpoints, cleaning.
//!
//! A worker takes a job, does it, and takes a turn on the core with the result. What waits is bounded by who asks: at
//! most one commit, one truncation or cleaning and one checkpoint are under way, and reads and checks are bounded by the number of
//! connections. Workers end when their queue is gone and empty; one that panics ends the server.

#![expect(clippy::disallowed_types, reason = "the threads of a pool share its queue")]

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::TryRecvError;
use std::thread;
use std::thread::JoinHandle;

use super::committer::Committer;
use super::driver::Driver;
use super::driver::PanicGuard;
use super::pacer::Pacer;
use crate::broker::event::Event;
use crate::broker::event::Output;
use crate::commitlog::PendingBatch;
use crate::commitlog::ReadRequest;
use crate::commitlog::Reader;
use crate::commitlog::Rewritten;
use crate::commitlog::Truncation;
use crate::store::Checkpoint;
use crate::store::Checkpointer;
use crate::store::Clean;
use crate::store::CleanDone;
use crate::store::Cleaner;

/// How much the writer wants to go before others, of -20 to 19.
const WRITER_NICENESS: i32 = -15;
/// How much password checks let others go first: a storm of logins is not to hold up messages.
const VERIFIER_NICENESS: i32 = 5;
/// How much the cleaner lets others go first.
const CLEANER_NICENESS: i32 = 10;
/// Threads that read what is not in memory any more.
const READERS: usize = 2;

/// Where slow work is done.
#[derive(Debug)]
pub(super) struct Work {
    committer: Arc<Committer>,
    writes: Sender<Write>,
    readers: Readers,
    checks: Sender<Check>,
    checkpoints: Sender<Checkpoint>,
    cleanings: Sender<Clean>,
}

/// The way to those who read.
#[derive(Clone, Debug)]
struct Readers {
    reads: Sender<Read>,
    /// To each of them.
    changes: Vec<Sender<Changed>>,
}

/// Files that are others now, or none.
#[derive(Clone, Debug)]
enum Changed {
    Truncated(Truncation),
    Cleaned(Rewritten),
}

/// What the workers work with.
pub(super) struct Tools {
    pub(super) committer: Committer,
    pub(super) reader: Reader,
    pub(super) checkpointer: Checkpointer,
    pub(super) cleaner: Cleaner,
    /// How many bytes a second the cleaner may read and write.
    pub(super) clean_rate: u64,
    /// Threads that check passwords.
    pub(super) verifiers: usize,
}

enum Write {
    Commit(PendingBatch),
    /// Look after the log.
    Maintain,
    Truncate(Truncation),
    Replenish,
}

enum Read {
    Fetch {
        ticket: u64,
        request: ReadRequest,
    },
    /// Files have changed: look which.
    Forget,
}

/// A password check, with its ticket in it.
type Check = Box<dyn FnOnce() -> Event<'static> + Send>;

impl Work {
    /// Starts the threads and has the driver give its work to them. They end after [`Driver::dismiss`].
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(driver: &Arc<Driver>, tools: Tools) -> io::Result<Vec<JoinHandle<()>>> {
        let Tools { committer, reader, checkpointer, cleaner, clean_rate, verifiers } = tools;
        let committer = Arc::new(committer);
        let (writes, waiting_writes) = mpsc::channel();
        let (reads, waiting_reads) = mpsc::channel();
        let (checks, waiting_checks) = mpsc::channel();
        let (checkpoints, waiting_checkpoints) = mpsc::channel();
        let (cleanings, waiting_cleanings) = mpsc::channel();
        let mut threads = Vec::new();
        let (at, shared) = (Arc::clone(driver), Arc::clone(&committer));
        threads.push(start(driver, "tidelog-writer", move || {
            write_all(&at, &shared, &waiting_writes);
        })?);
        let at = Arc::clone(driver);
        threads.push(start(driver, "tidelog-state", move || {
            checkpoint_all(&at, checkpointer, &waiting_checkpoints);
        })?);
        let waiting_reads = Arc::new(Mutex::new(waiting_reads));
        let mut changes = Vec::new();
        for _ in 0..READERS {
            let (at, waiting, reader) =
                (Arc::clone(driver), Arc::clone(&waiting_reads), reader.another());
            let (teller, told) = mpsc::channel();
            changes.push(teller);
            let work = move || read_all(&at, reader, &waiting, &told);
            threads.push(start(driver, "tidelog-reader", work)?);
        }
        let readers = Readers { reads, changes };
        let (at, told) = (Arc::clone(driver), readers.clone());
        threads.push(start(driver, "tidelog-cleaner", move || {
            clean_all(&at, cleaner, clean_rate, &told, &waiting_cleanings);
        })?);
        let waiting_checks = Arc::new(Mutex::new(waiting_checks));
        for _ in 0..verifiers.max(1) {
            let (at, waiting) = (Arc::clone(driver), Arc::clone(&waiting_checks));
            let work = move || check_all(&at, &waiting);
            threads.push(start(driver, "tidelog-verify", work)?);
        }
        driver.employ(Self { committer, writes, readers, checks, checkpoints, cleanings });
        Ok(threads)
    }

    /// Who writes and syncs.
    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.committer
    }

    /// Gives a commit to the thread that may wait for the disk. Never waits.
    pub(super) fn commit(&self, batch: PendingBatch) {
        self.write(Write::Commit(batch));
    }

    /// Has the log looked after, unless it is being. Never waits.
    pub(super) fn maintain(&self) {
        if self.committer.begins_maintenance() {
            self.write(Write::Maintain);
        }
    }

    fn write(&self, write: Write) {
        if self.writes.send(write).is_err() {
            tracing::error!("the writer is gone");
        }
    }

    /// Gives a job to a worker. Never waits.
    pub(super) fn begin(&self, output: Output) {
        let taken = match output {
            Output::Truncate(truncation) => {
                self.readers.tell(&Changed::Truncated(truncation.clone()));
                self.writes.send(Write::Truncate(truncation)).is_ok()
            }
            Output::Replenish => self.writes.send(Write::Replenish).is_ok(),
            Output::Fetch { ticket, request } => {
                self.readers.reads.send(Read::Fetch { ticket, request }).is_ok()
            }
            Output::Verify { ticket, job } => {
                let check = Box::new(move || Event::Verified { ticket, verdict: job.run() });
                self.checks.send(check).is_ok()
            }
            Output::Checkpoint(checkpoint) => self.checkpoints.send(checkpoint).is_ok(),
            Output::Clean(clean) => self.cleanings.send(clean).is_ok(),
            Output::Write { .. }
            | Output::Close { .. }
            | Output::Pause { .. }
            | Output::Resume { .. }
            | Output::Poisoned(_)
            | Output::Stopped => true,
        };
        if !taken {
            tracing::error!("a worker is gone");
        }
    }
}

impl Readers {
    /// Has the readers let go of files that are others now, or none, so that their space comes back.
    fn tell(&self, changed: &Changed) {
        for reader in &self.changes {
            let told = reader.send(changed.clone()).is_ok();
            if !told || self.reads.send(Read::Forget).is_err() {
                tracing::error!("a reader is gone");
            }
        }
    }
}

/// Starts a thread whose panic ends the server.
fn start(
    driver: &Arc<Driver>,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let driver = Arc::clone(driver);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = PanicGuard(&driver);
        work();
    })
}

fn write_all(driver: &Driver, committer: &Committer, waiting: &Receiver<Write>) {
    let priority = if set_niceness(WRITER_NICENESS) { "raised" } else { "ordinary" };
    tracing::info!(priority, "the thread that waits for a slow disk");
    while let Some(write) = next_write(committer, waiting) {
        match write {
            Write::Commit(batch) => {
                let (result, time) = driver.timed(|| committer.commit(&batch));
                committer.took(time);
                driver.turn([Event::Committed(result)]);
            }
            Write::Truncate(truncation) => {
                let result = committer.writer().truncate(&truncation);
                driver.turn([Event::Truncated(result)]);
            }
            Write::Replenish => {
                let result = committer.writer().replenish();
                driver.turn([Event::Replenished(result)]);
            }
            Write::Maintain => {}
        }
    }
}

/// The next write. Until it comes the log is looked after.
fn next_write(committer: &Committer, waiting: &Receiver<Write>) -> Option<Write> {
    loop {
        match waiting.try_recv() {
            Ok(write) => return Some(write),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        let maintained = committer.writer().maintain();
        match maintained {
            Ok(true) => {}
            Ok(false) => {
                committer.maintained();
                return waiting.recv().ok();
            }
            Err(error) => {
                tracing::warn!(%error, "the log was not looked after");
                committer.maintained();
                return waiting.recv().ok();
            }
        }
    }
}

fn checkpoint_all(driver: &Driver, mut checkpointer: Checkpointer, waiting: &Receiver<Checkpoint>) {
    while let Ok(checkpoint) = waiting.recv() {
        driver.turn([Event::Checkpointed(checkpointer.run(&checkpoint))]);
    }
}

/// Cleans what it is given.
fn clean_all(
    driver: &Driver,
    mut cleaner: Cleaner,
    rate: u64,
    readers: &Readers,
    waiting: &Receiver<Clean>,
) {
    set_niceness(CLEANER_NICENESS);
    let mut pacer = Pacer::new(rate);
    while let Ok(clean) = waiting.recv() {
        let result = cleaner.run(clean, &mut |bytes| pacer.pass(bytes, || driver.has_ended()));
        if let Some(rewritten) = result.as_ref().ok().and_then(CleanDone::rewritten) {
            readers.tell(&Changed::Cleaned(rewritten.clone()));
        }
        driver.turn([Event::Cleaned(result)]);
    }
}

fn read_all(
    driver: &Driver,
    mut reader: Reader,
    waiting: &Mutex<Receiver<Read>>,
    changed: &Receiver<Changed>,
) {
    while let Some(read) = next(waiting) {
        for changed in changed.try_iter() {
            match changed {
                Changed::Truncated(truncation) => reader.forget(&truncation),
                Changed::Cleaned(rewritten) => reader.forget_cleaned(&rewritten),
            }
        }
        if let Read::Fetch { ticket, request } = read {
            driver.turn([Event::Fetched { ticket, result: reader.read(&request) }]);
        }
    }
}

fn check_all(driver: &Driver, waiting: &Mutex<Receiver<Check>>) {
    set_niceness(VERIFIER_NICENESS);
    while let Some(check) = next(waiting) {
        driver.turn([check()]);
    }
}

/// The next job of a pool: one of its threads waits for it, the others for that one.
fn next<J>(waiting: &Mutex<Receiver<J>>) -> Option<J> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Sets how much this thread lets others go first. Returns whether it may. Elsewhere than on Linux this would be said of the
/// whole process, so it is not.
fn set_niceness(niceness: i32) -> bool {
    cfg!(target_os = "linux") && rustix::process::setpriority_process(None, niceness).is_ok()
}
