//! What model clients do of their own accord.

use bytes::BufMut;
use tidelog::mqtt::Disconnect;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::RetainHandling;
use tidelog::mqtt::Subscribe;
use tidelog::mqtt::SubscribeFilter;
use tidelog::mqtt::SubscriptionFilter;
use tidelog::mqtt::SubscriptionId;
use tidelog::mqtt::SubscriptionOptions;
use tidelog::mqtt::Unsubscribe;
use tidelog::mqtt::UserProperties;

use crate::chance::Chance;
use crate::checker::Asked;
use crate::checker::Expiry;
use crate::checker::Fact;
use crate::checker::Sent;
use crate::client::Client;
use crate::client::Effects;
use crate::client::Outgoing;
use crate::client::Request;
use crate::client::payload;
use crate::client::text;
use crate::client::topic;
use crate::persona;

impl Client {
    /// Publishes something with this number, if its window allows.
    pub(crate) fn publish(&mut self, number: u64, chance: &mut Chance, effects: &mut Effects) {
        if self.outgoing.len() >= self.persona.window {
            return;
        }
        let sent = self.draw_message(number, chance);
        let padding = usize::try_from(chance.below(self.persona.padding + 1)).unwrap();
        let prefix = self.draw_prefix(&sent, chance);
        let name = format!("{prefix}{}", sent.topic);
        let mut publish = Publish::new(topic(&name), payload(&sent, padding));
        if let (Some(seconds), true) = (sent.delay, prefix.is_empty()) {
            let delay = (text("delay"), text(&seconds.to_string()));
            publish.properties.user_properties = [delay].into_iter().collect();
        }
        publish.qos = QoS::try_from(sent.qos).unwrap();
        publish.retain = sent.retain;
        publish.properties.message_expiry_interval = sent.expiry;
        if sent.qos > 0 {
            let id = self.free_id();
            publish.packet_id = Some(id);
            self.outgoing.push_back(Outgoing {
                sent: sent.clone(),
                id,
                publish: publish.clone(),
                released: false,
            });
        }
        self.name_topic(&name, &mut publish);
        effects.facts.push(Fact::Publishing { sent });
        self.send(&Packet::Publish(Box::new(publish)), effects);
    }

    /// How a delay is said: in the topic, or with nothing there in a user property.
    fn draw_prefix(&self, sent: &Sent, chance: &mut Chance) -> String {
        match sent.delay {
            Some(_) if self.persona.version.is_v5() && chance.percent(30) => String::new(),
            Some(seconds) => format!("$delayed/{seconds}/"),
            None => String::new(),
        }
    }

    /// Asks to cancel a delayed message: its id and its number.
    pub(crate) fn cancel(
        &mut self,
        number: u64,
        (id, cancelled): (u64, u64),
        chance: &mut Chance,
        effects: &mut Effects,
    ) {
        if self.outgoing.len() >= self.persona.window {
            return;
        }
        let name = format!("$ctl/delayed/{id}/cancel");
        let sent = Sent {
            number,
            publisher: self.persona.name.clone(),
            topic: name.clone(),
            qos: *chance.pick(&[1, 2]),
            retain: false,
            empty: true,
            expiry: None,
            is_will: false,
            delay: None,
            cancels: Some(cancelled),
        };
        let id = self.free_id();
        let mut publish = Publish::new(topic(&name), payload(&sent, 0));
        publish.qos = QoS::try_from(sent.qos).unwrap();
        publish.packet_id = Some(id);
        let outgoing =
            Outgoing { sent: sent.clone(), id, publish: publish.clone(), released: false };
        self.outgoing.push_back(outgoing);
        effects.facts.push(Fact::Publishing { sent });
        self.send(&Packet::Publish(Box::new(publish)), effects);
    }

    fn draw_message(&self, number: u64, chance: &mut Chance) -> Sent {
        let topics: &[&str] =
            if chance.percent(25) { &persona::GROUP_TOPICS } else { &persona::TOPICS };
        let topic = *chance.pick(topics);
        let retain = topic.starts_with('r') && chance.percent(60);
        let expiry = self.persona.version.is_v5() && chance.percent(self.persona.expiring);
        // What is retained, and what goes to groups, is judged by when it was sent.
        let delays = !topic.starts_with('g') && !retain && chance.percent(8);
        Sent {
            number,
            publisher: self.persona.name.clone(),
            topic: topic.to_owned(),
            qos: persona::qos(chance),
            retain,
            empty: retain && chance.percent(20),
            expiry: expiry.then(|| u32::try_from(chance.between(1, 8)).unwrap()),
            is_will: false,
            delay: delays.then(|| u32::try_from(chance.between(1, 8)).unwrap()),
            cancels: None,
        }
    }

    /// Uses a topic alias, if it may and has one left.
    fn name_topic(&mut self, name: &str, publish: &mut Publish) {
        let next = u16::try_from(self.aliases_out.len() + 1).unwrap();
        match self.aliases_out.get(name) {
            Some(alias) => {
                publish.topic_alias = std::num::NonZeroU16::new(*alias);
                publish.topic = None;
            }
            None if next <= self.alias_limit => {
                self.aliases_out.insert(name.to_owned(), next);
                publish.topic_alias = std::num::NonZeroU16::new(next);
            }
            None => {}
        }
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            let id = self.next_id;
            self.next_id = id.next();
            if !self.requests.contains_key(&id)
                && self.outgoing.iter().all(|outgoing| outgoing.id != id)
            {
                return id;
            }
        }
    }

    /// Subscribes to something, if it is not waiting for an answer.
    pub(crate) fn subscribe(&mut self, chance: &mut Chance, effects: &mut Effects) {
        if !self.requests.is_empty() {
            return;
        }
        let mut filters = self.filters_to_ask(chance);
        filters.sort_unstable();
        filters.dedup();
        let id = (self.persona.version.is_v5() && chance.percent(50))
            .then(|| u32::try_from(chance.between(1, 200)).unwrap());
        let asked = filters.iter().map(|filter| self.draw_options(filter, id, chance)).collect();
        self.ask(asked, id, effects);
    }

    /// Subscribes to everything at QoS 2, to see what is retained.
    pub(crate) fn subscribe_to_all(&mut self, effects: &mut Effects) {
        let asked = Asked {
            filter: "#".to_owned(),
            qos: 2,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            id: None,
        };
        self.ask(vec![asked], None, effects);
    }

    fn ask(&mut self, asked: Vec<Asked>, id: Option<u32>, effects: &mut Effects) {
        let packet_id = self.free_id();
        let packet = Packet::Subscribe(Box::new(Subscribe {
            packet_id,
            subscription_id: id.and_then(SubscriptionId::new),
            user_properties: UserProperties::new(),
            filters: asked.iter().map(subscribe_filter).collect(),
        }));
        let names = asked.iter().map(|asked| asked.filter.clone()).collect();
        effects.facts.push(Fact::Subscribing {
            connection: self.link,
            request: packet_id.get(),
            asked,
        });
        self.requests.insert(packet_id, Request::Subscribe(names));
        self.send(&packet, effects);
    }

    fn filters_to_ask(&self, chance: &mut Chance) -> Vec<&'static str> {
        if !self.persona.begins_with.is_empty() {
            return self.persona.begins_with.clone();
        }
        match self.persona.share {
            Some(share) => vec![share],
            None => (0..chance.between(1, 3)).map(|_| *chance.pick(&persona::FILTERS)).collect(),
        }
    }

    fn draw_options(&self, filter: &str, id: Option<u32>, chance: &mut Chance) -> Asked {
        let is_v5 = self.persona.version.is_v5();
        let witness = !self.persona.begins_with.is_empty();
        Asked {
            filter: filter.to_owned(),
            qos: match filter {
                _ if witness => 2,
                // A member that acknowledges nothing is refused.
                _ if filter.starts_with("$share/manual/") => persona::qos(chance).max(1),
                _ => persona::qos(chance),
            },
            no_local: is_v5 && !witness && self.persona.share.is_none() && chance.percent(20),
            retain_as_published: is_v5 && !witness && chance.percent(20),
            retain_handling: match is_v5 {
                // A replay brings what is retained in its place.
                _ if filter.starts_with("$replay/") => 2,
                true => *chance.pick(&[0, 0, 1, 2]),
                false => 0,
            },
            id,
        }
    }

    /// Unsubscribes from something, also from what it has not subscribed to.
    pub(crate) fn unsubscribe(&mut self, chance: &mut Chance, effects: &mut Effects) {
        if !self.requests.is_empty() || self.persona.stable {
            return;
        }
        let known: Vec<String> = self.filters.iter().cloned().collect();
        let filter = if known.is_empty() {
            "never/subscribed".to_owned()
        } else {
            chance.pick(&known).clone()
        };
        let packet_id = self.free_id();
        let packet = Packet::Unsubscribe(Box::new(Unsubscribe {
            packet_id,
            user_properties: UserProperties::new(),
            filters: vec![SubscriptionFilter::parse(&filter).unwrap()],
        }));
        let filters = vec![filter];
        effects.facts.push(Fact::Unsubscribing {
            connection: self.link,
            request: packet_id.get(),
            filters: filters.clone(),
        });
        self.requests.insert(packet_id, Request::Unsubscribe(filters));
        self.send(&packet, effects);
    }

    /// Whether it has all the subscriptions it begins with.
    pub(crate) fn has_begun(&self) -> bool {
        self.persona
            .begins_with
            .iter()
            .chain(&self.persona.share)
            .all(|filter| self.filters.contains(*filter))
    }

    /// Shows that it lives.
    pub(crate) fn ping(&mut self, effects: &mut Effects) {
        self.send(&Packet::Pingreq, effects);
    }

    /// Ends the connection in good order, now and then with its will or with another session expiry.
    pub(crate) fn disconnect(&mut self, chance: &mut Chance, effects: &mut Effects) {
        let mut disconnect = Disconnect::new(ReasonCode::NORMAL_DISCONNECTION);
        let mut changed = None;
        if self.persona.version.is_v5() && chance.percent(20) {
            disconnect.reason_code = ReasonCode::DisconnectWithWill;
        }
        if let (Expiry::After(seconds), true) = (self.persona.expiry, chance.percent(20)) {
            disconnect.session_expiry_interval = Some(seconds * 2);
            changed = Some(Expiry::After(seconds * 2));
        }
        let with_will = disconnect.reason_code == ReasonCode::DisconnectWithWill;
        effects.facts.push(Fact::Disconnecting {
            connection: self.link,
            with_will,
            expiry: changed,
        });
        self.send(&Packet::Disconnect(Box::new(disconnect)), effects);
        self.forget_connection();
    }

    /// Sends what is no packet.
    pub(crate) fn send_garbage(chance: &mut Chance, effects: &mut Effects) {
        // A type that does not exist is wrong wherever it stands between packets.
        effects.bytes.put_u8(0x00);
        for _ in 0..chance.below(20) {
            effects.bytes.put_u8(u8::try_from(chance.below(256)).unwrap());
        }
    }
}

fn subscribe_filter(asked: &Asked) -> SubscribeFilter {
    SubscribeFilter {
        filter: SubscriptionFilter::parse(&asked.filter).unwrap(),
        options: SubscriptionOptions {
            qos: QoS::try_from(asked.qos).unwrap(),
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            retain_handling: RetainHandling::try_from(asked.retain_handling).unwrap(),
        },
    }
}
