//! A client that receives, acknowledges and judges what it gets.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use super::arrivals::Arrivals;
use super::arrivals::Verdict;
use super::error::LoadError;
use super::flow::Flow;
use super::flow::lock;
use super::link::Link;
use super::link::answer;
use super::publisher::written;
use super::times::Times;
use super::tracker::Arrival;
use super::worker::Worker;
use crate::cli::client::ClientError;
use crate::mqtt::Incoming;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::PacketType;
use crate::mqtt::PublishView;
use crate::mqtt::QoS;
use crate::mqtt::Suback;
use crate::mqtt::Subscribe;

/// Above this many bytes of answers that the broker does not take, nothing more is read.
const OUT_BYTES_MAX: usize = 1024 * 1024;

/// A subscriber at work.
pub(super) struct Subscriber {
    /// Whose arrivals it notes: its own, or its group's.
    place: usize,
    link: Link,
    flow: Arc<Flow>,
    /// The filter, until it is granted.
    asked: Option<String>,
}

/// What one read brought.
struct Reading<'a> {
    flow: &'a Flow,
    arrivals: &'a mut Arrivals,
    times: Option<&'a mut Times>,
    now: u64,
    counts: Counts,
    /// The publisher of the newest messages, and how many of its are not waited for any more.
    run: (usize, u64),
}

#[derive(Default)]
struct Counts {
    delivered: u64,
    duplicates: u64,
    duplicates_exactly_once: u64,
    out_of_order: u64,
    unknown: u64,
}

impl Subscriber {
    /// A subscriber on this connection.
    pub(super) fn new(place: usize, link: Link, flow: Arc<Flow>) -> Self {
        Self { place, link, flow, asked: None }
    }

    /// Subscribes, and waits until that is granted.
    ///
    /// # Errors
    /// Fails if it is not.
    pub(super) async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), LoadError> {
        let filter = subscribe.filters.first().map(|first| first.filter.text().to_string());
        self.asked = filter;
        self.link.send(&Packet::Subscribe(Box::new(subscribe)))?;
        poll_fn(|cx| self.poll_granted(cx)).await
    }

    fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        while self.asked.is_some() {
            ready!(self.link.poll_write(cx))?;
            if !self.read(cx)? {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what has come. Returns whether something has.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, LoadError> {
        let Self { place, link, flow, asked } = self;
        let Some(mut arrivals) = flow.arrivals(*place) else { return Ok(false) };
        let mut times = flow.is_recording().then(|| lock(&flow.times.deliveries));
        let mut reading = Reading {
            flow,
            arrivals: &mut arrivals,
            times: times.as_deref_mut(),
            now: flow.clock.now(),
            counts: Counts::default(),
            run: (0, 0),
        };
        let polled = link.poll_packets(cx, |incoming, out| match incoming {
            Incoming::Publish(publish) => {
                reading.take(&publish);
                acknowledge(&publish, out);
                Ok(())
            }
            Incoming::Packet(Packet::Pubrel(ack)) => {
                out.extend_from_slice(&answer(PacketType::Pubcomp, ack.packet_id.get()));
                Ok(())
            }
            Incoming::Packet(Packet::Suback(suback)) if asked.is_some() => {
                let filter = asked.take().unwrap_or_default();
                check_granted(&suback, filter, flow.shape.qos)
            }
            Incoming::Packet(packet) => Err(ClientError::unexpected(&packet).into()),
        });
        reading.tell();
        match polled {
            Poll::Ready(read) => read.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }
}

impl Worker for Subscriber {
    /// Takes messages, and acknowledges them.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<(), LoadError> {
        loop {
            self.link.poll_ping(cx)?;
            let free = written(self.link.poll_write(cx))?;
            if !free && self.link.out.len() > OUT_BYTES_MAX {
                return Ok(());
            }
            if !self.read(cx)? {
                return Ok(());
            }
        }
    }

    fn into_link(self) -> Link {
        self.link
    }
}

impl Reading<'_> {
    fn take(&mut self, publish: &PublishView<'_>) {
        let flow = self.flow;
        let (run, size) = (flow.shape.run, flow.shape.size);
        let verdict = self
            .arrivals
            .take(publish.payload, publish.qos, run, size, |who| flow.published_by(who));
        let Verdict::Known { arrival, publisher, passed, due } = verdict else {
            self.counts.unknown += 1;
            // What others publish counts whatever it says.
            self.counts.delivered += u64::from(matches!(self.arrivals, Arrivals::Others(_)));
            return;
        };
        self.counts.delivered += 1;
        if let Some(times) = &mut self.times {
            times.record(self.now.saturating_sub(due));
        }
        match arrival {
            Arrival::InOrder => {}
            Arrival::Late => self.counts.out_of_order += 1,
            Arrival::Duplicate => {
                self.counts.duplicates += 1;
                let exactly_once = publish.qos == QoS::ExactlyOnce;
                self.counts.duplicates_exactly_once += u64::from(exactly_once);
            }
        }
        if self.run.0 != publisher {
            flow.pass(self.run.0, self.run.1);
            self.run = (publisher, 0);
        }
        self.run.1 = self.run.1.saturating_add(passed);
    }

    /// Says what came with this read.
    fn tell(&self) {
        let (to, from) = (&self.flow.counts, &self.counts);
        to.delivered.fetch_add(from.delivered, Ordering::Relaxed);
        for (to, from) in [
            (&to.duplicates, from.duplicates),
            (&to.duplicates_exactly_once, from.duplicates_exactly_once),
            (&to.out_of_order, from.out_of_order),
            (&to.unknown, from.unknown),
        ] {
            if from > 0 {
                to.fetch_add(from, Ordering::Relaxed);
            }
        }
        self.flow.pass(self.run.0, self.run.1);
    }
}

fn acknowledge(publish: &PublishView<'_>, out: &mut Vec<u8>) {
    let packet_id = publish.packet_id.map_or(0, PacketId::get);
    match publish.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => out.extend_from_slice(&answer(PacketType::Puback, packet_id)),
        QoS::ExactlyOnce => out.extend_from_slice(&answer(PacketType::Pubrec, packet_id)),
    }
}

fn check_granted(suback: &Suback, filter: String, wanted: QoS) -> Result<(), LoadError> {
    for code in &suback.reason_codes {
        match code.granted_qos() {
            None => return Err(LoadError::Subscription { filter, code: *code }),
            Some(granted) if granted < wanted => {
                return Err(LoadError::Granted { granted, wanted });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::mqtt::ReasonCode;

    use super::*;

    #[test]
    fn a_subscription_that_grants_less_measures_nothing() {
        let check = |code, wanted| {
            check_granted(&Suback::new(PacketId::MIN, vec![code]), "a".to_owned(), wanted)
        };
        assert!(check(ReasonCode::granted(QoS::ExactlyOnce), QoS::AtLeastOnce).is_ok());
        assert!(matches!(
            check(ReasonCode::granted(QoS::AtMostOnce), QoS::AtLeastOnce),
            Err(LoadError::Granted { granted: QoS::AtMostOnce, wanted: QoS::AtLeastOnce })
        ));
        let refused = check(ReasonCode::NotAuthorized, QoS::AtMostOnce).unwrap_err().to_string();
        assert!(refused.starts_with("the subscription to 'a' was refused: "), "{refused}");
    }
}
