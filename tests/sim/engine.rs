//! The broker with its store on a disk in memory, and its slow work done when asked: what the simulation and the golden
//! scripts drive.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidelog::access;
use tidelog::access::Access;
use tidelog::access::PasswordJob;
use tidelog::broker::Broker;
use tidelog::broker::Event;
use tidelog::broker::Options;
use tidelog::broker::Origin;
use tidelog::broker::Output;
use tidelog::broker::StorageState;
use tidelog::commitlog::Offset;
use tidelog::commitlog::PendingBatch;
use tidelog::commitlog::ReadRequest;
use tidelog::commitlog::Reader;
use tidelog::commitlog::StoredRecord;
use tidelog::commitlog::Truncation;
use tidelog::commitlog::Writer;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::store;
use tidelog::store::Checkpoint;
use tidelog::store::Checkpointer;
use tidelog::store::Clean;
use tidelog::store::CleanDone;
use tidelog::store::Cleaner;
use tidelog::store::Delayed;
use tidelog::store::MemoryStateStore;
use tidelog::store::Opened;
use tidelog::store::RecoverySummary;
use tidelog::store::Store;
use tidelog::store::StoreError;
use tidelog::store::StoredMessage;
use tidelog::time::Timestamp;

/// What an engine is made with, again after each crash.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) broker: Options,
    pub(crate) store: store::Options,
    /// The texts of the password file and the ACL file.
    pub(crate) passwords: Option<String>,
    pub(crate) acl: Option<String>,
}

/// Slow work that the broker asked for.
#[derive(Debug)]
pub(crate) enum Work {
    Commit(PendingBatch),
    Fetch(u64, ReadRequest),
    Verify(u64, PasswordJob),
    Checkpoint(Checkpoint),
    Truncate(Truncation),
    Replenish,
    Clean(Clean),
}

/// A broker that runs.
pub(crate) struct Engine {
    broker: Broker,
    writer: Writer,
    reader: Reader,
    checkpointer: Checkpointer,
    cleaner: Cleaner,
    durability: store::Durability,
    /// The world's time and the broker's own when it started.
    started: (Timestamp, Timestamp),
}

impl Engine {
    /// Opens what is on the disk, and starts a broker on it, whose wall clock may not be the world's.
    pub(crate) fn open(
        disk: &MemoryDisk,
        states: &MemoryStateStore,
        settings: &Settings,
        now: Timestamp,
        wall: Timestamp,
    ) -> Result<(Self, RecoverySummary), StoreError> {
        let opened = Store::open(
            Arc::new(disk.clone()),
            Box::new(states.clone()),
            settings.store.clone(),
            wall,
            &mut |_| {},
        )?;
        let Opened { store, writer, reader, checkpointer, cleaner, recovery, now: own } = opened;
        let options = access::Options { remember_passwords: Duration::ZERO, secret: [7; 32] };
        let access =
            Access::new(options, settings.passwords.as_deref(), settings.acl.as_deref()).unwrap();
        let broker = Broker::new(settings.broker.clone(), store, access, [9; 32], own);
        let durability = settings.store.durability;
        let started = (now, own);
        Ok((Self { broker, writer, reader, checkpointer, cleaner, durability, started }, recovery))
    }

    /// Hands an event in and takes all outputs.
    pub(crate) fn handle(&mut self, now: Timestamp, event: Event<'_>) -> Vec<Output> {
        let now = self.own_time(now);
        self.broker.handle(now, event);
        std::iter::from_fn(|| self.broker.poll_output()).collect()
    }

    /// Whether [`Engine::take_commit`] has something to give.
    pub(crate) fn wants_commit(&self) -> bool {
        self.broker.wants_commit()
    }

    /// What is to be made durable.
    pub(crate) fn take_commit(&mut self) -> Option<Work> {
        self.broker.take_commit().map(Work::Commit)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        let (world, own) = self.started;
        self.broker.poll_timeout().map(|timeout| world + timeout.since(own))
    }

    /// The broker's own time.
    pub(crate) fn own_time(&self, now: Timestamp) -> Timestamp {
        let (world, own) = self.started;
        own + now.since(world)
    }

    /// What the disk still takes, as the broker sees it.
    pub(crate) fn storage_state(&self) -> StorageState {
        self.broker.storage_state()
    }

    /// What `$SYS` says.
    pub(crate) fn sys_values(&self) -> Vec<(String, String)> {
        self.broker.sys_values()
    }

    /// Bytes that wait to become durable.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.broker.store().pending_bytes()
    }

    /// The delayed messages that a client may know of, and that are in memory: ids and payloads.
    pub(crate) fn delayed(&self) -> Vec<(u64, StoredMessage)> {
        let store = self.broker.store();
        let durable = |(id, _): &(&Offset, &Delayed)| **id < store.durable_offset();
        let known = store.state().delayed().iter().filter(durable);
        known.filter_map(|(id, place)| Some((id.as_u64(), store.peek(place.offset)?))).collect()
    }

    /// How long ago, in this life, the first delayed message was due that is not published.
    pub(crate) fn delayed_overdue(&self, now: Timestamp) -> Duration {
        let (now, (_, started)) = (self.own_time(now), self.started);
        let state = self.broker.store().state();
        let late = state.delayed().values().map(|delayed| {
            let forgiven = state.clock().forgiven_since(delayed.timestamp);
            now.since((delayed.due.at + forgiven).max(started))
        });
        late.max().unwrap_or_default()
    }

    /// Does slow work and says what came out.
    pub(crate) fn run(&mut self, work: Work) -> Event<'static> {
        match work {
            Work::Commit(batch) => {
                Event::Committed(self.writer.commit(&batch, self.durability.commit()))
            }
            Work::Fetch(ticket, request) => {
                Event::Fetched { ticket, result: self.reader.read(&request) }
            }
            Work::Verify(ticket, job) => Event::Verified { ticket, verdict: job.run() },
            Work::Checkpoint(checkpoint) => Event::Checkpointed(self.checkpointer.run(&checkpoint)),
            Work::Truncate(truncation) => {
                self.reader.forget(&truncation);
                Event::Truncated(self.writer.truncate(&truncation))
            }
            Work::Replenish => Event::Replenished(self.writer.replenish()),
            Work::Clean(clean) => {
                let result = self.cleaner.run(clean, &mut |_| ControlFlow::Continue(()));
                if let Some(rewritten) = result.as_ref().ok().and_then(CleanDone::rewritten) {
                    self.reader.forget_cleaned(rewritten);
                }
                Event::Cleaned(result)
            }
        }
    }

    /// Does a step of what the writer does between commits.
    pub(crate) fn maintain(&mut self) {
        // What failed here is made again when it is missed.
        let _ = self.writer.maintain();
    }

    /// Every record of the log, oldest first.
    pub(crate) fn records(&mut self, visit: &mut dyn FnMut(StoredRecord)) {
        self.reader.replay(Offset::ZERO, visit).unwrap();
    }
}

/// An output, sorted.
pub(crate) enum Sorted {
    /// Slow work.
    Work(Work),
    /// What takes no time.
    Other(Output),
}

/// Sorts out the slow work.
pub(crate) fn work_of(output: Output) -> Sorted {
    match output {
        Output::Fetch { ticket, request } => Sorted::Work(Work::Fetch(ticket, request)),
        Output::Verify { ticket, job } => Sorted::Work(Work::Verify(ticket, job)),
        Output::Checkpoint(checkpoint) => Sorted::Work(Work::Checkpoint(checkpoint)),
        Output::Truncate(truncation) => Sorted::Work(Work::Truncate(truncation)),
        Output::Replenish => Sorted::Work(Work::Replenish),
        Output::Clean(clean) => Sorted::Work(Work::Clean(clean)),
        other @ (Output::Write { .. }
        | Output::Close { .. }
        | Output::Pause { .. }
        | Output::Resume { .. }
        | Output::Poisoned(_)
        | Output::Stopped) => Sorted::Other(other),
    }
}

/// Where every connection comes from.
pub(crate) fn origin() -> Origin {
    Origin {
        listener: "memory".into(),
        peer: "memory".into(),
        anonymous: true,
        certificate_name: None,
    }
}
