//! `Subscription`: the ranges of offsets in which a filter is subscribed, with the options of each.
//!
//! ```text
//! count of spans, and for each:
//!   from | until (optional) | flags (1) | subscription id (optional)
//! flags: bits 0-1 QoS, 2 No Local, 3 Retain As Published, 4-5 Retain Handling, 6 a run of retained messages is due
//! ```

use crate::commitlog::Offset;
use crate::mqtt::QoS;
use crate::mqtt::RetainHandling;
use crate::store::codec::Decoder;
use crate::store::codec::Encode;

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAINED_RUN: u8 = 1 << 6;

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
        self.from <= offset && self.until.is_none_or(|until| offset < until)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_offset(self.from);
        out.put_option(self.until, Vec::put_offset);
        let mut flags = self.qos as u8 | (self.retain_handling as u8) << 4;
        for (set, flag) in [
            (self.no_local, NO_LOCAL),
            (self.retain_as_published, RETAIN_AS_PUBLISHED),
            (self.retained_run, RETAINED_RUN),
        ] {
            flags |= if set { flag } else { 0 };
        }
        out.put_u8(flags);
        out.put_option(self.subscription_id, |out, id| out.put_varint(u64::from(id)));
    }

    fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let from = input.offset()?;
        let until = input.option(Decoder::offset)?;
        let flags = input.u8().filter(|flags| flags & 0x80 == 0)?;
        Some(Self {
            from,
            until,
            qos: QoS::try_from(flags & 3).ok()?,
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::try_from((flags >> 4) & 3).ok()?,
            subscription_id: input.option(|input| u32::try_from(input.varint()?).ok())?,
            retained_run: flags & RETAINED_RUN != 0,
        })
    }
}
