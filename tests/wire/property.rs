//! Properties of version 5: written as a test wants them, read with every rule of section 2.2.2.

use super::reader::Reader;
use super::request::put_string;
use super::request::put_variable;

/// One property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    SubscriptionIdsAvailable(u8),
    SharedAvailable(u8),
}

impl Property {
    /// A user property.
    pub(crate) fn user(name: &str, value: &str) -> Self {
        Self::User(name.to_owned(), value.to_owned())
    }

    /// The identifier byte.
    pub(crate) fn id(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 1,
            Self::MessageExpiry(_) => 2,
            Self::ContentType(_) => 3,
            Self::ResponseTopic(_) => 8,
            Self::CorrelationData(_) => 9,
            Self::SubscriptionId(_) => 11,
            Self::SessionExpiry(_) => 17,
            Self::AssignedClientId(_) => 18,
            Self::ServerKeepAlive(_) => 19,
            Self::AuthenticationMethod(_) => 21,
            Self::AuthenticationData(_) => 22,
            Self::RequestProblemInformation(_) => 23,
            Self::WillDelay(_) => 24,
            Self::RequestResponseInformation(_) => 25,
            Self::ResponseInformation(_) => 26,
            Self::ServerReference(_) => 28,
            Self::ReasonString(_) => 31,
            Self::ReceiveMaximum(_) => 33,
            Self::TopicAliasMaximum(_) => 34,
            Self::TopicAlias(_) => 35,
            Self::MaximumQos(_) => 36,
            Self::RetainAvailable(_) => 37,
            Self::User(..) => 38,
            Self::MaximumPacketSize(_) => 39,
            Self::WildcardAvailable(_) => 40,
            Self::SubscriptionIdsAvailable(_) => 41,
            Self::SharedAvailable(_) => 42,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match self {
            Self::PayloadFormat(v)
            | Self::RequestProblemInformation(v)
            | Self::RequestResponseInformation(v)
            | Self::MaximumQos(v)
            | Self::RetainAvailable(v)
            | Self::WildcardAvailable(v)
            | Self::SubscriptionIdsAvailable(v)
            | Self::SharedAvailable(v) => out.push(*v),
            Self::ServerKeepAlive(v)
            | Self::ReceiveMaximum(v)
            | Self::TopicAliasMaximum(v)
            | Self::TopicAlias(v) => out.extend(v.to_be_bytes()),
            Self::MessageExpiry(v)
            | Self::SessionExpiry(v)
            | Self::WillDelay(v)
            | Self::MaximumPacketSize(v) => out.extend(v.to_be_bytes()),
            Self::SubscriptionId(v) => put_variable(out, *v),
            Self::ContentType(v)
            | Self::ResponseTopic(v)
            | Self::AssignedClientId(v)
            | Self::AuthenticationMethod(v)
            | Self::ResponseInformation(v)
            | Self::ServerReference(v)
            | Self::ReasonString(v) => put_string(out, v.as_bytes()),
            Self::CorrelationData(v) | Self::AuthenticationData(v) => put_string(out, v),
            Self::User(name, value) => {
                put_string(out, name.as_bytes());
                put_string(out, value.as_bytes());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.byte() {
            1 => Self::PayloadFormat(reader.flag()),
            2 => Self::MessageExpiry(reader.four()),
            3 => Self::ContentType(reader.string()),
            8 => Self::ResponseTopic(reader.string()),
            9 => Self::CorrelationData(reader.binary()),
            11 => Self::SubscriptionId(reader.variable()),
            17 => Self::SessionExpiry(reader.four()),
            18 => Self::AssignedClientId(reader.string()),
            19 => Self::ServerKeepAlive(reader.two()),
            21 => Self::AuthenticationMethod(reader.string()),
            22 => Self::AuthenticationData(reader.binary()),
            26 => Self::ResponseInformation(reader.string()),
            28 => Self::ServerReference(reader.string()),
            31 => Self::ReasonString(reader.string()),
            33 => Self::ReceiveMaximum(reader.two()),
            34 => Self::TopicAliasMaximum(reader.two()),
            35 => Self::TopicAlias(reader.two()),
            36 => Self::MaximumQos(reader.flag()),
            37 => Self::RetainAvailable(reader.flag()),
            38 => Self::User(reader.string(), reader.string()),
            39 => Self::MaximumPacketSize(reader.four()),
            40 => Self::WildcardAvailable(reader.flag()),
            41 => Self::SubscriptionIdsAvailable(reader.flag()),
            42 => Self::SharedAvailable(reader.flag()),
            id => panic!("the broker sent property {id}, which no packet to a client has"),
        }
    }
}

/// Writes the length and the properties.
pub(crate) fn put_properties(out: &mut Vec<u8>, properties: &[Property]) {
    let mut block = Vec::new();
    for property in properties {
        property.write(&mut block);
    }
    put_variable(out, u32::try_from(block.len()).expect("test properties are short"));
    out.extend(block);
}

/// Reads a property block that may hold the identifiers in `allowed`, each once unless it is 38, or 11 in PUBLISH.
pub(crate) fn read_properties(reader: &mut Reader<'_>, allowed: &[u8]) -> Vec<Property> {
    let length = reader.variable() as usize;
    let mut block = Reader::new(reader.take(length));
    let mut properties: Vec<Property> = Vec::new();
    while !block.is_empty() {
        let property = Property::read(&mut block);
        let id = property.id();
        assert!(allowed.contains(&id), "{property:?} does not belong into this packet");
        let repeatable = id == 38 || id == 11;
        assert!(
            repeatable || !properties.iter().any(|p| p.id() == id),
            "{property:?} is there twice"
        );
        check_value(&property);
        properties.push(property);
    }
    properties
}

fn check_value(property: &Property) {
    let zero = matches!(
        property,
        Property::SubscriptionId(0)
            | Property::ReceiveMaximum(0)
            | Property::TopicAlias(0)
            | Property::MaximumPacketSize(0)
    );
    assert!(!zero, "{property:?} may not be 0");
}

/// All user properties, in order.
pub(crate) fn user_properties(properties: &[Property]) -> Vec<(&str, &str)> {
    properties
        .iter()
        .filter_map(|p| match p {
            Property::User(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
        .collect()
}
