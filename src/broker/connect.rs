//! CONNECT: check it, find out who it is, answer.

use std::sync::Arc;

use bytes::Bytes;

use crate::access::Accepted;
use crate::access::Action;
use crate::access::ConnectRequest;
use crate::access::Exchange;
use crate::access::Identity;
use crate::access::Refusal;
use crate::access::Step;
use crate::access::Verdict;
use crate::broker::Awaited;
use crate::broker::Broker;
use crate::broker::connection::Connecting;
use crate::broker::connection::Phase;
use crate::broker::event::Output;
use crate::mqtt::Auth;
use crate::mqtt::ClientId;
use crate::mqtt::Connect;
use crate::mqtt::Packet;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::mqtt::Violation;
use crate::mqtt::topic_levels;

impl Broker {
    pub(super) fn handle_connect(&mut self, slot: usize, connect: Connect) {
        let packet_size_max = connect
            .maximum_packet_size
            .map_or(usize::MAX, |size| usize::try_from(size.get()).unwrap_or(usize::MAX));
        let nonce = self.random.bytes();
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.outbox.set_client(connect.version, packet_size_max);
        let request = ConnectRequest {
            user_name: connect.user_name.as_ref(),
            password: connect.password.as_ref(),
            authentication_method: connect.authentication_method.as_ref(),
            authentication_data: connect.authentication_data.as_ref(),
            certificate_user: connection.origin.certificate_name.as_ref(),
            anonymous_allowed: connection.origin.anonymous,
            nonce,
            now: self.now,
        };
        let step = self.access.begin(&request);
        let too_long = connect.client_id.len() > self.options.client_id_bytes_max;
        let refused = too_long || !may_be_empty(&connect) && connect.client_id.is_empty();
        connection.phase =
            Phase::Connecting(Box::new(Connecting { connect, ticket: None, exchange: None }));
        if refused {
            return self.refuse_connect(
                slot,
                ReasonCode::ClientIdentifierNotValid,
                Some("the client identifier is missing or too long"),
            );
        }
        self.go_on_connecting(slot, step);
    }

    /// AUTH between CONNECT and CONNACK.
    pub(super) fn handle_connect_auth(&mut self, slot: usize, auth: &Auth) {
        let Some(Phase::Connecting(connecting)) =
            self.connections.get_mut(slot).map(|connection| &mut connection.phase)
        else {
            return;
        };
        let exchange = connecting.exchange.take();
        let method = connecting.connect.authentication_method.clone();
        match checked_auth(auth, ReasonCode::ContinueAuthentication, method.as_ref(), exchange) {
            Ok((exchange, method)) => {
                let step =
                    self.access.authenticate(exchange, &method, auth.authentication_data.as_ref());
                self.go_on_connecting(slot, step);
            }
            Err(violation) => self.violated(slot, violation),
        }
    }

    pub(super) fn handle_verified(&mut self, ticket: u64, verdict: Verdict) {
        let Some(Awaited::Password(id)) = self.tickets.remove(&ticket) else { return };
        let step = self.access.verified(verdict, self.now);
        let Some(slot) = self.connection_slots.get(&id).copied() else { return };
        let Some(Phase::Connecting(connecting)) =
            self.connections.get_mut(slot).map(|connection| &mut connection.phase)
        else {
            return;
        };
        connecting.ticket = None;
        self.go_on_connecting(slot, step);
        self.resume(slot);
    }

    fn go_on_connecting(&mut self, slot: usize, step: Step) {
        match step {
            Step::Accept(accepted) => self.accept_connect(slot, accepted),
            Step::Refuse(refusal) => self.refuse_for(slot, refusal),
            Step::Verify(job) => {
                let Some(id) = self.connections.get(slot).map(|connection| connection.id) else {
                    return;
                };
                let ticket = self.ticket(Awaited::Password(id));
                if let Some(Phase::Connecting(connecting)) =
                    self.connections.get_mut(slot).map(|connection| &mut connection.phase)
                {
                    connecting.ticket = Some(ticket);
                }
                self.outputs.push_back(Output::Verify { ticket, job });
            }
            Step::Continue { exchange, data } => {
                let Some(Phase::Connecting(connecting)) =
                    self.connections.get_mut(slot).map(|connection| &mut connection.phase)
                else {
                    return;
                };
                connecting.exchange = Some(exchange);
                let method = connecting.connect.authentication_method.clone().unwrap_or_default();
                self.send(slot, &challenge(method, data));
            }
        }
    }

    fn refuse_for(&mut self, slot: usize, refusal: Refusal) {
        let (client, user) =
            self.connections.get(slot).map_or((None, None), |connection| connection.claims());
        tracing::debug!(client, user, %refusal, "not let in");
        self.refuse_connect(slot, refusal.reason_code(), None);
    }

    /// The client is who it says. What is left: may its will be published, and is the session its own.
    fn accept_connect(&mut self, slot: usize, accepted: Accepted) {
        let assigned = self.new_client_id();
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let Phase::Connecting(connecting) = std::mem::replace(&mut connection.phase, Phase::New)
        else {
            return;
        };
        let connect = connecting.connect;
        let given = ClientId::try_from(connect.client_id.clone()).ok().filter(|id| !id.is_empty());
        let identity = Identity {
            client_id: given.clone().unwrap_or_else(|| assigned.clone()),
            user_name: accepted.user_name.clone(),
            certificate_name: connection.origin.certificate_name.clone(),
            listener: Arc::clone(&connection.origin.listener),
            peer: Arc::clone(&connection.origin.peer),
        };
        let grants = self.access.grants(&identity);
        let refused = self.refuses_connect(&connect, &identity, &grants);
        if let Some((reason, text)) = refused {
            let connecting = Connecting { connect, ticket: None, exchange: None };
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.phase = Phase::Connecting(Box::new(connecting));
            }
            return self.refuse_connect(slot, reason, Some(text));
        }
        let assigned = given.is_none().then_some(assigned);
        self.attach(slot, &connect, identity, grants, assigned, accepted.data);
    }

    fn refuses_connect(
        &self,
        connect: &Connect,
        identity: &Identity,
        grants: &crate::access::Grants,
    ) -> Option<(ReasonCode, &'static str)> {
        if let Some(will) = &connect.will {
            let action = Action::Publish { topic: &will.topic, retain: will.retain, qos: will.qos };
            if will.topic.starts_with('$')
                || topic_levels(&will.topic) > self.options.topic_levels_max
            {
                return Some((
                    ReasonCode::TopicNameInvalid,
                    "the will's topic is not one that clients publish to",
                ));
            }
            if !grants.may(action).allowed {
                return Some((ReasonCode::NotAuthorized, "the will may not be published"));
            }
            let text = self.options.check_payload_format
                && will.properties.payload_format_indicator == Some(true);
            if text && simdutf8::basic::from_utf8(&will.payload).is_err() {
                return Some((ReasonCode::PayloadFormatInvalid, "the will's payload is not UTF-8"));
            }
        }
        let known = self.store.state().session(&identity.client_id);
        let row = known.and_then(|session| session.session.as_ref());
        if row.is_some_and(|row| row.user != identity.user_name) {
            return Some((ReasonCode::NotAuthorized, "the session belongs to another user"));
        }
        if let Some(refused) = self.refuses_to_remember(connect, &identity.client_id) {
            return Some(refused);
        }
        if row.is_none() && self.store.state().session_count() >= self.options.sessions_max {
            return Some((ReasonCode::QuotaExceeded, "too many sessions"));
        }
        None
    }

    /// A client id that no session has [MQTT-3.1.3-6, MQTT-3.2.2-16].
    fn new_client_id(&mut self) -> ClientId {
        loop {
            let random: [u8; 16] = self.random.bytes();
            let digits: String = random
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .filter_map(|digit| char::from_digit(u32::from(digit), 16))
                .collect();
            if let Ok(id) = ClientId::try_from(format!("tidelog-{digits}"))
                && self.store.state().session(&id).is_none()
            {
                return id;
            }
        }
    }
}

/// Whether the server may choose the client id: version 3.1 has no such thing, and in 3.1.1 only a clean session can be without one
/// [3.1.1 MQTT-3.1.3-8].
fn may_be_empty(connect: &Connect) -> bool {
    match connect.version {
        ProtocolVersion::V3_1 => false,
        ProtocolVersion::V3_1_1 => connect.clean_start,
        ProtocolVersion::V5 => true,
    }
}

/// AUTH 0x18 with the next challenge [MQTT-4.12.0-2].
pub(super) fn challenge(method: Text, data: Bytes) -> Packet {
    let mut auth = Auth::new(ReasonCode::ContinueAuthentication, method);
    auth.authentication_data = Some(data).filter(|data| !data.is_empty());
    Packet::Auth(Box::new(auth))
}

/// An AUTH that fits the exchange under way: its reason code, and the method of CONNECT [MQTT-4.12.0-5].
pub(super) fn checked_auth(
    auth: &Auth,
    reason: ReasonCode,
    method: Option<&Text>,
    exchange: Option<Exchange>,
) -> Result<(Exchange, Text), Violation> {
    let (Some(method), Some(exchange)) = (method, exchange) else {
        return Err(Violation::AuthUnexpected);
    };
    if auth.authentication_method.as_ref() != Some(method) {
        return Err(Violation::AuthMethodChanged);
    }
    if auth.reason_code != reason {
        return Err(Violation::AuthUnexpected);
    }
    Ok((exchange, method.clone()))
}
