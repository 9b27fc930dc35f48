//! `$ctl/delayed/list` and `$ctl/delayed/{id}/cancel`.
//!
//! The list comes in the order of ids. A payload, if there is one, says how much of it: `{"after":17,"limit":100}`; an answer that is
//! not all has `"next"`, which is the `"after"` of the next request.

use std::ops::Bound;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::broker::Broker;
use crate::broker::control::Done;
use crate::broker::control::Outcome;
use crate::broker::control::Refused;
use crate::broker::control::Request;
use crate::commitlog::Offset;
use crate::mqtt::ReasonCode;
use crate::store::Delayed;

/// How many messages an answer lists at most.
const LIMIT_MAX: usize = 1_000;

/// How many bytes of topics an answer lists before it ends.
const TOPIC_BYTES_MAX: usize = 64 << 10;

impl Broker {
    pub(super) fn list_delayed(&mut self, request: &Request<'_>) -> Outcome {
        let (after, limit) = page(request.payload).ok_or(Refused::new(
            ReasonCode::PayloadFormatInvalid,
            "the payload is not as in {\"after\":17,\"limit\":100}",
        ))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.store.state().delayed();
        let mut listed = Vec::new();
        let mut topic_bytes = 0;
        let mut next = None;
        for (id, delayed) in known.range((from, Bound::Unbounded)) {
            if listed.len() >= limit || topic_bytes >= TOPIC_BYTES_MAX {
                break;
            }
            topic_bytes += delayed.topic.len();
            next = Some(*id);
            listed.push(self.describe_delayed(*id, delayed));
        }
        let more = next.is_some_and(|last| {
            known.range((Bound::Excluded(last), Bound::Unbounded)).next().is_some()
        });
        let mut fields = Map::new();
        fields.insert("count".to_owned(), known.len().into());
        fields.insert("delayed".to_owned(), Value::Array(listed));
        if let (Some(last), true) = (next, more) {
            fields.insert("next".to_owned(), last.as_u64().into());
        }
        Ok(Done::Now(fields))
    }

    pub(super) fn cancel_delayed_by_request(&mut self, request: &Request<'_>) -> Outcome {
        let id = request.argument.parse().map(Offset::new).ok();
        let cancelled = id.filter(|id| self.cancel_delayed(*id));
        let Some(id) = cancelled else {
            let reason = ReasonCode::TopicNameInvalid;
            return Err(Refused::new(reason, "no delayed message with this id waits"));
        };
        Ok(Done::Now(Map::from_iter([("id".to_owned(), id.as_u64().into())])))
    }

    /// Moments are Unix milliseconds.
    fn describe_delayed(&self, id: Offset, delayed: &Delayed) -> Value {
        json!({
            "id": id.as_u64(),
            "topic": delayed.topic.as_str(),
            "due": self.deadline_of(delayed).as_millis(),
            "published": delayed.timestamp.as_millis(),
        })
    }
}

/// Behind which id a list begins, and how much it lists at most; `None` if the payload does not say.
fn page(payload: &[u8]) -> Option<(Option<Offset>, usize)> {
    if payload.is_empty() {
        return Some((None, LIMIT_MAX));
    }
    let Value::Object(fields) = serde_json::from_slice(payload).ok()? else { return None };
    if !fields.keys().all(|name| name == "after" || name == "limit") {
        return None;
    }
    let number =
        |name| fields.get(name).map_or(Some(None), |value: &Value| value.as_u64().map(Some));
    let limit = number("limit")?.map_or(Some(LIMIT_MAX), |limit| usize::try_from(limit).ok())?;
    Some((number("after")?.map(Offset::new), limit.clamp(1, LIMIT_MAX)))
}
