//! A client that publishes: as fast as it is let, or when its messages are due.
//!
//! ```text
//!          PUBLISH                 PUBREC, PUBREL           PUBCOMP
//! free ───────────────► published ───────────────► released ───────► free
//!   ▲                       │ PUBACK, or a PUBREC that refuses
//!   └───────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use super::error::LoadError;
use super::flow::Flow;
use super::flow::lock;
use super::link::Link;
use super::link::answer;
use super::stamp::Stamp;
use super::template::Template;
use super::times::Times;
use super::worker::Worker;
use crate::cli::client::ClientError;
use crate::mqtt::Ack;
use crate::mqtt::Incoming;
use crate::mqtt::Packet;
use crate::mqtt::PacketType;
use crate::mqtt::QoS;

/// Bytes that are put together before they are written.
const FILL_BYTES: usize = 32 * 1024;

/// A publisher at work.
pub(super) struct Publisher {
    /// Its number among the publishers of the run.
    index: usize,
    link: Link,
    flow: Arc<Flow>,
    template: Template,
    window: Window,
    next_number: u64,
    /// After so many messages it has nothing left to do.
    limit: u64,
    finished: bool,
}

/// The packet ids of a window, and what waits for an acknowledgement.
#[derive(Debug)]
struct Window {
    qos: QoS,
    free: Vec<u16>,
    /// The message of each packet id, from 1.
    flights: Vec<Flight>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    step: Step,
    due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Free,
    Published,
    Released,
}

/// What an acknowledgement comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The message, due then, is complete.
    Complete(u64),
    /// PUBREL has to be sent.
    Release,
}

impl Publisher {
    /// A publisher on this connection, with at most `window` messages in flight, if the broker takes so many.
    pub(super) fn new(
        index: usize,
        link: Link,
        flow: Arc<Flow>,
        template: Template,
        window: u16,
        limit: u64,
    ) -> Self {
        let window = link.connack.receive_maximum.map_or(window, |most| window.min(most.get()));
        let window = Window::new(flow.shape.qos, window);
        Self { index, link, flow, template, window, next_number: 0, limit, finished: false }
    }

    /// Says once that there is nothing left to do.
    fn finish(&mut self) {
        let done = self.flow.is_stopping() || self.next_number >= self.limit;
        if done && !self.finished && self.window.is_empty() {
            self.finished = true;
            self.flow.counts.finished.fetch_add(1, Ordering::Release);
        }
    }

    /// Puts together as many messages as are allowed. Returns whether there is something to write.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        let allowed = self.flow.allowance(self.index, cx.waker());
        let allowed = allowed.min(self.limit - self.next_number.min(self.limit));
        let room = FILL_BYTES.saturating_sub(self.link.out.len()) / self.template.packet_length();
        let count = allowed.min(self.window.room()).min(u64::try_from(room.max(1)).unwrap_or(1));
        if count == 0 {
            return !self.link.out.is_empty();
        }
        let now = self.flow.clock.now();
        let recording = self.flow.is_recording();
        // Before the first byte goes: a subscriber has to find it published.
        self.flow.publish(self.index, count);
        for number in self.next_number..self.next_number + count {
            let due = self.flow.due(self.index, number, now);
            if recording && due < now {
                lock(&self.flow.times.lateness).record(now - due);
            }
            let packet_id = self.window.take(due);
            let publisher = u32::try_from(self.index).unwrap_or(u32::MAX);
            let stamp = Stamp { run: self.flow.shape.run, publisher, number, due };
            self.template.append(&mut self.link.out, packet_id, stamp);
        }
        self.next_number += count;
        true
    }

    /// Takes what has come. Returns whether something has.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, LoadError> {
        let Self { link, flow, window, .. } = self;
        let now = flow.clock.now();
        let mut times = flow.is_recording().then(|| lock(&flow.times.acknowledgements));
        let mut acknowledged = 0;
        let polled = link.poll_packets(cx, |incoming, out| {
            let Incoming::Packet(packet) = incoming else {
                return Err(ClientError::unexpected(&incoming.into_packet()).into());
            };
            let (ack, progress) = window.handle(packet)?;
            match progress {
                Progress::Release => {
                    out.extend_from_slice(&answer(PacketType::Pubrel, ack.packet_id.get()));
                }
                Progress::Complete(due) => {
                    acknowledged += 1;
                    record(times.as_deref_mut(), now, due);
                    if ack.reason_code.is_error() {
                        flow.refuse(ack.reason_code);
                    }
                }
            }
            Ok(())
        });
        flow.counts.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        match polled {
            Poll::Ready(read) => read.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }
}

impl Worker for Publisher {
    /// Publishes what is due by the flow, and takes acknowledgements.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<(), LoadError> {
        loop {
            self.link.poll_ping(cx)?;
            let free = written(self.link.poll_write(cx))?;
            if free && self.fill(cx) {
                continue;
            }
            if free {
                self.finish();
            }
            // Also while the broker takes nothing: it may wait for us to take its answers, which the window bounds.
            if !self.read(cx)? {
                return Ok(());
            }
        }
    }

    fn into_link(self) -> Link {
        self.link
    }
}

impl Window {
    fn new(qos: QoS, size: u16) -> Self {
        if qos == QoS::AtMostOnce {
            return Self { qos, free: Vec::new(), flights: Vec::new() };
        }
        let free = Flight { step: Step::Free, due: 0 };
        Self { qos, free: (1..=size).rev().collect(), flights: vec![free; usize::from(size)] }
    }

    /// How many messages may be sent.
    fn room(&self) -> u64 {
        match self.qos {
            QoS::AtMostOnce => u64::MAX,
            QoS::AtLeastOnce | QoS::ExactlyOnce => u64::try_from(self.free.len()).unwrap_or(0),
        }
    }

    /// Whether nothing is in flight.
    fn is_empty(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    /// The packet id for a message; 0 at `QoS` 0.
    fn take(&mut self, due: u64) -> u16 {
        let packet_id = self.free.pop().unwrap_or(0);
        if let Some(flight) = self.flight(packet_id) {
            *flight = Flight { step: Step::Published, due };
        }
        packet_id
    }

    fn flight(&mut self, packet_id: u16) -> Option<&mut Flight> {
        self.flights.get_mut(usize::from(packet_id).checked_sub(1)?)
    }

    /// Takes an acknowledgement.
    fn handle(&mut self, packet: Packet) -> Result<(Ack, Progress), LoadError> {
        let (ack, qos, step, ends) = match packet {
            Packet::Puback(ack) => (ack, QoS::AtLeastOnce, Step::Published, true),
            Packet::Pubrec(ack) => {
                let refused = ack.reason_code.is_error();
                (ack, QoS::ExactlyOnce, Step::Published, refused)
            }
            Packet::Pubcomp(ack) => (ack, QoS::ExactlyOnce, Step::Released, true),
            other @ (Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Publish(_)
            | Packet::Pubrel(_)
            | Packet::Subscribe(_)
            | Packet::Suback(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Pingresp
            | Packet::Disconnect(_)
            | Packet::Auth(_)) => return Err(ClientError::unexpected(&other).into()),
        };
        let packet_id = ack.packet_id.get();
        let expected = self.qos == qos;
        let flight = self.flight(packet_id).filter(|flight| expected && flight.step == step);
        let flight = flight.ok_or(LoadError::NotInFlight(packet_id))?;
        if !ends {
            flight.step = Step::Released;
            return Ok((ack, Progress::Release));
        }
        flight.step = Step::Free;
        let due = flight.due;
        self.free.push(packet_id);
        Ok((ack, Progress::Complete(due)))
    }
}

fn record(times: Option<&mut Times>, now: u64, due: u64) {
    if let Some(times) = times {
        times.record(now.saturating_sub(due));
    }
}

/// Whether all was written.
pub(super) fn written(polled: Poll<Result<(), LoadError>>) -> Result<bool, LoadError> {
    match polled {
        Poll::Ready(written) => written.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use crate::mqtt::PacketId;
    use crate::mqtt::ReasonCode;

    use super::*;

    fn ack(packet_id: u16) -> Ack {
        Ack::new(PacketId::new(packet_id).unwrap())
    }

    #[track_caller]
    fn progress(window: &mut Window, packet: Packet) -> Progress {
        window.handle(packet).unwrap().1
    }

    #[test]
    fn a_window_is_full_until_a_puback_frees_its_place() {
        let mut window = Window::new(QoS::AtLeastOnce, 2);
        assert_eq!((window.take(10), window.take(20), window.room()), (1, 2, 0));
        assert_eq!(progress(&mut window, Packet::Puback(ack(2))), Progress::Complete(20));
        assert_eq!((window.room(), window.is_empty(), window.take(30)), (1, false, 2));
    }

    #[test]
    fn qos_2_takes_two_answers() {
        let mut window = Window::new(QoS::ExactlyOnce, 1);
        assert_eq!(window.take(10), 1);
        assert_eq!(progress(&mut window, Packet::Pubrec(ack(1))), Progress::Release);
        assert_eq!(progress(&mut window, Packet::Pubcomp(ack(1))), Progress::Complete(10));
        window.take(20);
        let refused = Ack { reason_code: ReasonCode::QuotaExceeded, ..ack(1) };
        assert_eq!(progress(&mut window, Packet::Pubrec(refused)), Progress::Complete(20));
        assert!(window.is_empty());
    }

    #[test]
    fn what_was_not_sent_can_not_be_acknowledged() {
        for (qos, packet, wrong) in [
            (QoS::AtLeastOnce, Packet::Puback(ack(2)), 2),
            (QoS::AtLeastOnce, Packet::Puback(ack(3)), 3),
            (QoS::AtLeastOnce, Packet::Pubrec(ack(1)), 1),
            (QoS::ExactlyOnce, Packet::Puback(ack(1)), 1),
            (QoS::ExactlyOnce, Packet::Pubcomp(ack(1)), 1),
            (QoS::AtMostOnce, Packet::Puback(ack(1)), 1),
        ] {
            let mut window = Window::new(qos, 2);
            window.take(0);
            let handled = window.handle(packet);
            assert!(
                matches!(handled, Err(LoadError::NotInFlight(id)) if id == wrong),
                "{qos} {handled:?}"
            );
        }
    }

    #[test]
    fn qos_0_has_no_window() {
        let mut window = Window::new(QoS::AtMostOnce, 20);
        assert_eq!((window.take(0), window.room(), window.is_empty()), (0, u64::MAX, true));
    }
}
