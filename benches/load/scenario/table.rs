//! All cases with their goals.

use crate::figures::Measure::AckP50;
use crate::figures::Measure::AckP99;
use crate::figures::Measure::BrokerMicros;
use crate::figures::Measure::ConnectionBytes;
use crate::figures::Measure::DeliveryP99;
use crate::figures::Measure::IdlePercent;
use crate::figures::Measure::Lost;
use crate::figures::Measure::Rate;
use crate::figures::Measure::StartSeconds;
use crate::figures::Measure::SyncP50;
use crate::figures::Measure::SyncP99;
use crate::goal::Goal::AtLeast;
use crate::goal::Goal::AtMost;
use crate::goal::Goal::AtMostAbove;
use crate::goal::Goal::AtMostTimes;
use crate::goal::Goal::AtMostTimesCase;
use crate::goal::Goal::Times;
use crate::run::Audience;
use crate::run::Shape;
use crate::scenario::Case;
use crate::scenario::Work;
use crate::transport::Carrier;

/// Bytes of a payload, where nothing else is said.
pub(super) const PAYLOAD: usize = 128;
/// Messages that a publisher may have without acknowledgement.
const WINDOW: u16 = 20;

const PLAIN: Case = Case {
    scenario: "",
    title: "",
    settings: &[],
    carrier: Carrier::Tcp,
    ours_only: false,
    work: Work::Lockstep,
    goals: &[],
};

const QOS0_GOALS: &[crate::goal::Goal] = &[
    Times(Rate, "mosquitto", 8.0),
    Times(Rate, "rumqttd", 1.0),
    AtMostTimes(BrokerMicros, "mosquitto", 0.1),
    AtMost(Lost, 0.0),
];

const PAIRS_QOS0: &str = "8 pairs, QoS 0";
const PAIRS_QOS1: &str = "8 pairs, QoS 1, window 20";

const fn shape(publishers: usize, audience: Audience, qos: u8) -> Shape {
    Shape { publishers, audience, qos, window: WINDOW, payload: PAYLOAD }
}

const fn stream(publishers: usize, audience: Audience, qos: u8) -> Work {
    Work::Stream(shape(publishers, audience, qos))
}

/// In the order in which they run.
pub(super) const CASES: &[Case] = &[
    Case {
        scenario: "S1",
        title: "1 to 1, QoS 0",
        work: stream(1, Audience::Pairs, 0),
        goals: QOS0_GOALS,
        ..PLAIN
    },
    Case {
        scenario: "S1",
        title: PAIRS_QOS0,
        work: stream(8, Audience::Pairs, 0),
        goals: QOS0_GOALS,
        ..PLAIN
    },
    Case {
        scenario: "S1",
        title: "8 pairs, QoS 0, not logged",
        work: stream(8, Audience::Pairs, 0),
        // Who is behind would miss messages; its peers hold as many as it takes.
        settings: &["data.log_qos0=false", "limits.output_buffer=4 MiB"],
        ours_only: true,
        goals: &[AtMostTimesCase(BrokerMicros, PAIRS_QOS0, 1.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S2",
        title: PAIRS_QOS1,
        work: stream(8, Audience::Pairs, 1),
        goals: &[Times(Rate, "mosquitto", 10.0), Times(Rate, "rumqttd", 1.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S2",
        title: "8 pairs, QoS 2, window 20",
        work: stream(8, Audience::Pairs, 2),
        goals: &[Times(Rate, "mosquitto", 12.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S3",
        title: "50 publishers, QoS 1, window 20, no subscriber",
        work: stream(50, Audience::Nobody, 1),
        goals: &[
            Times(Rate, "mosquitto", 12.0),
            Times(Rate, "rumqttd", 2.0),
            AtLeast(Rate, 1_000_000.0),
            AtMost(Lost, 0.0),
        ],
        ..PLAIN
    },
    Case {
        scenario: "S4",
        title: "lock-step, QoS 1",
        work: Work::Lockstep,
        goals: &[AtMostAbove(AckP50, SyncP50, 40.0), AtMostAbove(AckP99, SyncP99, 100.0)],
        ..PLAIN
    },
    Case {
        scenario: "S4",
        title: "lock-step, QoS 1, durability os",
        settings: &["data.durability=os"],
        ours_only: true,
        work: Work::Lockstep,
        goals: &[AtMost(AckP50, 35.0)],
        ..PLAIN
    },
    Case {
        scenario: "S5",
        title: "1 to 100, QoS 0",
        work: stream(1, Audience::All(100), 0),
        goals: &[Times(Rate, "rumqttd", 1.0), AtLeast(Rate, 875_000.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S5",
        title: "5 to 1,000, QoS 0",
        work: stream(5, Audience::All(1_000), 0),
        goals: &[Times(Rate, "rumqttd", 1.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S6",
        title: "1 to 100, QoS 1",
        work: stream(1, Audience::All(100), 1),
        goals: &[Times(Rate, "rumqttd", 1.0), AtLeast(Rate, 969_000.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S7",
        title: "500 publishers at 20/s into a group of 5, QoS 1",
        work: Work::Group,
        goals: &[
            AtMostAbove(DeliveryP99, SyncP99, 300.0),
            AtMostTimes(BrokerMicros, "mosquitto", 1.0),
            AtMost(Lost, 0.0),
        ],
        ..PLAIN
    },
    Case {
        scenario: "S8",
        title: "100 sessions come back to what was kept",
        work: Work::Backlog,
        goals: &[AtMost(StartSeconds, 2.0), AtLeast(Rate, 500_000.0), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S9",
        title: "a storm of connections, then nothing",
        work: Work::Storm,
        goals: &[
            Times(Rate, "mosquitto", 3.0),
            AtMost(ConnectionBytes, 1_500.0),
            AtMost(IdlePercent, 1.0),
        ],
        ..PLAIN
    },
    Case {
        scenario: "S10",
        title: "8 pairs, QoS 1, window 20, quiet",
        work: stream(8, Audience::Pairs, 1),
        ours_only: true,
        ..PLAIN
    },
    Case {
        scenario: "S10",
        title: "the same beside readers that do not read, take-overs, 100,000 subscriptions and retained messages",
        work: Work::Mixture(shape(8, Audience::Pairs, 1)),
        goals: &[
            AtMostTimesCase(DeliveryP99, "8 pairs, QoS 1, window 20, quiet", 2.0),
            AtMost(Lost, 0.0),
        ],
        ..PLAIN
    },
    Case {
        scenario: "S11",
        title: "new topics, 10 wildcard subscriptions",
        work: Work::Wildcards(10),
        ..PLAIN
    },
    Case {
        scenario: "S11",
        title: "new topics, 100,000 wildcard subscriptions",
        work: Work::Wildcards(100_000),
        goals: &[AtMostTimesCase(BrokerMicros, "new topics, 10 wildcard subscriptions", 2.0)],
        ..PLAIN
    },
    Case {
        scenario: "S12",
        title: "8 pairs, QoS 0, over TLS",
        carrier: Carrier::Tls,
        work: stream(8, Audience::Pairs, 0),
        goals: &[AtMostTimesCase(BrokerMicros, PAIRS_QOS0, 1.5), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S12",
        title: "8 pairs, QoS 1, window 20, over TLS",
        carrier: Carrier::Tls,
        work: stream(8, Audience::Pairs, 1),
        goals: &[AtMostTimesCase(BrokerMicros, PAIRS_QOS1, 1.5), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S12",
        title: "8 pairs, QoS 0, over WebSocket",
        carrier: Carrier::WebSocket,
        work: stream(8, Audience::Pairs, 0),
        goals: &[AtMostTimesCase(BrokerMicros, PAIRS_QOS0, 1.5), AtMost(Lost, 0.0)],
        ..PLAIN
    },
    Case {
        scenario: "S12",
        title: "8 pairs, QoS 1, window 20, over WebSocket",
        carrier: Carrier::WebSocket,
        work: stream(8, Audience::Pairs, 1),
        goals: &[AtMostTimesCase(BrokerMicros, PAIRS_QOS1, 1.5), AtMost(Lost, 0.0)],
        ..PLAIN
    },
];
