//! One rule of an ACL file.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::Identity;
use crate::mqtt::QoS;
use crate::mqtt::escaped_level;

use super::Action;
use super::Outcome;
use super::is_about;

/// One line that allows or denies.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) text: Box<str>,
    pub(super) allow: bool,
    pub(super) who: Who,
    pub(super) what: What,
    pub(super) filter: Pattern,
    /// Only messages with the RETAIN flag.
    pub(super) retained: bool,
    /// Only messages of these `QoS`; empty for all.
    pub(super) qos: Vec<QoS>,
}

/// Whom a rule is about.
#[derive(Clone, Debug)]
pub(super) enum Who {
    All,
    Anonymous,
    Authenticated,
    User(Box<str>),
    Client(Box<str>),
    Certificate(Box<str>),
    Listener(Box<str>),
    /// The users of a group.
    Group(Arc<BTreeSet<Box<str>>>),
}

impl Who {
    pub(super) fn includes(&self, identity: &Identity) -> bool {
        let user = identity.user_name.as_deref();
        match self {
            Self::All => true,
            Self::Anonymous => user.is_none(),
            Self::Authenticated => user.is_some(),
            Self::User(name) => user == Some(name),
            Self::Client(id) => *identity.client_id == **id,
            Self::Certificate(name) => identity.certificate_name.as_deref() == Some(name),
            Self::Listener(name) => *identity.listener == **name,
            Self::Group(users) => user.is_some_and(|user| users.contains(user)),
        }
    }
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Publish,
    Subscribe,
    Both,
}

impl Rule {
    /// Whether the rule decides about this action of a client that it is about. `filter` is its filter with the
    /// client's names put in.
    pub(super) fn applies(&self, filter: &str, action: Action<'_>) -> bool {
        self.is_for(action) && is_about(filter, self.allow, action)
    }

    /// Whether the rule decides about this action of this client, and if not, why.
    pub(super) fn outcome(&self, action: Action<'_>, identity: &Identity) -> Outcome {
        if !self.who.includes(identity) {
            return Outcome::OtherClient;
        }
        if !self.is_for(action) {
            return Outcome::OtherAction;
        }
        match self.filter.substitute(identity) {
            None => Outcome::NotSubstituted,
            Some(filter) if self.applies(&filter, action) => Outcome::Applies,
            Some(_) => Outcome::OtherTopic,
        }
    }

    fn is_for(&self, action: Action<'_>) -> bool {
        match action {
            Action::Publish { retain, qos, .. } => {
                let this_qos = self.qos.is_empty() || self.qos.contains(&qos);
                self.what != What::Subscribe && (retain || !self.retained) && this_qos
            }
            Action::Subscribe { .. } | Action::Receive { .. } => self.what != What::Publish,
        }
    }
}

/// A filter in which `%u` and `%c` may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The filter itself if nothing is to be put in.
    pub(super) text: Arc<str>,
    /// Its parts if something is.
    pub(super) parts: Vec<Part>,
}

/// A part of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(Box<str>),
    User,
    Client,
}

impl Pattern {
    /// The filter for one client; `None` if there can't be one.
    pub(super) fn substitute(&self, identity: &Identity) -> Option<Arc<str>> {
        if self.parts.is_empty() {
            return Some(Arc::clone(&self.text));
        }
        let mut filter = String::new();
        for part in &self.parts {
            let is_event = filter.starts_with(EVENTS);
            match part {
                // As the topics of events have it: else one client's id could be another's level.
                Part::Client if is_event => filter.push_str(&escaped_level(&identity.client_id)),
                Part::Text(text) => filter.push_str(text),
                Part::User => put_in(&mut filter, identity.user_name.as_deref()?)?,
                Part::Client => put_in(&mut filter, &identity.client_id)?,
            }
        }
        Some(filter.into())
    }
}

/// What the topics of events begin with.
const EVENTS: &str = "$events/";

/// Puts a name in, unless it would change what the filter's other levels mean.
fn put_in(filter: &mut String, name: &str) -> Option<()> {
    let hidden = filter.is_empty() && name.starts_with('$');
    let harmless = !name.is_empty() && !name.contains(['+', '#', '/']) && !hidden;
    harmless.then(|| filter.push_str(name))
}
