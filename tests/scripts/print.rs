//! The one readable form of a packet: its name, then what is not at its default, in a fixed order.
//!
//! Limits that the server announces in every CONNACK (Receive Maximum, Maximum Packet Size, Topic Alias Maximum) are left out
//! unless the script asks for them with `show limits`.

use std::fmt::Write as _;

use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Text;
use tidelog::mqtt::UserProperties;

/// How packets are printed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Show {
    pub(crate) limits: bool,
    /// Reason Strings too.
    pub(crate) reasons: bool,
}

/// A line being made.
struct Line(String);

impl Line {
    fn word(&mut self, name: &str, set: bool) {
        if set {
            write!(self.0, " {name}").unwrap();
        }
    }

    fn value(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            write!(self.0, " {name}={value}").unwrap();
        }
    }
}

/// A packet as a line.
pub(crate) fn packet(packet: &Packet, version: ProtocolVersion, show: Show) -> String {
    match packet {
        Packet::Connack(packet) => connack(packet, version, show),
        Packet::Publish(packet) => publish(packet),
        Packet::Puback(packet) => ack("PUBACK", packet, show),
        Packet::Pubrec(packet) => ack("PUBREC", packet, show),
        Packet::Pubrel(packet) => ack("PUBREL", packet, show),
        Packet::Pubcomp(packet) => ack("PUBCOMP", packet, show),
        Packet::Suback(packet) => {
            let codes = codes(&packet.reason_codes, granted);
            let mut line = Line(format!("SUBACK id={} {codes}", packet.packet_id));
            reason_string(&mut line, packet.reason_string.as_ref(), show);
            line.0
        }
        Packet::Unsuback(packet) if version.is_v5() => {
            format!("UNSUBACK id={} {}", packet.packet_id, codes(&packet.reason_codes, reason))
        }
        Packet::Unsuback(packet) => format!("UNSUBACK id={}", packet.packet_id),
        Packet::Pingresp => "PINGRESP".to_owned(),
        Packet::Disconnect(packet) => disconnect(packet, show),
        Packet::Auth(packet) => auth(packet),
        other @ (Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::Pingreq) => {
            format!("{other:?}")
        }
    }
}

fn connack(packet: &Connack, version: ProtocolVersion, show: Show) -> String {
    let mut line = Line(format!("CONNACK {}", reason(packet.reason_code)));
    if packet.reason_code == ReasonCode::Success && version != ProtocolVersion::V3_1 {
        line.value("session_present", Some(packet.session_present));
    }
    line.value("session_expiry_interval", packet.session_expiry_interval);
    if show.limits {
        line.value("receive_maximum", packet.receive_maximum);
        line.value("maximum_packet_size", packet.maximum_packet_size);
        line.value("topic_alias_maximum", packet.topic_alias_maximum);
    }
    line.value("maximum_qos", packet.maximum_qos);
    line.value("retain_available", packet.retain_available);
    line.word("assigned_client_id", packet.assigned_client_id.is_some());
    line.value("server_keep_alive", packet.server_keep_alive);
    line.value("response_information", packet.response_information.as_ref());
    line.value("authentication_method", packet.authentication_method.as_ref());
    reason_string(&mut line, packet.reason_string.as_ref(), show);
    user_properties(&mut line, &packet.user_properties);
    line.0
}

fn publish(packet: &Publish) -> String {
    let mut line = Line("PUBLISH".to_owned());
    line.value("qos", Some(packet.qos));
    line.value("id", packet.packet_id);
    line.value("topic", packet.topic.as_ref());
    line.value("alias", packet.topic_alias);
    line.value("payload", Some(String::from_utf8_lossy(&packet.payload)));
    line.word("dup", packet.dup);
    line.word("retain", packet.retain);
    let mut ids: Vec<u32> = packet.subscription_ids.iter().map(|id| id.get()).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    line.value("subscription_ids", (!ids.is_empty()).then(|| ids.join(",")));
    message_properties(&mut line, &packet.properties);
    line.0
}

fn message_properties(line: &mut Line, properties: &MessageProperties) {
    line.value("utf8", properties.payload_format_indicator);
    line.value("expiry", properties.message_expiry_interval);
    line.value("content_type", properties.content_type.as_ref());
    line.value("response_topic", properties.response_topic.as_ref());
    line.value(
        "correlation",
        properties.correlation_data.as_ref().map(|data| String::from_utf8_lossy(data).into_owned()),
    );
    user_properties(line, &properties.user_properties);
}

fn ack(name: &str, packet: &Ack, show: Show) -> String {
    let mut line = Line(format!("{name} id={}", packet.packet_id));
    if packet.reason_code != ReasonCode::Success {
        line.word(&reason(packet.reason_code), true);
    }
    reason_string(&mut line, packet.reason_string.as_ref(), show);
    user_properties(&mut line, &packet.user_properties);
    line.0
}

fn disconnect(packet: &Disconnect, show: Show) -> String {
    let mut line = Line(format!("DISCONNECT {}", reason(packet.reason_code)));
    line.value("server_reference", packet.server_reference.as_ref());
    reason_string(&mut line, packet.reason_string.as_ref(), show);
    line.0
}

fn auth(packet: &Auth) -> String {
    let mut line = Line(format!("AUTH {}", reason(packet.reason_code)));
    line.value("method", packet.authentication_method.as_ref());
    line.word("data", packet.authentication_data.is_some());
    line.0
}

fn reason_string(line: &mut Line, text: Option<&Text>, show: Show) {
    if show.reasons {
        line.value("reason", text);
    }
}

fn user_properties(line: &mut Line, properties: &UserProperties) {
    for (name, value) in properties {
        line.value("user", Some(format!("{name}:{value}")));
    }
}

fn codes(codes: &[ReasonCode], name: impl Fn(ReasonCode) -> String) -> String {
    codes.iter().map(|code| name(*code)).collect::<Vec<_>>().join(",")
}

fn granted(code: ReasonCode) -> String {
    code.granted_qos().map_or_else(|| reason(code), |qos: QoS| format!("qos{qos}"))
}

/// The name of a reason code, in the form of the specification's words.
fn reason(code: ReasonCode) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
