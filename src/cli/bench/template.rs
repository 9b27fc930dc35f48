//! A PUBLISH that is encoded once; of each message only the packet id and the stamp are new.

use bytes::Bytes;
use bytes::BytesMut;

use super::error::LoadError;
use super::stamp::FILLER;
use super::stamp::STAMP_BYTES;
use super::stamp::Stamp;
use crate::mqtt::MessageProperties;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::TopicName;

/// The bytes between the holes.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Before the packet id.
    head: Vec<u8>,
    has_packet_id: bool,
    /// Between packet id and stamp: the properties.
    middle: Vec<u8>,
    /// Behind the stamp.
    filler: Vec<u8>,
}

impl Template {
    /// A PUBLISH with a payload of `size` bytes, which has room for a stamp.
    ///
    /// # Errors
    /// Fails if there is no such packet.
    pub(super) fn new(
        topic: TopicName,
        qos: QoS,
        size: usize,
        properties: MessageProperties,
        version: ProtocolVersion,
    ) -> Result<Self, LoadError> {
        let topic_length = topic.len();
        let mut publish = Publish::new(topic, Bytes::from(vec![FILLER; size.max(STAMP_BYTES)]));
        publish.qos = qos;
        publish.packet_id = (qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        publish.properties = properties;
        let mut bytes = BytesMut::new();
        Packet::Publish(Box::new(publish)).encode(version, &mut bytes)?;
        let digits = bytes.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let has_packet_id = qos != QoS::AtMostOnce;
        let payload_at = bytes.len() - size.max(STAMP_BYTES);
        let filler = bytes.split_off(payload_at).split_off(STAMP_BYTES);
        let mut middle = bytes.split_off(1 + digits + 2 + topic_length);
        if has_packet_id {
            drop(middle.split_to(2));
        }
        let [head, middle, filler] = [bytes, middle, filler].map(|part| part.to_vec());
        Ok(Self { head, has_packet_id, middle, filler })
    }

    /// How long each packet is, in bytes.
    pub(super) fn packet_length(&self) -> usize {
        let packet_id = if self.has_packet_id { 2 } else { 0 };
        self.head.len() + packet_id + self.middle.len() + STAMP_BYTES + self.filler.len()
    }

    /// Puts one more packet behind what is in `out`. Without `QoS` the packet id is left out.
    pub(super) fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: Stamp) {
        out.reserve(self.packet_length());
        out.extend_from_slice(&self.head);
        if self.has_packet_id {
            out.extend_from_slice(&packet_id.to_be_bytes());
        }
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(&stamp.encode());
        out.extend_from_slice(&self.filler);
    }
}

#[cfg(test)]
mod tests {
    use crate::mqtt::Decoder;
    use crate::mqtt::Text;

    use super::*;

    #[track_caller]
    fn check(qos: QoS, size: usize, version: ProtocolVersion, properties: MessageProperties) {
        let topic = TopicName::try_from("some/topic").unwrap();
        let template = Template::new(topic, qos, size, properties.clone(), version).unwrap();
        let mut out = vec![0xC0, 0];
        let stamp = Stamp { run: 1, publisher: 2, number: 3, due: 4 };
        template.append(&mut out, 0x1234, stamp);
        assert_eq!(out.len(), 2 + template.packet_length());
        let mut decoder = Decoder::for_client(version, 1 << 20);
        let mut input = BytesMut::from(&out[2..]);
        let Some(Packet::Publish(publish)) = decoder.decode(&mut input).unwrap() else {
            panic!("no PUBLISH")
        };
        assert!(input.is_empty());
        assert_eq!(publish.topic.as_deref(), Some("some/topic"));
        assert_eq!((publish.qos, publish.payload.len()), (qos, size));
        let packet_id = (qos != QoS::AtMostOnce).then(|| PacketId::new(0x1234).unwrap());
        assert_eq!((publish.packet_id, publish.properties), (packet_id, properties));
        let (found, filler) = Stamp::split(&publish.payload).unwrap();
        assert_eq!(found, stamp);
        assert!(filler.iter().all(|byte| *byte == FILLER));
    }

    #[test]
    fn what_comes_out_is_a_publish_with_its_id_and_stamp() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for version in [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
                for size in [STAMP_BYTES, 128, 20_000] {
                    check(qos, size, version, MessageProperties::default());
                }
            }
        }
    }

    #[test]
    fn properties_stay_between_id_and_payload() {
        let properties = MessageProperties {
            content_type: Some(Text::from_static("application/octet-stream")),
            ..MessageProperties::default()
        };
        check(QoS::AtLeastOnce, 100, ProtocolVersion::V5, properties.clone());
        check(QoS::AtMostOnce, 100, ProtocolVersion::V5, properties);
    }
}
