//! `Assigned`: a message given to one session, by a shared group or as a retained message on SUBSCRIBE.
//!
//! ```text
//! flags (1) | message | place (optional) | count of subscription ids, ids | group (optional: share name, filter) | key, if it has one
//! flags: bits 0-1 QoS, 2 retained, 3 replayed, 4-5 what the delivery tells of its position, 6 has a key
//! ```

use smallvec::SmallVec;

use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::session::Meta;
use crate::store::GroupKey;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

const RETAINED: u8 = 1 << 2;
const REPLAYED: u8 = 1 << 3;
const META_SHIFT: u8 = 4;
const META: u8 = 3;
const KEYED: u8 = 1 << 6;

/// A message given to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedRow {
    /// Where it stands in the session's stream; `None` in a row to be put means the record's own offset.
    /// Rows of the state always have it.
    pub place: Option<Offset>,
    /// The message's offset. When its record is gone, a retained message that was carried forward is the one in
    /// [`State::retained`](crate::store::State::retained) with this `message_offset`.
    pub message: Offset,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// Whether it is a retained message sent on SUBSCRIBE, which goes out with RETAIN set [MQTT-3.3.1-8].
    pub retained: bool,
    /// Whether a replay gave it.
    pub replayed: bool,
    /// What the delivery tells of its position.
    pub meta: Meta,
    /// The Subscription Identifiers that go with it [MQTT-3.3.4-3].
    pub subscription_ids: SmallVec<[u32; 1]>,
    /// The shared group that gave it.
    pub group: Option<GroupKey>,
    /// The hash of its key, in a group that promises an order.
    pub key: Option<u64>,
}

impl AssignedRow {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let retained = if self.retained { RETAINED } else { 0 };
        let replayed = if self.replayed { REPLAYED } else { 0 };
        let keyed = if self.key.is_some() { KEYED } else { 0 };
        let meta = self.meta.as_u8() << META_SHIFT;
        out.put_u8(self.qos as u8 | retained | replayed | meta | keyed);
        out.put_offset(self.message);
        out.put_option(self.place, Vec::put_offset);
        out.put_varint(self.subscription_ids.len() as u64);
        for id in &self.subscription_ids {
            out.put_varint(u64::from(*id));
        }
        out.put_option(self.group.as_ref(), |out, group| {
            out.put_bytes(group.share.as_bytes());
            out.put_bytes(group.filter.as_bytes());
        });
        if let Some(key) = self.key {
            out.put_varint(key);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let flags = input.u8()?;
        let message = input.offset()?;
        let place = input.option(Decoder::offset)?;
        let count = input.varint()?;
        let ids = (0..count).map(|_| u32::try_from(input.varint()?).ok());
        Some(Self {
            place,
            message,
            qos: QoS::try_from(flags & 3).ok()?,
            retained: flags & RETAINED != 0,
            replayed: flags & REPLAYED != 0,
            meta: Meta::from_u8(flags >> META_SHIFT & META)?,
            subscription_ids: ids.collect::<Option<_>>()?,
            group: input
                .option(|input| Some(GroupKey { share: input.text()?, filter: input.text()? }))?,
            key: if flags & KEYED == 0 { None } else { Some(input.varint()?) },
        })
    }
}
