//! `tidelog pub`: publishes messages, with the flags of `mosquitto_pub`.
//!
//! - It succeeds only if every message at `QoS` 1 or 2 was acknowledged; one that is refused gives a line on standard
//!   error, and its reason code is the exit code.
//! - Standard input is read as fast as messages are acknowledged, not faster.
//! - When the connection is lost it connects again and sends again, with DUP, what was not acknowledged. It gives up
//!   when nothing was acknowledged for `--give-up` seconds, or at once when the broker let it in and then cut it off
//!   several times in a row: before version 5 that is all that a broker can say to a message that it does not take.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use futures_util::FutureExt;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncReadExt;
use tokio::io::BufReader;
use tokio::io::Stdin;
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
use super::client::Completion;
use super::client::Event;
use super::client::Reading;
use super::client::with_reason;
use super::file;
use super::runtime;
use super::source::Lines;
use super::source::PAYLOAD_BYTES_MAX;
use super::source::Repeated;
use super::source::Source;
use super::terminal;
use crate::mqtt::Disconnect;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::TopicName;

/// How much of standard input is read at once.
const STDIN_BYTES: usize = 64 * 1024;

/// How often the broker may let us in and cut us off, with nothing acknowledged in between.
const CUT_OFF_MAX: u32 = 5;

/// The flags of `pub`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct PublishArgs {
    /// Topic to publish to.
    #[arg(short = 't', long, value_name = "TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    payload: PayloadArgs,
    /// Quality of service: 0, 1 or 2.
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Publish a retained message.
    #[arg(short = 'r', long)]
    retain: bool,
    /// Publish the message so many times; not with -l.
    #[arg(long, value_name = "TIMES", conflicts_with = "stdin_line",
          value_parser = number(1..=u64::MAX))]
    repeat: Option<u64>,
    /// Seconds between two of them.
    #[arg(long, value_name = "SECONDS", requires = "repeat", value_parser = parse_seconds)]
    repeat_delay: Option<Duration>,
    /// How many messages may wait for their acknowledgement, if the broker takes so many.
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 20,
          value_parser = number(1..=65_000_u16))]
    max_inflight: u16,
    /// Give up when nothing was acknowledged for so many seconds after the connection was lost.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    give_up: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Where the payload comes from: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PayloadArgs {
    /// Publish this.
    #[arg(short = 'm', long, value_name = "PAYLOAD", allow_hyphen_values = true)]
    message: Option<String>,
    /// Publish the content of a file.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish every line of standard input as a message.
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// Publish all of standard input as one message.
    #[arg(short = 's', long)]
    stdin_file: bool,
    /// Publish an empty message.
    #[arg(short = 'n', long)]
    null_message: bool,
}

impl PublishArgs {
    /// Publishes.
    ///
    /// # Errors
    /// Fails if not everything was published.
    pub(crate) fn run(self) -> Result<(), Failure> {
        runtime::run(async {
            let publisher = self.publisher().await?;
            publisher.run().await
        })
    }

    async fn publisher(self) -> Result<Publisher<BufReader<Stdin>>, Failure> {
        let Setup { mut options, properties, url_topic, quiet } = self.connect.setup()?;
        let topic =
            self.topic.or(url_topic).ok_or_else(|| Failure::usage("the topic is missing: -t"))?;
        let topic = TopicName::try_from(topic.as_str());
        let topic = topic.map_err(|error| Failure::usage(format!("-t: {error}")))?;
        let times = self.repeat.unwrap_or(1);
        let source = self.payload.source(times, self.repeat_delay.unwrap_or_default()).await?;
        let mut template = Publish::new(topic, Bytes::new());
        template.qos = self.qos;
        template.retain = self.retain;
        template.topic_alias = properties.topic_alias;
        template.properties = properties.publish;
        options.in_flight_max = self.max_inflight;
        Ok(Publisher {
            version: options.connect.version,
            client: Client::new(options),
            template,
            source,
            farewell: properties.disconnect.packet(),
            give_up_after: self.give_up,
            give_up_at: None,
            published: 0,
            exhausted: false,
            reached: Reached::Never,
            cut_off: 0,
            refused: None,
            quiet,
        })
    }
}

impl PayloadArgs {
    async fn source(
        self,
        times: u64,
        delay: Duration,
    ) -> Result<Source<BufReader<Stdin>>, Failure> {
        if self.stdin_line {
            let reader = BufReader::with_capacity(STDIN_BYTES, tokio::io::stdin());
            return Ok(Source::Lines(Lines::new(reader, PAYLOAD_BYTES_MAX)));
        }
        let payload = match (self.message, self.file) {
            (Some(message), _) => message.into(),
            (None, Some(path)) => file::read(&path, PAYLOAD_BYTES_MAX)?.into(),
            (None, None) if self.stdin_file => read_stdin().await?,
            (None, None) => Bytes::new(),
        };
        Ok(Source::Repeated(Repeated::new(payload, times, delay)))
    }
}

async fn read_stdin() -> Result<Bytes, Failure> {
    let limit = u64::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut payload = Vec::new();
    let read = tokio::io::stdin().take(limit).read_to_end(&mut payload).await;
    read.map_err(|error| Failure::failed(format!("can't read standard input: {error}")))?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Failure::failed("standard input is longer than a message can be"));
    }
    Ok(payload.into())
}

/// Whether the broker has let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Not yet.
    Never,
    /// It has, and the connection is up.
    Now,
    /// It had.
    Before,
}

/// Takes payloads from the source to the broker.
struct Publisher<R> {
    client: Client,
    version: ProtocolVersion,
    /// Each message, but for its payload.
    template: Publish,
    source: Source<R>,
    farewell: Disconnect,
    give_up_after: Duration,
    give_up_at: Option<Instant>,
    published: u64,
    exhausted: bool,
    reached: Reached,
    /// How many connections in a row ended while messages waited, with nothing acknowledged.
    cut_off: u32,
    /// The first refusal.
    refused: Option<ReasonCode>,
    quiet: bool,
}

impl<R: AsyncBufRead + Unpin> Publisher<R> {
    async fn run(mut self) -> Result<(), Failure> {
        while !self.is_done() {
            let room = !self.exhausted && self.client.can_publish(self.template.qos);
            tokio::select! {
                biased;
                event = self.client.next(Reading::On) => self.handle_event(event)?,
                payload = self.source.next(), if room => {
                    self.handle_payload(payload)?;
                    self.take_what_is_there()?;
                }
                () = runtime::sleep_until(self.give_up_at) => return Err(self.given_up()),
            }
        }
        self.close().await
    }

    fn is_done(&self) -> bool {
        self.exhausted && self.client.is_up() && self.client.in_flight() == 0
    }

    async fn close(self) -> Result<(), Failure> {
        let closed = self.client.close(self.farewell).await;
        if self.template.qos == QoS::AtMostOnce
            && let Err(error) = closed
        {
            return Err(client_failure(&error, self.version));
        }
        match self.refused {
            Some(reason_code) => {
                Err(Failure { message: String::new(), exit_code: reason_code.as_u8() })
            }
            None => Ok(()),
        }
    }

    /// Publishes what the source has without waiting, so that one write takes many messages.
    fn take_what_is_there(&mut self) -> Result<(), Failure> {
        while !self.exhausted && self.client.can_publish(self.template.qos) {
            let Some(payload) = self.source.next().now_or_never() else { return Ok(()) };
            self.handle_payload(payload)?;
        }
        Ok(())
    }

    fn handle_payload(&mut self, payload: std::io::Result<Option<Bytes>>) -> Result<(), Failure> {
        let payload = payload
            .map_err(|error| Failure::failed(format!("can't read standard input: {error}")))?;
        let Some(payload) = payload else {
            self.exhausted = true;
            return Ok(());
        };
        self.published += 1;
        let publish = Publish { payload, ..self.template.clone() };
        if self.client.fits(&publish) {
            self.client.publish(self.published, publish);
        } else {
            self.refuse(self.published, ReasonCode::PacketTooLarge, None);
        }
        Ok(())
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected { .. } => {
                self.reached = Reached::Now;
                if self.template.qos == QoS::AtMostOnce {
                    self.give_up_at = None;
                }
                self.check_broker()
            }
            Event::Lost(error) => self.handle_lost(&error),
            Event::Completed(Completion { number, reason_code, reason_string }) => {
                self.give_up_at = None;
                self.cut_off = 0;
                if reason_code.is_error() {
                    self.refuse(number, reason_code, reason_string.as_deref());
                }
                Ok(())
            }
            Event::Writable
            | Event::Released
            | Event::Message { .. }
            | Event::Subscribed(_)
            | Event::Unsubscribed => Ok(()),
        }
    }

    fn handle_lost(&mut self, error: &ClientError) -> Result<(), Failure> {
        let failure = self.quietly(client_failure(error, self.version));
        if self.reached == Reached::Never || !error.is_transient() {
            return Err(failure);
        }
        let before = std::mem::replace(&mut self.reached, Reached::Before);
        let cut_off = before == Reached::Now && self.client.in_flight() > 0;
        self.cut_off += u32::from(cut_off);
        if self.cut_off >= CUT_OFF_MAX {
            return Err(self.quietly(self.refused_by_cutting()));
        }
        if self.give_up_at.is_none() {
            self.give_up_at = Some(Instant::now() + self.give_up_after);
        }
        let said_before = cut_off && self.cut_off > 1;
        if !self.quiet && !said_before {
            terminal::error(&format!("{error}; connecting again"));
        }
        Ok(())
    }

    fn refused_by_cutting(&self) -> Failure {
        let (first, last) = self.client.numbers_in_flight().unwrap_or_default();
        let (messages, what) = if first == last {
            (format!("message {first}"), "it may be")
        } else {
            (format!("messages {first} to {last}"), "one of them may be")
        };
        Failure::failed(format!(
            "the connection ended {CUT_OFF_MAX} times after {messages}: {what} too large for the broker, or not allowed"
        ))
    }

    fn given_up(&self) -> Failure {
        let waited = humantime::format_duration(self.give_up_after);
        self.quietly(Failure::failed(format!("gave up: nothing was acknowledged for {waited}")))
    }

    /// Whether the broker can do at all what is asked for.
    fn check_broker(&self) -> Result<(), Failure> {
        let Some(connack) = self.client.connack() else { return Ok(()) };
        let refused = if connack.maximum_qos.is_some_and(|maximum| self.template.qos > maximum) {
            ReasonCode::QosNotSupported
        } else if self.template.retain && connack.retain_available == Some(false) {
            ReasonCode::RetainNotSupported
        } else if self.template.topic_alias.map_or(0, u16::from)
            > connack.topic_alias_maximum.unwrap_or(0)
        {
            ReasonCode::TopicAliasInvalid
        } else {
            return Ok(());
        };
        let message = format!("the broker does not take such messages: {refused}");
        Err(self.quietly(Failure { message, exit_code: refused.as_u8() }))
    }

    fn refuse(&mut self, number: u64, reason_code: ReasonCode, reason_string: Option<&str>) {
        self.refused.get_or_insert(reason_code);
        if !self.quiet {
            let reason = with_reason(reason_code, reason_string);
            terminal::error(&format!("message {number} was refused: {reason}"));
        }
    }

    fn quietly(&self, failure: Failure) -> Failure {
        if self.quiet { Failure { message: String::new(), ..failure } } else { failure }
    }
}
