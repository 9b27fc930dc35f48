//! `tidelog sub`: prints what comes, with the flags of `mosquitto_sub`.
//!
//! - A message at `QoS` 1 or 2 is acknowledged when its line has been written and flushed, so that whoever reads our
//!   output has it before the broker forgets it.
//! - While nobody reads our output, nothing is read from the broker; the connection stays alive.
//! - When the connection is lost it connects again, and subscribes again if the broker has forgotten the session.
//! - It ends by `-C`, `-W`, `-E`, `--retained-only`, SIGINT or SIGTERM, and then in good order: what was printed is
//!   acknowledged before the DISCONNECT.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncWrite;
use tokio::io::Stdout;
use tokio::time::Instant;

use super::Failure;
use super::arguments::ConnectArgs;
use super::arguments::Setup;
use super::arguments::client_failure;
use super::arguments::number;
use super::arguments::parse_qos;
use super::arguments::parse_seconds;
use super::client::Client;
use super::client::ClientError;
use super::client::Event;
use super::client::Reading;
use super::client::Receipt;
use super::client::with_reason;
use super::format::Format;
use super::format::Pattern;
use super::format::Printed;
use super::format::Style;
use super::group::parse_commit;
use super::group::parse_name;
use super::group::parse_start;
use super::group::parse_strategy;
use super::output::Output;
use super::property::Properties;
use super::runtime;
use super::signals::Signals;
use super::terminal;
use crate::mqtt::PacketId;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::ShareName;
use crate::mqtt::Suback;
use crate::mqtt::Subscribe;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::SubscriptionOptions;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::mqtt::TopicName;
use crate::mqtt::Unsubscribe;
use crate::mqtt::UserProperties;
use crate::session::Address;
use crate::session::Commit;
use crate::session::Strategy;

/// How long the last acknowledgements may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// What `-W` exits with, as in `mosquitto_sub`.
const TIMED_OUT: u8 = 27;

/// The flags of `sub`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_long_help = FORMAT_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub(crate) struct SubscribeArgs {
    /// Topic filter to subscribe to; may be repeated.
    #[arg(short = 't', long = "topic", value_name = "FILTER")]
    topics: Vec<String>,
    /// Begin with what is stored, then go on live: earliest, latest, committed, last-N, o-OFFSET, t-UNIXMS, ago-15m or
    /// 2026-08-01T00:00:00Z. The filters become $replay/START/FILTER.
    #[arg(long, value_name = "START", value_parser = parse_start)]
    from: Option<String>,
    /// Be a member of this group: the filters become $share/NAME/FILTER, and with --from $share/NAME/$replay/START/FILTER, which makes a group
    /// that keeps its place without members.
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    group: Option<ShareName>,
    /// Who of the group gets the next message: least-inflight, round-robin, random, sticky, key or exclusive; with -V 5.
    #[arg(long, value_name = "STRATEGY", value_parser = parse_strategy, requires = "group")]
    strategy: Option<Strategy>,
    /// What ends a delivery to the group: ack or manual; with -V 5.
    #[arg(long, value_name = "MODE", value_parser = parse_commit, requires = "group")]
    commit: Option<Commit>,
    /// Quality of service: 0, 1 or 2.
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Don't print topics that match this filter; may be repeated.
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,
    /// Unsubscribe from this filter; may be repeated.
    #[arg(short = 'U', long = "unsubscribe", value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// Print the topic in front of the payload.
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Print messages in this format (see below).
    #[arg(short = 'F', value_name = "FORMAT", allow_hyphen_values = true)]
    format: Option<String>,
    /// Print no line feed after a message.
    #[arg(short = 'N')]
    no_line_feed: bool,
    /// Exit after so many messages.
    #[arg(short = 'C', value_name = "COUNT", value_parser = number(1..=u64::MAX))]
    count: Option<u64>,
    /// Exit, with code 27, so many seconds after connecting.
    #[arg(short = 'W', value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,
    /// Exit as soon as the subscriptions are made.
    #[arg(short = 'E')]
    exit_when_subscribed: bool,
    /// Don't print retained messages.
    #[arg(short = 'R')]
    no_retained: bool,
    /// Print retained messages only, and exit at the first other one.
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,
    /// Clear the retained messages that come, unless -T filters them out.
    #[arg(long)]
    remove_retained: bool,
    /// Keep the retain flag as it was published; with -V 5.
    #[arg(long)]
    retain_as_published: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

const FORMAT_HELP: &str = "\
Formats (-F), as in mosquitto_sub:
  %t topic        %p payload       %l its length        %x %X payload in hexadecimal
  %q QoS          %r retain flag   %m packet id         %S subscription ids
  %A topic alias  %C content type  %D correlation data  %E message expiry
  %F payload format  %R response topic  %P user properties
  %I ISO 8601 time   %U seconds since 1970   %j %J JSON (payload as a string, as JSON)
  @X strftime's %X for X in YymdHMSFTRszZ, @N nanoseconds; times are UTC
  %% @@ \\\\ themselves; \\0 \\a \\e \\n \\r \\t \\v control characters
  Between % and the letter: - for left, 0 for zeroes, least width, .greatest width";

impl SubscribeArgs {
    /// Subscribes, and prints until the end.
    ///
    /// # Errors
    /// Fails if there is no connection, no subscription, or if the time is up.
    pub(crate) fn run(self) -> Result<(), Failure> {
        runtime::run(async { self.subscriber()?.run().await })
    }

    fn subscriber(mut self) -> Result<Subscriber<Stdout>, Failure> {
        let format = self.format()?;
        let filter_out = filters("-T", &self.filter_out, |filter| TopicFilter::try_from(filter))?;
        let unsubscribe = filters("-U", &self.unsubscribe, SubscriptionFilter::parse)?;
        let Setup { mut options, mut properties, url_topic, quiet } = self.connect.setup()?;
        self.topics.extend(url_topic);
        if self.from.is_some() || self.group.is_some() {
            self.topics = addressed(&self.topics, self.group.as_ref(), self.from.as_deref())?;
        }
        let words = group_words(self.strategy, self.commit)?;
        if !words.is_empty() && !options.connect.version.is_v5() {
            return Err(Failure::usage(
                "--strategy and --commit need -V 5; for other versions `tidelog group create` says it",
            ));
        }
        properties.for_subscribe.extend(words);
        let topics = filters("-t", &self.topics, SubscriptionFilter::parse)?;
        if topics.is_empty() && unsubscribe.is_empty() {
            return Err(Failure::usage("a topic filter is missing: -t or -U"));
        }
        if self.retain_as_published && !options.connect.version.is_v5() {
            return Err(Failure::usage("--retain-as-published needs -V 5"));
        }
        options.connect_timeout = self.timeout;
        let subscription = SubscriptionOptions {
            qos: self.qos,
            retain_as_published: self.retain_as_published,
            ..SubscriptionOptions::default()
        };
        Ok(Subscriber {
            version: options.connect.version,
            client: Client::new(options),
            output: Output::new(tokio::io::stdout()),
            topics: topics
                .into_iter()
                .map(|filter| SubscribeFilter { filter, options: subscription })
                .collect(),
            unsubscribe,
            properties,
            choice: Choice {
                filter_out,
                no_retained: self.no_retained,
                retained_only: self.retained_only,
                remove_retained: self.remove_retained,
            },
            format,
            left: self.count,
            timeout: self.timeout,
            deadline: None,
            exit_when_subscribed: self.exit_when_subscribed,
            clearing: VecDeque::new(),
            was_connected: false,
            end: None,
            quiet,
        })
    }

    fn format(&self) -> Result<Format, Failure> {
        let style = match &self.format {
            Some(text) => {
                let pattern = Pattern::parse(text);
                Style::Pattern(pattern.map_err(|error| Failure::usage(format!("-F: {error}")))?)
            }
            None if self.verbose => Style::Verbose,
            None => Style::Payload,
        };
        Ok(Format { style, line_feed: !self.no_line_feed })
    }
}

/// The filters as those of a group's members, as replays from a start on, or both.
fn addressed(
    filters: &[String],
    group: Option<&ShareName>,
    start: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let flag = if group.is_some() { "--group" } else { "--from" };
    let share = group.map(|name| format!("$share/{name}/")).unwrap_or_default();
    let replay = start.map(|start| format!("$replay/{start}/")).unwrap_or_default();
    let addressed = |filter: &String| {
        let (meta, filter) =
            filter.strip_prefix("$meta/").map_or(("", &**filter), |filter| ("$meta/", filter));
        let text = format!("{share}{meta}{replay}{filter}");
        match Address::parse(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Failure::usage(format!("{flag} with -t '{filter}': {error}"))),
        }
    };
    filters.iter().map(addressed).collect()
}

/// The user properties of SUBSCRIBE that say how a group works.
fn group_words(
    strategy: Option<Strategy>,
    commit: Option<Commit>,
) -> Result<UserProperties, Failure> {
    let text = |text: &str| Text::try_from(text).map_err(|error| Failure::usage(error.to_string()));
    let words = [("strategy", strategy.map(Strategy::name)), ("commit", commit.map(Commit::name))];
    let said = words.into_iter().filter_map(|(name, value)| Some((name, value?)));
    said.map(|(name, value)| Ok((text(name)?, text(value)?))).collect()
}

fn filters<T, E: std::fmt::Display>(
    flag: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Failure> {
    let parse = |text: &String| {
        parse(text).map_err(|error| Failure::usage(format!("{flag} '{text}': {error}")))
    };
    texts.iter().map(parse).collect()
}

/// Which messages are printed, and which cleared.
#[derive(Debug)]
struct Choice {
    filter_out: Vec<TopicFilter>,
    no_retained: bool,
    retained_only: bool,
    remove_retained: bool,
}

/// Takes messages from the broker to `W`.
struct Subscriber<W> {
    client: Client,
    version: ProtocolVersion,
    output: Output<W, Receipt>,
    topics: Vec<SubscribeFilter>,
    unsubscribe: Vec<SubscriptionFilter>,
    properties: Properties,
    choice: Choice,
    format: Format,
    /// How many more messages to print.
    left: Option<u64>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    exit_when_subscribed: bool,
    /// Topics whose retained messages are still to be cleared.
    clearing: VecDeque<TopicName>,
    was_connected: bool,
    /// How it ends, once it does.
    end: Option<Result<(), Failure>>,
    quiet: bool,
}

impl<W: AsyncWrite + Unpin> Subscriber<W> {
    async fn run(mut self) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        while self.end.is_none() {
            let reading = if self.output.has_room() { Reading::On } else { Reading::Paused };
            tokio::select! {
                biased;
                () = signals.next() => self.end = Some(Ok(())),
                () = runtime::sleep_until(self.deadline) => self.end = Some(Err(self.timed_out())),
                written = self.output.write(), if !self.output.is_idle() => self.handle_written(written),
                event = self.client.next(reading) => self.handle_event(event)?,
            }
        }
        tokio::select! {
            () = self.finish() => (),
            () = signals.next() => (),
        }
        let farewell = self.properties.disconnect.packet();
        // A connection that is gone has nothing left to lose: what was not acknowledged comes again.
        drop(self.client.close(farewell).await);
        match self.end {
            Some(Err(failure)) if failure.exit_code != 0 => Err(failure),
            _ => Ok(()),
        }
    }

    /// Writes what was received, acknowledges it, and waits until the broker has heard of it.
    async fn finish(&mut self) {
        while !self.output.is_idle() {
            tokio::select! {
                biased;
                written = self.output.write() => self.handle_written(written),
                _ = self.client.next(Reading::Paused) => (),
            }
        }
        let settled = async {
            while self.client.is_up()
                && (self.client.awaiting_release() > 0
                    || self.client.in_flight() > 0
                    || !self.clearing.is_empty())
            {
                self.clear();
                self.client.next(Reading::On).await;
            }
        };
        // What the broker does not answer in time is finished by the next connection of the session.
        drop(tokio::time::timeout(FINISH_TIMEOUT, settled).await);
    }

    /// Acknowledges what was written. What can't be written is not, and ends it.
    fn handle_written(&mut self, written: std::io::Result<Vec<Receipt>>) {
        match written {
            Ok(receipts) => {
                for receipt in receipts {
                    self.client.acknowledge(receipt);
                }
            }
            Err(error) => {
                self.output.abandon();
                self.end = Some(Err(self.quietly(terminal::output_failure(&error))));
            }
        }
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected { session_present } => self.handle_connected(session_present),
            Event::Lost(error) => self.handle_lost(&error)?,
            Event::Message { topic, publish, receipt } => {
                self.handle_message(topic, &publish, receipt);
            }
            Event::Subscribed(suback) => self.handle_subscribed(&suback)?,
            Event::Unsubscribed => {
                if self.exit_when_subscribed && self.topics.is_empty() {
                    self.end = Some(Ok(()));
                }
            }
            Event::Completed(_) | Event::Writable => self.clear(),
            Event::Released => (),
        }
        Ok(())
    }

    fn handle_connected(&mut self, session_present: bool) {
        let again = self.was_connected && session_present;
        if !self.was_connected {
            self.deadline = self.timeout.map(|timeout| Instant::now() + timeout);
            self.was_connected = true;
        }
        if again {
            return;
        }
        if !self.topics.is_empty() {
            self.client.subscribe(Subscribe {
                packet_id: PacketId::MIN,
                subscription_id: self.properties.subscription_id,
                user_properties: self.properties.for_subscribe.clone(),
                filters: self.topics.clone(),
            });
        }
        if !self.unsubscribe.is_empty() {
            self.client.unsubscribe(Unsubscribe {
                packet_id: PacketId::MIN,
                user_properties: self.properties.for_unsubscribe.clone(),
                filters: self.unsubscribe.clone(),
            });
        }
    }

    fn handle_lost(&self, error: &ClientError) -> Result<(), Failure> {
        let failure = match (error, self.timeout) {
            (ClientError::ConnectTimeout, Some(_)) if !self.was_connected => self.timed_out(),
            _ => client_failure(error, self.version),
        };
        if !self.was_connected || !error.is_transient() {
            return Err(self.quietly(failure));
        }
        self.complain(&format!("{error}; connecting again"));
        Ok(())
    }

    fn handle_subscribed(&mut self, suback: &Suback) -> Result<(), Failure> {
        let refused = |code: &ReasonCode| code.granted_qos().is_none();
        for (topic, code) in self.topics.iter().zip(&suback.reason_codes) {
            if refused(code) {
                let reason = with_reason(*code, suback.reason_string.as_deref());
                self.complain(&format!("subscription to '{}' was refused: {reason}", topic.filter));
            }
        }
        if let Some(first) = suback.reason_codes.first()
            && suback.reason_codes.iter().all(refused)
        {
            return Err(Failure { message: String::new(), exit_code: first.as_u8() });
        }
        if self.exit_when_subscribed {
            self.end = Some(Ok(()));
        }
        Ok(())
    }

    fn handle_message(&mut self, topic: TopicName, publish: &Publish, receipt: Receipt) {
        if self.choice.retained_only && !publish.retain {
            self.end = Some(Ok(()));
            return;
        }
        let hidden = self.choice.filter_out.iter().any(|filter| filter.matches(&topic));
        if hidden || (self.choice.no_retained && publish.retain) {
            self.output.push(receipt, |_| ());
        } else {
            self.print(&topic, publish, receipt);
        }
        if self.choice.remove_retained && publish.retain && !hidden {
            self.clearing.push_back(topic);
            self.clear();
        }
    }

    fn print(&mut self, topic: &str, publish: &Publish, receipt: Receipt) {
        let mut printed = Ok(());
        let format = &self.format;
        self.output.push(receipt, |buffer| {
            printed = format.print(Printed { topic, publish }, buffer);
        });
        if let Err(error) = printed {
            self.complain(&format!("{error} on topic {topic}"));
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.end = Some(Ok(()));
            }
        }
    }

    /// Clears retained messages as far as the broker takes more.
    fn clear(&mut self) {
        while self.client.can_publish(QoS::AtLeastOnce)
            && let Some(topic) = self.clearing.pop_front()
        {
            let mut publish = Publish::new(topic, bytes::Bytes::new());
            publish.qos = QoS::AtLeastOnce;
            publish.retain = true;
            self.client.publish(0, publish);
        }
    }

    fn timed_out(&self) -> Failure {
        self.quietly(Failure { message: "timed out".to_owned(), exit_code: TIMED_OUT })
    }

    fn complain(&self, message: &str) {
        if !self.quiet {
            terminal::error(message);
        }
    }

    fn quietly(&self, failure: Failure) -> Failure {
        if self.quiet { Failure { message: String::new(), ..failure } } else { failure }
    }
}
