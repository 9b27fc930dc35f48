//! A store on a disk and a state store in memory, which a test can drive, break and open again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidelog::commitlog;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Read;
use tidelog::commitlog::disk::Disk;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::session::Meta;
use tidelog::store::AssignedRow;
use tidelog::store::Carry;
use tidelog::store::CheckpointUse;
use tidelog::store::CleanDone;
use tidelog::store::Due;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::Retained;
use tidelog::store::SessionRow;
use tidelog::store::SessionState;
use tidelog::store::Span;
use tidelog::store::State;
use tidelog::store::Store;
use tidelog::store::StoredMessage;
use tidelog::time::Timestamp;

/// What of a state has to be there after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) clients: BTreeMap<ClientId, SessionState>,
    /// Without the places of contents: a carried copy is as good as the message.
    pub(crate) retained: BTreeMap<TopicName, (Offset, Timestamp, Option<Timestamp>)>,
    pub(crate) groups: BTreeMap<GroupKey, GroupRow>,
    /// Also without places.
    pub(crate) delayed: BTreeMap<Offset, (Timestamp, Due, TopicName)>,
}

impl Durable {
    pub(crate) fn of(state: &State) -> Self {
        let clients =
            state.sessions().filter_map(|(client, kept)| Some((client.clone(), lasting(kept)?)));
        let whereabouts =
            |place: &Retained| (place.message_offset, place.timestamp, place.expires_at);
        Self {
            clients: clients.collect(),
            retained: state
                .retained()
                .iter()
                .map(|(topic, place)| (topic.clone(), whereabouts(place)))
                .collect(),
            groups: state.groups().clone(),
            delayed: state
                .delayed()
                .iter()
                .map(|(id, kept)| (*id, (kept.timestamp, kept.due, kept.topic.clone())))
                .collect(),
        }
    }
}

/// All of a recorded session; of a transient one the will.
fn lasting(kept: &SessionState) -> Option<SessionState> {
    if kept.recorded {
        return Some(kept.clone());
    }
    kept.will
        .as_ref()
        .map(|will| SessionState { will: Some(will.clone()), ..SessionState::default() })
}

pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) states: MemoryStateStore,
    pub(crate) options: Options,
    pub(crate) now: Timestamp,
    /// `None` between a crash and the next open.
    opened: Option<Opened>,
}

impl World {
    pub(crate) fn new() -> Self {
        let log = commitlog::Options {
            segment_bytes: 4 << 10,
            batch_bytes_max: 1 << 10,
            tail_bytes_max: 2 << 10,
            preallocate: false,
            ..commitlog::Options::default()
        };
        let mut world = Self {
            disk: MemoryDisk::new(),
            states: MemoryStateStore::new(),
            options: Options {
                log,
                clean_dead_percent: 0,
                clean_growth_percent: 0,
                ..Options::default()
            },
            now: Timestamp::from_micros(1_000_000),
            opened: None,
        };
        world.open();
        world
    }

    pub(crate) fn with_retention_bytes(bytes: u64) -> Self {
        let mut world = Self::new();
        world.options.log.retention_bytes = Some(bytes);
        world.reopen();
        world
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("open")
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        &mut self.opened().store
    }

    pub(crate) fn state(&mut self) -> &State {
        self.store().state()
    }

    pub(crate) fn durable(&mut self) -> Durable {
        Durable::of(self.state())
    }

    /// How the latest open came to its state.
    pub(crate) fn recovery(&mut self) -> &tidelog::store::RecoverySummary {
        &self.opened().recovery
    }

    /// What time it was at the latest open, as the store sees it.
    pub(crate) fn started(&mut self) -> Timestamp {
        self.opened().now
    }

    pub(crate) fn used_checkpoint(&mut self) -> bool {
        matches!(self.recovery().checkpoint, CheckpointUse::Used { .. })
    }

    pub(crate) fn open(&mut self) {
        let disk = Arc::new(self.disk.clone());
        let states = Box::new(self.states.clone());
        let opened = Store::open(disk, states, self.options.clone(), self.now, &mut |_| {});
        self.opened = Some(opened.expect("the store opens"));
    }

    /// Makes everything durable and starts again.
    pub(crate) fn reopen(&mut self) {
        self.commit();
        self.close();
        self.open();
    }

    /// Ends the process.
    pub(crate) fn close(&mut self) {
        self.opened = None;
        self.disk.kill();
    }

    /// Cuts the power.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.opened = None;
        self.disk.crash(seed);
        self.states.crash(usize::try_from(seed % 5).unwrap());
    }

    pub(crate) fn commit(&mut self) {
        let Opened { store, writer, .. } = self.opened();
        let durability = store.options().durability.commit();
        while let Some(batch) = store.take_batch() {
            let committed = writer.commit(&batch, durability).expect("a commit");
            store.committed(&committed);
        }
    }

    /// Writes a checkpoint, if one is due; whether one was written.
    pub(crate) fn checkpoint(&mut self) -> bool {
        let Opened { store, checkpointer, .. } = self.opened();
        let Some(checkpoint) = store.take_checkpoint() else { return false };
        let outcome = checkpointer.run(&checkpoint);
        let done = outcome.is_ok();
        store.checkpointed(outcome);
        done
    }

    /// Deletes the front of the log as far as the settings ask for; whether any of it went.
    pub(crate) fn retain(&mut self) -> bool {
        let now = self.now;
        let Some(start) = self.store().retention_due(now) else { return false };
        self.carry(start);
        self.commit();
        self.truncate(start)
    }

    pub(crate) fn carry(&mut self, start: Offset) {
        while !self.carry_step(start, 3, usize::MAX) {}
    }

    /// A step of carrying forward, with the read that it asks for; whether it was the last.
    pub(crate) fn carry_step(&mut self, start: Offset, rows: usize, pending_bytes: usize) -> bool {
        let now = self.now;
        let Opened { store, reader, .. } = self.opened();
        match store.carry_forward(now, start, rows, pending_bytes) {
            Carry::Again => false,
            Carry::Fetch(request) => {
                store.carry_fetched(now, &reader.read(&request).expect("a read"));
                false
            }
            Carry::Done => true,
        }
    }

    pub(crate) fn truncate(&mut self, start: Offset) -> bool {
        let Opened { store, writer, reader, .. } = self.opened();
        let Some(truncation) = store.truncate_before(start) else { return false };
        writer.truncate(&truncation).expect("segments can be removed");
        reader.forget(&truncation);
        true
    }

    /// Begins a round of cleaning if one is due, and does at most `pieces` of it; how many segments were rewritten.
    pub(crate) fn clean(&mut self, pieces: usize) -> u64 {
        let now = self.now;
        self.store().begin_cleaning(now);
        self.commit();
        let Opened { store, reader, cleaner, .. } = self.opened();
        let mut rewritten = 0;
        for _ in 0..pieces {
            let Some(clean) = store.take_clean() else { break };
            let result = cleaner.run(clean, &mut |_| ControlFlow::Continue(()));
            if let Some(found) = result.as_ref().ok().and_then(CleanDone::rewritten) {
                reader.forget_cleaned(found);
                rewritten += 1;
            }
            store.cleaned(&result);
        }
        rewritten
    }

    /// Writes the indexes that are due.
    pub(crate) fn maintain(&mut self) {
        while self.opened().writer.maintain().expect("an index") {}
    }

    /// Where the second segment begins.
    pub(crate) fn second_segment(&mut self) -> Offset {
        let mut bases: Vec<u64> = self
            .disk
            .list()
            .expect("the files")
            .iter()
            .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
            .collect();
        bases.sort_unstable();
        Offset::new(bases[1])
    }

    /// Whether there is a record at a place.
    pub(crate) fn has_record(&mut self, offset: Offset) -> bool {
        let Opened { store, reader, .. } = self.opened();
        match store.record(offset) {
            Read::Records { records, .. } => !records.is_empty(),
            Read::Cold(request) => !reader.read(&request).expect("a read").records.is_empty(),
        }
    }

    /// The message at a place, from memory or from the disk.
    pub(crate) fn message(&mut self, offset: Offset) -> Option<StoredMessage> {
        let Opened { store, reader, .. } = self.opened();
        let records = match store.record(offset) {
            Read::Records { records, .. } => records,
            Read::Cold(request) => reader.read(&request).expect("a read").records,
        };
        records.into_iter().next().and_then(StoredMessage::new)
    }

    /// Publishes a message whose payload says where it was published.
    pub(crate) fn publish(&mut self, topic: &str, message: NewMessage<'_>) -> Offset {
        let payload = payload(topic, self.store().next_offset());
        let payload = if message.payload.is_empty() { &[] } else { payload.as_bytes() };
        let now = self.now;
        self.store().append_message(now, &NewMessage { topic, payload, ..message })
    }

    /// Keeps a message back whose payload says where.
    pub(crate) fn delay(&mut self, topic: &str, message: NewMessage<'_>) -> Offset {
        let payload = payload(topic, self.store().next_offset());
        let now = self.now;
        let due = Due { at: now + Duration::from_mins(1), instant: false };
        let message = NewMessage { topic, payload: payload.as_bytes(), ..message };
        self.store().append_delayed(now, due, &message)
    }

    /// Every message that is kept back has the content it was published with.
    fn check_delayed(&mut self) {
        for (id, delayed) in self.state().delayed().clone() {
            let message = self.message(delayed.offset).unwrap_or_else(|| panic!("content of {id}"));
            let view = message.view();
            assert_eq!((view.offset, view.timestamp), (id, delayed.timestamp));
            assert_eq!(view.topic, delayed.topic.as_str());
            assert_eq!(view.payload, payload(&delayed.topic, id).as_bytes());
        }
    }

    /// Every retained message has the content it was published with, and every delayed one.
    pub(crate) fn check_retained(&mut self) {
        self.check_delayed();
        for (topic, place) in self.state().retained().clone() {
            let message =
                self.message(place.offset).unwrap_or_else(|| panic!("content of {topic}"));
            let view = message.view();
            assert_eq!(view.topic, topic.as_str());
            assert_eq!((view.offset, view.timestamp), (place.message_offset, place.timestamp));
            assert_eq!(view.expires_at(), place.expires_at);
            assert_eq!(view.payload, payload(&topic, place.message_offset).as_bytes());
            assert_eq!(&message.payload()[..], view.payload);
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

pub(crate) fn payload(topic: &str, offset: Offset) -> String {
    format!("{topic}@{offset} {}", "-".repeat(60))
}

/// A message with nothing special; its topic and payload are filled in by [`World::publish`].
pub(crate) const PLAIN: NewMessage<'static> = NewMessage {
    topic: "",
    payload: b"some",
    qos: QoS::AtLeastOnce,
    retain: false,
    publisher: "publisher",
    packet_id: None,
    expiry_interval: None,
    properties: &[],
};

pub(crate) fn client(name: &str) -> ClientId {
    ClientId::try_from(name).unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

pub(crate) fn session(expiry_interval: u32) -> SessionRow {
    SessionRow {
        user: None,
        version: ProtocolVersion::V5,
        expiry_interval,
        connected: true,
        created_at: Timestamp::EPOCH,
        disconnected_at: Timestamp::EPOCH,
    }
}

pub(crate) fn span(from: u64, until: Option<u64>) -> Span {
    Span {
        from: Offset::new(from),
        until: until.map(Offset::new),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
        subscription_id: None,
        retained_run: false,
        meta: Meta::None,
        replay: None,
    }
}

/// A copy of a message for a client, at QoS 1.
pub(crate) fn assigned(message: Offset, group: Option<GroupKey>) -> AssignedRow {
    AssignedRow {
        place: None,
        message,
        qos: QoS::AtLeastOnce,
        retained: false,
        replayed: false,
        meta: Meta::None,
        subscription_ids: [].into_iter().collect(),
        group,
    }
}
