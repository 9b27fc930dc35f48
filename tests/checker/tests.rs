//! The checker sees what it should: each history is a sound one with one thing wrong in it.

use super::Answer;
use super::Asked;
use super::Checker;
use super::Connecting;
use super::Delivery;
use super::Expiry;
use super::Fact;
use super::Sent;
use super::Slack;
use super::WillFact;

/// One second of the history's clock.
const SECOND: u64 = 1_000_000;

/// A history being told, a second between two facts.
struct History {
    checker: Checker,
    now: u64,
}

impl History {
    /// A publisher and a subscriber with sessions that are kept, on connections 1 and 2, the subscriber with `a/#` at QoS 2.
    fn begin() -> Self {
        let mut history = Self { checker: Checker::new(Slack::default()), now: SECOND };
        history.connect("publisher", 1, false, false, None);
        history.connect("subscriber", 2, false, false, None);
        history.subscribe(2, 1, &asked("a/#", 2));
        history
    }

    fn tell(&mut self, fact: &Fact) {
        self.now += SECOND;
        self.checker.observe(self.now, fact);
    }

    fn connect(
        &mut self,
        client: &str,
        connection: u64,
        clean_start: bool,
        present: bool,
        will: Option<WillFact>,
    ) {
        self.tell(&Fact::Connecting(Connecting {
            client: client.to_owned(),
            connection,
            clean_start,
            expiry: Expiry::Never,
            receive_maximum: 2,
            will,
        }));
        self.tell(&Fact::Connected { connection, session_present: Some(present) });
    }

    fn subscribe(&mut self, connection: u64, request: u16, asked: &Asked) {
        let granted = vec![Some(asked.qos)];
        self.tell(&Fact::Subscribing { connection, request, asked: vec![asked.clone()] });
        self.tell(&Fact::Subscribed { connection, request, granted });
    }

    fn unsubscribe(&mut self, connection: u64, request: u16, filter: &str) {
        self.tell(&Fact::Unsubscribing { connection, request, filters: vec![filter.to_owned()] });
        self.tell(&Fact::Unsubscribed { connection, request });
    }

    fn publish(&mut self, sent: &Sent) {
        self.tell(&Fact::Publishing { sent: sent.clone() });
        self.tell(&Fact::Acknowledged { number: sent.number });
    }

    fn deliver(&mut self, connection: u64, sent: &Sent, packet_id: u16, dup: bool) {
        let mut delivery = delivery(connection, sent, packet_id);
        delivery.dup = dup;
        delivery.sent_at = self.now + SECOND;
        self.tell(&Fact::Delivered(delivery));
    }

    fn answer(&mut self, connection: u64, packet_id: u16, answer: Answer) {
        self.tell(&Fact::Answered { connection, packet_id, answer });
    }

    /// The first thing that is wrong, at the end.
    fn verdict(mut self) -> String {
        self.now += 1_000 * SECOND;
        self.checker.finish();
        self.checker.violations().first().cloned().unwrap_or_default()
    }
}

fn asked(filter: &str, qos: u8) -> Asked {
    Asked {
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
    }
}

fn message(number: u64, qos: u8) -> Sent {
    Sent {
        number,
        publisher: "publisher".to_owned(),
        topic: "a/b".to_owned(),
        qos,
        retain: false,
        empty: false,
        expiry: None,
        is_will: false,
        delay: None,
        cancels: None,
    }
}

fn will(delay: u32) -> WillFact {
    WillFact { sent: Sent { topic: "a/will".to_owned(), is_will: true, ..message(9, 1) }, delay }
}

fn delivery(connection: u64, sent: &Sent, packet_id: u16) -> Delivery {
    Delivery {
        connection,
        topic: sent.topic.clone(),
        number: (!sent.empty).then_some(sent.number),
        qos: sent.qos,
        dup: false,
        retain: false,
        packet_id: Some(packet_id),
        subscription_ids: Vec::new(),
        expiry_left: None,
        sent_at: 0,
        is_v5: true,
    }
}

fn assert_says(history: History, words: &str) {
    let verdict = history.verdict();
    assert!(verdict.contains(words), "expected `{words}`, got `{verdict}`");
}

#[test]
fn a_sound_history_has_nothing_wrong() {
    let mut history = History::begin();
    let one = message(1, 1);
    history.publish(&one);
    history.deliver(2, &one, 1, false);
    history.answer(2, 1, Answer::Puback);
    assert_eq!(history.verdict(), "");
}

#[test]
fn an_acknowledged_message_that_never_arrives() {
    let mut history = History::begin();
    history.publish(&message(1, 1));
    assert_says(history, "never reached subscriber");
}

#[test]
fn a_message_that_nobody_sent_or_that_went_elsewhere() {
    let mut history = History::begin();
    history.deliver(2, &message(1, 1), 1, false);
    assert_says(history, "never sent");

    let mut history = History::begin();
    history.publish(&message(1, 1));
    history.deliver(2, &Sent { topic: "a/c".to_owned(), ..message(1, 1) }, 1, false);
    assert_says(history, "another topic");
}

#[test]
fn a_message_without_a_subscription_to_it() {
    let mut history = History::begin();
    history.unsubscribe(2, 2, "a/#");
    let late = message(1, 1);
    history.publish(&late);
    history.deliver(2, &late, 1, false);
    assert_says(history, "without a subscription");
}

#[test]
fn a_subscription_that_was_refused_does_not_end_the_one_before() {
    let mut history = History::begin();
    history.tell(&Fact::Subscribing { connection: 2, request: 2, asked: vec![asked("a/#", 1)] });
    history.tell(&Fact::Subscribed { connection: 2, request: 2, granted: vec![None] });
    let one = message(1, 2);
    history.publish(&one);
    history.deliver(2, &one, 1, false);
    assert_eq!(history.verdict(), "");
}

#[test]
fn a_message_at_its_publisher_in_spite_of_no_local() {
    let mut history = History::begin();
    history.subscribe(1, 1, &Asked { no_local: true, ..asked("a/b", 1) });
    let own = message(1, 1);
    history.publish(&own);
    history.deliver(1, &own, 1, false);
    assert_says(history, "No Local");
}

#[test]
fn messages_out_of_order() {
    let mut history = History::begin();
    let (one, two) = (message(1, 1), message(2, 1));
    history.publish(&one);
    history.publish(&two);
    history.deliver(2, &two, 1, false);
    history.deliver(2, &one, 2, false);
    assert_says(history, "arrived after 2");
}

#[test]
fn a_message_twice_at_qos_2() {
    let mut history = History::begin();
    let one = message(1, 2);
    history.publish(&one);
    history.deliver(2, &one, 1, false);
    history.deliver(2, &one, 2, false);
    assert_says(history, "2 times at QoS 2");
}

#[test]
fn more_than_the_window() {
    let mut history = History::begin();
    for number in 1..=3 {
        history.publish(&message(number, 1));
        history.deliver(2, &message(number, 1), u16::try_from(number).unwrap(), false);
    }
    assert_says(history, "Receive Maximum");
}

#[test]
fn a_session_that_should_be_there_and_one_that_should_not() {
    let mut history = History::begin();
    history.tell(&Fact::Lost { connection: 2 });
    history.connect("subscriber", 3, false, false, None);
    assert_says(history, "it has to be");

    let mut history = History::begin();
    history.tell(&Fact::Lost { connection: 2 });
    history.connect("subscriber", 3, true, true, None);
    assert_says(history, "it can't be");
}

/// A message is in flight to the subscriber when its connection is lost, and it comes back on connection 3.
fn in_flight() -> (History, Sent) {
    let mut history = History::begin();
    let one = message(1, 2);
    history.publish(&one);
    history.deliver(2, &one, 1, false);
    history.tell(&Fact::Lost { connection: 2 });
    history.connect("subscriber", 3, false, true, None);
    (history, one)
}

#[test]
fn what_was_in_flight() {
    let (mut history, one) = in_flight();
    history.deliver(3, &one, 1, true);
    assert_eq!(history.verdict(), "");

    let (history, _) = in_flight();
    assert_says(history, "never came again");

    let (mut history, one) = in_flight();
    history.deliver(3, &one, 1, false);
    assert_says(history, "without DUP");

    let (mut history, _) = in_flight();
    history.publish(&message(2, 2));
    history.deliver(3, &message(2, 2), 1, true);
    assert_says(history, "had not finished before the cut");
}

#[test]
fn a_message_that_had_expired() {
    let mut history = History::begin();
    let short = Sent { expiry: Some(2), ..message(1, 1) };
    history.publish(&short);
    history.now += 10 * SECOND;
    history.deliver(2, &short, 1, false);
    assert_says(history, "it had expired");
}

#[test]
fn retained_messages_that_were_replaced_or_lost() {
    let retained = |number| Sent { retain: true, ..message(number, 1) };
    let mut history = History::begin();
    history.publish(&retained(1));
    history.publish(&retained(2));
    history.deliver(2, &retained(1), 1, false);
    history.deliver(2, &retained(2), 2, false);
    history.connect("auditor", 3, true, false, None);
    history.tell(&Fact::Auditing { connection: 3 });
    history.subscribe(3, 1, &asked("#", 1));
    let mut old = delivery(3, &retained(1), 1);
    old.retain = true;
    history.tell(&Fact::Delivered(old));
    assert_says(history, "2 had replaced it");

    let mut history = History::begin();
    history.publish(&retained(1));
    history.deliver(2, &retained(1), 1, false);
    history.connect("auditor", 3, true, false, None);
    history.tell(&Fact::Auditing { connection: 3 });
    assert_says(history, "may only be one of [1]");
}

#[test]
fn wills_that_come_uncalled_too_early_or_not() {
    let mut history = History::begin();
    history.connect("mortal", 3, false, false, Some(will(0)));
    history.tell(&Fact::Disconnecting { connection: 3, with_will: false, expiry: None });
    history.tell(&Fact::ServerClosed { connection: 3, read_all: true });
    history.deliver(2, &will(0).sent, 1, false);
    assert_says(history, "should not have been");

    let mut history = History::begin();
    history.connect("mortal", 3, false, false, Some(will(100)));
    history.tell(&Fact::Lost { connection: 3 });
    history.tell(&Fact::ServerClosed { connection: 3, read_all: false });
    history.deliver(2, &will(100).sent, 1, false);
    assert_says(history, "before its delay");

    let mut history = History::begin();
    history.connect("mortal", 3, false, false, Some(will(0)));
    history.tell(&Fact::Lost { connection: 3 });
    history.tell(&Fact::ServerClosed { connection: 3, read_all: false });
    for _ in 0..10 {
        history.publish(&Sent { topic: "elsewhere".to_owned(), ..message(20, 1) });
    }
    assert_says(history, "was due and never reached");
}

#[test]
fn a_will_that_comes_long_before_its_connection_ends() {
    for (seconds, is_wrong) in [(1, false), (20, true)] {
        let mut history = History::begin();
        history.checker =
            Checker::new(Slack { timers: 10 * SECOND, arrival: 5 * SECOND, ..Slack::default() });
        history.connect("subscriber", 2, false, false, None);
        history.subscribe(2, 1, &asked("a/#", 2));
        history.connect("mortal", 3, false, false, Some(will(0)));
        history.deliver(2, &will(0).sent, 1, false);
        history.now += seconds * SECOND;
        history.tell(&Fact::Lost { connection: 3 });
        let verdict = history.verdict();
        assert_eq!(verdict.contains("while its connection lived"), is_wrong, "{verdict}");
        assert_eq!(verdict.is_empty(), !is_wrong, "{verdict}");
    }
}

/// Two members of a group.
fn group() -> History {
    let mut history = History::begin();
    history.connect("left", 3, false, false, None);
    history.connect("right", 4, false, false, None);
    history.subscribe(3, 1, &asked("$share/group/g", 2));
    history.subscribe(4, 1, &asked("$share/group/g", 2));
    history
}

#[test]
fn a_shared_message_at_two_members_or_at_none() {
    let shared = Sent { topic: "g".to_owned(), ..message(1, 2) };
    let mut history = group();
    history.publish(&shared);
    history.deliver(3, &shared, 1, false);
    assert_eq!(history.verdict(), "");

    let mut history = group();
    history.publish(&shared);
    history.deliver(3, &shared, 1, false);
    history.deliver(4, &shared, 1, false);
    assert_says(history, "2 times in $share/group/g");

    let mut history = group();
    history.publish(&shared);
    assert_says(history, "reached nobody");
}

fn delayed(qos: u8) -> Sent {
    Sent { delay: Some(10), ..message(1, qos) }
}

/// It is told when it reached the subscriber, after so many more seconds.
fn deliver_later(history: &mut History, sent: &Sent, seconds: u64) {
    history.now += seconds * SECOND;
    let packet_id = (sent.qos > 0).then_some(1);
    let sent_at = history.now + SECOND;
    history.tell(&Fact::Delivered(Delivery { packet_id, sent_at, ..delivery(2, sent, 1) }));
    if packet_id.is_some() {
        history.answer(2, 1, Answer::Puback);
    }
}

#[test]
fn delayed_messages_that_come_early_not_or_twice() {
    for (seconds, words) in [(3, "arrived before it was due"), (20, "")] {
        let mut history = History::begin();
        history.publish(&delayed(1));
        deliver_later(&mut history, &delayed(1), seconds);
        let verdict = history.verdict();
        assert!(verdict.contains(words) && (verdict.is_empty() == words.is_empty()), "{verdict}");
    }
    for (seconds, words) in [(20, "never reached subscriber"), (3, "")] {
        let mut history = History::begin();
        history.publish(&delayed(1));
        history.checker.pass_time(history.now + seconds * SECOND);
        let verdict = history.verdict();
        assert!(verdict.contains(words) && (verdict.is_empty() == words.is_empty()), "{verdict}");
    }
    let mut history = History::begin();
    history.publish(&delayed(0));
    for _ in 0..2 {
        deliver_later(&mut history, &delayed(0), 20);
    }
    assert_says(history, "arrived 2 times");
}

#[test]
fn a_replay_that_repeats_what_was_delayed() {
    for (crashes, words) in [(false, "arrived 2 times"), (true, "")] {
        let mut history = History::begin();
        history.subscribe(2, 2, &asked("$replay/earliest/a/#", 2));
        history.publish(&delayed(0));
        deliver_later(&mut history, &delayed(0), 20);
        if crashes {
            history.tell(&Fact::Crashed);
            history.tell(&Fact::Recovered);
            history.connect("subscriber", 3, false, true, None);
        }
        let sent_at = history.now + SECOND;
        let connection = if crashes { 3 } else { 2 };
        let again = delivery(connection, &delayed(0), 1);
        history.tell(&Fact::Delivered(Delivery { packet_id: None, sent_at, ..again }));
        let verdict = history.verdict();
        assert!(verdict.contains(words) && crashes == verdict.is_empty(), "{verdict}");
    }
}

#[test]
fn delayed_messages_that_were_cancelled() {
    let topic = "$ctl/delayed/7/cancel".to_owned();
    let cancel = Sent { topic, empty: true, cancels: Some(1), ..message(2, 1) };
    for (arrives, words) in [(true, "was cancelled and reached subscriber"), (false, "")] {
        let mut history = History::begin();
        history.publish(&delayed(1));
        history.publish(&cancel);
        if arrives {
            deliver_later(&mut history, &delayed(1), 20);
        }
        let verdict = history.verdict();
        assert!(verdict.contains(words) && arrives != verdict.is_empty(), "{verdict}");
    }
    // Nobody knows what became of the request.
    let mut history = History::begin();
    history.publish(&delayed(1));
    history.tell(&Fact::Publishing { sent: cancel });
    assert_eq!(history.verdict(), "");
}

#[test]
fn exclusive_subscriptions_of_two_or_of_nobody() {
    let exclusive = asked("$exclusive/a/#", 2);
    for (given_up, granted, words) in [
        (false, true, "has it"),
        (true, true, ""),
        (true, false, "nobody has it"),
        (false, false, ""),
    ] {
        let mut history = History::begin();
        history.subscribe(2, 2, &exclusive);
        if given_up {
            history.unsubscribe(2, 3, &exclusive.filter);
        }
        let asked = vec![exclusive.clone()];
        history.tell(&Fact::Subscribing { connection: 1, request: 1, asked });
        let granted = vec![granted.then_some(2)];
        history.tell(&Fact::Subscribed { connection: 1, request: 1, granted });
        let verdict = history.verdict();
        assert!(verdict.contains(words) && verdict.is_empty() == words.is_empty(), "{verdict}");
    }
}

#[test]
fn exclusive_subscriptions_that_end_with_their_session() {
    let exclusive = asked("$exclusive/a/#", 2);
    for (clean, words) in [(true, ""), (false, "has it")] {
        let mut history = History::begin();
        history.subscribe(2, 2, &exclusive);
        history.connect("subscriber", 3, clean, !clean, None);
        history.subscribe(1, 1, &exclusive);
        let verdict = history.verdict();
        assert!(verdict.contains(words) && verdict.is_empty() == words.is_empty(), "{verdict}");
    }
}
