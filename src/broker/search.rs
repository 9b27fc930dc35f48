//! Where `last-N` begins, for a replay or a group: a search backwards through the log, in windows that grow.
//!
//! ```text
//!   start of the log ……… [   window 3   ][ window 2 ][ 1 ] where it was asked
//! ```
//!
//! Each window is read forwards through the indexes, so that only messages that match are read; when the windows so far hold enough of
//! them, the replay begins at the right one in the last window. Nothing but offsets is kept, and of those only so many ([`KEPT_MAX`]):
//! when more are wanted, the search goes on below the lowest that was kept.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::message::Message;
use crate::broker::replay::Replay;
use crate::broker::replay::ReplayIndex;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::store::MessageView;

/// How wide the first window is at least, in offsets.
const WINDOW_MIN: u64 = 1_024;

/// How much wider each window is than the one before.
const WINDOW_GROWTH: u64 = 4;

/// How many offsets a search keeps at most.
const KEPT_MAX: usize = 4_096;

/// One search.
#[derive(Debug)]
pub(super) struct Search {
    /// The window.
    from: Offset,
    to: Offset,
    width: u64,
    /// How many messages are still to be found in this window and those before.
    wanted: usize,
    /// The last ones that were found in this window, at most as many as are kept.
    found: VecDeque<Offset>,
}

impl Search {
    /// A search for the last `wanted` messages below `to`.
    fn new(to: Offset, wanted: usize, start: Offset) -> Self {
        let width = WINDOW_MIN.max(wanted.min(KEPT_MAX) as u64);
        Self { from: below(to, width, start), to, width, wanted, found: VecDeque::new() }
    }

    fn note(&mut self, offset: Offset) {
        if self.is_full() {
            self.found.pop_front();
        }
        self.found.push_back(offset);
    }

    /// Whether it keeps as many as it may.
    fn is_full(&self) -> bool {
        self.found.len() >= self.wanted.min(KEPT_MAX)
    }

    /// The window was searched: where the replay begins, if that is known now. Otherwise the next window is set.
    fn close(&mut self, start: Offset) -> Option<Offset> {
        let lowest = self.found.front().copied();
        let is_over =
            if self.is_full() { self.found.len() >= self.wanted } else { self.from <= start };
        if is_over {
            return Some(lowest.unwrap_or(self.from));
        }
        (self.to, self.width) = match lowest.filter(|_| self.is_full()) {
            // As wide as what held those that were kept.
            Some(lowest) => {
                (lowest, self.to.as_u64().saturating_sub(lowest.as_u64()).max(WINDOW_MIN))
            }
            None => (self.from, self.width.saturating_mul(WINDOW_GROWTH)),
        };
        self.wanted -= self.found.len();
        self.found.clear();
        self.from = below(self.to, self.width, start);
        None
    }
}

fn below(offset: Offset, width: u64, start: Offset) -> Offset {
    Offset::new(offset.as_u64().saturating_sub(width)).max(start)
}

impl Broker {
    /// One step of the search for where a replay begins.
    pub(super) fn step_search(&mut self, index: ReplayIndex, replay: &mut Replay) -> Walk {
        let Some(last) = replay.row.last else { return Walk::More };
        let search = replay.search.take();
        let search = search
            .map_or_else(|| self.search_from(replay.row.position, last, &mut replay.cursor), Ok);
        let mut search = match search {
            Ok(search) => search,
            Err(walk) => return walk,
        };
        let mut cursor = std::mem::replace(&mut replay.cursor, Cursor::at(Offset::ZERO));
        let matcher = Arc::clone(&replay.matcher);
        let counts =
            |broker: &Self, message: &Message<'_>| broker.replayed_qos(replay, message).is_some();
        let step = self.search_on(Turn::Replay(index), &mut cursor, &matcher, &mut search, counts);
        replay.cursor = cursor;
        match step {
            Ok(position) => {
                replay.row.position = position;
                replay.row.last = None;
                Walk::More
            }
            Err(walk) => {
                replay.search = Some(search);
                walk
            }
        }
    }

    /// A search for the last messages below `to`, which begins when everything that is there can be read.
    pub(super) fn search_from(
        &self,
        to: Offset,
        last: NonZeroU32,
        cursor: &mut Cursor,
    ) -> Result<Search, Walk> {
        if self.routed < to {
            return Err(Walk::WaitDurable);
        }
        let wanted = usize::try_from(last.get()).unwrap_or(usize::MAX);
        let search = Search::new(to, wanted, self.store.start_offset());
        *cursor = Cursor::at(search.from);
        Ok(search)
    }

    /// One step of a search: where it ends, with the cursor there, or how the step ended.
    pub(super) fn search_on(
        &mut self,
        turn: Turn,
        cursor: &mut Cursor,
        matcher: &Arc<dyn KeyMatcher>,
        search: &mut Search,
        counts: impl Fn(&Self, &Message<'_>) -> bool,
    ) -> Result<Offset, Walk> {
        if let Some(record) = cursor.chunk.pop_front() {
            let view = MessageView::from_record(&record).filter(|view| view.offset < search.to);
            let message = view.as_ref().map(Message::from);
            if message.is_some_and(|message| counts(self, &message)) {
                search.note(record.offset);
            }
            return Err(Walk::More);
        }
        if cursor.scanned < search.to {
            return Err(self.read_on(turn, cursor, search.to, matcher));
        }
        let found = search.close(self.store.start_offset());
        *cursor = Cursor::at(found.unwrap_or(search.from));
        found.ok_or(Walk::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the last `wanted` of these offsets begin, as a search through a log from `start` to `to` finds it.
    fn search(offsets: &[u64], wanted: usize, start: u64, to: u64) -> u64 {
        let mut search = Search::new(Offset::new(to), wanted, Offset::new(start));
        loop {
            let window = search.from.as_u64()..search.to.as_u64();
            for offset in offsets.iter().filter(|offset| window.contains(offset)) {
                search.note(Offset::new(*offset));
            }
            assert!(search.found.len() <= KEPT_MAX);
            if let Some(position) = search.close(Offset::new(start)) {
                return position.as_u64();
            }
        }
    }

    #[test]
    fn the_last_ones_are_found_in_whatever_window_they_are() {
        let rare = [3, 70_000, 90_000, 99_000, 99_999];
        for (wanted, position) in [(1, 99_999), (2, 99_000), (3, 90_000), (4, 70_000), (5, 3)] {
            assert_eq!(search(&rare, wanted, 0, 100_000), position, "last-{wanted}");
        }
        assert_eq!(search(&rare, 6, 0, 100_000), 3, "there are fewer");
        assert_eq!(search(&rare, 9, 50_000, 100_000), 70_000, "and some are gone");
        assert_eq!(search(&[], 9, 50_000, 100_000), 50_000);
        let all: Vec<u64> = (0..5_000).collect();
        assert_eq!(search(&all, 4_000, 0, 5_000), 1_000);
        assert_eq!(search(&all, 1, 0, 5_000), 4_999);
        assert_eq!(search(&all, 6_000, 0, 5_000), 0);
    }

    #[test]
    fn more_than_are_kept_are_found_piece_by_piece() {
        let all: Vec<u64> = (0..30_000).collect();
        let sparse: Vec<u64> = (0..30_000).map(|number| number * 97).collect();
        // A dense end behind a sparse beginning, and the other way round.
        let dense_end: Vec<u64> =
            sparse[..15_000].iter().copied().chain(2_000_000..2_015_000).collect();
        let dense_start: Vec<u64> = (0..15_000).chain(sparse[15_000..].iter().copied()).collect();
        for offsets in [&all, &sparse, &dense_end, &dense_start] {
            let end = offsets.last().unwrap() + 1;
            for wanted in [4_095, 4_096, 4_097, 8_192, 14_999, 15_001, 29_999, 30_000, 30_001] {
                let place = offsets.len().saturating_sub(wanted);
                assert_eq!(search(offsets, wanted, 0, end), offsets[place], "last-{wanted}");
            }
        }
    }
}
