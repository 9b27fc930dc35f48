//! What may arrive, checked when it does.

use super::Checker;
use super::Delivery;
use super::Seq;
use super::Slack;
use super::delayed;
use super::messages::Known;
use super::session::Session;
use super::session::Span;
use super::shared;

impl Checker {
    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        if let Some((connection, audit)) = &mut self.audit
            && *connection == delivery.connection
            && delivery.retain
        {
            audit.insert(delivery.topic.clone(), delivery.number);
        }
        let fresh = self.check_packet(delivery);
        let Some(number) = delivery.number else { return };
        if let Err(problem) = self.check_message(delivery, number, fresh) {
            let client = self
                .connections
                .get(&delivery.connection)
                .map_or("nobody", |connection| connection.client.as_str());
            self.violations.push(format!("{client}: {problem}; {delivery:?}"));
        }
    }

    /// Window, packet id and DUP. Returns whether it is new to the client.
    fn check_packet(&mut self, delivery: &Delivery) -> bool {
        let Some(packet_id) = delivery.packet_id else { return true };
        let Some(connection) = self.connections.get_mut(&delivery.connection) else { return true };
        let name = connection.client.clone();
        if !connection.open.contains(&packet_id) {
            connection.open.push(packet_id);
        }
        if connection.open.len() > usize::from(connection.connecting.receive_maximum) {
            let open = connection.open.len();
            self.violations.push(format!(
                "{name} has {open} messages open, over its Receive Maximum; {delivery:?}"
            ));
        }
        let Some(session) = self.clients.get_mut(&name).and_then(|client| client.session.as_mut())
        else {
            return true;
        };
        session.note_packet(packet_id, delivery).unwrap_or_else(|problem| {
            self.violations.push(format!("{name}: message {problem}; {delivery:?}"));
            false
        })
    }

    fn check_message(
        &mut self,
        delivery: &Delivery,
        number: u64,
        fresh: bool,
    ) -> Result<(), String> {
        let known = self.messages.get(number).ok_or("arrived and was never sent")?;
        if known.sent.topic != delivery.topic {
            return Err(format!("{} arrived on another topic", known.sent));
        }
        let name = &self
            .connections
            .get(&delivery.connection)
            .ok_or("arrived on an unknown connection")?
            .client;
        let session = self
            .clients
            .get_mut(name)
            .and_then(|client| client.session.as_mut())
            .ok_or("arrived without a session")?;
        if delivery.retain && !known.sent.retain {
            return Err(format!("{} arrived with RETAIN and was sent without", known.sent));
        }
        let permitted = check_permitted(session, known, delivery, self.seq);
        // A copy with RETAIN is the answer to a SUBSCRIBE, unless a subscription asks for the flag to be kept.
        let run = delivery.retain && (permitted.is_err() || !session.keeps_retain(&delivery.topic));
        if run {
            check_run(session, delivery)?;
            if let Some(over) = self.retained.is_stale(
                &delivery.topic,
                number,
                last_subscribe(session, delivery, self.seq),
            ) {
                return Err(format!(
                    "{} arrived as retained, and {over} had replaced it",
                    known.sent
                ));
            }
        } else {
            permitted?;
        }
        delayed::check_due(known, delivery, self.slack)?;
        check_expiry(known, delivery, self.slack)?;
        if !fresh {
            return Ok(());
        }
        let arrivals = session.count(number, delivery.qos);
        let allowed = copies_allowed(session, known);
        // Where a replay at QoS 0 stands may be forgotten with each crash.
        let repeats = if session.replays(&delivery.topic) { self.crashes } else { 0 };
        delayed::check_once(known, arrivals, allowed.saturating_add(repeats))?;
        if delivery.qos == 2 && arrivals.at_qos2 > allowed {
            return Err(format!("{} arrived {} times at QoS 2", known.sent, arrivals.at_qos2));
        }
        if let Some(later) = self.order.arrived(session, known).filter(|_| delivery.qos > 0) {
            return Err(format!("{} arrived in its group after {later}, sent later", known.sent));
        }
        // Of a message that was sent twice, the first may be forgotten or refused, and one between them not.
        let single = known.is_single() && (known.sendings == 1 || !self.refuses);
        let judged = single || !(self.forgets || self.refuses);
        if arrivals.all == 1 && !run && judged {
            check_order(session, known, delivery, self.seq)?;
        }
        if known.sent.is_will { self.wills.arrived(number, delivery.sent_at) } else { Ok(()) }
    }
}

/// The first copy of a message comes in the order of its publisher, where only one way leads to the session.
fn check_order(
    session: &mut Session,
    known: &Known,
    delivery: &Delivery,
    now: u64,
) -> Result<(), String> {
    let own = known.sent.publisher == session.client;
    // With RETAIN kept as published, the answer to a later SUBSCRIBE looks like the message itself.
    let answers = delivery.retain
        && session.spans.iter().any(|span| asks(span, delivery) && span.sent > known.first);
    let shared =
        session.spans.iter().any(|span| span.share().is_some() && span.matches(&delivery.topic));
    let timed = known.sent.expiry.is_some() || known.sent.delay.is_some();
    if answers || shared || known.sent.is_will || timed {
        return Ok(());
    }
    // A second copy may be the first that a later subscription brings.
    if session.surely_covers(&delivery.topic, own, known.first, now)
        && let Some(later) = session.note_order(known)
    {
        return Err(format!("{} arrived after {later}, which was sent later", known.sent));
    }
    Ok(())
}

/// Whether the message may be an answer to the SUBSCRIBE that this span began with.
fn asks(span: &Span, delivery: &Delivery) -> bool {
    span.matches(&delivery.topic) && span.share().is_none() && span.asked.retain_handling != 2
}

fn check_run(session: &Session, delivery: &Delivery) -> Result<(), String> {
    if session.spans.iter().any(|span| asks(span, delivery)) {
        Ok(())
    } else {
        Err("a retained message that no subscription asked for".to_owned())
    }
}

/// When the subscription was made that a retained message is the answer to: the earliest it may be.
fn last_subscribe(session: &Session, delivery: &Delivery, now: Seq) -> Seq {
    let matching = session
        .spans
        .iter()
        .filter(|span| span.matches(&delivery.topic) && span.asked.retain_handling != 2);
    matching.map(|span| span.sent).min().unwrap_or(now)
}

/// A subscription allows this copy, at this QoS, with these identifiers.
fn check_permitted(
    session: &Session,
    known: &Known,
    delivery: &Delivery,
    now: Seq,
) -> Result<(), String> {
    let own = known.sent.publisher == session.client;
    let last = if known.sent.delay.is_some() { now } else { known.last().min(now) };
    // A group may choose its member, and with it the subscription, as late as now.
    let until = |span: &Span| if span.share().is_some() { now } else { last };
    let covers =
        |span: &&Span| span.matches(&delivery.topic) && span.may_cover(known.first, until(span));
    let possible: Vec<&Span> = session.spans.iter().filter(covers).collect();
    if possible.is_empty() {
        return Err(format!("{} arrived without a subscription to it", known.sent));
    }
    let heard: Vec<&&Span> = possible
        .iter()
        .filter(|span| !(span.asked.no_local && own && !known.sent.is_will))
        .collect();
    if heard.is_empty() {
        return Err(format!("{} arrived at its own publisher in spite of No Local", known.sent));
    }
    let effective =
        |span: &Span| known.sent.qos.min(span.granted.map_or(span.asked.qos, |(_, qos)| qos));
    if !heard.iter().any(|span| effective(span) == delivery.qos) {
        return Err(format!("{} arrived at a QoS that no subscription gives it", known.sent));
    }
    let certain: Vec<&&&Span> = heard
        .iter()
        .filter(|span| span.share().is_none() && span.surely_covers(known.first, last))
        .collect();
    // Whether No Local holds for a client's own will is nobody's business here.
    if delivery.qos < certain.iter().map(|span| effective(span)).max().unwrap_or(0)
        && !(own && known.sent.is_will)
        && !session.is_shared(&delivery.topic)
    {
        return Err(format!("{} arrived below the highest QoS of its subscriptions", known.sent));
    }
    check_ids(&possible, &heard, delivery)
}

fn check_ids(possible: &[&Span], heard: &[&&Span], delivery: &Delivery) -> Result<(), String> {
    let stray = delivery
        .subscription_ids
        .iter()
        .find(|id| !possible.iter().any(|span| span.asked.id == Some(**id)));
    if let Some(stray) = stray {
        return Err(format!("subscription identifier {stray} is of no subscription that matches"));
    }
    // With a single possible subscription it is certain which identifier has to be there [MQTT-3.3.4-3].
    if let ([single], true) = (heard, delivery.is_v5) {
        let expected: Vec<u32> = single.asked.id.into_iter().collect();
        if delivery.subscription_ids != expected && possible.len() == 1 {
            return Err(format!("subscription identifiers are not {expected:?}"));
        }
    }
    Ok(())
}

/// How many copies may arrive at QoS 2: one for the subscriptions, one for each shared group, and if it is retained one for each SUBSCRIBE.
fn copies_allowed(session: &Session, known: &Known) -> u32 {
    let matching: Vec<&Span> =
        session.spans.iter().filter(|span| span.matches(&known.sent.topic)).collect();
    if matching.iter().any(|span| shared::is_manual(span)) {
        return u32::MAX;
    }
    let plain = u32::from(matching.iter().any(|span| span.share().is_none()));
    let mut groups: Vec<&str> = matching
        .iter()
        .filter(|span| span.share().is_some())
        .map(|span| span.asked.filter.as_str())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let runs = if known.sent.retain {
        matching.iter().filter(|span| span.share().is_none()).count()
    } else {
        0
    };
    let once = plain + u32::try_from(groups.len() + runs).unwrap_or(u32::MAX);
    once.saturating_mul(known.takings)
}

/// Nothing arrives after its expiry, and what is left of the interval is right [MQTT-3.3.2-5] [MQTT-3.3.2-6].
fn check_expiry(known: &Known, delivery: &Delivery, slack: Slack) -> Result<(), String> {
    let (Some(expiry), Some((_, acknowledged_at))) = (known.sent.expiry, known.acknowledged) else {
        return Ok(());
    };
    let latest = acknowledged_at.max(known.first_at) + known.sent.kept_back();
    let earliest = known.first_at + known.sent.kept_back();
    let written_at = delivery.sent_at.saturating_sub(slack.arrival);
    let expired = written_at > latest + u64::from(expiry) * 1_000_000 + slack.timers;
    if delivery.dup && delivery.sent_at + slack.timers > latest + u64::from(expiry) * 1_000_000 {
        // Begun before it expired: the delivery is brought to its end [MQTT-4.3.3-7].
        return Ok(());
    }
    if expired {
        return Err(format!("{} arrived although it had expired", known.sent));
    }
    let Some(left) = delivery.expiry_left else {
        return if delivery.is_v5 {
            Err(format!("{} arrived without its expiry interval", known.sent))
        } else {
            Ok(())
        };
    };
    let waited_at_least = written_at.saturating_sub(latest) / 1_000_000;
    let waited_at_most = delivery.sent_at.saturating_sub(earliest).div_ceil(1_000_000);
    if u64::from(left) + waited_at_least > u64::from(expiry) + 1
        || u64::from(left) + waited_at_most + 1 < u64::from(expiry)
    {
        return Err(format!("{} arrived with {left} s left of {expiry} s", known.sent));
    }
    Ok(())
}
