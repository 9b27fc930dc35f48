//! The commands of a script, as packets.
//!
//! ```text
//! connect c1 version=3.1|3.1.1|5 [id=…] [clean_start] [keep_alive=s] [expiry=s] [receive_maximum=n] [maximum_packet_size=n]
//!            [topic_alias_maximum=n] [will=topic:payload [will_qos=n] [will_retain] [will_delay=s] [will_expiry=s]]
//!            [user=…] [password=…] [method=… data=…] [no_problem_information] [response_information]
//! publish c1 [qos=n id=n] [topic=…] [payload=…] [retain] [dup] [alias=n] [expiry=s] [utf8] [content_type=…]
//!            [response_topic=…] [correlation=…] [user=name:value]... [subscription_id=n]
//! subscribe c1 id=n filter@qos[,no_local][,rap][,rh=n]... [subscription_id=n]      unsubscribe c1 id=n filter...
//! puback|pubrec|pubrel|pubcomp c1 id=n [reason=hex]      ping c1      auth c1 reason=hex [method=…] [data=…]
//! disconnect c1 [reason=hex] [expiry=s]      raw c1 hex
//! ```

use std::num::NonZeroU16;
use std::num::NonZeroU32;

use bytes::Bytes;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Auth;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::MessageProperties;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Subscribe;
use tidelog::mqtt::SubscribeFilter;
use tidelog::mqtt::SubscriptionFilter;
use tidelog::mqtt::SubscriptionId;
use tidelog::mqtt::SubscriptionOptions;
use tidelog::mqtt::Text;
use tidelog::mqtt::TopicName;
use tidelog::mqtt::Unsubscribe;
use tidelog::mqtt::UserProperties;
use tidelog::mqtt::Will;

/// The words behind a command's name and client.
pub(crate) struct Words<'a>(pub(crate) Vec<&'a str>);

impl<'a> Words<'a> {
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name).map(|value| value.parse().ok().unwrap_or_else(|| panic!("{name}={value}")))
    }

    fn text(&self, name: &str) -> Option<Text> {
        self.value(name).map(text)
    }

    fn qos(&self, name: &str) -> QoS {
        self.number::<u8>(name).map_or(QoS::AtMostOnce, |qos| QoS::try_from(qos).unwrap())
    }

    fn packet_id(&self) -> PacketId {
        PacketId::new(self.number("id").expect("id=")).unwrap()
    }

    fn reason(&self) -> ReasonCode {
        let code = self.value("reason").map_or(0, |code| u8::from_str_radix(code, 16).unwrap());
        ReasonCode::from_u8(code).unwrap()
    }

    fn user_properties(&self) -> UserProperties {
        let pairs = self.0.iter().filter_map(|word| word.strip_prefix("user="));
        pairs
            .filter_map(|pair| pair.split_once(':'))
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }
}

fn text(from: &str) -> Text {
    Text::try_from(from).unwrap()
}

fn topic(from: &str) -> TopicName {
    TopicName::try_from(from).unwrap()
}

/// The version that `connect` asks for.
pub(crate) fn version(words: &Words<'_>) -> ProtocolVersion {
    match words.value("version") {
        Some("3.1") => ProtocolVersion::V3_1,
        Some("3.1.1") => ProtocolVersion::V3_1_1,
        Some("5") => ProtocolVersion::V5,
        other => panic!("version={other:?}"),
    }
}

pub(crate) fn connect(name: &str, words: &Words<'_>) -> Packet {
    let mut connect = Connect::new(version(words), text(words.value("id").unwrap_or(name)));
    connect.clean_start = words.has("clean_start");
    connect.keep_alive = words.number("keep_alive").unwrap_or(0);
    connect.session_expiry_interval = words.number("expiry");
    connect.receive_maximum = words.number("receive_maximum").and_then(NonZeroU16::new);
    connect.maximum_packet_size = words.number("maximum_packet_size").and_then(NonZeroU32::new);
    connect.topic_alias_maximum = words.number("topic_alias_maximum");
    connect.will = words.value("will").map(|will| self::will(will, words));
    connect.user_name = words.text("user");
    connect.password =
        words.value("password").map(|password| Bytes::copy_from_slice(password.as_bytes()));
    connect.authentication_method = words.text("method");
    connect.authentication_data =
        words.value("data").map(|data| Bytes::copy_from_slice(data.as_bytes()));
    connect.request_problem_information = !words.has("no_problem_information");
    connect.user_properties = words.user_properties();
    connect.request_response_information = words.has("response_information");
    Packet::Connect(Box::new(connect))
}

fn will(will: &str, words: &Words<'_>) -> Will {
    let (name, payload) = will.split_once(':').expect("will=topic:payload");
    let properties = MessageProperties {
        message_expiry_interval: words.number("will_expiry"),
        ..MessageProperties::default()
    };
    Will {
        topic: topic(name),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: words.qos("will_qos"),
        retain: words.has("will_retain"),
        delay_interval: words.number("will_delay").unwrap_or(0),
        properties,
    }
}

pub(crate) fn publish(words: &Words<'_>) -> Packet {
    let payload = Bytes::copy_from_slice(words.value("payload").unwrap_or("").as_bytes());
    let mut publish = Publish::new(topic(words.value("topic").unwrap_or("none")), payload);
    publish.topic = words.value("topic").map(topic);
    publish.qos = words.qos("qos");
    publish.packet_id = words.number("id").and_then(PacketId::new);
    publish.retain = words.has("retain");
    publish.dup = words.has("dup");
    publish.topic_alias = words.number("alias").and_then(NonZeroU16::new);
    publish.subscription_ids =
        words.number("subscription_id").and_then(SubscriptionId::new).into_iter().collect();
    publish.properties = MessageProperties {
        payload_format_indicator: words.has("utf8").then_some(true),
        message_expiry_interval: words.number("expiry"),
        content_type: words.text("content_type"),
        response_topic: words.value("response_topic").map(topic),
        correlation_data: words
            .value("correlation")
            .map(|data| Bytes::copy_from_slice(data.as_bytes())),
        user_properties: words.user_properties(),
    };
    Packet::Publish(Box::new(publish))
}

pub(crate) fn subscribe(words: &Words<'_>) -> Packet {
    let filters = words.0.iter().filter_map(|word| word.rsplit_once('@'));
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: words.packet_id(),
        subscription_id: words.number("subscription_id").and_then(SubscriptionId::new),
        user_properties: words.user_properties(),
        filters: filters.map(|(filter, options)| subscribe_filter(filter, options)).collect(),
    }))
}

fn subscribe_filter(filter: &str, options: &str) -> SubscribeFilter {
    let options: Vec<&str> = options.split(',').collect();
    let handling = options.iter().find_map(|option| option.strip_prefix("rh=")).unwrap_or("0");
    SubscribeFilter {
        filter: SubscriptionFilter::parse(filter).unwrap(),
        options: SubscriptionOptions {
            qos: QoS::try_from(options[0].parse::<u8>().unwrap()).unwrap(),
            no_local: options.contains(&"no_local"),
            retain_as_published: options.contains(&"rap"),
            retain_handling: RetainHandling::try_from(handling.parse::<u8>().unwrap()).unwrap(),
        },
    }
}

pub(crate) fn unsubscribe(words: &Words<'_>) -> Packet {
    let filters = words.0.iter().filter(|word| !word.contains('='));
    Packet::Unsubscribe(Box::new(Unsubscribe {
        packet_id: words.packet_id(),
        user_properties: UserProperties::new(),
        filters: filters.map(|filter| SubscriptionFilter::parse(filter).unwrap()).collect(),
    }))
}

pub(crate) fn ack(name: &str, words: &Words<'_>) -> Packet {
    let ack = Ack::with_reason(words.packet_id(), words.reason());
    match name {
        "puback" => Packet::Puback(ack),
        "pubrec" => Packet::Pubrec(ack),
        "pubrel" => Packet::Pubrel(ack),
        _ => Packet::Pubcomp(ack),
    }
}

pub(crate) fn auth(words: &Words<'_>) -> Packet {
    Packet::Auth(Box::new(Auth {
        reason_code: words.reason(),
        authentication_method: words.text("method"),
        authentication_data: words
            .value("data")
            .map(|data| Bytes::copy_from_slice(data.as_bytes())),
        ..Auth::default()
    }))
}

pub(crate) fn disconnect(words: &Words<'_>) -> Packet {
    let mut disconnect = Disconnect::new(words.reason());
    disconnect.session_expiry_interval = words.number("expiry");
    Packet::Disconnect(Box::new(disconnect))
}
