//! Wills: published exactly when due [MQTT-3.1.2-8].
//!
//! ```text
//!   CONNECT ──► armed ──DISCONNECT 0x00──► never
//!                 │ connection ends otherwise
//!                 ▼
//!               waits delay or session expiry, the shorter ──────► published
//!                 └── the session is resumed before: never
//! ```

use std::collections::BTreeMap;

use super::Connecting;
use super::Expiry;
use super::Micros;
use super::Seq;
use super::Slack;
use super::messages::Messages;
use super::session::Session;

/// The will of one connection.
#[derive(Debug)]
struct Will {
    client: String,
    number: u64,
    connection: u64,
    /// From the end of the connection to the publication.
    delay: Micros,
    /// The delay alone is above zero.
    delayed: bool,
    /// CONNACK came.
    armed: bool,
    /// A DISCONNECT without will was sent.
    disconnecting: Option<Micros>,
    /// The broker has read that DISCONNECT.
    disconnected: bool,
    /// The connection ended at the earliest then.
    ended_first: Option<Micros>,
    /// The broker knew at the latest then, and the history's place of it.
    ended_last: Option<Micros>,
    /// The broker died before it can be known that the end was noted.
    unsettled: bool,
    /// The same client connected again: when it asked, when it was let in, and whether its session went on.
    again: Option<(Micros, Option<(Micros, bool)>)>,
    /// It asked more than once before it was let in, or was not told, or an earlier CONNECT may come later: nobody knows which of
    /// them found the session.
    obscured: bool,
    /// It asked again and again, and nobody knows whether the broker read this CONNECT before all of those.
    unordered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Has to be published, at the latest then.
    Due(Micros),
    Never,
    Unknown,
}

/// All wills, in the order of their connections.
#[derive(Default)]
pub(super) struct Wills {
    by_connection: BTreeMap<u64, Will>,
    /// Whether the broker is down.
    down: bool,
    /// Wills that arrived, and when, before their client had said that its connection is over.
    early: Vec<(u64, Micros)>,
    slack: Slack,
}

impl Wills {
    pub(super) fn with_slack(slack: Slack) -> Self {
        Self { slack, ..Self::default() }
    }

    pub(super) fn connecting(&mut self, connecting: &Connecting, now: Micros) {
        for will in self.by_connection.values_mut().filter(|will| will.client == connecting.client)
        {
            will.obscured |= matches!(will.again, Some((_, None)));
            will.unordered |= !will.armed && will.again.is_some();
            will.again.get_or_insert((now, None));
            will.ended_first.get_or_insert(now);
        }
        let Some(will) = &connecting.will else { return };
        let delay = match connecting.expiry {
            Expiry::WithConnection => 0,
            Expiry::After(seconds) => will.delay.min(seconds),
            Expiry::Never => will.delay,
        };
        let delayed = will.delay > 0;
        let will = Will {
            client: connecting.client.clone(),
            number: will.sent.number,
            connection: connecting.connection,
            delay: u64::from(delay) * 1_000_000,
            delayed,
            armed: false,
            disconnecting: None,
            disconnected: false,
            ended_first: None,
            ended_last: None,
            unsettled: false,
            again: None,
            obscured: false,
            unordered: false,
        };
        self.by_connection.insert(connecting.connection, will);
    }

    /// A client was let in, and its session went on or did not, if that is known.
    pub(super) fn connected(
        &mut self,
        client: &str,
        connection: u64,
        resumed: Option<bool>,
        now: Micros,
    ) {
        for will in self.by_connection.values_mut().filter(|will| will.client == client) {
            if will.connection == connection {
                will.armed = true;
            } else if let Some((_, answer @ None)) = &mut will.again {
                *answer = Some((now, resumed.unwrap_or(false)));
                will.obscured |= resumed.is_none();
            }
        }
    }

    /// An earlier CONNECT of the same client may come to the broker after this connection's.
    pub(super) fn may_be_overtaken(&mut self, connection: u64) {
        if let Some(will) = self.by_connection.get_mut(&connection) {
            will.obscured = true;
        }
    }

    pub(super) fn disconnecting(&mut self, connection: u64, now: Micros) {
        if let Some(will) = self.by_connection.get_mut(&connection) {
            will.disconnecting.get_or_insert(now);
        }
    }

    pub(super) fn lost(&mut self, connection: u64, now: Micros) {
        if let Some(will) = self.by_connection.get_mut(&connection) {
            will.ended_first.get_or_insert(now);
        }
    }

    pub(super) fn server_closed(&mut self, connection: u64, read_all: bool, now: Micros) {
        if let Some(will) = self.by_connection.get_mut(&connection) {
            will.ended_first.get_or_insert(now);
            will.ended_last.get_or_insert(now);
            will.disconnected |= read_all && will.disconnecting.is_some();
        }
    }

    /// The broker dies: connections end, and what it had not yet made durable about their end is lost.
    pub(super) fn crashed(&mut self, now: Micros) {
        self.down = true;
        let settling = self.slack.settling;
        for will in self.by_connection.values_mut() {
            let recent = will.ended_last.is_none_or(|at| at + settling > now);
            will.ended_first.get_or_insert(now);
            if recent {
                will.unsettled = true;
            }
            if will.again.is_none() && recent {
                will.ended_last = None;
            }
        }
    }

    pub(super) fn recovered(&mut self, now: Micros) {
        self.down = false;
        for will in self.by_connection.values_mut() {
            will.ended_last.get_or_insert(now);
        }
    }

    /// What ended before a jump of the clock may count as ended earlier, or later.
    pub(super) fn clock_jumped(&mut self, more: Micros, less: Micros) {
        for will in self.by_connection.values_mut() {
            will.ended_first = will.ended_first.map(|at| at.saturating_sub(more));
            will.ended_last = will.ended_last.map(|at| at + less);
        }
    }

    /// A will has arrived somewhere, written by the broker at `at`.
    pub(super) fn arrived(&mut self, number: u64, at: Micros) -> Result<(), String> {
        let Some(will) = self.by_connection.values().find(|will| will.number == number) else {
            return Ok(());
        };
        match will.ended_first {
            // The broker may have ended the connection, and its client not have seen it yet.
            None if self.slack.arrival > 0 => {
                self.early.push((number, at));
                Ok(())
            }
            None => Err(format!(
                "the will {number} of {} arrived while its connection lives",
                will.client
            )),
            Some(ended)
                if at + self.slack.timers / 10 < ended + will.delay && !will.ends_early() =>
            {
                Err(format!(
                    "the will {number} of {} arrived before its delay had passed",
                    will.client
                ))
            }
            Some(_) => Ok(()),
        }
    }

    /// What must not have been published did not arrive anywhere.
    pub(super) fn check_never(
        &self,
        sessions: &[&Session],
        messages: &Messages,
        found: &mut Vec<String>,
    ) {
        for (number, at) in &self.early {
            let seen = |will: &&Will| {
                will.ended_first.is_some_and(|ended| ended < at + self.slack.arrival)
            };
            if !self.by_connection.values().filter(seen).any(|will| will.number == *number) {
                found.push(format!("the will {number} arrived while its connection lived"));
            }
        }
        for will in self.by_connection.values().filter(|will| will.fate(self.slack) == Fate::Never)
        {
            let arrived = sessions.iter().any(|session| session.arrived(will.number));
            if let (true, Some(known)) = (arrived, messages.get(will.number)) {
                found.push(format!("{} was published and should not have been", known.sent));
            }
        }
    }

    /// What had to be published arrived somewhere, if somebody surely listened.
    pub(super) fn check_due(
        &self,
        sessions: &[&Session],
        messages: &Messages,
        now: Micros,
        found: &mut Vec<String>,
    ) {
        for will in self.by_connection.values() {
            let Some(known) = messages.get(will.number).filter(|known| known.sent.qos > 0) else {
                continue;
            };
            let overdue =
                matches!(will.fate(self.slack), Fate::Due(by) if by + self.slack.timers < now);
            if !overdue || sessions.iter().any(|session| session.arrived(will.number)) {
                continue;
            }
            let listened = |session: &&&Session| {
                let (own, last) = (session.client == will.client, Seq::MAX - 1);
                session.online && session.surely_covers(&known.sent.topic, own, known.first, last)
            };
            if let Some(witness) = sessions.iter().find(listened) {
                let name = &witness.client;
                found.push(format!("{} was due and never reached {name}: {will:?}", known.sent));
            }
        }
    }
}

impl Will {
    /// Whether a new session of the same client, which ends the old one, may have brought it forward.
    fn ends_early(&self) -> bool {
        self.unordered || self.obscured || matches!(self.again, Some((_, None | Some((_, false)))))
    }

    fn fate(&self, slack: Slack) -> Fate {
        if self.disconnecting.is_some() {
            return if self.disconnected && !self.unsettled { Fate::Never } else { Fate::Unknown };
        }
        if !self.armed {
            return Fate::Unknown;
        }
        let (Some(first), Some(last)) = (self.ended_first, self.ended_last) else {
            return Fate::Unknown;
        };
        match self.again {
            // A delay of zero runs out at once, also at a take-over.
            _ if !self.delayed => Fate::Due(last),
            _ if self.obscured => Fate::Unknown,
            None => Fate::Due(last + self.delay),
            Some((asked, _)) if asked > last + self.delay + slack.timers => {
                Fate::Due(last + self.delay)
            }
            Some((_, Some((accepted, true)))) if accepted + slack.timers < first + self.delay => {
                Fate::Never
            }
            Some((_, Some((accepted, false)))) => {
                Fate::Due((last + self.delay).min(accepted).max(last))
            }
            Some(_) => Fate::Unknown,
        }
    }
}
