//! Time across restarts: it never goes back, and what a wrong clock adds does not count for what was there before.

use std::time::Duration;

use tidelog::mqtt::QoS;
use tidelog::store::ClockFound;
use tidelog::store::NewMessage;
use tidelog::store::Row;
use tidelog::time::Timestamp;

use crate::world::PLAIN;
use crate::world::World;
use crate::world::client;
use crate::world::session;

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(365 * 24);

/// A world with a session and a message, some time after the beginning; and the moment of the message.
fn world() -> (World, Timestamp) {
    let mut world = World::new();
    world.options.clock_jump_max = 30 * DAY;
    world.reopen();
    world.pass(DAY);
    let now = world.now;
    world.store().put(now, Row::Session(client("c"), Some(session(9))));
    world.publish("a", NewMessage { qos: QoS::AtLeastOnce, ..PLAIN });
    (world, now)
}

#[test]
fn a_wall_that_is_behind_is_not_followed() {
    let (mut world, last) = world();
    world.commit();
    world.close();
    world.now = last - Duration::from_mins(7);
    world.open();
    let found = ClockFound::Behind { by: Duration::from_mins(7) };
    assert_eq!((world.recovery().clock, world.started()), (found, last));
    assert!(found.to_string().contains("420 s behind"), "{found}");
}

#[test]
fn a_wall_within_what_is_believed_is_followed() {
    let (mut world, last) = world();
    world.pass(30 * DAY);
    world.reopen();
    let now = world.now;
    assert_eq!((world.recovery().clock, world.started()), (ClockFound::Agrees, now));
    assert_eq!(world.store().present_for(last, now), now);
}

#[test]
fn what_is_more_than_that_does_not_count_for_what_was_there() {
    let (mut world, last) = world();
    world.pass(10 * YEAR);
    world.reopen();
    let now = world.now;
    let forgiven = (10 * YEAR).checked_sub(30 * DAY).unwrap();
    let found = ClockFound::Ahead { by: 10 * YEAR, forgiven };
    assert_eq!((world.recovery().clock, world.started()), (found, now));
    assert_eq!(world.store().present_for(last, now), last + 30 * DAY);
    // What comes now has the wall's time, and all of the time from now on counts for both.
    let later = now + DAY;
    assert_eq!(world.store().present_for(now, later), later);
    assert_eq!(world.store().present_for(last, later), last + 31 * DAY);
}

/// The jump is known after crashes, without the state, and when its record is long gone.
#[test]
fn a_jump_is_remembered() {
    let (mut world, last) = world();
    world.options.log.retention_bytes = Some(6 << 10);
    world.pass(10 * YEAR);
    world.reopen();
    let expected = world.state().clock().clone();
    assert_eq!(expected.jumps().len(), 1);
    for round in 0..6 {
        for _ in 0..60 {
            world.publish("filling", PLAIN);
        }
        world.commit();
        while world.checkpoint() {}
        world.retain();
        world.commit();
        world.close();
        if round % 2 == 0 {
            world.states.delete();
        }
        world.open();
        assert_eq!(world.state().clock(), &expected, "round {round}");
    }
    assert!(world.store().start_offset().as_u64() > 100, "the row was carried");
    let now = world.now;
    assert_eq!(world.store().present_for(last, now), last + 30 * DAY);
}

#[test]
fn old_segments_stay_after_a_jump_until_their_time_has_come() {
    let (mut world, _) = world();
    world.options.log.retention_age = Some(60 * DAY);
    for _ in 0..20 {
        for _ in 0..10 {
            world.publish("filling", PLAIN);
        }
        world.commit();
    }
    world.pass(10 * YEAR);
    world.reopen();
    world.commit();
    while world.checkpoint() {}
    assert!(!world.retain(), "they are 30 days old at most");
    world.pass(29 * DAY);
    assert!(!world.retain());
    world.pass(2 * DAY);
    assert!(world.retain(), "61 days");
}
