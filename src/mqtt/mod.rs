//! The protocol: bytes to packets and back, every version in one [`Packet`].
//!
//! Pure: no clock, no socket, no state but the version of the connection in [`Decoder`]. It does not know
//! sessions, and decides only what one packet by itself (and the side it comes from) shows.
//!
//! Invariants:
//!
//! - No input makes the decoder panic, and no complete packet makes it ask for more.
//! - What it accepts it can encode, and what it encodes it accepts.
//! - Nothing is allocated for a length that is declared but not there.
//! - Every refusal is a [`Violation`] with its statement.

mod ack;
mod auth;
mod connack;
mod connect;
mod decoder;
mod disconnect;
mod encode;
mod identifier;
mod packet;
mod properties_view;
mod property;
mod publish;
mod publish_header;
mod publish_view;
mod qos;
mod reader;
mod reason;
mod subscribe;
mod text;
mod topic;
mod unsubscribe;
mod version;
mod violation;
mod writer;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::Connack;
pub use connect::Connect;
pub use connect::Will;
pub use decoder::CONNECT_SIZE_MAX_DEFAULT;
pub use decoder::Decoder;
pub use decoder::Incoming;
pub use decoder::PACKET_SIZE_MAX;
pub use decoder::Role;
pub use disconnect::Disconnect;
pub use encode::EncodeError;
pub use identifier::PacketId;
pub use identifier::SubscriptionId;
pub use packet::Packet;
pub use packet::PacketType;
pub use properties_view::PropertiesView;
pub use property::MessageProperties;
pub use property::UserProperties;
pub use publish::Publish;
pub use publish::SubscriptionIds;
pub use publish_header::PublishHeader;
pub use publish_view::PublishView;
pub use qos::QoS;
pub use reason::ReasonCode;
pub use subscribe::RetainHandling;
pub use subscribe::Suback;
pub use subscribe::Subscribe;
pub use subscribe::SubscribeFilter;
pub use subscribe::SubscriptionOptions;
pub use text::ClientId;
pub use text::FIELD_LENGTH_MAX;
pub use text::Text;
pub use topic::ShareName;
pub use topic::SubscriptionFilter;
pub use topic::TopicFilter;
pub use topic::TopicName;
pub use topic::escaped_level;
pub use topic::topic_levels;
pub use unsubscribe::Unsuback;
pub use unsubscribe::Unsubscribe;
pub use version::ProtocolVersion;
pub use violation::Violation;
