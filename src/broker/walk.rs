//! A walk through the log, of a client or a shared group that is behind, of a replay or of a count: its turns, what it reads ahead, what it waits for.
//!
//! ```text
//!   ─── had its turn ───┬─── chunk: read, had no turn ───┬─── not read yet ───► what the router has handed on
//!                     next                            scanned
//! ```
//!
//! What a record means to who walks is not known here: `catch_up` has the steps of a client, `share` those of a group, `replay`
//! those of a replay.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;

use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::client::Mode;
use crate::broker::event::Output;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::StoredRecord;

/// How many steps a turn has at most.
const STEPS_PER_TURN: usize = 256;

/// How many bytes of matching messages are read ahead.
const CHUNK_BYTES: usize = 64 << 10;

/// How a step of a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// There may be more.
    More,
    /// Until more is durable.
    WaitDurable,
    /// Until a client acknowledges or reads.
    WaitClient,
    /// Until the disk answers.
    WaitDisk,
    /// Nothing is left: who walked is live.
    CaughtUp,
}

/// Where a walk stands.
#[derive(Debug)]
pub(super) struct Cursor {
    /// Every message below had its turn.
    pub(super) next: Offset,
    /// What was read and had no turn yet.
    pub(super) chunk: VecDeque<StoredRecord>,
    /// Everything below was read.
    pub(super) scanned: Offset,
    /// What is awaited from the disk.
    pub(super) fetch: Option<u64>,
    /// Reads that failed, one after the other.
    pub(super) failures: u32,
    /// A single record from the disk: its offset, and the record if it could be read.
    pub(super) single: Option<(Offset, Option<StoredRecord>)>,
}

impl Cursor {
    /// At the beginning of a walk.
    pub(super) fn at(next: Offset) -> Self {
        Self { next, chunk: VecDeque::new(), scanned: next, fetch: None, failures: 0, single: None }
    }

    /// The disk has answered.
    pub(super) fn answered(&mut self) {
        self.fetch = None;
        self.failures = 0;
    }
}

impl Broker {
    /// Takes steps until one can't be taken, within bounds.
    pub(super) fn walk(&mut self, mut step: impl FnMut(&mut Self) -> Walk) -> Walk {
        for _ in 0..STEPS_PER_TURN {
            let walk = step(self);
            if walk != Walk::More {
                return walk;
            }
        }
        Walk::More
    }

    /// Sees to the next turn of who is still behind.
    pub(super) fn after_turn(&mut self, turn: Turn, walk: Walk) {
        match walk {
            Walk::More => self.queue(turn),
            Walk::WaitDurable => self.commit.wait(turn),
            Walk::WaitClient | Walk::WaitDisk | Walk::CaughtUp => {}
        }
    }

    /// Gives who is behind a turn.
    pub(super) fn queue(&mut self, turn: Turn) {
        match turn {
            Turn::Client(client) => self.queue_turn(client),
            Turn::Group(group) => self.queue_group_turn(group),
            Turn::Replay(replay) => self.queue_replay_turn(replay),
            Turn::Lag(_) => self.turns.push_back(turn),
            Turn::Delayed => self.queue_delayed_turn(),
        }
    }

    /// Where somebody who is behind stands; `None` if it is live, or gone.
    pub(super) fn cursor(&mut self, turn: Turn) -> Option<&mut Cursor> {
        match turn {
            Turn::Client(client) => {
                let known = self.clients.get_mut(client.index())?;
                match &mut known.mode {
                    Mode::Behind(behind) if known.epoch == client.epoch => Some(&mut behind.cursor),
                    Mode::Behind(_) | Mode::Live => None,
                }
            }
            Turn::Group(group) => self.groups.get_mut(group)?.cursor(),
            Turn::Replay(replay) => Some(&mut self.replays.get_mut(replay)?.as_mut()?.cursor),
            Turn::Lag(lag) => Some(&mut self.lags.get_mut(lag)?.as_mut()?.cursor),
            Turn::Delayed => Some(self.delayed.cursor()),
        }
    }

    /// Reads the next chunk, not beyond `to`: the router's place at most, which hands on what comes behind it.
    pub(super) fn read_on(
        &mut self,
        turn: Turn,
        cursor: &mut Cursor,
        to: Offset,
        matcher: &Arc<dyn KeyMatcher>,
    ) -> Walk {
        match self.store.read(cursor.scanned, to, CHUNK_BYTES, matcher) {
            Read::Records { records, next } => {
                cursor.chunk = VecDeque::from(records);
                cursor.scanned = next;
                Walk::More
            }
            Read::Cold(request) => {
                let ticket = self.ticket(Awaited::Chunk(turn));
                cursor.fetch = Some(ticket);
                self.outputs.push_back(Output::Fetch { ticket, request });
                Walk::WaitDisk
            }
        }
    }

    /// Finds one record: already fetched, in the store, or by asking the disk, for which `Pending` stands. `None` if it is nowhere:
    /// deleted, or damaged.
    pub(super) fn find_record(
        &mut self,
        turn: Turn,
        cursor: &mut Cursor,
        offset: Offset,
    ) -> Poll<Option<StoredRecord>> {
        if let Some((fetched, record)) = cursor.single.take()
            && fetched == offset
        {
            return Poll::Ready(record);
        }
        match self.store.record(offset) {
            Read::Records { records, .. } => Poll::Ready(records.into_iter().next()),
            Read::Cold(request) => {
                let ticket = self.ticket(Awaited::Record(turn, offset));
                cursor.fetch = Some(ticket);
                self.outputs.push_back(Output::Fetch { ticket, request });
                Poll::Pending
            }
        }
    }
}
