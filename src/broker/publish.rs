//! PUBLISH from a client: check it, make it a record, route it, promise an acknowledgement.

use crate::access::Action;
use crate::broker::Broker;
use crate::broker::Routing;
use crate::broker::Unrouted;
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
        match self.refusal(slot, publish, &topic) {
            Some((reason, dropped)) => self.refuse_publish(slot, publish, reason, dropped),
            None => self.accept_publish(slot, &client_id, publish, &topic),
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
        topic: &str,
    ) -> Option<(ReasonCode, Dropped)> {
        let state = self.storage_state();
        if let (Some(reason), true) = (state.refuses_message(), publish.qos > QoS::AtMostOnce) {
            return Some((reason, Dropped::DiskFull));
        }
        if publish.retain && self.retains_enough(topic, publish.payload) {
            return Some((ReasonCode::QuotaExceeded, Dropped::RetainedFull));
        }
        if topic.starts_with('$') || topic_levels(topic) > self.options.topic_levels_max {
            return Some((ReasonCode::TopicNameInvalid, Dropped::Invalid));
        }
        let connected = self.connections.get(slot)?.connected()?;
        let action = Action::Publish { topic, retain: publish.retain, qos: publish.qos };
        if !connected.grants.may(action).allowed {
            return Some((ReasonCode::NotAuthorized, Dropped::NotAuthorized));
        }
        let text =
            self.options.check_payload_format && publish.payload_format_indicator() == Some(true);
        if text && simdutf8::basic::from_utf8(publish.payload).is_err() {
            return Some((ReasonCode::PayloadFormatInvalid, Dropped::Invalid));
        }
        None
    }

    /// Whether another topic would have a retained message than there may be.
    fn retains_enough(&self, topic: &str, payload: &[u8]) -> bool {
        let retained = self.store.state().retained();
        !payload.is_empty()
            && retained.len() >= self.options.retained_max
            && !retained.contains_key(topic)
    }

    /// Tells the publisher, where its version and the QoS have a way to; a version 3 publisher that waits for an acknowledgement gets
    /// none: its connection is closed, because an acknowledgement would be a lie [3.1.1 MQTT-3.3.5-2].
    fn refuse_publish(
        &mut self,
        slot: usize,
        publish: &PublishView<'_>,
        reason: ReasonCode,
        dropped: Dropped,
    ) {
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
                let ack = Ack::with_reason(packet_id, reason);
                let answer = if publish.qos == QoS::ExactlyOnce {
                    Packet::Pubrec(ack)
                } else {
                    Packet::Puback(ack)
                };
                self.send_after(slot, Offset::ZERO, answer);
            }
        }
    }

    fn accept_publish(
        &mut self,
        slot: usize,
        client_id: &crate::mqtt::ClientId,
        publish: &PublishView<'_>,
        topic: &str,
    ) {
        let message = NewMessage {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: client_id,
            packet_id: publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce),
            expiry_interval: publish.message_expiry_interval(),
            properties: &publish.properties.forwardable(),
        };
        let offset = self.publish(&message);
        let Some(packet_id) = publish.packet_id else { return };
        let after = offset.map_or(Offset::ZERO, Offset::next);
        let answer = if publish.qos == QoS::ExactlyOnce {
            if !self.is_unreleased(client_id, packet_id) {
                // A session whose rows are not recorded remembers the id in memory.
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
