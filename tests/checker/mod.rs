//! The promises, checked against what clients saw.
//!
//! A [`Checker`] is told [`Fact`]s in the order in which they happened at the clients, and says where a promise of the
//! broker was broken. It knows nothing of the broker, its code or its storage, so it serves a simulated broker and a real
//! process alike. What can't be known (a packet that may have been lost with its connection) is never held against
//! the broker: every fact has a moment before which it can't have been true and one after which it must be.
//!
//! Told as it happens: what arrives was sent, matches, is in order, is not there twice; packet ids and DUP; windows; session present;
//! wills that come too early. Told by [`Checker::finish`], after everybody has come back and nothing moves any more: what
//! is missing.

mod delayed;
mod delivery;
mod exclusive;
mod fact;
mod filter;
mod messages;
mod presence;
mod retained;
mod session;
mod shared;
#[cfg(test)]
mod tests;
mod wills;

use std::collections::BTreeMap;

pub(crate) use fact::Answer;
pub(crate) use fact::Asked;
pub(crate) use fact::Connecting;
pub(crate) use fact::Delivery;
pub(crate) use fact::Expiry;
pub(crate) use fact::Fact;
pub(crate) use fact::Micros;
pub(crate) use fact::Sent;
pub(crate) use fact::WillFact;

use messages::Messages;
use presence::Presence;
use retained::Retained;
use session::Session;
use wills::Wills;

/// The place of a fact in the history.
pub(crate) type Seq = u64;

/// How exact the history's clock is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slack {
    /// How late the broker may be with what it does by the clock: its timers tick ten times a second.
    pub(crate) timers: Micros,
    /// How long before [`Delivery::sent_at`] the broker may have written a packet.
    pub(crate) arrival: Micros,
    /// How long a DISCONNECT, which nobody acknowledges, may still be lost with the broker.
    pub(crate) settling: Micros,
}

impl Default for Slack {
    /// That of a history that knows when everything happened.
    fn default() -> Self {
        Self { timers: 2_000_000, arrival: 0, settling: 5_000_000 }
    }
}

/// A connection as its client sees it.
struct Connection {
    client: String,
    connecting: Connecting,
    accepted: bool,
    /// QoS 1 and 2 messages that arrived on it and are not finished.
    open: Vec<u16>,
}

/// What is known about one client id.
#[derive(Default)]
struct Client {
    session: Option<Session>,
    presence: Presence,
    latest: u64,
    /// Whether the client is online now.
    online: bool,
}

/// See the module's page.
#[derive(Default)]
pub(crate) struct Checker {
    seq: Seq,
    now: Micros,
    messages: Messages,
    connections: BTreeMap<u64, Connection>,
    clients: BTreeMap<String, Client>,
    /// Sessions that have ended.
    past: Vec<Session>,
    retained: Retained,
    wills: Wills,
    order: shared::Order,
    /// The connection of a client that only looks at what is retained, and what it got.
    audit: Option<(u64, BTreeMap<String, Option<u64>>)>,
    violations: Vec<String>,
    /// Old messages are deleted, so not all have to arrive.
    forgets: bool,
    refuses: bool,
    /// SUBSCRIBE may be refused for want of a disk.
    refuses_subscriptions: bool,
    /// When something was asked for exclusively that is not answered.
    exclusive_asked: BTreeMap<(u64, u16), (Seq, Micros)>,
    /// How often the broker crashed.
    crashes: u32,
    slack: Slack,
}

impl Checker {
    /// A checker of a history whose clock is so exact.
    pub(crate) fn new(slack: Slack) -> Self {
        Self {
            slack,
            retained: Retained::with_slack(slack),
            wills: Wills::with_slack(slack),
            ..Self::default()
        }
    }

    /// Takes the next fact. `at` never decreases.
    pub(crate) fn observe(&mut self, at: Micros, fact: &Fact) {
        self.seq += 1;
        self.now = at;
        match fact {
            Fact::Connecting(connecting) => self.connecting(connecting),
            Fact::Connected { connection, session_present } => {
                self.connected(*connection, *session_present);
            }
            Fact::Disconnecting { connection, with_will, expiry } => {
                self.disconnecting(*connection, *with_will, *expiry);
            }
            Fact::Lost { connection } => self.lost(*connection),
            Fact::ServerClosed { connection, read_all } => {
                self.server_closed(*connection, *read_all);
            }
            Fact::Crashed => self.crashed(),
            Fact::Recovered => self.recovered(),
            Fact::Publishing { sent } => self.publishing(sent),
            Fact::Acknowledged { number } => self.acknowledged(*number),
            Fact::Subscribing { connection, request, asked } => {
                self.subscribing(*connection, *request, asked);
            }
            Fact::Subscribed { connection, request, granted } => {
                self.subscribed(*connection, *request, granted);
            }
            Fact::Unsubscribing { connection, request, filters } => {
                self.unsubscribing(*connection, *request, filters);
            }
            Fact::Unsubscribed { connection, request } => self.unsubscribed(*connection, *request),
            Fact::Delivered(delivery) => self.delivered(delivery),
            Fact::Answered { connection, packet_id, answer } => {
                self.answered(*connection, *packet_id, *answer);
            }
            Fact::Released { connection, packet_id } => self.released(*connection, *packet_id),
            Fact::Auditing { connection } => self.audit = Some((*connection, BTreeMap::new())),
        }
    }

    /// The broker started with a clock that jumped: of the time since what was there before, so much more or so much less has passed
    /// for it than is true.
    pub(crate) fn clock_jumped(&mut self, more: Micros, less: Micros) {
        self.messages.clock_jumped(more, less);
        self.wills.clock_jumped(more, less);
        let now = self.now;
        for client in self.clients.values_mut() {
            client.presence.clock_jumped(more, less, now);
        }
    }

    /// It is later now, and nothing has happened since.
    pub(crate) fn pass_time(&mut self, at: Micros) {
        self.now = self.now.max(at);
    }

    /// The broker deletes old messages: what is missing is not held against it, but for what is retained.
    pub(crate) fn allow_forgetting(&mut self) {
        self.forgets = true;
    }

    /// The broker may refuse messages for want of space, and nobody hears of it if the connection is gone by then.
    pub(crate) fn allow_refusals(&mut self) {
        self.refuses = true;
    }

    /// The broker may refuse subscriptions because of its disk.
    pub(crate) fn allow_refused_subscriptions(&mut self) {
        self.refuses_subscriptions = true;
    }

    /// Everything that was found broken so far.
    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Checks what has to be true at the end: all clients with a session are connected, have read everything and
    /// answered everything, and the auditor has read what is retained.
    pub(crate) fn finish(&mut self) {
        let mut found = self.unfinished();
        self.violations.append(&mut found);
    }

    /// What [`Checker::finish`] would find now, while things may still be moving.
    pub(crate) fn unfinished(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for client in self.clients.values_mut() {
            let online = client.online;
            if let Some(session) = &mut client.session {
                session.online = online;
            }
        }
        self.check_cancelled(&mut found);
        for client in self.clients.values().filter(|_| !self.forgets) {
            if let Some(session) = client.session.as_ref().filter(|_| client.online) {
                self.check_complete(session, &mut found);
                session.check_in_flight(client.latest, &mut found);
            }
        }
        shared::check(self.all_sessions(), &self.messages, self.forgets, &mut found);
        if let Some((_, audit)) = &self.audit {
            self.retained.check(audit, self.now, &mut found);
        }
        let sessions: Vec<&Session> = self.all_sessions().collect();
        if !self.forgets {
            self.wills.check_due(&sessions, &self.messages, self.now, &mut found);
        }
        self.wills.check_never(&sessions, &self.messages, &mut found);
        found
    }

    fn all_sessions(&self) -> impl Iterator<Item = &Session> {
        self.past.iter().chain(self.clients.values().filter_map(|client| client.session.as_ref()))
    }

    /// Every acknowledged message that the session was subscribed to for certain has arrived.
    fn check_complete(&self, session: &Session, found: &mut Vec<String>) {
        for known in self.messages.iter() {
            let Some((acknowledged, at)) = known.acknowledged else { continue };
            if known.sent.qos == 0
                || known.cancelling
                || known.sent.expiry.is_some()
                || known.sent.empty
                || session.arrived(known.sent.number)
            {
                continue;
            }
            let own = known.sent.publisher == session.client;
            let last = match known.sent.delay {
                None => acknowledged,
                // It may come at any time from when it is due.
                Some(_) if at + known.sent.kept_back() + self.slack.timers > self.now => continue,
                Some(_) => Seq::MAX - 1,
            };
            if session.surely_covers(&known.sent.topic, own, known.first, last) {
                found.push(format!(
                    "{} was acknowledged and never reached {}, which was subscribed from before it was sent",
                    known.sent, session.client
                ));
            }
        }
    }

    fn connecting(&mut self, connecting: &Connecting) {
        let (seq, now) = (self.seq, self.now);
        let client = self.clients.entry(connecting.client.clone()).or_default();
        client.presence.connecting(connecting.connection, connecting.clean_start, now);
        client.latest = connecting.connection;
        client.online = false;
        let overtaken = client.presence.may_be_overtaken_later();
        self.wills.connecting(connecting, now);
        if overtaken {
            self.wills.may_be_overtaken(connecting.connection);
        }
        if let Some(will) = &connecting.will {
            self.messages.publishing(&will.sent, seq, now);
            self.retained.publishing(&will.sent, seq, now);
        }
        let connection = Connection {
            client: connecting.client.clone(),
            connecting: connecting.clone(),
            accepted: false,
            open: Vec::new(),
        };
        self.connections.insert(connecting.connection, connection);
    }

    fn connected(&mut self, number: u64, session_present: Option<bool>) {
        let (seq, now) = (self.seq, self.now);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if std::mem::replace(&mut connection.accepted, true) {
            self.violations
                .push(format!("{} got a second CONNACK on connection {number}", connection.client));
        }
        let asked = connection.connecting.clone();
        let name = connection.client.clone();
        let Some(client) = self.clients.get_mut(&name) else { return };
        client.online = true;
        client.presence.answered_at(now);
        let (may_be_present, may_be_absent) = client.presence.allows(asked.clean_start, self.slack);
        match session_present {
            Some(true) if !may_be_present => {
                self.violations
                    .push(format!("{name} was told that its session is present, and it can't be"));
            }
            Some(false) if !may_be_absent => {
                self.violations.push(format!(
                    "{name} was told that its session is not present, and it has to be"
                ));
            }
            _ => {}
        }
        // Where CONNACK does not tell, a session that may be the old one is taken for it, with doubts.
        let resumed = session_present.unwrap_or(may_be_present);
        let told = session_present.is_some() || !(may_be_present && may_be_absent);
        let (may_be_old, may_be_new) = client.presence.may_be(self.slack);
        let overtaken = client.presence.may_be_overtaken();
        client.presence.connected(asked.expiry);
        if !resumed || !may_be_old {
            if let Some(mut old) = client.session.take() {
                old.ended = Some(seq);
                self.past.push(old);
            }
            client.session = Some(Session::new(&name, seq));
        }
        let session = client.session.get_or_insert_with(|| Session::new(&name, seq));
        if resumed && may_be_old && (may_be_new || !told) {
            session.doubt();
        }
        if resumed && (may_be_new || !told) {
            self.messages.session_may_be_new(&name);
        }
        self.wills.connected(&name, number, told.then_some(resumed), now);
        if overtaken {
            self.wills.may_be_overtaken(number);
        }
    }

    fn disconnecting(&mut self, number: u64, with_will: bool, expiry: Option<Expiry>) {
        let now = self.now;
        if let Some(client) = self.client_of(number) {
            client.online = false;
            client.presence.closing(now);
            if let Some(expiry) = expiry {
                client.presence.changed(expiry);
            }
        }
        if !with_will {
            self.wills.disconnecting(number, now);
        }
    }

    fn lost(&mut self, number: u64) {
        let now = self.now;
        if let Some(client) = self.client_of(number) {
            client.online = false;
            client.presence.closing(now);
        }
        self.wills.lost(number, now);
    }

    fn server_closed(&mut self, number: u64, read_all: bool) {
        let now = self.now;
        let Some(name) = self.connections.get(&number).map(|connection| connection.client.clone())
        else {
            return;
        };
        if let Some(client) = self.clients.get_mut(&name) {
            // If its CONNECT never came to the broker, the connection before it may go on there.
            let unheard = !read_all && client.presence.awaits(number);
            client.presence.closed_unanswered(number);
            if client.latest == number && !unheard {
                client.presence.closed(now);
            }
        }
        self.wills.server_closed(number, read_all, now);
    }

    fn crashed(&mut self) {
        self.crashes += 1;
        self.wills.crashed(self.now);
        for client in self.clients.values_mut() {
            client.presence.crashed(self.now);
        }
    }

    fn recovered(&mut self) {
        self.wills.recovered(self.now);
        for client in self.clients.values_mut() {
            client.presence.recovered(self.now);
        }
    }

    fn publishing(&mut self, sent: &Sent) {
        self.messages.publishing(sent, self.seq, self.now);
        self.retained.publishing(sent, self.seq, self.now);
    }

    fn acknowledged(&mut self, number: u64) {
        self.messages.acknowledged(number, self.seq, self.now);
        if let Some(known) = self.messages.get(number) {
            self.retained.acknowledged(&known.sent.topic, number, self.seq);
        }
    }

    fn subscribing(&mut self, number: u64, request: u16, asked: &[Asked]) {
        let seq = self.seq;
        if asked.iter().any(|asked| filter::exclusive(&asked.filter).is_some()) {
            self.exclusive_asked((number, request));
        }
        if let Some(session) = self.session_of(number) {
            for asked in asked {
                session.subscribing((number, request), asked, seq);
            }
        }
    }

    fn subscribed(&mut self, number: u64, request: u16, granted: &[Option<u8>]) {
        let seq = self.seq;
        let Some(session) = self.session_of(number) else { return };
        if let Some(problem) = session.subscribed((number, request), granted, seq) {
            self.violations.push(problem);
        }
        self.check_exclusive((number, request));
    }

    fn unsubscribing(&mut self, number: u64, request: u16, filters: &[String]) {
        let seq = self.seq;
        if let Some(session) = self.session_of(number) {
            for filter in filters {
                session.unsubscribing((number, request), filter, seq);
            }
        }
    }

    fn unsubscribed(&mut self, number: u64, request: u16) {
        let seq = self.seq;
        if let Some(session) = self.session_of(number) {
            session.unsubscribed((number, request), seq);
        }
    }

    fn answered(&mut self, number: u64, packet_id: u16, answer: Answer) {
        if matches!(answer, Answer::Puback | Answer::Pubcomp)
            && let Some(connection) = self.connections.get_mut(&number)
        {
            connection.open.retain(|open| *open != packet_id);
        }
        if let Some(session) = self.session_of(number) {
            session.answered(packet_id, answer);
        }
    }

    fn released(&mut self, number: u64, packet_id: u16) {
        if let Some(session) = self.session_of(number) {
            session.released(packet_id);
        }
    }

    /// The client of a connection, if it is its latest one.
    fn client_of(&mut self, number: u64) -> Option<&mut Client> {
        let name = &self.connections.get(&number)?.client;
        self.clients.get_mut(name).filter(|client| client.latest == number)
    }

    fn session_of(&mut self, number: u64) -> Option<&mut Session> {
        self.client_of(number)?.session.as_mut()
    }
}
