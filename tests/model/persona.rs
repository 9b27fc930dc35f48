//! What kind of client one is: drawn once, from the seed.

use tidelog::mqtt::ProtocolVersion;

use crate::chance::Chance;
use crate::checker::Expiry;

/// Topics that everybody publishes to.
pub(crate) const TOPICS: [&str; 9] =
    ["a", "a/b", "a/b/c", "a/c", "d/é", "/b", "r/1", "r/2", "r/2/x"];

/// Topics of the shared groups.
pub(crate) const GROUP_TOPICS: [&str; 2] = ["g/1", "g/2"];

/// The shared groups; one of them lasts.
const SHARES: [&str; 5] = [
    "$share/one/g/#",
    "$share/two/g/+",
    "$share/one/g/1",
    "$share/kept/$replay/earliest/g/#",
    "$share/kept/$replay/earliest/g/#",
];

/// Filters that everybody subscribes to.
pub(crate) const FILTERS: [&str; 12] =
    ["#", "a/#", "a/+", "a/b", "+/b", "+/+/c", "r/#", "r/2", "d/+", "+", "w/#", "+/#"];

/// How a client behaves.
#[derive(Clone, Debug)]
pub(crate) struct Persona {
    pub(crate) name: String,
    pub(crate) version: ProtocolVersion,
    pub(crate) expiry: Expiry,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    /// Percent of its publishes that name the topic by an alias when they can.
    pub(crate) aliases: bool,
    pub(crate) will: Option<WillPlan>,
    pub(crate) publishes: bool,
    /// A member of this group, and nothing else.
    pub(crate) share: Option<&'static str>,
    /// Subscribes once and never ends its session.
    pub(crate) stable: bool,
    /// Filters it begins with.
    pub(crate) begins_with: Vec<&'static str>,
    /// Percent of its chances to subscribe to them that it takes.
    pub(crate) eager: u64,
    /// Milliseconds that it may take to answer.
    pub(crate) answers_within: u64,
    /// Percent of its connections that begin with a clean start, if it keeps its session otherwise.
    pub(crate) clean_percent: u64,
    /// How many of its messages may be unacknowledged.
    pub(crate) window: usize,
    /// The most bytes of padding in a payload.
    pub(crate) padding: u64,
    /// Percent of its messages that expire, if it speaks MQTT 5.
    pub(crate) expiring: u64,
}

/// The will that a client brings.
#[derive(Clone, Debug)]
pub(crate) struct WillPlan {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) delay: u32,
}

impl Persona {
    /// Any client.
    pub(crate) fn draw(number: usize, padding: u64, chance: &mut Chance) -> Self {
        let version = *chance.pick(&[
            ProtocolVersion::V5,
            ProtocolVersion::V5,
            ProtocolVersion::V5,
            ProtocolVersion::V3_1_1,
            ProtocolVersion::V3_1_1,
            ProtocolVersion::V3_1,
        ]);
        let share = chance.percent(30).then(|| *chance.pick(&SHARES));
        let stable = share.is_some() && chance.percent(60);
        let expiry = expiry(version, stable, chance);
        let delay = if version.is_v5() { u32::try_from(chance.below(5)).unwrap() } else { 0 };
        let will = chance.percent(40).then(|| WillPlan {
            qos: qos(chance),
            retain: chance.percent(30),
            delay,
        });
        Self {
            name: format!("c{number}"),
            version,
            expiry,
            keep_alive: *chance.pick(&[0, 0, 3, 10]),
            receive_maximum: if version.is_v5() {
                *chance.pick(&[1, 2, 3, 10, 100])
            } else {
                u16::MAX
            },
            topic_alias_maximum: if version.is_v5() { *chance.pick(&[0, 0, 1, 10]) } else { 0 },
            aliases: version.is_v5() && chance.percent(40),
            will,
            publishes: chance.percent(70),
            share,
            stable,
            begins_with: Vec::new(),
            eager: 100,
            answers_within: *chance.pick(&[0, 5, 50, 1_000, 5_000]),
            clean_percent: if stable { 0 } else { *chance.pick(&[0, 0, 10, 30]) },
            window: usize::try_from(chance.between(1, 20)).unwrap(),
            padding,
            expiring: 10,
        }
    }

    /// A client that subscribes to `filters` once and keeps its session for ever, whatever happens to its connections.
    pub(crate) fn witness(
        name: &str,
        version: ProtocolVersion,
        filters: &[&'static str],
        chance: &mut Chance,
    ) -> Self {
        let drawn = Self::draw(0, 0, chance);
        let receive_maximum = if version.is_v5() { drawn.receive_maximum } else { u16::MAX };
        Self {
            name: name.to_owned(),
            version,
            receive_maximum,
            topic_alias_maximum: if version.is_v5() { drawn.topic_alias_maximum } else { 0 },
            aliases: false,
            expiry: Expiry::Never,
            publishes: false,
            share: None,
            stable: true,
            will: None,
            begins_with: filters.to_vec(),
            clean_percent: 0,
            ..drawn
        }
    }

    /// A client that wants what was published before it came, too; its session is kept, or is a new one each time.
    pub(crate) fn replayer(name: &str, kept: bool, chance: &mut Chance) -> Self {
        let filter = *chance.pick(&["$replay/earliest/a/#", "$replay/earliest/+"]);
        let version = *chance.pick(&[ProtocolVersion::V5, ProtocolVersion::V3_1_1]);
        let eager = *chance.pick(&[100, 20, 5]);
        let witness = Self::witness(name, version, &[filter], chance);
        let expiry = if kept { Expiry::Never } else { Expiry::WithConnection };
        Self { expiry, eager, ..witness }
    }

    /// A client that wants what only one may have at a time, and now and then gives it up.
    pub(crate) fn rival(name: &str, kept: bool, chance: &mut Chance) -> Self {
        let version = *chance.pick(&[ProtocolVersion::V5, ProtocolVersion::V3_1_1]);
        let witness = Self::witness(name, version, &["$exclusive/a/#"], chance);
        let expiry = if kept { Expiry::Never } else { Expiry::WithConnection };
        let clean_percent = if kept { 10 } else { 0 };
        Self { expiry, clean_percent, stable: false, eager: 40, ..witness }
    }

    /// A client that looks at everything that is retained.
    pub(crate) fn auditor(chance: &mut Chance) -> Self {
        Self {
            expiry: Expiry::WithConnection,
            receive_maximum: 100,
            answers_within: 0,
            keep_alive: 0,
            stable: false,
            ..Self::witness("audit", ProtocolVersion::V5, &["#"], chance)
        }
    }

    /// Whether it wants what another may have.
    pub(crate) fn is_rival(&self) -> bool {
        self.begins_with.iter().any(|filter| filter.starts_with("$exclusive/"))
    }

    /// Whether its sessions outlive its connections.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry != Expiry::WithConnection
    }
}

fn expiry(version: ProtocolVersion, stable: bool, chance: &mut Chance) -> Expiry {
    match chance.below(10) {
        0..=5 => Expiry::Never,
        _ if stable => Expiry::Never,
        6 | 7 if version.is_v5() => Expiry::After(u32::try_from(chance.between(1, 20)).unwrap()),
        _ => Expiry::WithConnection,
    }
}

/// Any QoS, the acknowledged ones more often.
pub(crate) fn qos(chance: &mut Chance) -> u8 {
    *chance.pick(&[0, 1, 1, 2, 2])
}
