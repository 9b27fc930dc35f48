//! Whether a client's session can be there, and whether it can be gone, when it connects [MQTT-3.2.2-2] [MQTT-3.2.2-3].

use super::Expiry;
use super::Micros;
use super::Slack;

/// What is known about the session of one client id.
#[derive(Default)]
pub(super) struct Presence {
    /// The session that CONNACK last confirmed.
    session: Option<Confirmed>,
    /// The CONNECT sent last.
    connecting_at: Micros,
    now: Micros,
    /// CONNECTs before the last one of which nobody knows what they did, or whether they still will.
    unanswered: Vec<Unanswered>,
    pending: Option<Unanswered>,
}

struct Unanswered {
    connection: u64,
    clean_start: bool,
    /// The broker has done with it all that it will.
    closed: bool,
}

struct Confirmed {
    expiry: Expiry,
    /// What a DISCONNECT that may have been lost changed it to.
    changed: Option<Expiry>,
    /// The connection ended at the earliest then.
    closing_at: Option<Micros>,
    /// The broker knew it at the latest then.
    closed_at: Option<Micros>,
}

impl Presence {
    pub(super) fn connecting(&mut self, connection: u64, clean_start: bool, now: Micros) {
        let pending = Unanswered { connection, clean_start, closed: false };
        self.unanswered.extend(self.pending.replace(pending));
        self.connecting_at = now;
        self.now = now;
        if let Some(session) = &mut self.session {
            session.closing_at.get_or_insert(now);
        }
    }

    /// Whether session present may be true, and whether it may be false.
    pub(super) fn allows(&self, clean_start: bool, slack: Slack) -> (bool, bool) {
        if clean_start {
            return (false, true);
        }
        let unanswered = !self.unanswered.is_empty();
        let Some(session) = &self.session else { return (unanswered, true) };
        let (mut present, mut absent) = self.lives(session, session.expiry, slack);
        if let Some(changed) = session.changed {
            let other = self.lives(session, changed, slack);
            present |= other.0;
            absent |= other.1;
        }
        (present || unanswered, absent || self.unanswered_clean())
    }

    /// Whether the session that CONNACK last confirmed is surely there now, whatever is still on its way.
    pub(super) fn surely_stays(&self) -> bool {
        let Some(session) = &self.session else { return false };
        let clean = self.pending.as_ref().is_some_and(|pending| pending.clean_start);
        let kept = session.expiry == Expiry::Never && session.changed.is_none();
        let connected = session.closing_at.is_none() && session.closed_at.is_none();
        !clean && !self.unanswered_clean() && (kept || connected)
    }

    /// Whether the session may have been there at that moment or later.
    pub(super) fn may_live_since(&self, moment: Micros) -> bool {
        let ends = |session: &Confirmed| session.expiry == Expiry::WithConnection;
        let ended = self.session.as_ref().filter(|session| ends(session));
        let closed_at = ended.and_then(|session| session.closed_at);
        closed_at.is_none_or(|closed_at| closed_at >= moment)
    }

    fn unanswered_clean(&self) -> bool {
        self.unanswered.iter().any(|unanswered| unanswered.clean_start)
    }

    /// Whether a session that is said to be present may be the one confirmed before, and whether it may be another, which a CONNECT
    /// without an answer made.
    pub(super) fn may_be(&self, slack: Slack) -> (bool, bool) {
        let Some(session) = &self.session else { return (false, true) };
        let (present, absent) = self.lives(session, session.expiry, slack);
        let changed = session.changed.map(|changed| self.lives(session, changed, slack));
        let absent = absent || changed.is_some_and(|(_, absent)| absent) || self.unanswered_clean();
        (
            present || changed.is_some_and(|(present, _)| present),
            absent && !self.unanswered.is_empty(),
        )
    }

    fn lives(&self, session: &Confirmed, expiry: Expiry, slack: Slack) -> (bool, bool) {
        let seconds = match expiry {
            Expiry::Never => return (true, false),
            Expiry::After(seconds) => u64::from(seconds) * 1_000_000,
            Expiry::WithConnection => {
                let closed = session.closed_at.is_some_and(|at| at < self.connecting_at);
                return (!closed, true);
            }
        };
        let surely_lives =
            session.closing_at.is_none_or(|at| self.now + slack.timers < at + seconds);
        // A CONNECT without an answer may have come in time, and begun its interval again.
        let surely_gone = self.unanswered.is_empty()
            && session.closed_at.is_some_and(|at| self.connecting_at > at + seconds + slack.timers);
        (!surely_gone, !surely_lives)
    }

    pub(super) fn connected(&mut self, expiry: Expiry) {
        // One that the network delays may still reach the broker after this one, or has done so before the answer came to the client:
        // then the broker has closed this one already.
        let overtaken = self.pending.take().is_some_and(|pending| pending.closed);
        self.unanswered.retain(|unanswered| !unanswered.closed || overtaken);
        self.session = Some(Confirmed { expiry, changed: None, closing_at: None, closed_at: None });
    }

    /// Whether an earlier CONNECT without an answer may have taken the session over from the one that is answered now, or still may.
    pub(super) fn may_be_overtaken(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether an earlier CONNECT may still come to the broker, after the one that is sent now.
    pub(super) fn may_be_overtaken_later(&self) -> bool {
        self.unanswered.iter().any(|unanswered| !unanswered.closed)
    }

    /// Whether the CONNECT sent last is this connection's, and has no answer.
    pub(super) fn awaits(&self, connection: u64) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.connection == connection)
    }

    /// The broker closed a connection: its CONNECT does nothing more.
    pub(super) fn closed_unanswered(&mut self, connection: u64) {
        let all = self.unanswered.iter_mut().chain(&mut self.pending);
        all.filter(|unanswered| unanswered.connection == connection)
            .for_each(|unanswered| unanswered.closed = true);
    }

    /// Brings the clock forward to the answer.
    pub(super) fn answered_at(&mut self, now: Micros) {
        self.now = now;
    }

    pub(super) fn closing(&mut self, now: Micros) {
        if let Some(session) = &mut self.session {
            session.closing_at.get_or_insert(now);
        }
    }

    pub(super) fn closed(&mut self, now: Micros) {
        self.closing(now);
        if let Some(session) = &mut self.session {
            session.closed_at.get_or_insert(now);
        }
    }

    /// What ended before a jump of the clock may count as ended earlier, or later. The clock jumps between two lives of the broker, so
    /// every connection has ended by `now`, though its client may not know it yet.
    pub(super) fn clock_jumped(&mut self, more: Micros, less: Micros, now: Micros) {
        if let Some(session) = &mut self.session {
            let closing_at = session.closing_at.unwrap_or(now);
            session.closing_at = Some(closing_at.saturating_sub(more));
            session.closed_at = session.closed_at.map(|at| at + less);
        }
    }

    pub(super) fn changed(&mut self, expiry: Expiry) {
        if let Some(session) = &mut self.session {
            session.changed = Some(expiry);
        }
    }

    /// What the broker knew about the end of the connection may be lost.
    pub(super) fn crashed(&mut self, now: Micros) {
        self.closing(now);
        self.unanswered
            .iter_mut()
            .chain(&mut self.pending)
            .for_each(|unanswered| unanswered.closed = true);
        if let Some(session) = &mut self.session {
            session.closed_at = None;
        }
    }

    pub(super) fn recovered(&mut self, now: Micros) {
        if let Some(session) = &mut self.session {
            session.closed_at.get_or_insert(now);
        }
    }
}
