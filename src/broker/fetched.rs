//! Answers from the disk: to whoever waits for them.

use std::collections::VecDeque;

use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::client::Behind;
use crate::broker::client::ClientRef;
use crate::broker::client::Mode;
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
                return self.read_failed(awaited, ticket);
            }
        };
        self.note_damage(&result.damage);
        match awaited {
            Awaited::ClientChunk(client) => self.chunk_fetched(client, ticket, result),
            Awaited::ClientRecord(client, offset) => {
                self.record_fetched(client, ticket, offset, result);
            }
            Awaited::GroupChunk(group, key) => {
                self.group_chunk_fetched(group, &key, ticket, result);
            }
            Awaited::GroupRecord(group, key, offset) => {
                self.group_record_fetched(group, &key, ticket, offset, result);
            }
            Awaited::Retention => self.retention_fetched(&result),
            Awaited::Carry => self.carry_fetched(&result),
            Awaited::Password(_) => {}
        }
    }

    fn behind_that_awaits(&mut self, client: ClientRef, ticket: u64) -> Option<&mut Behind> {
        let known =
            self.clients.get_mut(client.index()).filter(|known| known.epoch == client.epoch)?;
        match &mut known.mode {
            Mode::Behind(behind) if behind.fetch == Some(ticket) => {
                behind.fetch = None;
                behind.failures = 0;
                Some(behind)
            }
            Mode::Behind(_) | Mode::Live => None,
        }
    }

    /// The disk can't read: who waits for it stands where it stood, and asks again later.
    fn read_failed(&mut self, awaited: Awaited, ticket: u64) {
        match awaited {
            Awaited::ClientChunk(client) | Awaited::ClientRecord(client, _) => {
                let known = self.clients.get_mut(client.index());
                let known = known.filter(|known| known.epoch == client.epoch);
                if let Some(Mode::Behind(behind)) = known.map(|known| &mut known.mode) {
                    let failures = behind.failures;
                    behind.failures += 1;
                    self.read_again_later(Turn::Client(client), ticket, failures);
                }
            }
            Awaited::GroupChunk(group, key) | Awaited::GroupRecord(group, key, _) => {
                self.group_read_failed(group, &key, ticket);
            }
            Awaited::Retention | Awaited::Carry => self.retention_read_failed(),
            Awaited::Password(_) => {}
        }
    }

    fn chunk_fetched(&mut self, client: ClientRef, ticket: u64, result: ReadResult) {
        let routed = self.routed;
        let Some(behind) = self.behind_that_awaits(client, ticket) else { return };
        // A result that does not move on has nothing more to give.
        let next = if result.next > behind.scanned { result.next } else { routed };
        behind.chunk = VecDeque::from(result.records);
        behind.scanned = next;
        self.queue_turn(client);
    }

    fn record_fetched(
        &mut self,
        client: ClientRef,
        ticket: u64,
        offset: Offset,
        result: ReadResult,
    ) {
        let Some(behind) = self.behind_that_awaits(client, ticket) else { return };
        behind.single = Some((offset, result.records.into_iter().next()));
        self.queue_turn(client);
    }
}
