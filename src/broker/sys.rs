//! `$SYS/broker/...`: what the broker tells about itself, under the names that users of mosquitto know.
//!
//! The values are not messages of the log: they are sent at QoS 0 to whoever is subscribed, at intervals, and at once to a new subscription.

use crate::broker::Broker;
use crate::broker::Dropped;
use crate::broker::Timer;
use crate::broker::client::ClientRef;
use crate::broker::deliver::Terms;
use crate::broker::message::Message;
use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::TopicFilter;
use crate::session::Meta;

impl Broker {
    /// Publishes all values, and sets the timer for the next time.
    pub(super) fn publish_sys(&mut self) {
        if self.options.sys_interval.is_zero() {
            return;
        }
        self.timers.set(self.now + self.options.sys_interval, Timer::Sys);
        if self.router.len() == 0 {
            return;
        }
        for (topic, value) in self.sys_values() {
            self.publish_sys_value(&topic, &value);
        }
    }

    /// Publishes one value, unless none are published.
    pub(super) fn publish_sys_value(&mut self, topic: &str, value: &str) {
        if self.options.sys_interval.is_zero() {
            return;
        }
        let route = self.router.route(topic);
        let message = sys_message(topic, value);
        let (mut delivery, _) = self.delivery();
        for target in &route.targets {
            if let Some(effective) = target.grants.effective(QoS::AtMostOnce, false) {
                let terms = terms(false, &effective.subscription_ids);
                // Who can't take it now gets the next one.
                let _later = delivery.send(target.client, &message, terms);
            }
        }
    }

    /// Sends the values that a new subscription matches.
    pub(super) fn send_sys(
        &mut self,
        client: ClientRef,
        filter: &str,
        subscription_id: Option<SubscriptionId>,
    ) {
        if self.options.sys_interval.is_zero() {
            return;
        }
        let ids: SubscriptionIds = subscription_id.into_iter().collect();
        for (topic, value) in self.sys_values() {
            if TopicFilter::text_matches(filter, &topic) {
                let message = sys_message(&topic, &value);
                let (mut delivery, _) = self.delivery();
                let _later = delivery.send(client, &message, terms(true, &ids));
            }
        }
    }

    /// Every topic and its present value.
    pub fn sys_values(&self) -> Vec<(String, String)> {
        let stats = &self.stats;
        let kept = self.store.state();
        let connected = self.clients.len();
        let sessions = kept.session_count();
        let mut values: Vec<(&str, String)> = vec![
            ("version", concat!("tidelog version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime", format!("{} seconds", self.now.since(self.started).as_secs())),
            ("clients/connected", connected.to_string()),
            ("clients/active", connected.to_string()),
            ("clients/disconnected", sessions.saturating_sub(connected).to_string()),
            ("clients/inactive", sessions.saturating_sub(connected).to_string()),
            ("clients/total", sessions.to_string()),
            ("clients/refused", stats.connects_refused.to_string()),
            ("clients/taken-over", stats.take_overs.to_string()),
            ("connections/current", self.connections.len().to_string()),
            ("connections/opened", stats.connections_opened.to_string()),
            ("connections/protocol-errors", stats.protocol_errors.to_string()),
            ("messages/received", stats.packets_received.to_string()),
            ("messages/sent", stats.packets_sent.to_string()),
            ("publish/messages/received", stats.publish_received.to_string()),
            ("publish/messages/sent", stats.publish_sent.to_string()),
            ("publish/messages/dropped", stats.dropped_total().to_string()),
            ("publish/messages/not-logged", stats.not_logged.to_string()),
            ("bytes/received", stats.bytes_received.to_string()),
            ("bytes/sent", stats.bytes_sent.to_string()),
            ("subscriptions/count", self.router.len().to_string()),
            ("shared_subscriptions/count", self.groups.len().to_string()),
            ("retained messages/count", kept.retained().len().to_string()),
            ("delayed/count", kept.delayed().len().to_string()),
            ("delayed/published", stats.delayed_published.to_string()),
            ("delayed/milliseconds-late/max", stats.delayed_late_millis_max.to_string()),
        ];
        values.extend(self.log_values());
        values.extend(self.found.values());
        let mut topics: Vec<(String, String)> = values
            .into_iter()
            .map(|(name, value)| (format!("$SYS/broker/{name}"), value))
            .collect();
        for reason in Dropped::ALL {
            topics.push((
                format!("$SYS/broker/publish/messages/dropped/{}", reason.name()),
                stats.dropped(reason).to_string(),
            ));
        }
        topics
    }

    fn log_values(&self) -> Vec<(&'static str, String)> {
        let stats = &self.stats;
        let average = |sum: u64| sum.checked_div(stats.commits).unwrap_or(0);
        vec![
            (
                "store/messages/count",
                self.store
                    .next_offset()
                    .checked_since(self.store.start_offset())
                    .unwrap_or(0)
                    .to_string(),
            ),
            ("store/messages/bytes", self.store.size_bytes().to_string()),
            ("store/state", self.storage_state().name().to_owned()),
            ("log/read-errors", stats.read_errors.to_string()),
            ("log/bytes", self.store.size_bytes().to_string()),
            ("log/segments", self.store.segments().to_string()),
            ("log/start-offset", self.store.start_offset().to_string()),
            ("log/durable-offset", self.store.durable_offset().to_string()),
            ("log/next-offset", self.store.next_offset().to_string()),
            ("log/pending-bytes", self.store.pending_bytes().to_string()),
            ("log/cleaned/segments", stats.segments_cleaned.to_string()),
            ("log/cleaned/records", stats.records_cleaned.to_string()),
            ("log/cleaned/bytes", stats.bytes_cleaned.to_string()),
            ("commits/count", stats.commits.to_string()),
            ("commits/records/average", average(stats.committed_records).to_string()),
            ("commits/bytes/average", average(stats.committed_bytes).to_string()),
            ("commits/microseconds/average", average(stats.commit_micros).to_string()),
            ("commits/microseconds/max", stats.commit_micros_max.to_string()),
        ]
    }
}

fn sys_message<'a>(topic: &'a str, value: &'a str) -> Message<'a> {
    Message {
        offset: None,
        topic,
        payload: value.as_bytes(),
        qos: QoS::AtMostOnce,
        retain: true,
        properties: &[],
        published_at: crate::time::Timestamp::EPOCH,
        expires_at: None,
        publisher: "",
    }
}

fn terms(retain: bool, subscription_ids: &[SubscriptionId]) -> Terms<'_> {
    Terms {
        qos: QoS::AtMostOnce,
        retain,
        subscription_ids,
        place: crate::commitlog::Offset::ZERO,
        meta: Meta::None,
        replayed: false,
    }
}
