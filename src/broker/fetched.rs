//! Answers from the disk: to whoever waits for them.

use std::collections::VecDeque;

use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::walk::Cursor;
use crate::commitlog::Offset;
use crate::commitlog::ReadResult;
use crate::commitlog::StorageError;

impl Broker {
    /// An answer from the disk.
    pub(super) fn handle_fetched(&mut self, ticket: u64, result: Result<ReadResult, StorageError>) {
        let Some(awaited) = self.tickets.remove(&ticket) else { return };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a read failed; it is tried again");
                self.stats.read_errors += 1;
                return self.read_failed(&awaited, ticket);
            }
        };
        self.note_damage(&result.damage);
        match awaited {
            Awaited::Chunk(turn) => self.chunk_fetched(turn, ticket, result),
            Awaited::Record(turn, offset) => self.record_fetched(turn, ticket, offset, result),
            Awaited::Retention => self.retention_fetched(&result),
            Awaited::Carry => self.carry_fetched(&result),
            Awaited::Lagging => self.lagging_fetched(&result),
            Awaited::Password(_) => {}
        }
    }

    /// The cursor that this read is for, if it still waits for it.
    fn cursor_that_awaits(&mut self, turn: Turn, ticket: u64) -> Option<&mut Cursor> {
        self.cursor(turn).filter(|cursor| cursor.fetch == Some(ticket))
    }

    /// The disk can't read: who waits for it stands where it stood, and asks again later.
    fn read_failed(&mut self, awaited: &Awaited, ticket: u64) {
        match *awaited {
            Awaited::Chunk(turn) | Awaited::Record(turn, _) => {
                if let Some(cursor) = self.cursor_that_awaits(turn, ticket) {
                    let failures = cursor.failures;
                    cursor.failures += 1;
                    self.read_again_later(turn, ticket, failures);
                }
            }
            Awaited::Retention | Awaited::Carry => self.retention_read_failed(),
            Awaited::Lagging => self.lagging_read_failed(),
            Awaited::Password(_) => {}
        }
    }

    fn chunk_fetched(&mut self, turn: Turn, ticket: u64, result: ReadResult) {
        let routed = self.routed;
        let Some(cursor) = self.cursor_that_awaits(turn, ticket) else { return };
        // A result that does not move on has nothing more to give.
        let next = if result.next > cursor.scanned { result.next } else { routed };
        cursor.chunk = VecDeque::from(result.records);
        cursor.scanned = next;
        cursor.answered();
        self.queue(turn);
    }

    fn record_fetched(&mut self, turn: Turn, ticket: u64, offset: Offset, result: ReadResult) {
        let Some(cursor) = self.cursor_that_awaits(turn, ticket) else { return };
        cursor.single = Some((offset, result.records.into_iter().next()));
        cursor.answered();
        self.queue(turn);
    }
}
