//! Where `last-N` begins: a search backwards through the log, in windows that grow.
//!
//! ```text
//!   start of the log ……… [   window 3   ][ window 2 ][ 1 ] where it was asked
//! ```
//!
//! Each window is read forwards through the indexes, so that only messages that match are read; when the windows so far hold enough of
//! them, the replay begins at the right one in the last window. Nothing but offsets is kept, and no more than were asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::message::Message;
use crate::broker::replay::Replay;
use crate::broker::replay::ReplayIndex;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::Offset;
use crate::store::MessageView;

/// How wide the first window is at least, in offsets.
const WINDOW_MIN: u64 = 1_024;

/// How much wider each window is than the one before.
const WINDOW_GROWTH: u64 = 4;

/// The search of one replay.
#[derive(Debug)]
pub(super) struct Search {
    /// The window.
    from: Offset,
    to: Offset,
    width: u64,
    /// How many messages are still to be found in this window and those before.
    wanted: usize,
    /// The last ones that were found in this window, at most as many as wanted.
    found: VecDeque<Offset>,
}

impl Search {
    /// A search for the last `wanted` messages below `to`.
    fn new(to: Offset, wanted: usize, start: Offset) -> Self {
        let width = WINDOW_MIN.max(wanted as u64);
        Self { from: below(to, width, start), to, width, wanted, found: VecDeque::new() }
    }

    fn note(&mut self, offset: Offset) {
        if self.found.len() >= self.wanted {
            self.found.pop_front();
        }
        self.found.push_back(offset);
    }

    /// The window was searched: where the replay begins, if that is known now. Otherwise the next window is set.
    fn close(&mut self, start: Offset) -> Option<Offset> {
        if self.found.len() >= self.wanted || self.from <= start {
            return Some(self.found.front().copied().unwrap_or(self.from));
        }
        self.wanted -= self.found.len();
        self.found.clear();
        self.width = self.width.saturating_mul(WINDOW_GROWTH);
        self.to = self.from;
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
        let Some(mut search) = replay.search.take() else { return self.begin_search(replay) };
        let walk = self.search_on(index, replay, &mut search);
        if replay.row.last.is_some() {
            replay.search = Some(search);
        }
        walk
    }

    fn search_on(&mut self, index: ReplayIndex, replay: &mut Replay, search: &mut Search) -> Walk {
        if let Some(record) = replay.cursor.chunk.pop_front() {
            let view = MessageView::from_record(&record).filter(|view| view.offset < search.to);
            let message = view.as_ref().map(Message::from);
            if message.is_some_and(|message| self.replayed_qos(replay, &message).is_some()) {
                search.note(record.offset);
            }
            return Walk::More;
        }
        if replay.cursor.scanned < search.to {
            let matcher = Arc::clone(&replay.matcher);
            return self.read_on(Turn::Replay(index), &mut replay.cursor, search.to, &matcher);
        }
        let found = search.close(self.store.start_offset());
        if let Some(position) = found {
            replay.row.position = position;
            replay.row.last = None;
        }
        replay.cursor = Cursor::at(found.unwrap_or(search.from));
        Walk::More
    }

    /// The search begins when everything that was there when it was asked for can be read.
    fn begin_search(&mut self, replay: &mut Replay) -> Walk {
        let (to, wanted) = (replay.row.position, replay.row.last);
        if self.routed < to {
            return Walk::WaitDurable;
        }
        let wanted = wanted.map_or(0, |last| usize::try_from(last.get()).unwrap_or(usize::MAX));
        let search = Search::new(to, wanted, self.store.start_offset());
        replay.cursor = Cursor::at(search.from);
        replay.search = Some(search);
        Walk::More
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
    }
}
