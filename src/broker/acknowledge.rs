//! The four acknowledgements, in both directions.
//!
//! ```text
//!  to the client      PUBLISH ──► PUBACK                    PUBLISH ──► PUBREC ──► PUBREL ──► PUBCOMP
//!                                   │ progress lags                       │ progress is due     │ progress lags
//!                                                                         └ PUBREL once durable
//!  from the client    PUBREL: the id is free, PUBCOMP once that is durable
//! ```

use crate::broker::Broker;
use crate::broker::client::ClientRef;
use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::ReasonCode;
use crate::mqtt::Violation;
use crate::mutant::Mutant;
use crate::session::Acknowledged;
use crate::session::Unexpected;
use crate::session::packet_id_of;
use crate::store::Row;

impl Broker {
    pub(super) fn handle_puback(&mut self, slot: usize, ack: &Ack) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        let outcome = known.outbound.handle_puback(ack.packet_id);
        self.acknowledged(slot, client, outcome);
    }

    pub(super) fn handle_pubrec(&mut self, slot: usize, ack: &Ack) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        let refused = ack.reason_code.is_error();
        match known.outbound.handle_pubrec(ack.packet_id, refused) {
            Ok(_) if !refused => {
                // PUBREL leaves when the row that remembers this PUBREC is durable, so that the message is never sent again [MQTT-4.3.3-6].
                if Mutant::PubrelBeforeDurablePubrec.is_active() {
                    return self.send(slot, &Packet::Pubrel(Ack::new(ack.packet_id)));
                }
                known.to_release.push(ack.packet_id);
                self.progress_is_due(client);
            }
            Err(Unexpected::Unknown) if !refused => {
                // It is sent again when its turn comes. Until then the client must not forget it [MQTT-4.4.0-1].
                if let Some(number) = known.number_to_come(ack.packet_id) {
                    known.received_early.insert(number);
                    return;
                }
                self.refuse_receipt(slot, ack.packet_id);
            }
            outcome => self.acknowledged(slot, client, outcome),
        }
    }

    /// Every delivery had its turn: a PUBREC that none of them was meant by gets its answer, so that the client can go on.
    pub(super) fn answer_early_receipts(&mut self, client: ClientRef) {
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        let (slot, next) = (known.connection, known.outbound.next_number());
        for number in std::mem::take(&mut known.received_early).split_off(&next) {
            self.refuse_receipt(slot, packet_id_of(number));
        }
    }

    fn refuse_receipt(&mut self, slot: usize, packet_id: PacketId) {
        let reason = ReasonCode::PacketIdentifierNotFound;
        self.send(slot, &Packet::Pubrel(Ack::with_reason(packet_id, reason)));
    }

    pub(super) fn handle_pubcomp(&mut self, slot: usize, ack: &Ack) {
        let Some(client) = self.client_at(slot) else { return };
        let Some(known) = self.clients.get_mut(client.index()) else { return };
        let outcome = known.outbound.handle_pubcomp(ack.packet_id);
        self.acknowledged(slot, client, outcome);
    }

    fn acknowledged(
        &mut self,
        slot: usize,
        client: ClientRef,
        outcome: Result<Acknowledged, Unexpected>,
    ) {
        match outcome {
            Ok(_) => {
                self.progress_lags(client);
                self.queue_turn(client);
                self.rouse_walks_of(client);
            }
            // Acknowledged before a cut that hid the acknowledgement, or acknowledged twice: nothing to do.
            Err(Unexpected::Unknown) => {}
            Err(Unexpected::WrongStep) => self.violated(slot, Violation::AcknowledgementUnexpected),
        }
    }

    /// PUBREL: the client will not send the message again, so its id is free. An id that is not taken is answered all the same: the
    /// client may have lost our PUBCOMP [MQTT-4.3.3-11].
    pub(super) fn handle_pubrel(&mut self, slot: usize, ack: &Ack) {
        let Some(client_id) = self.client_id_of(slot) else { return };
        let taken = self
            .store
            .state()
            .session(&client_id)
            .is_some_and(|session| session.inbound.contains_key(&ack.packet_id));
        if !taken {
            let reason = ReasonCode::PacketIdentifierNotFound;
            return self.send_after(
                slot,
                self.store.next_offset(),
                Packet::Pubcomp(Ack::with_reason(ack.packet_id, reason)),
            );
        }
        let offset = self.store.put(self.now, Row::Inbound(client_id.clone(), ack.packet_id, None));
        let after = self.gate(&client_id, offset);
        self.send_after(slot, after, Packet::Pubcomp(Ack::new(ack.packet_id)));
    }

    /// The client behind a connection.
    pub(super) fn client_at(&self, slot: usize) -> Option<ClientRef> {
        let connected = self.connections.get(slot)?.connected()?;
        self.client_ref(connected.client)
    }
}
