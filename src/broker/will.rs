//! Wills: kept from CONNECT on, published when a connection ends without a goodbye, also when it ended with the broker.

use std::time::Duration;

use crate::broker::Broker;
use crate::broker::StorageState;
use crate::broker::Timer;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::Will;
use crate::store::NewMessage;
use crate::store::Row;
use crate::store::WillRow;
use crate::time::Timestamp;

impl Broker {
    /// Keeps the will of a connection [MQTT-3.1.2-7]. Returns the row's offset, which CONNACK waits for.
    pub(super) fn keep_will(&mut self, client_id: &ClientId, will: &Will) -> Offset {
        let row = WillRow {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.encode_block().unwrap_or_default(),
            delay_interval: will.delay_interval,
            expiry_interval: will.properties.message_expiry_interval,
            fires_at: None,
        };
        self.store.put(self.now, Row::Will(client_id.clone(), Some(row)))
    }

    /// Forgets a will: the client said goodbye, or came back in time [MQTT-3.1.3-9].
    pub(super) fn cancel_will(&mut self, client_id: &ClientId) {
        if self.will_row(client_id).is_some() {
            self.store.put(self.now, Row::Will(client_id.clone(), None));
        }
    }

    /// The connection is lost: the will is published now, or after its delay, or when the session ends, whichever is first [MQTT-3.1.2-8].
    pub(super) fn will_of_lost(&mut self, client_id: &ClientId, session_expiry: u32) {
        let Some(row) = self.will_row(client_id) else { return };
        let wait = row.delay_interval.min(session_expiry);
        if wait == 0 {
            return self.publish_will(client_id, &row);
        }
        let fires_at = row.fires_at.unwrap_or(self.now + Duration::from_secs(u64::from(wait)));
        self.store.put(
            self.now,
            Row::Will(client_id.clone(), Some(WillRow { fires_at: Some(fires_at), ..row })),
        );
        self.set_will_timer(client_id.clone(), fires_at);
    }

    /// Sets the timer of a will that began to wait when its session was left.
    pub(super) fn set_will_timer(&mut self, client_id: ClientId, fires_at: Timestamp) {
        let deadline = self.will_deadline(&client_id, fires_at);
        self.set_far_timer(deadline, Timer::Will(client_id, fires_at));
    }

    /// When a will is due, as time counts that has passed since its session was left.
    fn will_deadline(&self, client_id: &ClientId, fires_at: Timestamp) -> Timestamp {
        let session = self.store.state().session(client_id);
        let row = session.and_then(|session| session.session.as_ref());
        let left_at = row.filter(|row| !row.connected).map_or(self.now, |row| row.disconnected_at);
        fires_at + self.store.state().clock().forgiven_since(left_at)
    }

    /// Publishes a will whose delay is over, if nobody came back.
    pub(super) fn will_due(&mut self, client_id: ClientId, fires_at: Timestamp) {
        let Some(row) = self.will_row(&client_id) else { return };
        if row.fires_at != Some(fires_at) {
            return;
        }
        if self.will_deadline(&client_id, fires_at) <= self.now {
            self.publish_will(&client_id, &row);
        } else {
            self.set_will_timer(client_id, fires_at);
        }
    }

    /// Publishes a will that waits: its session ends.
    pub(super) fn fire_will_now(&mut self, client_id: &ClientId) {
        if let Some(row) = self.will_row(client_id) {
            self.publish_will(client_id, &row);
        }
    }

    /// The message and the end of the will are in one batch: the will is published once [MQTT-3.1.2-10].
    fn publish_will(&mut self, client_id: &ClientId, row: &WillRow) {
        if self.storage_state() == StorageState::ReadOnly {
            // Its end can't be written down: the next start publishes it.
            return;
        }
        let message = NewMessage {
            topic: &row.topic,
            payload: &row.payload,
            qos: row.qos,
            retain: row.retain,
            publisher: client_id,
            packet_id: None,
            expiry_interval: row.expiry_interval,
            properties: &row.properties,
        };
        self.publish(&message);
        self.store.put(self.now, Row::Will(client_id.clone(), None));
    }

    pub(super) fn will_row(&self, client_id: &ClientId) -> Option<WillRow> {
        self.store.state().session(client_id).and_then(|session| session.will.as_deref().cloned())
    }
}
