//! Requests to a running broker, over its `$ctl/` topics: what the commands share that list and change things in it.
//!
//! ```text
//! connect ─► subscribe to $ctl/reply/{our id} ─► publish $ctl/{request} ─► the answer, JSON ─► the next request, or goodbye
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;
use tokio::time::Instant;

use super::Failure;
use super::arguments::ConnectArgs;
use super::arguments::Setup;
use super::arguments::client_failure;
use super::client::Client;
use super::client::Event;
use super::client::Reading;
use super::runtime;
use crate::mqtt::Disconnect;
use crate::mqtt::PacketId;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::RetainHandling;
use crate::mqtt::Subscribe;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::SubscriptionOptions;
use crate::mqtt::TopicName;
use crate::mqtt::UserProperties;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose answers come to it.
pub(super) struct Control {
    client: Client,
    version: ProtocolVersion,
    requests: u64,
    deadline: Instant,
}

impl Control {
    /// Connects, and subscribes to its answers.
    ///
    /// # Errors
    /// As the broker says, or after half a minute of silence.
    pub(super) async fn open(arguments: ConnectArgs) -> Result<Self, Failure> {
        let Setup { options, .. } = arguments.setup()?;
        let version = options.connect.version;
        let mut own_id = options.connect.client_id.to_string();
        let client = Client::new(options);
        let mut control =
            Self { client, version, requests: 0, deadline: Instant::now() + PATIENCE };
        loop {
            match control.next().await? {
                Event::Connected { .. } => {
                    let assigned = control
                        .client
                        .connack()
                        .and_then(|connack| connack.assigned_client_id.as_ref());
                    if let Some(assigned) = assigned {
                        own_id = assigned.as_str().to_owned();
                    }
                    control.client.subscribe(subscribe(&own_id)?);
                }
                Event::Subscribed(suback) => {
                    let refused = suback.reason_codes.iter().find(|code| code.is_error());
                    return refused.map_or(Ok(control), |code| {
                        Err(refusal(*code, "no answer may be subscribed to"))
                    });
                }
                Event::Lost(_)
                | Event::Writable
                | Event::Message { .. }
                | Event::Released
                | Event::Completed(_)
                | Event::Unsubscribed => {}
            }
        }
    }

    /// Makes a request and waits for its answer.
    ///
    /// # Errors
    /// If the broker refuses it, with its reason code as the exit code; if the connection is lost or nothing comes.
    pub(super) async fn request(
        &mut self,
        request: &str,
        payload: &str,
    ) -> Result<Map<String, Value>, Failure> {
        let topic = TopicName::try_from(format!("$ctl/{request}"));
        let topic = topic.map_err(|error| Failure::usage(error.to_string()))?;
        let mut publish = Publish::new(topic, Bytes::copy_from_slice(payload.as_bytes()));
        publish.qos = QoS::AtLeastOnce;
        self.requests += 1;
        self.deadline = Instant::now() + PATIENCE;
        self.client.publish(self.requests, publish);
        loop {
            let Event::Message { publish, receipt, .. } = self.next().await? else { continue };
            self.client.acknowledge(receipt);
            let Ok(Value::Object(answer)) = serde_json::from_slice(&publish.payload) else {
                continue;
            };
            if answer.get("request").and_then(Value::as_str) != Some(request) {
                continue;
            }
            if answer.get("ok") == Some(&Value::Bool(true)) {
                return Ok(answer);
            }
            return Err(said(&answer));
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        // What had to be said was answered.
        drop(self.client.close(Disconnect::new(ReasonCode::Success)).await);
    }

    async fn next(&mut self) -> Result<Event, Failure> {
        tokio::select! {
            event = self.client.next(Reading::On) => {
                if let Event::Lost(error) = &event {
                    return Err(client_failure(error, self.version));
                }
                Ok(event)
            }
            () = runtime::sleep_until(Some(self.deadline)) => Err(Failure::failed("the broker does not answer")),
        }
    }
}

fn subscribe(own_id: &str) -> Result<Subscribe, Failure> {
    let filter = SubscriptionFilter::parse(&format!("$ctl/reply/{own_id}"));
    let filter =
        filter.map_err(|_| Failure::usage("a client id with + or # gets no answers: -i"))?;
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::DoNotSend,
    };
    Ok(Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: UserProperties::new(),
        filters: vec![SubscribeFilter { filter, options }],
    })
}

/// What the broker says of a request that it refuses.
fn said(answer: &Map<String, Value>) -> Failure {
    let reason =
        answer.get("reason").and_then(Value::as_u64).and_then(|code| u8::try_from(code).ok());
    let text = answer.get("error").and_then(Value::as_str).unwrap_or("refused");
    Failure { message: text.to_owned(), exit_code: reason.unwrap_or(1).max(1) }
}

fn refusal(code: ReasonCode, text: &str) -> Failure {
    Failure { message: format!("{text}: {code}"), exit_code: code.as_u8().max(1) }
}
