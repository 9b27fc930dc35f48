//! The flags of `tidelog bench`, and the plan that they come to.

use std::time::Duration;

use clap::Arg;
use clap::Args;
use clap::Subcommand;

use super::plan::Common;
use super::plan::Length;
use super::plan::Plan;
use super::plan::Scenario;
use super::stamp::STAMP_BYTES;
use crate::cli::Failure;
use crate::cli::arguments::ConnectArgs;
use crate::cli::arguments::number;
use crate::cli::arguments::parse_qos;
use crate::mqtt::QoS;

/// How many clients of a kind there may be.
const CLIENTS_MAX: usize = 1_000_000;

/// How many pairs of a publisher and a subscriber are told apart: some 800 MB.
const TRACKERS_MAX: usize = 10_000_000;

/// The largest payload.
const SIZE_MAX: usize = 16 * 1024 * 1024;

/// Messages in flight of a client, at `QoS` 1 and 2.
const WINDOW: u16 = 20;

/// How many connections are made at a time.
const CONNECTING: u16 = 50;

/// What is to be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Publishers only: what the broker takes, and how long an acknowledgement takes.
    Pub(PublishersArgs),
    /// Subscribers only: what others publish, as with `tidelog bench pub` elsewhere.
    Sub(SubscribersArgs),
    /// Publishers, each with a subscriber of its own.
    Pair(PublishersArgs),
    /// Publishers (1) and subscribers (10) of one topic: everybody gets everything.
    FanOut(BothArgs),
    /// Publishers (1) and members (5) of a shared group: everything reaches one of them.
    Shared(BothArgs),
    /// Connections (1000) a second, and what holding them costs.
    Connect(ConnectionsArgs),
    /// Sessions (10) that are away while messages are published, come back and drain them.
    Backlog(BacklogArgs),
    /// Lock-step: a publisher sends the next message when the last was acknowledged and has come.
    Latency(PublishersArgs),
}

/// Flags of all.
#[derive(Debug, Args)]
struct CommonArgs {
    /// First levels of the topics.
    #[arg(short = 't', long, value_name = "PREFIX", default_value = "bench")]
    topic: String,
    /// Give up when the broker has not answered for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    timeout: Duration,
    /// The broker's process, whose processor time and memory are to be measured; on Linux.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of those who publish.
#[derive(Debug, Args)]
struct MessageArgs {
    /// Quality of service: 0, 1 or 2 [default: 0; 1 for latency and backlog]
    #[arg(short = 'q', long, value_name = "QOS", value_parser = parse_qos)]
    qos: Option<QoS>,
    /// Bytes of a payload, at least 24.
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 128, value_parser = number(1..=SIZE_MAX))]
    size: usize,
    /// Messages a second, all publishers together; without it, as fast as the window lets.
    #[arg(long, value_name = "MESSAGES", value_parser = number(1..=1_000_000_000_u64))]
    rate: Option<u64>,
    /// Messages that a publisher may have in flight: not acknowledged at QoS 1 and 2 [default: 20], not delivered at
    /// QoS 0 [default: 1024]
    #[arg(long, value_name = "MESSAGES", value_parser = number(1..=u16::MAX))]
    window: Option<u16>,
}

/// How long it lasts.
#[derive(Debug, Args)]
struct LengthArgs {
    /// End after so many messages, all publishers together.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "time", value_parser = number(1..=u64::MAX))]
    messages: Option<u64>,
    /// Measure for so long [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Run for so long before what counts [default: 1s; nothing with --messages]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    warm_up: Option<Duration>,
}

/// Flags of `pub`, `pair` and `latency`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(fitted))]
pub(crate) struct PublishersArgs {
    /// How many publishers.
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=CLIENTS_MAX))]
    clients: usize,
    #[command(flatten)]
    messages: MessageArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `sub`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(fitted))]
pub(crate) struct SubscribersArgs {
    /// How many subscribers; each subscribes to PREFIX/#.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=CLIENTS_MAX))]
    subscribers: usize,
    /// Quality of service: 0, 1 or 2.
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// End after so many messages, all subscribers together.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "time", value_parser = number(1..=u64::MAX))]
    messages: Option<u64>,
    /// Listen for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    time: Duration,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `fan-out` and `shared`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(fitted))]
pub(crate) struct BothArgs {
    /// How many publishers.
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=CLIENTS_MAX))]
    clients: usize,
    /// How many subscribers.
    #[arg(long, value_name = "COUNT", value_parser = number(1..=CLIENTS_MAX))]
    subscribers: Option<usize>,
    #[command(flatten)]
    messages: MessageArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `connect`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(fitted))]
pub(crate) struct ConnectionsArgs {
    /// How many connections.
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 1000, value_parser = number(1..=CLIENTS_MAX))]
    clients: usize,
    /// Connections a second; without it, as fast as the window lets.
    #[arg(long, value_name = "CONNECTIONS", value_parser = number(1..=1_000_000_u64))]
    rate: Option<u64>,
    /// How many are made at a time.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = CONNECTING, value_parser = number(1..=u16::MAX))]
    window: u16,
    /// Hold them for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    time: Duration,
    #[command(flatten)]
    common: CommonArgs,
}

/// Flags of `backlog`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, mut_args(fitted))]
pub(crate) struct BacklogArgs {
    /// How many publishers.
    #[arg(short = 'c', long, value_name = "COUNT", default_value_t = 1, value_parser = number(1..=CLIENTS_MAX))]
    clients: usize,
    /// How many sessions; each gets every message.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = number(1..=CLIENTS_MAX))]
    subscribers: usize,
    /// How many messages are published.
    #[arg(long = "messages", value_name = "MESSAGES", default_value_t = 10_000, value_parser = number(1..=u64::MAX))]
    count: u64,
    #[command(flatten)]
    messages: MessageArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl BenchCommand {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// Fails for flags that don't go together or have wrong values, and for files that can't be read.
    pub(super) fn plan(self) -> Result<Plan, Failure> {
        let plan = self.unchecked()?;
        if plan.trackers() > TRACKERS_MAX {
            return Err(Failure::usage(format!(
                "{} publishers and {} subscribers who all get everything are too many",
                plan.publishers, plan.subscribers
            )));
        }
        Ok(plan)
    }

    fn unchecked(self) -> Result<Plan, Failure> {
        match self {
            Self::Pub(arguments) => arguments.plan(Scenario::Pub),
            Self::Pair(arguments) => arguments.plan(Scenario::Pair),
            Self::Latency(arguments) => arguments.plan(Scenario::Latency),
            Self::FanOut(arguments) => arguments.plan(Scenario::FanOut, 10),
            Self::Shared(arguments) => arguments.plan(Scenario::Shared, 5),
            Self::Sub(arguments) => arguments.plan(),
            Self::Connect(arguments) => arguments.plan(),
            Self::Backlog(arguments) => arguments.plan(),
        }
    }
}

impl PublishersArgs {
    fn plan(mut self, scenario: Scenario) -> Result<Plan, Failure> {
        let default =
            if scenario == Scenario::Latency { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        if scenario == Scenario::Latency && self.messages.window.replace(1).is_some() {
            return Err(Failure::usage("latency has one message in flight: no --window"));
        }
        let subscribers = if scenario == Scenario::Pub { 0 } else { self.clients };
        let plan = Plan::new(scenario, self.common.common()?);
        let plan = plan.with_clients(self.clients, subscribers);
        self.length.apply(self.messages.apply(plan, default)?)
    }
}

impl BothArgs {
    fn plan(self, scenario: Scenario, subscribers: usize) -> Result<Plan, Failure> {
        let plan = Plan::new(scenario, self.common.common()?);
        let plan = plan.with_clients(self.clients, self.subscribers.unwrap_or(subscribers));
        self.length.apply(self.messages.apply(plan, QoS::AtMostOnce)?)
    }
}

impl SubscribersArgs {
    fn plan(self) -> Result<Plan, Failure> {
        let plan = Plan::new(Scenario::Sub, self.common.common()?);
        let length = self.messages.map_or(Length::Time(self.time), Length::Messages);
        Ok(Plan { qos: self.qos, length, ..plan.with_clients(0, self.subscribers) })
    }
}

impl ConnectionsArgs {
    fn plan(self) -> Result<Plan, Failure> {
        let plan = Plan::new(Scenario::Connect, self.common.common()?);
        Ok(Plan {
            rate: self.rate,
            window: self.window,
            length: Length::Time(self.time),
            ..plan.with_clients(0, self.clients)
        })
    }
}

impl BacklogArgs {
    fn plan(self) -> Result<Plan, Failure> {
        let plan = Plan::new(Scenario::Backlog, self.common.common()?);
        let plan = plan.with_clients(self.clients, self.subscribers);
        let plan = self.messages.apply(plan, QoS::AtLeastOnce)?;
        if plan.qos == QoS::AtMostOnce {
            return Err(Failure::usage("backlog: nothing is kept at QoS 0: -q 1 or 2"));
        }
        Ok(Plan { length: Length::Messages(self.count), ..plan })
    }
}

impl MessageArgs {
    fn apply(self, plan: Plan, default: QoS) -> Result<Plan, Failure> {
        if self.size < STAMP_BYTES {
            return Err(Failure::usage(format!(
                "--size {}: a payload has {STAMP_BYTES} bytes at least, for publisher, number and time",
                self.size
            )));
        }
        Ok(Plan {
            qos: self.qos.unwrap_or(default),
            size: self.size,
            rate: self.rate,
            window: self.window.unwrap_or(WINDOW),
            ahead: self.window.map(u64::from),
            ..plan
        })
    }
}

impl LengthArgs {
    fn apply(self, plan: Plan) -> Result<Plan, Failure> {
        let (length, warm_up) = match self.messages {
            Some(_) if self.warm_up.is_some_and(|time| !time.is_zero()) => {
                return Err(Failure::usage("with --messages all of them count: no --warm-up"));
            }
            Some(messages) => (Length::Messages(messages), Duration::ZERO),
            None => (
                Length::Time(self.time.unwrap_or(Duration::from_secs(10))),
                self.warm_up.unwrap_or(Duration::from_secs(1)),
            ),
        };
        Ok(Plan { length, warm_up, ..plan })
    }
}

impl CommonArgs {
    fn common(self) -> Result<Common, Failure> {
        let has_id = self.connect.has_id();
        if self.timeout.is_zero() {
            return Err(Failure::usage("--timeout 0s: the broker needs some time"));
        }
        let setup = self.connect.setup()?;
        Ok(Common {
            topic: setup.url_topic.clone().unwrap_or(self.topic),
            setup,
            has_id,
            timeout: self.timeout,
            broker: self.broker_pid,
            json: self.json,
        })
    }
}

/// What some flags of the connection mean for many of them.
fn fitted(argument: Arg) -> Arg {
    match argument.get_id().as_str() {
        // -c is how many clients there are, and their sessions end with the run.
        "disable_clean_session" => argument.short(None::<char>).hide(true),
        // An address, so that no connection has to ask for one.
        "host" => argument.default_value("127.0.0.1"),
        "id" => argument.help("Client ids begin with this; else they are made up"),
        _ => argument,
    }
}

/// Parses `10s`, `1m 30s`, `500ms`, or a plain number of seconds; a month at most.
fn parse_time(text: &str) -> Result<Duration, String> {
    const TIME_MAX: Duration = Duration::from_hours(31 * 24);
    let time = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string())?,
    };
    if time <= TIME_MAX { Ok(time) } else { Err("a month at most is meant".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_as_people_say_them() {
        assert_eq!(parse_time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "-1", "x", "1000 years", "NaN"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
