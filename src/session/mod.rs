//! One session as a state machine: what the specification says about QoS flows, packet ids, windows and aliases.
//!
//! It has no clock, no socket, no storage and no other session. [`crate::broker`] hands packets in and asks what to do; numbers of
//! deliveries come from the log (`docs/decisions/0001-delivery-numbers.md`).
//!
//! - [`Outbound`]: messages on their way to the client, by number and packet id.
//! - [`Inbound`]: how many messages of the client are not yet acknowledged.
//! - [`Grants`]: what overlapping subscriptions say together about one message.
//! - [`Limits`]: what both sides agreed on in CONNECT and CONNACK.
//! - [`InboundAliases`], [`OutboundAliases`]: topic aliases.
//! - [`Strategy`], [`Commit`]: what a durable group is declared with.
//! - [`Address`]: what a subscription's text asks for beyond a topic filter; [`Wishes`]: what the user properties of a SUBSCRIBE do.

mod address;
mod alias;
mod grant;
mod group;
mod inbound;
mod limits;
mod outbound;
mod wishes;

pub use address::Address;
pub use address::AddressError;
pub use address::EXCLUSIVE;
pub use address::LAST_MAX;
pub use address::REPLIES;
pub use address::Start;
pub use address::decimal;
pub use address::plain_filter;
pub use alias::InboundAliases;
pub use alias::Naming;
pub use alias::OutboundAliases;
pub use grant::Effective;
pub use grant::Grant;
pub use grant::Grants;
pub use grant::Meta;
pub use group::Commit;
pub use group::Strategy;
pub use inbound::Inbound;
pub use limits::Limits;
pub use limits::Options;
pub use outbound::Acknowledged;
pub use outbound::NUMBER_SPAN_MAX;
pub use outbound::Outbound;
pub use outbound::Step;
pub use outbound::Unexpected;
pub use outbound::packet_id_of;
pub use wishes::Wishes;
