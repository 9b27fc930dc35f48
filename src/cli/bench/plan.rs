//! What a run is to be: who, how many, how much, how long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::crew::PublisherJob;
use super::crew::SubscriberJob;
use super::flow::Pace;
use super::flow::Shape;
use super::schedule::Schedule;
use super::schedule::share;
use super::template::Template;
use crate::cli::Failure;
use crate::cli::arguments::Setup;
use crate::cli::client::Options;
use crate::mqtt::PacketId;
use crate::mqtt::QoS;
use crate::mqtt::RetainHandling;
use crate::mqtt::Subscribe;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::SubscriptionOptions;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::mqtt::UserProperties;

/// Messages that a publisher may be ahead of its subscriber, without a rate and a window.
const AHEAD: u64 = 1024;

/// The least of it, however many subscribers there are.
const AHEAD_MIN: u64 = 64;

/// How long a session of `backlog` is kept, in seconds, if -x does not say.
const BACKLOG_EXPIRY: u32 = 3600;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Pub,
    Sub,
    Pair,
    FanOut,
    Shared,
    Connect,
    Backlog,
    Latency,
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// After so many messages.
    Messages(u64),
    /// After so long.
    Time(Duration),
}

/// What all scenarios have.
pub(super) struct Common {
    /// How to connect.
    pub(super) setup: Setup,
    /// Whether client ids begin as the user says.
    pub(super) has_id: bool,
    pub(super) topic: String,
    /// How long the broker may be silent.
    pub(super) timeout: Duration,
    /// Its process.
    pub(super) broker: Option<u32>,
    pub(super) json: bool,
}

/// All of it.
pub(super) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) common: Common,
    /// Tells this run from others.
    pub(super) run: u16,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    pub(super) qos: QoS,
    pub(super) size: usize,
    /// Messages, or connections, a second.
    pub(super) rate: Option<u64>,
    /// Messages that a publisher may have without acknowledgement; connections that are made at a time.
    pub(super) window: u16,
    /// Messages that a publisher may have that were not delivered.
    pub(super) ahead: Option<u64>,
    pub(super) length: Length,
    pub(super) warm_up: Duration,
}

impl Scenario {
    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pub => "pub",
            Self::Sub => "sub",
            Self::Pair => "pair",
            Self::FanOut => "fan-out",
            Self::Shared => "shared",
            Self::Connect => "connect",
            Self::Backlog => "backlog",
            Self::Latency => "latency",
        }
    }
}

impl Plan {
    /// Nobody who does nothing.
    pub(super) fn new(scenario: Scenario, common: Common) -> Self {
        let mut run = [0; 2];
        // Without random numbers the process has to do.
        let run = match getrandom::fill(&mut run) {
            Ok(()) => u16::from_be_bytes(run),
            Err(_) => u16::try_from(std::process::id() % 0xFFFF).unwrap_or(0),
        };
        Self {
            scenario,
            common,
            run,
            publishers: 0,
            subscribers: 0,
            qos: QoS::AtMostOnce,
            size: 0,
            rate: None,
            window: 1,
            ahead: None,
            length: Length::Messages(0),
            warm_up: Duration::ZERO,
        }
    }

    /// So many of each.
    pub(super) fn with_clients(self, publishers: usize, subscribers: usize) -> Self {
        Self { publishers, subscribers, ..self }
    }

    /// How often each message is delivered.
    fn fan(&self) -> u64 {
        match self.scenario {
            Scenario::Pair | Scenario::Latency | Scenario::Shared => 1,
            Scenario::FanOut | Scenario::Backlog => {
                u64::try_from(self.subscribers).unwrap_or(u64::MAX)
            }
            Scenario::Pub | Scenario::Sub | Scenario::Connect => 0,
        }
    }

    /// What its flow is like.
    pub(super) fn shape(&self) -> Shape {
        let fan = self.fan();
        let pace = match (self.rate, self.scenario) {
            (Some(rate), _) => Pace::Open(Schedule::new(rate, self.publishers)),
            (None, Scenario::Pub | Scenario::Sub | Scenario::Connect | Scenario::Backlog) => {
                Pace::Free
            }
            (None, Scenario::Latency) => Pace::Ahead(1),
            (None, Scenario::Pair | Scenario::FanOut | Scenario::Shared) => {
                let default = (AHEAD / fan.max(1)).max(AHEAD_MIN);
                Pace::Ahead(match (self.qos, self.ahead) {
                    (QoS::AtMostOnce, Some(ahead)) => ahead,
                    (_, ahead) => default.max(ahead.unwrap_or(0)),
                })
            }
        };
        let (run, qos, size) = (self.run, self.qos, self.size);
        Shape { run, qos, size, publishers: self.publishers, fan, pace }
    }

    /// What is noted of what comes.
    pub(super) fn arrivals(&self) -> Vec<Arrivals> {
        let each = |make: &dyn Fn(usize) -> Arrivals| (0..self.subscribers).map(make).collect();
        match self.scenario {
            Scenario::Pub => Vec::new(),
            Scenario::Sub | Scenario::Connect => each(&|_| Arrivals::Others(BTreeMap::new())),
            Scenario::Pair | Scenario::Latency => each(&|index| Arrivals::of(index, 1)),
            Scenario::FanOut | Scenario::Backlog => each(&|_| Arrivals::of(0, self.publishers)),
            Scenario::Shared => vec![Arrivals::of(0, self.publishers)],
        }
    }

    /// How many publishers' messages that are, for each subscriber and in all.
    pub(super) fn trackers(&self) -> usize {
        match self.scenario {
            Scenario::FanOut | Scenario::Backlog => {
                self.publishers.saturating_mul(self.subscribers)
            }
            Scenario::Pub
            | Scenario::Sub
            | Scenario::Pair
            | Scenario::Shared
            | Scenario::Connect
            | Scenario::Latency => self.publishers.max(self.subscribers),
        }
    }

    /// Whose arrivals a subscriber notes.
    pub(super) fn place(&self, subscriber: usize) -> usize {
        if self.scenario == Scenario::Shared { 0 } else { subscriber }
    }

    /// After how many messages a publisher has nothing left to do.
    pub(super) fn limit(&self, publisher: usize) -> u64 {
        let all = match (self.length, self.rate) {
            (Length::Messages(messages), _) => messages,
            (Length::Time(time), Some(rate)) => {
                let all = self.warm_up.saturating_add(time);
                Schedule::new(rate, self.publishers).count_within(all)
            }
            (Length::Time(_), None) => return u64::MAX,
        };
        share(all, publisher, self.publishers)
    }

    /// How a client connects.
    ///
    /// # Errors
    /// Fails if its client id would be too long.
    pub(super) fn options(&self, role: char, index: usize) -> Result<Options, Failure> {
        let mut options = self.common.setup.options.clone();
        options.connect_timeout = Some(self.common.timeout);
        let prefix = if self.common.has_id {
            options.connect.client_id.to_string()
        } else {
            format!("tl-{:04x}", self.run)
        };
        let id = Text::try_from(format!("{prefix}-{role}{index}"));
        options.connect.client_id = id.map_err(|error| Failure::usage(format!("-i: {error}")))?;
        Ok(options)
    }

    /// How a client connects whose session is kept.
    ///
    /// # Errors
    /// As [`Self::options`].
    pub(super) fn kept(&self, index: usize) -> Result<Options, Failure> {
        let mut options = self.options('s', index)?;
        options.connect.clean_start = false;
        if options.connect.version.is_v5() {
            options.connect.session_expiry_interval.get_or_insert(BACKLOG_EXPIRY);
        }
        Ok(options)
    }

    /// How such a client connects to have its session forgotten.
    ///
    /// # Errors
    /// As [`Self::options`].
    pub(super) fn forgotten(&self, index: usize) -> Result<Options, Failure> {
        let mut options = self.options('s', index)?;
        options.connect.clean_start = true;
        options.connect.session_expiry_interval = None;
        Ok(options)
    }

    /// What a publisher sends.
    ///
    /// # Errors
    /// Fails if the topic is none, or the packet would be too large.
    pub(super) fn template(&self, publisher: usize) -> Result<Template, Failure> {
        let prefix = &self.common.topic;
        let topic = match self.scenario {
            Scenario::FanOut | Scenario::Shared => format!("{prefix}/all"),
            Scenario::Pub
            | Scenario::Sub
            | Scenario::Pair
            | Scenario::Connect
            | Scenario::Backlog
            | Scenario::Latency => format!("{prefix}/{publisher}"),
        };
        let topic = TopicName::try_from(topic);
        let topic = topic.map_err(|error| Failure::usage(format!("--topic: {error}")))?;
        let properties = self.common.setup.properties.publish.clone();
        let version = self.common.setup.options.connect.version;
        Template::new(topic, self.qos, self.size, properties, version)
            .map_err(|error| Failure::usage(error.to_string()))
    }

    /// All who publish.
    ///
    /// # Errors
    /// Fails if a topic or a client id is none.
    pub(super) fn publisher_jobs(&self) -> Result<Vec<PublisherJob>, Failure> {
        let job = |index| {
            Ok(PublisherJob {
                index,
                options: self.options('p', index)?,
                template: self.template(index)?,
                window: self.window,
                limit: self.limit(index),
            })
        };
        (0..self.publishers).map(job).collect()
    }

    /// All who subscribe.
    ///
    /// # Errors
    /// As [`Self::publisher_jobs`].
    pub(super) fn subscriber_jobs(&self) -> Result<Vec<SubscriberJob>, Failure> {
        let job = |index| {
            Ok(SubscriberJob {
                place: self.place(index),
                options: self.options('s', index)?,
                subscribe: Some(self.subscribe(index)?),
                timeout: self.common.timeout,
            })
        };
        (0..self.subscribers).map(job).collect()
    }

    /// What a subscriber subscribes to.
    ///
    /// # Errors
    /// Fails if that is no filter.
    pub(super) fn subscribe(&self, subscriber: usize) -> Result<Subscribe, Failure> {
        let prefix = &self.common.topic;
        let filter = match self.scenario {
            Scenario::FanOut => format!("{prefix}/all"),
            Scenario::Shared => format!("$share/tl-{:04x}/{prefix}/all", self.run),
            Scenario::Pair | Scenario::Latency => format!("{prefix}/{subscriber}"),
            Scenario::Pub | Scenario::Connect | Scenario::Backlog | Scenario::Sub => {
                format!("{prefix}/#")
            }
        };
        let filter = SubscriptionFilter::parse(&filter)
            .map_err(|error| Failure::usage(format!("--topic: {error}")))?;
        let options = SubscriptionOptions {
            qos: self.qos,
            retain_handling: RetainHandling::DoNotSend,
            ..SubscriptionOptions::default()
        };
        Ok(Subscribe {
            packet_id: PacketId::MIN,
            subscription_id: self.common.setup.properties.subscription_id,
            user_properties: UserProperties::new(),
            filters: vec![SubscribeFilter { filter, options }],
        })
    }
}
