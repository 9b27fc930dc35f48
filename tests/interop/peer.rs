//! One face for rumqttc's two clients: each runs its event loop on a thread and passes on what comes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use rumqttc::v5;

/// How long a peer waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often an event loop looks whether it shall die.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// Requests that may wait for the event loop.
const QUEUE: usize = 100;

/// The protocol's version, each of which has its own client in rumqttc.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    V4,
    V5,
}

/// What the connection runs over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Tls,
    WebSocket,
}

/// A message that arrived.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// An answer of the broker.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Connected { session_present: bool },
    Subscribed { granted: bool },
    Published,
}

/// How to connect.
#[derive(Clone)]
pub(crate) struct Profile {
    client_id: String,
    version: Version,
    transport: rumqttc::Transport,
    host: String,
    port: u16,
    persistent: bool,
    will: Option<(String, String)>,
}

impl Profile {
    /// A clean session without a will.
    pub(crate) fn new(
        client_id: &str,
        version: Version,
        transport: Transport,
        address: SocketAddr,
        certificates: &Path,
    ) -> Self {
        let read = |name: &str| std::fs::read(certificates.join(name)).unwrap();
        let (transport, host) = match transport {
            Transport::Tcp => (rumqttc::Transport::tcp(), "127.0.0.1".to_owned()),
            Transport::WebSocket => (rumqttc::Transport::ws(), format!("ws://{address}/mqtt")),
            Transport::Tls => {
                // The provider can be installed once in a process.
                tokio_rustls::rustls::crypto::ring::default_provider().install_default().ok();
                let identity = (read("client-device.pem"), read("client-device-key.pem"));
                (
                    rumqttc::Transport::tls(read("ca.pem"), Some(identity), None),
                    "localhost".to_owned(),
                )
            }
        };
        let client_id = client_id.to_owned();
        Self {
            client_id,
            version,
            transport,
            host,
            port: address.port(),
            persistent: false,
            will: None,
        }
    }

    /// A session that outlives the connection.
    pub(crate) fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// With a will at QoS 1.
    pub(crate) fn will(self, topic: &str, payload: &str) -> Self {
        Self { will: Some((topic.into(), payload.into())), ..self }
    }

    fn options_v4(&self) -> rumqttc::MqttOptions {
        let mut options = rumqttc::MqttOptions::new(&self.client_id, &self.host, self.port);
        options.set_transport(self.transport.clone()).set_clean_session(!self.persistent);
        if let Some((topic, payload)) = &self.will {
            options.set_last_will(rumqttc::LastWill::new(
                topic,
                payload.as_bytes(),
                qos_v4(1),
                false,
            ));
        }
        options
    }

    fn options_v5(&self) -> v5::MqttOptions {
        let mut options = v5::MqttOptions::new(&self.client_id, &self.host, self.port);
        options.set_transport(self.transport.clone()).set_clean_start(!self.persistent);
        options.set_session_expiry_interval(self.persistent.then_some(1_000));
        if let Some((topic, payload)) = &self.will {
            let will =
                v5::mqttbytes::v5::LastWill::new(topic, payload.as_bytes(), qos_v5(1), false, None);
            options.set_last_will(will);
        }
        options
    }
}

fn qos_v4(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).unwrap()
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(qos).unwrap()
}

enum Requests {
    V4(rumqttc::Client),
    V5(v5::Client),
}

/// Where an event loop puts what comes.
struct Inbox {
    messages: Sender<Message>,
    answers: Sender<Answer>,
}

/// A connected client.
pub(crate) struct Peer {
    requests: Requests,
    messages: Receiver<Message>,
    answers: Receiver<Answer>,
    session_present: bool,
    dying: Arc<AtomicBool>,
    event_loop: Option<JoinHandle<()>>,
}

impl Peer {
    /// Connects, which has to work.
    pub(crate) fn connect(profile: &Profile) -> Self {
        let (message_sender, messages) = mpsc::channel();
        let (answer_sender, answers) = mpsc::channel();
        let inbox = Inbox { messages: message_sender, answers: answer_sender };
        let dying = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&dying);
        let (requests, event_loop) = match profile.version {
            Version::V4 => {
                let (client, connection) = rumqttc::Client::new(profile.options_v4(), QUEUE);
                (Requests::V4(client), thread::spawn(move || run_v4(connection, &inbox, &stop)))
            }
            Version::V5 => {
                let (client, connection) = v5::Client::new(profile.options_v5(), QUEUE);
                (Requests::V5(client), thread::spawn(move || run_v5(connection, &inbox, &stop)))
            }
        };
        let mut peer = Self {
            requests,
            messages,
            answers,
            session_present: false,
            dying,
            event_loop: Some(event_loop),
        };
        match peer.answer() {
            Answer::Connected { session_present } => peer.session_present = session_present,
            other => panic!("CONNACK was due, not {other:?}"),
        }
        peer
    }

    /// Whether the broker had the session already.
    pub(crate) fn session_present(&self) -> bool {
        self.session_present
    }

    fn answer(&self) -> Answer {
        self.answers.recv_timeout(PATIENCE).expect("the broker answers")
    }

    /// Subscribes and waits for the answer.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        match &self.requests {
            Requests::V4(client) => client.subscribe(filter, qos_v4(qos)).unwrap(),
            Requests::V5(client) => client.subscribe(filter, qos_v5(qos)).unwrap(),
        }
        assert_eq!(self.answer(), Answer::Subscribed { granted: true });
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        let payload = payload.to_owned();
        match &self.requests {
            Requests::V4(client) => client.publish(topic, qos_v4(qos), retain, payload).unwrap(),
            Requests::V5(client) => client.publish(topic, qos_v5(qos), retain, payload).unwrap(),
        }
        if qos > 0 {
            assert_eq!(self.answer(), Answer::Published);
        }
    }

    /// The next message.
    pub(crate) fn take(&self) -> Message {
        self.messages.recv_timeout(PATIENCE).expect("a message was due")
    }

    /// The messages before the one on this topic.
    pub(crate) fn take_until(&self, topic: &str) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.take();
            if message.topic == topic {
                return messages;
            }
            messages.push(message);
        }
    }

    /// Ends in good order.
    pub(crate) fn disconnect(mut self) {
        match &self.requests {
            Requests::V4(client) => client.disconnect().unwrap(),
            Requests::V5(client) => client.disconnect().unwrap(),
        }
        self.event_loop.take().unwrap().join().unwrap();
    }

    /// Cuts the connection without DISCONNECT.
    pub(crate) fn die(mut self) {
        self.dying.store(true, Ordering::Relaxed);
        self.event_loop.take().unwrap().join().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.dying.store(true, Ordering::Relaxed);
        if let Some(event_loop) = self.event_loop.take() {
            event_loop.join().ok();
        }
    }
}

fn run_v4(mut connection: rumqttc::Connection, inbox: &Inbox, dying: &AtomicBool) {
    use rumqttc::Packet;
    // A wait that is cut short would begin the handshake anew.
    let mut heartbeat = PATIENCE;
    while !dying.load(Ordering::Relaxed) {
        let packet = match connection.recv_timeout(heartbeat) {
            Ok(Ok(rumqttc::Event::Incoming(packet))) => packet,
            Ok(Ok(rumqttc::Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_)) => return,
            Ok(Ok(rumqttc::Event::Outgoing(_))) | Err(_) => continue,
        };
        let answer = match packet {
            Packet::ConnAck(connack) => {
                Answer::Connected { session_present: connack.session_present }
            }
            Packet::SubAck(suback) => {
                let refused = suback.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure);
                Answer::Subscribed { granted: !refused }
            }
            Packet::PubAck(_) | Packet::PubComp(_) => Answer::Published,
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                let qos = publish.qos as u8;
                inbox
                    .messages
                    .send(Message { topic: publish.topic, payload, qos, retain: publish.retain })
                    .ok();
                continue;
            }
            _ => continue,
        };
        heartbeat = HEARTBEAT;
        inbox.answers.send(answer).ok();
    }
}

fn run_v5(mut connection: v5::Connection, inbox: &Inbox, dying: &AtomicBool) {
    use v5::mqttbytes::v5::Packet;
    use v5::mqttbytes::v5::SubscribeReasonCode;
    // A wait that is cut short would begin the handshake anew.
    let mut heartbeat = PATIENCE;
    while !dying.load(Ordering::Relaxed) {
        let packet = match connection.recv_timeout(heartbeat) {
            Ok(Ok(v5::Event::Incoming(packet))) => packet,
            Ok(Ok(v5::Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_)) => return,
            Ok(Ok(v5::Event::Outgoing(_))) | Err(_) => continue,
        };
        let answer = match packet {
            Packet::ConnAck(connack) => {
                Answer::Connected { session_present: connack.session_present }
            }
            Packet::SubAck(suback) => {
                let granted =
                    |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                Answer::Subscribed { granted: suback.return_codes.iter().all(granted) }
            }
            Packet::PubAck(_) | Packet::PubComp(_) => Answer::Published,
            Packet::Publish(publish) => {
                let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                let qos = publish.qos as u8;
                inbox.messages.send(Message { topic, payload, qos, retain: publish.retain }).ok();
                continue;
            }
            _ => continue,
        };
        heartbeat = HEARTBEAT;
        inbox.answers.send(answer).ok();
    }
}
