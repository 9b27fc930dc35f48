//! What happened, as a client (and where it can be known, the world around it) saw it.

use std::fmt;

/// Microseconds of the history's clock.
pub(crate) type Micros = u64;

/// How long a session outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Not at all.
    WithConnection,
    /// So many seconds.
    After(u32),
    /// For ever.
    Never,
}

/// A message as it was sent, or as it stands in a will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its number: unique, ascending for each publisher. The payload begins with it and a colon.
    pub(crate) number: u64,
    pub(crate) publisher: String,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// The payload is empty: with `retain` it clears.
    pub(crate) empty: bool,
    /// Message Expiry Interval in seconds.
    pub(crate) expiry: Option<u32>,
    /// It stands in a will.
    pub(crate) is_will: bool,
    /// Seconds that it is to be kept back.
    pub(crate) delay: Option<u32>,
    /// It asks to cancel the delayed message with this number, and becomes none itself.
    pub(crate) cancels: Option<u64>,
}

impl Sent {
    /// How long it is kept back.
    pub(crate) fn kept_back(&self) -> Micros {
        u64::from(self.delay.unwrap_or(0)) * 1_000_000
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_will { "will" } else { "message" };
        write!(
            f,
            "{kind} {} of {} to {} at QoS {}",
            self.number, self.publisher, self.topic, self.qos
        )
    }
}

/// A will in CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WillFact {
    pub(crate) sent: Sent,
    /// Will Delay Interval in seconds.
    pub(crate) delay: u32,
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connecting {
    pub(crate) client: String,
    /// The connection's number, unique in the history.
    pub(crate) connection: u64,
    pub(crate) clean_start: bool,
    pub(crate) expiry: Expiry,
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<WillFact>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// With `$share/name/` in front, if so sent.
    pub(crate) filter: String,
    pub(crate) qos: u8,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// 0, 1 or 2.
    pub(crate) retain_handling: u8,
    pub(crate) id: Option<u32>,
}

/// A PUBLISH that reached a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) connection: u64,
    pub(crate) topic: String,
    /// The number in the payload; `None` if the payload is empty.
    pub(crate) number: Option<u64>,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    /// Present above QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) subscription_ids: Vec<u32>,
    /// Message Expiry Interval in seconds.
    pub(crate) expiry_left: Option<u32>,
    /// When the broker wrote it, or the best that is known.
    pub(crate) sent_at: Micros,
    /// Whether the client speaks MQTT 5, so that ids and expiry have to be there.
    pub(crate) is_v5: bool,
}

/// What a client answers to a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Puback,
    Pubrec,
    Pubcomp,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A client sent CONNECT.
    Connecting(Connecting),
    /// CONNACK with success reached it. `None`: MQTT 3.1, which has no session present.
    Connected {
        connection: u64,
        session_present: Option<bool>,
    },
    /// The client sends DISCONNECT and will send nothing more. `with_will`: 0x04. `expiry`: the changed one.
    Disconnecting {
        connection: u64,
        with_will: bool,
        expiry: Option<Expiry>,
    },
    /// The client gave the connection up, or saw that it is gone.
    Lost {
        connection: u64,
    },
    /// The broker knows that the connection is gone. `read_all`: it has read all that the client sent before.
    ServerClosed {
        connection: u64,
        read_all: bool,
    },
    /// The broker died, and with it every connection.
    Crashed,
    /// The broker serves again.
    Recovered,
    /// A client sends a message, or sends it again.
    Publishing {
        sent: Sent,
    },
    /// PUBACK or PUBREC with success reached the sender.
    Acknowledged {
        number: u64,
    },
    Subscribing {
        connection: u64,
        request: u16,
        asked: Vec<Asked>,
    },
    /// SUBACK reached the client: the QoS granted for each filter, `None` where it was refused.
    Subscribed {
        connection: u64,
        request: u16,
        granted: Vec<Option<u8>>,
    },
    Unsubscribing {
        connection: u64,
        request: u16,
        filters: Vec<String>,
    },
    Unsubscribed {
        connection: u64,
        request: u16,
    },
    Delivered(Delivery),
    /// The client answers a delivery.
    Answered {
        connection: u64,
        packet_id: u16,
        answer: Answer,
    },
    /// PUBREL reached the client.
    Released {
        connection: u64,
        packet_id: u16,
    },
    /// A client with a new session connects at the end, subscribes to everything once and reads what is retained.
    Auditing {
        connection: u64,
    },
}
