//! A client that publishes as fast as its window and the subscribers allow.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use crate::flow::Flow;
use crate::link::Link;
use crate::wire;
use crate::wire::Template;

/// Bytes that are put together before they are written.
const FILL_BYTES: usize = 32 << 10;

/// What a publisher does.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its number among the publishers of the run.
    pub(crate) index: usize,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    /// How many messages of QoS 1 or 2 may be without acknowledgement.
    pub(crate) window: u16,
    /// Bytes of a payload.
    pub(crate) payload: usize,
    /// After so many messages it stops.
    pub(crate) messages: u64,
}

/// A publisher at work.
pub(crate) struct Publisher {
    task: Task,
    link: Link,
    flow: Arc<Flow>,
    template: Template,
    next_number: u64,
    window: Window,
}

/// The packet ids of a window, and what waits for an acknowledgement.
struct Window {
    free: Vec<u16>,
    /// When the message of each packet id was sent.
    sent_at: Vec<u64>,
}

impl Publisher {
    /// A publisher on this connection.
    pub(crate) fn new(task: Task, link: Link, flow: Arc<Flow>) -> Self {
        let template = Template::new(&task.topic, task.qos, task.payload);
        let window = Window {
            free: (1..=task.window).rev().collect(),
            sent_at: vec![0; usize::from(task.window) + 1],
        };
        Self { task, link, flow, template, next_number: 0, window }
    }

    /// Works until it is to stop and everything is acknowledged.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let read = self.poll_acknowledgements(cx).is_ready();
            let free = self.link.poll_write(cx).is_ready();
            let filled = free && self.fill(cx);
            if filled {
                continue;
            }
            if self.is_finished() && free {
                self.flow.finished.fetch_add(1, Ordering::Release);
                return Poll::Ready(());
            }
            if !read {
                return Poll::Pending;
            }
        }
    }

    /// The connection, once it is finished.
    pub(crate) fn into_link(self) -> Link {
        self.link
    }

    fn is_finished(&self) -> bool {
        let done = self.flow.is_stopping() || self.next_number == self.task.messages;
        done && self.window.free.len() == usize::from(self.task.window)
    }

    /// Puts together as many messages as are allowed. Returns whether there is something to write.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        if self.flow.is_stopping() {
            return !self.link.out.is_empty();
        }
        let mut allowed = self.flow.allowance(self.task.index, cx);
        allowed = allowed.min(self.task.messages - self.next_number);
        if self.task.qos > 0 {
            allowed = allowed.min(self.window.free.len() as u64);
        }
        let now = if allowed > 0 { self.flow.now() } else { 0 };
        let before = self.next_number;
        while self.next_number - before < allowed && self.link.out.len() < FILL_BYTES {
            let packet_id = if self.task.qos > 0 { self.window.free.pop().unwrap() } else { 0 };
            self.window.sent_at[usize::from(packet_id)] = now;
            let out = &mut self.link.out;
            self.template.append(out, packet_id, self.task.index, self.next_number, now);
            self.next_number += 1;
        }
        self.flow.publish(self.task.index, self.next_number - before);
        !self.link.out.is_empty()
    }

    fn poll_acknowledgements(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { link, flow, window, .. } = self;
        let mut acknowledged = 0;
        let now = flow.now();
        let polled = link.poll_frames(cx, |frame, out| match frame.kind() {
            wire::TYPE_PUBREC => out.extend(wire::answer(wire::TYPE_PUBREL, frame.packet_id())),
            wire::TYPE_PUBACK | wire::TYPE_PUBCOMP => {
                let packet_id = frame.packet_id();
                window.free.push(packet_id);
                acknowledged += 1;
                if flow.is_recording() {
                    let sent_at = window.sent_at[usize::from(packet_id)];
                    flow.acknowledgements.record(now.saturating_sub(sent_at));
                }
            }
            kind => panic!("a packet of type {kind} for a publisher"),
        });
        flow.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        polled
    }
}
