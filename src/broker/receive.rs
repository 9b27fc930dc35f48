//! From bytes to packets to what they ask for.

use bytes::Buf;
use bytes::BytesMut;

use crate::broker::Broker;
use crate::broker::StorageState;
use crate::broker::Timer;
use crate::broker::connection::Connection;
use crate::broker::connection::Phase;
use crate::broker::event::ConnectionId;
use crate::broker::event::Origin;
use crate::broker::event::Output;
use crate::commitlog::Offset;
use crate::mqtt::Decoder;
use crate::mqtt::Incoming;
use crate::mqtt::Packet;
use crate::mqtt::PacketType;
use crate::mqtt::Violation;
use crate::mutant::Mutant;

impl Broker {
    pub(super) fn handle_opened(&mut self, id: ConnectionId, origin: Origin) {
        let decoder = Decoder::for_server(
            self.options.connect_size_max,
            self.options.session.packet_size_max,
        );
        let slot = self.connections.insert(Connection::new(
            id,
            origin,
            decoder,
            self.options.output_bytes_max,
            self.now,
        ));
        self.connection_slots.insert(id, slot);
        self.stats.connections_opened += 1;
        self.timers.set(self.now + self.options.connect_timeout, Timer::Connect(id));
    }

    /// Takes the complete packets from the front of `input`.
    pub(super) fn handle_received(&mut self, id: ConnectionId, input: &mut BytesMut) {
        let Some(slot) = self.connection_slots.get(&id).copied() else { return input.clear() };
        let mut taken = 0;
        while self.takes_input(slot, input.get(taken)) {
            let Some(connection) = self.connections.get_mut(slot) else { break };
            let rest = input.get(taken..).unwrap_or_default();
            match connection.decoder.next(rest) {
                Ok(None) => break,
                Ok(Some((incoming, length))) => {
                    taken += length;
                    connection.last_received = self.now;
                    self.stats.packets_received += 1;
                    self.handle_incoming(slot, incoming);
                }
                Err(violation) => self.violated(slot, violation),
            }
        }
        if self.connections.get(slot).is_none_or(Connection::is_closing) {
            taken = input.len();
        }
        self.stats.bytes_received += taken as u64;
        input.advance(taken);
    }

    /// Whether another packet, with this first byte, may be taken from the connection now; if not, it is paused.
    fn takes_input(&mut self, slot: usize, first: Option<&u8>) -> bool {
        let waits = first.is_some_and(|first| self.is_held_back(*first));
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        let waits = match &connection.phase {
            Phase::New => waits,
            Phase::Connecting(connecting) => connecting.ticket.is_some(),
            Phase::Connected(_) => {
                waits || connection.outbox.is_full(2 * self.options.output_bytes_max)
            }
            Phase::Closing => return false,
        };
        if waits && !connection.paused {
            connection.paused = true;
            self.outputs.push_back(Output::Pause { connection: connection.id });
            self.paused.insert(slot);
        }
        !waits
    }

    /// Whether packets that begin with this byte are not taken now, because too much waits to become durable and they would
    /// add to it. What was begun is brought to its end all the same, and PINGREQ answered.
    fn is_held_back(&self, first: u8) -> bool {
        if self.stopping.has_begun() {
            return true;
        }
        let state = self.storage_state();
        let adds = match PacketType::from_u8(first >> 4) {
            Some(PacketType::Publish) => state.refuses_message().is_none(),
            Some(PacketType::Connect | PacketType::Subscribe) => !state.takes_nothing(),
            Some(PacketType::Unsubscribe) => state != StorageState::ReadOnly,
            Some(
                PacketType::Connack
                | PacketType::Puback
                | PacketType::Pubrec
                | PacketType::Pubrel
                | PacketType::Pubcomp
                | PacketType::Suback
                | PacketType::Unsuback
                | PacketType::Pingreq
                | PacketType::Pingresp
                | PacketType::Disconnect
                | PacketType::Auth,
            )
            | None => false,
        };
        adds && self.is_backed_up()
    }

    /// Whether so much waits to become durable that nothing is taken up that would add to it.
    pub(super) fn is_backed_up(&self) -> bool {
        self.store.pending_bytes() >= self.options.pending_bytes_max
    }

    /// Lets a connection that was paused go on, if nothing holds it any more.
    pub(super) fn resume(&mut self, slot: usize) {
        let busy = self.store.pending_bytes() >= self.options.pending_bytes_max / 2
            && self.storage_state() == StorageState::Ok
            || self.stopping.has_begun();
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let free = match &connection.phase {
            Phase::Connecting(connecting) => connecting.ticket.is_none(),
            Phase::Connected(_) => {
                !busy && !connection.outbox.is_full(self.options.output_bytes_max)
            }
            Phase::New => !busy,
            Phase::Closing => true,
        };
        if connection.paused && free {
            connection.paused = false;
            // It could not be heard until now.
            connection.last_received = self.now;
            self.outputs.push_back(Output::Resume { connection: connection.id });
        } else if connection.paused {
            self.paused.insert(slot);
        }
    }

    /// Lets publishers go on that were held because too much waited to become durable.
    pub(super) fn resume_publishers(&mut self) {
        if self.store.pending_bytes() < self.options.pending_bytes_max / 2 {
            self.resume_held();
        }
    }

    /// Lets everybody go on who was held and need not be any more.
    pub(super) fn resume_held(&mut self) {
        for slot in std::mem::take(&mut self.paused) {
            self.resume(slot);
        }
    }

    pub(super) fn handle_drained(&mut self, id: ConnectionId, bytes: usize) {
        let Some(slot) = self.connection_slots.get(&id).copied() else { return };
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.outbox.drained(bytes);
        let client = connection.connected().map(|connected| connected.client);
        if connection.paused {
            self.resume(slot);
        }
        if let Some(client) = client.and_then(|client| self.client_ref(client)) {
            self.queue_turn(client);
            self.rouse_walks_of(client);
        }
    }

    fn handle_incoming(&mut self, slot: usize, incoming: Incoming<'_>) {
        match (self.connections.get(slot).map(|connection| &connection.phase), incoming) {
            (Some(Phase::Connected(_)), Incoming::Publish(publish)) => {
                self.handle_publish(slot, &publish);
            }
            (Some(Phase::Connected(_)), Incoming::Packet(packet)) => {
                self.handle_packet(slot, packet);
            }
            (Some(Phase::New), Incoming::Packet(Packet::Connect(connect))) => {
                self.handle_connect(slot, *connect);
            }
            (Some(Phase::New), _) => self.violated(slot, Violation::ConnectMissing),
            (Some(Phase::Connecting(_)), Incoming::Packet(Packet::Auth(auth))) => {
                self.handle_connect_auth(slot, &auth);
            }
            (Some(Phase::Connecting(_)), Incoming::Packet(Packet::Disconnect(_))) => {
                self.close(slot);
            }
            (Some(Phase::Connecting(_)), _) => {
                self.violated(slot, Violation::PacketDuringAuthentication);
            }
            (Some(Phase::Closing) | None, _) => {}
        }
    }

    fn handle_packet(&mut self, slot: usize, packet: Packet) {
        match packet {
            Packet::Publish(publish) => self.violated_by_role(slot, &Packet::Publish(publish)),
            Packet::Puback(ack) => self.handle_puback(slot, &ack),
            Packet::Pubrec(ack) => self.handle_pubrec(slot, &ack),
            Packet::Pubrel(ack) => self.handle_pubrel(slot, &ack),
            Packet::Pubcomp(ack) => self.handle_pubcomp(slot, &ack),
            Packet::Subscribe(subscribe) => self.handle_subscribe(slot, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(slot, &unsubscribe),
            Packet::Pingreq => self.send(slot, &Packet::Pingresp),
            Packet::Disconnect(disconnect) => self.handle_disconnect(slot, &disconnect),
            Packet::Auth(auth) => self.handle_auth(slot, &auth),
            Packet::Connect(_) => self.violated(slot, Violation::ConnectTwice),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.violated_by_role(slot, &packet);
            }
        }
    }

    fn violated_by_role(&mut self, slot: usize, packet: &Packet) {
        tracing::debug!(packet = %packet.packet_type(), "a packet that only goes the other way");
        self.violated(slot, Violation::PacketFromWrongSide);
    }

    /// Sends a packet that promises nothing.
    pub(super) fn send(&mut self, slot: usize, packet: &Packet) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outbox.push(packet);
            self.stats.packets_sent += 1;
        }
        self.queue_write(slot);
    }

    /// Sends a packet once everything below `after` is durable: the packet promises it.
    pub(super) fn send_after(&mut self, slot: usize, after: Offset, packet: Packet) {
        let released = self.released();
        let after = if Mutant::AckBeforeSync.is_active() { Offset::ZERO } else { after };
        let Some(connection) = self.connections.get_mut(slot) else { return };
        self.stats.packets_sent += 1;
        connection.outbox.push_after(after, packet);
        if after <= released {
            let finished = connection.outbox.release(released);
            if let Some(connected) = connection.connected_mut() {
                connected.inbound.finish(finished);
            }
        }
        if let Some(connection) = self.connections.get_mut(slot)
            && connection.outbox.is_gated()
            && !connection.gate_queued
        {
            connection.gate_queued = true;
            self.gates.push(slot);
        }
        self.queue_write(slot);
    }

    /// Notes that a connection has bytes to write.
    pub(super) fn queue_write(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot)
            && connection.outbox.is_ready()
            && !connection.write_queued
        {
            connection.write_queued = true;
            self.writes.push(slot);
        }
    }
}
