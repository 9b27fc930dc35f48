//! The rows that durable state is made of: one file for each kind, with its key, its value and its layout.
//!
//! A row is a record of the log. Kind and key name it, the latest record of a name is its value, and
//! a tombstone (an empty value) deletes it. The same keys and values go into the checkpoint.
//!
//! Every value begins with a byte for its layout, so that no value is empty and a later layout can be told apart.
//! Integers are LEB128 unless a width is given, and little-endian; strings and byte strings have their length in front.

mod assigned;
mod clock;
mod delayed;
mod group;
mod held;
mod inbound;
mod progress;
mod replay;
mod retained;
mod session;
mod subscription;
mod will;

pub use assigned::AssignedRow;
pub use clock::ClockRow;
pub use clock::Jump;
pub use delayed::DelayedRow;
pub use delayed::Due;
pub(in crate::store) use delayed::decode_front;
pub(in crate::store) use delayed::encode_front;
pub use group::Declared;
pub use group::GroupKey;
pub use group::GroupRow;
pub use held::HeldRow;
pub use progress::ProgressRow;
pub use replay::ReplayRow;
pub use retained::RetainedRow;
pub use session::SessionRow;
pub use subscription::Span;
pub use subscription::SubscriptionRow;
pub use will::WillRow;

use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::PacketId;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// The layout of values.
pub(in crate::store) const LAYOUT: u8 = 1;

/// That of a group that was declared, which has more in it.
const LAYOUT_DECLARED: u8 = 2;

/// What a record of the log is. The numbers are on disk: never change or reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An Application Message; its key is the topic.
    Message = 1,
    /// [`Row::Session`].
    Session = 2,
    /// [`Row::Progress`].
    Progress = 3,
    /// [`Row::Subscription`].
    Subscription = 4,
    /// [`Row::Inbound`].
    Inbound = 5,
    /// [`Row::Assigned`].
    Assigned = 6,
    /// [`Row::Will`].
    Will = 7,
    /// [`Row::Group`].
    Group = 8,
    /// [`Row::Retained`].
    Retained = 9,
    /// The first record of a log: the number that the log was made with.
    Origin = 10,
    /// [`Row::Clock`].
    Clock = 11,
    /// [`Row::Delayed`].
    Delayed = 12,
    /// [`Row::Held`].
    Held = 13,
}

impl Kind {
    /// The number in a record.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The kind with this number, if this version knows it.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Message,
            2 => Self::Session,
            3 => Self::Progress,
            4 => Self::Subscription,
            5 => Self::Inbound,
            6 => Self::Assigned,
            7 => Self::Will,
            8 => Self::Group,
            9 => Self::Retained,
            10 => Self::Origin,
            11 => Self::Clock,
            12 => Self::Delayed,
            13 => Self::Held,
            _ => return None,
        })
    }

    /// The name in traces and dumps.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Session => "session",
            Self::Progress => "progress",
            Self::Subscription => "subscription",
            Self::Inbound => "inbound",
            Self::Assigned => "assigned",
            Self::Will => "will",
            Self::Group => "group",
            Self::Retained => "retained",
            Self::Origin => "origin",
            Self::Clock => "clock",
            Self::Delayed => "delayed",
            Self::Held => "held",
        }
    }
}

/// A row with its whole value; `None` is the tombstone that deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// That a session exists. Its tombstone deletes every row of the client.
    Session(ClientId, Option<SessionRow>),
    /// How far a session's client has acknowledged its stream.
    Progress(ClientId, ProgressRow),
    /// A subscription, under the filter's whole text, `$share/…` included.
    Subscription(ClientId, Text, Option<SubscriptionRow>),
    /// The message that came at QoS 2 with this packet id and is not released: nobody may use the id for another.
    Inbound(ClientId, PacketId, Option<Offset>),
    /// A message given to one session, under a counter of the session.
    Assigned(ClientId, u64, Option<AssignedRow>),
    /// What is published when the client's connection or session ends badly.
    Will(ClientId, Option<WillRow>),
    /// How far a shared group has given its messages to members.
    Group(GroupKey, Option<GroupRow>),
    /// A retained message, copied from a part of the log that is about to be deleted; nobody receives it as a message.
    Retained(TopicName, Option<RetainedRow>),
    /// The jumps of the wall clock between two runs. There is one such row.
    Clock(ClockRow),
    /// A message that is kept back until it is due, under the offset of its first record. Its tombstone: it was published, cancelled or has
    /// expired.
    Delayed(Offset, Option<DelayedRow>),
    /// A group's message that was delivered and is not committed, under its offset.
    Held(GroupKey, Offset, Option<HeldRow>),
}

impl Row {
    /// What this row is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Session(..) => Kind::Session,
            Self::Progress(..) => Kind::Progress,
            Self::Subscription(..) => Kind::Subscription,
            Self::Inbound(..) => Kind::Inbound,
            Self::Assigned(..) => Kind::Assigned,
            Self::Will(..) => Kind::Will,
            Self::Group(..) => Kind::Group,
            Self::Retained(..) => Kind::Retained,
            Self::Clock(_) => Kind::Clock,
            Self::Delayed(..) => Kind::Delayed,
            Self::Held(..) => Kind::Held,
        }
    }

    /// The client whose row this is.
    pub const fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Session(client, _)
            | Self::Progress(client, _)
            | Self::Subscription(client, ..)
            | Self::Inbound(client, ..)
            | Self::Assigned(client, ..)
            | Self::Will(client, _) => Some(client),
            Self::Group(..)
            | Self::Retained(..)
            | Self::Clock(_)
            | Self::Delayed(..)
            | Self::Held(..) => None,
        }
    }

    /// The row's name, without its value.
    pub fn key(&self) -> RowKey {
        match self {
            Self::Session(client, _) => RowKey::Session(client.clone()),
            Self::Progress(client, _) => RowKey::Progress(client.clone()),
            Self::Subscription(client, filter, _) => {
                RowKey::Subscription(client.clone(), filter.clone())
            }
            Self::Inbound(client, id, _) => RowKey::Inbound(client.clone(), *id),
            Self::Assigned(client, counter, _) => RowKey::Assigned(client.clone(), *counter),
            Self::Will(client, _) => RowKey::Will(client.clone()),
            Self::Group(group, _) => RowKey::Group(group.clone()),
            Self::Retained(topic, _) => RowKey::Retained(topic.clone()),
            Self::Clock(_) => RowKey::Clock,
            Self::Delayed(id, _) => RowKey::Delayed(*id),
            Self::Held(group, message, _) => RowKey::Held(group.clone(), *message),
        }
    }

    /// Appends the value as it stands in a record; a tombstone appends nothing.
    pub fn encode_value(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session(_, row) => put(out, row.as_ref(), SessionRow::encode),
            Self::Progress(_, row) => put(out, Some(row), ProgressRow::encode),
            Self::Subscription(_, _, row) => put(out, row.as_ref(), SubscriptionRow::encode),
            Self::Inbound(_, _, offset) => {
                put(out, offset.as_ref(), |offset, out| inbound::encode(*offset, out));
            }
            Self::Assigned(_, _, row) => put(out, row.as_ref(), AssignedRow::encode),
            Self::Will(_, row) => put(out, row.as_ref(), WillRow::encode),
            Self::Group(_, Some(row)) if row.declared.is_some() => {
                out.put_u8(LAYOUT_DECLARED);
                row.encode(out);
            }
            Self::Group(_, row) => put(out, row.as_ref(), GroupRow::encode),
            Self::Retained(_, row) => put(out, row.as_ref(), RetainedRow::encode),
            Self::Clock(row) => put(out, Some(row), ClockRow::encode),
            Self::Delayed(_, row) => put(out, row.as_ref(), DelayedRow::encode),
            Self::Held(_, _, row) => put(out, row.as_ref(), HeldRow::encode),
        }
    }

    /// The row of a record of this kind; `None` if the bytes are no such row.
    pub fn decode(kind: Kind, key: &[u8], value: &[u8]) -> Option<Self> {
        Some(match RowKey::decode(kind, key)? {
            RowKey::Session(client) => Self::Session(client, take(value, SessionRow::decode)?),
            RowKey::Progress(client) => Self::Progress(client, take(value, ProgressRow::decode)??),
            RowKey::Subscription(client, filter) => {
                Self::Subscription(client, filter, take(value, SubscriptionRow::decode)?)
            }
            RowKey::Inbound(client, id) => Self::Inbound(client, id, take(value, inbound::decode)?),
            RowKey::Assigned(client, counter) => {
                Self::Assigned(client, counter, take(value, AssignedRow::decode)?)
            }
            RowKey::Will(client) => Self::Will(client, take(value, WillRow::decode)?),
            RowKey::Group(group) if value.first() == Some(&LAYOUT_DECLARED) => {
                let mut input = Decoder::new(value.get(1..)?);
                let row = GroupRow::decode_declared(&mut input)?;
                Self::Group(group, input.finish(Some(row))?)
            }
            RowKey::Group(group) => Self::Group(group, take(value, GroupRow::decode)?),
            RowKey::Retained(topic) => Self::Retained(topic, take(value, RetainedRow::decode)?),
            RowKey::Clock => Self::Clock(take(value, ClockRow::decode)??),
            RowKey::Delayed(id) => Self::Delayed(id, take(value, DelayedRow::decode)?),
            RowKey::Held(group, message) => {
                Self::Held(group, message, take(value, HeldRow::decode)?)
            }
        })
    }
}

/// The name of a row.
///
/// ```text
/// Session, Progress, Will   client id
/// Subscription              length of client id, client id, filter text
/// Inbound                   length of client id, client id, packet id (2 bytes, big-endian)
/// Assigned                  length of client id, client id, counter (8 bytes, big-endian)
/// Group                     length of share name, share name, filter text
/// Retained                  topic
/// Clock                     nothing
/// Delayed                   id (8 bytes, big-endian)
/// Held                      length of share name, share name, length of filter, filter text, offset (8 bytes, big-endian)
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// Of [`Row::Session`].
    Session(ClientId),
    /// Of [`Row::Progress`].
    Progress(ClientId),
    /// Of [`Row::Subscription`].
    Subscription(ClientId, Text),
    /// Of [`Row::Inbound`].
    Inbound(ClientId, PacketId),
    /// Of [`Row::Assigned`].
    Assigned(ClientId, u64),
    /// Of [`Row::Will`].
    Will(ClientId),
    /// Of [`Row::Group`].
    Group(GroupKey),
    /// Of [`Row::Retained`].
    Retained(TopicName),
    /// Of [`Row::Clock`].
    Clock,
    /// Of [`Row::Delayed`].
    Delayed(Offset),
    /// Of [`Row::Held`].
    Held(GroupKey, Offset),
}

impl RowKey {
    /// The kind of the rows that have such names.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Session(_) => Kind::Session,
            Self::Progress(_) => Kind::Progress,
            Self::Subscription(..) => Kind::Subscription,
            Self::Inbound(..) => Kind::Inbound,
            Self::Assigned(..) => Kind::Assigned,
            Self::Will(_) => Kind::Will,
            Self::Group(_) => Kind::Group,
            Self::Retained(_) => Kind::Retained,
            Self::Clock => Kind::Clock,
            Self::Delayed(_) => Kind::Delayed,
            Self::Held(..) => Kind::Held,
        }
    }

    /// The client whose row has this name.
    pub const fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Session(client)
            | Self::Progress(client)
            | Self::Subscription(client, _)
            | Self::Inbound(client, _)
            | Self::Assigned(client, _)
            | Self::Will(client) => Some(client),
            Self::Group(_)
            | Self::Retained(_)
            | Self::Clock
            | Self::Delayed(_)
            | Self::Held(..) => None,
        }
    }

    /// Appends the name as it stands in a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session(client) | Self::Progress(client) | Self::Will(client) => {
                out.put_raw(client.as_bytes());
            }
            Self::Subscription(client, filter) => {
                out.put_bytes(client.as_bytes());
                out.put_raw(filter.as_bytes());
            }
            Self::Inbound(client, id) => {
                out.put_bytes(client.as_bytes());
                out.put_raw(&id.get().to_be_bytes());
            }
            Self::Assigned(client, counter) => {
                out.put_bytes(client.as_bytes());
                out.put_raw(&counter.to_be_bytes());
            }
            Self::Group(group) => {
                out.put_bytes(group.share.as_bytes());
                out.put_raw(group.filter.as_bytes());
            }
            Self::Retained(topic) => out.put_raw(topic.as_bytes()),
            Self::Clock => {}
            Self::Delayed(id) => out.put_raw(&id.as_u64().to_be_bytes()),
            Self::Held(group, message) => {
                out.put_bytes(group.share.as_bytes());
                out.put_bytes(group.filter.as_bytes());
                out.put_raw(&message.as_u64().to_be_bytes());
            }
        }
    }

    /// The name in a record of this kind; `None` for what is no row, or if the bytes are no such name.
    pub fn decode(kind: Kind, key: &[u8]) -> Option<Self> {
        let mut input = Decoder::new(key);
        Some(match kind {
            Kind::Message | Kind::Origin => return None,
            Kind::Session => Self::Session(client_id(key)?),
            Kind::Progress => Self::Progress(client_id(key)?),
            Kind::Will => Self::Will(client_id(key)?),
            Kind::Subscription => {
                Self::Subscription(client_id(input.bytes()?)?, text(input.rest())?)
            }
            Kind::Inbound => {
                let client = client_id(input.bytes()?)?;
                let id = u16::from_be_bytes(input.rest().try_into().ok()?);
                Self::Inbound(client, PacketId::new(id)?)
            }
            Kind::Assigned => {
                let client = client_id(input.bytes()?)?;
                Self::Assigned(client, u64::from_be_bytes(input.rest().try_into().ok()?))
            }
            Kind::Group => {
                Self::Group(GroupKey { share: input.text()?, filter: text(input.rest())? })
            }
            Kind::Retained => {
                Self::Retained(TopicName::try_from(std::str::from_utf8(key).ok()?).ok()?)
            }
            Kind::Clock => input.finish(Self::Clock)?,
            Kind::Delayed => Self::Delayed(offset(key)?),
            Kind::Held => {
                let group = GroupKey { share: input.text()?, filter: input.text()? };
                Self::Held(group, offset(input.rest())?)
            }
        })
    }
}

/// Layout and value, or nothing for a tombstone.
fn put<T>(out: &mut Vec<u8>, row: Option<&T>, encode: impl FnOnce(&T, &mut Vec<u8>)) {
    if let Some(row) = row {
        out.put_u8(LAYOUT);
        encode(row, out);
    }
}

/// The reverse of [`put`]: `Some(None)` for a tombstone, `None` for bytes that are no value.
#[expect(clippy::option_option, reason = "no row, a tombstone, a value")]
fn take<T>(value: &[u8], decode: impl FnOnce(&mut Decoder<'_>) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() {
        return Some(None);
    }
    let mut input = Decoder::new(value);
    if input.u8()? != LAYOUT {
        return None;
    }
    let row = decode(&mut input)?;
    input.finish(Some(row))
}

fn text(bytes: &[u8]) -> Option<Text> {
    Text::try_from(std::str::from_utf8(bytes).ok()?).ok()
}

fn offset(bytes: &[u8]) -> Option<Offset> {
    Some(Offset::new(u64::from_be_bytes(bytes.try_into().ok()?)))
}

fn client_id(bytes: &[u8]) -> Option<ClientId> {
    ClientId::try_from(std::str::from_utf8(bytes).ok()?).ok()
}
