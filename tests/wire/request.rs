//! The packets that a client sends, written without any check, and the primitives to write broken ones.

use super::Version;
use super::property::Property;
use super::property::put_properties;

/// Subscription option: do not send me what I publish.
pub(crate) const NO_LOCAL: u8 = 0b0000_0100;
/// Subscription option: keep the RETAIN flag as it was published.
pub(crate) const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
/// Subscription option: retained messages only for a new subscription.
pub(crate) const RETAIN_IF_NEW: u8 = 0b0001_0000;
/// Subscription option: no retained messages.
pub(crate) const RETAIN_NEVER: u8 = 0b0010_0000;

/// DISCONNECT, the short form that every version knows.
pub(crate) const DISCONNECT: &[u8] = &[0xE0, 0];
/// PINGREQ.
pub(crate) const PINGREQ: &[u8] = &[0xC0, 0];

/// A variable byte integer.
pub(crate) fn put_variable(out: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    loop {
        let digit = u8::try_from(rest & 0x7F).expect("seven bits");
        rest >>= 7;
        out.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            return;
        }
    }
}

/// A length and as many bytes: a string, or what pretends to be one.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("at most 65,535 bytes").to_be_bytes());
    out.extend(bytes);
}

/// A packet with this first byte and body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    put_variable(&mut out, u32::try_from(body.len()).expect("test packets are small"));
    out.extend(body);
    out
}

/// A will.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<Property>,
}

impl Will {
    /// A will at QoS 1, not retained, without properties.
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 1,
            retain: false,
            properties: Vec::new(),
        }
    }

    /// The same at another QoS.
    pub(crate) fn qos(self, qos: u8) -> Self {
        Self { qos, ..self }
    }

    /// The same, retained.
    pub(crate) fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    /// The same with one more property.
    pub(crate) fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

/// CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<Will>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) properties: Vec<Property>,
}

impl Connect {
    /// A clean start without a will, a keep-alive or a user.
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean_start: true,
            keep_alive: 0,
            will: None,
            user_name: None,
            password: None,
            properties: Vec::new(),
        }
    }

    /// Goes on with a session, or opens one, that outlives the connection.
    pub(crate) fn persistent(version: Version, client_id: &str) -> Self {
        let connect = Self { clean_start: false, ..Self::new(version, client_id) };
        if version.is_v5() { connect.with(Property::SessionExpiry(1_000)) } else { connect }
    }

    /// The same with one more property; version 5 only.
    pub(crate) fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    /// The same with a will.
    pub(crate) fn will(self, will: Will) -> Self {
        Self { will: Some(will), ..self }
    }

    /// The same with a keep-alive, in seconds.
    pub(crate) fn keep_alive(self, seconds: u16) -> Self {
        Self { keep_alive: seconds, ..self }
    }

    /// The same with a user name and a password.
    pub(crate) fn login(self, user_name: &str, password: &str) -> Self {
        Self { user_name: Some(user_name.into()), password: Some(password.into()), ..self }
    }

    /// The flags byte.
    pub(crate) fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean_start) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        flags | (u8::from(self.password.is_some()) << 6) | (u8::from(self.user_name.is_some()) << 7)
    }

    /// The packet.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(self.version.protocol_name(), self.version.level(), self.flags())
    }

    /// The packet with these values in its variable header, whatever they promise.
    pub(crate) fn bytes_with(&self, protocol_name: &str, level: u8, flags: u8) -> Vec<u8> {
        let mut body = Vec::new();
        put_string(&mut body, protocol_name.as_bytes());
        body.push(level);
        body.push(flags);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        put_string(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                put_properties(&mut body, &will.properties);
            }
            put_string(&mut body, will.topic.as_bytes());
            put_string(&mut body, &will.payload);
        }
        if let Some(user_name) = &self.user_name {
            put_string(&mut body, user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            put_string(&mut body, password);
        }
        frame(0x10, &body)
    }
}

/// PUBLISH, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    /// 0 at QoS 0, where it is not sent.
    pub(crate) packet_id: u16,
    pub(crate) properties: Vec<Property>,
}

impl Publish {
    /// At QoS 0, not retained.
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: 0,
            dup: false,
            retain: false,
            packet_id: 0,
            properties: Vec::new(),
        }
    }

    /// The same at another QoS; the client gives it a packet identifier if it has none.
    pub(crate) fn qos(self, qos: u8) -> Self {
        Self { qos, ..self }
    }

    /// The same with a packet identifier.
    pub(crate) fn id(self, packet_id: u16) -> Self {
        Self { packet_id, ..self }
    }

    /// The same, retained.
    pub(crate) fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    /// The same, marked as sent before.
    pub(crate) fn again(self) -> Self {
        Self { dup: true, ..self }
    }

    /// The same with one more property; version 5 only.
    pub(crate) fn with(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("test payloads are text")
    }

    /// The packet.
    pub(crate) fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        put_string(&mut body, self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if version.is_v5() {
            put_properties(&mut body, &self.properties);
        }
        body.extend(&self.payload);
        let first = 0x30 | (u8::from(self.dup) << 3) | (self.qos << 1) | u8::from(self.retain);
        frame(first, &body)
    }
}

/// SUBSCRIBE with `(filter, options)` pairs.
pub(crate) fn subscribe(
    version: Version,
    packet_id: u16,
    filters: &[(&str, u8)],
    properties: &[Property],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_v5() {
        put_properties(&mut body, properties);
    }
    for (filter, options) in filters {
        put_string(&mut body, filter.as_bytes());
        body.push(*options);
    }
    frame(0x82, &body)
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version.is_v5() {
        put_properties(&mut body, &[]);
    }
    for filter in filters {
        put_string(&mut body, filter.as_bytes());
    }
    frame(0xA2, &body)
}

/// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) that says success.
pub(crate) fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    frame(first, &packet_id.to_be_bytes())
}

/// The same with a reason code; version 5 only.
pub(crate) fn ack_with(first: u8, packet_id: u16, code: u8) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    frame(first, &[high, low, code])
}

/// DISCONNECT of version 5 with a reason code and properties.
pub(crate) fn disconnect_with(code: u8, properties: &[Property]) -> Vec<u8> {
    reason_packet(0xE0, code, properties)
}

/// AUTH with a reason code and properties.
pub(crate) fn auth(code: u8, properties: &[Property]) -> Vec<u8> {
    reason_packet(0xF0, code, properties)
}

fn reason_packet(first: u8, code: u8, properties: &[Property]) -> Vec<u8> {
    let mut body = vec![code];
    put_properties(&mut body, properties);
    frame(first, &body)
}
