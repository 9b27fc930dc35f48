//! A model client: it does what the specification demands of a client, from its own memory alone.
//!
//! Like the broker it is a value: the world hands in packets and asks for actions, and gets [`Effects`] back.
//!
//! ```text
//!   Offline ──connect──► Connecting ──CONNACK──► Online ──┐
//!      ▲                     │                             │
//!      └──── the connection ends, however it does ◄───────┘
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use bytes::Bytes;
use bytes::BytesMut;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::mqtt::Will;

use crate::checker::Answer;
use crate::checker::Connecting;
use crate::checker::Delivery;
use crate::checker::Expiry;
use crate::checker::Fact;
use crate::checker::Sent;
use crate::checker::WillFact;
use crate::persona::Persona;

/// The largest packet a client takes; larger than any that is sent.
const PACKET_SIZE_MAX: usize = 1 << 20;

/// What follows from something that a client did.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) facts: Vec<Fact>,
    pub(crate) bytes: BytesMut,
    /// What it thinks is wrong with the broker.
    pub(crate) problems: Vec<String>,
    /// The broker refused it.
    pub(crate) refused: Option<String>,
    /// It closes the connection.
    pub(crate) closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Offline,
    Connecting,
    Online,
}

/// A message of ours that is not finished.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) sent: Sent,
    pub(crate) id: PacketId,
    pub(crate) publish: Publish,
    /// PUBREC came: PUBREL is what is sent again.
    pub(crate) released: bool,
}

/// What was asked, and is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
}

/// See the module's page.
pub(crate) struct Client {
    pub(crate) persona: Persona,
    pub(crate) phase: Phase,
    /// The connection in use.
    pub(crate) link: u64,
    /// A clean start of which no answer came: until one does, every CONNECT has to be one.
    clean_unanswered: bool,
    /// The session that it has now outlives its connection.
    keeps_session: bool,
    decoder: Decoder,
    input: BytesMut,
    pub(crate) outgoing: VecDeque<Outgoing>,
    pub(crate) next_id: PacketId,
    /// QoS 2 messages received and not released.
    received: BTreeSet<PacketId>,
    /// Answers not yet sent, in the order in which they are due.
    owed: VecDeque<(Answer, PacketId)>,
    /// Filters it believes it is subscribed to.
    pub(crate) filters: BTreeSet<String>,
    pub(crate) requests: BTreeMap<PacketId, Request>,
    /// Names of topics that the broker gave numbers, and that it gave itself.
    aliases_in: BTreeMap<u16, TopicName>,
    pub(crate) aliases_out: BTreeMap<String, u16>,
    pub(crate) alias_limit: u16,
}

impl Client {
    pub(crate) fn new(persona: Persona) -> Self {
        let decoder = Decoder::for_client(persona.version, PACKET_SIZE_MAX);
        Self {
            persona,
            phase: Phase::Offline,
            link: 0,
            clean_unanswered: false,
            keeps_session: false,
            decoder,
            input: BytesMut::new(),
            outgoing: VecDeque::new(),
            next_id: PacketId::MIN,
            received: BTreeSet::new(),
            owed: VecDeque::new(),
            filters: BTreeSet::new(),
            requests: BTreeMap::new(),
            aliases_in: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            alias_limit: 0,
        }
    }

    /// Begins a connection. `clean`: with a clean start, if it may choose; `will`: the number of the will's message.
    pub(crate) fn connect(&mut self, link: u64, clean: bool, will: u64, effects: &mut Effects) {
        self.forget_connection();
        self.phase = Phase::Connecting;
        self.link = link;
        let clean_start = clean || self.clean_unanswered || self.must_start_clean();
        self.clean_unanswered = clean_start;
        let will = self.persona.will.as_ref().map(|plan| WillFact {
            sent: self.will_message(plan.qos, plan.retain, will),
            delay: plan.delay,
        });
        let mut connect = Connect::new(self.persona.version, text(&self.persona.name));
        connect.clean_start = clean_start;
        connect.keep_alive = self.persona.keep_alive;
        connect.will = will.as_ref().map(packet_will);
        if self.persona.version.is_v5() {
            connect.session_expiry_interval = match self.persona.expiry {
                Expiry::WithConnection => None,
                Expiry::After(seconds) => Some(seconds),
                Expiry::Never => Some(u32::MAX),
            };
            connect.receive_maximum = std::num::NonZeroU16::new(self.persona.receive_maximum);
            connect.topic_alias_maximum = Some(self.persona.topic_alias_maximum);
        }
        effects.facts.push(Fact::Connecting(Connecting {
            client: self.persona.name.clone(),
            connection: link,
            clean_start,
            // Before version 5 a clean session ends with its connection.
            expiry: if clean_start && !self.persona.version.is_v5() {
                Expiry::WithConnection
            } else {
                self.persona.expiry
            },
            receive_maximum: self.persona.receive_maximum,
            will,
        }));
        self.send(&Packet::Connect(Box::new(connect)), effects);
    }

    /// Before version 5 a session that ends with its connection is asked for by a clean start.
    fn must_start_clean(&self) -> bool {
        !self.persona.version.is_v5() && self.persona.expiry == Expiry::WithConnection
    }

    fn will_message(&self, qos: u8, retain: bool, number: u64) -> Sent {
        Sent {
            number,
            publisher: self.persona.name.clone(),
            topic: format!("w/{}", self.persona.name),
            qos,
            retain,
            empty: false,
            expiry: None,
            is_will: true,
            delay: None,
            cancels: None,
        }
    }

    /// The connection is over, as far as this client goes.
    pub(crate) fn lose(&mut self, effects: &mut Effects) {
        if self.phase != Phase::Offline {
            effects.facts.push(Fact::Lost { connection: self.link });
        }
        self.forget_connection();
    }

    pub(crate) fn forget_connection(&mut self) {
        self.phase = Phase::Offline;
        self.decoder = Decoder::for_client(self.persona.version, PACKET_SIZE_MAX);
        self.input.clear();
        self.owed.clear();
        self.requests.clear();
        self.aliases_in.clear();
        self.aliases_out.clear();
        if !self.keeps_session {
            self.forget_session();
        }
    }

    fn forget_session(&mut self) {
        self.outgoing.clear();
        self.received.clear();
        self.filters.clear();
    }

    /// Bytes arrive that the broker wrote at `written_at`.
    pub(crate) fn receive(&mut self, written_at: u64, bytes: &Bytes, effects: &mut Effects) {
        self.input.extend_from_slice(bytes);
        while self.phase != Phase::Offline {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(packet)) => self.handle(written_at, packet, effects),
                Ok(None) => return,
                Err(violation) => {
                    effects.problems.push(format!(
                        "{} can't read what the broker sends: {violation:?}",
                        self.persona.name
                    ));
                    effects.closes = true;
                    return;
                }
            }
        }
    }

    fn handle(&mut self, written_at: u64, packet: Packet, effects: &mut Effects) {
        if self.phase == Phase::Connecting && !matches!(packet, Packet::Connack(_)) {
            effects.problems.push(format!("{} got {packet:?} before CONNACK", self.persona.name));
        }
        match packet {
            Packet::Connack(connack) => self.handle_connack(&connack, effects),
            Packet::Publish(publish) => self.handle_publish(written_at, &publish, effects),
            Packet::Puback(ack) => self.handle_ack(&ack, false, effects),
            Packet::Pubrec(ack) => self.handle_ack(&ack, true, effects),
            Packet::Pubcomp(ack) => self.handle_pubcomp(&ack, effects),
            Packet::Pubrel(ack) => self.handle_pubrel(&ack, effects),
            Packet::Suback(suback) => {
                self.handle_suback(suback.packet_id, &suback.reason_codes, effects);
            }
            Packet::Unsuback(unsuback) => {
                let refused = unsuback.reason_codes.iter().any(|code| code.is_error());
                self.handle_unsuback(unsuback.packet_id, refused, effects);
            }
            Packet::Pingresp => {}
            Packet::Disconnect(_) => effects.closes = true,
            other @ (Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingreq
            | Packet::Auth(_)) => {
                effects.problems.push(format!("{} got {other:?} from a broker", self.persona.name));
            }
        }
    }

    fn handle_connack(&mut self, connack: &Connack, effects: &mut Effects) {
        if connack.reason_code != ReasonCode::Success {
            effects.refused =
                Some(format!("{} was refused: {}", self.persona.name, connack.reason_code));
            effects.closes = true;
            return;
        }
        self.phase = Phase::Online;
        let started_clean = std::mem::take(&mut self.clean_unanswered);
        self.alias_limit =
            if self.persona.aliases { connack.topic_alias_maximum.unwrap_or(0) } else { 0 };
        let told =
            (self.persona.version != ProtocolVersion::V3_1).then_some(connack.session_present);
        effects.facts.push(Fact::Connected { connection: self.link, session_present: told });
        // MQTT 3.1 does not tell whether there was a session: only the client knows.
        let resumed = told.unwrap_or(self.keeps_session && !started_clean);
        self.keeps_session = self.persona.version.is_v5() || !started_clean;
        if !resumed {
            return self.forget_session();
        }
        for outgoing in self.outgoing.clone() {
            self.resend(&outgoing, effects);
        }
    }

    fn resend(&mut self, outgoing: &Outgoing, effects: &mut Effects) {
        if outgoing.released {
            return self.send(&Packet::Pubrel(Ack::new(outgoing.id)), effects);
        }
        let mut publish = outgoing.publish.clone();
        publish.dup = true;
        effects.facts.push(Fact::Publishing { sent: outgoing.sent.clone() });
        self.send(&Packet::Publish(Box::new(publish)), effects);
    }

    fn handle_publish(&mut self, written_at: u64, publish: &Publish, effects: &mut Effects) {
        let Some(topic) = self.topic_of(publish) else {
            effects.problems.push(format!(
                "{} got a PUBLISH with an alias it does not know",
                self.persona.name
            ));
            return;
        };
        let ids = publish.subscription_ids.iter().map(|id| id.get()).collect();
        effects.facts.push(Fact::Delivered(Delivery {
            connection: self.link,
            topic: topic.to_string(),
            number: number_in(&publish.payload),
            qos: publish.qos.as_u8(),
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.packet_id.map(PacketId::get),
            subscription_ids: ids,
            expiry_left: publish.properties.message_expiry_interval,
            sent_at: written_at,
            is_v5: self.persona.version.is_v5(),
        }));
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.owed.push_back((Answer::Puback, id)),
            (QoS::ExactlyOnce, Some(id)) => {
                self.received.insert(id);
                self.owed.push_back((Answer::Pubrec, id));
            }
            _ => {}
        }
    }

    fn topic_of(&mut self, publish: &Publish) -> Option<TopicName> {
        let alias = publish.topic_alias.map(std::num::NonZeroU16::get);
        if alias.is_some_and(|alias| alias > self.persona.topic_alias_maximum) {
            return None;
        }
        match (&publish.topic, alias) {
            (Some(topic), Some(alias)) => {
                self.aliases_in.insert(alias, topic.clone());
                Some(topic.clone())
            }
            (Some(topic), None) => Some(topic.clone()),
            (None, alias) => self.aliases_in.get(&alias?).cloned(),
        }
    }

    fn handle_ack(&mut self, ack: &Ack, is_pubrec: bool, effects: &mut Effects) {
        let Some(index) = self.outgoing.iter().position(|outgoing| outgoing.id == ack.packet_id)
        else {
            effects.problems.push(format!(
                "{} got an acknowledgement of a message it did not send: {ack:?}",
                self.persona.name
            ));
            return;
        };
        let outgoing = &mut self.outgoing[index];
        if (outgoing.sent.qos == 2) != is_pubrec {
            effects
                .problems
                .push(format!("{} got the wrong acknowledgement: {ack:?}", self.persona.name));
        }
        if ack.reason_code.is_error() {
            self.outgoing.remove(index);
            return;
        }
        effects.facts.push(Fact::Acknowledged { number: outgoing.sent.number });
        if is_pubrec {
            outgoing.released = true;
            self.send(&Packet::Pubrel(Ack::new(ack.packet_id)), effects);
        } else {
            self.outgoing.remove(index);
        }
    }

    fn handle_pubcomp(&mut self, ack: &Ack, effects: &mut Effects) {
        match self
            .outgoing
            .iter()
            .position(|outgoing| outgoing.id == ack.packet_id && outgoing.released)
        {
            Some(index) => {
                self.outgoing.remove(index);
            }
            None => effects
                .problems
                .push(format!("{} got PUBCOMP without PUBREL: {ack:?}", self.persona.name)),
        }
    }

    fn handle_pubrel(&mut self, ack: &Ack, effects: &mut Effects) {
        self.received.remove(&ack.packet_id);
        effects
            .facts
            .push(Fact::Released { connection: self.link, packet_id: ack.packet_id.get() });
        self.owed.push_back((Answer::Pubcomp, ack.packet_id));
    }

    fn handle_suback(&mut self, id: PacketId, codes: &[ReasonCode], effects: &mut Effects) {
        match self.requests.remove(&id) {
            Some(Request::Subscribe(filters)) => {
                let granted = codes.iter().map(|code| code.granted_qos().map(QoS::as_u8)).collect();
                effects.facts.push(Fact::Subscribed {
                    connection: self.link,
                    request: id.get(),
                    granted,
                });
                let had = |(filter, code): &(String, &ReasonCode)| {
                    !(filter.starts_with("$exclusive/") && code.is_error())
                };
                let had = filters.into_iter().zip(codes).filter(had);
                self.filters.extend(had.map(|(filter, _)| filter));
            }
            other => effects
                .problems
                .push(format!("{} got SUBACK {id} for {other:?}", self.persona.name)),
        }
    }

    fn handle_unsuback(&mut self, id: PacketId, refused: bool, effects: &mut Effects) {
        match self.requests.remove(&id) {
            // Whether the subscription is there, nobody knows now.
            Some(Request::Unsubscribe(_)) if refused => {}
            Some(Request::Unsubscribe(filters)) => {
                effects.facts.push(Fact::Unsubscribed { connection: self.link, request: id.get() });
                self.filters.retain(|filter| !filters.contains(filter));
            }
            other => effects
                .problems
                .push(format!("{} got UNSUBACK {id} for {other:?}", self.persona.name)),
        }
    }

    /// Whether it has answers to send.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Sends at most `count` of the answers that it owes.
    pub(crate) fn answer(&mut self, count: usize, effects: &mut Effects) {
        for _ in 0..count {
            let Some((answer, id)) = self.owed.pop_front() else { return };
            effects.facts.push(Fact::Answered {
                connection: self.link,
                packet_id: id.get(),
                answer,
            });
            let ack = Ack::new(id);
            let packet = match answer {
                Answer::Puback => Packet::Puback(ack),
                Answer::Pubrec => Packet::Pubrec(ack),
                Answer::Pubcomp => Packet::Pubcomp(ack),
            };
            self.send(&packet, effects);
        }
    }

    /// The number of the message that goes by this packet id, unless its payload is empty.
    pub(crate) fn message_of(&self, id: PacketId) -> Option<u64> {
        let sent = &self.outgoing.iter().find(|outgoing| outgoing.id == id)?.sent;
        (!sent.empty).then_some(sent.number)
    }

    /// Whether the message with this id may be gone one day.
    pub(crate) fn message_expires(&self, id: PacketId) -> bool {
        let found = self.outgoing.iter().find(|outgoing| outgoing.id == id);
        // What is kept back may be cancelled.
        let goes = |sent: &Sent| sent.expiry.is_some() || sent.delay.is_some();
        found.is_some_and(|outgoing| goes(&outgoing.sent))
    }

    /// What it waits for although it is online; `None` if nothing.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let message = self
            .outgoing
            .front()
            .map(|outgoing| format!("the acknowledgement of {}", outgoing.sent));
        message.or_else(|| {
            self.requests
                .iter()
                .next()
                .map(|(id, request)| format!("the answer to {request:?} ({id})"))
        })
    }

    pub(crate) fn send(&self, packet: &Packet, effects: &mut Effects) {
        packet.encode(self.persona.version, &mut effects.bytes).unwrap();
    }
}

fn packet_will(will: &WillFact) -> Will {
    Will {
        topic: topic(&will.sent.topic),
        payload: payload(&will.sent, 0),
        qos: QoS::try_from(will.sent.qos).unwrap(),
        retain: will.sent.retain,
        delay_interval: will.delay,
        properties: MessageProperties::default(),
    }
}

/// A payload that begins with its number.
pub(crate) fn payload(sent: &Sent, padding: usize) -> Bytes {
    if sent.empty {
        return Bytes::new();
    }
    format!("{}:{}:{padding}:{}", sent.number, sent.publisher, ".".repeat(padding)).into()
}

/// The number that a payload begins with; `None` for an empty one. A payload that is not as it was made has a number that
/// nothing has.
pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
    if payload.is_empty() { None } else { Some(checked_number(payload).unwrap_or(u64::MAX)) }
}

fn checked_number(payload: &[u8]) -> Option<u64> {
    let mut parts = std::str::from_utf8(payload).ok()?.splitn(4, ':');
    let number = parts.next()?.parse().ok()?;
    let length: usize = parts.nth(1)?.parse().ok()?;
    let padding = parts.next()?;
    (padding.len() == length && padding.bytes().all(|byte| byte == b'.')).then_some(number)
}

pub(crate) fn text(from: &str) -> Text {
    Text::try_from(from).unwrap()
}

pub(crate) fn topic(from: &str) -> TopicName {
    TopicName::try_from(from).unwrap()
}
