//! The ends of connections.

use std::fmt;

use crate::broker::Broker;
use crate::broker::Timer;
use crate::broker::connection::Phase;
use crate::broker::event::ConnectionId;
use crate::broker::event::Output;
use crate::mqtt::Connack;
use crate::mqtt::Disconnect;
use crate::mqtt::Packet;
use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::mqtt::Violation;
use crate::mutant::Mutant;

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client sent DISCONNECT.
    Left(ReasonCode),
    /// The connection was cut, or closed by the client without DISCONNECT.
    Lost,
    /// The broker ended it.
    Ended(ReasonCode, Option<&'static str>),
}

impl Ending {
    /// Whether the will is due [MQTT-3.1.2-8]: only a client that says goodbye takes its will with it [MQTT-3.14.4-3].
    pub(super) fn with_will(self) -> bool {
        self != Self::Left(ReasonCode::Success) || Mutant::WillAfterDisconnect.is_active()
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left(ReasonCode::Success) => f.write_str("it disconnected"),
            Self::Left(reason) => write!(f, "it disconnected: {reason}"),
            Self::Lost => f.write_str("the connection was lost"),
            Self::Ended(reason, None) => write!(f, "ended by the broker: {reason}"),
            Self::Ended(reason, Some(text)) => write!(f, "ended by the broker: {reason}: {text}"),
        }
    }
}

impl Broker {
    /// The peer broke the protocol: it is told where its version has a way to, and the connection ends [MQTT-4.13.1-1].
    pub(super) fn violated(&mut self, slot: usize, violation: Violation) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        self.stats.protocol_errors += 1;
        tracing::info!(connection = %connection.id, peer = %connection.origin.peer, %violation, "protocol error");
        match &connection.phase {
            Phase::New => self.violated_before_connect(slot, violation),
            Phase::Connecting(_) => {
                self.refuse_connect(slot, violation.reason_code(), Some(violation.text()));
            }
            Phase::Connected(_) => {
                self.disconnect(slot, violation.reason_code(), Some(violation.text()));
            }
            Phase::Closing => {}
        }
    }

    /// A first packet that can't be taken. An unsupported version is told so in a form it may understand [3.1.1 MQTT-3.1.2-2], a
    /// broken version 5 CONNECT may be; version 3 gets nothing [3.1.1 MQTT-3.1.4-1].
    fn violated_before_connect(&mut self, slot: usize, violation: Violation) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let version = violation.connack_version().or_else(|| connection.decoder.version());
        let answer = match (version, violation) {
            (Some(version), _) if version.is_v5() => Some(version),
            (Some(version), Violation::ClientIdEmpty | Violation::ProtocolLevelTooLow) => {
                Some(version)
            }
            (Some(_) | None, _) => None,
        };
        if let Some(version) = answer {
            connection.outbox.set_client(version, usize::MAX);
            self.send(slot, &Packet::Connack(Box::new(Connack::new(violation.reason_code()))));
        }
        self.stats.connects_refused += 1;
        self.close(slot);
    }

    /// A negative CONNACK, and the end [MQTT-3.2.2-7].
    pub(super) fn refuse_connect(
        &mut self,
        slot: usize,
        reason: ReasonCode,
        text: Option<&'static str>,
    ) {
        let Some(connection) = self.connections.get(slot) else { return };
        let (client, user) = connection.claims();
        let (id, listener, peer) =
            (connection.id, &connection.origin.listener, &connection.origin.peer);
        tracing::info!(connection = %id, %listener, %peer, client, user, %reason, text, "connect refused");
        let mut connack = Connack::new(reason);
        connack.reason_string = text.map(Text::from_static);
        self.stats.connects_refused += 1;
        self.send(slot, &Packet::Connack(Box::new(connack)));
        self.close(slot);
    }

    /// Ends a connection for a reason that is not the peer's fault.
    pub(super) fn close_for(&mut self, slot: usize, reason: ReasonCode) {
        self.disconnect(slot, reason, None);
    }

    /// DISCONNECT where the version has it, and the end [MQTT-3.14.4-2]. The session goes its way as after a cut.
    pub(super) fn disconnect(
        &mut self,
        slot: usize,
        reason: ReasonCode,
        text: Option<&'static str>,
    ) {
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.version().is_v5() {
            let mut disconnect = Disconnect::new(reason);
            disconnect.reason_string = text.map(Text::from_static);
            if reason == ReasonCode::ServerShuttingDown || reason == ReasonCode::UseAnotherServer {
                disconnect.server_reference.clone_from(&self.options.server_reference);
            }
            // Behind what was sent, and nothing after it [MQTT-3.14.4-1]; never before CONNACK [MQTT-3.14.0-1].
            self.send(slot, &Packet::Disconnect(Box::new(disconnect)));
        }
        if let Some(client) = self.client_at(slot) {
            self.detach(client, Ending::Ended(reason, text));
        }
        self.close(slot);
    }

    /// Gives what is left to write to the transport, and closes.
    pub(super) fn close(&mut self, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if connection.is_closing() {
            return;
        }
        connection.phase = Phase::Closing;
        connection.outbox.end();
        let id = connection.id;
        if connection.outbox.is_ready() {
            let chunks = connection.outbox.take();
            self.stats.bytes_sent += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
            self.outputs.push_back(Output::Write { connection: id, chunks });
        }
        self.outputs.push_back(Output::Close { connection: id });
    }

    /// The connection is gone.
    pub(super) fn handle_closed(&mut self, id: ConnectionId) {
        let Some(slot) = self.connection_slots.remove(&id) else { return };
        if let Some(client) = self.client_at(slot) {
            self.detach(client, Ending::Lost);
        }
        if self.connections.contains(slot) {
            self.connections.remove(slot);
        }
    }

    /// A connection that has not sent CONNECT in time.
    pub(super) fn connect_overdue(&mut self, id: ConnectionId) {
        let Some(slot) = self.connection_slots.get(&id).copied() else { return };
        match self.connections.get(slot).map(|connection| &connection.phase) {
            Some(Phase::New) => {
                tracing::debug!(connection = %id, "no CONNECT in time");
                self.stats.connects_refused += 1;
                self.close(slot);
            }
            Some(Phase::Connecting(_)) => self.refuse_connect(
                slot,
                ReasonCode::NotAuthorized,
                Some("the authentication took too long"),
            ),
            Some(Phase::Connected(_) | Phase::Closing) | None => {}
        }
    }

    /// Whether a client has been silent for too long [MQTT-3.1.2-22].
    pub(super) fn check_keep_alive(&mut self, id: ConnectionId) {
        let Some(slot) = self.connection_slots.get(&id).copied() else { return };
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(silence_max) =
            connection.connected().and_then(|connected| connected.limits.silence_max())
        else {
            return;
        };
        // What it sent while we did not read does not count as silence; nor does waiting for CONNACK.
        let excused = connection.paused || connection.outbox.is_opening();
        let deadline = if excused && !Mutant::PauseIsSilence.is_active() {
            self.now + silence_max
        } else {
            connection.last_received + silence_max
        };
        if self.now < deadline {
            self.set_far_timer(deadline, Timer::KeepAlive(id));
        } else {
            tracing::info!(connection = %id, "nothing received within one and a half times the keep alive");
            self.disconnect(slot, ReasonCode::KeepAliveTimeout, None);
        }
    }
}
