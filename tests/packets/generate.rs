//! Packets out of a seed: every field present or absent, every number at its edges.

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::PacketType;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Suback;
use tidelog::mqtt::Subscribe;
use tidelog::mqtt::SubscribeFilter;
use tidelog::mqtt::SubscriptionFilter;
use tidelog::mqtt::SubscriptionId;
use tidelog::mqtt::SubscriptionIds;
use tidelog::mqtt::SubscriptionOptions;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::mqtt::Unsuback;
use tidelog::mqtt::Unsubscribe;
use tidelog::mqtt::UserProperties;
use tidelog::mqtt::Will;

/// Numbers out of a seed (`SplitMix64`), and packets out of the numbers.
pub(crate) struct Generator {
    state: u64,
    version: ProtocolVersion,
}

/// The types of packets that a client sends in this version.
pub(crate) fn from_client(version: ProtocolVersion) -> Vec<PacketType> {
    use PacketType as P;
    let mut types = vec![P::Connect, P::Publish, P::Puback, P::Pubrec, P::Pubrel, P::Pubcomp];
    types.extend([P::Subscribe, P::Unsubscribe, P::Pingreq, P::Disconnect]);
    if version.is_v5() {
        types.push(P::Auth);
    }
    types
}

/// The types of packets that a server sends in this version.
pub(crate) fn from_server(version: ProtocolVersion) -> Vec<PacketType> {
    use PacketType as P;
    let mut types = vec![P::Connack, P::Publish, P::Puback, P::Pubrec, P::Pubrel, P::Pubcomp];
    types.extend([P::Suback, P::Unsuback, P::Pingresp]);
    if version.is_v5() {
        types.extend([P::Disconnect, P::Auth]);
    }
    types
}

impl Generator {
    pub(crate) fn new(version: ProtocolVersion, seed: u64) -> Self {
        Self { state: seed, version }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.number() & 1 == 1
    }

    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.coin() { Some(make(self)) } else { None }
    }

    /// What only version 5 has, sometimes.
    fn maybe_v5<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.version.is_v5() { self.maybe(make) } else { None }
    }

    fn u16(&mut self) -> u16 {
        let any = u16::from_le_bytes([self.byte(), self.byte()]);
        self.pick(&[0, 1, 0x7F, 0x80, 0xFF, 0x100, u16::MAX, any])
    }

    fn u32(&mut self) -> u32 {
        let any = u32::try_from(self.number() >> 32).unwrap();
        self.pick(&[
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            2_097_151,
            2_097_152,
            268_435_455,
            u32::MAX,
            any,
        ])
    }

    fn non_zero_u16(&mut self) -> NonZeroU16 {
        NonZeroU16::new(self.u16()).unwrap_or(NonZeroU16::MIN)
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(self.u16()).unwrap_or(PacketId::MAX)
    }

    fn subscription_id(&mut self) -> SubscriptionId {
        SubscriptionId::new(self.u32()).unwrap_or(SubscriptionId::new(1).unwrap())
    }

    pub(crate) fn text(&mut self) -> Text {
        let any = [
            "",
            "a",
            "sensor",
            "ä",
            "€",
            "\u{10FFFF}",
            "\u{FEFF}x",
            "with space",
            "a\u{1}b",
            "\u{7F}",
        ];
        let mut text = self.pick(&any).to_owned();
        if self.below(20) == 0 {
            text = text.repeat(40);
        }
        Text::try_from(text).unwrap()
    }

    fn binary(&mut self) -> Bytes {
        let length = self.pick(&[0, 1, 5, 130]);
        (0..length).map(|_| self.byte()).collect()
    }

    fn payload(&mut self) -> Bytes {
        let length = self.pick(&[0, 1, 3, 100, 127, 128, 300]);
        (0..length).map(|_| self.byte()).collect()
    }

    fn topic(&mut self) -> TopicName {
        TopicName::try_from(self.pick(&[
            "a",
            "/",
            "a/b",
            "//",
            "$SYS/x",
            "é/ü/€",
            "sport/tennis/player1",
        ]))
        .unwrap()
    }

    fn filter(&mut self) -> SubscriptionFilter {
        let any = ["#", "+", "a/b", "/", "+/+/#", "$SYS/#", "é/+/ü", "$share/g/a/+", "$share/ü//#"];
        SubscriptionFilter::parse(self.pick(&any)).unwrap()
    }

    fn user_properties(&mut self) -> UserProperties {
        let count = if self.version.is_v5() { self.pick(&[0, 0, 1, 2, 3]) } else { 0 };
        (0..count).map(|_| (self.text(), self.text())).collect()
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn reason_code(&mut self, packet: PacketType) -> ReasonCode {
        let allowed: Vec<_> =
            ReasonCode::ALL.iter().filter(|code| code.is_allowed_in(packet)).copied().collect();
        self.pick(&allowed)
    }

    /// A packet of this type.
    pub(crate) fn packet(&mut self, packet_type: PacketType) -> Packet {
        match packet_type {
            PacketType::Connect => Packet::Connect(Box::new(self.connect())),
            PacketType::Connack => Packet::Connack(Box::new(self.connack())),
            PacketType::Publish => Packet::Publish(Box::new(self.publish())),
            PacketType::Puback => Packet::Puback(self.ack(packet_type)),
            PacketType::Pubrec => Packet::Pubrec(self.ack(packet_type)),
            PacketType::Pubrel => Packet::Pubrel(self.ack(packet_type)),
            PacketType::Pubcomp => Packet::Pubcomp(self.ack(packet_type)),
            PacketType::Subscribe => Packet::Subscribe(Box::new(self.subscribe())),
            PacketType::Suback => Packet::Suback(self.suback()),
            PacketType::Unsubscribe => Packet::Unsubscribe(Box::new(self.unsubscribe())),
            PacketType::Unsuback => Packet::Unsuback(self.unsuback()),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(Box::new(self.disconnect())),
            PacketType::Auth => Packet::Auth(Box::new(self.auth())),
        }
    }

    fn connect(&mut self) -> Connect {
        let mut connect = Connect::new(self.version, self.text());
        connect.clean_start = self.coin();
        connect.keep_alive = self.u16();
        connect.will = self.maybe(Self::will);
        connect.user_name = self.maybe(Self::text);
        if connect.user_name.is_some() || self.version.is_v5() {
            connect.password = self.maybe(Self::binary);
        }
        connect.session_expiry_interval = self.maybe_v5(Self::u32);
        connect.receive_maximum = self.maybe_v5(Self::non_zero_u16);
        connect.maximum_packet_size = self.maybe_v5(Self::u32).and_then(NonZeroU32::new);
        connect.topic_alias_maximum = self.maybe_v5(Self::u16);
        connect.request_response_information = self.version.is_v5() && self.coin();
        connect.request_problem_information = !self.version.is_v5() || self.coin();
        connect.authentication_method = self.maybe_v5(Self::text);
        if connect.authentication_method.is_some() {
            connect.authentication_data = self.maybe_v5(Self::binary);
        }
        connect.user_properties = self.user_properties();
        connect
    }

    fn will(&mut self) -> Will {
        Will {
            topic: self.topic(),
            payload: self.binary(),
            qos: self.qos(),
            retain: self.coin(),
            delay_interval: self.maybe_v5(Self::u32).unwrap_or(0),
            properties: self.message_properties(),
        }
    }

    fn message_properties(&mut self) -> MessageProperties {
        MessageProperties {
            payload_format_indicator: self.maybe_v5(Self::coin),
            message_expiry_interval: self.maybe_v5(Self::u32),
            content_type: self.maybe_v5(Self::text),
            response_topic: self.maybe_v5(Self::topic),
            correlation_data: self.maybe_v5(Self::binary),
            user_properties: self.user_properties(),
        }
    }

    fn connack(&mut self) -> Connack {
        if !self.version.is_v5() {
            let reason_code = ReasonCode::from_connack_return_code(self.byte() % 6).unwrap();
            let may_be_present =
                reason_code == ReasonCode::Success && self.version == ProtocolVersion::V3_1_1;
            return Connack {
                session_present: may_be_present && self.coin(),
                ..Connack::new(reason_code)
            };
        }
        let refusal = self.reason_code(PacketType::Connack);
        let reason_code = self.pick(&[ReasonCode::Success, refusal]);
        let authentication_method = self.maybe(Self::text);
        Connack {
            session_present: reason_code == ReasonCode::Success && self.coin(),
            reason_code,
            session_expiry_interval: self.maybe(Self::u32),
            receive_maximum: self.maybe(Self::non_zero_u16),
            maximum_qos: self.pick(&[None, Some(QoS::AtMostOnce), Some(QoS::AtLeastOnce)]),
            retain_available: self.maybe(Self::coin),
            maximum_packet_size: self.maybe(Self::u32).and_then(NonZeroU32::new),
            assigned_client_id: self
                .maybe(Self::text)
                .and_then(|text| ClientId::try_from(text).ok()),
            topic_alias_maximum: self.maybe(Self::u16),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            wildcard_subscription_available: self.maybe(Self::coin),
            subscription_ids_available: self.maybe(Self::coin),
            shared_subscription_available: self.maybe(Self::coin),
            server_keep_alive: self.maybe(Self::u16),
            response_information: self.maybe(Self::text),
            server_reference: self.maybe(Self::text),
            authentication_data: authentication_method.as_ref().map(|_| self.binary()),
            authentication_method,
        }
    }

    fn publish(&mut self) -> Publish {
        let qos = self.qos();
        let topic_alias = self.maybe_v5(Self::non_zero_u16);
        let nameless = topic_alias.is_some() && self.coin();
        Publish {
            dup: qos != QoS::AtMostOnce && self.coin(),
            qos,
            retain: self.coin(),
            topic: if nameless { None } else { Some(self.topic()) },
            packet_id: (qos != QoS::AtMostOnce).then(|| self.packet_id()),
            topic_alias,
            subscription_ids: SubscriptionIds::new(),
            properties: self.message_properties(),
            payload: self.payload(),
        }
    }

    /// A PUBLISH as a server sends it: with subscription identifiers.
    pub(crate) fn delivery(&mut self, ids_max: usize) -> Publish {
        let mut publish = self.publish();
        if self.version.is_v5() {
            let count = self.below(ids_max + 1);
            publish.subscription_ids = (0..count).map(|_| self.subscription_id()).collect();
        }
        publish
    }

    fn ack(&mut self, packet_type: PacketType) -> Ack {
        let mut ack = Ack::new(self.packet_id());
        if self.version.is_v5() {
            ack.reason_code = self.reason_code(packet_type);
            ack.reason_string = self.maybe(Self::text);
            ack.user_properties = self.user_properties();
        }
        ack
    }

    fn subscribe(&mut self) -> Subscribe {
        let count = 1 + self.below(3);
        Subscribe {
            packet_id: self.packet_id(),
            subscription_id: self.maybe_v5(Self::subscription_id),
            user_properties: self.user_properties(),
            filters: (0..count).map(|_| self.subscribe_filter()).collect(),
        }
    }

    fn subscribe_filter(&mut self) -> SubscribeFilter {
        let filter = self.filter();
        let handlings =
            [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        let mut options = SubscriptionOptions { qos: self.qos(), ..SubscriptionOptions::default() };
        if self.version.is_v5() {
            options.no_local = !filter.is_shared() && self.coin();
            options.retain_as_published = self.coin();
            options.retain_handling = self.pick(&handlings);
        }
        SubscribeFilter { filter, options }
    }

    fn suback(&mut self) -> Suback {
        let count = 1 + self.below(4);
        let codes = [
            ReasonCode::GRANTED_QOS_0,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::UnspecifiedError,
        ];
        let mut suback = Suback::new(self.packet_id(), Vec::new());
        for _ in 0..count {
            let code = if self.version.is_v5() {
                self.reason_code(PacketType::Suback)
            } else {
                self.pick(&codes)
            };
            suback.reason_codes.push(code);
        }
        suback.reason_string = self.maybe_v5(Self::text);
        suback.user_properties = self.user_properties();
        suback
    }

    fn unsubscribe(&mut self) -> Unsubscribe {
        let count = 1 + self.below(3);
        Unsubscribe {
            packet_id: self.packet_id(),
            user_properties: self.user_properties(),
            filters: (0..count).map(|_| self.filter()).collect(),
        }
    }

    fn unsuback(&mut self) -> Unsuback {
        let count = if self.version.is_v5() { 1 + self.below(4) } else { 0 };
        let codes = (0..count).map(|_| self.reason_code(PacketType::Unsuback)).collect();
        let mut unsuback = Unsuback::new(self.packet_id(), codes);
        unsuback.reason_string = self.maybe_v5(Self::text);
        unsuback.user_properties = self.user_properties();
        unsuback
    }

    fn disconnect(&mut self) -> Disconnect {
        if !self.version.is_v5() {
            return Disconnect::default();
        }
        Disconnect {
            reason_code: self.reason_code(PacketType::Disconnect),
            session_expiry_interval: None,
            reason_string: self.maybe(Self::text),
            server_reference: self.maybe(Self::text),
            user_properties: self.user_properties(),
        }
    }

    fn auth(&mut self) -> Auth {
        Auth {
            authentication_data: self.maybe(Self::binary),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            ..Auth::new(self.reason_code(PacketType::Auth), self.text())
        }
    }
}
