//! AUTH from a client that is connected: re-authentication.

use crate::access::Step;
use crate::broker::Broker;
use crate::broker::connect::challenge;
use crate::broker::connect::checked_auth;
use crate::mqtt::Auth;
use crate::mqtt::Packet;
use crate::mqtt::ReasonCode;
use crate::mqtt::Violation;

impl Broker {
    pub(super) fn handle_auth(&mut self, slot: usize, auth: &Auth) {
        let nonce = self.random.bytes();
        let Some(connected) =
            self.connections.get_mut(slot).and_then(|connection| connection.connected_mut())
        else {
            return;
        };
        let Some(method) = connected.authentication_method.clone() else {
            return self.violated(slot, Violation::AuthUnexpected);
        };
        let exchange = connected.exchange.take();
        let step = if auth.reason_code == ReasonCode::ReAuthenticate {
            if auth.authentication_method.as_ref() != Some(&method) {
                return self.violated(slot, Violation::AuthMethodChanged);
            }
            let user = connected.user.clone();
            self.access.reauthenticate(
                user.as_ref(),
                &method,
                auth.authentication_data.as_ref(),
                nonce,
            )
        } else {
            match checked_auth(auth, ReasonCode::ContinueAuthentication, Some(&method), exchange) {
                Ok((exchange, method)) => {
                    self.access.authenticate(exchange, &method, auth.authentication_data.as_ref())
                }
                Err(violation) => return self.violated(slot, violation),
            }
        };
        match step {
            Step::Accept(accepted) => {
                let mut auth = Auth::new(ReasonCode::Success, method);
                auth.authentication_data = accepted.data;
                self.send(slot, &Packet::Auth(Box::new(auth)));
            }
            Step::Continue { exchange, data } => {
                if let Some(connected) =
                    self.connections.get_mut(slot).and_then(|connection| connection.connected_mut())
                {
                    connected.exchange = Some(exchange);
                }
                self.send(slot, &challenge(method, data));
            }
            // A failed re-authentication ends the connection [MQTT-4.12.1-2]. Passwords are never part of it.
            Step::Refuse(refusal) => self.disconnect(slot, refusal.reason_code(), None),
            Step::Verify(_) => self.disconnect(slot, ReasonCode::BadAuthenticationMethod, None),
        }
    }
}
