//! One Network Connection of the client: packets over a byte stream, keep-alive, and the handshake that begins it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;
use tokio::time::Instant;

use super::ClientError;
use super::Established;
use super::Options;
use super::authentication::Authentication;
use super::transport::Stream;
use crate::mqtt::Connack;
use crate::mqtt::Connect;
use crate::mqtt::Decoder;
use crate::mqtt::EncodeError;
use crate::mqtt::Packet;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::ReasonCode;
use crate::mqtt::TopicName;

/// From the first byte to the CONNACK, unless the options ask for less.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a broker may take to take our last packets.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a broker may take to close after our DISCONNECT.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// With this many bytes that wait to be written, nothing more should be published until they are.
const OUTPUT_BYTES: usize = 256 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection that is up.
pub(super) struct Connection {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    input: BytesMut,
    output: BytesMut,
    flushed: bool,
    full: bool,
    /// A packet could not be encoded; nothing goes out any more.
    broken: Option<EncodeError>,
    decoder: Decoder,
    version: ProtocolVersion,
    trace: Option<fn(&str)>,
    aliases: BTreeMap<NonZeroU16, TopicName>,
    alias_maximum: u16,
    keep_alive: Duration,
    last_sent: Instant,
    ping_sent: Option<Instant>,
    /// What the broker said to begin with.
    pub(super) connack: Connack,
}

/// Whether packets are to be taken from the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Yes.
    On,
    /// No: write only, and leave to the broker what it sends.
    Paused,
}

impl Connection {
    /// Connects, sends `connect` and waits for the CONNACK, at most [`CONNECT_TIMEOUT`] in all.
    ///
    /// # Errors
    /// Fails if any layer does, or if the broker refuses.
    pub(super) async fn establish(
        options: &Options,
        connect: Connect,
    ) -> Result<Self, ClientError> {
        let limit =
            options.connect_timeout.map_or(CONNECT_TIMEOUT, |limit| limit.min(CONNECT_TIMEOUT));
        let attempt = async {
            let stream = options.endpoint.connect().await?;
            Self::new(options, &connect, stream).handshake(options, connect).await
        };
        tokio::time::timeout(limit, attempt).await.unwrap_or(Err(ClientError::ConnectTimeout))
    }

    fn new(options: &Options, connect: &Connect, stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let size_max = connect.maximum_packet_size.map_or(u32::MAX, std::num::NonZeroU32::get);
        Self {
            reader,
            writer,
            input: BytesMut::new(),
            output: BytesMut::new(),
            flushed: true,
            full: false,
            broken: None,
            decoder: Decoder::for_client(
                connect.version,
                usize::try_from(size_max).unwrap_or(usize::MAX),
            ),
            version: connect.version,
            trace: options.trace,
            aliases: BTreeMap::new(),
            alias_maximum: connect.topic_alias_maximum.unwrap_or(0),
            keep_alive: Duration::from_secs(connect.keep_alive.into()),
            last_sent: Instant::now(),
            ping_sent: None,
            connack: Connack::default(),
        }
    }

    async fn handshake(
        mut self,
        options: &Options,
        mut connect: Connect,
    ) -> Result<Self, ClientError> {
        let mut authentication = Authentication::begin(options, &mut connect)?;
        self.send(&Packet::Connect(Box::new(connect)));
        loop {
            self.write_all().await?;
            match self.receive().await? {
                Packet::Auth(auth) => self.send(&authentication.answer(&auth)?),
                Packet::Connack(connack) if connack.reason_code == ReasonCode::Success => {
                    authentication.finish(&connack)?;
                    if let Some(keep_alive) = connack.server_keep_alive {
                        self.keep_alive = Duration::from_secs(keep_alive.into());
                    }
                    self.connack = *connack;
                    return Ok(self);
                }
                Packet::Connack(connack) => return Err(ClientError::Refused(connack)),
                Packet::Disconnect(disconnect) => {
                    return Err(ClientError::Disconnected(disconnect));
                }
                other @ (Packet::Connect(_)
                | Packet::Publish(_)
                | Packet::Puback(_)
                | Packet::Pubrec(_)
                | Packet::Pubrel(_)
                | Packet::Pubcomp(_)
                | Packet::Subscribe(_)
                | Packet::Suback(_)
                | Packet::Unsubscribe(_)
                | Packet::Unsuback(_)
                | Packet::Pingreq
                | Packet::Pingresp) => return Err(ClientError::unexpected(&other)),
            }
        }
    }

    /// The connection without its keep-alive, for those who read and write it themselves.
    pub(super) fn into_parts(self) -> Established {
        let stream = self.reader.unsplit(self.writer);
        Established { stream, input: self.input, connack: self.connack }
    }

    /// Encodes a packet behind what waits to be written.
    pub(super) fn send(&mut self, packet: &Packet) {
        if let Some(trace) = self.trace {
            trace(&format!("sending {}", super::trace::describe(packet)));
        }
        if let Err(error) = packet.encode(self.version, &mut self.output) {
            self.broken.get_or_insert(error);
        }
        self.full |= self.output.len() >= OUTPUT_BYTES;
    }

    /// Whether so much waits to be written that nothing more should be sent, until [`Self::next`] returns `None`.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Writes what there is, pings when it is time, and returns the next packet, or `None` when a full output has
    /// been written. With [`Reading::Paused`] no packet comes. May be dropped and called again without loss.
    ///
    /// # Errors
    /// Fails when the connection is lost or the broker breaks the protocol.
    pub(super) async fn next(&mut self, reading: Reading) -> Result<Option<Packet>, ClientError> {
        loop {
            if let Some(error) = self.broken.take() {
                return Err(ClientError::Encode(error));
            }
            if self.full && self.output.is_empty() {
                self.full = false;
                return Ok(None);
            }
            if reading == Reading::On
                && let Some(packet) = self.decode()?
            {
                return Ok(Some(packet));
            }
            self.step(reading).await?;
        }
    }

    /// Says goodbye with `disconnect`, and waits until the broker has taken all of it and closed. Without the wait,
    /// bytes that the broker has sent and nobody reads would turn the close into a reset, which may overtake the
    /// acknowledgements in front of the DISCONNECT.
    ///
    /// # Errors
    /// Fails if the bytes can't be written.
    pub(super) async fn close(mut self, disconnect: &Packet) -> Result<(), ClientError> {
        self.send(disconnect);
        let written = async {
            self.write_all().await?;
            self.writer.shutdown().await.map_err(ClientError::Lost)
        };
        tokio::time::timeout(WRITE_TIMEOUT, written)
            .await
            .unwrap_or(Err(ClientError::CloseTimeout))?;
        let closed = async {
            while !matches!(self.reader.read_buf(&mut self.input).await, Ok(0) | Err(_)) {
                self.input.clear();
            }
        };
        // A broker that does not close has the packets all the same.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        Ok(())
    }

    async fn receive(&mut self) -> Result<Packet, ClientError> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    async fn write_all(&mut self) -> Result<(), ClientError> {
        if let Some(error) = self.broken.take() {
            return Err(ClientError::Encode(error));
        }
        while !self.output.is_empty() || !self.flushed {
            write(&mut self.writer, &mut self.output, &mut self.flushed).await?;
        }
        self.last_sent = Instant::now();
        Ok(())
    }

    async fn read(&mut self) -> Result<(), ClientError> {
        self.input.reserve(READ_BYTES);
        match self.reader.read_buf(&mut self.input).await {
            Ok(0) => Err(ClientError::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(ClientError::Lost(error)),
        }
    }

    /// One write, one read, or one turn of the keep-alive.
    async fn step(&mut self, reading: Reading) -> Result<(), ClientError> {
        let timer = self.timer(reading);
        let has_output = !self.output.is_empty() || !self.flushed;
        if reading == Reading::On {
            self.input.reserve(READ_BYTES);
        }
        tokio::select! {
            biased;
            written = write(&mut self.writer, &mut self.output, &mut self.flushed), if has_output => {
                written?;
                self.last_sent = Instant::now();
            }
            read = self.reader.read_buf(&mut self.input), if reading == Reading::On => match read {
                Ok(0) => return Err(ClientError::Closed),
                Ok(_) => (),
                Err(error) => return Err(ClientError::Lost(error)),
            },
            () = sleep_until(timer) => self.handle_timer(reading)?,
        }
        Ok(())
    }

    /// When the keep-alive has something to do.
    fn timer(&self, reading: Reading) -> Option<Instant> {
        if self.keep_alive.is_zero() {
            return None;
        }
        match self.ping_sent {
            Some(sent) if reading == Reading::On => Some(sent + self.keep_alive),
            Some(_) | None => Some(self.last_sent + self.keep_alive.mul_f64(0.75)),
        }
    }

    fn handle_timer(&mut self, reading: Reading) -> Result<(), ClientError> {
        let now = Instant::now();
        // Who does not read can't have seen the answer.
        let overdue = self.ping_sent.is_some_and(|sent| now >= sent + self.keep_alive);
        if overdue && reading == Reading::On {
            return Err(ClientError::NoPingresp);
        }
        self.ping_sent = Some(now);
        self.last_sent = now;
        self.send(&Packet::Pingreq);
        Ok(())
    }

    fn decode(&mut self) -> Result<Option<Packet>, ClientError> {
        let Some(mut packet) =
            self.decoder.decode(&mut self.input).map_err(ClientError::Violation)?
        else {
            return Ok(None);
        };
        if let Some(trace) = self.trace {
            trace(&format!("received {}", super::trace::describe(&packet)));
        }
        self.ping_sent = None;
        if let Packet::Publish(publish) = &mut packet {
            self.resolve_alias(publish)?;
        }
        Ok(Some(packet))
    }

    /// Gives a PUBLISH that has an alias only its topic [MQTT-3.3.2-12].
    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), ClientError> {
        let Some(alias) = publish.topic_alias else { return Ok(()) };
        if alias.get() > self.alias_maximum {
            return Err(ClientError::TopicAlias);
        }
        if let Some(topic) = &publish.topic {
            self.aliases.insert(alias, topic.clone());
        } else {
            let topic = self.aliases.get(&alias).ok_or(ClientError::TopicAlias)?;
            publish.topic = Some(topic.clone());
        }
        Ok(())
    }
}

/// One write or one flush.
async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    output: &mut BytesMut,
    flushed: &mut bool,
) -> Result<(), ClientError> {
    if output.is_empty() {
        writer.flush().await.map_err(ClientError::Lost)?;
        *flushed = true;
        return Ok(());
    }
    *flushed = false;
    match writer.write_buf(output).await {
        Ok(0) => Err(ClientError::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(ClientError::Lost(error)),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
