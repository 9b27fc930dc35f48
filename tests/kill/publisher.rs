//! A publisher that keeps its own session state over crashes of the broker, as a good client does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::mpsc::Sender;

use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::packet::Packet;
use crate::wire::request;
use crate::wire::request::Connect;
use crate::wire::request::Publish;

/// Messages on their way at the same time.
const WINDOW: usize = 16;

/// What is published in turn: at QoS 1, at QoS 2, and retained.
const KINDS: [&str; 3] = ["q1", "q2", "state"];
const STATE: usize = 2;

/// A message that was sent and is not acknowledged to the end.
struct Sent {
    publish: Publish,
    kind: usize,
    number: u32,
    /// PUBREC came, so PUBREL is what has to be repeated.
    received: bool,
}

/// A publisher and its session.
pub(crate) struct Publisher {
    name: String,
    version: Version,
    connected_before: bool,
    last_packet_id: u16,
    /// How many of each kind were sent.
    sent: [u32; 3],
    /// How many of the retained ones are acknowledged.
    state_acknowledged: u32,
    open: VecDeque<Sent>,
}

impl Publisher {
    pub(crate) fn new(name: &str, version: Version) -> Self {
        Self {
            name: name.into(),
            version,
            connected_before: false,
            last_packet_id: 0,
            sent: [0; 3],
            state_acknowledged: 0,
            open: VecDeque::new(),
        }
    }

    fn topic(&self, kind: usize) -> String {
        let prefix = if kind == STATE { "state" } else { "load" };
        format!("{prefix}/{}/{}", self.name, KINDS[kind])
    }

    /// How many messages each of its topics has, retained ones aside.
    pub(crate) fn totals(&self) -> Vec<(String, u32)> {
        (0..STATE).map(|kind| (self.topic(kind), self.sent[kind])).collect()
    }

    /// The topic of its retained messages, and which of them may be the retained one, counted from 1.
    pub(crate) fn retained(&self) -> (String, RangeInclusive<u32>) {
        (self.topic(STATE), self.state_acknowledged..=self.sent[STATE])
    }

    /// Publishes until the broker dies, and tells of every acknowledgement.
    pub(crate) fn run(&mut self, address: SocketAddr, progress: &Sender<()>) {
        let Some(mut client) = self.connect(address) else { return };
        loop {
            while self.open.len() < WINDOW {
                if !self.send_next(&mut client) {
                    return;
                }
            }
            let Some(packet) = client.try_next() else { return };
            if self.handle(&mut client, &packet) {
                progress.send(()).ok();
            }
        }
    }

    /// Sends again what is open until everything is acknowledged.
    pub(crate) fn finish(&mut self, address: SocketAddr) {
        let mut client = self.connect(address).expect("the broker lives");
        while !self.open.is_empty() {
            let packet = client.next();
            self.handle(&mut client, &packet);
        }
        client.disconnect();
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Client> {
        let (mut client, connack) =
            Client::attempt(address, &Connect::persistent(self.version, &self.name))?;
        assert_eq!(connack.code, 0);
        assert!(
            connack.session_present || !self.connected_before,
            "the session of {} is lost",
            self.name
        );
        self.connected_before = true;
        for sent in &self.open {
            let bytes = if sent.received {
                request::ack(0x62, sent.publish.packet_id)
            } else {
                sent.publish.clone().again().bytes(self.version)
            };
            if !client.try_send(&bytes) {
                return None;
            }
        }
        Some(client)
    }

    fn send_next(&mut self, client: &mut Client) -> bool {
        let kind = (0..KINDS.len()).min_by_key(|kind| self.sent[*kind]).unwrap();
        let number = self.sent[kind];
        self.sent[kind] += 1;
        let publish = Publish {
            retain: kind == STATE,
            ..Publish::new(&self.topic(kind), &number.to_string()).qos(if KINDS[kind] == "q2" {
                2
            } else {
                1
            })
        };
        let publish = publish.id(self.free_packet_id());
        let bytes = publish.bytes(self.version);
        self.open.push_back(Sent { publish, kind, number, received: false });
        client.try_send(&bytes)
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = self.last_packet_id;
            if self.open.iter().all(|sent| sent.publish.packet_id != id) {
                return id;
            }
        }
    }

    /// Goes one step on. Whether the broker has taken a message over with this packet.
    fn handle(&mut self, client: &mut Client, packet: &Packet) -> bool {
        match packet {
            Packet::Puback(ack) => {
                let sent = self.close(ack.packet_id, 1);
                if sent.kind == STATE {
                    self.state_acknowledged = self.state_acknowledged.max(sent.number + 1);
                }
                true
            }
            Packet::Pubrec(ack) => {
                let id = ack.packet_id;
                let sent = self
                    .open
                    .iter_mut()
                    .find(|sent| sent.publish.packet_id == id && sent.publish.qos == 2);
                sent.unwrap_or_else(|| panic!("PUBREC for {id}, which is not open")).received =
                    true;
                client.try_send(&request::ack(0x62, id));
                true
            }
            Packet::Pubcomp(ack) => {
                let sent = self.close(ack.packet_id, 2);
                assert!(sent.received, "PUBCOMP before PUBREC");
                false
            }
            other => panic!("{} was sent {other:?}", self.name),
        }
    }

    fn close(&mut self, id: u16, qos: u8) -> Sent {
        let position = self
            .open
            .iter()
            .position(|sent| sent.publish.packet_id == id && sent.publish.qos == qos);
        let position =
            position.unwrap_or_else(|| panic!("an acknowledgement for {id}, which is not open"));
        self.open.remove(position).unwrap()
    }
}
