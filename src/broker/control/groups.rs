//! `$ctl/groups/...`: durable groups, listed and looked at, made, committed, put back, moved and removed.
//!
//! A name may stand for several groups, one for each filter; a request means all of them unless its payload names a filter.

use serde_json::Map;
use serde_json::Value;

use crate::broker::Broker;
use crate::broker::asked::Wanted;
use crate::broker::control::Done;
use crate::broker::control::Outcome;
use crate::broker::control::Refused;
use crate::broker::control::Request;
use crate::broker::share::Committed;
use crate::commitlog::Offset;
use crate::mqtt::ReasonCode;
use crate::mqtt::ShareName;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::mqtt::topic_levels;
use crate::session::AddressError;
use crate::session::Commit;
use crate::session::Start;
use crate::session::Strategy;
use crate::session::decimal;
use crate::store::GroupKey;
use crate::store::GroupRow;

/// About how many bytes an answer has before it ends.
const LISTED_BYTES_MAX: usize = 256 << 10;

/// About how long a group's description is beside its name.
const DESCRIPTION_BYTES: usize = 300;

/// A payload, taken apart.
type Fields = Map<String, Value>;

impl Broker {
    pub(super) fn list_groups(&mut self, request: &Request<'_>) -> Outcome {
        let fields = fields(request.payload, &["after"], "{\"after\":\"GROUP/FILTER\"}")?;
        // Compared in the order of the keys, in which `g` is before `g-1`, but `g-1/a` before `g/a`.
        let after =
            text(&fields, "after")?.map(|after| after.split_once('/').unwrap_or((after, "")));
        let in_flight = self.in_flight_of_groups();
        let mut listed = Vec::new();
        let mut bytes = 0;
        let mut next = None;
        for (key, row) in self.store.state().groups() {
            let name = format!("{}/{}", &*key.share, &*key.filter);
            let is_behind = after.is_none_or(|after| after < (&*key.share, &*key.filter));
            if row.declared.is_none() || !is_behind {
                continue;
            }
            if bytes >= LISTED_BYTES_MAX {
                next = listed.last().map(|(name, _): &(String, Value)| name.clone());
                break;
            }
            bytes += name.len() + DESCRIPTION_BYTES;
            let group = self.describe_group(key, row, in_flight.get(key).copied());
            listed.push((name, Value::Object(group)));
        }
        let groups = listed.into_iter().map(|(_, group)| group).collect();
        let mut said = Map::from_iter([("groups".to_owned(), Value::Array(groups))]);
        said.extend(next.map(|next| ("next".to_owned(), next.into())));
        Ok(Done::Now(said))
    }

    pub(super) fn show_group(&mut self, request: &Request<'_>) -> Outcome {
        let fields = fields(request.payload, &["filter"], "{\"filter\":\"a/#\"}")?;
        let keys = self.groups_named(request.argument, text(&fields, "filter")?)?;
        let [key] = keys.as_slice() else {
            return Err(bad_payload("there are several: say which with {\"filter\":\"a/#\"}"));
        };
        let Some(row) = self.store.state().group(key) else { return Err(unknown()) };
        let in_flight = self.in_flight_of_groups().get(key).copied();
        let said = self.describe_group(key, row, in_flight);
        if !self.count_lag(key, in_flight, said, request.answer.clone()) {
            return Err(Refused::new(ReasonCode::QuotaExceeded, "as many are counted as may be"));
        }
        Ok(Done::Later)
    }

    pub(super) fn create_group(&mut self, request: &Request<'_>) -> Outcome {
        let example =
            "{\"filter\":\"a/#\",\"from\":\"earliest\",\"strategy\":\"key\",\"commit\":\"ack\"}";
        let known = ["filter", "from", "strategy", "commit"];
        let fields = fields(request.payload, &known, example)?;
        let share = ShareName::try_from(request.argument)
            .map_err(|_| Refused::new(ReasonCode::TopicNameInvalid, "this is no group's name"))?;
        let filter = text(&fields, "filter")?.ok_or_else(|| bad_payload("there is no filter"))?;
        let filter =
            TopicFilter::try_from(filter).map_err(|error| bad_payload(&error.to_string()))?;
        if filter.starts_with('$') || topic_levels(&filter) > self.options.topic_levels_max {
            return Err(bad_payload("this filter is none for a group"));
        }
        let from = text(&fields, "from")?.unwrap_or("latest");
        let wanted = Wanted {
            start: Some((start(from)?, words(from)?)),
            strategy: chosen(&fields, "strategy", Strategy::from_name, AddressError::BadStrategy)?,
            commit: chosen(&fields, "commit", Commit::from_name, AddressError::BadCommit)?,
        };
        let key = GroupKey { share: share.into(), filter: filter.into() };
        let row = self.asked_group(&key, wanted).map_err(refused)?;
        if let Some(row) = &row {
            self.declare_group(&key, row);
        }
        let Some(row) = self.store.state().group(&key) else { return Err(unknown()) };
        let in_flight = self.in_flight_of_groups().get(&key).copied();
        Ok(Done::Now(self.describe_group(&key, row, in_flight)))
    }

    pub(super) fn commit_by_request(&mut self, request: &Request<'_>) -> Outcome {
        let plain = std::str::from_utf8(request.payload).ok().and_then(decimal);
        let (offset, filter) = if let Some(offset) = plain {
            (Some(offset), None)
        } else {
            let fields =
                fields(request.payload, &["offset", "filter"], "18422 or {\"offset\":18422}")?;
            let offset = fields.get("offset").map(|offset| {
                offset.as_u64().ok_or_else(|| bad_payload("the offset is no number"))
            });
            (offset.transpose()?, text(&fields, "filter")?.map(str::to_owned))
        };
        let offset = offset.map(Offset::new);
        if offset.is_some_and(|offset| offset >= self.store.next_offset()) {
            return Err(bad_payload("the offset is beyond the end of the log"));
        }
        let keys = self.groups_named(request.argument, filter.as_deref())?;
        let committed = offset.map_or(Committed::DeliveredTo(request.client), Committed::UpTo);
        let of = if offset.is_none() { Some(request.client) } else { None };
        for key in &keys {
            self.settle_members(key, of);
        }
        let count = self.commit_groups(&keys, committed);
        Ok(Done::Now(Map::from_iter([("committed".to_owned(), count.into())])))
    }

    pub(super) fn reset_by_request(&mut self, request: &Request<'_>) -> Outcome {
        let fields = fields(request.payload, &["filter"], "{\"filter\":\"a/#\"}")?;
        let keys = self.groups_named(request.argument, text(&fields, "filter")?)?;
        let count = keys.iter().map(|key| self.reset_group(key)).sum::<usize>();
        Ok(Done::Now(Map::from_iter([("returned".to_owned(), count.into())])))
    }

    pub(super) fn seek_by_request(&mut self, request: &Request<'_>) -> Outcome {
        let plain = std::str::from_utf8(request.payload).ok().filter(|text| !text.starts_with('{'));
        let (to, filter) = if let Some(to) = plain {
            (to.to_owned(), None)
        } else {
            let shape = "earliest or {\"to\":\"earliest\"}";
            let fields = fields(request.payload, &["to", "filter"], shape)?;
            let to = text(&fields, "to")?.ok_or_else(|| bad_payload("it does not say where to"))?;
            (to.to_owned(), text(&fields, "filter")?.map(str::to_owned))
        };
        let start = start(&to)?;
        let keys = self.groups_named(request.argument, filter.as_deref())?;
        if start == Start::Committed {
            let count = keys.iter().map(|key| self.reset_group(key)).sum::<usize>();
            return Ok(Done::Now(Map::from_iter([("returned".to_owned(), count.into())])));
        }
        let place = self.place_of(start, self.store.next_offset()).map_err(refused)?;
        self.seek_groups(&keys, &place);
        let mut said = Map::from_iter([("to".to_owned(), to.into())]);
        if place.last.is_none() {
            said.insert("position".to_owned(), place.position.as_u64().into());
        }
        Ok(Done::Now(said))
    }

    pub(super) fn remove_by_request(&mut self, request: &Request<'_>) -> Outcome {
        let fields = fields(request.payload, &["filter"], "{\"filter\":\"a/#\"}")?;
        let keys = self.groups_named(request.argument, text(&fields, "filter")?)?;
        if keys.iter().any(|key| self.has_members(key)) {
            return Err(Refused::new(ReasonCode::QuotaExceeded, "the group has members"));
        }
        self.remove_groups(&keys);
        Ok(Done::Now(Map::from_iter([("removed".to_owned(), keys.len().into())])))
    }

    /// The durable groups of a name, or the one with a filter.
    fn groups_named(&self, name: &str, filter: Option<&str>) -> Result<Vec<GroupKey>, Refused> {
        let known = self.store.state().groups().iter();
        let meant = known.filter(|(key, row)| {
            row.declared.is_some()
                && *key.share == *name
                && filter.is_none_or(|filter| *key.filter == *filter)
        });
        let keys: Vec<GroupKey> = meant.map(|(key, _)| key.clone()).collect();
        if keys.is_empty() { Err(unknown()) } else { Ok(keys) }
    }

    /// What is known of a group without looking into the log.
    fn describe_group(
        &self,
        key: &GroupKey,
        row: &GroupRow,
        in_flight: Option<(usize, Offset)>,
    ) -> Fields {
        let outstanding = self.outstanding(key, in_flight);
        let group = self.group_indexes.get(key).and_then(|index| self.groups.get(*index));
        let position = outstanding.first.map_or(row.position, |first| first.min(row.position));
        let mut fields = Fields::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("group", key.share.as_str().into());
        put("filter", key.filter.as_str().into());
        if let Some(declared) = &row.declared {
            put("start", declared.start.as_str().into());
            put("strategy", declared.strategy.name().into());
            put("commit", declared.commit.name().into());
        }
        put("position", row.position.as_u64().into());
        put("committed", position.as_u64().into());
        put("in_flight", outstanding.in_flight.into());
        put("held", outstanding.held.into());
        put("returned", outstanding.returned.into());
        put("members", group.map_or(0, |group| group.members.len()).into());
        put("sessions", group.map_or(0, |group| group.sessions.len()).into());
        fields
    }
}

fn start(text: &str) -> Result<Start, Refused> {
    Start::parse(text).map_err(refused)
}

fn words(text: &str) -> Result<Text, Refused> {
    Text::try_from(text).map_err(|error| bad_payload(&error.to_string()))
}

fn refused(error: AddressError) -> Refused {
    let reason = if error == AddressError::TooManyGroups {
        ReasonCode::QuotaExceeded
    } else {
        ReasonCode::PayloadFormatInvalid
    };
    Refused::new(reason, error.to_string())
}

fn unknown() -> Refused {
    Refused::new(ReasonCode::TopicNameInvalid, "there is no such durable group")
}

fn bad_payload(text: &str) -> Refused {
    Refused::new(ReasonCode::PayloadFormatInvalid, text.to_owned())
}

/// The payload as an object with these fields and no others; nothing is an empty one.
fn fields(payload: &[u8], known: &[&str], shape: &str) -> Result<Fields, Refused> {
    if payload.is_empty() {
        return Ok(Fields::new());
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(fields)) if fields.keys().all(|name| known.contains(&&**name)) => {
            Ok(fields)
        }
        _ => Err(bad_payload(&format!("the payload is not as in {shape}"))),
    }
}

fn text<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, Refused> {
    let text = |value: &'a Value| {
        value.as_str().ok_or_else(|| bad_payload(&format!("{name} is not in quotes")))
    };
    fields.get(name).map(text).transpose()
}

fn chosen<T>(
    fields: &Fields,
    name: &str,
    read: fn(&str) -> Option<T>,
    error: AddressError,
) -> Result<Option<T>, Refused> {
    let chosen = text(fields, name)?.map(|text| read(text).ok_or_else(|| refused(error)));
    chosen.transpose()
}
