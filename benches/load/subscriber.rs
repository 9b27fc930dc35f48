//! A client that receives, acknowledges and checks what it gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use crate::flow::Flow;
use crate::link::Link;
use crate::wire;
use crate::wire::Delivered;

/// A subscriber at work.
pub(crate) struct Subscriber {
    link: Link,
    flow: Arc<Flow>,
    arrivals: Arrivals,
}

/// What has come to one subscriber.
struct Arrivals {
    order: Order,
    /// The publisher of the newest messages, and how many they are: counted together.
    run: (usize, u64),
}

/// How what comes is checked.
enum Order {
    /// This one gets all: the number that each publisher's next message has at least.
    All(Vec<u64>),
    /// A group gets all: what came with this read.
    Some(Vec<(usize, u64)>),
}

impl Subscriber {
    /// A subscriber that gets every message of so many publishers that it gets any of.
    pub(crate) fn new(link: Link, flow: Arc<Flow>, publishers: usize) -> Self {
        let order = Order::All(vec![0; publishers]);
        Self { link, flow, arrivals: Arrivals { order, run: (0, 0) } }
    }

    /// A member of a group.
    pub(crate) fn of_group(link: Link, flow: Arc<Flow>) -> Self {
        let order = Order::Some(Vec::new());
        Self { link, flow, arrivals: Arrivals { order, run: (0, 0) } }
    }

    /// Receives for ever.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let read = self.poll_deliveries(cx).is_ready();
            let _later = self.link.poll_write(cx);
            if !read {
                return Poll::Pending;
            }
        }
    }

    fn poll_deliveries(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { link, flow, arrivals } = self;
        let now = flow.now();
        let recording = flow.is_recording();
        let polled = link.poll_frames(cx, |frame, out| match frame.kind() {
            wire::TYPE_PUBLISH => {
                let delivered = frame.delivered();
                match delivered.qos {
                    0 => {}
                    1 => out.extend(wire::answer(wire::TYPE_PUBACK, delivered.packet_id)),
                    _ => out.extend(wire::answer(wire::TYPE_PUBREC, delivered.packet_id)),
                }
                if recording {
                    flow.deliveries.record(now.saturating_sub(delivered.sent_at));
                }
                arrivals.take(flow, delivered);
            }
            wire::TYPE_PUBREL => out.extend(wire::answer(wire::TYPE_PUBCOMP, frame.packet_id())),
            kind => panic!("a packet of type {kind} for a subscriber"),
        });
        arrivals.tell(flow);
        polled
    }
}

impl Arrivals {
    fn take(&mut self, flow: &Flow, delivered: Delivered) {
        let Delivered { publisher, number, .. } = delivered;
        match &mut self.order {
            Order::All(next) if number >= next[publisher] => next[publisher] = number + 1,
            Order::All(_) => {
                flow.repeated.fetch_add(1, Ordering::Relaxed);
            }
            Order::Some(messages) => messages.push((publisher, number)),
        }
        if self.run.0 != publisher {
            flow.deliver(self.run.0, self.run.1);
            self.run = (publisher, 0);
        }
        self.run.1 += 1;
    }

    /// Says what came with this read.
    fn tell(&mut self, flow: &Flow) {
        if self.run.1 > 0 {
            flow.deliver(self.run.0, self.run.1);
            self.run.1 = 0;
        }
        if let Order::Some(messages) = &mut self.order {
            if !messages.is_empty() {
                flow.see(messages);
            }
            messages.clear();
        }
    }
}
