//! Every row comes back from its bytes, and no other bytes are a row.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidelog::commitlog::Offset;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::session::Commit;
use tidelog::session::Meta;
use tidelog::session::Strategy as MemberStrategy;
use tidelog::store::AssignedRow;
use tidelog::store::ClockRow;
use tidelog::store::Declared;
use tidelog::store::DelayedRow;
use tidelog::store::Due;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::HeldRow;
use tidelog::store::Jump;
use tidelog::store::Kind;
use tidelog::store::NumberSet;
use tidelog::store::ProgressRow;
use tidelog::store::ReplayRow;
use tidelog::store::RetainedRow;
use tidelog::store::Row;
use tidelog::store::RowKey;
use tidelog::store::SessionRow;
use tidelog::store::Span;
use tidelog::store::SubscriptionRow;
use tidelog::store::WillRow;
use tidelog::time::Timestamp;

use crate::world;

fn text() -> impl Strategy<Value = Text> {
    "[a-zé/+#$ ]{0,12}".prop_map(|text| Text::try_from(text).unwrap())
}

fn client() -> impl Strategy<Value = ClientId> {
    "[a-z0-9é]{1,20}".prop_map(|text| ClientId::try_from(text).unwrap())
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[a-z/é]{1,20}".prop_map(|text| TopicName::try_from(text).unwrap())
}

fn offset() -> impl Strategy<Value = Offset> {
    prop_oneof![any::<u64>(), 0..1000_u64].prop_map(Offset::new)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_micros)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..3_u8).prop_map(|qos| QoS::try_from(qos).unwrap())
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    (0..3_usize).prop_map(|index| ProtocolVersion::ALL[index])
}

fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn numbers() -> impl Strategy<Value = NumberSet> {
    (0..u64::MAX - 10_000, vec(0..8_000_u64, 0..40)).prop_map(|(base, distances)| {
        distances.into_iter().map(|distance| base + distance).collect()
    })
}

fn group_key() -> impl Strategy<Value = GroupKey> {
    (text(), text()).prop_map(|(share, filter)| GroupKey { share, filter })
}

prop_compose! {
    fn session()(user in option::of(text()), version in version(), expiry_interval: u32, connected: bool,
                 created_at in moment(), disconnected_at in moment()) -> SessionRow {
        SessionRow { user, version, expiry_interval, connected, created_at, disconnected_at }
    }
}

prop_compose! {
    fn progress()(position in offset(), number: u64, acked in numbers(), received in numbers(), sent_limit: u64,
                  run in option::of((text(), text())), runs_done in offset()) -> ProgressRow {
        let run = run.map(Box::new);
        ProgressRow { position, number, acked, received, sent_limit, run, runs_done }
    }
}

fn meta() -> impl Strategy<Value = Meta> {
    (0..3_u8).prop_map(|number| Meta::from_u8(number).unwrap())
}

prop_compose! {
    fn replay()(start in text(), live: bool, position in offset(), not_before in option::of(moment()),
                until in option::of(offset()), ends_at in option::of(moment()), left in option::of(any::<u64>()),
                last in option::of(any::<u32>()), speed in option::of(any::<u32>())) -> ReplayRow {
        let (last, speed) = (last.and_then(NonZeroU32::new), speed.and_then(NonZeroU32::new));
        ReplayRow { start, live, position, not_before, until, ends_at, left, last, speed }
    }
}

prop_compose! {
    fn span()(from in offset(), until in option::of(offset()), qos in qos(), no_local: bool, retain_as_published: bool,
              handling in 0..3_u8, subscription_id in option::of(1..268_435_456_u32), retained_run: bool,
              meta in meta(), replay in option::of(replay())) -> Span {
        let retain_handling = RetainHandling::try_from(handling).unwrap();
        let replay = replay.map(Box::new);
        Span { from, until, qos, no_local, retain_as_published, retain_handling, subscription_id, retained_run, meta, replay }
    }
}

prop_compose! {
    fn assigned()(place in option::of(offset()), message in offset(), qos in qos(), retained: bool,
                  replayed: bool, meta in meta(), ids in vec(any::<u32>(), 0..4), group in option::of(group_key()),
                  key in option::of(any::<u64>())) -> AssignedRow {
        AssignedRow { place, message, qos, retained, replayed, meta, subscription_ids: ids.into(), group, key }
    }
}

prop_compose! {
    fn will()(topic in topic(), payload in blob(), qos in qos(), retain: bool, properties in blob(), delay_interval: u32,
              expiry_interval in option::of(any::<u32>()), fires_at in option::of(moment())) -> WillRow {
        WillRow { topic, payload, qos, retain, properties, delay_interval, expiry_interval, fires_at }
    }
}

fn group() -> impl Strategy<Value = GroupRow> {
    (offset(), vec(offset(), 0..20)).prop_map(|(position, mut returned)| {
        returned.sort();
        returned.dedup();
        GroupRow { position, returned, declared: None }
    })
}

prop_compose! {
    fn declared()(row in group(), start in text(), strategy in 0..6_u8, manual: bool, not_before in option::of(moment()),
                  last in option::of(any::<u32>())) -> GroupRow {
        let strategy = MemberStrategy::from_u8(strategy).unwrap();
        let commit = if manual { Commit::Manual } else { Commit::Ack };
        let last = last.and_then(NonZeroU32::new);
        GroupRow { declared: Some(Box::new(Declared { start, strategy, commit, not_before, last })), ..row }
    }
}

prop_compose! {
    fn held()(client in client(), key in option::of(any::<u64>())) -> HeldRow {
        HeldRow { client, key }
    }
}

fn retained() -> impl Strategy<Value = RetainedRow> {
    (offset(), moment(), blob()).prop_map(|(message_offset, timestamp, message)| RetainedRow {
        message_offset,
        timestamp,
        message,
    })
}

fn delayed() -> impl Strategy<Value = DelayedRow> {
    (moment(), moment(), any::<bool>(), topic(), blob()).prop_map(
        |(timestamp, at, instant, topic, message)| DelayedRow {
            timestamp,
            due: Due { at, instant },
            topic,
            message,
        },
    )
}

fn clock(jumps: Vec<(Timestamp, u32)>) -> Row {
    let mut row = ClockRow::default();
    for (before, micros) in jumps {
        row.add(Jump { before, forgiven: Duration::from_micros(u64::from(micros)) });
    }
    Row::Clock(row)
}

fn row() -> impl Strategy<Value = Row> {
    let id = (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap());
    let spans = vec(span(), 0..5).prop_map(|spans| SubscriptionRow { spans });
    prop_oneof![
        (client(), option::of(session())).prop_map(|(client, row)| Row::Session(client, row)),
        (client(), progress()).prop_map(|(client, row)| Row::Progress(client, row)),
        (client(), text(), option::of(spans))
            .prop_map(|(client, filter, row)| Row::Subscription(client, filter, row)),
        (client(), id, option::of(offset()))
            .prop_map(|(client, id, row)| Row::Inbound(client, id, row)),
        (client(), any::<u64>(), option::of(assigned()))
            .prop_map(|(client, n, row)| Row::Assigned(client, n, row)),
        (client(), option::of(will())).prop_map(|(client, row)| Row::Will(client, row)),
        (group_key(), option::of(group())).prop_map(|(key, row)| Row::Group(key, row)),
        (group_key(), declared()).prop_map(|(key, row)| Row::Group(key, Some(row))),
        (group_key(), offset(), option::of(held()))
            .prop_map(|(key, message, row)| Row::Held(key, message, row)),
        (topic(), option::of(retained())).prop_map(|(topic, row)| Row::Retained(topic, row)),
        vec((moment(), any::<u32>()), 0..70).prop_map(clock),
        (offset(), option::of(delayed())).prop_map(|(id, row)| Row::Delayed(id, row)),
    ]
}

fn encoded(row: &Row) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    row.key().encode(&mut key);
    row.encode_value(&mut value);
    (key, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_row_comes_back(row in row()) {
        let (key, value) = encoded(&row);
        prop_assert_eq!(RowKey::decode(row.kind(), &key), Some(row.key()));
        prop_assert_eq!(Row::decode(row.kind(), &key, &value), Some(row));
    }

    #[test]
    fn a_value_that_is_cut_or_longer_is_no_row(row in row(), cut in 1..20_usize) {
        let (key, mut value) = encoded(&row);
        // The message in these goes to the end of the value, whatever the end is.
        let open = matches!(row.kind(), Kind::Retained | Kind::Delayed);
        if !value.is_empty() && !open {
            let whole = value.len();
            value.push(0);
            prop_assert_eq!(Row::decode(row.kind(), &key, &value), None);
            value.truncate(whole.saturating_sub(cut).max(1));
            prop_assert_eq!(Row::decode(row.kind(), &key, &value), None);
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(kind: u8, key in vec(any::<u8>(), 0..40), value in vec(any::<u8>(), 0..80)) {
        if let Some(row) = Kind::from_u8(kind % 13).and_then(|kind| Row::decode(kind, &key, &value)) {
            prop_assert_eq!(RowKey::decode(row.kind(), &key), Some(row.key()));
        }
    }
}

#[test]
fn the_numbers_of_kinds_are_those_on_disk() {
    let kinds = [
        (1, Kind::Message),
        (2, Kind::Session),
        (3, Kind::Progress),
        (4, Kind::Subscription),
        (5, Kind::Inbound),
        (6, Kind::Assigned),
        (7, Kind::Will),
        (8, Kind::Group),
        (9, Kind::Retained),
        (10, Kind::Origin),
        (11, Kind::Clock),
        (12, Kind::Delayed),
        (13, Kind::Held),
    ];
    for (number, kind) in kinds {
        assert_eq!((kind.as_u8(), Kind::from_u8(number)), (number, Some(kind)));
    }
    assert_eq!((Kind::from_u8(0), Kind::from_u8(14)), (None, None));
}

/// The bytes of a row of each kind: a change here is a change of the format.
#[test]
fn the_bytes_of_rows_are_those_on_disk() {
    let client = ClientId::try_from("c").unwrap();
    let group = GroupKey { share: Text::from_static("s"), filter: Text::from_static("f") };
    let assigned = AssignedRow {
        retained: true,
        subscription_ids: [7].into_iter().collect(),
        ..world::assigned(Offset::new(300), Some(group))
    };
    assert_eq!(
        encoded(&Row::Assigned(client.clone(), 258, Some(assigned))),
        (vec![1, b'c', 0, 0, 0, 0, 0, 0, 1, 2], vec![1, 5, 0xac, 2, 0, 1, 7, 1, 1, b's', 1, b'f'])
    );
    let row = ProgressRow { acked: [66].into_iter().collect(), ..ProgressRow::default() };
    let mut value = vec![1, 0, 0, 0, 0, 1, 1];
    value.extend_from_slice(&4_u64.to_le_bytes());
    value.extend_from_slice(&[0, 0, 0]);
    assert_eq!(encoded(&Row::Progress(client.clone(), row)), (vec![b'c'], value));
    let id = PacketId::new(258).unwrap();
    assert_eq!(
        encoded(&Row::Inbound(client, id, Some(Offset::new(4)))),
        (vec![1, b'c', 1, 2], vec![1, 4])
    );
    let replay = ReplayRow {
        start: Text::from_static("o-1"),
        live: false,
        position: Offset::new(1),
        not_before: None,
        until: None,
        ends_at: None,
        left: Some(2),
        last: None,
        speed: None,
    };
    let span =
        Span { meta: Meta::Envelope, replay: Some(Box::new(replay)), ..world::span(5, None) };
    let row = SubscriptionRow { spans: vec![span, world::span(6, None)] };
    let text = Text::from_static("f");
    let client = ClientId::try_from("c").unwrap();
    let mut value = vec![1, 2, 5, 0, 0x81, 0, 6, 0, 3, b'o', b'-', b'1', 1, 0, 0, 0, 1, 2, 0, 0];
    value.extend_from_slice(&[6, 0, 1, 0]);
    assert_eq!(encoded(&Row::Subscription(client, text, Some(row))), (vec![1, b'c', b'f'], value));
    let moments = vec![(Timestamp::from_micros(3), 300)];
    assert_eq!(encoded(&clock(moments)), (Vec::new(), vec![1, 1, 3, 0xac, 2]));
    let row = DelayedRow {
        timestamp: Timestamp::from_micros(3),
        due: Due { at: Timestamp::from_micros(300), instant: true },
        topic: TopicName::try_from("t").unwrap(),
        message: Bytes::from_static(b"m"),
    };
    assert_eq!(
        encoded(&Row::Delayed(Offset::new(258), Some(row))),
        (vec![0, 0, 0, 0, 0, 0, 1, 2], vec![1, 1, 3, 0xac, 2, 1, b't', b'm'])
    );
}

/// Those of groups, which have two layouts.
#[test]
fn the_bytes_of_groups_are_those_on_disk() {
    let client = ClientId::try_from("c").unwrap();
    let group = GroupKey { share: Text::from_static("s"), filter: Text::from_static("f") };
    let returned = vec![Offset::new(3), Offset::new(5)];
    let row = GroupRow { position: Offset::new(9), returned, declared: None };
    let key = vec![1, b's', b'f'];
    assert_eq!(
        encoded(&Row::Group(group.clone(), Some(row.clone()))),
        (key.clone(), vec![1, 9, 2, 3, 2])
    );
    let declared = Declared {
        start: Text::from_static("o-1"),
        strategy: MemberStrategy::Key,
        commit: Commit::Manual,
        not_before: None,
        last: NonZeroU32::new(300),
    };
    let row = GroupRow { declared: Some(Box::new(declared)), ..row };
    let value = vec![2, 9, 2, 3, 2, 3, b'o', b'-', b'1', 0x14, 0, 1, 0xac, 2];
    assert_eq!(encoded(&Row::Group(group.clone(), Some(row))), (key, value));
    let row = HeldRow { client, key: Some(300) };
    assert_eq!(
        encoded(&Row::Held(group, Offset::new(258), Some(row))),
        (vec![1, b's', 1, b'f', 0, 0, 0, 0, 0, 0, 1, 2], vec![1, 1, b'c', 1, 0xac, 2])
    );
}
