//! Packets in a few words, for `-d`.

use crate::mqtt::Ack;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::Publish;
use crate::mqtt::ReasonCode;

/// One line about a packet; payloads by their length only.
pub(super) fn describe(packet: &Packet) -> String {
    match packet {
        Packet::Connect(connect) => format!(
            "CONNECT (version {}, client id '{}', clean start {}, keep alive {})",
            connect.version,
            connect.client_id,
            u8::from(connect.clean_start),
            connect.keep_alive
        ),
        Packet::Connack(connack) => format!(
            "CONNACK ({}, session present {})",
            describe_code(connack.reason_code),
            u8::from(connack.session_present)
        ),
        Packet::Publish(publish) => describe_publish(publish),
        Packet::Puback(ack) => describe_ack("PUBACK", ack),
        Packet::Pubrec(ack) => describe_ack("PUBREC", ack),
        Packet::Pubrel(ack) => describe_ack("PUBREL", ack),
        Packet::Pubcomp(ack) => describe_ack("PUBCOMP", ack),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter();
            let filters: Vec<_> =
                filters.map(|each| format!("'{}' q{}", each.filter, each.options.qos)).collect();
            format!("SUBSCRIBE (m{}, {})", subscribe.packet_id, filters.join(", "))
        }
        Packet::Suback(suback) => {
            let codes = suback.reason_codes.iter();
            let codes: Vec<_> = codes.map(|code| describe_code(*code)).collect();
            format!("SUBACK (m{}, {})", suback.packet_id, codes.join(", "))
        }
        Packet::Unsubscribe(unsubscribe) => format!("UNSUBSCRIBE (m{})", unsubscribe.packet_id),
        Packet::Unsuback(unsuback) => format!("UNSUBACK (m{})", unsuback.packet_id),
        Packet::Pingreq => "PINGREQ".to_owned(),
        Packet::Pingresp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => {
            format!("DISCONNECT ({})", describe_code(disconnect.reason_code))
        }
        Packet::Auth(auth) => format!("AUTH ({})", auth.reason_code),
    }
}

fn describe_publish(publish: &Publish) -> String {
    format!(
        "PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(publish.dup),
        publish.qos,
        u8::from(publish.retain),
        publish.packet_id.map_or(0, PacketId::get),
        publish.topic.as_deref().unwrap_or_default(),
        publish.payload.len()
    )
}

fn describe_ack(name: &str, ack: &Ack) -> String {
    format!("{name} (m{}, {})", ack.packet_id, describe_code(ack.reason_code))
}

/// The code by its number, and in words if it is a failure.
fn describe_code(code: ReasonCode) -> String {
    if code.is_error() { code.to_string() } else { code.as_u8().to_string() }
}
