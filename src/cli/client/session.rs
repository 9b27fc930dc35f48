//! What the client owes and is owed at `QoS` 1 and 2. It outlives a connection and knows none.
//!
//! ```text
//! outbound   `QoS` 1   PUBLISH -> waits for PUBACK  -> done
//!            `QoS` 2   PUBLISH -> waits for PUBREC  -> PUBREL -> waits for PUBCOMP -> done
//! inbound    `QoS` 2   PUBLISH -> delivered -> acknowledged by the application: PUBREC -> PUBREL: PUBCOMP -> forgotten
//! ```
//!
//! - Packet ids are shared by PUBLISH, SUBSCRIBE and UNSUBSCRIBE; one in use is not given again [MQTT-2.2.1-3].
//! - What a new connection has to send again comes in the order in which it was first sent [MQTT-4.6.0-1].
//! - A message at `QoS` 2 is delivered to the application once, as long as the session lives on the broker.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;

/// The state of the flows.
#[derive(Debug, Default)]
pub(super) struct Session {
    outbound: VecDeque<Outbound>,
    inbound: BTreeMap<PacketId, Inbound>,
    requests: BTreeSet<PacketId>,
    last_id: u16,
    deliveries: u64,
}

#[derive(Debug)]
struct Outbound {
    packet_id: PacketId,
    number: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Sent; waits for PUBACK or PUBREC.
    Published(Box<Publish>),
    /// Received by the broker; waits for PUBCOMP.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    /// The application has it, under this number.
    Delivered(u64),
    /// PUBREC was sent.
    Received,
}

/// A message that the application has to acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// `QoS` 0: nothing to do.
    None,
    /// `QoS` 1: the acknowledgement is good on the connection that brought the message only, since the broker sends
    /// it again on the next one.
    Once {
        /// The packet id.
        packet_id: PacketId,
        /// The connection.
        connection: u64,
    },
    /// `QoS` 2: good as long as the session knows this delivery.
    Exactly {
        /// The packet id.
        packet_id: PacketId,
        /// The delivery.
        delivery: u64,
    },
}

/// The end of a flow of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// The number that the application gave the message.
    pub(crate) number: u64,
    /// How it ended.
    pub(crate) reason_code: ReasonCode,
    /// Why, if the broker says so.
    pub(crate) reason_string: Option<String>,
}

/// What a new connection has to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// A PUBLISH.
    Publish(Publish),
    /// A PUBREL.
    Release(Ack),
}

/// What an acknowledgement of the broker's leads to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// To be sent.
    pub(super) reply: Option<Packet>,
    /// To be told.
    pub(super) completion: Option<Completion>,
}

impl Session {
    /// How many messages are on their way to the broker.
    pub(super) fn in_flight(&self) -> usize {
        self.outbound.len()
    }

    /// The numbers of the first and the last of them.
    pub(super) fn numbers_in_flight(&self) -> Option<(u64, u64)> {
        Some((self.outbound.front()?.number, self.outbound.back()?.number))
    }

    /// Takes a message at `QoS` 1 or 2 into the flow and returns it with its packet id; `None` if all ids are in use.
    pub(super) fn publish(&mut self, number: u64, mut publish: Publish) -> Option<Publish> {
        let packet_id = self.next_id()?;
        publish.packet_id = Some(packet_id);
        let step = Step::Published(Box::new(publish.clone()));
        self.outbound.push_back(Outbound { packet_id, number, step });
        Some(publish)
    }

    /// A packet id for a SUBSCRIBE or UNSUBSCRIBE; `None` if all are in use.
    pub(super) fn request(&mut self) -> Option<PacketId> {
        let packet_id = self.next_id()?;
        self.requests.insert(packet_id);
        Some(packet_id)
    }

    /// The SUBACK or UNSUBACK for a request has come. Whether there was one.
    pub(super) fn handle_request_ack(&mut self, packet_id: PacketId) -> bool {
        self.requests.remove(&packet_id)
    }

    /// A new connection is up. Returns what to send again, and the flows that have ended by it.
    ///
    /// If the broker has forgotten the session, messages that it did not yet take over are sent as new ones. Those
    /// that it did (PUBREC) are its own since then [MQTT-4.3.3-8].
    pub(super) fn resume(&mut self, session_present: bool) -> (Vec<Again>, Vec<Completion>) {
        self.requests.clear();
        let mut completions = Vec::new();
        if !session_present {
            self.inbound.clear();
            self.outbound.retain(|outbound| {
                let released = matches!(outbound.step, Step::Released);
                if released {
                    completions.push(outbound.complete(ReasonCode::Success));
                }
                !released
            });
        }
        (
            self.outbound.iter().map(|outbound| outbound.again(session_present)).collect(),
            completions,
        )
    }

    /// A PUBLISH has come. The receipt if the application is to see it; otherwise the reply, if any.
    pub(super) fn handle_publish(
        &mut self,
        qos: QoS,
        packet_id: Option<PacketId>,
        connection: u64,
    ) -> Result<Receipt, Option<Packet>> {
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => Ok(Receipt::Once { packet_id, connection }),
            (QoS::ExactlyOnce, Some(packet_id)) => match self.inbound.get(&packet_id) {
                Some(Inbound::Delivered(_)) => Err(None),
                Some(Inbound::Received) => Err(Some(Packet::Pubrec(success(packet_id)))),
                None => {
                    self.deliveries += 1;
                    self.inbound.insert(packet_id, Inbound::Delivered(self.deliveries));
                    Ok(Receipt::Exactly { packet_id, delivery: self.deliveries })
                }
            },
            (QoS::AtMostOnce, _) | (_, None) => Ok(Receipt::None),
        }
    }

    /// The application is done with a message. The acknowledgement to send, if it still means something.
    pub(super) fn acknowledge(&mut self, receipt: Receipt, connection: u64) -> Option<Packet> {
        match receipt {
            Receipt::None => None,
            Receipt::Once { packet_id, connection: origin } => {
                (origin == connection).then(|| Packet::Puback(success(packet_id)))
            }
            Receipt::Exactly { packet_id, delivery } => {
                let inbound = self.inbound.get_mut(&packet_id)?;
                if *inbound != Inbound::Delivered(delivery) {
                    return None;
                }
                *inbound = Inbound::Received;
                Some(Packet::Pubrec(success(packet_id)))
            }
        }
    }

    /// How many messages at `QoS` 2 were acknowledged and wait for their PUBREL.
    pub(super) fn awaiting_release(&self) -> usize {
        self.inbound.values().filter(|inbound| **inbound == Inbound::Received).count()
    }

    /// A PUBREL has come: the PUBCOMP to send.
    pub(super) fn handle_pubrel(&mut self, packet_id: PacketId) -> Packet {
        let known = self.inbound.remove(&packet_id).is_some();
        Packet::Pubcomp(if known { success(packet_id) } else { not_found(packet_id) })
    }

    /// A PUBACK has come.
    pub(super) fn handle_puback(&mut self, ack: &Ack) -> Progress {
        let completion = self.position(ack.packet_id, |step| matches!(step, Step::Published(_)));
        let completion = completion.and_then(|index| self.finish(index, ack));
        Progress { completion, reply: None }
    }

    /// A PUBREC has come.
    pub(super) fn handle_pubrec(&mut self, ack: &Ack) -> Progress {
        let Some(index) = self.position(ack.packet_id, |_| true) else {
            let reply =
                (!ack.reason_code.is_error()).then(|| Packet::Pubrel(not_found(ack.packet_id)));
            return Progress { reply, completion: None };
        };
        if ack.reason_code.is_error() {
            return Progress { completion: self.finish(index, ack), reply: None };
        }
        if let Some(outbound) = self.outbound.get_mut(index) {
            outbound.step = Step::Released;
        }
        Progress { reply: Some(Packet::Pubrel(success(ack.packet_id))), completion: None }
    }

    /// A PUBCOMP has come.
    pub(super) fn handle_pubcomp(&mut self, ack: &Ack) -> Progress {
        let completion = self.position(ack.packet_id, |step| matches!(step, Step::Released));
        let completion = completion.and_then(|index| {
            let outbound = self.outbound.remove(index)?;
            // The broker does not know the id any more: it had completed the flow before.
            let known = ack.reason_code != ReasonCode::PacketIdentifierNotFound;
            Some(outbound.complete(if known { ack.reason_code } else { ReasonCode::Success }))
        });
        Progress { completion, reply: None }
    }

    fn position(&self, packet_id: PacketId, fits: impl Fn(&Step) -> bool) -> Option<usize> {
        let outbound = &self.outbound;
        outbound.iter().position(|flow| flow.packet_id == packet_id && fits(&flow.step))
    }

    fn finish(&mut self, index: usize, ack: &Ack) -> Option<Completion> {
        let mut completion = self.outbound.remove(index)?.complete(ack.reason_code);
        completion.reason_string = ack.reason_string.as_deref().map(ToOwned::to_owned);
        Some(completion)
    }

    fn next_id(&mut self) -> Option<PacketId> {
        for _ in 0..u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let packet_id = PacketId::new(self.last_id)?;
            if self.position(packet_id, |_| true).is_none() && !self.requests.contains(&packet_id) {
                return Some(packet_id);
            }
        }
        None
    }
}

impl Outbound {
    fn complete(&self, reason_code: ReasonCode) -> Completion {
        Completion { number: self.number, reason_code, reason_string: None }
    }

    fn again(&self, session_present: bool) -> Again {
        match &self.step {
            Step::Published(publish) => {
                Again::Publish(Publish { dup: session_present, ..Publish::clone(publish) })
            }
            Step::Released => Again::Release(success(self.packet_id)),
        }
    }
}

fn success(packet_id: PacketId) -> Ack {
    Ack::new(packet_id)
}

fn not_found(packet_id: PacketId) -> Ack {
    Ack::with_reason(packet_id, ReasonCode::PacketIdentifierNotFound)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    fn publish(session: &mut Session, number: u64, qos: QoS) -> Publish {
        let mut publish = Publish::new("a/b".try_into().unwrap(), Bytes::new());
        publish.qos = qos;
        session.publish(number, publish).unwrap()
    }

    fn ack(packet_id: PacketId, reason_code: ReasonCode) -> Ack {
        Ack::with_reason(packet_id, reason_code)
    }

    #[test]
    fn qos_1_ends_with_its_puback_and_a_second_one_is_ignored() {
        let mut session = Session::default();
        let sent = publish(&mut session, 7, QoS::AtLeastOnce);
        assert_eq!(sent.packet_id, Some(id(1)));
        let refused = ack(id(1), ReasonCode::NotAuthorized);
        let completion = session.handle_puback(&refused).completion.unwrap();
        assert_eq!((completion.number, completion.reason_code), (7, ReasonCode::NotAuthorized));
        assert_eq!(session.handle_puback(&refused).completion, None);
        assert_eq!(session.in_flight(), 0);
    }

    #[test]
    fn qos_2_takes_four_packets() {
        let mut session = Session::default();
        publish(&mut session, 1, QoS::ExactlyOnce);
        assert!(session.handle_puback(&ack(id(2), ReasonCode::Success)).completion.is_none());
        let progress = session.handle_pubrec(&ack(id(1), ReasonCode::Success));
        assert_eq!(progress.reply, Some(Packet::Pubrel(success(id(1)))));
        assert_eq!(session.in_flight(), 1);
        let progress = session.handle_pubcomp(&ack(id(1), ReasonCode::Success));
        assert_eq!(progress.completion.unwrap().number, 1);
    }

    #[test]
    fn a_resumed_session_sends_again_in_order_with_dup_and_the_same_ids() {
        let mut session = Session::default();
        publish(&mut session, 1, QoS::ExactlyOnce);
        publish(&mut session, 2, QoS::AtLeastOnce);
        session.handle_pubrec(&ack(id(1), ReasonCode::Success));
        let (packets, completions) = session.resume(true);
        assert!(completions.is_empty());
        assert_eq!(packets[0], Again::Release(success(id(1))));
        assert!(matches!(&packets[1], Again::Publish(publish)
            if publish.dup && publish.packet_id == Some(id(2))));
    }

    #[test]
    fn a_lost_session_sends_anew_what_the_broker_did_not_take_over() {
        let mut session = Session::default();
        publish(&mut session, 1, QoS::ExactlyOnce);
        publish(&mut session, 2, QoS::ExactlyOnce);
        session.handle_pubrec(&ack(id(1), ReasonCode::Success));
        let (packets, completions) = session.resume(false);
        assert_eq!(completions[0].number, 1);
        assert_eq!(packets.len(), 1);
        assert!(matches!(&packets[0], Again::Publish(publish) if !publish.dup));
    }

    #[test]
    fn a_message_at_qos_2_is_delivered_once() {
        let mut session = Session::default();
        let qos = QoS::ExactlyOnce;
        let receipt = session.handle_publish(qos, Some(id(5)), 1).unwrap();
        assert_eq!(session.handle_publish(qos, Some(id(5)), 1), Err(None));
        session.resume(true);
        assert_eq!(session.handle_publish(qos, Some(id(5)), 2), Err(None));
        let pubrec = Packet::Pubrec(success(id(5)));
        assert_eq!(session.acknowledge(receipt, 2), Some(pubrec.clone()));
        assert_eq!(session.acknowledge(receipt, 2), None);
        assert_eq!(session.handle_publish(qos, Some(id(5)), 2), Err(Some(pubrec)));
        assert_eq!(session.awaiting_release(), 1);
        assert_eq!(session.handle_pubrel(id(5)), Packet::Pubcomp(success(id(5))));
        assert_eq!(session.handle_pubrel(id(5)), Packet::Pubcomp(not_found(id(5))));
        assert!(session.handle_publish(qos, Some(id(5)), 2).is_ok());
    }

    #[test]
    fn an_old_receipt_acknowledges_nothing_new() {
        let mut session = Session::default();
        let once = session.handle_publish(QoS::AtLeastOnce, Some(id(1)), 1).unwrap();
        let exactly = session.handle_publish(QoS::ExactlyOnce, Some(id(2)), 1).unwrap();
        session.resume(false);
        session.handle_publish(QoS::ExactlyOnce, Some(id(2)), 2).unwrap();
        assert_eq!(session.acknowledge(once, 2), None);
        assert_eq!(session.acknowledge(exactly, 2), None);
    }

    #[test]
    fn ids_in_use_are_not_given_again() {
        let mut session = Session::default();
        publish(&mut session, 1, QoS::AtLeastOnce);
        session.last_id = u16::MAX;
        assert_eq!(session.request(), Some(id(2)));
        assert!(session.handle_request_ack(id(2)));
        assert!(!session.handle_request_ack(id(2)));
    }
}
