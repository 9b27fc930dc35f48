//! What was measured, by name, and how several rounds become one.

use std::collections::BTreeMap;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    /// Messages delivered per second; acknowledged, where nobody subscribes; connections, where nothing is published.
    Rate,
    /// Microseconds of the broker's processor time for each message in or out, or for each connection.
    BrokerMicros,
    /// The same of this program.
    LoadMicros,
    /// Context switches of the broker for each message in or out.
    Switches,
    /// Microseconds from when a message was to be sent until a subscriber had it.
    DeliveryP50,
    DeliveryP99,
    /// Microseconds from PUBLISH to PUBACK or PUBCOMP.
    AckP50,
    AckP99,
    /// Microseconds of a 4 KiB write with `fdatasync` while the disk was idle, before the broker was started.
    SyncP50,
    SyncP99,
    /// Messages for each commit to disk.
    PerCommit,
    /// The most memory that the broker had, in MiB.
    PeakMib,
    /// How much more memory it had afterwards than before, in MiB.
    GrownMib,
    /// Bytes of the broker's own memory for each idle connection.
    ConnectionBytes,
    /// Its processor time while all connections were idle, in percent of a core.
    IdlePercent,
    /// Seconds from the start of the process until it accepted a client.
    StartSeconds,
    /// Messages that did not come.
    Lost,
    /// Messages that came again or too late.
    Repeated,
}

impl Measure {
    /// Its name in tables and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate/s",
            Self::BrokerMicros => "cpu us",
            Self::LoadMicros => "load us",
            Self::Switches => "switches",
            Self::DeliveryP50 => "e2e p50",
            Self::DeliveryP99 => "e2e p99",
            Self::AckP50 => "ack p50",
            Self::AckP99 => "ack p99",
            Self::SyncP50 => "sync p50",
            Self::SyncP99 => "sync p99",
            Self::PerCommit => "per commit",
            Self::PeakMib => "peak MiB",
            Self::GrownMib => "grown MiB",
            Self::ConnectionBytes => "bytes each",
            Self::IdlePercent => "idle %",
            Self::StartSeconds => "start s",
            Self::Lost => "lost",
            Self::Repeated => "repeated",
        }
    }
}

/// The figures of one round, or the medians of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<Measure, f64>);

impl Figures {
    /// Adds a figure.
    pub(crate) fn set(&mut self, measure: Measure, value: f64) {
        self.0.insert(measure, value);
    }

    /// Adds a figure, if there is one.
    pub(crate) fn set_some(&mut self, measure: Measure, value: Option<f64>) {
        if let Some(value) = value {
            self.set(measure, value);
        }
    }

    /// The figure, if it was measured.
    pub(crate) fn get(&self, measure: Measure) -> Option<f64> {
        self.0.get(&measure).copied()
    }

    /// All of them, in the order of the columns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Measure, f64)> {
        self.0.iter().map(|(measure, value)| (*measure, *value))
    }

    /// The median of each figure over several rounds; the worst of what must not happen at all.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let mut median = Self::default();
        let measures = rounds.iter().flat_map(|round| round.0.keys()).copied();
        for measure in measures.collect::<std::collections::BTreeSet<_>>() {
            let mut values: Vec<f64> =
                rounds.iter().filter_map(|round| round.get(measure)).collect();
            values.sort_by(f64::total_cmp);
            let (last, upper) = (values.len() - 1, values.len() / 2);
            let value = match measure {
                Measure::Lost | Measure::Repeated => values[last],
                _ => f64::midpoint(values[last - upper], values[upper]),
            };
            median.set(measure, value);
        }
        median
    }
}
