//! The numbers that name things: [`PacketId`] and [`SubscriptionId`]. Zero is never one of them.

use std::fmt;
use std::num::NonZeroU16;
use std::num::NonZeroU32;

use super::Violation;

/// A Packet Identifier, never zero. [MQTT-2.2.1-3]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The lowest identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The highest identifier.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// The identifier of this number; `None` for zero.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one; after the highest comes the lowest.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self::MIN,
        }
    }
}

impl TryFrom<u16> for PacketId {
    type Error = Violation;

    fn try_from(number: u16) -> Result<Self, Violation> {
        Self::new(number).ok_or(Violation::PacketIdZero)
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Subscription Identifier: 1 to 268,435,455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The highest identifier.
    pub const MAX: u32 = 268_435_455;

    /// The identifier of this number; `None` for zero and above [`SubscriptionId::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() <= Self::MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for SubscriptionId {
    type Error = Violation;

    fn try_from(number: u32) -> Result<Self, Violation> {
        Self::new(number).ok_or(Violation::SubscriptionIdInvalid)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_go_round_without_zero() {
        assert_eq!(PacketId::new(0), None);
        assert_eq!(PacketId::MIN.next().get(), 2);
        assert_eq!(PacketId::MAX.next(), PacketId::MIN);
        assert_eq!(PacketId::try_from(0), Err(Violation::PacketIdZero));
    }

    #[test]
    fn subscription_ids_fit_a_variable_byte_integer() {
        assert_eq!(SubscriptionId::try_from(0), Err(Violation::SubscriptionIdInvalid));
        assert_eq!(SubscriptionId::try_from(268_435_456), Err(Violation::SubscriptionIdInvalid));
        assert_eq!(
            SubscriptionId::new(268_435_455).map(SubscriptionId::get),
            Some(SubscriptionId::MAX)
        );
    }
}
