//! A small asynchronous MQTT client, for `pub` and `sub`.
//!
//! ```text
//! client.publish / subscribe / acknowledge ...   what is to be sent
//! client.next(reading).await -> Event            writes, reads, pings, reconnects
//! client.close(...).await                        says goodbye
//! ```
//!
//! - [`Client::next`] does all input and output and may be dropped and called again at any moment.
//! - Messages are acknowledged by the application, with [`Client::acknowledge`], not on arrival.
//! - When a connection is lost it says so ([`Event::Lost`]) and, if called on, connects again after a growing wait
//!   and sends again what was not acknowledged.
//! - It keeps no queue of messages: with [`Reading::Paused`] what comes stays in the socket.

mod authentication;
mod backoff;
mod connection;
mod session;
pub(crate) mod tls;
mod trace;
pub(crate) mod transport;
mod websocket;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::access::scram::ScramError;
use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::Disconnect;
use crate::mqtt::EncodeError;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::Suback;
use crate::mqtt::Subscribe;
use crate::mqtt::TopicName;
use crate::mqtt::Unsubscribe;
use crate::mqtt::Violation;
use backoff::Backoff;
use connection::Connection;
pub(crate) use connection::Reading;
use session::Again;
pub(crate) use session::Completion;
use session::Progress;
pub(crate) use session::Receipt;
use session::Session;
use transport::Endpoint;
use transport::Stream;

/// How the client connects and what it sends.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The broker.
    pub(crate) endpoint: Endpoint,
    /// The CONNECT to begin with.
    pub(crate) connect: Connect,
    /// Log in by SCRAM-SHA-256 with the CONNECT's user name and password.
    pub(crate) scram: bool,
    /// How many messages at `QoS` 1 and 2 may be on their way to the broker, if it takes so many.
    pub(crate) in_flight_max: u16,
    /// At most this long from the first byte to the CONNACK, if that is less than the usual 20 seconds.
    pub(crate) connect_timeout: Option<Duration>,
    /// Told of every packet.
    pub(crate) trace: Option<fn(&str)>,
}

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// A name without an address.
    #[error("can't resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No TCP or Unix connection.
    #[error("can't connect: {0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// The WebSocket handshake failed.
    #[error("WebSocket: {0}")]
    WebSocket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// The handshakes took too long.
    #[error("the broker did not answer in time")]
    ConnectTimeout,
    /// A CONNACK that refuses.
    #[error("connection refused: {}", refusal(.0))]
    Refused(Box<Connack>),
    /// A DISCONNECT from the broker.
    #[error("disconnected by the broker: {}", disconnection(.0))]
    Disconnected(Box<Disconnect>),
    /// The broker closed the connection without a word.
    #[error("the broker closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[source] io::Error),
    /// A PINGREQ was not answered.
    #[error("the broker does not answer any more")]
    NoPingresp,
    /// Our last bytes were not taken.
    #[error("the broker did not take the last packets in time")]
    CloseTimeout,
    /// The broker sent bytes that are no packet.
    #[error("the broker breaks the protocol: {0}")]
    Violation(#[source] Violation),
    /// We wanted to send what this version can't say.
    #[error("a packet can't be encoded: {0}")]
    Encode(#[source] EncodeError),
    /// The broker sent a packet that has no place here.
    #[error("the broker breaks the protocol: unexpected {0}")]
    Unexpected(String),
    /// The broker used a topic alias that it did not define or may not use.
    #[error("the broker breaks the protocol: wrong topic alias")]
    TopicAlias,
    /// A step of SCRAM failed.
    #[error("{0}")]
    Scram(#[from] ScramError),
    /// SCRAM without user name and password.
    #[error("a login by SCRAM needs a user name and a password")]
    NoCredentials,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl ClientError {
    /// A packet has no place where it came.
    pub(crate) fn unexpected(packet: &Packet) -> Self {
        Self::Unexpected(trace::describe(packet))
    }

    /// The broker's own word for it, if it said one.
    pub(crate) fn reason_code(&self) -> Option<ReasonCode> {
        if let Self::Refused(connack) = self {
            return Some(connack.reason_code);
        }
        if let Self::Disconnected(disconnect) = self { Some(disconnect.reason_code) } else { None }
    }

    /// Whether it may be different the next time.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Closed
            | Self::Lost(_)
            | Self::NoPingresp
            | Self::CloseTimeout => true,
            Self::Refused(connack) => is_transient(connack.reason_code),
            Self::Disconnected(disconnect) => is_transient(disconnect.reason_code),
            Self::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
            Self::WebSocket(_)
            | Self::Violation(_)
            | Self::Encode(_)
            | Self::Unexpected(_)
            | Self::TopicAlias
            | Self::Scram(_)
            | Self::NoCredentials
            | Self::NoRandom => false,
        }
    }
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is up.
    Connected {
        /// Whether the broker knows the session, with its subscriptions.
        session_present: bool,
    },
    /// The connection is gone, or could not be made; calling on connects again.
    Lost(ClientError),
    /// What waited to be written has been, after it was too much for [`Client::can_publish`].
    Writable,
    /// A message has come; its topic is there, even if the packet had an alias only.
    Message {
        /// The topic.
        topic: TopicName,
        /// The packet.
        publish: Box<Publish>,
        /// To acknowledge it with.
        receipt: Receipt,
    },
    /// The flow of a message at `QoS` 2 that came to us has ended.
    Released,
    /// A message of ours at `QoS` 1 or 2 was acknowledged or refused.
    Completed(Completion),
    /// The answer to a SUBSCRIBE.
    Subscribed(Suback),
    /// The answer to an UNSUBSCRIBE.
    Unsubscribed,
}

/// A connection that a broker has accepted, for those who read and write it themselves.
pub(crate) struct Established {
    /// Behind the CONNACK.
    pub(crate) stream: Box<dyn Stream>,
    /// What has come behind it already.
    pub(crate) input: BytesMut,
    /// What the broker said.
    pub(crate) connack: Connack,
}

/// Connects once, without a [`Client`].
///
/// # Errors
/// Fails if any layer does, or if the broker refuses.
pub(crate) async fn establish(options: &Options) -> Result<Established, ClientError> {
    Ok(Connection::establish(options, options.connect.clone()).await?.into_parts())
}

/// A client, connected or about to be.
pub(crate) struct Client {
    options: Arc<Options>,
    session: Session,
    state: State,
    events: VecDeque<Event>,
    backoff: Backoff,
    connections: u64,
    aliases: Vec<(NonZeroU16, TopicName)>,
}

enum State {
    /// Connects at this moment.
    Waiting(Instant),
    /// Is connecting.
    Connecting(Pin<Box<dyn Future<Output = Result<Connection, ClientError>> + Send>>),
    /// Is connected.
    Up(Box<Connection>),
}

impl Client {
    /// A client that connects as soon as [`Self::next`] is called.
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            session: Session::default(),
            state: State::Waiting(Instant::now()),
            events: VecDeque::new(),
            backoff: Backoff::default(),
            connections: 0,
            aliases: Vec::new(),
        }
    }

    /// What the broker said to the connection that is up.
    pub(crate) fn connack(&self) -> Option<&Connack> {
        match &self.state {
            State::Up(connection) => Some(&connection.connack),
            State::Waiting(_) | State::Connecting(_) => None,
        }
    }

    /// How many messages at `QoS` 1 and 2 are on their way to the broker.
    pub(crate) fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    /// The numbers of the first and the last of them.
    pub(crate) fn numbers_in_flight(&self) -> Option<(u64, u64)> {
        self.session.numbers_in_flight()
    }

    /// How many received messages at `QoS` 2 still wait for the broker's PUBREL.
    pub(crate) fn awaiting_release(&self) -> usize {
        self.session.awaiting_release()
    }

    /// Whether a message can be published now: there is a connection, and room in the window and in the output.
    pub(crate) fn can_publish(&self, qos: QoS) -> bool {
        let State::Up(connection) = &self.state else { return false };
        !connection.is_full()
            && (qos == QoS::AtMostOnce || self.session.in_flight() < self.window(connection))
    }

    /// Whether a connection is up.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether the broker takes a message of this size [MQTT-3.2.2-15].
    pub(crate) fn fits(&self, publish: &Publish) -> bool {
        let limit = self.connack().and_then(|connack| connack.maximum_packet_size);
        limit.is_none_or(|limit| {
            let packet_id = (publish.qos != QoS::AtMostOnce).then_some(PacketId::MAX);
            let packet = Packet::Publish(Box::new(Publish { packet_id, ..publish.clone() }));
            let length = packet.encoded_length(self.options.connect.version);
            length
                .is_ok_and(|length| u32::try_from(length).is_ok_and(|length| length <= limit.get()))
        })
    }

    /// Sends a message. A topic alias in it is used once the broker has been told the topic. `number` comes back in
    /// [`Event::Completed`]. Without a connection a message at `QoS` 0 is lost.
    pub(crate) fn publish(&mut self, number: u64, publish: Publish) {
        let publish = match publish.qos {
            QoS::AtMostOnce => publish,
            QoS::AtLeastOnce | QoS::ExactlyOnce => match self.session.publish(number, publish) {
                Some(publish) => publish,
                None => return,
            },
        };
        let publish = self.alias(publish);
        self.send(&Packet::Publish(Box::new(publish)));
    }

    /// Asks for subscriptions; the packet id is given here.
    pub(crate) fn subscribe(&mut self, mut subscribe: Subscribe) {
        if let Some(packet_id) = self.session.request() {
            subscribe.packet_id = packet_id;
            self.send(&Packet::Subscribe(Box::new(subscribe)));
        }
    }

    /// Ends subscriptions; the packet id is given here.
    pub(crate) fn unsubscribe(&mut self, mut unsubscribe: Unsubscribe) {
        if let Some(packet_id) = self.session.request() {
            unsubscribe.packet_id = packet_id;
            self.send(&Packet::Unsubscribe(Box::new(unsubscribe)));
        }
    }

    /// Acknowledges a message.
    pub(crate) fn acknowledge(&mut self, receipt: Receipt) {
        if let Some(packet) = self.session.acknowledge(receipt, self.connections) {
            self.send(&packet);
        }
    }

    /// Waits for what happens next. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self, reading: Reading) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match &mut self.state {
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Connecting(self.establish());
                }
                State::Connecting(attempt) => match attempt.await {
                    Ok(connection) => self.handle_connected(connection),
                    Err(error) => self.handle_lost(error),
                },
                State::Up(connection) => match connection.next(reading).await {
                    Ok(None) => self.events.push_back(Event::Writable),
                    Ok(Some(packet)) => {
                        if let Err(error) = self.handle_packet(packet) {
                            self.handle_lost(error);
                        }
                    }
                    Err(error) => self.handle_lost(error),
                },
            }
        }
    }

    /// Says goodbye and waits until the broker has taken everything that was sent.
    ///
    /// # Errors
    /// Fails if there is no connection any more or the last bytes could not be written.
    pub(crate) async fn close(self, disconnect: Disconnect) -> Result<(), ClientError> {
        match self.state {
            State::Up(connection) => {
                connection.close(&Packet::Disconnect(Box::new(disconnect))).await
            }
            State::Waiting(_) | State::Connecting(_) => Err(ClientError::Closed),
        }
    }

    fn establish(&self) -> Pin<Box<dyn Future<Output = Result<Connection, ClientError>> + Send>> {
        let options = Arc::clone(&self.options);
        Box::pin(async move { Connection::establish(&options, options.connect.clone()).await })
    }

    fn window(&self, connection: &Connection) -> usize {
        let broker = connection.connack.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        usize::from(self.options.in_flight_max.min(broker))
    }

    fn send(&mut self, packet: &Packet) {
        if let State::Up(connection) = &mut self.state {
            connection.send(packet);
        }
    }

    /// Leaves the topic away if the broker knows it by the alias, and tells it otherwise.
    fn alias(&mut self, mut publish: Publish) -> Publish {
        if let (Some(alias), Some(topic)) = (publish.topic_alias, &publish.topic) {
            let told = (alias, topic.clone());
            if self.aliases.contains(&told) {
                publish.topic = None;
            } else {
                self.aliases.retain(|(other, _)| *other != alias);
                self.aliases.push(told);
            }
        }
        publish
    }

    fn handle_connected(&mut self, connection: Connection) {
        let session_present = connection.connack.session_present;
        if let Some(assigned) = &connection.connack.assigned_client_id {
            let options = Arc::make_mut(&mut self.options);
            options.connect.client_id = assigned.clone().into();
        }
        self.state = State::Up(Box::new(connection));
        self.backoff.succeeded();
        self.connections += 1;
        self.aliases.clear();
        self.events.push_back(Event::Connected { session_present });
        let (again, completions) = self.session.resume(session_present);
        for flow in again {
            let packet = match flow {
                Again::Publish(publish) => Packet::Publish(Box::new(self.alias(publish))),
                Again::Release(ack) => Packet::Pubrel(ack),
            };
            self.send(&packet);
        }
        self.events.extend(completions.into_iter().map(Event::Completed));
    }

    fn handle_lost(&mut self, error: ClientError) {
        // Without a random number every client waits equally long, which is no reason to give up.
        let wait = self.backoff.failed(getrandom::u32().unwrap_or(u32::MAX / 2));
        self.state = State::Waiting(Instant::now() + wait);
        self.events.push_back(Event::Lost(error));
    }

    fn handle_packet(&mut self, packet: Packet) -> Result<(), ClientError> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish)?,
            Packet::Puback(ack) => {
                let progress = self.session.handle_puback(&ack);
                self.handle_progress(progress);
            }
            Packet::Pubrec(ack) => {
                let progress = self.session.handle_pubrec(&ack);
                self.handle_progress(progress);
            }
            Packet::Pubcomp(ack) => {
                let progress = self.session.handle_pubcomp(&ack);
                self.handle_progress(progress);
            }
            Packet::Pubrel(ack) => {
                let reply = self.session.handle_pubrel(ack.packet_id);
                self.send(&reply);
                self.events.push_back(Event::Released);
            }
            Packet::Suback(suback) => {
                if self.session.handle_request_ack(suback.packet_id) {
                    self.events.push_back(Event::Subscribed(suback));
                }
            }
            Packet::Unsuback(unsuback) => {
                if self.session.handle_request_ack(unsuback.packet_id) {
                    self.events.push_back(Event::Unsubscribed);
                }
            }
            Packet::Pingresp => (),
            Packet::Disconnect(disconnect) => return Err(ClientError::Disconnected(disconnect)),
            other @ (Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq
            | Packet::Auth(_)) => return Err(ClientError::unexpected(&other)),
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: Box<Publish>) -> Result<(), ClientError> {
        let topic = publish.topic.clone().ok_or(ClientError::TopicAlias)?;
        match self.session.handle_publish(publish.qos, publish.packet_id, self.connections) {
            Ok(receipt) => self.events.push_back(Event::Message { topic, publish, receipt }),
            Err(Some(reply)) => self.send(&reply),
            Err(None) => (),
        }
        Ok(())
    }

    fn handle_progress(&mut self, progress: Progress) {
        if let Some(reply) = progress.reply {
            self.send(&reply);
        }
        self.events.extend(progress.completion.map(Event::Completed));
    }
}

/// Whether a broker that says this may say something else later.
fn is_transient(reason_code: ReasonCode) -> bool {
    [
        ReasonCode::UnspecifiedError,
        ReasonCode::ServerUnavailable,
        ReasonCode::ServerBusy,
        ReasonCode::ServerShuttingDown,
        ReasonCode::KeepAliveTimeout,
        ReasonCode::MessageRateTooHigh,
        ReasonCode::QuotaExceeded,
        ReasonCode::ConnectionRateExceeded,
        ReasonCode::MaximumConnectTime,
    ]
    .contains(&reason_code)
}

fn refusal(connack: &Connack) -> String {
    with_reason(connack.reason_code, connack.reason_string.as_deref())
}

fn disconnection(disconnect: &Disconnect) -> String {
    with_reason(disconnect.reason_code, disconnect.reason_string.as_deref())
}

/// A reason code in words, and the broker's own words if it has some.
pub(crate) fn with_reason(reason_code: ReasonCode, reason_string: Option<&str>) -> String {
    match reason_string {
        Some(reason) => format!("{reason_code}: {}", reason.escape_debug()),
        None => reason_code.to_string(),
    }
}
