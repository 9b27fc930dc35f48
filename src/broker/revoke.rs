//! New passwords and rules: what they no longer allow ends.
//!
//! Live messages are not held against the rules one by one, so a subscription that is no longer allowed is ended as if the client had
//! unsubscribed; a client whose user is gone is disconnected.

use std::sync::Arc;

use crate::access::Action;
use crate::access::Grants;
use crate::access::Identity;
use crate::broker::Broker;
use crate::broker::client::ClientRef;
use crate::broker::connection::Connection;
use crate::broker::coverage::filter_in;
use crate::mqtt::ClientId;
use crate::mqtt::ReasonCode;
use crate::mqtt::SubscriptionFilter;

impl Broker {
    /// The files were read again; files that are wrong change nothing.
    pub(super) fn handle_access_read(&mut self, passwords: Option<&str>, acl: Option<&str>) {
        match self.access.reload(passwords, acl) {
            Ok(access) => {
                self.access = access;
                tracing::info!("passwords and rules were read again");
                let clients: Vec<ClientRef> =
                    self.clients.iter().filter_map(|(slot, _)| self.client_ref(slot)).collect();
                for client in clients {
                    self.apply_rules(client);
                }
            }
            Err(error) => tracing::error!(%error, "passwords and rules stay as they were"),
        }
    }

    fn apply_rules(&mut self, client: ClientRef) {
        let Some(known) = self.clients.get(client.index()) else { return };
        let (slot, client_id) = (known.connection, known.id.clone());
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Some(identity) = identity_of(connection, &client_id) else { return };
        // A user from a certificate is in no password file.
        let by_password = identity.certificate_name.is_none();
        let user = identity.user_name.as_ref().filter(|_| by_password);
        if user.is_some_and(|user| self.access.knows(user) == Some(false)) {
            return self.disconnect(slot, ReasonCode::NotAuthorized, Some("the user was removed"));
        }
        let grants = self.access.grants(&identity);
        if let Some(connected) = connection.connected_mut() {
            connected.grants = grants.clone();
        }
        self.end_subscriptions_denied(client, &client_id, &grants);
    }

    /// Ends the subscriptions of a session that the rules do not allow.
    pub(super) fn end_subscriptions_denied(
        &mut self,
        client: ClientRef,
        client_id: &ClientId,
        grants: &Grants,
    ) {
        for (text, _) in self.open_grants(client_id) {
            let Ok(filter) = SubscriptionFilter::parse(&text) else { continue };
            if !grants.may(Action::Subscribe { filter: filter_in(filter.filter()) }).allowed {
                tracing::info!(
                    client = client_id.as_str(),
                    filter = &*text,
                    "the subscription is no longer allowed"
                );
                self.unsubscribe(client, client_id, &filter);
            }
        }
    }
}

fn identity_of(connection: &Connection, client_id: &ClientId) -> Option<Identity> {
    let connected = connection.connected()?;
    Some(Identity {
        client_id: client_id.clone(),
        user_name: connected.user.clone(),
        certificate_name: connection.origin.certificate_name.clone(),
        listener: Arc::clone(&connection.origin.listener),
        peer: Arc::clone(&connection.origin.peer),
    })
}
