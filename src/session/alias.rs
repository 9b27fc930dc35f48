//! Topic aliases, each way for one connection [MQTT-3.3.2-7].

use std::num::NonZeroU16;

use crate::collections::Map;
use crate::mqtt::Text;

/// The aliases that the client has set.
#[derive(Debug, Default)]
pub struct InboundAliases {
    topics: Vec<Option<Text>>,
    maximum: u16,
}

impl InboundAliases {
    /// Accepts aliases from 1 to `maximum`, which CONNACK announced [MQTT-3.3.2-12].
    pub fn new(maximum: u16) -> Self {
        Self { topics: Vec::new(), maximum }
    }

    /// Sets what an alias means. Returns whether the alias is one that the client may use [MQTT-3.3.2-9].
    #[must_use]
    pub fn set(&mut self, alias: u16, topic: Text) -> bool {
        if alias == 0 || alias > self.maximum {
            return false;
        }
        let index = usize::from(alias);
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        if let Some(slot) = self.topics.get_mut(index) {
            *slot = Some(topic);
        }
        true
    }

    /// What an alias means; `None` if it was never set.
    pub fn get(&self, alias: u16) -> Option<&Text> {
        self.topics.get(usize::from(alias)).and_then(Option::as_ref)
    }
}

/// The aliases that we have set: the first topics that come get one, until the client's maximum is used up.
#[derive(Debug, Default)]
pub struct OutboundAliases {
    aliases: Map<Box<str>, NonZeroU16>,
    maximum: u16,
}

/// How a topic goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The topic alone.
    Topic,
    /// The topic with a new alias.
    Introduce(NonZeroU16),
    /// The alias alone.
    Alias(NonZeroU16),
}

impl OutboundAliases {
    /// Uses aliases from 1 to `maximum`, the client's Topic Alias Maximum [MQTT-3.1.2-26, MQTT-3.1.2-27].
    pub fn new(maximum: u16) -> Self {
        Self { aliases: Map::default(), maximum }
    }

    /// How to name `topic` in the next PUBLISH, which is then sent.
    pub fn name(&mut self, topic: &str) -> Naming {
        if self.maximum == 0 {
            return Naming::Topic;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Naming::Alias(*alias);
        }
        let next = u16::try_from(self.aliases.len() + 1).ok().filter(|next| *next <= self.maximum);
        let Some(alias) = next.and_then(NonZeroU16::new) else { return Naming::Topic };
        self.aliases.insert(topic.into(), alias);
        Naming::Introduce(alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbound_aliases_stop_at_the_maximum() {
        let mut aliases = OutboundAliases::new(1);
        assert_eq!(aliases.name("a"), Naming::Introduce(NonZeroU16::MIN));
        assert_eq!(aliases.name("b"), Naming::Topic);
        assert_eq!(aliases.name("a"), Naming::Alias(NonZeroU16::MIN));
        assert_eq!(OutboundAliases::new(0).name("a"), Naming::Topic);
    }

    #[test]
    fn inbound_aliases_can_be_changed_and_are_bounded() {
        let mut aliases = InboundAliases::new(2);
        let topic = |name: &'static str| Text::try_from(name).unwrap();
        assert!(!aliases.set(0, topic("a")) && !aliases.set(3, topic("a")));
        assert!(aliases.get(2).is_none());
        assert!(aliases.set(2, topic("a")) && aliases.set(2, topic("b")));
        assert_eq!(aliases.get(2), Some(&topic("b")));
    }
}
