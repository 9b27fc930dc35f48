//! `$ctl/...`: requests to the broker itself. A PUBLISH there becomes no message; it is carried out, and answered.
//!
//! ```text
//!  PUBLISH $ctl/{request} ─► access rules ─► verb ─┬─► effect ─┐
//!                                                  └─► refused ┴─► answer (a message) ─► acknowledgement, when all is durable
//! ```
//!
//! - A request that is refused changes nothing.
//! - The answer is a record behind the effect, at QoS 1: nobody gets it before the effect is durable. One that has to be looked for in the
//!   log comes later than the acknowledgement.
//! - An answer goes where its client might publish itself, or to `$ctl/reply/{client id}`, which nobody else may subscribe to.

mod delayed;
mod groups;
mod reply;

use std::borrow::Cow;

use serde_json::Map;
use serde_json::Value;

use crate::access::Action;
use crate::broker::Broker;
use crate::broker::Dropped;
use crate::broker::publish::Refusal;
use crate::commitlog::Offset;
use crate::mqtt::Ack;
use crate::mqtt::ClientId;
use crate::mqtt::Packet;
use crate::mqtt::PublishView;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::store::Row;

pub(super) use reply::Answer;
pub(super) use reply::is_own_reply;

/// What every request begins with.
const PREFIX: &str = "$ctl/";

/// A request as its verb sees it.
struct Request<'a> {
    /// The level that stands for `{id}` in the verb's name; empty if there is none.
    argument: &'a str,
    payload: &'a [u8],
    /// Who asks.
    client: &'a ClientId,
    /// Where the answer goes.
    answer: &'a Answer,
}

/// What comes of a request.
type Outcome = Result<Done, Refused>;

/// A request that is carried out.
enum Done {
    /// The fields of its answer.
    Now(Map<String, Value>),
    /// It is looked into, and answered when that is done.
    Later,
}

/// Why a request is refused.
pub(super) struct Refused {
    reason: ReasonCode,
    text: Cow<'static, str>,
}

impl Refused {
    fn new(reason: ReasonCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// A kind of request.
struct Verb {
    /// Its levels behind `$ctl/`; one in braces stands for any.
    name: &'static str,
    run: fn(&mut Broker, &Request<'_>) -> Outcome,
}

/// Every kind of request.
const VERBS: [Verb; 9] = [
    Verb { name: "delayed/list", run: Broker::list_delayed },
    Verb { name: "delayed/{id}/cancel", run: Broker::cancel_delayed_by_request },
    Verb { name: "groups/list", run: Broker::list_groups },
    Verb { name: "groups/{group}/show", run: Broker::show_group },
    Verb { name: "groups/{group}/create", run: Broker::create_group },
    Verb { name: "groups/{group}/commit", run: Broker::commit_by_request },
    Verb { name: "groups/{group}/reset", run: Broker::reset_by_request },
    Verb { name: "groups/{group}/seek", run: Broker::seek_by_request },
    Verb { name: "groups/{group}/remove", run: Broker::remove_by_request },
];

/// Whether a topic is that of a request.
pub(super) fn is_request(topic: &str) -> bool {
    topic.starts_with(PREFIX)
}

impl Broker {
    /// Carries out a request, answers and acknowledges it.
    pub(super) fn handle_control(
        &mut self,
        slot: usize,
        client_id: &ClientId,
        publish: &PublishView<'_>,
        topic: &str,
    ) {
        if let Some(reason) = self.storage_state().refuses_message() {
            // Its answer is a message, too.
            return self.refuse_publish(slot, publish, Refusal::new(reason, Dropped::DiskFull));
        }
        let before = self.store.next_offset();
        let asked = self.reply_topic(slot, client_id, publish);
        let may = asked.is_ok();
        let reply = asked.ok().flatten().or_else(|| reply::own_topic(client_id));
        let answer = Answer::to(reply, publish, topic);
        let outcome = if may {
            self.carry_out(slot, client_id, publish, topic, &answer)
        } else {
            Err(Refused::new(
                ReasonCode::NotAuthorized,
                "the Response Topic is not one that this client may publish to",
            ))
        };
        let refused = match outcome {
            Ok(Done::Now(fields)) => {
                self.answer(&answer, Ok(fields));
                None
            }
            Ok(Done::Later) => None,
            Err(refused) => {
                let Refused { reason, text } = &refused;
                tracing::debug!(client = client_id.as_str(), topic, %reason, %text, "request refused");
                self.answer(&answer, Err(&refused));
                Some(refused)
            }
        };
        self.acknowledge_control(slot, client_id, publish, refused, before);
    }

    fn carry_out(
        &mut self,
        slot: usize,
        client: &ClientId,
        publish: &PublishView<'_>,
        topic: &str,
        answer: &Answer,
    ) -> Outcome {
        let (retain, qos) = (publish.retain, publish.qos);
        let connected = self.connections.get(slot).and_then(|connection| connection.connected());
        let may = |action| connected.is_some_and(|known| known.grants.may(action).allowed);
        if !may(Action::Publish { topic, retain, qos }) {
            return Err(Refused::new(ReasonCode::NotAuthorized, "not allowed"));
        }
        let name = topic.strip_prefix(PREFIX).unwrap_or_default();
        let known = VERBS.iter().find_map(|verb| Some((verb, matches(verb.name, name)?)));
        let Some((verb, argument)) = known else {
            let reason = ReasonCode::TopicNameInvalid;
            return Err(Refused::new(reason, "there is no such request"));
        };
        (verb.run)(self, &Request { argument, payload: publish.payload, client, answer })
    }

    /// The acknowledgement waits for all that the request has appended. Before version 5 it is the same for a refused one: the answer
    /// says what is wrong.
    fn acknowledge_control(
        &mut self,
        slot: usize,
        client_id: &ClientId,
        publish: &PublishView<'_>,
        refused: Option<Refused>,
        before: Offset,
    ) {
        let Some(packet_id) = publish.packet_id else { return };
        let is_v5 =
            self.connections.get(slot).is_some_and(|connection| connection.version().is_v5());
        let mut ack = Ack::new(packet_id);
        if let (Some(Refused { reason, text }), true) = (refused, is_v5) {
            ack = self.refusal_ack(slot, packet_id, reason, Some(&text));
        }
        let exactly_once = publish.qos == QoS::ExactlyOnce;
        if exactly_once && !ack.reason_code.is_error() {
            let last = self.store.next_offset();
            self.store.put(self.now, Row::Inbound(client_id.clone(), packet_id, Some(last)));
        }
        let next = self.store.next_offset();
        let after = if next > before { next } else { Offset::ZERO };
        let answer = if exactly_once { Packet::Pubrec(ack) } else { Packet::Puback(ack) };
        self.send_after(slot, after, answer);
    }
}

/// What stands for the level in braces, if the name is one of the verb's.
fn matches<'a>(verb: &str, name: &'a str) -> Option<&'a str> {
    let mut argument = "";
    let mut levels = name.split('/');
    for wanted in verb.split('/') {
        let level = levels.next()?;
        if wanted.starts_with('{') {
            argument = level;
        } else if wanted != level {
            return None;
        }
    }
    levels.next().is_none().then_some(argument)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_verb_takes_one_level_for_its_braces() {
        assert_eq!(matches("delayed/{id}/cancel", "delayed/17/cancel"), Some("17"));
        assert_eq!(matches("delayed/list", "delayed/list"), Some(""));
        for name in ["delayed/17", "delayed/17/cancel/x", "delayed", "", "delayed/17/18/cancel"] {
            assert_eq!(matches("delayed/{id}/cancel", name), None, "{name}");
        }
    }
}
