//! The end of the log in memory: sealed batches, shared with the writer and with readers.
//!
//! Only durable batches leave it, the oldest first.

use std::collections::VecDeque;

use crate::commitlog::Offset;
use crate::commitlog::batch::Batch;

/// The batches in memory, oldest first, without gaps between them.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<TailBatch>,
    /// How many of them, from the front, are durable.
    durable: usize,
    bytes: usize,
    pending_bytes: usize,
}

/// A batch in memory and the segment it belongs to.
#[derive(Debug)]
pub(super) struct TailBatch {
    pub(super) batch: Batch,
    pub(super) segment: Offset,
}

impl TailBatch {
    /// Whether this byte of this segment is in it.
    pub(super) fn holds(&self, segment: Offset, position: u32) -> bool {
        self.segment == segment
            && (u64::from(self.batch.header.position)..self.end()).contains(&u64::from(position))
    }

    fn end(&self) -> u64 {
        u64::from(self.batch.header.position) + self.batch.bytes.len() as u64
    }
}

impl Tail {
    pub(super) fn push(&mut self, batch: Batch, segment: Offset) {
        self.bytes += batch.bytes.len();
        self.pending_bytes += batch.bytes.len();
        self.batches.push_back(TailBatch { batch, segment });
    }

    /// Every batch below `offset` is durable; gives back the oldest beyond `bytes_max`.
    pub(super) fn made_durable(&mut self, offset: Offset, bytes_max: usize) {
        while let Some(batch) = self
            .batches
            .get(self.durable)
            .filter(|batch| batch.batch.header.next_offset() <= offset)
        {
            self.pending_bytes -= batch.batch.bytes.len();
            self.durable += 1;
        }
        while self.bytes > bytes_max && self.durable > 0 {
            let Some(batch) = self.batches.pop_front() else { break };
            self.bytes -= batch.batch.bytes.len();
            self.durable -= 1;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(super) fn first_offset(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.batch.header.base_offset)
    }

    pub(super) fn first_segment(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.segment)
    }

    /// The batch that holds this byte of this segment.
    pub(super) fn batch_at(&self, segment: Offset, position: u32) -> Option<&TailBatch> {
        let place = (segment, u64::from(position));
        let number = self.batches.partition_point(|batch| (batch.segment, batch.end()) <= place);
        self.batches.get(number).filter(|batch| batch.holds(segment, position))
    }
}
