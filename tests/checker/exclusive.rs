//! Exclusive subscriptions: one session has it at a time, and nobody is refused while nobody has it.

use super::Checker;
use super::Client;
use super::Micros;
use super::Seq;
use super::filter;
use super::session::Session;
use super::session::Span;

/// As often as that the broker lets a session subscribe to the same again before its messages have reached the first time.
const SPANS_MAX: usize = 64;

/// A SUBSCRIBE as it was sent: its connection and packet id.
type Request = (u64, u16);

impl Checker {
    /// Notes when something was asked for exclusively.
    pub(super) fn exclusive_asked(&mut self, request: Request) {
        self.exclusive_asked.insert(request, (self.seq, self.now));
    }

    /// A SUBACK came: what it grants nobody else has, what it refuses somebody else may have.
    pub(super) fn check_exclusive(&mut self, request: Request) {
        let Some((asked, asked_at)) = self.exclusive_asked.remove(&request) else { return };
        let Some(name) = self.connections.get(&request.0).map(|known| known.client.clone()) else {
            return;
        };
        let Some(client) = self.clients.get(&name) else { return };
        let Some(session) = &client.session else { return };
        let answered = session.spans.iter().filter(|span| span.is_of(request));
        for span in answered.filter(|span| filter::exclusive(&span.asked.filter).is_some()) {
            let what = &span.asked.filter;
            let mut others = self.clients.iter().filter(|(other, _)| **other != name);
            if span.refused {
                let past = self.past.iter().filter(|session| session.client != name);
                let had = past.filter(|session| session.ended.is_none_or(|ended| ended > asked));
                let free = !others.any(|(_, other)| may_have(other, what, asked, asked_at))
                    && !had.into_iter().any(|session| has_span(session, what, asked));
                let granted = |span: &&Span| span.asked.filter == *what && !span.refused;
                let again = session.spans.iter().filter(granted).count();
                if free && again < SPANS_MAX && !self.refuses_subscriptions {
                    self.violations.push(format!("{name} was refused {what}, and nobody has it"));
                }
            } else if surely_has(client, what)
                && let Some((other, _)) = others.find(|(_, other)| surely_has(other, what))
            {
                self.violations.push(format!("{name} was granted {what}, and {other} has it"));
            }
        }
    }
}

/// Whether a client's session has the subscription, whatever is on its way.
fn surely_has(client: &Client, what: &str) -> bool {
    let Some(session) = client.session.as_ref().filter(|_| client.presence.surely_stays()) else {
        return false;
    };
    let granted = |span: &Span| span.granted.is_some() && span.ending.is_none();
    session.spans.iter().any(|span| span.asked.filter == what && granted(span))
}

/// Whether a client's session may have had the subscription at some time since.
fn may_have(client: &Client, what: &str, since: Seq, since_at: Micros) -> bool {
    let session = client.session.as_ref().filter(|_| client.presence.may_live_since(since_at));
    session.is_some_and(|session| has_span(session, what, since))
}

fn has_span(session: &Session, what: &str, since: Seq) -> bool {
    let had = |span: &Span| !span.refused && span.may_cover(since, Seq::MAX);
    session.spans.iter().any(|span| span.asked.filter == what && had(span))
}
