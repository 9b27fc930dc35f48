//! What goes to one connection: the one place where "nothing leaves before what it promises is durable" is kept.
//!
//! A packet that promises nothing is encoded at once. A packet that promises something comes with the offset that has to be
//! durable first, and waits in order; [`Outbox::release`] lets it go.
//!
//! ```text
//!   push ──────────────────────────────► ready ──take──► given to the transport (counted until drained)
//!   push_after(offset) ──► gated ──release(durable)──┘
//! ```
//!
//! **Invariants:** offsets in `gated` never decrease; nothing in `gated` was encoded; bytes ready and given are bounded by
//! whoever asks [`Outbox::room`] before pushing what is not an answer.

use std::collections::VecDeque;

use bytes::Bytes;
use bytes::BytesMut;
use smallvec::SmallVec;

use crate::commitlog::Offset;
use crate::mqtt::Packet;
use crate::mqtt::ProtocolVersion;

/// How many answers may wait to become durable before nothing more is taken from the connection.
const GATED_MAX: usize = 65_536;

/// The most bytes that are set aside for what is to come.
const SET_ASIDE_MAX: usize = 64 << 10;

/// The packets and bytes on their way to one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    version: ProtocolVersion,
    packet_size_max: usize,
    ready: BytesMut,
    /// How many bytes were taken last: the next will be much the same.
    taken: usize,
    gated: VecDeque<(Offset, Packet)>,
    given: usize,
    limit: usize,
    /// CONNACK is gated: nothing may go before it [MQTT-3.2.0-1].
    opening: bool,
}

impl Outbox {
    /// An outbox that holds about `limit` bytes of deliveries at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            version: ProtocolVersion::V3_1_1,
            packet_size_max: usize::MAX,
            ready: BytesMut::new(),
            taken: 0,
            gated: VecDeque::new(),
            given: 0,
            limit,
            opening: false,
        }
    }

    /// What the client speaks, and the largest packet it takes.
    pub(super) fn set_client(&mut self, version: ProtocolVersion, packet_size_max: usize) {
        self.version = version;
        self.packet_size_max = packet_size_max;
    }

    /// Encodes a packet that promises nothing. Reason Strings and User Properties are left out if it would be larger than the
    /// client takes; if it still is, nothing is sent [MQTT-3.1.2-24].
    pub(super) fn push(&mut self, packet: &Packet) {
        if self.opening {
            self.push_after(Offset::ZERO, packet.clone());
        } else {
            self.encode(packet);
        }
    }

    fn encode(&mut self, packet: &Packet) {
        let (version, packet_size_max) = (self.version, self.packet_size_max);
        if let Err(error) = packet.encode_within(version, packet_size_max, self.buffer()) {
            tracing::debug!(packet = %packet.packet_type(), %error, "not sent");
        }
    }

    /// Queues a packet until everything below `after` is durable.
    pub(super) fn push_after(&mut self, after: Offset, packet: Packet) {
        self.opening |= matches!(packet, Packet::Connack(_));
        let after = self.gated.back().map_or(after, |(last, _)| after.max(*last));
        self.gated.push_back((after, packet));
    }

    /// Encodes what has become durable. Returns how many of the client's messages are finished by it.
    pub(super) fn release(&mut self, durable: Offset) -> usize {
        let mut finished = 0;
        while let Some((_, packet)) = self.gated.pop_front_if(|(after, _)| *after <= durable) {
            finished += usize::from(finishes(&packet));
            self.opening &= !matches!(packet, Packet::Connack(_));
            self.encode(&packet);
        }
        finished
    }

    /// Forgets what waits: the connection ends.
    pub(super) fn end(&mut self) {
        self.gated.clear();
        self.opening = false;
    }

    /// Whether CONNACK waits.
    pub(super) fn is_opening(&self) -> bool {
        self.opening
    }

    /// Where packets are encoded. An empty one is made large enough for as much as there was last time.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        if self.ready.is_empty() {
            self.ready.reserve(self.taken.min(SET_ASIDE_MAX));
        }
        &mut self.ready
    }

    /// The protocol version of what is encoded here.
    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The largest packet that may be encoded here.
    pub(super) fn packet_size_max(&self) -> usize {
        self.packet_size_max
    }

    /// Whether another delivery may be pushed. One message may exceed the limit, whatever its size; a second may not.
    pub(super) fn has_room(&self) -> bool {
        !self.opening && self.given + self.ready.len() < self.limit
    }

    /// Whether packets wait for something to become durable.
    pub(super) fn is_gated(&self) -> bool {
        !self.gated.is_empty()
    }

    /// Whether there are bytes to be taken.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// All bytes that are ready, for the transport.
    pub(super) fn take(&mut self) -> SmallVec<[Bytes; 2]> {
        self.given += self.ready.len();
        self.taken = self.ready.len();
        let bytes = self.ready.split().freeze();
        let mut chunks = SmallVec::new();
        if !bytes.is_empty() {
            chunks.push(bytes);
        }
        chunks
    }

    /// Notes that the transport took bytes.
    pub(super) fn drained(&mut self, bytes: usize) {
        self.given = self.given.saturating_sub(bytes);
    }

    /// Whether so much is held for this connection that nothing more should be taken from it.
    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.given + self.ready.len() >= bytes_max || self.gated.len() >= GATED_MAX
    }
}

/// Whether this answer is the last word on a message of the client, so that it may send another [MQTT-3.3.4-7].
fn finishes(packet: &Packet) -> bool {
    match packet {
        Packet::Puback(_) => true,
        // An answer to a PUBREL for nothing ends nothing.
        Packet::Pubcomp(ack) => !ack.reason_code.is_error(),
        Packet::Pubrec(ack) => ack.reason_code.is_error(),
        Packet::Connect(_)
        | Packet::Connack(_)
        | Packet::Publish(_)
        | Packet::Pubrel(_)
        | Packet::Subscribe(_)
        | Packet::Suback(_)
        | Packet::Unsubscribe(_)
        | Packet::Unsuback(_)
        | Packet::Pingreq
        | Packet::Pingresp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => false,
    }
}
