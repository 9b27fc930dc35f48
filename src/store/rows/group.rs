//! `Group`: how far a shared group has given its messages to members.
//!
//! ```text
//! position | count of returned messages, each as its distance to the one before
//! ```

use crate::commitlog::Offset;
use crate::mqtt::Text;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// The name of a shared group: members of one share name and one filter get each message once between them [MQTT-4.8.2-4].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The `ShareName`.
    pub share: Text,
    /// The topic filter behind it.
    pub filter: Text,
}

impl GroupKey {
    /// The text of a subscription to it.
    pub fn text(&self) -> String {
        format!("$share/{}/{}", self.share, self.filter)
    }
}

/// How far a shared group has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRow {
    /// Every message below is assigned, but for those in `returned`.
    pub position: Offset,
    /// Messages below `position` that wait for another member because the session they were given to ended; in
    /// offset order, each once.
    pub returned: Vec<Offset>,
}

impl GroupRow {
    /// Adds a message that came back.
    pub(in crate::store) fn give_back(&mut self, message: Offset) {
        if let Err(index) = self.returned.binary_search(&message) {
            self.returned.insert(index, message);
        }
    }

    /// Notes that a message was given to a member.
    pub(in crate::store) fn assign(&mut self, message: Offset) {
        self.position = self.position.max(message.next());
        if let Ok(index) = self.returned.binary_search(&message) {
            self.returned.remove(index);
        }
    }

    /// Brings `returned` into its order.
    pub(in crate::store) fn normalize(&mut self) {
        self.returned.sort_unstable();
        self.returned.dedup();
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.position);
        out.put_varint(self.returned.len() as u64);
        let mut last = Offset::ZERO;
        for message in &self.returned {
            out.put_varint(message.since(last));
            last = *message;
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let position = input.offset()?;
        let count = input.varint()?;
        let mut last = Offset::ZERO;
        let returned = (0..count).map(|_| {
            last = last.checked_add(input.varint()?)?;
            Some(last)
        });
        Some(Self { position, returned: returned.collect::<Option<Vec<_>>>()? })
    }
}
