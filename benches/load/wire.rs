//! The packets of MQTT 3.1.1 that the load needs, written and read with as little work as there can be.

/// First byte of a PUBLISH at QoS 0.
const PUBLISH: u8 = 0x30;
/// The RETAIN bit of a PUBLISH.
const RETAIN: u8 = 1;

/// PUBACK's type, the upper half of its first byte.
pub(crate) const TYPE_PUBACK: u8 = 4;
/// PUBREC's type.
pub(crate) const TYPE_PUBREC: u8 = 5;
/// PUBREL's type.
pub(crate) const TYPE_PUBREL: u8 = 6;
/// PUBCOMP's type.
pub(crate) const TYPE_PUBCOMP: u8 = 7;
/// PUBLISH's type.
pub(crate) const TYPE_PUBLISH: u8 = 3;
/// DISCONNECT, whole.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// PINGREQ, whole.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
/// PINGRESP's first byte.
pub(crate) const PINGRESP: u8 = 0xD0;

/// What every payload begins with: the publisher, its number for the message, and when it was to be sent.
const STAMP_BYTES: usize = 4 + 8 + 8;
/// What the rest of a payload consists of.
const FILLER: u8 = b'.';

/// A packet, without its fixed header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Type and flags.
    pub(crate) first: u8,
    /// Everything behind the Remaining Length.
    pub(crate) body: &'a [u8],
}

/// What a received PUBLISH says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) qos: u8,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) publisher: usize,
    pub(crate) number: u64,
    /// Nanoseconds since the run began.
    pub(crate) sent_at: u64,
}

/// A PUBLISH with holes for what differs from one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    qos: u8,
    id_at: usize,
    stamp_at: usize,
}

impl Template {
    /// A PUBLISH to `topic` with a payload of `size` bytes, at least those of the stamp.
    pub(crate) fn new(topic: &str, qos: u8, size: usize) -> Self {
        let mut body = text(topic);
        let id_in_body = body.len();
        if qos > 0 {
            body.extend([0, 0]);
        }
        let stamp_in_body = body.len();
        body.resize(stamp_in_body + size.max(STAMP_BYTES), FILLER);
        let bytes = packet(PUBLISH | qos << 1, &body);
        let head = bytes.len() - body.len();
        Self { bytes, qos, id_at: head + id_in_body, stamp_at: head + stamp_in_body }
    }

    /// Puts one more packet behind what is in `out`.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        packet_id: u16,
        publisher: usize,
        number: u64,
        sent_at: u64,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[start..];
        if self.qos > 0 {
            packet[self.id_at..self.id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        let stamp = &mut packet[self.stamp_at..self.stamp_at + STAMP_BYTES];
        stamp[..4].copy_from_slice(&(publisher as u32).to_be_bytes());
        stamp[4..12].copy_from_slice(&number.to_be_bytes());
        stamp[12..].copy_from_slice(&sent_at.to_be_bytes());
    }
}

impl Frame<'_> {
    /// The packet's type.
    pub(crate) fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The packet id of an acknowledgement.
    pub(crate) fn packet_id(self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// What a PUBLISH of ours says, checked to the last byte.
    pub(crate) fn delivered(self) -> Delivered {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let mut at = 2 + topic;
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([self.body[at], self.body[at + 1]]);
            at += 2;
        }
        let (stamp, filler) = self.body[at..].split_at(STAMP_BYTES);
        assert!(filler.iter().all(|byte| *byte == FILLER), "a payload that nobody sent");
        let publisher = u32::from_be_bytes(stamp[..4].try_into().unwrap()) as usize;
        let number = u64::from_be_bytes(stamp[4..12].try_into().unwrap());
        let sent_at = u64::from_be_bytes(stamp[12..].try_into().unwrap());
        Delivered { qos, packet_id, publisher, number, sent_at }
    }
}

/// The first packet in `bytes` and how many bytes it takes, if it is complete.
pub(crate) fn frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let first = *bytes.first()?;
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            let head = 2 + place;
            let body = bytes.get(head..head + length)?;
            return Some((Frame { first, body }, head + length));
        }
    }
    None
}

/// CONNECT without Keep Alive.
pub(crate) fn connect(client_id: &str, clean_session: bool) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([4, u8::from(clean_session) << 1, 0, 0]);
    body.extend(text(client_id));
    packet(0x10, &body)
}

/// SUBSCRIBE to all of these at one QoS.
pub(crate) fn subscribe<'a>(filters: impl IntoIterator<Item = &'a str>, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    for filter in filters {
        body.extend(text(filter));
        body.push(qos);
    }
    packet(0x82, &body)
}

/// PUBLISH at QoS 1, retained.
pub(crate) fn publish_retained(topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(packet_id.to_be_bytes());
    body.extend(payload);
    packet(PUBLISH | 1 << 1 | RETAIN, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn answer(kind: u8, packet_id: u16) -> [u8; 4] {
    let flags = if kind == TYPE_PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    [kind << 4 | flags, 2, high, low]
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let more = left > 0x7F;
        bytes.push((left & 0x7F) as u8 | u8::from(more) << 7);
        left >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
