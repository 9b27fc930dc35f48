//! One connection: two streams of bytes that arrive in any pieces, late, partly or not at all.
//!
//! ```text
//!   client ──► up ──(pieces, delays)──► input ──► broker takes complete packets, unless paused
//!   client ◄──(pieces, delays)── down ◄────────── broker writes; what the network took from `down` is drained
//! ```
//!
//! A link knows nothing of time; the world decides when a piece moves.

use std::collections::VecDeque;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;

use crate::chance::Chance;

/// How the client's side of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed: everything sent before arrives, then the end.
    Closed,
    /// Cut: some of what was sent arrives, then the end.
    Cut,
    /// Gone without a sign: some of what was sent arrives, and no end.
    Vanished,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The index of its client.
    pub(crate) client: usize,
    /// On its way to the broker.
    up: BytesMut,
    /// At the broker, not yet taken.
    pub(crate) input: BytesMut,
    /// The broker does not want to read.
    pub(crate) paused: bool,
    /// The client's end.
    pub(crate) end: Option<End>,
    /// Bytes that the client sent were lost.
    pub(crate) truncated: bool,
    /// On its way to the client, with the moment at which it was written.
    down: VecDeque<(u64, Bytes)>,
    /// The client does not read.
    pub(crate) stalled: bool,
    /// The broker closed it.
    pub(crate) server_closed: bool,
    /// The broker was told that it is gone.
    pub(crate) over: bool,
    /// A move of bytes is already in the heap, up and down.
    pub(crate) up_moves: bool,
    pub(crate) down_moves: bool,
    /// When a whole packet last arrived at the broker [MQTT-3.1.2-22].
    pub(crate) heard_at: u64,
    /// The broker has said CONNACK.
    pub(crate) opened: bool,
    /// PINGREQ packets that the broker took and has not answered.
    pub(crate) pings_unanswered: u32,
    /// Written by the broker and not drained.
    pub(crate) undrained: usize,
}

impl Link {
    pub(crate) fn new(client: usize, now: u64) -> Self {
        Self { client, heard_at: now, ..Self::default() }
    }

    /// The client sends.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.up.extend_from_slice(bytes);
        }
    }

    /// The broker writes.
    pub(crate) fn write(&mut self, now: u64, bytes: Bytes) {
        self.undrained += bytes.len();
        self.down.push_back((now, bytes));
    }

    /// Whether bytes are on their way to the broker.
    pub(crate) fn has_up(&self) -> bool {
        !self.up.is_empty()
    }

    /// Whether bytes are on their way to the client, and it reads.
    pub(crate) fn has_down(&self) -> bool {
        !self.down.is_empty() && !self.stalled && self.end.is_none()
    }

    /// Some bytes arrive at the broker.
    pub(crate) fn move_up(&mut self, chance: &mut Chance) {
        if self.up.is_empty() {
            return;
        }
        let count = piece(self.up.len(), chance);
        let piece = self.up.split_to(count);
        self.input.extend_from_slice(&piece);
    }

    /// Some bytes arrive at the client, each with the moment at which it was written.
    pub(crate) fn move_down(&mut self, chance: &mut Chance) -> Vec<(u64, Bytes)> {
        let length = self.down.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut left = piece(length, chance);
        let mut moved = Vec::new();
        while left > 0 {
            let Some((at, bytes)) = self.down.front_mut() else { break };
            let count = left.min(bytes.len());
            moved.push((*at, bytes.copy_to_bytes(count)));
            left -= count;
            if bytes.is_empty() {
                self.down.pop_front();
            }
        }
        moved
    }

    /// The client's side ends.
    pub(crate) fn end(&mut self, end: End, chance: &mut Chance) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        if end != End::Closed && !self.up.is_empty() {
            let kept = chance.index(self.up.len() + 1);
            self.truncated |= kept < self.up.len();
            self.up.truncate(kept);
        }
        if end != End::Vanished {
            self.down.clear();
        }
    }

    /// The broker is gone: nothing more arrives there, and only some of what it wrote arrives here.
    pub(crate) fn broker_died(&mut self, chance: &mut Chance) {
        self.truncated |= !self.up.is_empty() || !self.input.is_empty();
        self.up.clear();
        self.input.clear();
        self.over = true;
        self.server_closed = true;
        let kept = chance.index(self.down.len() + 1);
        self.down.truncate(kept);
    }

    /// Whether everything that the client ever sent was taken by the broker.
    pub(crate) fn read_all(&self) -> bool {
        self.up.is_empty() && self.input.is_empty() && !self.truncated
    }
}

/// How many of `length` bytes arrive together: mostly all, sometimes a few, sometimes one.
fn piece(length: usize, chance: &mut Chance) -> usize {
    match chance.below(8) {
        0 => length.min(1),
        1 | 2 => 1 + chance.index(length.max(1)),
        _ => length,
    }
    .min(length)
}
