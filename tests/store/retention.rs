//! The front of the log goes only after all that rests on it was carried forward.

use std::time::Duration;

use tidelog::commitlog::Offset;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::QoS;
use tidelog::store::Carry;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::NewMessage;
use tidelog::store::Row;
use tidelog::store::SubscriptionRow;

use crate::world::PLAIN;
use crate::world::World;
use crate::world::assigned;
use crate::world::client;
use crate::world::session;
use crate::world::span;
use crate::world::text;

/// A world whose first segment has a row of every kind, with several segments behind it.
fn world() -> World {
    filled(World::with_retention_bytes(6 << 10))
}

fn filled(mut world: World) -> World {
    let now = world.now;
    let group = GroupKey { share: text("g"), filter: text("t") };
    let assigned = assigned(Offset::new(1), Some(group.clone()));
    let rows = [
        Row::Session(client("c"), Some(session(9))),
        Row::Subscription(
            client("c"),
            text("t"),
            Some(SubscriptionRow { spans: vec![span(2, None)] }),
        ),
        Row::Group(
            group,
            Some(GroupRow { position: Offset::new(1), returned: vec![Offset::ZERO] }),
        ),
        Row::Assigned(client("c"), 0, Some(assigned)),
    ];
    for row in rows {
        world.store().put(now, row);
    }
    let id = PacketId::new(5);
    world
        .publish("q", NewMessage { qos: QoS::ExactlyOnce, packet_id: id, publisher: "c", ..PLAIN });
    for topic in ["r/1", "r/2", "r/3"] {
        world.publish(topic, NewMessage { retain: true, ..PLAIN });
    }
    for topic in ["d/1", "d/2"] {
        world.delay(topic, NewMessage { properties: &[1, 1], ..PLAIN });
    }
    world.publish("short", NewMessage { retain: true, expiry_interval: Some(1), ..PLAIN });
    fill(&mut world);
    world
}

/// Writes several segments of messages that nothing rests on.
fn fill(world: &mut World) {
    for _ in 0..20 {
        for _ in 0..10 {
            world.publish("filling", PLAIN);
        }
        world.commit();
    }
}

#[test]
fn the_log_alone_has_everything_after_its_front_is_gone() {
    let mut world = world();
    let mut truncations = 0;
    for round in 0..4 {
        world.pass(Duration::from_secs(2));
        while world.checkpoint() {}
        truncations += u32::from(world.retain());
        let expected = world.durable();
        assert_eq!((expected.clients.len(), expected.groups.len()), (1, 1));
        assert_eq!(expected.retained.len(), 3, "the expired one is gone in round {round}");
        assert_eq!(expected.delayed.len(), 2);
        world.check_retained();
        world.commit();
        world.close();
        if round % 2 == 0 {
            world.states.delete();
        }
        world.open();
        assert_eq!(world.durable(), expected);
        world.check_retained();
        fill(&mut world);
    }
    assert!(truncations == 4 && world.store().start_offset() > Offset::new(200), "{truncations}");
    assert_eq!(world.store().contents_lost(), 0);
}

#[test]
fn nothing_goes_above_the_checkpoint_before_the_latest() {
    let mut world = world();
    let now = world.now;
    assert_eq!(world.store().retention_due(now), None);
    assert!(world.checkpoint());
    assert_eq!(world.store().retention_due(now), None);
    assert!(world.checkpoint());
    assert!(world.store().retention_due(now).is_some());
}

#[test]
fn nothing_goes_before_what_was_carried_is_durable() {
    let mut world = world();
    while world.checkpoint() {}
    let now = world.now;
    let start = world.store().retention_due(now).expect("there is too much");
    assert!(!world.truncate(start));
    assert!(matches!(world.store().carry_forward(now, start, 2, usize::MAX), Carry::Again));
    world.commit();
    assert!(!world.truncate(start));
    world.carry(start);
    assert!(!world.truncate(start));
    world.commit();
    assert!(world.truncate(start));
    assert!(!world.truncate(start));
}

/// However many rows a step may carry, it ends when enough waits for the disk.
#[test]
fn what_is_carried_waits_for_the_disk() {
    let mut world = World::with_retention_bytes(6 << 10);
    // Nothing has to be read, which would end a step too.
    world.options.log.tail_bytes_max = 1 << 20;
    world.reopen();
    let mut world = filled(world);
    while world.checkpoint() {}
    let now = world.now;
    let start = world.store().retention_due(now).expect("there is too much");
    let expected = world.durable();
    let mut steps = 0;
    while !world.carry_step(start, usize::MAX, 1) {
        assert!(world.store().pending_bytes() > 0);
        world.commit();
        steps += 1;
    }
    assert_eq!(steps, 7, "the client's rows and six messages");
    world.commit();
    assert!(world.truncate(start));
    assert_eq!(world.durable(), expected);
    world.check_retained();
}

/// A crash between carrying and deleting leaves both the old records and the new.
#[test]
fn what_was_carried_twice_is_there_once() {
    let mut world = world();
    let expected = world.durable();
    for _ in 0..2 {
        let end = world.store().next_offset();
        world.carry(end);
        assert_eq!(world.durable(), expected);
        world.states.delete();
        world.reopen();
        assert_eq!(world.durable(), expected);
        world.check_retained();
    }
}

/// What happens while rows are carried must not be undone by a copy that comes later, nor be missed.
#[test]
fn changes_between_the_steps_of_carrying_are_kept() {
    let mut world = world();
    while world.checkpoint() {}
    let now = world.now;
    let start = world.store().retention_due(now).expect("there is too much");
    world.publish("r/1", NewMessage { retain: true, ..PLAIN });
    assert!(matches!(world.store().carry_forward(now, start, 1, usize::MAX), Carry::Again));
    world.publish("r/2", NewMessage { retain: true, ..PLAIN });
    world.publish("r/3", NewMessage { retain: true, payload: b"", ..PLAIN });
    // The assignment goes back to the group, by a record that was carried moments ago.
    world.store().put(now, Row::Session(client("c"), None));
    world.carry(start);
    world.commit();
    assert!(world.truncate(start));
    let expected = world.durable();
    let returned: Vec<_> = expected.groups.values().flat_map(|row| row.returned.clone()).collect();
    assert_eq!(returned, [Offset::new(0), Offset::new(1)]);
    world.states.delete();
    world.reopen();
    assert_eq!(world.durable(), expected);
    world.check_retained();
}

#[test]
fn a_retained_message_that_cannot_be_read_is_counted_when_its_place_goes() {
    let mut world = world();
    while world.checkpoint() {}
    world.reopen();
    let now = world.now;
    let start = world.store().retention_due(now);
    let name = format!("{:020}.log", 0);
    let file = world.disk.file(&name).expect("the first segment");
    let position = file.windows(4).position(|bytes| bytes == b"r/2@").expect("the content of r/2");
    assert!(world.disk.corrupt(&name, position, Corruption::Flip(1)));
    while world.checkpoint() {}
    let start = start.or_else(|| world.store().retention_due(now)).expect("there is too much");
    world.carry(start);
    assert!(world.store().contents_lost() > 0);
    let topics: Vec<_> = world.durable().retained.keys().map(ToString::to_string).collect();
    assert!(!topics.contains(&"r/2".to_owned()), "{topics:?}");
    world.reopen();
    assert!(!world.durable().retained.contains_key("r/2"));
}
