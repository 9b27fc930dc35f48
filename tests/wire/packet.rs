//! The packets that a broker sends, read strictly.

use super::Version;
use super::property::Property;
use super::property::read_properties;
use super::reader::Reader;
use super::request::Publish;

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Connack(Connack),
    Publish(Publish),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Suback(FilterAck),
    Unsuback(FilterAck),
    Pingresp,
    Disconnect(Reason),
    Auth(Reason),
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connack {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) properties: Vec<Property>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    pub(crate) code: u8,
    pub(crate) properties: Vec<Property>,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterAck {
    pub(crate) packet_id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) properties: Vec<Property>,
}

/// DISCONNECT or AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) code: u8,
    pub(crate) properties: Vec<Property>,
}

const REASON_AND_USER: &[u8] = &[31, 38];
const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_CODES: &[u8] = &[0x00, 0x92];
const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];
const SUBACK_CODES: &[u8] =
    &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

impl Packet {
    /// Reads the packet at the front of `bytes` and tells its length, or `None` if it is not complete.
    pub(crate) fn read(bytes: &[u8], version: Version) -> Option<(Self, usize)> {
        let (header, body_length) = frame_length(bytes)?;
        let body = bytes.get(header..header + body_length)?;
        let mut reader = Reader::new(body);
        let packet = Self::read_body(bytes[0], &mut reader, version);
        assert!(reader.is_empty(), "bytes left behind {packet:?}");
        Some((packet, header + body_length))
    }

    fn read_body(first: u8, reader: &mut Reader<'_>, version: Version) -> Self {
        let flags = first & 0x0F;
        let kind = first >> 4;
        let expected = if kind == 6 { 2 } else { 0 };
        assert!(kind == 3 || flags == expected, "flags {flags:#06b} in a packet of type {kind}");
        match kind {
            2 => Self::Connack(read_connack(reader, version)),
            3 => Self::Publish(read_publish(flags, reader, version)),
            4 => Self::Puback(read_ack(reader, version, PUBACK_CODES)),
            5 => Self::Pubrec(read_ack(reader, version, PUBACK_CODES)),
            6 => Self::Pubrel(read_ack(reader, version, PUBREL_CODES)),
            7 => Self::Pubcomp(read_ack(reader, version, PUBREL_CODES)),
            9 => Self::Suback(read_suback(reader, version)),
            11 => Self::Unsuback(read_unsuback(reader, version)),
            13 => Self::Pingresp,
            14 if version.is_v5() => Self::Disconnect(read_disconnect(reader)),
            15 if version.is_v5() => Self::Auth(read_auth(reader)),
            _ => panic!("the broker sent a packet of type {kind} to a {version:?} client"),
        }
    }
}

/// The lengths of the fixed header and of what follows it.
fn frame_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let digits = bytes.get(1..)?;
    let count = 1 + digits.iter().take_while(|b| **b & 0x80 != 0).count();
    assert!(count <= 4, "a Remaining Length has more than four bytes");
    let length = Reader::new(digits.get(..count)?).variable();
    Some((1 + count, length as usize))
}

fn read_connack(reader: &mut Reader<'_>, version: Version) -> Connack {
    let session_present = reader.flag() == 1;
    let code = reader.byte();
    let allowed = &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42];
    let properties = if version.is_v5() {
        assert!(CONNACK_CODES.contains(&code), "{code:#x} is no reason code of CONNACK");
        read_properties(reader, allowed)
    } else {
        assert!(code <= 5, "{code} is no return code of CONNACK");
        assert!(version == Version::V4 || !session_present, "3.1 knows no Session Present");
        Vec::new()
    };
    assert!(code == 0 || !session_present, "Session Present with code {code:#x}");
    Connack { session_present, code, properties }
}

fn read_publish(flags: u8, reader: &mut Reader<'_>, version: Version) -> Publish {
    let qos = (flags >> 1) & 3;
    let dup = flags & 8 != 0;
    assert!(qos < 3, "a PUBLISH of QoS 3");
    assert!(qos > 0 || !dup, "DUP with QoS 0");
    let topic = reader.string();
    assert!(!topic.contains(['+', '#']), "wildcards in the topic name {topic:?}");
    let packet_id = if qos > 0 { reader.packet_id() } else { 0 };
    let properties = if version.is_v5() {
        read_properties(reader, &[1, 2, 3, 8, 9, 11, 35, 38])
    } else {
        Vec::new()
    };
    let aliased = properties.iter().any(|p| matches!(p, Property::TopicAlias(_)));
    assert!(aliased || !topic.is_empty(), "neither topic name nor alias");
    let payload = reader.remaining().to_vec();
    Publish { topic, payload, qos, dup, retain: flags & 1 != 0, packet_id, properties }
}

fn read_ack(reader: &mut Reader<'_>, version: Version, codes: &[u8]) -> Ack {
    let packet_id = reader.packet_id();
    let (code, properties) =
        if version.is_v5() { read_reason(reader, REASON_AND_USER) } else { (0, Vec::new()) };
    assert!(codes.contains(&code), "{code:#x} is no reason code of this packet");
    Ack { packet_id, code, properties }
}

/// A reason code and properties that may both be left out when they say nothing.
fn read_reason(reader: &mut Reader<'_>, allowed: &[u8]) -> (u8, Vec<Property>) {
    let code = if reader.is_empty() { 0 } else { reader.byte() };
    let properties = if reader.is_empty() { Vec::new() } else { read_properties(reader, allowed) };
    (code, properties)
}

fn read_suback(reader: &mut Reader<'_>, version: Version) -> FilterAck {
    let packet_id = reader.packet_id();
    let properties =
        if version.is_v5() { read_properties(reader, REASON_AND_USER) } else { Vec::new() };
    let codes = reader.remaining().to_vec();
    let defined = match version {
        Version::V3 => &SUBACK_CODES[..3],
        Version::V4 => &SUBACK_CODES[..4],
        Version::V5 => SUBACK_CODES,
    };
    assert!(codes.iter().all(|c| defined.contains(c)), "{codes:x?} are no codes of SUBACK");
    FilterAck { packet_id, codes, properties }
}

fn read_unsuback(reader: &mut Reader<'_>, version: Version) -> FilterAck {
    let packet_id = reader.packet_id();
    let properties =
        if version.is_v5() { read_properties(reader, REASON_AND_USER) } else { Vec::new() };
    let codes = if version.is_v5() { reader.remaining().to_vec() } else { Vec::new() };
    assert!(
        codes.iter().all(|c| UNSUBACK_CODES.contains(c)),
        "{codes:x?} are no codes of UNSUBACK"
    );
    FilterAck { packet_id, codes, properties }
}

fn read_disconnect(reader: &mut Reader<'_>) -> Reason {
    let (code, properties) = read_reason(reader, &[28, 31, 38]);
    assert!(DISCONNECT_CODES.contains(&code), "{code:#x} is no reason code of DISCONNECT");
    Reason { code, properties }
}

fn read_auth(reader: &mut Reader<'_>) -> Reason {
    let (code, properties) = read_reason(reader, &[21, 22, 31, 38]);
    assert!(code == 0 || code == 0x18, "{code:#x} is no reason code of an AUTH from a server");
    Reason { code, properties }
}
