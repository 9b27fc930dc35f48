//! A subscriber that keeps its own session state over crashes of the broker, and writes down all that arrives.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::wire::Version;
use crate::wire::client::Client;
use crate::wire::packet::Packet;
use crate::wire::request;
use crate::wire::request::Connect;
use crate::wire::request::Publish;

/// A subscriber, its session and what it has seen.
pub(crate) struct Subscriber {
    name: String,
    version: Version,
    filters: Vec<(String, u8)>,
    /// QoS 2 messages received and not yet released.
    unreleased: BTreeSet<u16>,
    /// The numbers of each topic, as many as arrived in order.
    seen: BTreeMap<String, u32>,
}

/// The number in a message.
pub(crate) fn number(packet: &Packet) -> u32 {
    match packet {
        Packet::Publish(publish) => publish.text().parse().unwrap(),
        other => panic!("PUBLISH was due, not {other:?}"),
    }
}

impl Subscriber {
    pub(crate) fn new(name: &str, version: Version, filters: &[(&str, u8)]) -> Self {
        Self {
            name: name.into(),
            version,
            filters: filters.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect(),
            unreleased: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    fn attempt(&self, address: SocketAddr) -> Option<(Client, bool)> {
        let (client, connack) =
            Client::attempt(address, &Connect::persistent(self.version, &self.name))?;
        assert_eq!(connack.code, 0);
        Some((client, connack.session_present))
    }

    /// Opens the session.
    pub(crate) fn subscribe(&mut self, address: SocketAddr) {
        let (mut client, present) = self.attempt(address).expect("the broker lives");
        assert!(!present);
        let filters: Vec<(&str, u8)> =
            self.filters.iter().map(|(filter, qos)| (filter.as_str(), *qos)).collect();
        client.subscribe(&filters);
    }

    /// Takes messages until the broker dies.
    pub(crate) fn run(&mut self, address: SocketAddr) {
        let Some((mut client, present)) = self.attempt(address) else { return };
        assert!(present, "the session of {} is lost", self.name);
        while let Some(packet) = client.try_next() {
            self.handle(&mut client, &packet);
        }
    }

    /// Takes messages until every number is there, and checks that nothing else comes.
    pub(crate) fn finish(&mut self, address: SocketAddr, totals: &BTreeMap<String, u32>) {
        let (mut client, present) = self.attempt(address).expect("the broker lives");
        assert!(present, "the session of {} is lost", self.name);
        let wanted = |topic: &str| {
            let part = |n| topic.split('/').nth(n).unwrap();
            self.filters.iter().any(|(filter, _)| {
                let mut levels = filter.split('/').skip(1);
                let (first, second) = (levels.next().unwrap(), levels.next());
                first == "#"
                    || ((first == "+" || first == part(1))
                        && second.is_none_or(|s| s == "#" || s == part(2)))
            })
        };
        let due: BTreeMap<&String, u32> = totals
            .iter()
            .filter(|(topic, _)| wanted(topic))
            .map(|(topic, total)| (topic, *total))
            .collect();
        while due.iter().any(|(topic, total)| self.seen.get(*topic).copied().unwrap_or(0) < *total)
        {
            let packet = client.next();
            self.handle(&mut client, &packet);
        }
        for packet in client.settle() {
            self.handle(&mut client, &packet);
        }
        for (topic, count) in &self.seen {
            assert_eq!(due.get(topic), Some(count), "{} and {topic}", self.name);
        }
    }

    fn handle(&mut self, client: &mut Client, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => self.take(client, publish),
            Packet::Pubrel(ack) => {
                self.unreleased.remove(&ack.packet_id);
                client.try_send(&request::ack(0x70, ack.packet_id));
            }
            other => panic!("{} was sent {other:?}", self.name),
        }
    }

    fn take(&mut self, client: &mut Client, publish: &Publish) {
        let id = publish.packet_id;
        match publish.qos {
            1 => {
                self.write_down(publish);
                client.try_send(&request::ack(0x40, id));
            }
            2 => {
                if self.unreleased.insert(id) {
                    self.write_down(publish);
                }
                client.try_send(&request::ack(0x50, id));
            }
            _ => panic!("QoS 0 was not asked for"),
        }
    }

    fn write_down(&mut self, publish: &Publish) {
        let number: u32 = publish.text().parse().unwrap();
        let next = self.seen.entry(publish.topic.clone()).or_default();
        if number == *next {
            *next += 1;
        } else {
            let topic = &publish.topic;
            assert!(
                number < *next,
                "{}: {topic} {number} came when {next} was due: lost or out of order",
                self.name
            );
            assert!(publish.qos < 2, "{}: {topic} {number} came twice at QoS 2", self.name);
        }
    }
}
