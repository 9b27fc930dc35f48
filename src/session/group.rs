//! What a durable group may be declared with, beside its start.

/// Who of a group's members gets the next message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Strategy {
    /// Who has the fewest in flight.
    #[default]
    LeastInflight = 0,
    /// One after the other.
    RoundRobin = 1,
    /// Anyone.
    Random = 2,
    /// The one who got the last, as long as it has room.
    Sticky = 3,
    /// The one who gets all messages of the same key, in their order.
    Key = 4,
    /// One for all, in their order; the others stand by.
    Exclusive = 5,
}

impl Strategy {
    const ALL: [Self; 6] = [
        Self::LeastInflight,
        Self::RoundRobin,
        Self::Random,
        Self::Sticky,
        Self::Key,
        Self::Exclusive,
    ];

    /// The number on disk.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The strategy with this number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_u8() == number)
    }

    /// Its name, as users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastInflight => "least-inflight",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::Sticky => "sticky",
            Self::Key => "key",
            Self::Exclusive => "exclusive",
        }
    }

    /// The strategy with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// Whether messages of one key come in their order, whoever gets them.
    pub const fn keeps_order(self) -> bool {
        matches!(self, Self::Key | Self::Exclusive)
    }
}

/// What ends the delivery of a group's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Its acknowledgement.
    #[default]
    Ack,
    /// A request to commit.
    Manual,
}

impl Commit {
    /// Its name, as users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Manual => "manual",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ack, Self::Manual].into_iter().find(|commit| commit.name() == name)
    }
}
