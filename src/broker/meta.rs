//! Positions in the open: what a delivery tells of where its message stands in the log.
//!
//! ```text
//! user properties   offset=18422  ts=1767225600000  replay=1
//! $meta/ envelope   {"topic":"a/b","offset":18422,"ts":1767225600000,"qos":1,"retain":false,"replay":true,"payload":"21.5"}
//! ```
//!
//! `ts` is the moment of publication in milliseconds since the Unix epoch. A payload that is no UTF-8 stands under `base64` instead of
//! `payload`. A message that is not in the log has no offset.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;

use crate::broker::Broker;
use crate::broker::message::Message;
use crate::commitlog::Offset;
use crate::mqtt::Ack;
use crate::mqtt::MessageProperties;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Text;
use crate::mqtt::UserProperties;
use crate::session::Meta;

/// A message's properties and payload as they go out.
pub(super) struct Decorated {
    properties: Vec<u8>,
    payload: Option<Vec<u8>>,
}

impl Decorated {
    /// The message with them.
    pub(super) fn of<'a>(&'a self, message: &Message<'a>) -> Message<'a> {
        Message {
            properties: &self.properties,
            payload: self.payload.as_deref().unwrap_or(message.payload),
            ..*message
        }
    }
}

/// What the delivery tells of its position; `None` if nothing.
pub(super) fn decorated(
    message: &Message<'_>,
    meta: Meta,
    replayed: bool,
    version: ProtocolVersion,
) -> Option<Decorated> {
    match meta {
        Meta::None => None,
        Meta::Properties => version.is_v5().then(|| with_properties(message, replayed)),
        Meta::Envelope => {
            let payload = Some(envelope(message, replayed).to_string().into_bytes());
            Some(Decorated { properties: message.properties.to_vec(), payload })
        }
    }
}

fn with_properties(message: &Message<'_>, replayed: bool) -> Decorated {
    let mut own = UserProperties::new();
    if let Some(offset) = message.offset {
        own.extend(property("offset", offset.as_u64()));
    }
    own.extend(property("ts", message.published_at.as_millis()));
    if replayed {
        own.extend(property("replay", 1));
    }
    let own = MessageProperties { user_properties: own, ..MessageProperties::default() };
    let block = own.encode_block().unwrap_or_else(|_| Bytes::new());
    Decorated { properties: [message.properties, &block].concat(), payload: None }
}

fn property(name: &str, value: u64) -> Option<(Text, Text)> {
    Some((Text::try_from(name).ok()?, Text::try_from(value.to_string()).ok()?))
}

fn envelope(message: &Message<'_>, replayed: bool) -> Value {
    let mut fields = json!({
        "topic": message.topic,
        "offset": message.offset.map(Offset::as_u64),
        "ts": message.published_at.as_millis(),
        "qos": message.qos.as_u8(),
        "retain": message.retain,
        "replay": replayed,
    });
    if let Value::Object(fields) = &mut fields {
        match simdutf8::basic::from_utf8(message.payload) {
            Ok(text) => fields.insert("payload".to_owned(), text.into()),
            Err(_) => fields.insert("base64".to_owned(), STANDARD.encode(message.payload).into()),
        };
    }
    fields
}

impl Broker {
    /// Tells a publisher that asked for it at CONNECT where its message is, unless it wants no User Properties here [MQTT-3.1.2-29].
    pub(super) fn tell_position(&self, slot: usize, mut ack: Ack, offset: Option<Offset>) -> Ack {
        let connected = self.connections.get(slot).and_then(|connection| connection.connected());
        let wants = connected.is_some_and(|connected| {
            connected.meta != Meta::None
                && connected.limits.version.is_v5()
                && connected.limits.problem_information
        });
        if let Some(offset) = offset.filter(|_| wants) {
            ack.user_properties.extend(property("offset", offset.as_u64()));
            let record = self.store.peek_record(offset);
            let moment = record.map(|record| record.timestamp.as_millis());
            ack.user_properties.extend(moment.and_then(|millis| property("ts", millis)));
        }
        ack
    }
}
