//! What subscriptions say about a message, alone and together.

use smallvec::SmallVec;

use crate::mqtt::QoS;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mutant::Mutant;

/// What a delivery tells of its message's position in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Meta {
    /// Nothing.
    #[default]
    None = 0,
    /// User properties (MQTT 5).
    Properties = 1,
    /// The payload is wrapped in JSON that has it all.
    Envelope = 2,
}

impl Meta {
    /// The number in a row.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// What a number in a row means.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Properties,
            2 => Self::Envelope,
            _ => return None,
        })
    }
}

/// The options of one subscription, as far as they matter for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The granted QoS.
    pub qos: QoS,
    /// The client does not want its own messages [MQTT-3.8.3-3].
    pub no_local: bool,
    /// The RETAIN flag is forwarded as it was published [MQTT-3.3.1-13].
    pub retain_as_published: bool,
    /// The Subscription Identifier.
    pub subscription_id: Option<SubscriptionId>,
    /// What deliveries tell of their position.
    pub meta: Meta,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: None,
            meta: Meta::None,
        }
    }
}

/// The subscriptions of one client that match one topic, as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(SmallVec<[Grant; 1]>);

/// How a message goes to one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The lower of published and granted [MQTT-3.8.4-8], with the highest granted [MQTT-3.3.4-2].
    pub qos: QoS,
    /// Whether any of the subscriptions wants the RETAIN flag as published.
    pub retain_as_published: bool,
    /// All their identifiers [MQTT-3.3.4-4].
    pub subscription_ids: SubscriptionIds,
    /// The most that any of the subscriptions wants to know of the position.
    pub meta: Meta,
}

impl From<Grant> for Grants {
    fn from(grant: Grant) -> Self {
        Self(SmallVec::from_slice(&[grant]))
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

impl Grants {
    /// Adds an overlapping subscription.
    pub fn push(&mut self, grant: Grant) {
        self.0.push(grant);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say together about a message published at `published`; `own` if this client published it.
    /// `None` if none of them wants it.
    pub fn effective(&self, published: QoS, own: bool) -> Option<Effective> {
        let own = own && !Mutant::NoLocalIgnored.is_active();
        let mut wanting = self.0.iter().filter(|grant| !(own && grant.no_local));
        let first = wanting.next()?;
        let mut effective = Effective {
            qos: first.qos,
            retain_as_published: first.retain_as_published,
            subscription_ids: first.subscription_id.into_iter().collect(),
            meta: first.meta,
        };
        for grant in wanting {
            effective.qos = effective.qos.max(grant.qos);
            effective.retain_as_published |= grant.retain_as_published;
            effective.subscription_ids.extend(grant.subscription_id);
            effective.meta = effective.meta.max(grant.meta);
        }
        effective.qos = effective.qos.min(published);
        Some(effective)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_subscriptions_give_the_highest_qos_and_all_ids() {
        let id = |number| SubscriptionId::new(number).unwrap();
        let one = Grant { qos: QoS::AtMostOnce, subscription_id: Some(id(1)), ..Grant::default() };
        let two = Grant {
            qos: QoS::ExactlyOnce,
            subscription_id: Some(id(2)),
            no_local: true,
            ..Grant::default()
        };
        let grants: Grants = [one, two].into_iter().collect();
        let effective = grants.effective(QoS::AtLeastOnce, false).unwrap();
        assert_eq!(
            (effective.qos, effective.subscription_ids.as_slice()),
            (QoS::AtLeastOnce, [id(1), id(2)].as_slice())
        );
        let own = grants.effective(QoS::AtLeastOnce, true).unwrap();
        assert_eq!(
            (own.qos, own.subscription_ids.as_slice()),
            (QoS::AtMostOnce, [id(1)].as_slice())
        );
        assert_eq!(Grants::from(two).effective(QoS::AtMostOnce, true), None);
    }
}
