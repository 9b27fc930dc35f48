//! Packets to bytes.
//!
//! Lengths are known before the first byte is written, so an encoding that fails writes nothing.

use bytes::BytesMut;

use super::Packet;
use super::PacketType;
use super::ProtocolVersion;
use super::QoS;
use super::ReasonCode;
use super::writer::Length;
use super::writer::Sink;

/// The largest remaining length: what four bytes of a variable byte integer can say.
pub(super) const REMAINING_LENGTH_MAX: usize = 268_435_455;

/// Why a packet can't be encoded. The fault is ours: nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The packet is larger than the protocol, or the receiver, allows. [MQTT-3.1.2-24]
    #[error("the packet is larger than allowed")]
    TooLarge,
    /// Binary data is longer than 65,535 bytes.
    #[error("a binary field has more than 65,535 bytes")]
    FieldTooLong,
    /// This version has no way to say it: AUTH, DISCONNECT with a reason, an outcome of CONNACK without a return code, a
    /// password without a user name, a PUBLISH without a topic.
    #[error("this version of the protocol has no such packet")]
    NotInVersion,
    /// A QoS 1 or 2 PUBLISH without a packet identifier. [MQTT-2.2.1-3]
    #[error("a QoS 1 or 2 PUBLISH needs a packet identifier")]
    PacketIdMissing,
    /// A PUBLISH with neither a topic nor a topic alias.
    #[error("a PUBLISH needs a topic or a topic alias")]
    TopicMissing,
    /// Authentication data, or an AUTH, without an authentication method.
    #[error("authentication data needs an authentication method")]
    MethodMissing,
    /// A reason code that this packet may not have. [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.9.3-2] [MQTT-3.14.2-1]
    #[error("the packet may not have this reason code")]
    ReasonCodeInvalid,
    /// A packet that lists filters or reason codes, and has none. [MQTT-3.8.3-2] [MQTT-3.10.3-2]
    #[error("the packet lists nothing")]
    ListEmpty,
}

impl Packet {
    /// Appends the packet in the form of this version (CONNECT: of the version that it names).
    ///
    /// What the version lacks is left out (properties, reason codes of acknowledgements); what would then be untrue is
    /// an error. Every v5 DISCONNECT has its reason code and property length, because clients in the field can't read
    /// the shorter forms.
    pub fn encode(&self, version: ProtocolVersion, out: &mut BytesMut) -> Result<(), EncodeError> {
        let version = self.encoding_version(version);
        let remaining_length = self.remaining_length(version)?;
        out.reserve(packet_length(remaining_length));
        write_fixed_header(self.first_byte(), remaining_length, out)?;
        self.write_body(version, out)
    }

    /// The length of the whole packet in bytes, as [`Packet::encode`] would write it.
    pub fn encoded_length(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        self.remaining_length(self.encoding_version(version)).map(packet_length)
    }

    /// Appends the packet if it can be made to fit into `size_max` bytes.
    ///
    /// Where the standard says so, the User Properties are left out first, and then the Reason String. [MQTT-3.2.2-19]
    /// [MQTT-3.2.2-20] [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
    /// [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLarge`] if the packet is too large even so; the receiver must then not get it.
    pub fn encode_within(
        &self,
        version: ProtocolVersion,
        size_max: usize,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if let Some(bytes) = self.short_acknowledgement()
            && bytes.len() <= size_max
        {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        if self.encoded_length(version)? <= size_max {
            return self.encode(version, out);
        }
        let mut shorter = self.clone();
        shorter.strip_user_properties();
        if shorter.encoded_length(version)? > size_max {
            shorter.strip_reason_string();
        }
        if shorter.encoded_length(version)? > size_max {
            return Err(EncodeError::TooLarge);
        }
        shorter.encode(version, out)
    }

    /// Leaves the User Properties out of an answer; those of requests and messages stay.
    pub fn strip_user_properties(&mut self) {
        match self {
            Self::Connack(packet) => packet.user_properties.clear(),
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => {
                packet.user_properties.clear();
            }
            Self::Suback(packet) => packet.user_properties.clear(),
            Self::Unsuback(packet) => packet.user_properties.clear(),
            Self::Disconnect(packet) => packet.user_properties.clear(),
            Self::Auth(packet) => packet.user_properties.clear(),
            Self::Connect(_)
            | Self::Publish(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Pingreq
            | Self::Pingresp => {}
        }
    }

    /// Leaves the Reason String out.
    pub fn strip_reason_string(&mut self) {
        match self {
            Self::Connack(packet) => packet.reason_string = None,
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => {
                packet.reason_string = None;
            }
            Self::Suback(packet) => packet.reason_string = None,
            Self::Unsuback(packet) => packet.reason_string = None,
            Self::Disconnect(packet) => packet.reason_string = None,
            Self::Auth(packet) => packet.reason_string = None,
            Self::Connect(_)
            | Self::Publish(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe(_)
            | Self::Pingreq
            | Self::Pingresp => {}
        }
    }

    /// All of an acknowledgement that says only that all is well, as most do: the same in every version.
    fn short_acknowledgement(&self) -> Option<[u8; 4]> {
        let (Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack)) = self
        else {
            return None;
        };
        let [high, low] = ack.packet_id.get().to_be_bytes();
        ack.is_plain_success().then(|| [self.first_byte(), 2, high, low])
    }

    fn encoding_version(&self, version: ProtocolVersion) -> ProtocolVersion {
        if let Self::Connect(connect) = self { connect.version } else { version }
    }

    fn first_byte(&self) -> u8 {
        let flags = match self {
            Self::Publish(publish) => publish_flags(publish.dup, publish.qos, publish.retain),
            Self::Pubrel(_) | Self::Subscribe(_) | Self::Unsubscribe(_) => 0b0010,
            Self::Connect(_)
            | Self::Connack(_)
            | Self::Puback(_)
            | Self::Pubrec(_)
            | Self::Pubcomp(_)
            | Self::Suback(_)
            | Self::Unsuback(_)
            | Self::Pingreq
            | Self::Pingresp
            | Self::Disconnect(_)
            | Self::Auth(_) => 0,
        };
        self.packet_type().as_u8() << 4 | flags
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let mut length = Length::default();
        self.write_body(version, &mut length)?;
        let length = length.get()?;
        if length > REMAINING_LENGTH_MAX { Err(EncodeError::TooLarge) } else { Ok(length) }
    }

    fn write_body<S: Sink>(
        &self,
        version: ProtocolVersion,
        out: &mut S,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Connect(packet) => packet.write_body(out),
            Self::Connack(packet) => packet.write_body(version, out),
            Self::Publish(packet) => packet.write_body(version, out),
            Self::Puback(packet)
            | Self::Pubrec(packet)
            | Self::Pubrel(packet)
            | Self::Pubcomp(packet) => packet.write_body(self.packet_type(), version, out),
            Self::Subscribe(packet) => packet.write_body(version, out),
            Self::Suback(packet) => packet.write_body(version, out),
            Self::Unsubscribe(packet) => packet.write_body(version, out),
            Self::Unsuback(packet) => packet.write_body(version, out),
            Self::Pingreq | Self::Pingresp => Ok(()),
            Self::Disconnect(packet) => packet.write_body(version, out),
            Self::Auth(packet) => packet.write_body(version, out),
        }
    }
}

/// Makes sure that a packet may have this code.
pub(super) const fn check_reason_code(
    code: ReasonCode,
    packet: PacketType,
) -> Result<(), EncodeError> {
    if code.is_allowed_in(packet) { Ok(()) } else { Err(EncodeError::ReasonCodeInvalid) }
}

/// The flags of a PUBLISH; DUP is never set at QoS 0. [MQTT-3.3.1-2]
pub(super) const fn publish_flags(dup: bool, qos: QoS, retain: bool) -> u8 {
    let dup = dup && !matches!(qos, QoS::AtMostOnce);
    (dup as u8) << 3 | qos.as_u8() << 1 | retain as u8
}

/// The length of a packet from its remaining length.
pub(super) const fn packet_length(remaining_length: usize) -> usize {
    let header = match remaining_length {
        0..0x80 => 2,
        0x80..0x4000 => 3,
        0x4000..0x20_0000 => 4,
        _ => 5,
    };
    header + remaining_length
}

pub(super) fn write_fixed_header(
    first_byte: u8,
    remaining_length: usize,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let remaining_length = u32::try_from(remaining_length).map_err(|_| EncodeError::TooLarge)?;
    out.u8(first_byte);
    out.variable_byte_integer(remaining_length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Ack;
    use crate::mqtt::PacketId;

    #[test]
    fn a_plain_acknowledgement_is_the_same_on_both_ways() {
        let id = PacketId::new(0x1234).unwrap();
        for make in [Packet::Puback, Packet::Pubrec, Packet::Pubrel, Packet::Pubcomp] {
            for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
                for packet in [
                    make(Ack::new(id)),
                    make(Ack::with_reason(id, ReasonCode::PacketIdentifierNotFound)),
                ] {
                    let (mut short, mut long) = (BytesMut::new(), BytesMut::new());
                    let outcome = packet.encode_within(version, 100, &mut short);
                    assert_eq!(outcome, packet.encode(version, &mut long));
                    assert_eq!(short, long);
                }
            }
        }
    }

    #[test]
    fn a_plain_acknowledgement_keeps_to_the_limit() {
        let packet = Packet::Puback(Ack::new(PacketId::MIN));
        let mut out = BytesMut::new();
        let outcome = packet.encode_within(ProtocolVersion::V5, 3, &mut out);
        assert_eq!((outcome, out.len()), (Err(EncodeError::TooLarge), 0));
    }
}
