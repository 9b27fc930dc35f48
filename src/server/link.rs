//! [`Link`]: a client within the process, over a pipe in memory instead of a socket.
//!
//! It speaks MQTT 5 like everybody else, so it gets what everybody gets and no more: an acknowledged
//! [`Link::publish`] is as durable as any, and a message counts as delivered when the next one is asked for.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU16;

use bytes::Bytes;
use bytes::BytesMut;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;

use crate::mqtt::Ack;
use crate::mqtt::Connect;
use crate::mqtt::Decoder;
use crate::mqtt::Disconnect;
use crate::mqtt::EncodeError;
use crate::mqtt::PACKET_SIZE_MAX;
use crate::mqtt::Packet;
use crate::mqtt::PacketId;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::Publish;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;
use crate::mqtt::Subscribe;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::SubscriptionOptions;
use crate::mqtt::Text;
use crate::mqtt::TopicName;
use crate::mqtt::Unsubscribe;
use crate::mqtt::UserProperties;
use crate::mqtt::Violation;

/// How many messages above `QoS` 0 the broker may have under way to a link.
const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::new(64).expect("is not 0");
/// How many messages wait in a link while it waits for an answer. Messages at `QoS` 0 above that are dropped and counted.
const WAITING_MAX: usize = 1_024;

/// Why a link did not do what it was asked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The pipe is closed, or was never opened: the server has ended, or `limits.connections` is reached.
    #[error("the link is closed: {0}")]
    Closed(#[from] io::Error),
    /// The broker refused it.
    #[error("refused: {0}")]
    Refused(ReasonCode),
    /// The broker ended the link.
    #[error("ended by the broker: {0}")]
    Disconnected(ReasonCode),
    /// A topic, a filter or a client id is none.
    #[error("{0}")]
    Invalid(#[from] Violation),
    /// The message is larger than a packet can be.
    #[error("{0}")]
    Unsendable(#[from] EncodeError),
    /// The broker answered with something that is no answer.
    #[error("unexpected packet")]
    Unexpected,
}

/// A client within the process; see the module.
#[derive(Debug)]
pub struct Link {
    stream: DuplexStream,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    waiting: VecDeque<Publish>,
    /// The message that was handed out last, if it is still to be acknowledged.
    unacknowledged: Option<(QoS, PacketId)>,
    next_id: PacketId,
    dropped: u64,
}

impl Link {
    /// Connects with a clean start, over a pipe to the broker.
    pub(super) async fn connect(stream: DuplexStream, client_id: &str) -> Result<Self, LinkError> {
        let mut link = Self {
            stream,
            decoder: Decoder::for_client(ProtocolVersion::V5, PACKET_SIZE_MAX),
            input: BytesMut::new(),
            output: BytesMut::new(),
            waiting: VecDeque::new(),
            unacknowledged: None,
            next_id: PacketId::MIN,
            dropped: 0,
        };
        let mut connect = Connect::new(ProtocolVersion::V5, Text::try_from(client_id)?);
        connect.receive_maximum = Some(RECEIVE_MAXIMUM);
        link.send(&Packet::Connect(Box::new(connect))).await?;
        let answer = link.receive().await?;
        let Packet::Connack(connack) = answer else { return Err(unexpected(&answer)) };
        succeeded(connack.reason_code).map(|()| link)
    }

    /// Publishes a message. At `QoS` 1 and 2 this returns when the broker has acknowledged it: when it is durable.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the broker does not take it; the link lives on then.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
        retain: bool,
    ) -> Result<(), LinkError> {
        let mut publish = Publish::new(TopicName::try_from(topic)?, payload.into());
        (publish.qos, publish.retain) = (qos, retain);
        let id = (qos != QoS::AtMostOnce).then(|| self.take_id());
        publish.packet_id = id;
        self.send(&Packet::Publish(Box::new(publish))).await?;
        let Some(id) = id else { return Ok(()) };
        let answer = self.answer(|packet| {
            let (Packet::Puback(ack) | Packet::Pubrec(ack)) = packet else { return None };
            (ack.packet_id == id).then_some(ack.reason_code)
        });
        succeeded(answer.await?)?;
        if qos == QoS::ExactlyOnce {
            self.send(&Packet::Pubrel(Ack::new(id))).await?;
            let answer = self.answer(|packet| {
                let Packet::Pubcomp(ack) = packet else { return None };
                (ack.packet_id == id).then_some(ack.reason_code)
            });
            succeeded(answer.await?)?;
        }
        Ok(())
    }

    /// Subscribes, at this `QoS` or what the broker grants below it.
    ///
    /// # Errors
    /// [`LinkError::Refused`] if the broker does not grant it; the link lives on then.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), LinkError> {
        let packet_id = self.take_id();
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filter = SubscribeFilter { filter: SubscriptionFilter::parse(filter)?, options };
        let subscribe = Subscribe {
            packet_id,
            subscription_id: None,
            user_properties: UserProperties::new(),
            filters: vec![filter],
        };
        self.send(&Packet::Subscribe(Box::new(subscribe))).await?;
        let answer = self.answer(|packet| {
            let Packet::Suback(suback) = packet else { return None };
            suback.reason_codes.first().copied().filter(|_| suback.packet_id == packet_id)
        });
        succeeded(answer.await?)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As [`Link::subscribe`].
    pub async fn unsubscribe(&mut self, filter: &str) -> Result<(), LinkError> {
        let packet_id = self.take_id();
        let unsubscribe = Unsubscribe {
            packet_id,
            user_properties: UserProperties::new(),
            filters: vec![SubscriptionFilter::parse(filter)?],
        };
        self.send(&Packet::Unsubscribe(Box::new(unsubscribe))).await?;
        let answer = self.answer(|packet| {
            let Packet::Unsuback(unsuback) = packet else { return None };
            unsuback.reason_codes.first().copied().filter(|_| unsuback.packet_id == packet_id)
        });
        succeeded(answer.await?)
    }

    /// The next message. The one before it is acknowledged by asking for this one. May be given up while it waits.
    ///
    /// # Errors
    /// The link is closed.
    pub async fn next(&mut self) -> Result<Publish, LinkError> {
        self.acknowledge().await?;
        while self.waiting.is_empty() {
            let packet = self.receive().await?;
            self.take_in(packet).await?;
        }
        let publish = self.waiting.pop_front().ok_or(LinkError::Unexpected)?;
        self.unacknowledged = publish.packet_id.map(|id| (publish.qos, id));
        Ok(publish)
    }

    /// How many messages at `QoS` 0 came while this link waited for an answer and had no room for them.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Acknowledges the last message and says goodbye.
    ///
    /// # Errors
    /// The link was closed before.
    pub async fn disconnect(mut self) -> Result<(), LinkError> {
        self.acknowledge().await?;
        let goodbye = Disconnect::new(ReasonCode::Success);
        self.send(&Packet::Disconnect(Box::new(goodbye))).await?;
        self.stream.shutdown().await?;
        Ok(())
    }

    fn take_id(&mut self) -> PacketId {
        let id = self.next_id;
        self.next_id = id.next();
        id
    }

    /// Acknowledges the message that was handed out last.
    async fn acknowledge(&mut self) -> Result<(), LinkError> {
        let Some((qos, id)) = self.unacknowledged.take() else { return Ok(()) };
        let ack = Ack::new(id);
        let packet =
            if qos == QoS::ExactlyOnce { Packet::Pubrec(ack) } else { Packet::Puback(ack) };
        self.send(&packet).await
    }

    /// Waits for the packet in which `pick` finds the answer; messages that come before it wait.
    async fn answer<T>(&mut self, pick: impl Fn(&Packet) -> Option<T>) -> Result<T, LinkError> {
        loop {
            let packet = self.receive().await?;
            match pick(&packet) {
                Some(answer) => return Ok(answer),
                None => self.take_in(packet).await?,
            }
        }
    }

    /// Deals with a packet that is no answer.
    async fn take_in(&mut self, packet: Packet) -> Result<(), LinkError> {
        if let Packet::Pubrel(ack) = packet {
            return self.send(&Packet::Pubcomp(Ack::new(ack.packet_id))).await;
        }
        let Packet::Publish(publish) = packet else { return Err(unexpected(&packet)) };
        if self.waiting.len() >= WAITING_MAX && publish.qos == QoS::AtMostOnce {
            self.dropped += 1;
        } else {
            self.waiting.push_back(*publish);
        }
        Ok(())
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), LinkError> {
        packet.encode(ProtocolVersion::V5, &mut self.output)?;
        self.flush().await
    }

    /// Writes what is to be written; what is left if this is given up is written by the next.
    async fn flush(&mut self) -> Result<(), LinkError> {
        while !self.output.is_empty() {
            self.stream.write_buf(&mut self.output).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Packet, LinkError> {
        self.flush().await?;
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(LinkError::Closed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

fn succeeded(code: ReasonCode) -> Result<(), LinkError> {
    if code.is_error() { Err(LinkError::Refused(code)) } else { Ok(()) }
}

fn unexpected(packet: &Packet) -> LinkError {
    if let Packet::Disconnect(disconnect) = packet {
        LinkError::Disconnected(disconnect.reason_code)
    } else {
        LinkError::Unexpected
    }
}
