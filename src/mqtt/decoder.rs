//! [`Decoder`]: bytes of one direction of a connection to packets.
//!
//! A fixed header is judged as soon as it is there: type, side, flags and size are refused without waiting for the
//! rest. A packet that is complete is either decoded or refused; only an incomplete one is waited for.

use bytes::BytesMut;

use super::Ack;
use super::Auth;
use super::Connack;
use super::Connect;
use super::Disconnect;
use super::Packet;
use super::PacketType;
use super::ProtocolVersion;
use super::PublishView;
use super::Suback;
use super::Subscribe;
use super::Unsuback;
use super::Unsubscribe;
use super::Violation;
use super::encode::REMAINING_LENGTH_MAX;
use super::publish_view;
use super::reader::Reader;
use super::reader::variable_byte_integer;

/// How large a CONNECT may be, in bytes of the whole packet, unless it is set otherwise.
pub const CONNECT_SIZE_MAX_DEFAULT: usize = 8 * 1024;

/// The largest packet there can be, in bytes.
pub const PACKET_SIZE_MAX: usize = REMAINING_LENGTH_MAX + 5;

/// Which side decodes, and so which packets may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The server, which hears clients.
    Server,
    /// A client, which hears the server.
    Client,
}

/// Decodes what comes in on one connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    role: Role,
    version: Option<ProtocolVersion>,
    connected: bool,
    connect_size_max: usize,
    packet_size_max: usize,
}

/// A packet that came in: messages borrowed, all else owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A PUBLISH.
    Publish(PublishView<'a>),
    /// Any other packet.
    Packet(Packet),
}

impl Incoming<'_> {
    /// The packet as a value.
    pub fn into_packet(self) -> Packet {
        match self {
            Self::Publish(view) => Packet::Publish(Box::new(view.to_owned())),
            Self::Packet(packet) => packet,
        }
    }
}

/// A fixed header, and where its packet lies.
#[derive(Clone, Copy, Debug)]
struct FixedHeader {
    packet_type: PacketType,
    flags: u8,
    /// The length of the fixed header, in bytes.
    length: usize,
    /// The length of the whole packet, in bytes.
    packet_length: usize,
}

impl Decoder {
    /// A decoder for the server's side, which learns the version from CONNECT.
    ///
    /// Both limits are in bytes of the whole packet; the first holds until CONNECT is decoded.
    pub const fn for_server(connect_size_max: usize, packet_size_max: usize) -> Self {
        Self {
            role: Role::Server,
            version: None,
            connected: false,
            connect_size_max,
            packet_size_max,
        }
    }

    /// A decoder for the client's side, which knows the version that it asked for.
    pub const fn for_client(version: ProtocolVersion, packet_size_max: usize) -> Self {
        Self {
            role: Role::Client,
            version: Some(version),
            connected: true,
            connect_size_max: packet_size_max,
            packet_size_max,
        }
    }

    /// The version of the connection; known as soon as CONNECT has named one, even if the rest of it is refused.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Sets the limit for packets after CONNECT, in bytes of the whole packet.
    pub const fn set_packet_size_max(&mut self, packet_size_max: usize) {
        self.packet_size_max = packet_size_max;
    }

    /// Decodes the packet that `input` begins with, and gives how many bytes it has; `None` if it is not yet complete.
    ///
    /// # Errors
    ///
    /// What is wrong with the packet; the connection has to end then.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Incoming<'a>, usize)>, Violation> {
        let Some(header) = self.fixed_header(input)? else { return Ok(None) };
        let Some(body) = input.get(header.length..header.packet_length) else { return Ok(None) };
        let incoming = self.body(header, body)?;
        Ok(Some((incoming, header.packet_length)))
    }

    /// Takes the packet that `input` begins with off it; `None` if it is not yet complete. The payload is not copied.
    ///
    /// # Errors
    ///
    /// As [`Decoder::next`]; how much was taken is then not said.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        let Some(header) = self.fixed_header(input)? else { return Ok(None) };
        if input.len() < header.packet_length {
            return Ok(None);
        }
        let frame = input.split_to(header.packet_length).freeze();
        let body = frame.get(header.length..).unwrap_or_default();
        Ok(Some(match self.body(header, body)? {
            Incoming::Publish(view) => Packet::Publish(Box::new(view.to_owned_in(&frame))),
            Incoming::Packet(packet) => packet,
        }))
    }

    /// Reads and judges as much of the fixed header as is there.
    fn fixed_header(&self, input: &[u8]) -> Result<Option<FixedHeader>, Violation> {
        let Some((first, rest)) = input.split_first() else { return Ok(None) };
        let packet_type = PacketType::from_u8(first >> 4).ok_or(Violation::PacketTypeInvalid)?;
        let flags = first & 0x0F;
        self.check_type(packet_type)?;
        self.check_flags(packet_type, flags)?;
        let Some((remaining_length, digits)) = variable_byte_integer(rest)? else {
            return Ok(None);
        };
        let length = 1 + digits;
        let packet_length = usize::try_from(remaining_length)
            .ok()
            .and_then(|remaining_length| length.checked_add(remaining_length))
            .filter(|packet_length| *packet_length <= self.size_max())
            .ok_or(Violation::PacketTooLarge)?;
        Ok(Some(FixedHeader { packet_type, flags, length, packet_length }))
    }

    const fn size_max(&self) -> usize {
        if self.connected { self.packet_size_max } else { self.connect_size_max }
    }

    /// Checks that a packet of this type may come now. [MQTT-3.1.0-1] [MQTT-3.1.0-2]
    fn check_type(&self, packet_type: PacketType) -> Result<(), Violation> {
        if !self.connected {
            let connect = packet_type == PacketType::Connect;
            return if connect { Ok(()) } else { Err(Violation::ConnectMissing) };
        }
        let version5 = self.version.is_some_and(ProtocolVersion::is_v5);
        match (packet_type, self.role) {
            (PacketType::Connect, Role::Server) => Err(Violation::ConnectTwice),
            (PacketType::Auth, _) if !version5 => Err(Violation::PacketTypeInvalid),
            (PacketType::Disconnect, Role::Client) if !version5 => {
                Err(Violation::PacketFromWrongSide)
            }
            (
                PacketType::Connack
                | PacketType::Suback
                | PacketType::Unsuback
                | PacketType::Pingresp,
                Role::Server,
            )
            | (
                PacketType::Connect
                | PacketType::Subscribe
                | PacketType::Unsubscribe
                | PacketType::Pingreq,
                Role::Client,
            ) => Err(Violation::PacketFromWrongSide),
            _ => Ok(()),
        }
    }

    /// Checks the low four bits of the first byte. [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
    fn check_flags(&self, packet_type: PacketType, flags: u8) -> Result<(), Violation> {
        let valid = match packet_type {
            PacketType::Publish => return publish_view::check_flags(flags),
            PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => {
                // MQTT 3.1 sends these again with DUP.
                let dup_allowed = self.version == Some(ProtocolVersion::V3_1);
                flags == 0b0010 || (dup_allowed && flags == 0b1010)
            }
            PacketType::Connect
            | PacketType::Connack
            | PacketType::Puback
            | PacketType::Pubrec
            | PacketType::Pubcomp
            | PacketType::Suback
            | PacketType::Unsuback
            | PacketType::Pingreq
            | PacketType::Pingresp
            | PacketType::Disconnect
            | PacketType::Auth => flags == 0,
        };
        if valid { Ok(()) } else { Err(Violation::FlagsInvalid) }
    }

    fn body<'a>(&mut self, header: FixedHeader, body: &'a [u8]) -> Result<Incoming<'a>, Violation> {
        let mut body = Reader::of_body(body);
        if header.packet_type == PacketType::Connect {
            let connect = Connect::decode(&mut body, &mut self.version)?;
            body.finish()?;
            self.connected = true;
            return Ok(Incoming::Packet(Packet::Connect(Box::new(connect))));
        }
        let version = self.version.ok_or(Violation::ConnectMissing)?;
        if header.packet_type == PacketType::Publish {
            return self.publish(header.flags, &mut body, version).map(Incoming::Publish);
        }
        let packet = decode_packet(header.packet_type, &mut body, version)?;
        body.finish()?;
        self.check_side(&packet)?;
        Ok(Incoming::Packet(packet))
    }

    /// A client's PUBLISH has no subscription identifier. [MQTT-3.3.4-6]
    fn publish<'a>(
        &self,
        flags: u8,
        body: &mut Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<PublishView<'a>, Violation> {
        let view = PublishView::decode(flags, body, version)?;
        let forged = self.role == Role::Server && !view.subscription_ids.is_empty();
        if forged { Err(Violation::SubscriptionIdFromClient) } else { Ok(view) }
    }

    /// A server's DISCONNECT has no Session Expiry Interval. [MQTT-3.14.2-2]
    fn check_side(&self, packet: &Packet) -> Result<(), Violation> {
        if let Packet::Disconnect(disconnect) = packet
            && self.role == Role::Client
            && disconnect.session_expiry_interval.is_some()
        {
            return Err(Violation::SessionExpiryFromServer);
        }
        Ok(())
    }
}

/// Decodes any packet but CONNECT and PUBLISH.
fn decode_packet(
    packet_type: PacketType,
    body: &mut Reader<'_>,
    version: ProtocolVersion,
) -> Result<Packet, Violation> {
    Ok(match packet_type {
        PacketType::Connect | PacketType::Publish => return Err(Violation::PacketTypeInvalid),
        PacketType::Connack => Packet::Connack(Box::new(Connack::decode(body, version)?)),
        PacketType::Puback => Packet::Puback(Ack::decode(body, packet_type, version)?),
        PacketType::Pubrec => Packet::Pubrec(Ack::decode(body, packet_type, version)?),
        PacketType::Pubrel => Packet::Pubrel(Ack::decode(body, packet_type, version)?),
        PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(body, packet_type, version)?),
        PacketType::Subscribe => Packet::Subscribe(Box::new(Subscribe::decode(body, version)?)),
        PacketType::Suback => Packet::Suback(Suback::decode(body, version)?),
        PacketType::Unsubscribe => {
            Packet::Unsubscribe(Box::new(Unsubscribe::decode(body, version)?))
        }
        PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(body, version)?),
        PacketType::Pingreq => Packet::Pingreq,
        PacketType::Pingresp => Packet::Pingresp,
        PacketType::Disconnect => Packet::Disconnect(Box::new(Disconnect::decode(body, version)?)),
        PacketType::Auth => Packet::Auth(Box::new(Auth::decode(body)?)),
    })
}
