//! What the cleaner takes out of the log, what it leaves, and that the log alone says the same afterwards.

use std::time::Duration;

use tidelog::commitlog::Offset;
use tidelog::commitlog::disk::memory::Corruption;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::QoS;
use tidelog::store::CheckpointUse;
use tidelog::store::Durability;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::MemoryStateStore;
use tidelog::store::NewMessage;
use tidelog::store::ProgressRow;
use tidelog::store::RebuildReason;
use tidelog::store::Row;
use tidelog::store::StateStore;
use tidelog::store::SubscriptionRow;

use crate::world::PLAIN;
use crate::world::World;
use crate::world::assigned;
use crate::world::client;
use crate::world::session;
use crate::world::span;
use crate::world::text;

fn put(world: &mut World, row: Row) -> Offset {
    let now = world.now;
    world.store().put(now, row)
}

/// Moves a client on to the end of the log.
fn advance(world: &mut World, name: &str) -> Offset {
    let position = world.store().next_offset();
    put(world, Row::Progress(client(name), ProgressRow { position, ..ProgressRow::default() }))
}

/// Several segments of messages, so that what was put before can be cleaned; then checkpoints.
fn fill(world: &mut World) {
    for _ in 0..12 {
        for _ in 0..10 {
            world.publish("filling", PLAIN);
        }
        world.commit();
    }
    settle(world);
}

fn settle(world: &mut World) {
    world.commit();
    world.maintain();
    while world.checkpoint() {}
}

fn is_there(world: &mut World, offset: Offset) -> bool {
    world.has_record(offset)
}

/// A round, after which the log alone gives the state there was.
fn clean(world: &mut World) -> u64 {
    let rewritten = world.clean(usize::MAX);
    let expected = world.durable();
    world.close();
    world.states.delete();
    world.open();
    assert!(!world.used_checkpoint());
    assert_eq!(world.durable(), expected);
    world.check_retained();
    settle(world);
    rewritten
}

#[test]
fn of_each_row_the_last_record_stays() {
    let mut world = World::new();
    let first = put(&mut world, Row::Session(client("c"), Some(session(9))));
    let second = put(&mut world, Row::Session(client("c"), Some(session(99))));
    let progress: Vec<Offset> = (0..5).map(|_| advance(&mut world, "c")).collect();
    let message = world.publish("t", PLAIN);
    fill(&mut world);
    assert!(clean(&mut world) > 0);
    assert!(!is_there(&mut world, first) && is_there(&mut world, second));
    assert!(is_there(&mut world, message) && is_there(&mut world, Offset::ZERO));
    let left: Vec<bool> = progress.iter().map(|at| is_there(&mut world, *at)).collect();
    assert_eq!(left, [false, false, false, false, true]);
}

/// A tombstone that went before what it deletes would bring that back.
#[test]
fn a_tombstone_stays_as_long_as_there_is_something_older() {
    let mut world = World::new();
    put(&mut world, Row::Session(client("c"), Some(session(9))));
    let row = SubscriptionRow { spans: vec![span(2, None)] };
    let subscription = put(&mut world, Row::Subscription(client("c"), text("t"), Some(row)));
    let end = put(&mut world, Row::Session(client("c"), None));
    fill(&mut world);
    assert!(clean(&mut world) > 0);
    assert!(!is_there(&mut world, subscription) && is_there(&mut world, end));
    fill(&mut world);
    assert!(clean(&mut world) > 0);
    assert!(!is_there(&mut world, end));
}

/// The packet id of a message is a row of its publisher, and its release a tombstone that has to stay with the message.
#[test]
fn a_packet_id_that_was_released_does_not_come_back() {
    let mut world = World::new();
    put(&mut world, Row::Session(client("c"), Some(session(9))));
    let id = PacketId::new(7).unwrap();
    let message =
        NewMessage { qos: QoS::ExactlyOnce, packet_id: Some(id), publisher: "c", ..PLAIN };
    let first = world.publish("t", message);
    let released = put(&mut world, Row::Inbound(client("c"), id, None));
    let second = world.publish("t", message);
    let last = put(&mut world, Row::Inbound(client("c"), id, None));
    fill(&mut world);
    assert!(clean(&mut world) > 0);
    for (offset, stays) in [(first, true), (released, false), (second, true), (last, true)] {
        assert_eq!(is_there(&mut world, offset), stays, "{offset}");
    }
}

#[test]
fn an_expired_message_goes_when_everybody_has_passed_it_and_no_row_refers_to_it() {
    for durability in [Durability::Fsync, Durability::Os] {
        let mut world = World::new();
        world.options.durability = durability;
        world.reopen();
        put(&mut world, Row::Session(client("c"), Some(session(9))));
        let short = NewMessage { expiry_interval: Some(1), ..PLAIN };
        let passed = world.publish("t", short);
        let referred = world.publish("t", short);
        let retained = world.publish("t", NewMessage { retain: true, ..short });
        advance(&mut world, "c");
        let row = assigned(referred, None);
        put(&mut world, Row::Assigned(client("c"), 0, Some(row)));
        let behind = world.publish("t", short);
        let lasting = world.publish("t", PLAIN);
        world.pass(Duration::from_secs(5));
        fill(&mut world);
        world.clean(usize::MAX);
        let kept: Vec<bool> = [passed, referred, retained, behind, lasting]
            .map(|offset| is_there(&mut world, offset))
            .to_vec();
        assert_eq!(kept, [durability == Durability::Os, true, true, true, true], "{durability:?}");
    }
}

/// What a member had not acknowledged when its session ended goes back to the group, and what it had does not, although the records
/// that say so are superseded.
#[test]
fn a_group_gets_back_what_it_is_owed_and_no_more() {
    let mut world = World::new();
    let group = GroupKey { share: text("g"), filter: text("t") };
    put(&mut world, Row::Group(group.clone(), Some(GroupRow::default())));
    for (name, passes) in [("done", true), ("owing", false)] {
        put(&mut world, Row::Session(client(name), Some(session(9))));
        let message = world.publish("t", PLAIN);
        let row = assigned(message, Some(group.clone()));
        put(&mut world, Row::Assigned(client(name), 0, Some(row)));
        if passes {
            advance(&mut world, name);
        }
        put(&mut world, Row::Session(client(name), None));
        put(&mut world, Row::Session(client(name), Some(session(9))));
        advance(&mut world, name);
    }
    assert_eq!(world.durable().groups[&group].returned.len(), 1);
    fill(&mut world);
    for round in 0..3 {
        let before = world.store().size_bytes();
        let rewritten = clean(&mut world);
        assert!(rewritten > 0 || round == 0, "{round}");
        assert!(world.store().size_bytes() < before || round == 0);
        fill(&mut world);
    }
    assert_eq!(world.durable().groups[&group].returned.len(), 1);
}

#[test]
fn a_checkpoint_that_is_older_than_the_cleaning_is_not_used() {
    let mut world = World::new();
    put(&mut world, Row::Session(client("c"), Some(session(9))));
    settle(&mut world);
    let old = MemoryStateStore::new();
    let mut entries = Vec::new();
    world
        .states
        .scan(&mut |key, value| entries.push((key.to_vec(), Some(value.to_vec()))))
        .unwrap();
    put(&mut world, Row::Session(client("c"), None));
    for _ in 0..2 {
        fill(&mut world);
        assert!(world.clean(usize::MAX) > 0);
    }
    let expected = world.durable();
    assert!(expected.clients.is_empty());
    world.commit();
    world.close();
    let mut restored = old;
    for entry in entries {
        restored.apply(&[entry]).unwrap();
    }
    restored.sync().unwrap();
    world.states = restored;
    world.open();
    let reason = world.recovery().checkpoint.clone();
    assert!(
        matches!(reason, CheckpointUse::Rebuilt(RebuildReason::BehindCleaner { .. })),
        "{reason:?}"
    );
    assert_eq!(world.durable(), expected);
}

#[test]
fn what_is_not_remembered_or_not_known_stays() {
    let mut world = World::new();
    world.options.clean_names_max = 0;
    world.reopen();
    put(&mut world, Row::Session(client("c"), Some(session(9))));
    let first = advance(&mut world, "c");
    advance(&mut world, "c");
    fill(&mut world);
    assert_eq!(clean(&mut world), 0);
    world.options.clean_names_max = 100;
    world.reopen();
    settle(&mut world);
    // Behind what is broken may be what it supersedes.
    let damaged = format!("{:020}.log", world.second_segment().as_u64());
    assert!(world.disk.corrupt(&damaged, 2_000, Corruption::Flip(1)));
    fill(&mut world);
    world.clean(usize::MAX);
    assert!(is_there(&mut world, first));
}

/// A delayed message is gone from the log once it was published or cancelled, and so in the end is what says that.
#[test]
fn what_was_kept_back_goes_when_it_has_ended() {
    let mut world = World::new();
    let gone = world.delay("t", PLAIN);
    let kept = world.delay("u", PLAIN);
    fill(&mut world);
    let end = put(&mut world, Row::Delayed(gone, None));
    fill(&mut world);
    assert!(clean(&mut world) > 0);
    assert!(!is_there(&mut world, gone) && is_there(&mut world, kept));
    fill(&mut world);
    clean(&mut world);
    assert!(!is_there(&mut world, end) && is_there(&mut world, kept));
    assert_eq!(world.state().delayed().keys().copied().collect::<Vec<_>>(), [kept]);
}
