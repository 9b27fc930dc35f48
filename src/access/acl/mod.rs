//! The ACL file: who may publish and subscribe to what.
//!
//! One rule a line, read from the top; **the first that applies decides**. If none does, the answer is no, unless the
//! file says `default allow`. Lines that begin with `#` are comments; a word with spaces in it stands in `"..."`.
//!
//! ```text
//! allow user alice publish sensors/%u/#
//! allow group operators readwrite plant/#
//! deny  all publish plant/+/config retained
//! allow authenticated subscribe news/#
//! allow all subscribe $SYS/#
//! group operators bob carol
//!
//! rule   = ("allow" | "deny") who what filter ["retained"] ["qos" numbers]
//! who    = "all" | "anonymous" | "authenticated"
//!        | ("user" | "client" | "certificate" | "listener" | "group") name
//! what   = "publish" | "subscribe" | "readwrite"
//! group  = "group" name user...          (users; may stand anywhere, and be continued on another line)
//! default = "default" ("allow" | "deny") (once)
//! ```
//!
//! When a rule applies:
//!
//! - to a **published topic** (a Will's topic too) if its filter matches it. With `retained` only to a PUBLISH with the
//!   RETAIN flag, with `qos 1,2` only to those of that `QoS`;
//! - to a **topic that is received** (a retained message, say) if its filter matches it;
//! - to a **subscription** an `allow` applies if its filter *covers* what is asked for: every topic that could be
//!   received is matched by the rule. A `deny` applies if they *overlap*: some topic is matched by both.
//!
//! So if a subscription is allowed, so is every topic that it can bring, one by one; a test holds that.
//!
//! - `%u` and `%c` stand for the user name and the client id, `%%` for a percent sign. A name that is empty or contains
//!   `+`, `#` or `/`, or that begins with `$` at the start of the filter, is never put in: the rule does not apply to
//!   that client, neither do those that `deny`. An anonymous client has no `%u`. Behind `$events/` a client id is put in as the topics
//!   of events have it, whatever it contains: `%`, `/`, `+` and `#` as `%25`, `%2F`, `%2B` and `%23`.
//! - As in subscriptions, `#` and `+` at the first level do not stand for topics that begin with `$`: `$SYS/#` wants
//!   its own rule. A shared subscription is asked for by its filter, without `$share/name/`.

mod parse;
mod rule;

use std::fmt;
use std::sync::Arc;

use crate::mqtt::QoS;

use super::Identity;
use super::cover::covers;
use super::cover::overlaps;
use rule::Rule;

pub use parse::AclError;
pub use parse::AclErrorKind;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish a message, now or as its Will.
    Publish {
        /// Its topic name.
        topic: &'a str,
        /// Its RETAIN flag.
        retain: bool,
        /// Its quality of service.
        qos: QoS,
    },
    /// Subscribe.
    Subscribe {
        /// The topic filter, of a shared subscription with or without `$share/name/`.
        filter: &'a str,
    },
    /// Receive a message that it did not wait for when it subscribed: a retained one.
    Receive {
        /// Its topic name.
        topic: &'a str,
    },
}

/// The answer, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the client may.
    pub allowed: bool,
    /// The line of the rule that decided, from 1; `None` if no rule applied.
    pub rule: Option<usize>,
}

/// An ACL file, read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acl {
    rules: Arc<[Rule]>,
    default_allowed: bool,
}

impl Acl {
    /// Everybody may do everything: what holds while there is no file.
    pub fn open() -> Self {
        Self { rules: Arc::from([]), default_allowed: true }
    }

    /// Reads the text of an ACL file.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        let (rules, default_allowed) = parse::parse(text)?;
        Ok(Self { rules: rules.into(), default_allowed })
    }

    /// The rules that are about one client, its names put in: made once at CONNECT, asked for every packet.
    pub fn grants(&self, identity: &Identity) -> Grants {
        let about = |(number, rule): (usize, &Rule)| {
            let filter = rule.who.includes(identity).then(|| rule.filter.substitute(identity))?;
            Some((number, filter?))
        };
        let rules = self.rules.iter().enumerate().filter_map(about).collect();
        Grants { acl: self.clone(), rules }
    }

    /// Every rule up to the one that decides, and why the others did not.
    pub fn explain(&self, action: Action<'_>, identity: &Identity) -> Explanation {
        let decision = self.grants(identity).may(action);
        let until = decision.rule.unwrap_or(usize::MAX);
        let considered = self.rules.iter().take_while(|rule| rule.line <= until);
        let reasons = considered.map(|rule| Reason {
            line: rule.line,
            rule: rule.text.clone(),
            outcome: rule.outcome(action, identity),
        });
        Explanation { decision, reasons: reasons.collect() }
    }
}

/// What one client may do.
#[derive(Clone, Debug)]
pub struct Grants {
    acl: Acl,
    /// The rules about this client by their number, with its names put into their filters.
    rules: Box<[(usize, Arc<str>)]>,
}

impl Grants {
    /// Whether the client may do this.
    pub fn may(&self, action: Action<'_>) -> Decision {
        let rule = |(number, filter): &(usize, Arc<str>)| {
            self.acl.rules.get(*number).filter(|rule| rule.applies(filter, action))
        };
        let deciding = self.rules.iter().find_map(rule);
        deciding.map_or(Decision { allowed: self.acl.default_allowed, rule: None }, |rule| {
            Decision { allowed: rule.allow, rule: Some(rule.line) }
        })
    }
}

/// How a decision came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The answer.
    pub decision: Decision,
    /// The rules that were looked at, in order.
    pub reasons: Vec<Reason>,
}

/// What one rule had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its line, from 1.
    pub line: usize,
    /// Its text.
    pub rule: Box<str>,
    /// Whether it applied.
    pub outcome: Outcome,
}

/// Whether a rule applied, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It decides.
    Applies,
    /// It is about other clients.
    OtherClient,
    /// It is about something else than publishing or subscribing, or about other messages.
    OtherAction,
    /// The client's name or id can't stand in a filter.
    NotSubstituted,
    /// Its filter is about other topics.
    OtherTopic,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applies => "decides",
            Self::OtherClient => "is about other clients",
            Self::OtherAction => "is about another action",
            Self::NotSubstituted => "can't take this client's name into its filter",
            Self::OtherTopic => "is about other topics",
        })
    }
}

impl fmt::Display for Explanation {
    /// A line for each rule, then the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reason in &self.reasons {
            writeln!(f, "line {}: `{}` {}", reason.line, reason.rule, reason.outcome)?;
        }
        let verdict = if self.decision.allowed { "allowed" } else { "denied" };
        match self.decision.rule {
            Some(line) => write!(f, "{verdict} by line {line}"),
            None => write!(f, "{verdict} because no rule applies"),
        }
    }
}

/// Whether a rule's filter is about an action: see the module's text.
fn is_about(filter: &str, allow: bool, action: Action<'_>) -> bool {
    match action {
        Action::Publish { topic, .. } | Action::Receive { topic } => covers(filter, topic),
        Action::Subscribe { filter: asked } if allow => covers(filter, without_share(asked)),
        Action::Subscribe { filter: asked } => overlaps(filter, without_share(asked)),
    }
}

/// The filter of a shared subscription; any other as it is [MQTT-4.8.2-1].
fn without_share(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}
