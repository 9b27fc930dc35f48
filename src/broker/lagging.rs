//! Sessions that retention is about to pass: what they would lose is told, once, before it does.
//!
//! ```text
//!   ── goes next ──┬── goes soon ──┬── kept ──►
//!              new start          line           the line: a quarter of what may be kept, or a segment, is left
//!       ▲ session: counts its messages from where it stands up to the line; more than none are told
//! ```
//!
//! It is looked for before each round of retention, if anybody is subscribed to events. What was counted is not counted again, and
//! nothing is deleted while it is counted, unless that takes too long or the disk is full. A session is told of again when it has been
//! above the line in between.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::event::Output;
use crate::broker::retention::Counting;
use crate::broker::retention::Loss;
use crate::broker::retention::Mover;
use crate::commitlog::Offset;
use crate::commitlog::Read;
use crate::commitlog::ReadResult;
use crate::mqtt::ClientId;
use crate::time::Timestamp;

/// How many bytes of a session's messages are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// How many reads one step makes.
const READS_PER_STEP: usize = 256;

/// How many sessions one step looks at.
const SESSIONS_PER_STEP: usize = 4_096;

/// How long retention waits for this at a time.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The round under way, and what earlier ones have found.
#[derive(Debug, Default)]
pub(super) struct LaggingWatch {
    /// The sessions below the line, and what was found of each.
    seen: BTreeMap<ClientId, Seen>,
    /// Whose turn is to come in this round.
    left: VecDeque<ClientId>,
    line: Offset,
    counting: Option<Counting>,
    /// A read is under way.
    reading: bool,
    /// Since when retention waits.
    waited_since: Option<Timestamp>,
}

#[derive(Debug)]
struct Seen {
    /// Where it stood.
    began: Offset,
    /// Everything from there on and below was counted.
    to: Offset,
    /// How many entries of its stream that was.
    lost: u64,
    told: bool,
}

impl Broker {
    /// Begins a round, or goes on with one. Returns whether retention has to wait for more of it.
    pub(super) fn watch_lagging(&mut self) -> bool {
        if !self.events_are_heard() {
            self.lagging_watch = LaggingWatch::default();
            return false;
        }
        let since = *self.lagging_watch.waited_since.get_or_insert(self.now);
        let is_patient = self.now.since(since) < WAIT_MAX;
        let under_way =
            self.lagging_watch.counting.is_some() || !self.lagging_watch.left.is_empty();
        let waits = is_patient
            && (self.lagging_watch.reading
                || (under_way || self.begin_watch()) && self.go_on_watching());
        if !waits {
            self.lagging_watch.waited_since = None;
        }
        waits
    }

    /// Finds out who stands below the line and was not told of; returns whether there is anybody.
    fn begin_watch(&mut self) -> bool {
        let Some(line) = self.store.retention_warning(self.now) else {
            self.lagging_watch = LaggingWatch::default();
            return false;
        };
        self.write_progress_below(line);
        let sessions = self.store.state().sessions();
        let below = sessions
            .filter(|(_, session)| session.session.is_some() && session.progress.position < line);
        let below: BTreeSet<ClientId> = below.map(|(client_id, _)| client_id.clone()).collect();
        let watch = &mut self.lagging_watch;
        watch.line = line;
        watch.seen.retain(|client_id, _| below.contains(client_id));
        let told = |client_id: &ClientId| watch.seen.get(client_id).is_some_and(|seen| seen.told);
        watch.left = below.into_iter().filter(|client_id| !told(client_id)).collect();
        !watch.left.is_empty()
    }

    fn go_on_watching(&mut self) -> bool {
        let line = self.lagging_watch.line;
        let mut reads = 0;
        for _ in 0..SESSIONS_PER_STEP {
            let counting = self.lagging_watch.counting.take().or_else(|| self.next_watched());
            let Some(counting) = counting else { return false };
            if counting.next >= line {
                self.counted(&counting);
                continue;
            }
            if reads >= READS_PER_STEP {
                self.lagging_watch.counting = Some(counting);
                return true;
            }
            reads += 1;
            let matcher = self.matcher_for(&counting.mover);
            match self.store.read(counting.next, line, CHUNK_BYTES, &matcher) {
                Read::Records { records, next } => {
                    self.lagging_watch.counting = Some(self.count(counting, &records, next));
                }
                Read::Cold(request) => {
                    let ticket = self.ticket(Awaited::Lagging);
                    self.outputs.push_back(Output::Fetch { ticket, request });
                    self.lagging_watch.counting = Some(counting);
                    self.lagging_watch.reading = true;
                    return true;
                }
            }
        }
        true
    }

    /// The next session of the round, from where it stands, or from where it was counted up to.
    fn next_watched(&mut self) -> Option<Counting> {
        let client_id = self.lagging_watch.left.pop_front()?;
        let mover = Mover::Session(client_id.clone());
        let began = self.position_of(&mover);
        let seen = self.lagging_watch.seen.get(&client_id).filter(|seen| seen.began == began);
        let (next, lost) = seen.map_or((began, 0), |seen| (seen.to, seen.lost));
        Some(Counting { mover, began, next, lost })
    }

    /// The messages of a session up to the line are counted.
    fn counted(&mut self, counting: &Counting) {
        let Mover::Session(client_id) = &counting.mover else { return };
        let line = self.lagging_watch.line;
        let Some(session) = self.store.state().session(client_id) else { return };
        let position = session.progress.position;
        // One that has moved meanwhile is looked at in the next round.
        let stays = position < line && position == counting.began;
        let Some(row) = session.session.as_ref().filter(|_| stays) else { return };
        let messages = Loss::below(session, line, counting.lost).messages;
        let mut told = false;
        if messages > 0 {
            let left = self.store.retention_left(position, self.now);
            let event = self.session_event(client_id, row, "lagging").map(|event| {
                event.with(json!({
                    "messages": messages,
                    "position": position.as_u64(),
                    "end": self.store.next_offset().as_u64(),
                    "bytes_left": left.bytes,
                    "seconds_left": left.time.map(|time| time.as_secs()),
                }))
            });
            tracing::warn!(
                client = client_id.as_str(),
                messages,
                "the session will lose messages soon that are older than messages are kept"
            );
            told = event.is_some_and(|event| self.tell(event));
        }
        let Counting { began, lost, .. } = *counting;
        let seen = Seen { began, to: line, lost, told };
        self.lagging_watch.seen.insert(client_id.clone(), seen);
    }

    /// The answer to a read.
    pub(super) fn lagging_fetched(&mut self, result: &ReadResult) {
        self.lagging_watch.reading = false;
        let line = self.lagging_watch.line;
        let Some(counting) = self.lagging_watch.counting.take() else { return };
        // A result that does not move on has nothing more to give.
        let next = if result.next > counting.next { result.next } else { line };
        self.lagging_watch.counting = Some(self.count(counting, &result.records, next));
        self.retention_step();
    }

    /// A read failed: this session has its turn in the next round.
    pub(super) fn lagging_read_failed(&mut self) {
        self.lagging_watch.reading = false;
        self.lagging_watch.counting = None;
    }
}
