//! The scenarios: who publishes what to whom, with which settings, and what is to be reached.

mod backlog;
mod group;
mod lockstep;
mod mixture;
mod storm;
mod table;
mod wildcards;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::goal::Goal;
use crate::peer::Kind;
use crate::peer::Peer;
use crate::run;
use crate::run::Pace;
use crate::run::Shape;
use crate::transport::Carrier;

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The scenario it belongs to.
    pub(crate) scenario: &'static str,
    pub(crate) title: &'static str,
    /// `key=value` for Tidelog.
    pub(crate) settings: &'static [&'static str],
    pub(crate) carrier: Carrier,
    /// Whether the others have nothing like it.
    pub(crate) ours_only: bool,
    pub(crate) work: Work,
    pub(crate) goals: &'static [Goal],
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// As many messages as the broker takes.
    Stream(Shape),
    /// The same with many others about.
    Mixture(Shape),
    /// One message after the other, each when the last one was acknowledged.
    Lockstep,
    /// A group shares what many publish at a fixed rate.
    Group,
    /// Sessions come back to what was kept for them.
    Backlog,
    /// Many connect, and then do nothing.
    Storm,
    /// Topics that were never seen, with so many wildcard subscriptions about.
    Wildcards(usize),
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) pace: Pace,
    /// For cases that have a number of messages.
    pub(crate) messages: u64,
    /// For cases that have a number of connections.
    pub(crate) connections: usize,
}

/// The names of all scenarios, in order.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = table::CASES.iter().map(|case| case.scenario).collect();
    names.dedup();
    names
}

/// The cases of these scenarios, in order.
pub(crate) fn cases(scenarios: &[String]) -> Vec<Case> {
    let wanted = |case: &&Case| scenarios.iter().any(|name| name == case.scenario);
    table::CASES.iter().filter(wanted).copied().collect()
}

impl Case {
    /// Whether this broker can take part.
    pub(crate) fn can(&self, peer: &Peer) -> bool {
        peer.kind == Kind::Tidelog || (!self.ours_only && peer.carries(self.carrier))
    }

    /// Does it, with a broker that was just started.
    pub(crate) fn run(&self, peer: &Peer, broker: &mut Broker, scale: &Scale) -> Figures {
        match &self.work {
            Work::Stream(shape) => run::stream(broker, shape, scale.pace),
            Work::Mixture(shape) => mixture::run(broker, shape, scale.pace),
            Work::Lockstep => lockstep::run(broker, scale.pace),
            Work::Group => group::run(broker, scale.pace),
            Work::Backlog => backlog::run(broker, peer.is_durable(), scale.messages),
            Work::Storm => storm::run(broker, scale),
            Work::Wildcards(filters) => wildcards::run(broker, *filters, scale.messages),
        }
    }
}
