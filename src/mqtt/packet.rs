//! [`Packet`]: one type for the packets of every version, and [`PacketType`].

use std::fmt;

use super::Ack;
use super::Auth;
use super::Connack;
use super::Connect;
use super::Disconnect;
use super::Publish;
use super::Suback;
use super::Subscribe;
use super::Unsuback;
use super::Unsubscribe;

/// The type of a packet: the high four bits of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// CONNECT.
    Connect = 1,
    /// CONNACK.
    Connack = 2,
    /// PUBLISH.
    Publish = 3,
    /// PUBACK.
    Puback = 4,
    /// PUBREC.
    Pubrec = 5,
    /// PUBREL.
    Pubrel = 6,
    /// PUBCOMP.
    Pubcomp = 7,
    /// SUBSCRIBE.
    Subscribe = 8,
    /// SUBACK.
    Suback = 9,
    /// UNSUBSCRIBE.
    Unsubscribe = 10,
    /// UNSUBACK.
    Unsuback = 11,
    /// PINGREQ.
    Pingreq = 12,
    /// PINGRESP.
    Pingresp = 13,
    /// DISCONNECT.
    Disconnect = 14,
    /// AUTH, since MQTT 5.
    Auth = 15,
}

impl PacketType {
    /// Every type, ascending.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The number on the wire, 1 to 15.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The type of this number; `None` for all but 1 to 15.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Connect),
            2 => Some(Self::Connack),
            3 => Some(Self::Publish),
            4 => Some(Self::Puback),
            5 => Some(Self::Pubrec),
            6 => Some(Self::Pubrel),
            7 => Some(Self::Pubcomp),
            8 => Some(Self::Subscribe),
            9 => Some(Self::Suback),
            10 => Some(Self::Unsubscribe),
            11 => Some(Self::Unsuback),
            12 => Some(Self::Pingreq),
            13 => Some(Self::Pingresp),
            14 => Some(Self::Disconnect),
            15 => Some(Self::Auth),
            _ => None,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

/// An MQTT Control Packet of any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A client asks for a connection.
    Connect(Box<Connect>),
    /// The server's answer to CONNECT.
    Connack(Box<Connack>),
    /// A message.
    Publish(Box<Publish>),
    /// The answer to a QoS 1 PUBLISH.
    Puback(Ack),
    /// The answer to a QoS 2 PUBLISH.
    Pubrec(Ack),
    /// The answer to PUBREC.
    Pubrel(Ack),
    /// The answer to PUBREL.
    Pubcomp(Ack),
    /// A client subscribes.
    Subscribe(Box<Subscribe>),
    /// The answer to SUBSCRIBE.
    Suback(Suback),
    /// A client unsubscribes.
    Unsubscribe(Box<Unsubscribe>),
    /// The answer to UNSUBSCRIBE.
    Unsuback(Unsuback),
    /// A client shows that it lives.
    Pingreq,
    /// The answer to PINGREQ.
    Pingresp,
    /// One side ends the connection (before MQTT 5 only the client can).
    Disconnect(Box<Disconnect>),
    /// A step of an enhanced authentication (MQTT 5).
    Auth(Box<Auth>),
}

impl Packet {
    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}
