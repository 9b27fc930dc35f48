//! Messages that the broker makes about clients and about other messages: `$events/...`, `$dropped/...`, `$expired/...`.
//!
//! They go out at QoS 0, to who is subscribed, connected and can take one now; they are neither logged nor retained. Who
//! can't take one does not get it later: that is counted, and nothing waits. As long as nobody is subscribed to topics of
//! a kind, a look into one map is all that they cost.

use crate::broker::Broker;
use crate::broker::deliver::Sent;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::broker::stats::Dropped;
use crate::mqtt::QoS;

impl Broker {
    /// Whether anybody who is connected is subscribed to topics with this first level, which begins with `$`: no wildcard
    /// stands for it [MQTT-4.7.2-1].
    pub(super) fn is_heard(&self, level: &str) -> bool {
        self.router.has_literal(level)
    }

    /// Sends a report to whom it concerns. Whether anybody got it.
    pub(super) fn report(&mut self, topic: &str, payload: &[u8], properties: &[u8]) -> bool {
        // Its topic comes but once: the cache is for others.
        let route = self.router.find(topic);
        let message = Message {
            offset: None,
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
            published_at: self.now,
            expires_at: None,
            publisher: "",
        };
        let place = self.routed;
        let (mut delivery, _) = self.delivery();
        let mut sent = false;
        for target in &route.targets {
            let Some(effective) = target.grants.effective(QoS::AtMostOnce, false) else { continue };
            let terms = Terms {
                qos: QoS::AtMostOnce,
                retain: false,
                subscription_ids: &effective.subscription_ids,
                place,
                meta: effective.meta,
                replayed: false,
            };
            if delivery.send(target.client, &message, terms) == Sent::NotNow {
                delivery.stats.drop_messages(Dropped::ReportFull, 1);
            } else {
                sent = true;
            }
        }
        sent
    }
}
