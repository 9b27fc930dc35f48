//! `$events/...`: what happens to clients and their sessions, as JSON, when it happens.
//!
//! ```text
//! $events/client/{client id}/connected      CONNECT was accepted
//! $events/client/{client id}/disconnected   the connection has ended, whoever ended it
//! $events/session/{client id}/taken-over    another connection has the session from now on
//! $events/session/{client id}/expired       its Session Expiry Interval has passed
//! $events/session/{client id}/lagging       retention is about to take messages that it has not had: `lagging`
//! ```
//!
//! A client id is one level: `%`, `/`, `+` and `#` in it are written as `%25`, `%2F`, `%2B` and `%23`.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::broker::Broker;
use crate::broker::client::ClientRef;
use crate::broker::close::Ending;
use crate::broker::connection::Connection;
use crate::mqtt::ClientId;
use crate::mqtt::Connect;
use crate::mqtt::MessageProperties;
use crate::mqtt::Text;
use crate::mqtt::escaped_level;
use crate::store::SessionRow;

/// The first level of their topics.
const EVENTS: &str = "$events";

/// An event on its way: its topic, and what it says.
#[derive(Debug)]
pub(super) struct Happened {
    topic: String,
    says: Map<String, Value>,
}

/// The filter of everything that is told about a session.
pub(super) fn filter_of_session(client_id: &ClientId) -> String {
    format!("{EVENTS}/session/{}/#", escaped_level(client_id))
}

/// The fields of a JSON object; `null` ones are left out.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

impl Broker {
    /// Whether anybody wants to hear of events.
    pub(super) fn events_are_heard(&self) -> bool {
        self.is_heard(EVENTS)
    }

    /// Tells an event to who is subscribed. Whether anybody got it.
    pub(super) fn tell(&mut self, event: Happened) -> bool {
        let Happened { topic, mut says } = event;
        says.insert("ts".to_owned(), self.now.as_millis().into());
        let properties = MessageProperties {
            payload_format_indicator: Some(true),
            content_type: Some(Text::from_static("application/json")),
            ..MessageProperties::default()
        };
        let properties = properties.encode_block().unwrap_or_default();
        self.report(&topic, Value::Object(says).to_string().as_bytes(), &properties)
    }

    /// A client is connected.
    pub(super) fn tell_connected(
        &mut self,
        slot: usize,
        client_id: &ClientId,
        connect: &Connect,
        session_present: bool,
    ) {
        if !self.events_are_heard() {
            return;
        }
        let Some(connection) = self.connections.get(slot) else { return };
        let mut says = of_connection(connection, client_id);
        says.extend(fields(json!({
            "clean_start": connect.clean_start,
            "keep_alive": connection.connected().map(|connected| connected.limits.keep_alive),
            "session_present": session_present,
        })));
        let topic = format!("{EVENTS}/client/{}/connected", escaped_level(client_id));
        self.tell(Happened { topic, says });
    }

    /// What is to be told about the end of a client's connection, as long as it is known.
    pub(super) fn disconnected_event(&self, client: ClientRef, ending: Ending) -> Option<Happened> {
        if !self.events_are_heard() {
            return None;
        }
        let known = self.clients.get(client.index())?;
        let mut says = of_connection(self.connections.get(known.connection)?, &known.id);
        let (by, code) = match ending {
            Ending::Left(reason) => ("client", Some(reason.as_u8())),
            Ending::Lost => ("network", None),
            Ending::Ended(reason, _) => ("broker", Some(reason.as_u8())),
        };
        let reason = ending.to_string();
        says.extend(fields(json!({ "by": by, "code": code, "reason": reason })));
        let topic = format!("{EVENTS}/client/{}/disconnected", escaped_level(&known.id));
        Some(Happened { topic, says })
    }

    /// A session gets a new connection in place of the one it has.
    pub(super) fn tell_taken_over(&mut self, client_id: &ClientId, from: usize, to: usize) {
        if !self.events_are_heard() {
            return;
        }
        let (Some(old), Some(new)) = (self.connections.get(from), self.connections.get(to)) else {
            return;
        };
        let mut says = of_connection(old, client_id);
        says.insert("by_address".to_owned(), (*new.origin.peer).into());
        says.insert("by_listener".to_owned(), (*new.origin.listener).into());
        let topic = format!("{EVENTS}/session/{}/taken-over", escaped_level(client_id));
        self.tell(Happened { topic, says });
    }

    /// A session has ended because nobody came back to it.
    pub(super) fn tell_expired(&mut self, client_id: &ClientId, row: &SessionRow) {
        let event = self.session_event(client_id, row, "expired");
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// What is to be told about a session; `None` if nobody wants to hear it.
    pub(super) fn session_event(
        &self,
        client_id: &ClientId,
        row: &SessionRow,
        what: &str,
    ) -> Option<Happened> {
        if !self.events_are_heard() {
            return None;
        }
        let left_at = (!row.connected).then(|| row.disconnected_at.as_millis());
        let says = fields(json!({
            "client": client_id.as_str(),
            "user": row.user.as_deref(),
            "version": row.version.to_string(),
            "connected": row.connected,
            "disconnected_at": left_at,
        }));
        let topic = format!("{EVENTS}/session/{}/{what}", escaped_level(client_id));
        Some(Happened { topic, says })
    }
}

impl Happened {
    /// The event with more to say; what is `null` is left out.
    pub(super) fn with(mut self, more: Value) -> Self {
        self.says.extend(fields(more));
        self
    }
}

/// What an event says of a connection.
fn of_connection(connection: &Connection, client_id: &ClientId) -> Map<String, Value> {
    let user = connection.connected().and_then(|connected| connected.user.as_deref());
    fields(json!({
        "client": client_id.as_str(),
        "user": user,
        "version": connection.version().to_string(),
        "address": &*connection.origin.peer,
        "listener": &*connection.origin.listener,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::TopicFilter;

    #[test]
    fn any_client_id_is_one_level() {
        for (id, level) in
            [("a", "a"), ("a/b", "a%2Fb"), ("+", "%2B"), ("#%/", "%23%25%2F"), ("é$", "é$")]
        {
            let id = ClientId::try_from(id.to_owned()).unwrap();
            assert_eq!(escaped_level(&id), level);
            let filter = TopicFilter::try_from(&*filter_of_session(&id)).unwrap();
            assert!(TopicFilter::text_matches(&filter, &format!("$events/session/{level}/x")));
        }
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let says = fields(json!({ "a": 1, "b": null }));
        assert_eq!(Value::Object(says), json!({ "a": 1 }));
        assert!(fields(Value::Null).is_empty());
    }
}
