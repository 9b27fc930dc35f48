//! One session, from the CONNACK that said it is new to its end: what it subscribed to, and what arrived.
//!
//! ```text
//!             SUBSCRIBE sent     SUBACK          UNSUBSCRIBE sent    UNSUBACK
//!   possible      ├─────────────────────────────────────────────────────┤
//!   certain                        ├──────────────────┤
//! ```

use std::collections::BTreeMap;

use super::Answer;
use super::Asked;
use super::Delivery;
use super::Seq;
use super::filter;
use super::messages::Known;

/// A subscription from one SUBSCRIBE to its end.
pub(super) struct Span {
    pub(super) asked: Asked,
    request: (u64, u16),
    pub(super) sent: Seq,
    pub(super) granted: Option<(Seq, u8)>,
    pub(super) refused: bool,
    /// UNSUBSCRIBE, or a SUBSCRIBE that replaces it, was sent.
    pub(super) ending: Option<Seq>,
    ending_request: (u64, u16),
    replaced: bool,
    /// Its end was acknowledged.
    pub(super) gone: Option<Seq>,
}

impl Span {
    pub(super) fn share(&self) -> Option<&str> {
        filter::split(&self.asked.filter).0
    }

    /// Whether this SUBSCRIBE has asked for it.
    pub(super) fn is_of(&self, request: (u64, u16)) -> bool {
        self.request == request
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        !self.refused && filter::matches(filter::split(&self.asked.filter).1, topic)
    }

    /// Whether it may have been there at some time between two facts.
    pub(super) fn may_cover(&self, first: Seq, last: Seq) -> bool {
        self.sent < last && self.gone.is_none_or(|gone| first < gone)
    }

    /// Whether it was surely there all the time between two facts.
    pub(super) fn surely_covers(&self, first: Seq, last: Seq) -> bool {
        self.granted.is_some_and(|(granted, _)| granted < first)
            && self.ending.is_none_or(|ending| last < ending)
    }

    fn qos(&self) -> u8 {
        self.granted.map_or(self.asked.qos, |(_, qos)| qos)
    }
}

/// How often a message arrived, repetitions with the same packet id in flight left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    pub(super) all: u32,
    pub(super) at_qos2: u32,
}

/// A delivery that the client has not finished.
struct InFlight {
    number: Option<u64>,
    connection: u64,
    answered: bool,
    released: bool,
}

/// See the module's page.
pub(super) struct Session {
    pub(super) client: String,
    pub(super) began: Seq,
    pub(super) ended: Option<Seq>,
    /// Its client is connected at the end of the history.
    pub(super) online: bool,
    /// It may have been another one for a while.
    pub(super) doubtful: bool,
    pub(super) spans: Vec<Span>,
    arrivals: BTreeMap<u64, Arrivals>,
    in_flight: BTreeMap<u16, InFlight>,
    last_by_id: BTreeMap<u16, Option<u64>>,
    /// The last first arrival of each publisher, topic and QoS.
    latest: BTreeMap<(String, String, u8), u64>,
}

impl Session {
    pub(super) fn new(client: &str, began: Seq) -> Self {
        Self {
            client: client.to_owned(),
            began,
            ended: None,
            online: false,
            doubtful: false,
            spans: Vec::new(),
            arrivals: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            last_by_id: BTreeMap::new(),
            latest: BTreeMap::new(),
        }
    }

    /// Nobody knows whether this is still the same session: nothing is certain any more, everything is possible.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
        self.spans.iter_mut().for_each(|span| span.granted = None);
        self.arrivals.clear();
        self.in_flight.clear();
        self.last_by_id.clear();
    }

    pub(super) fn subscribing(&mut self, request: (u64, u16), asked: &Asked, seq: Seq) {
        for span in self
            .spans
            .iter_mut()
            .filter(|span| span.asked.filter == asked.filter && span.gone.is_none())
        {
            if span.ending.is_none() {
                span.ending = Some(seq);
                span.replaced = true;
            }
            span.ending_request = request;
        }
        self.spans.push(Span {
            asked: asked.clone(),
            request,
            // A replay brings what was sent before it, too: as if it had been there from the beginning.
            sent: if filter::is_replayed(&asked.filter) { 0 } else { seq },
            granted: None,
            refused: false,
            ending: None,
            ending_request: (0, 0),
            replaced: false,
            gone: None,
        });
    }

    /// Takes a SUBACK; says what is wrong with it.
    pub(super) fn subscribed(
        &mut self,
        request: (u64, u16),
        granted: &[Option<u8>],
        seq: Seq,
    ) -> Option<String> {
        let mut codes = granted.iter();
        let mut problem = None;
        for span in &mut self.spans {
            if span.request == request && span.granted.is_none() && !span.refused {
                match codes.next() {
                    Some(Some(qos)) if *qos <= span.asked.qos => {
                        let replays = filter::is_replayed(&span.asked.filter);
                        span.granted = Some((if replays { 0 } else { seq }, *qos));
                    }
                    Some(None) => span.refused = true,
                    other => {
                        problem = Some(format!(
                            "{}: SUBACK grants {other:?} for {:?}",
                            self.client, span.asked
                        ));
                    }
                }
            }
        }
        // A subscription that was not replaced is still there.
        let refused = self.spans.iter().filter(|span| span.request == request && span.refused);
        let kept: Vec<String> = refused.map(|span| span.asked.filter.clone()).collect();
        self.settle(request, &kept, seq);
        if codes.next().is_some() {
            problem = Some(format!("{}: SUBACK with more codes than filters", self.client));
        }
        problem
    }

    pub(super) fn unsubscribing(&mut self, request: (u64, u16), unsubscribed: &str, seq: Seq) {
        for span in self
            .spans
            .iter_mut()
            .filter(|span| span.asked.filter == unsubscribed && span.gone.is_none())
        {
            span.ending.get_or_insert(seq);
            span.ending_request = request;
        }
    }

    pub(super) fn unsubscribed(&mut self, request: (u64, u16), seq: Seq) {
        self.settle(request, &[], seq);
    }

    /// What a request was to end is gone, but for what it was refused to replace.
    fn settle(&mut self, request: (u64, u16), kept: &[String], seq: Seq) {
        let ends = |span: &&mut Span| {
            span.ending.is_some()
                && span.ending_request == request
                && !kept.contains(&span.asked.filter)
        };
        for span in self.spans.iter_mut().filter(ends) {
            span.gone.get_or_insert(seq);
        }
    }

    /// Whether a message at QoS 1 or 2 sent after `first` and acknowledged at `last` has to reach this session, because a
    /// subscription (not a shared one), or a chain of them each of which replaced the one before, was there all the time.
    pub(super) fn surely_covers(&self, topic: &str, own: bool, first: Seq, last: Seq) -> bool {
        let mut filters: Vec<&str> =
            self.spans.iter().map(|span| span.asked.filter.as_str()).collect();
        filters.sort_unstable();
        filters.dedup();
        filters.iter().any(|filter| self.chain_covers(filter, topic, own, first, last))
    }

    fn chain_covers(&self, filter: &str, topic: &str, own: bool, first: Seq, last: Seq) -> bool {
        let mut chain = self
            .spans
            .iter()
            .filter(|span| span.asked.filter == filter && !span.refused)
            .peekable();
        // The last one granted before the message was sent is where the chain has to begin.
        let mut current = None;
        while let Some(span) = chain.next_if(|span| span.sent < first) {
            if span.granted.is_some_and(|(granted, _)| granted < first) {
                current = Some(span);
            } else if current.is_some_and(|before: &Span| before.replaced) {
                // Sent, and not known to be granted: it may or may not have replaced the one before.
                if span.qos() == 0 || span.asked.no_local {
                    return false;
                }
            }
        }
        let Some(mut span) = current else { return false };
        loop {
            if span.share().is_some()
                || !span.matches(topic)
                || span.qos() == 0
                || (span.asked.no_local && own)
            {
                return false;
            }
            match span.ending {
                Some(ending) if ending <= last => {}
                _ => return true,
            }
            let sent = span.sent;
            match self.spans.iter().find(|next| next.asked.filter == filter && next.sent > sent) {
                Some(next) if span.replaced && !next.refused => span = next,
                _ => return false,
            }
        }
    }

    /// Whether a shared subscription of this session may bring it the topic.
    pub(super) fn is_shared(&self, topic: &str) -> bool {
        self.spans.iter().any(|span| span.share().is_some() && span.matches(topic))
    }

    /// Whether a replay may bring messages to this topic.
    pub(super) fn replays(&self, topic: &str) -> bool {
        let replays = |span: &Span| filter::is_replayed(&span.asked.filter);
        self.spans.iter().any(|span| replays(span) && span.matches(topic))
    }

    /// Whether a subscription asks for RETAIN as it was published.
    pub(super) fn keeps_retain(&self, topic: &str) -> bool {
        self.spans.iter().any(|span| span.asked.retain_as_published && span.matches(topic))
    }

    /// Whether nothing but shared subscriptions may bring it the topic.
    pub(super) fn only_shared(&self, topic: &str) -> bool {
        !self.spans.iter().any(|span| span.share().is_none() && span.matches(topic))
    }

    pub(super) fn arrived(&self, number: u64) -> bool {
        self.arrivals.contains_key(&number)
    }

    pub(super) fn arrivals(&self, number: u64) -> Arrivals {
        self.arrivals.get(&number).copied().unwrap_or_default()
    }

    pub(super) fn answered(&mut self, packet_id: u16, answer: Answer) {
        match answer {
            Answer::Puback | Answer::Pubcomp => {
                self.in_flight.remove(&packet_id);
            }
            Answer::Pubrec => {
                if let Some(open) = self.in_flight.get_mut(&packet_id) {
                    open.answered = true;
                }
            }
        }
    }

    pub(super) fn released(&mut self, packet_id: u16) {
        if let Some(open) = self.in_flight.get_mut(&packet_id) {
            open.released = true;
        }
    }

    /// What the client had open when its last connection began was sent again [MQTT-4.4.0-1].
    pub(super) fn check_in_flight(&self, connection: u64, found: &mut Vec<String>) {
        for (id, open) in &self.in_flight {
            if open.connection != connection && !open.released {
                let step = if open.answered { "PUBREL" } else { "PUBLISH" };
                found.push(format!(
                    "{} has packet {id} (message {:?}) open since connection {}, and {step} never came again",
                    self.client, open.number, open.connection
                ));
            }
        }
    }

    /// Notes a PUBLISH above QoS 0. Returns whether it is a new one for the client, or what is wrong with it.
    pub(super) fn note_packet(
        &mut self,
        packet_id: u16,
        delivery: &Delivery,
    ) -> Result<bool, String> {
        let again = self.last_by_id.insert(packet_id, delivery.number) == Some(delivery.number);
        let Some(open) = self.in_flight.get_mut(&packet_id) else {
            if again && !delivery.dup {
                return Err("comes again without DUP".to_owned());
            }
            let open = InFlight {
                number: delivery.number,
                connection: delivery.connection,
                answered: false,
                released: false,
            };
            self.in_flight.insert(packet_id, open);
            return Ok(true);
        };
        if open.connection == delivery.connection {
            return Err(format!("has the id of message {:?}, which is not finished", open.number));
        }
        if open.number != delivery.number {
            return Err(format!(
                "has the id of message {:?}, which the client had not finished before the cut",
                open.number
            ));
        }
        if open.released {
            return Err("comes again after PUBREL".to_owned());
        }
        if !delivery.dup {
            return Err("comes again without DUP".to_owned());
        }
        open.connection = delivery.connection;
        Ok(false)
    }

    /// Counts an arrival; returns how many there were with it.
    pub(super) fn count(&mut self, number: u64, qos: u8) -> Arrivals {
        let arrivals = self.arrivals.entry(number).or_default();
        arrivals.all += 1;
        arrivals.at_qos2 += u32::from(qos == 2);
        *arrivals
    }

    /// Notes a first arrival; returns the later message that came before it, if there is one.
    pub(super) fn note_order(&mut self, known: &Known) -> Option<u64> {
        let key = (known.sent.publisher.clone(), known.sent.topic.clone(), known.sent.qos);
        let latest = self.latest.entry(key).or_insert(known.sent.number);
        if known.sent.number < *latest {
            return Some(*latest);
        }
        *latest = known.sent.number;
        None
    }
}
