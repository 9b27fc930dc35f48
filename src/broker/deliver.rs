//! Sending one message to one client.
//!
//! Everything that reaches a client goes through [`Delivery::send`]: live messages, those read from the log, retained ones, assignments.
//! It numbers the delivery, names the topic, encodes, and counts what can't be sent.

use slab::Slab;

use crate::broker::client::Client;
use crate::broker::client::ClientRef;
use crate::broker::connection::Connection;
use crate::broker::message::Message;
use crate::broker::meta::decorated;
use crate::broker::stats::Dropped;
use crate::broker::stats::Stats;
use crate::broker::undelivered::Undelivered;
use crate::commitlog::Offset;
use crate::mqtt::PacketId;
use crate::mqtt::PublishHeader;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mutant::Mutant;
use crate::session::Meta;
use crate::session::Naming;
use crate::session::Step;
use crate::session::packet_id_of;
use crate::store::AssignedRow;
use crate::store::ClockRow;
use crate::time::Timestamp;

/// The bytes of a Topic Alias property.
const ALIAS_LENGTH: usize = 3;

/// The parts of the core that a delivery touches, and nothing else: the message itself may be borrowed from the rest.
pub(super) struct Delivery<'a> {
    pub(super) clients: &'a mut Slab<Client>,
    pub(super) connections: &'a mut Slab<Connection>,
    pub(super) stats: &'a mut Stats,
    pub(super) undelivered: &'a mut Undelivered,
    /// Slots of connections with something to write.
    pub(super) writes: &'a mut Vec<usize>,
    pub(super) durable: Offset,
    pub(super) now: Timestamp,
    pub(super) clock: &'a ClockRow,
}

/// How a message goes to one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: &'a [SubscriptionId],
    /// Where it stands in the session's stream.
    pub(super) place: Offset,
    /// What it tells of the message's position.
    pub(super) meta: Meta,
    /// Whether a replay gives it.
    pub(super) replayed: bool,
}

impl<'a> Terms<'a> {
    /// Of an assignment.
    pub(super) fn of_assigned(
        row: &AssignedRow,
        subscription_ids: &'a [SubscriptionId],
        place: Offset,
    ) -> Self {
        let AssignedRow { qos, retained, meta, replayed, .. } = *row;
        Self { qos, retain: retained, subscription_ids, place, meta, replayed }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It had its turn: it was sent, or counted as what can't be sent.
    Done,
    /// Not now: the window is full, the socket is, or the number is not reserved yet.
    NotNow,
}

impl Delivery<'_> {
    /// The client, if it is still there.
    pub(super) fn client(&mut self, client: ClientRef) -> Option<&mut Client> {
        self.clients.get_mut(client.index()).filter(|known| known.epoch == client.epoch)
    }

    /// Whether a message at this QoS could be sent to the client now.
    pub(super) fn can_send(&mut self, client: ClientRef, qos: QoS) -> bool {
        let durable = self.durable;
        let Some(client) = self.client(client) else { return false };
        let slot = client.connection;
        let numbered = qos == QoS::AtMostOnce || client.may_number(durable);
        numbered
            && self.connections.get(slot).is_some_and(|connection| connection.outbox.has_room())
    }

    /// Counts a message that a client does not get.
    pub(super) fn dropped(&mut self, reason: Dropped, message: &Message<'_>, client: ClientRef) {
        let whom = self.clients.get(client.index()).map(|known| known.id.as_str());
        self.undelivered.count(self.stats, reason, message, whom);
    }

    /// Sends the message, if the client can take it now.
    pub(super) fn send(
        &mut self,
        client: ClientRef,
        message: &Message<'_>,
        terms: Terms<'_>,
    ) -> Sent {
        if !self.can_send(client, terms.qos) {
            return Sent::NotNow;
        }
        let index = client.index();
        let Some(client) = self.clients.get_mut(index) else { return Sent::NotNow };
        let number = client.outbound.next_number();
        let dup = terms.qos > QoS::AtMostOnce && number < client.dup_below;
        let now = self.clock.present_for(message.published_at, self.now);
        // What may have been sent before is sent again even if it has expired since [MQTT-4.3.3-7].
        if message.is_expired(now) && !dup {
            let whom = Some(client.id.as_str());
            self.undelivered.count(self.stats, Dropped::Expired, message, whom);
            skip(client, terms);
            return Sent::Done;
        }
        let Some(connection) = self.connections.get_mut(client.connection) else {
            return Sent::NotNow;
        };
        let dup = dup && !Mutant::DupNotSet.is_active();
        let packet_id = (terms.qos > QoS::AtMostOnce).then(|| packet_id_of(number));
        if encode(connection, message, terms, packet_id, dup, now) {
            if terms.qos > QoS::AtMostOnce {
                client.outbound.push(terms.place, Step::Sent(terms.qos));
            }
            self.stats.publish_sent += 1;
            self.stats.packets_sent += 1;
        } else {
            let whom = Some(client.id.as_str());
            self.undelivered.count(self.stats, Dropped::TooLarge, message, whom);
            skip(client, terms);
        }
        if !connection.write_queued {
            connection.write_queued = true;
            self.writes.push(client.connection);
        }
        Sent::Done
    }
}

/// A delivery that can't be made has had its number all the same.
fn skip(client: &mut Client, terms: Terms<'_>) {
    if terms.qos > QoS::AtMostOnce {
        client.outbound.push(terms.place, Step::Done);
    }
}

/// Encodes the PUBLISH; false if it is larger than the client takes.
fn encode(
    connection: &mut Connection,
    message: &Message<'_>,
    terms: Terms<'_>,
    packet_id: Option<PacketId>,
    dup: bool,
    now: Timestamp,
) -> bool {
    let version = connection.outbox.version();
    let wanted = connection.connected().map_or(Meta::None, |connected| connected.meta);
    let decorated = decorated(message, terms.meta.max(wanted), terms.replayed, version);
    let message = decorated.as_ref().map_or(*message, |decorated| decorated.of(message));
    let packet_size_max = connection.outbox.packet_size_max();
    let mut header = PublishHeader {
        dup,
        qos: terms.qos,
        retain: terms.retain,
        topic: message.topic,
        packet_id,
        topic_alias: None,
        subscription_ids: if version.is_v5() { terms.subscription_ids } else { &[] },
        message_expiry_interval: message.expiry_left(now),
        properties: message.properties,
        payload_length: message.payload.len(),
    };
    let length = match header.encoded_length(version) {
        Ok(length) if length <= packet_size_max => length,
        Ok(_) | Err(_) => return false,
    };
    // An alias is introduced only if its three bytes fit too.
    if length + ALIAS_LENGTH <= packet_size_max
        && let Some(connected) = connection.connected_mut()
    {
        match connected.outbound_aliases.name(message.topic) {
            Naming::Topic => {}
            Naming::Introduce(alias) => header.topic_alias = Some(alias),
            Naming::Alias(alias) => {
                header.topic_alias = Some(alias);
                header.topic = "";
            }
        }
    }
    let buffer = connection.outbox.buffer();
    let encoded = header.encode(version, buffer).is_ok();
    if encoded {
        buffer.extend_from_slice(message.payload);
    }
    encoded
}
