//! The retained message of each topic, as a register whose writes may overlap.
//!
//! A write took effect somewhere between its first sending and its acknowledgement. One write surely came before another if it was
//! acknowledged before the other was first sent, or if the same client sent it earlier at QoS 0, which is never sent again.

use std::collections::BTreeMap;

use super::Micros;
use super::Sent;
use super::Seq;
use super::Slack;

struct Write {
    sent: Sent,
    first: Seq,
    at: Micros,
    acknowledged: Option<Seq>,
}

impl Write {
    /// Whether this write had surely taken effect before `other` did.
    fn precedes(&self, other: &Self) -> bool {
        let same_publisher = self.sent.publisher == other.sent.publisher
            && !self.sent.is_will
            && !other.sent.is_will;
        self.acknowledged.is_some_and(|seq| seq < other.first)
            || (same_publisher && self.sent.qos == 0 && self.sent.number < other.sent.number)
    }

    fn may_have_expired(&self, now: Micros, slack: Slack) -> bool {
        self.sent
            .expiry
            .is_some_and(|expiry| self.at + u64::from(expiry) * 1_000_000 <= now + slack.timers)
    }
}

/// The retained writes of every topic.
#[derive(Default)]
pub(super) struct Retained {
    topics: BTreeMap<String, Vec<Write>>,
    slack: Slack,
}

impl Retained {
    pub(super) fn with_slack(slack: Slack) -> Self {
        Self { slack, ..Self::default() }
    }

    pub(super) fn publishing(&mut self, sent: &Sent, first: Seq, at: Micros) {
        if !sent.retain {
            return;
        }
        let writes = self.topics.entry(sent.topic.clone()).or_default();
        if writes.iter().all(|write| write.sent.number != sent.number) {
            writes.push(Write { sent: sent.clone(), first, at, acknowledged: None });
        }
    }

    /// Whether a write was surely overwritten before `before`.
    pub(super) fn is_stale(&self, topic: &str, number: u64, before: Seq) -> Option<u64> {
        let writes = self.topics.get(topic)?;
        let write = writes.iter().find(|write| write.sent.number == number)?;
        let over = writes.iter().find(|other| {
            other.acknowledged.is_some_and(|seq| seq < before) && write.precedes(other)
        });
        over.map(|other| other.sent.number)
    }

    /// Brings in what the messages know about acknowledgements.
    pub(super) fn acknowledged(&mut self, topic: &str, number: u64, seq: Seq) {
        let write = self
            .topics
            .get_mut(topic)
            .and_then(|writes| writes.iter_mut().find(|write| write.sent.number == number));
        if let Some(write) = write {
            write.acknowledged.get_or_insert(seq);
        }
    }

    /// Compares what a new subscriber to everything got with what may be there.
    pub(super) fn check(
        &self,
        audit: &BTreeMap<String, Option<u64>>,
        now: Micros,
        found: &mut Vec<String>,
    ) {
        for (topic, writes) in &self.topics {
            let last = |write: &&Write| {
                !writes.iter().any(|other| other.acknowledged.is_some() && write.precedes(other))
            };
            let candidates: Vec<&Write> = writes.iter().filter(last).collect();
            let untouched = writes.iter().all(|write| write.acknowledged.is_none());
            let got = audit.get(topic).copied().flatten();
            let fine = match got {
                None => {
                    untouched
                        || candidates.iter().any(|write| {
                            write.sent.empty || write.may_have_expired(now, self.slack)
                        })
                }
                Some(number) => {
                    candidates.iter().any(|write| write.sent.number == number && !write.sent.empty)
                }
            };
            if !fine {
                let allowed: Vec<u64> = candidates.iter().map(|write| write.sent.number).collect();
                found.push(format!(
                    "retained on {topic} is {got:?}, and may only be one of {allowed:?}"
                ));
            }
        }
        for topic in audit.keys().filter(|topic| !self.topics.contains_key(*topic)) {
            found
                .push(format!("a retained message on {topic}, on which nothing was ever retained"));
        }
    }
}
