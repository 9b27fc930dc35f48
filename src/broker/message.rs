//! A message on its way to somebody, wherever its bytes are.

use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::mutant::Mutant;
use crate::store::MessageView;
use crate::time::Timestamp;

/// A message, borrowed from the packet that brought it, from the log, or made by the broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Its offset; `None` if it is not in the log.
    pub(super) offset: Option<Offset>,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    /// The QoS it was published at.
    pub(super) qos: QoS,
    /// The RETAIN flag it was published with.
    pub(super) retain: bool,
    /// Version 5 properties that are forwarded, encoded.
    pub(super) properties: &'a [u8],
    pub(super) published_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    /// The client id of the publisher; empty if the broker itself.
    pub(super) publisher: &'a str,
}

impl<'a> From<&MessageView<'a>> for Message<'a> {
    fn from(view: &MessageView<'a>) -> Self {
        Self {
            offset: Some(view.offset),
            topic: view.topic,
            payload: view.payload,
            qos: view.qos,
            retain: view.retain,
            properties: view.properties,
            published_at: view.timestamp,
            expires_at: view.expires_at(),
            publisher: view.publisher,
        }
    }
}

impl Message<'_> {
    /// Whether its Message Expiry Interval has passed. `now` is the present for the moment it was published at.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|deadline| deadline <= now)
            && !Mutant::ExpiryIgnored.is_active()
    }

    /// What is left of its Message Expiry Interval in whole seconds, at least 1 [MQTT-3.3.2-6].
    pub(super) fn expiry_left(&self, now: Timestamp) -> Option<u32> {
        let left = self.expires_at?.since(now).as_secs();
        Some(u32::try_from(left).unwrap_or(u32::MAX).max(1))
    }
}
