//! PUBLISH from a client: check it, make it a record, route it, promise an acknowledgement.

use crate::access::Action;
use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::Unrouted;
use crate::broker::address::Address;
use crate::broker::address::Fault;
use crate::broker::control;
use crate::broker::message::Message;
use crate::broker::stats::Dropped;
use crate::commitlog::Offset;
use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::PublishView;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::mqtt::Violation;
use crate::mqtt::topic_levels;
use crate::mutant::Mutant;
use crate::store::Due;
use crate::store::NewMessage;
use crate::store::Row;

/// The topic of a PUBLISH: in the packet, or behind its alias.
enum Topic<'a> {
    Given(&'a str),
    Known(Text),
}

impl std::ops::Deref for Topic<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Given(topic) => topic,
            Self::Known(topic) => topic,
        }
    }
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    reason: ReasonCode,
    dropped: Dropped,
    /// What the publisher is told beside the reason.
    text: Option<&'static str>,
}

impl Refusal {
    pub(super) const fn new(reason: ReasonCode, dropped: Dropped) -> Self {
        Self { reason, dropped, text: None }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { text: Some(fault.text()), ..Self::new(fault.reason(), Dropped::Invalid) }
    }
}

impl Broker {
    pub(super) fn handle_publish(&mut self, slot: usize, publish: &PublishView<'_>) {
        self.stats.publish_received += 1;
        let topic = match self.topic_of(slot, publish) {
            Ok(topic) => topic,
            Err(violation) => return self.violated(slot, violation),
        };
        let Some(client_id) = self.client_id_of(slot) else { return };
        if let Some(packet_id) = publish.packet_id
            && publish.qos == QoS::ExactlyOnce
            && self.is_unreleased(&client_id, packet_id)
            && !Mutant::Qos2DedupForgotten.is_active()
        {
            return self.acknowledge_again(slot, packet_id);
        }
        if publish.qos > QoS::AtMostOnce && !self.open_inbound(slot) {
            return;
        }
        if control::is_request(&topic) {
            return self.handle_control(slot, &client_id, publish, &topic);
        }
        let address = Address::read(&topic, &publish.properties, self.now);
        let address = match address {
            Ok(address) => address,
            Err(fault) => return self.refuse_publish(slot, publish, fault.into()),
        };
        match self.refusal(slot, publish, &address) {
            Some(refusal) => {
                self.note_refused(&client_id, publish, address.topic, refusal.dropped);
                self.refuse_publish(slot, publish, refusal);
            }
            None => self.accept_publish(slot, &client_id, publish, &address),
        }
    }

    fn topic_of<'a>(
        &mut self,
        slot: usize,
        publish: &PublishView<'a>,
    ) -> Result<Topic<'a>, Violation> {
        let connected =
            self.connections.get_mut(slot).and_then(|connection| connection.connected_mut());
        let (Some(alias), Some(connected)) = (publish.topic_alias, connected) else {
            return Ok(Topic::Given(publish.topic));
        };
        if publish.topic.is_empty() {
            let known = connected.inbound_aliases.get(alias.get()).cloned();
            return known.map(Topic::Known).ok_or(Violation::TopicAliasWithoutTopic);
        }
        let topic = Text::try_from(publish.topic)?;
        if connected.inbound_aliases.set(alias.get(), topic) {
            Ok(Topic::Given(publish.topic))
        } else {
            Err(Violation::TopicAliasTooHigh)
        }
    }

    /// Whether a QoS 2 message with this packet id was received and not yet released: the same message again [MQTT-4.3.3-10].
    fn is_unreleased(&self, client_id: &crate::mqtt::ClientId, packet_id: PacketId) -> bool {
        self.store
            .state()
            .session(client_id)
            .is_some_and(|session| session.inbound.contains_key(&packet_id))
    }

    /// The same message again: PUBREC when the first one's record is durable, and no second record.
    fn acknowledge_again(&mut self, slot: usize, packet_id: PacketId) {
        let Some(client_id) = self.client_id_of(slot) else { return };
        let session = self.store.state().session(&client_id);
        let offset = session
            .and_then(|session| session.inbound.get(&packet_id))
            .copied()
            .unwrap_or(Offset::ZERO);
        let ack = self.tell_position(slot, Ack::new(packet_id), Some(offset));
        self.send_after(slot, offset.next(), Packet::Pubrec(ack));
    }

    /// Counts a message against the Receive Maximum. False if the connection was ended for it.
    fn open_inbound(&mut self, slot: usize) -> bool {
        let Some(connected) =
            self.connections.get_mut(slot).and_then(|connection| connection.connected_mut())
        else {
            return false;
        };
        // Before version 5 there is no Receive Maximum to keep to.
        if connected.inbound.open() || !connected.limits.version.is_v5() {
            return true;
        }
        if self.options.session.receive_maximum_strict {
            self.violated(slot, Violation::ReceiveMaximumExceeded);
            return false;
        }
        self.stats.receive_maximum_exceeded += 1;
        true
    }

    /// Why the message is not taken, if it is not.
    fn refusal(
        &self,
        slot: usize,
        publish: &PublishView<'_>,
        address: &Address<'_>,
    ) -> Option<Refusal> {
        let topic = address.topic;
        let kept = publish.qos > QoS::AtMostOnce || address.due.is_some();
        if let (Some(reason), true) = (self.storage_state().refuses_message(), kept) {
            return Some(Refusal::new(reason, Dropped::DiskFull));
        }
        if publish.retain && self.retains_enough(topic, publish.payload) {
            return Some(Refusal::new(ReasonCode::QuotaExceeded, Dropped::RetainedFull));
        }
        if topic.starts_with('$') || topic_levels(topic) > self.options.topic_levels_max {
            return Some(Refusal::new(ReasonCode::TopicNameInvalid, Dropped::Invalid));
        }
        let connected = self.connections.get(slot)?.connected()?;
        let action = Action::Publish { topic, retain: publish.retain, qos: publish.qos };
        if !connected.grants.may(action).allowed {
            return Some(Refusal::new(ReasonCode::NotAuthorized, Dropped::NotAuthorized));
        }
        let text =
            self.options.check_payload_format && publish.payload_format_indicator() == Some(true);
        if text && simdutf8::basic::from_utf8(publish.payload).is_err() {
            return Some(Refusal::new(ReasonCode::PayloadFormatInvalid, Dropped::Invalid));
        }
        address.due.and_then(|due| self.refuses_delay(due))
    }

    /// What nobody gets because it is refused may be reported.
    fn note_refused(
        &mut self,
        client_id: &crate::mqtt::ClientId,
        publish: &PublishView<'_>,
        topic: &str,
        reason: Dropped,
    ) {
        let message = Message {
            offset: None,
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: &publish.properties.forwardable(),
            published_at: self.now,
            expires_at: None,
            publisher: client_id,
        };
        self.undelivered.note(&mut self.stats, reason, &message, None);
    }

    /// Why a message is not kept back until then, if it is not.
    fn refuses_delay(&self, due: Due) -> Option<Refusal> {
        let text = if self.store.state().delayed().len() >= self.options.delayed_max {
            "as many messages wait as may (limits.delayed_max)"
        } else if due.at.since(self.now) > self.options.delay_max {
            "it is further off than a message may be (limits.delay_max)"
        } else {
            return None;
        };
        let refusal = Refusal::new(ReasonCode::QuotaExceeded, Dropped::DelayedFull);
        Some(Refusal { text: Some(text), ..refusal })
    }

    /// Whether another topic would have a retained message than there may be.
    pub(super) fn retains_enough(&self, topic: &str, payload: &[u8]) -> bool {
        let retained = self.store.state().retained();
        !payload.is_empty()
            && retained.len() >= self.options.retained_max
            && !retained.contains_key(topic)
    }

    /// Tells the publisher, where its version and the QoS have a way to; a version 3 publisher that waits for an acknowledgement gets
    /// none: its connection is closed, because an acknowledgement would be a lie [3.1.1 MQTT-3.3.5-2].
    pub(super) fn refuse_publish(
        &mut self,
        slot: usize,
        publish: &PublishView<'_>,
        refusal: Refusal,
    ) {
        let Refusal { reason, dropped, text } = refusal;
        self.stats.drop_messages(dropped, 1);
        let Some(connection) = self.connections.get(slot) else { return };
        let is_v5 = connection.version().is_v5();
        let (id, peer) = (connection.id, &connection.origin.peer);
        if publish.packet_id.is_some() && !is_v5 {
            tracing::info!(connection = %id, %peer, %reason, "publish refused, connection closed");
        } else {
            tracing::debug!(connection = %id, %peer, %reason, "publish refused");
        }
        match (publish.packet_id, is_v5) {
            (None, _) => {}
            (Some(_), false) => self.close_for(slot, reason),
            (Some(packet_id), true) => {
                let ack = self.refusal_ack(slot, packet_id, reason, text);
                let answer = if publish.qos == QoS::ExactlyOnce {
                    Packet::Pubrec(ack)
                } else {
                    Packet::Puback(ack)
                };
                self.send_after(slot, Offset::ZERO, answer);
            }
        }
    }

    /// The acknowledgement of what was refused, with the words for it if the client wants any [MQTT-3.1.2-29].
    pub(super) fn refusal_ack(
        &self,
        slot: usize,
        packet_id: PacketId,
        reason: ReasonCode,
        text: Option<&str>,
    ) -> Ack {
        let connected = self.connections.get(slot).and_then(|connection| connection.connected());
        let wanted = connected.is_some_and(|connected| connected.limits.problem_information);
        let reason_string = text.filter(|_| wanted).and_then(|text| Text::try_from(text).ok());
        Ack { reason_string, ..Ack::with_reason(packet_id, reason) }
    }

    fn accept_publish(
        &mut self,
        slot: usize,
        client_id: &crate::mqtt::ClientId,
        publish: &PublishView<'_>,
        address: &Address<'_>,
    ) {
        let expiry = publish.message_expiry_interval();
        let message = NewMessage {
            topic: address.topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: client_id,
            packet_id: publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce),
            expiry_interval: address.expiry.into_iter().chain(expiry).min(),
            properties: &publish.properties.forwardable(),
        };
        let offset = match address.due {
            Some(due) => Some(self.delay(&message, due)),
            None => self.publish(&message),
        };
        let Some(packet_id) = publish.packet_id else { return };
        let after = offset.map_or(Offset::ZERO, Offset::next);
        let answer = if publish.qos == QoS::ExactlyOnce {
            if !self.is_unreleased(client_id, packet_id) {
                // A delayed message does not take its id itself, and a session that is not recorded remembers it in memory.
                self.store.put(self.now, Row::Inbound(client_id.clone(), packet_id, offset));
            }
            Packet::Pubrec(self.tell_position(slot, Ack::new(packet_id), offset))
        } else {
            Packet::Puback(self.tell_position(slot, Ack::new(packet_id), offset))
        };
        self.send_after(slot, after, answer);
    }

    /// Makes a message a record and routes it. `None` if it is not kept: QoS 0 with logging switched off, or while the disk
    /// is full.
    pub(super) fn publish(&mut self, new: &NewMessage<'_>) -> Option<Offset> {
        let mut message = Message {
            offset: None,
            topic: new.topic,
            payload: new.payload,
            qos: new.qos,
            retain: new.retain,
            properties: new.properties,
            published_at: self.now,
            expires_at: new
                .expiry_interval
                .map(|seconds| self.now + std::time::Duration::from_secs(u64::from(seconds))),
            publisher: new.publisher,
        };
        let wanted = new.retain || self.options.log_qos0;
        let full = self.storage_state().refuses_message().is_some();
        let kept = new.qos > QoS::AtMostOnce || wanted && !full;
        self.stats.not_logged += u64::from(wanted && !kept);
        let offset = kept.then(|| self.store.append_message(self.now, new));
        message.offset = offset;
        let route = self.router.route(new.topic);
        if route.is_empty() {
            return offset;
        }
        match offset {
            Some(offset) if new.qos > QoS::AtMostOnce => {
                self.unrouted.push_back(Unrouted {
                    offset,
                    what: Routing::Message(std::sync::Arc::clone(&route)),
                });
                self.assign_to_groups(offset, &message, &route);
            }
            offset => {
                let missed = self.route_qos0(offset, &message, &route);
                if let (true, Some(offset)) = (missed, offset) {
                    self.unrouted.push_back(Unrouted {
                        offset,
                        what: Routing::Qos0(std::sync::Arc::clone(&route)),
                    });
                }
                self.send_qos0_to_groups(&message, &route);
            }
        }
        offset
    }

    /// The client id behind a connection.
    pub(super) fn client_id_of(&self, slot: usize) -> Option<crate::mqtt::ClientId> {
        let connected = self.connections.get(slot)?.connected()?;
        self.clients.get(connected.client).map(|client| client.id.clone())
    }
}
