//! What was sent, when at the earliest and at the latest it became the broker's.

use std::collections::BTreeMap;

use super::Micros;
use super::Sent;
use super::Seq;

/// A message, and the bounds of the moment at which the broker took it.
pub(super) struct Known {
    pub(super) sent: Sent,
    /// Sent for the first time.
    pub(super) first: Seq,
    pub(super) first_at: Micros,
    /// Acknowledged for the first time.
    pub(super) acknowledged: Option<(Seq, Micros)>,
    /// How many messages the broker may have made of it at QoS 2.
    pub(super) takings: u32,
    /// How often it was sent.
    pub(super) sendings: u32,
    /// Somebody has asked to cancel it.
    pub(super) cancelling: bool,
    /// The broker has said that it is cancelled.
    pub(super) cancelled: bool,
}

impl Known {
    fn new(sent: &Sent, first: Seq, first_at: Micros) -> Self {
        Self {
            sent: sent.clone(),
            first,
            first_at,
            acknowledged: None,
            takings: 1,
            sendings: 0,
            cancelling: false,
            cancelled: false,
        }
    }

    /// Whether the broker can't have taken it more than once.
    pub(super) fn is_single(&self) -> bool {
        self.takings == 1 && (self.sent.qos != 1 || self.sendings == 1)
    }

    /// The broker can't have published it after this, unless it is kept back.
    pub(super) fn last(&self) -> Seq {
        self.acknowledged.map_or(Seq::MAX, |(seq, _)| seq)
    }
}

/// All messages, by number.
#[derive(Default)]
pub(super) struct Messages(BTreeMap<u64, Known>);

impl Messages {
    pub(super) fn publishing(&mut self, sent: &Sent, seq: Seq, at: Micros) {
        if let Some(known) = sent.cancels.and_then(|number| self.0.get_mut(&number)) {
            known.cancelling = true;
        }
        let known = self.0.entry(sent.number).or_insert_with(|| Known::new(sent, seq, at));
        known.sendings += 1;
    }

    pub(super) fn acknowledged(&mut self, number: u64, seq: Seq, at: Micros) {
        let Some(known) = self.0.get_mut(&number) else { return };
        known.acknowledged.get_or_insert((seq, at));
        let cancelled = known.sent.cancels;
        if let Some(known) = cancelled.and_then(|number| self.0.get_mut(&number)) {
            known.cancelled = true;
        }
    }

    /// The session that a client resumes may be another one than it thinks: what it sends again is new to that.
    pub(super) fn session_may_be_new(&mut self, publisher: &str) {
        let open = self.0.values_mut().filter(|known| {
            known.sent.publisher == publisher && !known.sent.is_will && known.acknowledged.is_none()
        });
        open.for_each(|known| known.takings += 1);
    }

    /// For the broker, what was taken before a jump of its clock is as old as if it had been taken at another time.
    pub(super) fn clock_jumped(&mut self, more: Micros, less: Micros) {
        for known in self.0.values_mut() {
            known.first_at = known.first_at.saturating_sub(more);
            if let Some((_, at)) = &mut known.acknowledged {
                *at += less;
            }
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Known> {
        self.0.get(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.0.values()
    }
}
