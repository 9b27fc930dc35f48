//! mqttbytes 0.6 as an independent peer: it reads what we write and writes it again, and we read that; and what it
//! made of it in between is compared field by field. What it is known to get wrong is left out, each with its reason.

use bytes::BytesMut;
use mqttbytes::v4;
use mqttbytes::v5;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketType;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::Subscribe;

use crate::exchange;

const SIZE_MAX: usize = 1 << 20;

fn write_v4(packet: &v4::Packet, out: &mut BytesMut) {
    let written = match packet {
        v4::Packet::Connect(packet) => packet.write(out),
        v4::Packet::ConnAck(packet) => packet.write(out),
        v4::Packet::Publish(packet) => packet.write(out),
        v4::Packet::PubAck(packet) => packet.write(out),
        v4::Packet::PubRec(packet) => packet.write(out),
        v4::Packet::PubRel(packet) => packet.write(out),
        v4::Packet::PubComp(packet) => packet.write(out),
        v4::Packet::Subscribe(packet) => packet.write(out),
        v4::Packet::SubAck(packet) => packet.write(out),
        v4::Packet::Unsubscribe(packet) => packet.write(out),
        v4::Packet::UnsubAck(packet) => packet.write(out),
        v4::Packet::PingReq => v4::PingReq.write(out),
        v4::Packet::PingResp => v4::PingResp.write(out),
        v4::Packet::Disconnect => v4::Disconnect.write(out),
    };
    written.unwrap();
}

fn write_v5(packet: &v5::Packet, out: &mut BytesMut) {
    let written = match packet {
        v5::Packet::Connect(packet) => packet.write(out),
        v5::Packet::ConnAck(packet) => packet.write(out),
        v5::Packet::Publish(packet) => packet.write(out),
        v5::Packet::PubAck(packet) => packet.write(out),
        v5::Packet::PubRec(packet) => packet.write(out),
        v5::Packet::PubRel(packet) => packet.write(out),
        v5::Packet::PubComp(packet) => packet.write(out),
        v5::Packet::Subscribe(packet) => packet.write(out),
        v5::Packet::SubAck(packet) => packet.write(out),
        v5::Packet::Unsubscribe(packet) => packet.write(out),
        v5::Packet::UnsubAck(packet) => packet.write(out),
        v5::Packet::PingReq => v5::PingReq.write(out),
        v5::Packet::PingResp => v5::PingResp.write(out),
        v5::Packet::Disconnect(packet) => packet.write(out),
    };
    written.unwrap();
}

/// What mqttbytes can't carry in version 5.
fn is_unsound_in_5(packet: &Packet) -> bool {
    match packet {
        // It has no AUTH.
        Packet::Auth(_) => true,
        // It steps one byte too far behind a subscription identifier, and so misses what follows it.
        Packet::Subscribe(subscribe) => subscribe.subscription_id.is_some(),
        // It can't read 0x8C, which only section 2.4 lists for DISCONNECT.
        Packet::Disconnect(disconnect) => disconnect.reason_code.as_u8() == 0x8C,
        _ => exchange::has_odd_login(packet),
    }
}

#[test]
fn packets_of_3_1_1_survive_mqttbytes() {
    let carried = exchange::exchange(
        ProtocolVersion::V3_1_1,
        exchange::has_odd_login,
        |packet, mut bytes| {
            let read = v4::read(&mut bytes, SIZE_MAX).unwrap();
            compare_v4(packet, &read);
            let mut out = BytesMut::new();
            write_v4(&read, &mut out);
            out
        },
    );
    assert!(carried > 5_000, "{carried}");
}

#[test]
fn packets_of_5_survive_mqttbytes() {
    let carried = exchange::exchange(ProtocolVersion::V5, is_unsound_in_5, |packet, mut bytes| {
        let read =
            v5::read(&mut bytes, SIZE_MAX).unwrap_or_else(|error| panic!("{error:?} {packet:?}"));
        compare_v5(packet, &read);
        let mut out = BytesMut::new();
        write_v5(&read, &mut out);
        out
    });
    assert!(carried > 5_000, "{carried}");
}

fn compare_v4(ours: &Packet, theirs: &v4::Packet) {
    match (ours, theirs) {
        (Packet::Connect(ours), v4::Packet::Connect(theirs)) => compare_connect_v4(ours, theirs),
        (Packet::Publish(ours), v4::Packet::Publish(theirs)) => compare_publish_v4(ours, theirs),
        (Packet::Subscribe(ours), v4::Packet::Subscribe(theirs)) => {
            compare_subscribe_v4(ours, theirs);
        }
        (Packet::Connack(ours), v4::Packet::ConnAck(theirs)) => {
            assert_eq!(ours.session_present, theirs.session_present);
            assert_eq!(ours.reason_code.connack_return_code(), Some(theirs.code as u8));
        }
        (Packet::Puback(ours), v4::Packet::PubAck(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Pubrec(ours), v4::Packet::PubRec(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Pubrel(ours), v4::Packet::PubRel(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Pubcomp(ours), v4::Packet::PubComp(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Suback(ours), v4::Packet::SubAck(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Unsuback(ours), v4::Packet::UnsubAck(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
        }
        (Packet::Unsubscribe(ours), v4::Packet::Unsubscribe(theirs)) => {
            let filters: Vec<&str> =
                ours.filters.iter().map(|filter| filter.text().as_str()).collect();
            assert_eq!(
                (ours.packet_id.get(), filters),
                (theirs.pkid, theirs.topics.iter().map(String::as_str).collect())
            );
        }
        (Packet::Pingreq, v4::Packet::PingReq)
        | (Packet::Pingresp, v4::Packet::PingResp)
        | (Packet::Disconnect(_), v4::Packet::Disconnect) => {}
        _ => panic!("{ours:?} became {theirs:?}"),
    }
}

fn compare_connect_v4(ours: &Connect, theirs: &v4::Connect) {
    assert_eq!(
        (ours.client_id.as_str(), ours.keep_alive),
        (theirs.client_id.as_str(), theirs.keep_alive)
    );
    assert_eq!(ours.clean_start, theirs.clean_session);
    assert_eq!(
        ours.user_name.as_deref(),
        theirs.login.as_ref().map(|login| login.username.as_str())
    );
    let password = theirs.login.as_ref().map(|login| login.password.as_bytes());
    assert_eq!(ours.password.as_deref(), password);
    assert_eq!(ours.will.is_some(), theirs.last_will.is_some());
    if let (Some(ours), Some(theirs)) = (&ours.will, &theirs.last_will) {
        assert_eq!((ours.topic.as_str(), &ours.payload), (theirs.topic.as_str(), &theirs.message));
        assert_eq!((ours.qos.as_u8(), ours.retain), (theirs.qos as u8, theirs.retain));
    }
}

fn compare_publish_v4(ours: &Publish, theirs: &v4::Publish) {
    assert_eq!(ours.topic.as_deref(), Some(theirs.topic.as_str()));
    assert_eq!(
        (ours.dup, ours.qos.as_u8(), ours.retain),
        (theirs.dup, theirs.qos as u8, theirs.retain)
    );
    assert_eq!(ours.packet_id.map_or(0, tidelog::mqtt::PacketId::get), theirs.pkid);
    assert_eq!(ours.payload, theirs.payload);
}

fn compare_subscribe_v4(ours: &Subscribe, theirs: &v4::Subscribe) {
    assert_eq!(ours.packet_id.get(), theirs.pkid);
    assert_eq!(ours.filters.len(), theirs.filters.len());
    for (ours, theirs) in ours.filters.iter().zip(&theirs.filters) {
        assert_eq!(
            (ours.filter.text().as_str(), ours.options.qos.as_u8()),
            (theirs.path.as_str(), theirs.qos as u8)
        );
    }
}

fn compare_v5(ours: &Packet, theirs: &v5::Packet) {
    match (ours, theirs) {
        (Packet::Connect(ours), v5::Packet::Connect(theirs)) => compare_connect_v5(ours, theirs),
        (Packet::Publish(ours), v5::Packet::Publish(theirs)) => compare_publish_v5(ours, theirs),
        (Packet::Puback(ours), v5::Packet::PubAck(theirs)) => {
            let reason = theirs
                .properties
                .as_ref()
                .and_then(|properties| properties.reason_string.as_deref());
            assert_eq!(ours.reason_string.as_deref(), reason);
            assert_eq!(
                (ours.packet_id.get(), ours.reason_code.as_u8()),
                (theirs.pkid, puback_code(theirs.reason))
            );
        }
        _ => assert_eq!(ours.packet_type(), type_v5(theirs)),
    }
}

fn puback_code(reason: v5::PubAckReason) -> u8 {
    match reason {
        v5::PubAckReason::Success => 0x00,
        v5::PubAckReason::NoMatchingSubscribers => 0x10,
        v5::PubAckReason::UnspecifiedError => 0x80,
        v5::PubAckReason::ImplementationSpecificError => 0x83,
        v5::PubAckReason::NotAuthorized => 0x87,
        v5::PubAckReason::TopicNameInvalid => 0x90,
        v5::PubAckReason::PacketIdentifierInUse => 0x91,
        v5::PubAckReason::QuotaExceeded => 0x97,
        v5::PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

fn type_v5(packet: &v5::Packet) -> PacketType {
    match packet {
        v5::Packet::Connect(_) => PacketType::Connect,
        v5::Packet::ConnAck(_) => PacketType::Connack,
        v5::Packet::Publish(_) => PacketType::Publish,
        v5::Packet::PubAck(_) => PacketType::Puback,
        v5::Packet::PubRec(_) => PacketType::Pubrec,
        v5::Packet::PubRel(_) => PacketType::Pubrel,
        v5::Packet::PubComp(_) => PacketType::Pubcomp,
        v5::Packet::Subscribe(_) => PacketType::Subscribe,
        v5::Packet::SubAck(_) => PacketType::Suback,
        v5::Packet::Unsubscribe(_) => PacketType::Unsubscribe,
        v5::Packet::UnsubAck(_) => PacketType::Unsuback,
        v5::Packet::PingReq => PacketType::Pingreq,
        v5::Packet::PingResp => PacketType::Pingresp,
        v5::Packet::Disconnect(_) => PacketType::Disconnect,
    }
}

fn compare_connect_v5(ours: &Connect, theirs: &v5::Connect) {
    assert_eq!(
        (ours.client_id.as_str(), ours.keep_alive),
        (theirs.client_id.as_str(), theirs.keep_alive)
    );
    assert_eq!(ours.clean_start, theirs.clean_session);
    let Some(properties) = &theirs.properties else {
        assert_eq!((ours.session_expiry_interval, ours.receive_maximum), (None, None));
        return;
    };
    assert_eq!(ours.session_expiry_interval, properties.session_expiry_interval);
    assert_eq!(ours.receive_maximum.map(std::num::NonZero::get), properties.receive_maximum);
    assert_eq!(ours.maximum_packet_size.map(std::num::NonZero::get), properties.max_packet_size);
    assert_eq!(ours.topic_alias_maximum, properties.topic_alias_max);
    assert_eq!(
        ours.request_response_information,
        properties.request_response_info.unwrap_or(0) == 1
    );
    assert_eq!(ours.request_problem_information, properties.request_problem_info.unwrap_or(1) == 1);
    assert_eq!(ours.authentication_method.as_deref(), properties.authentication_method.as_deref());
    assert_eq!(ours.authentication_data, properties.authentication_data);
}

fn compare_publish_v5(ours: &Publish, theirs: &v5::Publish) {
    assert_eq!(ours.topic.as_deref().unwrap_or_default(), theirs.topic);
    assert_eq!(
        (ours.dup, ours.qos.as_u8(), ours.retain),
        (theirs.dup, theirs.qos as u8, theirs.retain)
    );
    assert_eq!(ours.packet_id.map_or(0, tidelog::mqtt::PacketId::get), theirs.pkid);
    assert_eq!(ours.payload, theirs.payload);
    let Some(properties) = &theirs.properties else {
        assert!(ours.properties.is_empty() && ours.topic_alias.is_none());
        return;
    };
    assert_eq!(ours.topic_alias.map(std::num::NonZero::get), properties.topic_alias);
    let ours = &ours.properties;
    assert_eq!(ours.payload_format_indicator.map(u8::from), properties.payload_format_indicator);
    assert_eq!(ours.message_expiry_interval, properties.message_expiry_interval);
    assert_eq!(ours.content_type.as_deref(), properties.content_type.as_deref());
    assert_eq!(ours.response_topic.as_deref(), properties.response_topic.as_deref());
    assert_eq!(ours.correlation_data, properties.correlation_data);
    let pairs: Vec<_> = ours
        .user_properties
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    assert_eq!(pairs, properties.user_properties);
}
