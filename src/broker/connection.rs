//! A Network Connection as the core sees it: what it speaks, what it may send, what goes to it.

use crate::access::Exchange;
use crate::access::Grants;
use crate::broker::event::ConnectionId;
use crate::broker::event::Origin;
use crate::broker::outbox::Outbox;
use crate::mqtt::Connect;
use crate::mqtt::Decoder;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Text;
use crate::session::Inbound;
use crate::session::InboundAliases;
use crate::session::Limits;
use crate::session::OutboundAliases;
use crate::time::Timestamp;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) origin: Origin,
    pub(super) decoder: Decoder,
    pub(super) outbox: Outbox,
    pub(super) phase: Phase,
    /// The moment of the last complete packet.
    pub(super) last_received: Timestamp,
    /// Whether the transport was told not to read.
    pub(super) paused: bool,
    /// Whether it is in the list of connections with something to write.
    pub(super) write_queued: bool,
    /// Whether it is in the list of connections that wait for a commit.
    pub(super) gate_queued: bool,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing but the transport is there.
    New,
    /// CONNECT came; whether it is accepted is being found out.
    Connecting(Box<Connecting>),
    /// CONNACK 0x00 was given, if perhaps not yet sent.
    Connected(Box<Connected>),
    /// Nothing more is taken from it.
    Closing,
}

/// A CONNECT that is not yet answered.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) connect: Connect,
    /// The ticket of a password check, if one is under way.
    pub(super) ticket: Option<u64>,
    /// The steps of enhanced authentication so far.
    pub(super) exchange: Option<Exchange>,
}

/// What holds while a client is connected.
#[derive(Debug)]
pub(super) struct Connected {
    /// The slot of the client.
    pub(super) client: usize,
    pub(super) user: Option<Text>,
    pub(super) limits: Limits,
    pub(super) inbound: Inbound,
    pub(super) inbound_aliases: InboundAliases,
    pub(super) outbound_aliases: OutboundAliases,
    /// The method of CONNECT, which re-authentication has to keep [MQTT-4.12.1-1].
    pub(super) authentication_method: Option<Text>,
    /// A re-authentication under way.
    pub(super) exchange: Option<Exchange>,
    /// Whether acknowledgements may say in words what is wrong [MQTT-3.1.2-29].
    pub(super) problem_information: bool,
    /// What the rules allow it.
    pub(super) grants: Grants,
}

impl Connection {
    /// A connection of which nothing is known yet.
    pub(super) fn new(
        id: ConnectionId,
        origin: Origin,
        decoder: Decoder,
        output_limit: usize,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            origin,
            decoder,
            outbox: Outbox::new(output_limit),
            phase: Phase::New,
            last_received: now,
            paused: false,
            write_queued: false,
            gate_queued: false,
        }
    }

    /// What holds while a client is connected; `None` before and after.
    pub(super) fn connected(&self) -> Option<&Connected> {
        match &self.phase {
            Phase::Connected(connected) => Some(connected),
            Phase::New | Phase::Connecting(_) | Phase::Closing => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn connected_mut(&mut self) -> Option<&mut Connected> {
        match &mut self.phase {
            Phase::Connected(connected) => Some(connected),
            Phase::New | Phase::Connecting(_) | Phase::Closing => None,
        }
    }

    /// The version of CONNECT; 3.1.1 before.
    pub(super) fn version(&self) -> ProtocolVersion {
        self.outbox.version()
    }

    /// The client id and the user name of a CONNECT that is not yet answered, whether they are true or not; for traces.
    pub(super) fn claims(&self) -> (Option<&str>, Option<&str>) {
        match &self.phase {
            Phase::Connecting(connecting) => {
                (Some(&connecting.connect.client_id), connecting.connect.user_name.as_deref())
            }
            Phase::New | Phase::Connected(_) | Phase::Closing => (None, None),
        }
    }

    /// Whether nothing more is taken from it.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }
}
