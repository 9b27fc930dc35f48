//! Opens the store: the checkpoint, then the log from there on; or the whole log, when there is no checkpoint to trust.

use std::sync::Arc;

use crate::commitlog::Damage;
use crate::commitlog::Log;
use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::Reader;
use crate::commitlog::Record;
use crate::commitlog::RecoveryProgress;
use crate::commitlog::RecoveryReport;
use crate::commitlog::StoredRecord;
use crate::commitlog::Writer;
use crate::commitlog::disk::Disk;
use crate::store::Checkpointer;
use crate::store::Cleaner;
use crate::store::ClockFound;
use crate::store::Durability;
use crate::store::Kind;
use crate::store::MessageView;
use crate::store::Options;
use crate::store::Row;
use crate::store::StateError;
use crate::store::StateStore;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::appended;
use crate::store::checkpoint::Checkpoints;
use crate::store::checkpoint::Meta;
use crate::store::checkpoint::SCHEMA;
use crate::store::checkpoint::mark;
use crate::store::clean::Cleaning;
use crate::store::found;
use crate::store::message;
use crate::store::state::Changes;
use crate::store::state::State;
use crate::time::Timestamp;

/// After a replay of this many records the checkpoint is brought up to date before anybody waits for the broker.
const REPLAYED_UNSAVED_MAX: u64 = 100_000;

/// How often progress is told during a replay: every so many records.
const REPLAY_STEP: u64 = 65_536;

/// Everything that an opened store consists of.
pub struct Opened {
    /// The core's part.
    pub store: Store,
    /// Writes batches.
    pub writer: Writer,
    /// Reads what is not in memory.
    pub reader: Reader,
    /// Writes checkpoints.
    pub checkpointer: Checkpointer,
    /// Takes dead records out of the log.
    pub cleaner: Cleaner,
    /// What was found.
    pub recovery: RecoverySummary,
    /// What time it is from here on: never before anything in the log.
    pub now: Timestamp,
}

/// How far opening has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenProgress {
    /// The log is being opened.
    Log(RecoveryProgress),
    /// The state is being made from the log.
    Replay {
        /// The first offset that is read.
        from: Offset,
        /// Everything below was read.
        offset: Offset,
        /// The end of the log.
        next_offset: Offset,
        /// How many records were read.
        records: u64,
        /// The bytes of their keys and values.
        bytes: u64,
    },
}

/// What became of the checkpoint.
#[derive(Clone, Debug)]
pub enum CheckpointUse {
    /// The state was taken from it, and the log was read from this offset on.
    Used {
        /// Everything below was in the checkpoint.
        offset: Offset,
    },
    /// The state was made from the whole log.
    Rebuilt(RebuildReason),
}

/// Why a checkpoint was not used.
#[derive(Clone, Debug)]
pub enum RebuildReason {
    /// There was none.
    Missing,
    /// Its files did not open; they are kept under this name.
    Damaged {
        /// The name in the directory above.
        moved_aside: Box<str>,
    },
    /// Another version of the program wrote it.
    OtherSchema {
        /// The schema found.
        found: u32,
    },
    /// It says more than the log.
    AheadOfLog {
        /// The checkpoint's offset.
        checkpoint: Offset,
        /// The end of the log.
        next_offset: Offset,
    },
    /// The log begins after it.
    BehindLog {
        /// The checkpoint's offset.
        checkpoint: Offset,
        /// The start of the log.
        start_offset: Offset,
    },
    /// The cleaner has taken out records that it would have to be brought up to date with.
    BehindCleaner {
        /// The checkpoint's offset.
        checkpoint: Offset,
        /// Below this offset records were taken out.
        cleaned_to: Offset,
    },
    /// It belongs to another log.
    OtherLog,
    /// Some of its rows could not be read.
    Unreadable {
        /// How many.
        rows: u64,
    },
    /// The state store failed while it was read.
    Failed {
        /// How.
        error: StateError,
    },
}

/// What opening found.
#[derive(Clone, Debug)]
pub struct RecoverySummary {
    /// What the log found: offsets, segments, the torn tail that was cut, damage.
    pub log: RecoveryReport,
    /// Damage that was met while the records were read.
    pub damage: Vec<Damage>,
    /// What became of the checkpoint.
    pub checkpoint: CheckpointUse,
    /// What was damaged in the state store and is kept under this name, out of the way.
    pub moved_aside: Option<Box<str>>,
    /// A new checkpoint could not be written; the broker runs without until one can.
    pub checkpoint_error: Option<StateError>,
    /// How many records were read.
    pub records_replayed: u64,
    /// How many of them this version can't read; they are left out of the state.
    pub records_unreadable: u64,
    /// How the wall clock and the log agree.
    pub clock: ClockFound,
    /// Sessions there are.
    pub sessions: usize,
    /// Subscriptions there are.
    pub subscriptions: usize,
    /// Shared groups there are.
    pub groups: usize,
    /// Retained messages there are.
    pub retained: usize,
    /// Messages that are kept back until they are due.
    pub delayed: usize,
}

impl Store {
    /// Opens the store, or makes a new one. `now` is the wall's time.
    ///
    /// A checkpoint that is missing, damaged, of another log or ahead of the log costs a read of the whole log, and the
    /// summary says so. So does damage in the log: the state is made of what is there.
    ///
    /// # Errors
    /// [`StoreError`] when the log is in use, of a newer format or not readable, or when no state store can be made otherwise than
    /// for want of space: on a full disk the state is made from the log, and the checkpoint when there is space.
    pub fn open(
        disk: Arc<dyn Disk>,
        state_store: Box<dyn StateStore>,
        options: Options,
        now: Timestamp,
        progress: &mut dyn FnMut(&OpenProgress),
    ) -> Result<Opened, StoreError> {
        let options = with_room(options);
        let (log, writer, mut reader, report) = Log::open(disk, options.log.clone(), &mut |log| {
            progress(&OpenProgress::Log(log.clone()));
        })?;
        let mut checkpointer = Checkpointer::new(state_store);
        let mut fold = Fold::default();
        let checkpoint = fold.start(&mut checkpointer, &log, &mut reader, &report)?;
        fold.replay(&mut reader, &report, &checkpoint, progress)?;
        // Without a sync nothing says that the end of the log was on the disk before the checkpoint was.
        let synced = options.durability == Durability::Fsync;
        fold.damage.extend(found::lost_end(&checkpoint).filter(|_| synced));
        fold.damage.extend(found::lost_front(&fold.state, report.start_offset));
        let mut store = Self::recovered(log, options, &checkpoint, fold.state, fold.changes);
        let mut recovery = RecoverySummary {
            damage: fold.damage,
            moved_aside: fold.moved_aside,
            checkpoint_error: None,
            clock: ClockFound::Agrees,
            records_replayed: fold.replayed,
            records_unreadable: fold.unreadable,
            sessions: store.state.sessions().filter(|(_, state)| state.session.is_some()).count(),
            subscriptions: store.state.sessions().map(|(_, state)| state.subscriptions.len()).sum(),
            groups: store.state.groups().len(),
            retained: store.state.retained().len(),
            delayed: store.state.delayed().len(),
            log: report,
            checkpoint,
        };
        store.save_recovered(&mut checkpointer, &mut recovery);
        let (now, clock) = store.take_clock(now);
        recovery.clock = clock;
        store.begin(now);
        let cleaner = Cleaner::new(writer.cleaner());
        Ok(Opened { store, writer, reader, checkpointer, cleaner, recovery, now })
    }

    fn recovered(
        log: Log,
        options: Options,
        checkpoint: &CheckpointUse,
        state: State,
        changes: Changes,
    ) -> Self {
        let checkpoints = match checkpoint {
            CheckpointUse::Used { offset } => Checkpoints::resumed(*offset),
            CheckpointUse::Rebuilt(_) => Checkpoints::none(),
        };
        Self {
            log,
            state,
            options,
            changes,
            checkpoints,
            carrying: None,
            cleaning: Cleaning::default(),
            contents_lost: 0,
            frozen: false,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Saves the work of a long recovery, so that the next one is short.
    fn save_recovered(&mut self, checkpointer: &mut Checkpointer, recovery: &mut RecoverySummary) {
        let long = recovery.records_replayed > REPLAYED_UNSAVED_MAX;
        if !long && !self.checkpoints.whole {
            return;
        }
        if let Some(checkpoint) = self.take_checkpoint() {
            let outcome = checkpointer.run(&checkpoint);
            recovery.checkpoint_error = outcome.as_ref().err().cloned();
            self.checkpointed(outcome);
        }
    }

    /// Writes the first record of a new log, which says which log it is.
    fn begin(&mut self, now: Timestamp) {
        if self.log.next_offset() > Offset::ZERO {
            return;
        }
        let id = self.options.log.new_log_id.to_le_bytes();
        let record = Record {
            kind: Kind::Origin.as_u8(),
            indexed: false,
            timestamp: now,
            key: &[],
            value: &id,
        };
        appended(self.log.append(&record));
    }
}

/// The settings with room in the log for all that MQTT can carry.
fn with_room(mut options: Options) -> Options {
    let room = crate::commitlog::Options::default().record_bytes_max;
    options.log.record_bytes_max = options.log.record_bytes_max.max(room);
    options
}

/// The state while it is being made.
#[derive(Default)]
pub(super) struct Fold {
    pub(super) state: State,
    changes: Changes,
    replayed: u64,
    unreadable: u64,
    damage: Vec<Damage>,
    moved_aside: Option<Box<str>>,
}

impl Fold {
    /// Takes the checkpoint, if it can be trusted.
    fn start(
        &mut self,
        checkpointer: &mut Checkpointer,
        log: &Log,
        reader: &mut Reader,
        report: &RecoveryReport,
    ) -> Result<CheckpointUse, StoreError> {
        let opened = match checkpointer.open() {
            Err(error) if error.is_full() => {
                return Ok(CheckpointUse::Rebuilt(RebuildReason::Failed { error }));
            }
            opened => opened?,
        };
        self.moved_aside = opened.moved_aside;
        let meta = match checkpointer.finish_interrupted() {
            Ok(Some(meta)) => meta,
            Ok(None) => return Ok(CheckpointUse::Rebuilt(self.missing())),
            Err(error) => return Ok(CheckpointUse::Rebuilt(RebuildReason::Failed { error })),
        };
        if let Some(reason) = distrust(meta, log, reader, report)? {
            return Ok(CheckpointUse::Rebuilt(reason));
        }
        Ok(match self.load(checkpointer) {
            Ok(()) => CheckpointUse::Used { offset: meta.offset },
            Err(reason) => {
                self.state = State::default();
                CheckpointUse::Rebuilt(reason)
            }
        })
    }

    fn missing(&self) -> RebuildReason {
        match self.moved_aside.clone() {
            Some(moved_aside) => RebuildReason::Damaged { moved_aside },
            None => RebuildReason::Missing,
        }
    }

    pub(super) fn load(&mut self, checkpointer: &mut Checkpointer) -> Result<(), RebuildReason> {
        let mut unreadable = 0;
        let outcome = checkpointer.load(&mut |row| {
            let put = row.and_then(|(key, value)| self.state.load(&key, value));
            unreadable += u64::from(put.is_none());
        });
        outcome.map_err(|error| RebuildReason::Failed { error })?;
        if unreadable == 0 { Ok(()) } else { Err(RebuildReason::Unreadable { rows: unreadable }) }
    }

    fn replay(
        &mut self,
        reader: &mut Reader,
        report: &RecoveryReport,
        checkpoint: &CheckpointUse,
        progress: &mut dyn FnMut(&OpenProgress),
    ) -> Result<(), StoreError> {
        let next_offset = report.next_offset;
        let from = match checkpoint {
            CheckpointUse::Used { offset } => *offset,
            CheckpointUse::Rebuilt(_) => report.start_offset,
        };
        let mut bytes = 0;
        if from < next_offset {
            self.damage = reader.replay_to(from, next_offset, &mut |record| {
                if record.offset < from {
                    return;
                }
                self.replayed += 1;
                bytes += record.size_bytes() as u64;
                if self.replayed.is_multiple_of(REPLAY_STEP) {
                    let (offset, records) = (record.offset, self.replayed);
                    progress(&OpenProgress::Replay { from, offset, next_offset, records, bytes });
                }
                if self.put(&record).is_none() {
                    self.unreadable += 1;
                }
            })?;
        }
        self.state.drop_orphans_noting(&mut self.changes);
        Ok(())
    }

    /// Puts a record; `None` if this version can't read it.
    pub(super) fn put(&mut self, record: &StoredRecord) -> Option<()> {
        match Kind::from_u8(record.kind)? {
            Kind::Origin => {}
            Kind::Message => {
                if message::changes_state(record.value()) {
                    self.state.put_message(&MessageView::from_record(record)?, &mut self.changes);
                }
            }
            kind @ (Kind::Session
            | Kind::Progress
            | Kind::Subscription
            | Kind::Inbound
            | Kind::Assigned
            | Kind::Will
            | Kind::Group
            | Kind::Retained
            | Kind::Clock
            | Kind::Delayed
            | Kind::Held) => {
                let row = Row::decode(kind, record.key(), record.value())?;
                self.state.put(row, record.offset, true, &mut self.changes);
            }
        }
        Some(())
    }
}

/// Why a checkpoint can't be trusted, if it can't.
fn distrust(
    meta: Meta,
    log: &Log,
    reader: &mut Reader,
    report: &RecoveryReport,
) -> Result<Option<RebuildReason>, StoreError> {
    let checkpoint = meta.offset;
    if meta.schema != SCHEMA {
        return Ok(Some(RebuildReason::OtherSchema { found: meta.schema }));
    }
    if checkpoint > report.next_offset {
        return Ok(Some(RebuildReason::AheadOfLog { checkpoint, next_offset: report.next_offset }));
    }
    if checkpoint < report.start_offset {
        return Ok(Some(RebuildReason::BehindLog {
            checkpoint,
            start_offset: report.start_offset,
        }));
    }
    let cleaned_to = report.cleaned_to;
    if checkpoint < cleaned_to {
        return Ok(Some(RebuildReason::BehindCleaner { checkpoint, cleaned_to }));
    }
    Ok(differs(meta, log, reader)?.then_some(RebuildReason::OtherLog))
}

/// Whether the record just below a checkpoint is there, and is not the one it was made after.
fn differs(meta: Meta, log: &Log, reader: &mut Reader) -> Result<bool, StoreError> {
    if meta.mark == 0 {
        return Ok(false);
    }
    let last = Offset::new(meta.offset.as_u64().saturating_sub(1));
    let records = match log.record(last) {
        Read::Records { records, .. } => records,
        Read::Cold(request) => reader.read(&request)?.records,
    };
    Ok(records.first().is_some_and(|record| mark(record) != meta.mark))
}
