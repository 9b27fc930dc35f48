//! What rows do to the state, rule by rule.

use tidelog::commitlog::Offset;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::QoS;
use tidelog::store::AssignedRow;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::NewMessage;
use tidelog::store::ProgressRow;
use tidelog::store::Row;
use tidelog::store::Run;
use tidelog::store::SessionState;
use tidelog::store::Span;
use tidelog::store::State;
use tidelog::store::SubscriptionRow;
use tidelog::time::Timestamp;

use crate::world::PLAIN;
use crate::world::World;
use crate::world::assigned;
use crate::world::client;
use crate::world::session;
use crate::world::span;
use crate::world::text;

fn group() -> GroupKey {
    GroupKey { share: text("g"), filter: text("t") }
}

fn owed(message: u64, qos: QoS) -> AssignedRow {
    AssignedRow { qos, ..assigned(Offset::new(message), Some(group())) }
}

fn at(position: u64) -> ProgressRow {
    ProgressRow { position: Offset::new(position), ..ProgressRow::default() }
}

/// Puts rows at offsets 1, 2, 3 ...
fn fold(rows: Vec<Row>) -> State {
    let mut state = State::default();
    for (offset, row) in (1..).zip(rows) {
        state.apply(row, Offset::new(offset));
    }
    state
}

fn only(state: &State) -> &SessionState {
    state.session(&client("c")).expect("the client is known")
}

fn begin() -> Row {
    Row::Session(client("c"), Some(session(10)))
}

#[test]
fn an_assignment_moves_its_group() {
    let returned = vec![Offset::new(3), Offset::new(4)];
    let state = fold(vec![
        begin(),
        Row::Group(
            group(),
            Some(GroupRow { position: Offset::new(8), returned, ..GroupRow::default() }),
        ),
        Row::Assigned(client("c"), 0, Some(owed(3, QoS::AtLeastOnce))),
        Row::Assigned(client("c"), 1, Some(owed(9, QoS::AtLeastOnce))),
    ]);
    let expected = GroupRow {
        position: Offset::new(10),
        returned: vec![Offset::new(4)],
        ..GroupRow::default()
    };
    assert_eq!(state.group(&group()), Some(&expected));
    let places: Vec<_> = only(&state).assigned.keys().copied().collect();
    assert_eq!(places, [(Offset::new(3), 0), (Offset::new(4), 1)]);
    assert_eq!(only(&state).assigned_next, 2);
    assert_eq!(only(&state).assigned[&(Offset::new(4), 1)].place, Some(Offset::new(4)));
}

#[test]
fn the_end_of_a_session_gives_back_what_was_assigned_at_qos_1_only() {
    let state = fold(vec![
        begin(),
        Row::Group(group(), Some(GroupRow::default())),
        Row::Assigned(client("c"), 0, Some(owed(20, QoS::AtLeastOnce))),
        Row::Assigned(client("c"), 1, Some(owed(21, QoS::ExactlyOnce))),
        Row::Assigned(client("c"), 2, Some(owed(22, QoS::AtLeastOnce))),
        Row::Progress(client("c"), at(4)),
        Row::Subscription(
            client("c"),
            text("t"),
            Some(SubscriptionRow { spans: vec![span(2, None)] }),
        ),
        Row::Session(client("c"), None),
    ]);
    // The first was acknowledged: its place, 3, is below the position.
    let expected = GroupRow {
        position: Offset::new(23),
        returned: vec![Offset::new(22)],
        ..GroupRow::default()
    };
    assert_eq!(state.group(&group()), Some(&expected));
    assert_eq!(state.session(&client("c")), None);
}

#[test]
fn progress_deletes_what_it_has_passed() {
    let spans = vec![span(1, Some(5)), span(5, Some(9)), span(9, None)];
    let state = fold(vec![
        begin(),
        Row::Subscription(client("c"), text("t"), Some(SubscriptionRow { spans })),
        Row::Subscription(
            client("c"),
            text("u"),
            Some(SubscriptionRow { spans: vec![span(1, Some(5))] }),
        ),
        Row::Progress(client("c"), at(5)),
    ]);
    let kept = SubscriptionRow { spans: vec![span(5, Some(9)), span(9, None)] };
    assert_eq!(only(&state).subscriptions.iter().collect::<Vec<_>>(), [(&text("t"), &kept)]);
    assert_eq!(kept.span_at(Offset::new(8)), Some(&span(5, Some(9))));
    assert_eq!(kept.open_span(), Some(&span(9, None)));
}

#[test]
fn runs_follow_the_open_spans_in_order_of_place() {
    let due = |from, until| Span { retained_run: true, ..span(from, until) };
    let subscribe = |filter, spans| {
        Row::Subscription(client("c"), text(filter), Some(SubscriptionRow { spans }))
    };
    let rows = vec![
        begin(),
        subscribe("t", vec![due(9, None)]),
        subscribe("u", vec![due(4, None)]),
        subscribe("v", vec![due(9, None)]),
        subscribe("w", vec![due(2, Some(20)), span(20, None)]),
    ];
    let run = |place, filter| Run { place: Offset::new(place), filter: text(filter) };
    assert_eq!(only(&fold(rows.clone())).runs, [run(4, "u"), run(9, "t"), run(9, "v")]);

    let progress = ProgressRow { runs_done: Offset::new(5), ..ProgressRow::default() };
    let mut after = rows.clone();
    after.push(Row::Progress(client("c"), progress));
    assert_eq!(only(&fold(after.clone())).runs, [run(9, "t"), run(9, "v")]);

    after.push(subscribe("u", vec![due(4, None)]));
    after.push(Row::Subscription(client("c"), text("t"), None));
    assert_eq!(only(&fold(after)).runs, [run(9, "v")]);
}

#[test]
fn rows_may_come_in_any_order_while_the_log_is_read() {
    let spans = vec![span(1, Some(5)), Span { retained_run: true, ..span(5, None) }];
    let rows = vec![
        begin(),
        Row::Progress(client("c"), ProgressRow { runs_done: Offset::new(6), ..at(5) }),
        Row::Subscription(client("c"), text("t"), Some(SubscriptionRow { spans })),
        Row::Assigned(
            client("c"),
            3,
            Some(AssignedRow { place: Some(Offset::new(5)), ..owed(2, QoS::AtMostOnce) }),
        ),
        Row::Assigned(
            client("c"),
            1,
            Some(AssignedRow { place: Some(Offset::new(4)), ..owed(1, QoS::AtMostOnce) }),
        ),
        Row::Inbound(client("c"), PacketId::MIN, Some(Offset::new(2))),
    ];
    let expected = fold(rows.clone());
    assert_eq!((only(&expected).assigned_next, only(&expected).runs.len()), (4, 0));
    for turn in 0..rows.len() {
        let mut turned = rows.clone();
        turned.rotate_left(turn);
        assert_eq!(fold(turned.clone()), expected);
        turned.reverse();
        assert_eq!(fold(turned), expected);
    }
}

#[test]
fn what_has_no_session_is_dropped_but_for_wills() {
    let mut state = fold(vec![
        Row::Progress(client("c"), at(5)),
        Row::Inbound(client("d"), PacketId::MIN, Some(Offset::new(2))),
        Row::Session(client("e"), Some(session(1))),
    ]);
    state.drop_orphans();
    assert_eq!(state.sessions().map(|(client, _)| client.as_str()).collect::<Vec<_>>(), ["e"]);
}

#[test]
fn a_message_at_qos_2_takes_its_packet_id_until_it_is_released() {
    let mut world = World::new();
    let now = world.now;
    let id = PacketId::new(9).unwrap();
    let message = NewMessage { qos: QoS::ExactlyOnce, packet_id: Some(id), ..PLAIN };
    let sessions = [("recorded", 10), ("transient", 0)];
    for (name, expiry) in sessions {
        world.store().put(now, Row::Session(client(name), Some(session(expiry))));
        let offset = world.publish("t", NewMessage { publisher: name, ..message });
        assert_eq!(world.state().session(&client(name)).unwrap().inbound.get(&id), Some(&offset));
    }
    world.publish("t", NewMessage { publisher: "stranger", ..message });
    assert!(world.state().session(&client("stranger")).is_none());
    world.reopen();
    assert_eq!(world.state().sessions().count(), 1);
    assert_eq!(world.state().session(&client("recorded")).unwrap().inbound.len(), 1);
    world.store().put(now, Row::Inbound(client("recorded"), id, None));
    world.reopen();
    assert_eq!(world.state().session(&client("recorded")).unwrap().inbound.len(), 0);
}

#[test]
fn transient_sessions_leave_nothing_but_a_will_in_the_log() {
    let mut world = World::new();
    let now = world.now;
    let end = world.store().next_offset();
    let last = Offset::new(end.as_u64() - 1);
    assert_eq!(world.store().put(now, begin_transient()), last);
    assert_eq!(world.store().put(now, Row::Progress(client("c"), at(0))), last);
    let row = SubscriptionRow { spans: vec![span(end.as_u64(), None)] };
    assert_eq!(world.store().put(now, Row::Subscription(client("c"), text("t"), Some(row))), last);
    assert_eq!(world.store().next_offset(), end);
    assert_eq!(only(world.state()).subscriptions.len(), 1);
    assert!(!world.state().is_recorded(&client("c")));

    assert_eq!(world.store().put(now, Row::Will(client("c"), Some(will()))), end);
    world.reopen();
    let expected = SessionState { will: Some(Box::new(will())), ..SessionState::default() };
    assert_eq!(only(world.state()), &expected);

    world.store().put(now, begin_transient());
    assert_eq!(world.store().put(now, Row::Session(client("c"), None)), end.next());
    world.reopen();
    assert_eq!(world.state().sessions().count(), 0);
}

#[test]
fn a_transient_session_can_become_a_recorded_one() {
    for by_row in [true, false] {
        let mut world = World::new();
        let now = world.now;
        world.store().put(now, begin_transient());
        world.store().put(now, Row::Inbound(client("c"), PacketId::MIN, Some(Offset::new(7))));
        if by_row {
            world.store().put(now, begin());
        } else {
            world.store().record_session(now, &client("c"));
        }
        world.store().put(now, Row::Progress(client("c"), at(3)));
        let expected = only(world.state()).clone();
        assert!(expected.recorded && expected.inbound.len() == 1);
        world.reopen();
        assert_eq!(only(world.state()), &expected);
    }
}

fn begin_transient() -> Row {
    Row::Session(client("c"), Some(session(0)))
}

fn will() -> tidelog::store::WillRow {
    tidelog::store::WillRow {
        topic: "w".parse().unwrap(),
        payload: "gone".into(),
        qos: QoS::AtMostOnce,
        retain: false,
        properties: bytes::Bytes::new(),
        delay_interval: 0,
        expiry_interval: None,
        fires_at: Some(Timestamp::from_micros(5)),
    }
}
