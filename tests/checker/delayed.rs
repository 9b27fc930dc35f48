//! Delayed messages: published once, not before they are due, and not at all once they are cancelled.
//!
//! ```text
//!   PUBLISH sent     acknowledged
//!        ├── taken ──────┤
//!        ╎  delay        ╎  delay
//!        └──────────────►├──── due ──────┤ published at the latest, while the broker runs
//! ```

use super::Checker;
use super::Delivery;
use super::Slack;
use super::messages::Known;
use super::session::Arrivals;

impl Checker {
    /// What the broker has said is cancelled has not arrived anywhere.
    pub(super) fn check_cancelled(&self, found: &mut Vec<String>) {
        for known in self.messages.iter().filter(|known| known.cancelled && known.is_single()) {
            let number = known.sent.number;
            if let Some(session) = self.all_sessions().find(|session| session.arrived(number)) {
                found.push(format!("{} was cancelled and reached {}", known.sent, session.client));
            }
        }
    }
}

/// It was due when the broker wrote it.
pub(super) fn check_due(known: &Known, delivery: &Delivery, slack: Slack) -> Result<(), String> {
    let due = known.first_at + known.sent.kept_back();
    if known.sent.delay.is_some() && delivery.sent_at + slack.timers / 10 < due {
        return Err(format!("{} arrived before it was due", known.sent));
    }
    Ok(())
}

/// At QoS 0 it is not published twice, whatever happens to the broker. What is above is counted like any message at QoS 2.
pub(super) fn check_once(known: &Known, arrivals: Arrivals, allowed: u32) -> Result<(), String> {
    let delayed = known.sent.delay.is_some() && known.sent.qos == 0;
    if delayed && arrivals.all > allowed {
        return Err(format!("{} arrived {} times", known.sent, arrivals.all));
    }
    Ok(())
}
