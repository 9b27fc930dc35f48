//! `Subscription`: the ranges of offsets in which a filter is subscribed, with the options of each.
//!
//! ```text
//! count of spans, and for each:
//!   from | until (optional) | flags (1) | subscription id (optional) | more (1, if flagged) | replay (if flagged)
//! flags: bits 0-1 QoS, 2 No Local, 3 Retain As Published, 4-5 Retain Handling, 6 a run of retained messages is due, 7 more
//! more:  bits 0-1 what deliveries tell of their position, 2 a replay
//! ```

use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::mqtt::RetainHandling;
use crate::session::Meta;
use crate::store::ReplayRow;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAINED_RUN: u8 = 1 << 6;
const MORE: u8 = 1 << 7;
const REPLAY: u8 = 1 << 2;

/// A subscription: its spans, oldest first. Only the last may be open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Closed spans stay until the session's progress has passed them.
    pub spans: Vec<Span>,
}

/// A range of offsets in which a filter is subscribed with the same options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first offset it covers.
    pub from: Offset,
    /// The first offset it does not cover any more; `None` while the subscription lasts.
    pub until: Option<Offset>,
    /// The highest QoS of deliveries [MQTT-3.8.4-8].
    pub qos: QoS,
    /// Not the client's own messages [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Deliveries keep the RETAIN flag of their message.
    pub retain_as_published: bool,
    /// Whether retained messages are sent on SUBSCRIBE.
    pub retain_handling: RetainHandling,
    /// The Subscription Identifier that goes with deliveries [MQTT-3.3.4-3].
    pub subscription_id: Option<u32>,
    /// Whether retained messages are to be assigned at place `from`.
    pub retained_run: bool,
    /// What deliveries tell of their position.
    pub meta: Meta,
    /// A replay that comes before: as long as it is not live, the span covers nothing.
    pub replay: Option<Box<ReplayRow>>,
}

impl SubscriptionRow {
    /// The span that is not closed.
    pub fn open_span(&self) -> Option<&Span> {
        self.spans.iter().find(|span| span.until.is_none())
    }

    /// The span that covers an offset. There is at most one.
    pub fn span_at(&self, offset: Offset) -> Option<&Span> {
        self.spans.iter().find(|span| span.covers(offset))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.spans.len() as u64);
        for span in &self.spans {
            span.encode(out);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let count = input.varint()?;
        let mut spans = (0..count).map(|_| Span::decode(input)).collect::<Option<Vec<_>>>()?;
        // Most subscriptions have one, and there are many of them.
        spans.shrink_to_fit();
        Some(Self { spans })
    }
}

impl Span {
    /// Whether a message at this offset falls into the span.
    pub fn covers(&self, offset: Offset) -> bool {
        self.from <= offset && self.until.is_none_or(|until| offset < until) && !self.is_replaying()
    }

    /// Whether it gets what is stored, and nothing live yet.
    pub fn is_replaying(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| !replay.live)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.from);
        out.put_option(self.until, Vec::put_offset);
        let mut flags = self.qos as u8 | (self.retain_handling as u8) << 4;
        for (set, flag) in [
            (self.no_local, NO_LOCAL),
            (self.retain_as_published, RETAIN_AS_PUBLISHED),
            (self.retained_run, RETAINED_RUN),
            (self.has_more(), MORE),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.put_u8(flags);
        out.put_option(self.subscription_id, |out, id| out.put_varint(u64::from(id)));
        if self.has_more() {
            out.put_u8(self.meta.as_u8() | if self.replay.is_some() { REPLAY } else { 0 });
        }
        if let Some(replay) = &self.replay {
            replay.encode(out);
        }
    }

    fn has_more(&self) -> bool {
        self.meta != Meta::None || self.replay.is_some()
    }

    fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let from = input.offset()?;
        let until = input.option(Decoder::offset)?;
        let flags = input.u8()?;
        let subscription_id = input.option(|input| u32::try_from(input.varint()?).ok())?;
        let more = if flags & MORE == 0 { 0 } else { input.u8()? };
        let replay = more & REPLAY != 0;
        Some(Self {
            from,
            until,
            qos: QoS::try_from(flags & 3).ok()?,
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::try_from((flags >> 4) & 3).ok()?,
            subscription_id,
            retained_run: flags & RETAINED_RUN != 0,
            meta: Meta::from_u8(more & !REPLAY)?,
            replay: if replay { Some(Box::new(ReplayRow::decode(input)?)) } else { None },
        })
    }
}
