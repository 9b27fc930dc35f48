//! A small log with every kind of record in it, always the same.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog::commitlog;
use tidelog::commitlog::Offset;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::session::Commit;
use tidelog::session::Meta;
use tidelog::session::Strategy;
use tidelog::store::AssignedRow;
use tidelog::store::Declared;
use tidelog::store::Due;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::HeldRow;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::Opened;
use tidelog::store::Options;
use tidelog::store::ProgressRow;
use tidelog::store::ReplayRow;
use tidelog::store::RetainedRow;
use tidelog::store::Row;
use tidelog::store::SessionRow;
use tidelog::store::Span;
use tidelog::store::Store;
use tidelog::store::SubscriptionRow;
use tidelog::store::WillRow;
use tidelog::time::Timestamp;

/// Sessions, subscriptions, groups and retained messages of the state that the records make.
pub(crate) const COUNTS: (usize, usize, usize, usize) = (2, 2, 1, 2);

/// The first moment of the log: the beginning of 2026.
const BEGIN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn text(text: &str) -> Text {
    Text::try_from(text).unwrap()
}

fn client(name: &str) -> ClientId {
    ClientId::try_from(name).unwrap()
}

/// A log that is being made, a record each second.
struct Making {
    opened: Opened,
    now: Timestamp,
}

impl Making {
    fn put(&mut self, row: Row) {
        self.now = self.now + Duration::from_secs(1);
        self.opened.store.put(self.now, row);
    }

    fn publish(&mut self, message: &NewMessage<'_>) -> Offset {
        self.now = self.now + Duration::from_millis(1_500);
        self.opened.store.append_message(self.now, message)
    }

    fn commit(&mut self) {
        while let Some(batch) = self.opened.store.take_batch() {
            let committed = self.opened.writer.commit(&batch, commitlog::Durability::Fsync);
            self.opened.store.committed(&committed.unwrap());
        }
        while self.opened.writer.maintain().unwrap() {}
    }

    fn checkpoints(&mut self) {
        while let Some(checkpoint) = self.opened.store.take_checkpoint() {
            let done = self.opened.checkpointer.run(&checkpoint);
            self.opened.store.checkpointed(done);
        }
    }
}

/// Makes it: three segments, the last of which takes records.
pub(crate) fn make() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut making = open(&disk, BEGIN);
    making.commit();
    sessions(&mut making);
    making.commit();
    for round in 0..12 {
        messages(&mut making, round);
        making.commit();
    }
    in_flight(&mut making);
    making.commit();
    delayed(&mut making);
    making.commit();
    replayed(&mut making);
    making.commit();
    durable_groups(&mut making);
    making.commit();
    drop(making);
    disk
}

/// Makes the same, and cleans its sealed segments.
pub(crate) fn make_cleaned() -> MemoryDisk {
    let disk = make();
    let mut making = open(&disk, BEGIN + Duration::from_hours(1));
    pass_all(&mut making);
    making.checkpoints();
    making.opened.store.begin_cleaning(making.now);
    making.commit();
    while let Some(clean) = making.opened.store.take_clean() {
        let cleaned = making.opened.cleaner.run(clean, &mut |_| ControlFlow::Continue(()));
        making.opened.store.cleaned(&cleaned);
    }
    drop(making);
    disk
}

fn open(disk: &MemoryDisk, now: Timestamp) -> Making {
    let log = commitlog::Options {
        segment_bytes: 4 << 10,
        batch_bytes_max: 1 << 10,
        preallocate: false,
        new_log_id: 0x0123_4567_89ab_cdef,
        ..commitlog::Options::default()
    };
    let options = Options { log, clean_dead_percent: 0, ..Options::default() };
    let states = Box::new(MemoryStateStore::new());
    let opened = Store::open(Arc::new(disk.clone()), states, options, now, &mut |_| ());
    Making { opened: opened.unwrap(), now }
}

fn sessions(making: &mut Making) {
    let session = SessionRow {
        user: Some(text("someone")),
        version: ProtocolVersion::V5,
        expiry_interval: u32::MAX,
        connected: true,
        created_at: BEGIN,
        disconnected_at: Timestamp::EPOCH,
    };
    let old = SessionRow { user: None, version: ProtocolVersion::V3_1_1, ..session.clone() };
    for (name, row) in [("one", session.clone()), ("two", old), ("ended", session)] {
        making.put(Row::Session(client(name), Some(row)));
    }
    making.put(Row::Session(client("ended"), None));
    let span = Span {
        from: Offset::new(1),
        until: None,
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
        subscription_id: Some(268_435_455),
        retained_run: false,
        meta: Meta::None,
        replay: None,
    };
    let closed = Span { until: Some(Offset::new(4)), qos: QoS::AtLeastOnce, ..span.clone() };
    for (filter, spans) in
        [("plant/+/é", vec![closed, span.clone()]), ("gone/#", vec![span.clone()])]
    {
        let row = SubscriptionRow { spans };
        making.put(Row::Subscription(client("one"), text(filter), Some(row)));
    }
    making.put(Row::Subscription(client("one"), text("gone/#"), None));
    let shared = SubscriptionRow { spans: vec![span] };
    making.put(Row::Subscription(client("two"), text("$share/readers/plant/#"), Some(shared)));
    let key = GroupKey { share: text("readers"), filter: text("plant/#") };
    let position = Offset::new(9);
    making.put(Row::Group(
        key,
        Some(GroupRow { position, returned: vec![Offset::new(5)], ..GroupRow::default() }),
    ));
    making.put(Row::Will(client("one"), Some(will())));
}

fn will() -> WillRow {
    WillRow {
        topic: TopicName::try_from("wills/one").unwrap(),
        payload: Bytes::from_static(b"\x00\xff gone"),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Bytes::from_static(&[3, 0, 1, b'x']),
        delay_interval: 30,
        expiry_interval: Some(3_600),
        fires_at: Some(BEGIN + Duration::from_hours(1)),
    }
}

/// Messages of every kind and size.
fn messages(making: &mut Making, round: u8) {
    let payload = vec![b'a' + round; 40 * usize::from(round)];
    let plain = NewMessage {
        topic: "plant/1/é",
        payload: &payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        publisher: "one",
        packet_id: None,
        expiry_interval: None,
        properties: &[],
    };
    making.publish(&plain);
    making.publish(&NewMessage { qos: QoS::AtMostOnce, publisher: "", ..plain });
    let properties = [38, 0, 1, b'k', 0, 1, b'v'];
    let dear = NewMessage { expiry_interval: Some(60), properties: &properties, ..plain };
    making.publish(&NewMessage { topic: "other", publisher: "two", ..dear });
    let retained = NewMessage { retain: true, payload: b"kept", ..plain };
    for topic in ["state/1", "state/2"] {
        making.publish(&NewMessage { topic, ..retained });
    }
    making.publish(&NewMessage { topic: "state/3", ..retained });
    making.publish(&NewMessage { topic: "state/3", payload: &[], ..retained });
    let id = PacketId::new(u16::from(round) + 1);
    making.publish(&NewMessage { qos: QoS::ExactlyOnce, packet_id: id, ..plain });
    if round.is_multiple_of(2) {
        making.put(Row::Inbound(client("one"), id.unwrap(), None));
    }
}

/// Everybody has passed everything, so that what has expired is dead.
fn pass_all(making: &mut Making) {
    let position = making.opened.store.next_offset();
    for name in ["one", "two"] {
        let progress = ProgressRow { position, ..ProgressRow::default() };
        making.put(Row::Progress(client(name), progress));
    }
    let key = GroupKey { share: text("readers"), filter: text("plant/#") };
    making.put(Row::Group(key, Some(GroupRow { position, ..GroupRow::default() })));
    making.commit();
}

/// What is kept back: one that waits, one that has ended.
fn delayed(making: &mut Making) {
    let message = NewMessage {
        topic: "later/é",
        payload: b"later",
        qos: QoS::AtLeastOnce,
        retain: true,
        publisher: "one",
        packet_id: None,
        expiry_interval: Some(60),
        properties: &[1, 1],
    };
    for instant in [false, true] {
        let due = Due { at: BEGIN + Duration::from_hours(1), instant };
        let id = making.opened.store.append_delayed(making.now, due, &message);
        if instant {
            making.put(Row::Delayed(id, None));
        }
    }
}

/// A replay with everything that it may have, which has ended, and a message that it gave.
fn replayed(making: &mut Making) {
    let replay = ReplayRow {
        start: text("ago-15m"),
        live: false,
        position: Offset::new(17),
        not_before: Some(BEGIN),
        until: Some(Offset::new(50)),
        ends_at: Some(BEGIN + Duration::from_hours(1)),
        left: Some(100),
        last: NonZeroU32::new(10),
        speed: NonZeroU32::new(10),
    };
    let span = Span {
        from: Offset::new(60),
        until: None,
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
        subscription_id: None,
        retained_run: false,
        meta: Meta::Envelope,
        replay: Some(Box::new(replay)),
    };
    let filter = text("$meta/$replay/ago-15m/plant/#");
    let row = SubscriptionRow { spans: vec![span] };
    making.put(Row::Subscription(client("one"), filter.clone(), Some(row)));
    making.put(Row::Subscription(client("one"), filter, None));
    let row = AssignedRow {
        place: Some(Offset::new(62)),
        message: Offset::new(21),
        qos: QoS::AtLeastOnce,
        retained: false,
        replayed: true,
        meta: Meta::Properties,
        subscription_ids: [1].into_iter().collect(),
        group: None,
        key: None,
    };
    making.put(Row::Assigned(client("one"), 0, Some(row)));
}

/// Durable groups with everything that they may have, which were removed, and what they gave and held.
fn durable_groups(making: &mut Making) {
    for (share, strategy, commit) in
        [("plain", Strategy::Sticky, Commit::Ack), ("ordered", Strategy::Key, Commit::Manual)]
    {
        let key = GroupKey { share: text(share), filter: text("plant/#") };
        let declared = Declared {
            start: text("ago-15m"),
            strategy,
            commit,
            not_before: Some(BEGIN),
            last: NonZeroU32::new(10),
        };
        let row = GroupRow {
            position: Offset::new(17),
            returned: vec![Offset::new(4), Offset::new(9)],
            declared: Some(Box::new(declared)),
        };
        making.put(Row::Group(key.clone(), Some(row)));
        let row = AssignedRow {
            place: Some(Offset::new(63)),
            message: Offset::new(16),
            qos: QoS::AtLeastOnce,
            retained: false,
            replayed: false,
            meta: Meta::None,
            subscription_ids: [1].into_iter().collect(),
            group: Some(key.clone()),
            key: Some(0x0123_4567_89ab_cdef),
        };
        making.put(Row::Assigned(client("one"), 1, Some(row)));
        making.put(Row::Assigned(client("one"), 1, None));
        for message in [14, 15] {
            let row = HeldRow { client: client("one"), key: Some(message) };
            making.put(Row::Held(key.clone(), Offset::new(message), Some(row)));
            making.put(Row::Held(key.clone(), Offset::new(message), None));
        }
        making.put(Row::Group(key, None));
    }
}

/// What a session and a group have on their way.
fn in_flight(making: &mut Making) {
    let progress = ProgressRow {
        position: Offset::new(20),
        number: 7,
        acked: [8, 9, 100].into_iter().collect(),
        received: [10, 11].into_iter().collect(),
        sent_limit: 2_048,
        run: None,
        runs_done: Offset::new(3),
    };
    making.put(Row::Progress(client("one"), progress));
    let key = GroupKey { share: text("readers"), filter: text("plant/#") };
    for (counter, group) in [(0, Some(key)), (1, None)] {
        let row = AssignedRow {
            place: Some(Offset::new(30 + counter)),
            message: Offset::new(20 + counter),
            qos: QoS::ExactlyOnce,
            retained: group.is_none(),
            replayed: false,
            meta: Meta::None,
            subscription_ids: [1, 268_435_455].into_iter().collect(),
            group,
            key: None,
        };
        making.put(Row::Assigned(client("two"), counter, Some(row)));
    }
    making.put(Row::Assigned(client("two"), 0, None));
    let topic = TopicName::try_from("state/2").unwrap();
    let (message_offset, timestamp) = (Offset::new(40), BEGIN);
    let message = Bytes::from_static(b"");
    let carried = RetainedRow { message_offset, timestamp, message };
    making.put(Row::Retained(TopicName::try_from("state/4").unwrap(), Some(carried)));
    making.put(Row::Retained(TopicName::try_from("state/4").unwrap(), None));
    making.put(Row::Retained(topic, None));
    let state = NewMessage {
        topic: "state/5",
        payload: b"the last",
        qos: QoS::AtMostOnce,
        retain: true,
        publisher: "",
        packet_id: None,
        expiry_interval: Some(1),
        properties: &[],
    };
    making.publish(&state);
}
