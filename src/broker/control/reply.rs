//! Answers to requests: JSON, on the Response Topic of the request with its Correlation Data, or on `$ctl/reply/{client id}`.
//!
//! ```text
//! {"request":"delayed/17/cancel","ok":true,...}
//! {"request":"delayed/17/cancel","ok":false,"reason":144,"error":"..."}
//! ```

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;

use crate::access::Action;
use crate::broker::Broker;
use crate::broker::control::PREFIX;
use crate::broker::control::Refused;
use crate::mqtt::ClientId;
use crate::mqtt::MessageProperties;
use crate::mqtt::PublishView;
use crate::mqtt::QoS;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::session::REPLIES;
use crate::store::NewMessage;

/// How long an answer is worth delivering, in seconds.
const EXPIRY: u32 = 3_600;

/// Where the answer to a request goes.
#[derive(Clone, Debug)]
pub(in crate::broker) struct Answer {
    /// `None` if the client can't be answered.
    topic: Option<TopicName>,
    correlation_data: Option<Bytes>,
    /// The request, as its topic says it.
    request: String,
}

impl Answer {
    pub(super) fn to(topic: Option<TopicName>, publish: &PublishView<'_>, asked: &str) -> Self {
        Self {
            topic,
            correlation_data: publish.properties.correlation_data.map(Bytes::copy_from_slice),
            request: asked.strip_prefix(PREFIX).unwrap_or(asked).to_owned(),
        }
    }
}

/// The client that asked may not publish to the Response Topic.
pub(super) struct NotAllowed;

/// Where a client that names no Response Topic is answered; `None` if its id can't stand in a topic.
pub(super) fn own_topic(client_id: &ClientId) -> Option<TopicName> {
    TopicName::try_from(format!("{REPLIES}{}", client_id.as_str())).ok()
}

/// Whether a filter is the one topic that this client is answered on.
pub(in crate::broker) fn is_own_reply(filter: &str, client_id: &ClientId) -> bool {
    !filter.contains(['+', '#']) && filter.strip_prefix(REPLIES) == Some(client_id.as_str())
}

impl Broker {
    /// The Response Topic of a request, if it has one: the client has to be allowed to publish there itself.
    pub(super) fn reply_topic(
        &self,
        slot: usize,
        client_id: &ClientId,
        publish: &PublishView<'_>,
    ) -> Result<Option<TopicName>, NotAllowed> {
        let Some(topic) = publish.properties.response_topic else { return Ok(None) };
        let connected = self.connections.get(slot).and_then(|connection| connection.connected());
        let action = Action::Publish { topic, retain: false, qos: QoS::AtLeastOnce };
        let may = connected.is_some_and(|known| known.grants.may(action).allowed);
        if is_own_reply(topic, client_id) || may && !topic.starts_with('$') {
            return TopicName::try_from(topic).map(Some).map_err(|_| NotAllowed);
        }
        Err(NotAllowed)
    }

    /// Publishes the answer to a request: the fields of one that was carried out, or why it is refused.
    pub(in crate::broker) fn answer(
        &mut self,
        answer: &Answer,
        outcome: Result<Map<String, Value>, &Refused>,
    ) {
        let Some(topic) = &answer.topic else { return };
        let mut fields = Map::new();
        fields.insert("request".to_owned(), answer.request.as_str().into());
        fields.insert("ok".to_owned(), outcome.is_ok().into());
        match outcome {
            Ok(more) => fields.extend(more),
            Err(refused) => {
                fields.insert("reason".to_owned(), refused.reason.as_u8().into());
                fields.insert("error".to_owned(), refused.text.as_ref().into());
            }
        }
        let payload = Value::Object(fields).to_string();
        let properties = MessageProperties {
            payload_format_indicator: Some(true),
            content_type: Text::try_from("application/json").ok(),
            correlation_data: answer.correlation_data.clone(),
            ..MessageProperties::default()
        };
        let message = NewMessage {
            topic,
            payload: payload.as_bytes(),
            qos: QoS::AtLeastOnce,
            retain: false,
            publisher: "",
            packet_id: None,
            expiry_interval: Some(EXPIRY),
            properties: &properties.encode_block().unwrap_or_default(),
        };
        self.publish(&message);
    }
}
