//! Messages come back as they were published, from memory and from the disk.

use std::sync::Arc;
use std::time::Duration;

use tidelog::commitlog::EveryKey;
use tidelog::commitlog::KeyMatcher;
use tidelog::commitlog::Offset;
use tidelog::commitlog::Read;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::QoS;
use tidelog::mqtt::TopicName;
use tidelog::store::NewMessage;
use tidelog::store::Row;
use tidelog::store::StoredMessage;
use tidelog::store::describe;

use crate::world::PLAIN;
use crate::world::World;
use crate::world::client;
use crate::world::session;

fn full() -> NewMessage<'static> {
    NewMessage {
        topic: "temperature/é",
        payload: b"\xff\x00",
        qos: QoS::ExactlyOnce,
        retain: true,
        publisher: "c",
        packet_id: PacketId::new(0xfffe),
        expiry_interval: Some(60),
        properties: &[1, 1],
    }
}

#[test]
fn every_field_comes_back() {
    let mut world = World::new();
    let now = world.now;
    world.store().put(now, Row::Session(client("c"), Some(session(9))));
    let offset = world.store().append_message(now, &full());
    let stored = world.store().peek(offset).expect("in the open batch");
    let check = |stored: &StoredMessage| {
        let view = stored.view();
        assert_eq!((view.offset, view.timestamp, view.topic), (offset, now, full().topic));
        assert_eq!((view.payload, view.qos, view.retain), (full().payload, full().qos, true));
        assert_eq!(
            (view.publisher, view.packet_id, view.properties),
            ("c", full().packet_id, full().properties)
        );
        assert_eq!(view.expires_at(), Some(now + Duration::from_mins(1)));
        assert!(!view.is_expired(now) && view.is_expired(now + Duration::from_mins(1)));
        assert_eq!(&stored.payload()[..], full().payload);
    };
    check(&stored);
    world.reopen();
    check(&world.message(offset).expect("on the disk"));
}

#[test]
fn readers_get_messages_and_no_other_records() {
    let mut world = World::new();
    let now = world.now;
    let first = world.publish("a", PLAIN);
    world.store().put(now, Row::Session(client("c"), Some(session(9))));
    let second = world.publish("b", PLAIN);
    let every: Arc<dyn KeyMatcher> = Arc::new(EveryKey);
    let Read::Records { records, next } =
        world.store().read(Offset::ZERO, Offset::MAX, 1 << 20, &every)
    else {
        panic!("all of it is in memory")
    };
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [first, second]);
    assert_eq!(next, world.store().next_offset());
    assert!(records.into_iter().all(|record| StoredMessage::new(record).is_some()));
}

#[test]
fn messages_at_qos_0_are_logged_only_when_that_is_wanted() {
    let mut world = World::new();
    let message = NewMessage { qos: QoS::AtMostOnce, ..PLAIN };
    let logged = world.publish("t", message);
    world.options.log_qos0 = false;
    world.reopen();
    assert_eq!(world.publish("t", message), logged);
    assert_eq!(world.publish("t", NewMessage { retain: true, ..message }), logged.next());
    assert_eq!(world.state().retained().len(), 1);
}

#[test]
fn an_empty_retained_message_clears_the_topic() {
    let mut world = World::new();
    world.publish("t", NewMessage { retain: true, ..PLAIN });
    world.publish("u", NewMessage { retain: true, ..PLAIN });
    world.publish("t", NewMessage { retain: true, payload: b"", ..PLAIN });
    world.publish("u", NewMessage { payload: b"", ..PLAIN });
    for _ in 0..2 {
        assert_eq!(
            world.state().retained().keys().map(TopicName::as_str).collect::<Vec<_>>(),
            ["u"]
        );
        world.check_retained();
        world.reopen();
    }
}

#[test]
fn records_are_described_for_people() {
    let mut world = World::new();
    let now = world.now;
    world.store().put(now, Row::Session(client("c"), Some(session(9))));
    let offset = world.store().append_message(now, &full());
    let record = world.store().peek(offset).unwrap().record().clone();
    let expected = serde_json::json!({
        "offset": offset.as_u64(),
        "timestamp": "1970-01-01T00:00:01.000000Z",
        "kind": "message",
        "topic": "temperature/é",
        "qos": 2,
        "retain": true,
        "publisher": "c",
        "packet_id": 0xfffe,
        "expires_at": "1970-01-01T00:01:01.000000Z",
        "properties": "\u{1}\u{1}",
        "payload": { "base64": "/wA=" },
    });
    assert_eq!(describe(&record), expected);
    for number in 0..offset.as_u64() {
        let Read::Records { records, .. } = world.store().record(Offset::new(number)) else {
            panic!("in memory")
        };
        let description = describe(&records[0]);
        assert!(description.get("unreadable").is_none(), "{description}");
    }
}
