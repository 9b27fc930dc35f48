//! Rows as a checkpoint keeps them, and the way back.
//!
//! ```text
//! of a client, a group, Clock   the oldest offset that the client's rows rest on (0 for the others) | value, as in a record
//! Held                          offset of its record | value, as in a record
//! Retained                      offset of the record with the content | message offset | timestamp | expiry (optional)
//! Delayed                       offset of the record with the content | timestamp | due at | at an instant (1) | topic, to the end
//! ```

use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::TopicName;
use crate::store::Delayed;
use crate::store::Due;
use crate::store::Retained;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;
use crate::store::state::Changes;
use crate::store::state::State;
use crate::store::state::client::Client;

impl State {
    /// The present value of a row; `None` if there is no such row in the log.
    pub(in crate::store) fn saved(&self, key: &RowKey) -> Option<Vec<u8>> {
        let (oldest, row) = match key {
            RowKey::Retained(topic) => return self.retained.get(topic).map(Retained::encode),
            RowKey::Delayed(id) => return self.delayed.get(id).map(Delayed::encode),
            RowKey::Group(group) => {
                let row = self.groups.get(group)?.clone();
                (Offset::ZERO, Row::Group(group.clone(), Some(row)))
            }
            RowKey::Held(group, message) => {
                let held = self.held.get(group)?.get(message)?;
                (held.offset, Row::Held(group.clone(), *message, Some(held.row.clone())))
            }
            RowKey::Clock if self.clock.is_empty() => return None,
            RowKey::Clock => (Offset::ZERO, Row::Clock(self.clock.clone())),
            RowKey::Session(id)
            | RowKey::Progress(id)
            | RowKey::Subscription(id, _)
            | RowKey::Inbound(id, _)
            | RowKey::Assigned(id, _)
            | RowKey::Will(id) => {
                let client = self.clients.get(id)?;
                (client.oldest, client.row(id, key)?)
            }
        };
        let mut out = Vec::new();
        out.put_offset(oldest);
        row.encode_value(&mut out);
        Some(out)
    }

    /// Puts a row of a checkpoint; `None` if its value can't be read.
    pub(in crate::store) fn load(&mut self, key: &RowKey, value: &[u8]) -> Option<()> {
        if let RowKey::Retained(topic) = key {
            self.retained.insert(topic.clone(), Retained::decode(value)?);
            return Some(());
        }
        if let RowKey::Delayed(id) = key {
            self.delayed.insert(*id, Delayed::decode(value)?);
            return Some(());
        }
        let mut input = Decoder::new(value);
        let oldest = input.offset()?;
        let mut name = Vec::new();
        key.encode(&mut name);
        let row =
            Row::decode(key.kind(), &name, input.rest()).filter(|_| !input.rest().is_empty())?;
        let Some(id) = row.client().cloned() else {
            self.put(row, oldest, true, &mut Changes::new());
            return Some(());
        };
        let client = self.clients.entry(id).or_insert_with(|| Box::new(Client::new(true)));
        client.oldest = client.oldest.min(oldest);
        client.put(row, oldest, &mut self.keys, &mut Changes::new());
        Some(())
    }
}

impl Client {
    /// The present value of one of the rows that are in the log.
    fn row(&self, id: &ClientId, key: &RowKey) -> Option<Row> {
        let id = id.clone();
        let state = &self.state;
        if let RowKey::Will(_) = key {
            return Some(Row::Will(id, Some(state.will.as_deref()?.clone())));
        }
        if !state.recorded {
            return None;
        }
        Some(match key {
            RowKey::Session(_) => Row::Session(id, Some(state.session.clone()?)),
            RowKey::Progress(_) => Row::Progress(id, state.progress.clone()),
            RowKey::Subscription(_, filter) => {
                let row = state.subscriptions.get(filter)?.clone();
                Row::Subscription(id, filter.clone(), Some(row))
            }
            RowKey::Inbound(_, packet_id) => {
                Row::Inbound(id, *packet_id, Some(*state.inbound.get(packet_id)?))
            }
            RowKey::Assigned(_, counter) => {
                Row::Assigned(id, *counter, Some(self.assigned(*counter)?.clone()))
            }
            RowKey::Will(_)
            | RowKey::Group(_)
            | RowKey::Retained(_)
            | RowKey::Clock
            | RowKey::Delayed(_)
            | RowKey::Held(..) => return None,
        })
    }
}

impl Delayed {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_offset(self.offset);
        out.put_timestamp(self.timestamp);
        out.put_timestamp(self.due.at);
        out.put_u8(u8::from(self.due.instant));
        out.put_raw(self.topic.as_bytes());
        out
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut input = Decoder::new(value);
        let offset = input.offset()?;
        let timestamp = input.timestamp()?;
        let due = Due { at: input.timestamp()?, instant: input.flag()? };
        let topic = TopicName::try_from(std::str::from_utf8(input.rest()).ok()?).ok()?;
        Some(Self { offset, timestamp, due, topic })
    }
}

impl Retained {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_offset(self.offset);
        out.put_offset(self.message_offset);
        out.put_timestamp(self.timestamp);
        out.put_option(self.expires_at, Vec::put_timestamp);
        out
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut input = Decoder::new(value);
        let retained = Self {
            offset: input.offset()?,
            message_offset: input.offset()?,
            timestamp: input.timestamp()?,
            expires_at: input.option(Decoder::timestamp)?,
        };
        input.finish(retained)
    }
}
