//! A connection under load: a read brings many packets, and one write takes the answers to all of them.
//!
//! - What is read goes into a buffer that the thread's connections share; a connection keeps only the beginning of a packet.
//! - While the broker does not take what is to be written, nothing is read: memory is bounded by what one read brings.
//! - It pings when it is time, and is lost when a ping was not answered by the next one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;

use super::error::LoadError;
use crate::cli::client;
use crate::cli::client::ClientError;
use crate::cli::client::Options;
use crate::cli::client::transport::Stream;
use crate::mqtt::Connack;
use crate::mqtt::Decoder;
use crate::mqtt::Disconnect;
use crate::mqtt::Incoming;
use crate::mqtt::Packet;
use crate::mqtt::PacketType;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::ReasonCode;

/// How much one read brings at most.
const READ_BYTES: usize = 256 * 1024;

/// Larger packets are refused, unless CONNECT allows them by Maximum Packet Size.
const PACKET_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// How long the broker may take to take our last packets.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

thread_local! {
    /// What this thread reads into.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection that was accepted.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    version: ProtocolVersion,
    /// What the broker said.
    pub(super) connack: Connack,
    /// Read, and not a whole packet.
    rest: Vec<u8>,
    /// Whether that came with the CONNACK, and nobody has looked at it.
    early: bool,
    /// To be written.
    pub(super) out: Vec<u8>,
    /// How much of that has gone.
    gone: usize,
    unflushed: bool,
    /// When to ping.
    pings: Option<Interval>,
    unanswered: bool,
}

impl Link {
    /// Connects and waits until the broker accepts.
    ///
    /// # Errors
    /// Fails if any layer does, or if the broker refuses.
    pub(super) async fn open(options: &Options) -> Result<Self, LoadError> {
        let established = client::establish(options).await?;
        let connect = &options.connect;
        let keep_alive = established.connack.server_keep_alive.unwrap_or(connect.keep_alive);
        let size_max = connect.maximum_packet_size.map_or(PACKET_BYTES_MAX, Into::into);
        let size_max = usize::try_from(size_max).unwrap_or(usize::MAX);
        Ok(Self {
            stream: established.stream,
            decoder: Decoder::for_client(connect.version, size_max),
            version: connect.version,
            connack: established.connack,
            rest: established.input.to_vec(),
            early: true,
            out: Vec::new(),
            gone: 0,
            unflushed: false,
            pings: pings(keep_alive),
            unanswered: false,
        })
    }

    /// Encodes a packet behind what waits to be written.
    ///
    /// # Errors
    /// Fails if this version has no such packet.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), LoadError> {
        let mut bytes = BytesMut::new();
        packet.encode(self.version, &mut bytes)?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    /// Writes all that is in `out`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        while let Some(left) = self.out.get(self.gone..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, left)) {
                Ok(0) => return Poll::Ready(Err(ClientError::Closed.into())),
                Ok(written) => self.gone += written,
                Err(error) => return Poll::Ready(Err(ClientError::Lost(error).into())),
            }
            self.unflushed = true;
        }
        self.out.clear();
        self.gone = 0;
        if self.unflushed {
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_flush(cx)) {
                return Poll::Ready(Err(ClientError::Lost(error).into()));
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and hands over every packet that is complete, with the buffer for answers. PINGRESP and DISCONNECT are
    /// for us.
    pub(super) fn poll_packets(
        &mut self,
        cx: &mut Context<'_>,
        handle: impl FnMut(Incoming<'_>, &mut Vec<u8>) -> Result<(), LoadError>,
    ) -> Poll<Result<(), LoadError>> {
        if std::mem::take(&mut self.early) {
            let bytes = std::mem::take(&mut self.rest);
            return Poll::Ready(self.handle_bytes(&bytes, handle));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let kept = self.rest.len();
            if scratch.len() < kept + READ_BYTES {
                scratch.resize(kept + READ_BYTES, 0);
            }
            let Some((head, room)) = scratch.split_at_mut_checked(kept) else {
                return Poll::Ready(Ok(()));
            };
            let mut buffer = ReadBuf::new(room);
            let read = match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(ClientError::Closed.into()));
                }
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ClientError::Lost(error).into()));
                }
                Poll::Pending => return Poll::Pending,
            };
            head.copy_from_slice(&self.rest);
            let bytes = scratch.get(..kept + read).unwrap_or_default();
            Poll::Ready(self.handle_bytes(bytes, handle))
        })
    }

    fn handle_bytes(
        &mut self,
        mut bytes: &[u8],
        mut handle: impl FnMut(Incoming<'_>, &mut Vec<u8>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        while let Some((incoming, length)) =
            self.decoder.next(bytes).map_err(ClientError::Violation)?
        {
            match incoming {
                Incoming::Packet(Packet::Pingresp) => self.unanswered = false,
                Incoming::Packet(Packet::Disconnect(disconnect)) => {
                    return Err(ClientError::Disconnected(disconnect).into());
                }
                other @ (Incoming::Publish(_) | Incoming::Packet(_)) => {
                    handle(other, &mut self.out)?;
                }
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Puts a PINGREQ behind what waits to be written when it is time.
    ///
    /// # Errors
    /// Fails if the last one was not answered.
    pub(super) fn poll_ping(&mut self, cx: &mut Context<'_>) -> Result<(), LoadError> {
        let Some(pings) = &mut self.pings else { return Ok(()) };
        if pings.poll_tick(cx).is_pending() {
            return Ok(());
        }
        if std::mem::replace(&mut self.unanswered, true) {
            return Err(ClientError::NoPingresp.into());
        }
        // Its timer has to be asked again to be heard of again.
        let _later = pings.poll_tick(cx);
        self.out.extend_from_slice(&[PacketType::Pingreq.as_u8() << 4, 0]);
        Ok(())
    }

    /// Says goodbye. A broker that does not listen is left without.
    pub(super) async fn close(mut self) {
        let disconnect = Packet::Disconnect(Box::new(Disconnect::new(ReasonCode::Success)));
        if self.send(&disconnect).is_err() {
            return;
        }
        let said = async {
            if poll_fn(|cx| self.poll_write(cx)).await.is_ok() {
                drop(poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await);
            }
        };
        drop(tokio::time::timeout(CLOSE_TIMEOUT, said).await);
    }
}

/// Three signs of life in the time of four.
fn pings(keep_alive: u16) -> Option<Interval> {
    let period = Duration::from_secs(keep_alive.into()).mul_f64(0.75);
    if period.is_zero() {
        return None;
    }
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(pings)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP of success, which is the same in every version.
pub(super) fn answer(packet_type: PacketType, packet_id: u16) -> [u8; 4] {
    let flags = if packet_type == PacketType::Pubrel { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    [packet_type.as_u8() << 4 | flags, 2, high, low]
}

#[cfg(test)]
mod tests {
    use crate::mqtt::Ack;
    use crate::mqtt::PacketId;

    use super::*;

    #[test]
    fn answers_are_those_of_the_codec() {
        let ack = Ack::new(PacketId::new(0x1234).unwrap());
        for (packet_type, packet) in [
            (PacketType::Puback, Packet::Puback(ack.clone())),
            (PacketType::Pubrec, Packet::Pubrec(ack.clone())),
            (PacketType::Pubrel, Packet::Pubrel(ack.clone())),
            (PacketType::Pubcomp, Packet::Pubcomp(ack)),
        ] {
            for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
                let mut bytes = BytesMut::new();
                packet.encode(version, &mut bytes).unwrap();
                assert_eq!(bytes[..], answer(packet_type, 0x1234));
            }
        }
    }
}
