//! rumqttc 0.25 as a peer, the codec of the client that people run: it reads what we write and writes it again, and we
//! read that. What it is known to get wrong is left out, each with its reason.

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::QoS;
use tidelog::mqtt::Subscribe;

use crate::check;
use crate::exchange;
use crate::generate::Generator;

const ROUNDS: u64 = 400;
const SIZE_MAX: usize = 1 << 20;

/// What rumqttc can't carry in version 5.
fn is_unsound_in_5(packet: &Packet) -> bool {
    match packet {
        // It writes AUTH and never reads it.
        Packet::Auth(_) => true,
        // It steps one byte too far behind a subscription identifier, and so misses what follows it.
        Packet::Subscribe(subscribe) => subscribe.subscription_id.is_some(),
        // It can't read 0x8C, which only section 2.4 lists for DISCONNECT.
        Packet::Disconnect(disconnect) => disconnect.reason_code.as_u8() == 0x8C,
        _ => exchange::has_odd_login(packet),
    }
}

#[test]
fn packets_of_3_1_1_survive_rumqttc() {
    let carried = exchange::exchange(
        ProtocolVersion::V3_1_1,
        exchange::has_odd_login,
        |packet, mut bytes| {
            let read = v4::Packet::read(&mut bytes, SIZE_MAX)
                .unwrap_or_else(|error| panic!("{error:?} {packet:?}"));
            let mut out = BytesMut::new();
            read.write(&mut out, SIZE_MAX).unwrap();
            out
        },
    );
    assert!(carried > 5_000, "{carried}");
}

#[test]
fn packets_of_5_survive_rumqttc() {
    let carried = exchange::exchange(ProtocolVersion::V5, is_unsound_in_5, |packet, mut bytes| {
        let read = v5::Packet::read(&mut bytes, None)
            .unwrap_or_else(|error| panic!("{error:?} {packet:?}"));
        compare(packet, &read);
        let mut out = BytesMut::new();
        read.write(&mut out, None).unwrap();
        // It writes a DISCONNECT with a reason and no properties as `E0 01 rc`, and a zero too many behind it.
        if matches!(packet, Packet::Disconnect(_)) && out[1] == 1 {
            out.truncate(3);
        }
        out
    });
    assert!(carried > 5_000, "{carried}");
}

#[test]
fn a_delivery_with_one_subscription_id_survives_rumqttc() {
    let version = ProtocolVersion::V5;
    let mut carried = 0;
    for seed in 0..ROUNDS {
        let mut publish = Generator::new(version, seed).delivery(1);
        // It steps one byte too far behind a subscription identifier: nothing may follow it in the block.
        if !publish.subscription_ids.is_empty() {
            publish.properties = tidelog::mqtt::MessageProperties::default();
        }
        let packet = Packet::Publish(Box::new(publish));
        let mut bytes = check::encode(&packet, version);
        let read = v5::Packet::read(&mut bytes, None).unwrap();
        let mut out = BytesMut::new();
        read.write(&mut out, None).unwrap();
        assert_eq!(exchange::decode(&packet, version, false, &out), packet, "seed {seed}");
        carried += 1;
    }
    assert_eq!(carried, ROUNDS);
}

fn compare(ours: &Packet, theirs: &v5::Packet) {
    match (ours, theirs) {
        (Packet::Connack(ours), v5::Packet::ConnAck(theirs)) => compare_connack(ours, theirs),
        (Packet::Subscribe(ours), v5::Packet::Subscribe(theirs)) => compare_subscribe(ours, theirs),
        (Packet::Disconnect(ours), v5::Packet::Disconnect(theirs)) => {
            assert_eq!(ours.reason_code.as_u8(), theirs.reason_code as u8);
            let properties = theirs.properties.as_ref();
            let reference =
                properties.and_then(|properties| properties.server_reference.as_deref());
            assert_eq!(ours.server_reference.as_deref(), reference);
            let reason = properties.and_then(|properties| properties.reason_string.as_deref());
            assert_eq!(ours.reason_string.as_deref(), reason);
        }
        _ => {}
    }
}

fn compare_connack(ours: &Connack, theirs: &v5::ConnAck) {
    assert_eq!(ours.session_present, theirs.session_present);
    let Some(properties) = &theirs.properties else {
        assert_eq!(
            ours,
            &Connack { session_present: ours.session_present, ..Connack::new(ours.reason_code) }
        );
        return;
    };
    assert_eq!(ours.session_expiry_interval, properties.session_expiry_interval);
    assert_eq!(ours.receive_maximum.map(std::num::NonZero::get), properties.receive_max);
    assert_eq!(ours.maximum_qos.map(QoS::as_u8), properties.max_qos);
    assert_eq!(ours.retain_available.map(u8::from), properties.retain_available);
    assert_eq!(ours.maximum_packet_size.map(std::num::NonZero::get), properties.max_packet_size);
    assert_eq!(
        ours.assigned_client_id.as_deref(),
        properties.assigned_client_identifier.as_deref()
    );
    assert_eq!(ours.topic_alias_maximum, properties.topic_alias_max);
    assert_eq!(ours.reason_string.as_deref(), properties.reason_string.as_deref());
    assert_eq!(
        ours.wildcard_subscription_available.map(u8::from),
        properties.wildcard_subscription_available
    );
    assert_eq!(
        ours.subscription_ids_available.map(u8::from),
        properties.subscription_identifiers_available
    );
    assert_eq!(
        ours.shared_subscription_available.map(u8::from),
        properties.shared_subscription_available
    );
    assert_eq!(ours.server_keep_alive, properties.server_keep_alive);
    assert_eq!(ours.response_information.as_deref(), properties.response_information.as_deref());
    assert_eq!(ours.server_reference.as_deref(), properties.server_reference.as_deref());
    assert_eq!(ours.authentication_method.as_deref(), properties.authentication_method.as_deref());
    assert_eq!(ours.authentication_data, properties.authentication_data);
}

fn compare_subscribe(ours: &Subscribe, theirs: &v5::Subscribe) {
    assert_eq!((ours.packet_id.get(), ours.filters.len()), (theirs.pkid, theirs.filters.len()));
    for (ours, theirs) in ours.filters.iter().zip(&theirs.filters) {
        let options = ours.options;
        assert_eq!(
            (ours.filter.text().as_str(), options.qos.as_u8()),
            (theirs.path.as_str(), theirs.qos as u8)
        );
        assert_eq!(
            (options.no_local, options.retain_as_published),
            (theirs.nolocal, theirs.preserve_retain)
        );
        let handling = match theirs.retain_forward_rule {
            v5::RetainForwardRule::OnEverySubscribe => 0,
            v5::RetainForwardRule::OnNewSubscribe => 1,
            v5::RetainForwardRule::Never => 2,
        };
        assert_eq!(options.retain_handling.as_u8(), handling);
    }
}
