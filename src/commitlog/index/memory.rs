//! The index of the active segment, growing with each record.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::collections::Map;
use crate::commitlog::KeyMatcher;
use crate::commitlog::batch::Batch;
use crate::commitlog::index::BatchEntry;

/// The key number of a record that is not found by its key.
const NOT_INDEXED: u32 = u32::MAX;

/// The index of one segment, complete up to its last record.
#[derive(Debug, Default)]
pub(in crate::commitlog) struct MemoryIndex {
    numbers: Map<Arc<[u8]>, u32>,
    /// By key number.
    keys: Vec<Key>,
    /// By ordinal.
    slots: Vec<Slot>,
    batches: Vec<BatchEntry>,
}

#[derive(Debug)]
pub(in crate::commitlog) struct Key {
    pub(super) name: Arc<[u8]>,
    /// Ordinals, ascending.
    pub(super) postings: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where the record begins in its file.
    position: u32,
    key: u32,
}

/// How a selection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Stopped,
    Exhausted,
}

impl MemoryIndex {
    /// Notes the next record: where it begins in the file, and the key it is found by.
    pub(in crate::commitlog) fn push(&mut self, position: u32, key: Option<&[u8]>) {
        let ordinal = self.len();
        let key = key.map_or(NOT_INDEXED, |key| self.number(key));
        if let Some(found) = self.keys.get_mut(key as usize) {
            found.postings.push(ordinal);
        }
        self.slots.push(Slot { position, key });
    }

    /// Notes that the records since the last batch are this batch.
    pub(in crate::commitlog) fn push_batch(&mut self, entry: BatchEntry) {
        self.batches.push(entry);
    }

    /// Notes a batch and all its records, as recovery finds them; whether all could be read.
    pub(in crate::commitlog) fn push_scanned(&mut self, batch: &Batch) -> bool {
        let first_ordinal = self.len();
        let mut records = batch.records();
        for record in records.by_ref() {
            let position = batch
                .header
                .position
                .saturating_add(u32::try_from(record.position).unwrap_or(u32::MAX));
            self.push(position, record.indexed.then_some(record.key));
        }
        let whole = !records.is_short();
        let mut entry = batch.entry(first_ordinal);
        entry.count = self.len() - first_ordinal;
        self.push_batch(entry);
        whole
    }

    fn number(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = u32::try_from(self.keys.len()).unwrap_or(NOT_INDEXED);
        let name: Arc<[u8]> = key.into();
        self.keys.push(Key { name: Arc::clone(&name), postings: Vec::new() });
        self.numbers.insert(name, number);
        number
    }

    /// How many records.
    pub(in crate::commitlog) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(in crate::commitlog) fn batches(&self) -> &[BatchEntry] {
        &self.batches
    }

    /// By key number.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Where the record with this ordinal begins in its file.
    pub(in crate::commitlog) fn position(&self, ordinal: u32) -> Option<u32> {
        self.slots.get(ordinal as usize).map(|slot| slot.position)
    }

    /// About how many bytes the record takes in its file.
    pub(in crate::commitlog) fn size(&self, ordinal: u32) -> usize {
        let start = self.position(ordinal).unwrap_or_default();
        self.position(ordinal.saturating_add(1))
            .map_or(1, |end| end.saturating_sub(start).max(1) as usize)
    }

    /// Hands the ordinals in `from..to` whose key matches to `take`, ascending, until it returns false.
    ///
    /// Looks at the records one by one for as many as there are keys; then it asks every key once and
    /// merges the lists of those that match. So a reader that keeps up never pays for the number of keys, and
    /// one that wants little of much never pays for the number of records.
    pub(in crate::commitlog) fn select(
        &self,
        from: u32,
        to: u32,
        matcher: &dyn KeyMatcher,
        take: &mut dyn FnMut(u32) -> bool,
    ) {
        let walked = to.min(
            from.saturating_add(u32::try_from(self.keys.len()).unwrap_or(u32::MAX))
                .saturating_add(64),
        );
        if self.walk(from, walked, matcher, take) == Flow::Exhausted && walked < to {
            self.merge(walked, to, matcher, take);
        }
    }

    fn walk(
        &self,
        from: u32,
        to: u32,
        matcher: &dyn KeyMatcher,
        take: &mut dyn FnMut(u32) -> bool,
    ) -> Flow {
        let mut known: Map<u32, bool> = Map::default();
        for ordinal in from..to {
            let Some(slot) = self.slots.get(ordinal as usize) else { break };
            let Some(key) = self.keys.get(slot.key as usize) else { continue };
            let wanted = *known.entry(slot.key).or_insert_with(|| matcher.matches(&key.name));
            if wanted && !take(ordinal) {
                return Flow::Stopped;
            }
        }
        Flow::Exhausted
    }

    fn merge(
        &self,
        from: u32,
        to: u32,
        matcher: &dyn KeyMatcher,
        take: &mut dyn FnMut(u32) -> bool,
    ) {
        let mut heads = BinaryHeap::new();
        for key in self.keys.iter().filter(|key| matcher.matches(&key.name)) {
            let start = key.postings.partition_point(|ordinal| *ordinal < from);
            let mut list = key.postings.get(start..).unwrap_or_default().iter();
            if let Some(first) = list.next() {
                heads.push(Reverse((*first, heads.len(), Tail(list))));
            }
        }
        while let Some(Reverse((ordinal, number, mut tail))) = heads.pop() {
            if ordinal >= to || !take(ordinal) {
                return;
            }
            if let Some(next) = tail.0.next() {
                heads.push(Reverse((*next, number, tail)));
            }
        }
    }
}

/// The rest of a posting list; takes no part in the order.
struct Tail<'a>(std::slice::Iter<'a, u32>);

impl PartialEq for Tail<'_> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Tail<'_> {}

impl PartialOrd for Tail<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tail<'_> {
    fn cmp(&self, _other: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
