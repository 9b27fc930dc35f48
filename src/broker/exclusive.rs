//! `$exclusive/{filter}`: a subscription that one session has at a time, connected or not, until it unsubscribes or ends.
//!
//! It is a row of the session under its whole text, so who holds it is known after a restart; what it covers is told by the
//! filter behind the prefix. Other subscriptions to that filter, of whatever session, are not concerned.
//!
//! **Invariant:** at each place of the log at most one session has an open subscription with one exclusive text.

use crate::access::Action;
use crate::access::Grants;
use crate::broker::Broker;
use crate::broker::subscribe::Refused;
use crate::mqtt::ClientId;
use crate::mqtt::ReasonCode;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::Text;
use crate::mutant::Mutant;
use crate::session::EXCLUSIVE;

impl Broker {
    /// Finds out who holds what, from the sessions that are kept.
    pub(super) fn recover_exclusive(&mut self) {
        if Mutant::ExclusiveForgotten.is_active() {
            return;
        }
        let sessions = self.store.state().sessions();
        let held = sessions.flat_map(|(client_id, session)| {
            let open = session.subscriptions.iter().filter(|(_, row)| row.open_span().is_some());
            let exclusive = open.filter(|(text, _)| text.starts_with(EXCLUSIVE));
            exclusive.map(move |(text, _)| (text.clone(), client_id.clone()))
        });
        self.exclusive = held.collect();
    }

    /// Why a session can't have a subscription that another one holds exclusively. Who that is, is for those who may hear of its
    /// session anyway: it is named to who may subscribe to its events.
    pub(super) fn refuses_exclusive(
        &self,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
        grants: &Grants,
    ) -> Option<Refused> {
        let holder = self.exclusive.get(&**filter.text()).filter(|holder| *holder != client_id)?;
        let events = super::events::filter_of_session(holder);
        let text = if grants.may(Action::Subscribe { filter: &events }).allowed {
            format!("another session has it: {}", holder.as_str())
        } else {
            "another session has it".to_owned()
        };
        Some(Refused { reason: ReasonCode::QuotaExceeded, text: Some(text) })
    }

    /// A session holds a subscription from now on, if it is an exclusive one.
    pub(super) fn hold_exclusive(&mut self, client_id: &ClientId, text: &Text) {
        if text.starts_with(EXCLUSIVE) {
            self.exclusive.insert(text.clone(), client_id.clone());
        }
    }

    /// A subscription has ended: anybody may have it now.
    pub(super) fn free_exclusive(&mut self, client_id: &ClientId, text: &str) {
        if self.exclusive.get(text) == Some(client_id) && !Mutant::ExclusiveKept.is_active() {
            self.exclusive.remove(text);
        }
    }
}
