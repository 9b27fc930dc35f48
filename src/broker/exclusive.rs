//! `$exclusive/{filter}`: a subscription that one session has at a time, connected or not, until it unsubscribes or ends.
//!
//! It is a row of the session under its whole text, so who holds it is known after a restart; what it covers is told by the
//! filter behind the prefix.

use crate::broker::Broker;
use crate::mqtt::ClientId;
use crate::mqtt::ReasonCode;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::Text;
use crate::session::EXCLUSIVE;

impl Broker {
    /// Finds out who holds what, from the sessions that are kept.
    pub(super) fn recover_exclusive(&mut self) {
        let sessions = self.store.state().sessions();
        let held = sessions.flat_map(|(client_id, session)| {
            let open = session.subscriptions.iter().filter(|(_, row)| row.open_span().is_some());
            let exclusive = open.filter(|(text, _)| text.starts_with(EXCLUSIVE));
            exclusive.map(move |(text, _)| (text.clone(), client_id.clone()))
        });
        self.exclusive = held.collect();
    }

    /// Why a subscription is refused because of what is held exclusively, if it is. A session has a filter exclusively or not, never both.
    pub(super) fn refuses_exclusive(
        &self,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
    ) -> Option<ReasonCode> {
        let text: &str = filter.text();
        let Some(inner) = filter.filter().strip_prefix(EXCLUSIVE) else {
            let twin = Text::try_from(format!("{EXCLUSIVE}{text}")).ok()?;
            let held = self.exclusive.get(&twin) == Some(client_id);
            return held.then_some(ReasonCode::TopicFilterInvalid);
        };
        let session = self.store.state().session(client_id);
        let twin = session.and_then(|session| session.subscriptions.get(inner));
        let both = twin.is_some_and(|row| row.open_span().is_some());
        if filter.is_shared() || inner.is_empty() || inner.starts_with('$') || both {
            return Some(ReasonCode::TopicFilterInvalid);
        }
        let holder = self.exclusive.get(text);
        holder.is_some_and(|holder| holder != client_id).then_some(ReasonCode::QuotaExceeded)
    }

    /// A session holds a subscription from now on, if it is an exclusive one.
    pub(super) fn hold_exclusive(&mut self, client_id: &ClientId, text: &Text) {
        if text.starts_with(EXCLUSIVE) {
            self.exclusive.insert(text.clone(), client_id.clone());
        }
    }

    /// A subscription has ended: anybody may have it now.
    pub(super) fn free_exclusive(&mut self, client_id: &ClientId, text: &str) {
        if self.exclusive.get(text) == Some(client_id) {
            self.exclusive.remove(text);
        }
    }
}
