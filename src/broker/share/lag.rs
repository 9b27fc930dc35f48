//! How far a durable group is behind, counted when somebody asks: a walk over what matches from its position to the end of the log.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::broker::Broker;
use crate::broker::Turn;
use crate::broker::control::Answer;
use crate::broker::coverage::FilterSet;
use crate::broker::message::Message;
use crate::broker::share::durable::Outstanding;
use crate::broker::walk::Cursor;
use crate::broker::walk::Walk;
use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::store::GroupKey;
use crate::store::MessageView;
use crate::time::Timestamp;

/// A count under way, by its place in the broker's table.
pub(in crate::broker) type LagIndex = usize;

/// How many counts may be under way.
const LAGS_MAX: usize = 16;

/// A count under way.
#[derive(Debug)]
pub(in crate::broker) struct Lag {
    key: GroupKey,
    matcher: Arc<dyn KeyMatcher>,
    pub(in crate::broker) cursor: Cursor,
    /// The end of the log when it was asked.
    to: Offset,
    outstanding: Outstanding,
    /// What was not assigned.
    waiting: u64,
    /// When the oldest message was published.
    oldest: Option<Timestamp>,
    /// What is known of the group beside.
    fields: Map<String, Value>,
    answer: Answer,
}

impl Broker {
    /// Counts how far a group is behind that has so much on its way, and answers when that is done. Whether so many counts may be under way.
    pub(in crate::broker) fn count_lag(
        &mut self,
        key: &GroupKey,
        in_flight: Option<(usize, Offset)>,
        fields: Map<String, Value>,
        answer: Answer,
    ) -> bool {
        let Some(row) = self.store.state().group(key).filter(|_| self.lags.len() < LAGS_MAX) else {
            return false;
        };
        let lag = Lag {
            key: key.clone(),
            matcher: Arc::new(FilterSet::one(&key.filter)),
            cursor: Cursor::at(row.position),
            to: self.store.next_offset(),
            outstanding: self.outstanding(key, in_flight),
            waiting: 0,
            oldest: None,
            fields,
            answer,
        };
        let index = self.lags.insert(Some(Box::new(lag)));
        self.turns.push_back(Turn::Lag(index));
        true
    }

    pub(in crate::broker) fn turn_lag(&mut self, index: LagIndex) {
        let Some(mut lag) = self.lags.get_mut(index).and_then(Option::take) else { return };
        let walk = self.walk(|broker| broker.step_lag(index, &mut lag));
        if walk == Walk::CaughtUp {
            self.lags.remove(index);
            return self.tell_lag(*lag);
        }
        if let Some(place) = self.lags.get_mut(index) {
            *place = Some(lag);
        }
        self.after_turn(Turn::Lag(index), walk);
    }

    fn step_lag(&mut self, index: LagIndex, lag: &mut Lag) -> Walk {
        if lag.cursor.fetch.is_some() {
            return Walk::WaitDisk;
        }
        if let Some(first) = lag.outstanding.first {
            return match self.find_record(Turn::Lag(index), &mut lag.cursor, first) {
                Poll::Pending => Walk::WaitDisk,
                Poll::Ready(record) => {
                    lag.oldest = record.map(|record| record.timestamp);
                    lag.outstanding.first = None;
                    Walk::More
                }
            };
        }
        if let Some(record) = lag.cursor.chunk.pop_front() {
            let view = MessageView::from_record(&record);
            let message = view.as_ref().map(Message::from);
            if message.is_some_and(|message| self.is_waiting(lag, &message)) {
                lag.waiting += 1;
                lag.oldest.get_or_insert(record.timestamp);
            }
            return Walk::More;
        }
        let to = lag.to.min(self.routed);
        if lag.cursor.scanned < to {
            let matcher = Arc::clone(&lag.matcher);
            return self.read_on(Turn::Lag(index), &mut lag.cursor, to, &matcher);
        }
        if lag.cursor.scanned < lag.to { Walk::WaitDurable } else { Walk::CaughtUp }
    }

    /// Whether a message is one that the group has still to give out.
    fn is_waiting(&self, lag: &Lag, message: &Message<'_>) -> bool {
        let position = self.store.state().group(&lag.key).map_or(Offset::MAX, |row| row.position);
        let index = self.group_indexes.get(&lag.key);
        let present = self.store.present_for(message.published_at, self.now);
        message.offset.is_some_and(|offset| offset >= position && offset < lag.to)
            && index.is_some_and(|index| self.is_of_group(*index, message))
            && !message.is_expired(present)
    }

    fn tell_lag(&mut self, lag: Lag) {
        let Outstanding { in_flight, held, returned, .. } = lag.outstanding;
        let given = (in_flight + held + returned) as u64;
        let age = lag.oldest.map_or(Duration::ZERO, |oldest| self.now.since(oldest));
        let seconds = (age.as_secs_f64() * 1_000.0).round() / 1_000.0;
        let mut fields = lag.fields;
        fields.insert(
            "lag".to_owned(),
            json!({ "messages": lag.waiting + given, "seconds": seconds }),
        );
        self.answer(&lag.answer, Ok(fields));
    }
}
