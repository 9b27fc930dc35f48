//! What both sides agreed on in CONNECT and CONNACK, for one connection.

use std::time::Duration;

use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::ProtocolVersion;

/// What the server grants at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server's Receive Maximum: how many messages above QoS 0 a client may have open (1 to 65,535).
    pub receive_maximum: u16,
    /// Whether a client that exceeds it is disconnected (0x93) or only counted: some deployed clients do exceed it.
    pub receive_maximum_strict: bool,
    /// The largest packet the server takes, in bytes, fixed header included.
    pub packet_size_max: usize,
    /// How many topic aliases a client may use.
    pub topic_alias_maximum: u16,
    /// How many messages above QoS 0 are in flight to one client at most, whatever it allows.
    pub in_flight_max: u16,
    /// Keep-alive of clients that ask for none or for more; `None`: the client decides.
    pub keep_alive_max: Option<u16>,
    /// The longest session expiry in seconds; `u32::MAX`: sessions may be kept for ever.
    pub session_expiry_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_maximum: 1_024,
            receive_maximum_strict: true,
            packet_size_max: 16 << 20,
            topic_alias_maximum: 64,
            in_flight_max: 1_024,
            keep_alive_max: None,
            session_expiry_max: u32::MAX,
        }
    }
}

/// What was agreed on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The protocol version.
    pub version: ProtocolVersion,
    /// Seconds after which the client has to have sent something, 0 for never; one and a half times that is waited [MQTT-3.1.2-22].
    pub keep_alive: u16,
    /// How long the session outlives the connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry: u32,
    /// How many messages above QoS 0 may be in flight to the client [MQTT-3.3.4-9].
    pub window: usize,
    /// The largest packet the client takes, in bytes [MQTT-3.1.2-24].
    pub packet_size_max: usize,
    /// How many topic aliases may be used towards the client.
    pub topic_alias_maximum: u16,
    /// Whether acknowledgements may carry Reason Strings and User Properties [MQTT-3.1.2-29].
    pub problem_information: bool,
}

impl Limits {
    /// Brings the client's wishes and the server's options together.
    pub fn negotiate(connect: &Connect, options: &Options) -> Self {
        let asked = match connect.version {
            ProtocolVersion::V5 => connect.session_expiry_interval.unwrap_or(0),
            // Before version 5 a session either ends with its connection or is kept [3.1.1 MQTT-3.1.2-4].
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 if connect.clean_start => 0,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => u32::MAX,
        };
        let window = connect
            .receive_maximum
            .map_or(u16::MAX, std::num::NonZeroU16::get)
            .min(options.in_flight_max);
        Self {
            version: connect.version,
            keep_alive: keep_alive(connect.keep_alive, options.keep_alive_max),
            session_expiry: asked.min(options.session_expiry_max),
            window: usize::from(window),
            packet_size_max: connect
                .maximum_packet_size
                .map_or(usize::MAX, |size| usize::try_from(size.get()).unwrap_or(usize::MAX)),
            topic_alias_maximum: connect.topic_alias_maximum.unwrap_or(0),
            problem_information: connect.request_problem_information,
        }
    }

    /// How long the connection may be silent; `None`: for ever.
    pub fn silence_max(&self) -> Option<Duration> {
        (self.keep_alive > 0).then(|| Duration::from_millis(u64::from(self.keep_alive) * 1_500))
    }

    /// Writes into a successful CONNACK what differs from what the client asked for or may assume.
    pub fn announce(&self, connect: &Connect, options: &Options, connack: &mut Connack) {
        if !self.version.is_v5() {
            return;
        }
        let asked = connect.session_expiry_interval.unwrap_or(0);
        connack.session_expiry_interval =
            (self.session_expiry != asked).then_some(self.session_expiry);
        connack.server_keep_alive =
            (self.keep_alive != connect.keep_alive).then_some(self.keep_alive);
        connack.receive_maximum = std::num::NonZeroU16::new(options.receive_maximum);
        connack.maximum_packet_size =
            u32::try_from(options.packet_size_max).ok().and_then(std::num::NonZeroU32::new);
        connack.topic_alias_maximum = Some(options.topic_alias_maximum);
    }
}

/// The keep-alive in force: none is more than any.
fn keep_alive(asked: u16, max: Option<u16>) -> u16 {
    match max {
        Some(max) if asked == 0 || asked > max => max,
        _ => asked,
    }
}
