//! Records in a form for people and their tools: what `tidelog log dump` prints.
//!
//! ```text
//! {"offset":7,"timestamp":"2026-01-01T00:00:00.000000Z","kind":"message","topic":"a/b","qos":1,...}
//! ```
//!
//! Bytes are text where they are UTF-8, and otherwise an object with one key, `base64`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::PacketId;
use crate::session::Meta;
use crate::store::AssignedRow;
use crate::store::ClockRow;
use crate::store::DelayedRow;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::Jump;
use crate::store::Kind;
use crate::store::MessageView;
use crate::store::NumberSet;
use crate::store::ProgressRow;
use crate::store::ReplayRow;
use crate::store::RetainedRow;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::SessionRow;
use crate::store::Span;
use crate::store::SubscriptionRow;
use crate::store::WillRow;
use crate::time::Timestamp;

/// A record of any kind as a JSON object. What this version can't read is shown as bytes, under `unreadable`.
pub fn describe(record: &StoredRecord) -> Value {
    let kind = Kind::from_u8(record.kind);
    let name =
        kind.map_or_else(|| format!("unknown {}", record.kind), |kind| kind.name().to_owned());
    let mut fields = Map::new();
    fields.insert("offset".to_owned(), record.offset.as_u64().into());
    fields.insert("timestamp".to_owned(), moment(record.timestamp));
    fields.insert("kind".to_owned(), name.into());
    if let Some(Value::Object(content)) = kind.and_then(|kind| content(kind, record)) {
        fields.extend(content);
    } else {
        let unreadable = json!({ "key": bytes(record.key()), "value": bytes(record.value()) });
        fields.insert("unreadable".to_owned(), unreadable);
    }
    Value::Object(fields)
}

fn content(kind: Kind, record: &StoredRecord) -> Option<Value> {
    match kind {
        Kind::Message => MessageView::from_record(record).map(|message| describe_message(&message)),
        Kind::Origin => Some(json!({ "log": bytes(record.value()) })),
        Kind::Session
        | Kind::Progress
        | Kind::Subscription
        | Kind::Inbound
        | Kind::Assigned
        | Kind::Will
        | Kind::Group
        | Kind::Retained
        | Kind::Clock
        | Kind::Delayed
        | Kind::Held => {
            let row = Row::decode(kind, record.key(), record.value())?;
            let mut fields = Map::new();
            extend(&mut fields, describe_key(&row.key()));
            extend(
                &mut fields,
                describe_row(&row, record).unwrap_or_else(|| json!({ "deleted": true })),
            );
            Some(Value::Object(fields))
        }
    }
}

fn extend(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

fn describe_message(message: &MessageView<'_>) -> Value {
    json!({
        "topic": message.topic,
        "qos": message.qos.as_u8(),
        "retain": message.retain,
        "publisher": message.publisher,
        "packet_id": message.packet_id.map(PacketId::get),
        "expires_at": message.expires_at().map(moment),
        "properties": bytes(message.properties),
        "payload": bytes(message.payload),
    })
}

fn describe_key(key: &RowKey) -> Value {
    match key {
        RowKey::Session(client) | RowKey::Progress(client) | RowKey::Will(client) => {
            json!({ "client": client.as_str() })
        }
        RowKey::Subscription(client, filter) => {
            json!({ "client": client.as_str(), "filter": filter.as_str() })
        }
        RowKey::Inbound(client, id) => json!({ "client": client.as_str(), "packet_id": id.get() }),
        RowKey::Assigned(client, counter) => {
            json!({ "client": client.as_str(), "counter": counter })
        }
        RowKey::Group(group) => describe_group_key(group),
        RowKey::Retained(topic) => json!({ "topic": topic.as_str() }),
        RowKey::Clock => json!({}),
        RowKey::Delayed(id) => json!({ "id": number(*id) }),
        RowKey::Held(group, message) => {
            let mut value = describe_group_key(group);
            insert(&mut value, "message", number(*message));
            value
        }
    }
}

/// The value of a row; `None` for a tombstone.
fn describe_row(row: &Row, record: &StoredRecord) -> Option<Value> {
    match row {
        Row::Session(_, row) => row.as_ref().map(describe_session),
        Row::Progress(_, row) => Some(describe_progress(row)),
        Row::Subscription(_, _, row) => row.as_ref().map(describe_subscription),
        Row::Inbound(_, _, message) => message.map(|message| json!({ "message": number(message) })),
        Row::Assigned(_, _, row) => row.as_ref().map(describe_assigned),
        Row::Will(_, row) => row.as_ref().map(describe_will),
        Row::Group(_, row) => row.as_ref().map(describe_group),
        Row::Retained(_, row) => row.as_ref().map(|row| describe_retained(row, record)),
        Row::Clock(row) => Some(describe_clock(row)),
        Row::Delayed(_, row) => row.as_ref().map(|row| describe_delayed(row, record)),
        Row::Held(_, _, row) => {
            row.as_ref().map(|row| json!({ "client": row.client.as_str(), "key": row.key }))
        }
    }
}

fn describe_clock(row: &ClockRow) -> Value {
    let jump = |jump: &Jump| json!({ "before": moment(jump.before), "forgiven_seconds": jump.forgiven.as_secs() });
    json!({ "jumps": row.jumps().iter().map(jump).collect::<Vec<_>>() })
}

fn describe_session(row: &SessionRow) -> Value {
    json!({
        "user": row.user.as_deref(),
        "version": row.version.to_string(),
        "expiry_interval": row.expiry_interval,
        "connected": row.connected,
        "created_at": moment(row.created_at),
        "disconnected_at": moment(row.disconnected_at),
    })
}

fn describe_progress(row: &ProgressRow) -> Value {
    json!({
        "position": number(row.position),
        "number": row.number,
        "acked": numbers(&row.acked),
        "received": numbers(&row.received),
        "sent_limit": row.sent_limit,
        "run": row.run.as_deref().map(|(filter, topic)| json!({ "filter": filter.as_str(), "topic": topic.as_str() })),
        "runs_done": number(row.runs_done),
    })
}

fn describe_subscription(row: &SubscriptionRow) -> Value {
    json!({ "spans": row.spans.iter().map(describe_span).collect::<Vec<_>>() })
}

fn describe_span(span: &Span) -> Value {
    let mut value = json!({
        "from": number(span.from),
        "until": span.until.map(number),
        "qos": span.qos.as_u8(),
        "no_local": span.no_local,
        "retain_as_published": span.retain_as_published,
        "retain_handling": span.retain_handling.as_u8(),
        "subscription_id": span.subscription_id,
        "retained_run": span.retained_run,
    });
    if span.meta != Meta::None {
        insert(&mut value, "meta", span.meta.as_u8().into());
    }
    if let Some(replay) = &span.replay {
        insert(&mut value, "replay", describe_replay(replay));
    }
    value
}

fn insert(value: &mut Value, name: &str, more: Value) {
    if let Value::Object(fields) = value {
        fields.insert(name.to_owned(), more);
    }
}

fn describe_replay(row: &ReplayRow) -> Value {
    json!({
        "start": row.start.as_str(),
        "live": row.live,
        "position": number(row.position),
        "not_before": row.not_before.map(moment),
        "until": row.until.map(number),
        "ends_at": row.ends_at.map(moment),
        "left": row.left,
        "last": row.last,
        "speed": row.speed,
    })
}

fn describe_assigned(row: &AssignedRow) -> Value {
    let mut value = json!({
        "place": row.place.map(number),
        "message": number(row.message),
        "qos": row.qos.as_u8(),
        "retained": row.retained,
        "subscription_ids": row.subscription_ids.as_slice(),
        "group": row.group.as_ref().map(describe_group_key),
    });
    if row.replayed {
        insert(&mut value, "replayed", true.into());
    }
    if row.meta != Meta::None {
        insert(&mut value, "meta", row.meta.as_u8().into());
    }
    if let Some(key) = row.key {
        insert(&mut value, "key", key.into());
    }
    value
}

fn describe_will(row: &WillRow) -> Value {
    json!({
        "topic": row.topic.as_str(),
        "qos": row.qos.as_u8(),
        "retain": row.retain,
        "delay_interval": row.delay_interval,
        "expiry_interval": row.expiry_interval,
        "fires_at": row.fires_at.map(moment),
        "properties": bytes(&row.properties),
        "payload": bytes(&row.payload),
    })
}

fn describe_group_key(group: &GroupKey) -> Value {
    json!({ "share": group.share.as_str(), "filter": group.filter.as_str() })
}

fn describe_group(row: &GroupRow) -> Value {
    let mut value = json!({
        "position": number(row.position),
        "returned": row.returned.iter().copied().map(number).collect::<Vec<_>>(),
    });
    if let Some(declared) = &row.declared {
        let declared = json!({
            "start": declared.start.as_str(),
            "strategy": declared.strategy.name(),
            "commit": declared.commit.name(),
            "not_before": declared.not_before.map(moment),
            "last": declared.last,
        });
        insert(&mut value, "declared", declared);
    }
    value
}

fn describe_retained(row: &RetainedRow, record: &StoredRecord) -> Value {
    json!({
        "message_offset": number(row.message_offset),
        "published_at": moment(row.timestamp),
        "message": MessageView::from_record(record).map(|message| describe_message(&message)),
    })
}

/// Its expiry counts from when it is due, so it is told as an interval.
fn describe_delayed(row: &DelayedRow, record: &StoredRecord) -> Value {
    let view = MessageView::from_record(record);
    let mut message = view.as_ref().map(describe_message);
    if let Some(Value::Object(fields)) = &mut message {
        fields.remove("expires_at");
    }
    json!({
        "due_at": moment(row.due.at),
        "published_at": moment(row.timestamp),
        "expiry_interval": view.and_then(|view| view.expiry_interval),
        "message": message,
    })
}

fn number(offset: Offset) -> Value {
    offset.as_u64().into()
}

fn numbers(set: &NumberSet) -> Value {
    set.iter().collect::<Vec<_>>().into()
}

fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// RFC 3339, as far as the calendar of `humantime` goes; microseconds beyond.
fn moment(timestamp: Timestamp) -> Value {
    let since_epoch = Duration::from_micros(timestamp.as_micros());
    match std::time::UNIX_EPOCH.checked_add(since_epoch) {
        Some(time) if timestamp.as_secs() < YEAR_10_000 => {
            humantime::format_rfc3339_micros(time).to_string().into()
        }
        Some(_) | None => timestamp.as_micros().into(),
    }
}

/// Seconds from the Unix epoch to the first moment that RFC 3339 has no form for.
const YEAR_10_000: u64 = 253_402_300_800;
