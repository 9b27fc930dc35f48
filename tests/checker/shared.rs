//! Shared groups: each message to one member [5.0, 4.8.2].
//!
//! Two names are for groups that the world has declared: what [`KEYED`] brings of one topic comes in its order, whoever gets it, and what
//! [`MANUAL`] brings may come again, because nobody commits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::filter::is_replayed;
use super::messages::Known;
use super::messages::Messages;
use super::session::Session;
use super::session::Span;

/// The group whose messages have their topic for a key.
const KEYED: &str = "keyed";
/// The group with manual commit.
const MANUAL: &str = "manual";

/// The order of what the keyed group brought.
#[derive(Default)]
pub(super) struct Order {
    /// The last message of each topic and publisher.
    last: BTreeMap<(String, String), u64>,
    seen: BTreeSet<u64>,
}

impl Order {
    /// Takes a message that reached a member, at whatever session; says what came before it and was sent later.
    pub(super) fn arrived(&mut self, session: &Session, known: &Known) -> Option<u64> {
        let topic = &known.sent.topic;
        let keyed = |span: &Span| span.share() == Some(KEYED) && span.matches(topic);
        let number = known.sent.number;
        let timed = known.sent.expiry.is_some() || known.sent.delay.is_some();
        if !session.spans.iter().any(keyed)
            || !session.only_shared(topic)
            || timed
            || known.sent.is_will
            || known.sent.qos == 0
            || !self.seen.insert(number)
            || known.sendings != 1
        {
            return None;
        }
        let place = (topic.clone(), known.sent.publisher.clone());
        let last = self.last.entry(place).or_default();
        if number < *last {
            return Some(*last);
        }
        *last = number;
        None
    }
}

/// Whether messages of a group may come again at any time.
pub(super) fn is_manual(span: &Span) -> bool {
    span.share() == Some(MANUAL)
}

/// A member: its session and one of its subscriptions to the group.
type Member<'a> = (&'a Session, &'a Span);

/// At QoS 2 nothing went to two members, and what was acknowledged went to one, unless the one it went to is gone.
pub(super) fn check<'a>(
    sessions: impl Iterator<Item = &'a Session>,
    messages: &Messages,
    forgets: bool,
    found: &mut Vec<String>,
) {
    let mut groups: BTreeMap<&str, Vec<Member<'a>>> = BTreeMap::new();
    for session in sessions {
        for span in session.spans.iter().filter(|span| span.share().is_some() && !span.refused) {
            groups.entry(&span.asked.filter).or_default().push((session, span));
        }
    }
    for (group, members) in &groups {
        for known in messages.iter() {
            if members.iter().any(|(_, span)| span.matches(&known.sent.topic)) {
                check_copies(group, members, known, found);
                if !forgets {
                    check_arrived(group, members, known, found);
                }
            }
        }
    }
}

/// The members' sessions, each once, however often it subscribed.
fn sessions_of<'a>(members: &[Member<'a>]) -> Vec<&'a Session> {
    let mut sessions: Vec<&Session> = members.iter().map(|(session, _)| *session).collect();
    sessions.dedup_by_key(|session| session.began);
    sessions
}

fn check_copies(group: &str, members: &[Member<'_>], known: &Known, found: &mut Vec<String>) {
    if members.iter().any(|(_, span)| is_manual(span)) {
        return;
    }
    let number = known.sent.number;
    let sessions = sessions_of(members);
    // Only those to which nothing else brings the message.
    let only: Vec<&&Session> =
        sessions.iter().filter(|session| session.only_shared(&known.sent.topic)).collect();
    let copies: u32 = only.iter().map(|session| session.arrivals(number).at_qos2).sum();
    if copies > known.takings {
        let names: Vec<&str> = only
            .iter()
            .filter(|session| session.arrived(number))
            .map(|session| session.client.as_str())
            .collect();
        found.push(format!("{} arrived {copies} times in {group}, at {names:?}", known.sent));
    }
}

fn check_arrived(group: &str, members: &[Member<'_>], known: &Known, found: &mut Vec<String>) {
    let number = known.sent.number;
    let sessions = sessions_of(members);
    let Some((acknowledged, _)) = known.acknowledged else { return };
    // It may wait for a commit that nobody makes.
    if members.iter().any(|(_, span)| is_manual(span)) {
        return;
    }
    if known.sent.qos == 0 || known.sent.expiry.is_some() || known.sent.empty {
        return;
    }
    let stays = |(session, span): &&Member<'_>| {
        session.online
            && span.ending.is_none()
            && span.granted.is_some_and(|(granted, qos)| granted < known.first && qos > 0)
    };
    // What went to a member that has left since may be lost with it at QoS 2 [MQTT-4.8.2-5].
    let left = |(session, span): &&Member<'_>| {
        let ended = session.doubtful
            || session.ended.is_some_and(|ended| ended > known.first)
            || (session.ended.is_none() && !session.online);
        ended || span.ending.is_some_and(|ending| ending > known.first)
    };
    // A durable group gets everything else back.
    let lasts = is_replayed(group);
    let lost_with = |(_, span): &Member<'_>| !lasts || known.sent.qos.min(span.asked.qos) == 2;
    // What reached a session that may be another one since is not known any more.
    let may_be_lost = members.iter().any(|member| {
        let (session, span) = member;
        (left(&member) && lost_with(member)) || session.doubtful || span.asked.qos == 0
    });
    if members.iter().any(|member| stays(&member))
        && !may_be_lost
        && acknowledged > known.first
        && !sessions.iter().any(|session| session.arrived(number))
    {
        found.push(format!("{} was acknowledged and reached nobody in {group}", known.sent));
    }
}
