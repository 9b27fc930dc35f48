//! Messages on their way to the client: in flight, by number.
//!
//! ```text
//!             send QoS 1          PUBACK
//!   (number) ───────────► Sent ───────────► Done
//!      │
//!      │      send QoS 2          PUBREC              PUBCOMP
//!      ├────────────────► Sent ───────────► Released ─────────► Done
//!      │ skipped (expired, too large)
//!      └──────────────────────────────────────────────────────► Done
//! ```
//!
//! Every delivery above QoS 0 takes the next number; packet id = 1 + number mod 65,535. `base` is the first number that is not done,
//! so that `base` and the place of its entry are what has to be remembered, and everything in flight can be found
//! again by walking the log from there.
//!
//! **Invariants:** the first entry is not done; at most [`NUMBER_SPAN_MAX`] numbers from the first entry to the last, so an
//! id means one entry; `in_flight` counts the entries that are `Sent` or `Released`.

use std::collections::VecDeque;

use crate::commitlog::Offset;
use crate::mqtt::PacketId;
use crate::mqtt::QoS;
use crate::mutant::Mutant;

/// The most numbers between the first that is not done and the next to be given.
pub const NUMBER_SPAN_MAX: usize = 8_192;

const IDS: u64 = 65_535;

/// The packet id of a delivery number.
pub fn packet_id_of(number: u64) -> PacketId {
    let id = u16::try_from(1 + number % IDS).unwrap_or(1);
    PacketId::new(id).unwrap_or(PacketId::MIN)
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// PUBLISH was sent at this QoS.
    Sent(QoS),
    /// PUBREC came, PUBREL is due or sent.
    Released,
    /// Nothing more to do.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Offset,
    step: Step,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The delivery's number.
    pub number: u64,
    /// Where the delivery stands in the session's stream.
    pub place: Offset,
}

/// An acknowledgement that fits no delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// No delivery has this packet id: it was acknowledged before a cut that hid the acknowledgement.
    Unknown,
    /// The delivery with this id is at another step: the client broke the protocol.
    WrongStep,
}

/// The client's messages in flight.
#[derive(Debug)]
pub struct Outbound {
    base: u64,
    entries: VecDeque<Entry>,
    in_flight: usize,
    window: usize,
}

impl Outbound {
    /// Nothing in flight; the next number is `number`. At most `window` deliveries are in flight at a time [MQTT-3.3.4-9].
    pub fn new(number: u64, window: usize) -> Self {
        Self { base: number, entries: VecDeque::new(), in_flight: 0, window: window.max(1) }
    }

    /// The number of the next delivery.
    pub fn next_number(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The first number that is not done.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The number at or above [`Outbound::base`] that a packet id means.
    pub fn number_of(&self, id: PacketId) -> u64 {
        self.base + self.distance(id)
    }

    /// The place of the first delivery that is not done; `None` when all are.
    pub fn first_place(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.place)
    }

    /// How many deliveries wait for the client.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many more PUBLISH packets above QoS 0 may be sent now [MQTT-4.9.0-2].
    pub fn quota(&self) -> usize {
        let span = NUMBER_SPAN_MAX.saturating_sub(self.entries.len());
        let window = self.window + usize::from(Mutant::WindowExceeded.is_active());
        window.saturating_sub(self.in_flight).min(span)
    }

    /// Notes the next delivery at `step` and returns its packet id. The caller asked [`Outbound::quota`] before it sends anything new.
    pub fn push(&mut self, place: Offset, step: Step) -> PacketId {
        let id = packet_id_of(self.next_number());
        self.entries.push_back(Entry { place, step });
        match step {
            Step::Sent(_) | Step::Released => self.in_flight += 1,
            Step::Done => self.settle(),
        }
        id
    }

    /// PUBACK: a QoS 1 delivery is done, whatever the reason code [MQTT-4.4.0-2].
    ///
    /// # Errors
    /// [`Unexpected`] when no QoS 1 delivery waits for it.
    pub fn handle_puback(&mut self, id: PacketId) -> Result<Acknowledged, Unexpected> {
        self.advance(id, Step::Sent(QoS::AtLeastOnce), Step::Done)
    }

    /// PUBREC: a QoS 2 delivery was received. With a reason code of 0x80 or above it is done [MQTT-4.4.0-2].
    /// A second PUBREC is no error: the client did not get PUBREL.
    ///
    /// # Errors
    /// [`Unexpected`] when no QoS 2 delivery waits for it.
    pub fn handle_pubrec(
        &mut self,
        id: PacketId,
        refused: bool,
    ) -> Result<Acknowledged, Unexpected> {
        let to = if refused { Step::Done } else { Step::Released };
        match self.advance(id, Step::Sent(QoS::ExactlyOnce), to) {
            Err(Unexpected::WrongStep) if !refused => {
                self.advance(id, Step::Released, Step::Released)
            }
            outcome => outcome,
        }
    }

    /// PUBCOMP: a QoS 2 delivery is done.
    ///
    /// # Errors
    /// [`Unexpected`] when no released delivery waits for it.
    pub fn handle_pubcomp(&mut self, id: PacketId) -> Result<Acknowledged, Unexpected> {
        self.advance(id, Step::Released, Step::Done)
    }

    /// Numbers beyond [`Outbound::base`] that are done.
    pub fn done_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.numbers_at(|step| step == Step::Done)
    }

    /// Numbers of which PUBREC came and PUBCOMP did not.
    pub fn released_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.numbers_at(|step| step == Step::Released)
    }

    fn numbers_at(&self, wanted: impl Fn(Step) -> bool) -> impl Iterator<Item = u64> {
        let numbered = (self.base..).zip(self.entries.iter());
        numbered.filter_map(move |(number, entry)| wanted(entry.step).then_some(number))
    }

    fn advance(&mut self, id: PacketId, from: Step, to: Step) -> Result<Acknowledged, Unexpected> {
        let distance = self.distance(id);
        let index = usize::try_from(distance).map_err(|_| Unexpected::Unknown)?;
        let entry = self.entries.get_mut(index).ok_or(Unexpected::Unknown)?;
        if entry.step == Step::Done {
            return Err(Unexpected::Unknown);
        }
        if entry.step != from {
            return Err(Unexpected::WrongStep);
        }
        entry.step = to;
        let acknowledged = Acknowledged { number: self.base + distance, place: entry.place };
        if to == Step::Done {
            self.in_flight -= 1;
            self.settle();
        }
        Ok(acknowledged)
    }

    fn distance(&self, id: PacketId) -> u64 {
        (u64::from(id.get()) + IDS - 1 - self.base % IDS) % IDS
    }

    /// Drops what is done from the front.
    fn settle(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.step == Step::Done) {
            self.entries.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outbound: &mut Outbound, place: u64, qos: QoS) -> PacketId {
        outbound.push(Offset::new(place), Step::Sent(qos))
    }

    #[test]
    fn ids_follow_the_number_and_wrap_without_zero() {
        assert_eq!(packet_id_of(0).get(), 1);
        assert_eq!(packet_id_of(65_534).get(), 65_535);
        assert_eq!(packet_id_of(65_535).get(), 1);
    }

    #[test]
    fn acknowledgements_out_of_order_settle_in_order() {
        let mut outbound = Outbound::new(65_533, 10);
        let first = sent(&mut outbound, 5, QoS::AtLeastOnce);
        let second = sent(&mut outbound, 6, QoS::AtLeastOnce);
        let third = sent(&mut outbound, 9, QoS::AtLeastOnce);
        assert_eq!((first.get(), second.get(), third.get()), (65_534, 65_535, 1));
        outbound.handle_puback(third).unwrap();
        outbound.handle_puback(second).unwrap();
        assert_eq!(outbound.base(), 65_533);
        assert_eq!(outbound.done_numbers().collect::<Vec<_>>(), [65_534, 65_535]);
        outbound.handle_puback(first).unwrap();
        assert_eq!(
            (outbound.base(), outbound.in_flight(), outbound.first_place()),
            (65_536, 0, None)
        );
        assert_eq!(outbound.handle_puback(first), Err(Unexpected::Unknown));
    }

    #[test]
    fn qos_2_goes_through_both_steps() {
        let mut outbound = Outbound::new(0, 2);
        let id = sent(&mut outbound, 1, QoS::ExactlyOnce);
        assert_eq!(outbound.handle_puback(id), Err(Unexpected::WrongStep));
        assert_eq!(outbound.handle_pubcomp(id), Err(Unexpected::WrongStep));
        outbound.handle_pubrec(id, false).unwrap();
        outbound.handle_pubrec(id, false).unwrap();
        assert_eq!(outbound.released_numbers().collect::<Vec<_>>(), [0]);
        outbound.handle_pubcomp(id).unwrap();
        assert_eq!(outbound.handle_pubcomp(id), Err(Unexpected::Unknown));
        assert_eq!(outbound.quota(), 2);
    }

    #[test]
    fn a_refused_message_is_done() {
        let mut outbound = Outbound::new(0, 2);
        let id = sent(&mut outbound, 1, QoS::ExactlyOnce);
        outbound.handle_pubrec(id, true).unwrap();
        assert_eq!(outbound.in_flight(), 0);
    }

    #[test]
    fn one_delivery_that_is_never_acknowledged_bounds_the_numbers() {
        let mut outbound = Outbound::new(0, 65_535);
        let stuck = sent(&mut outbound, 0, QoS::AtLeastOnce);
        while outbound.quota() > 0 {
            let id = sent(&mut outbound, 1, QoS::AtLeastOnce);
            outbound.handle_puback(id).unwrap();
        }
        assert_eq!(outbound.next_number(), NUMBER_SPAN_MAX as u64);
        outbound.handle_puback(stuck).unwrap();
        assert_eq!(outbound.quota(), NUMBER_SPAN_MAX);
    }
}
