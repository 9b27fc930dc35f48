//! What a session's subscriptions cover, as rows of the log say it.

use smallvec::SmallVec;

use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::TopicFilter;
use crate::session::Grant;
use crate::session::Grants;
use crate::session::plain_filter;
use crate::store::SessionState;
use crate::store::Span;

/// What a span grants.
pub(super) fn grant_of(span: &Span) -> Grant {
    Grant {
        qos: span.qos,
        no_local: span.no_local,
        retain_as_published: span.retain_as_published,
        subscription_id: span.subscription_id.and_then(SubscriptionId::new),
        meta: span.meta,
    }
}

/// The identifiers of a row.
pub(super) fn subscription_ids(numbers: &[u32]) -> SubscriptionIds {
    numbers.iter().filter_map(|number| SubscriptionId::new(*number)).collect()
}

/// The subscriptions of a session that covered `topic` at `offset`.
pub(super) fn grants_at(session: &SessionState, topic: &str, offset: Offset) -> Grants {
    let rows = session.subscriptions.iter().filter(|(text, _)| {
        !is_shared(text) && TopicFilter::text_matches(plain_filter(text), topic)
    });
    let spans = rows.flat_map(|(_, row)| row.spans.iter().filter(|span| span.covers(offset)));
    spans.map(grant_of).collect()
}

/// Whether a subscription's text is that of a shared one.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// Several filters as one question.
#[derive(Debug)]
pub(super) struct FilterSet {
    filters: SmallVec<[Box<str>; 2]>,
}

impl FilterSet {
    /// All filters of a session's own subscriptions, closed spans included; what is replayed is not its own yet.
    pub(super) fn of(session: Option<&SessionState>) -> Self {
        let rows = session.into_iter().flat_map(|session| session.subscriptions.iter());
        let own = rows.filter(|(_, row)| row.spans.iter().any(|span| !span.is_replaying()));
        Self {
            filters: own
                .filter(|(text, _)| !is_shared(text))
                .map(|(text, _)| Box::from(plain_filter(text)))
                .collect(),
        }
    }

    /// One filter.
    pub(super) fn one(filter: &str) -> Self {
        Self { filters: std::iter::once(Box::from(filter)).collect() }
    }
}

impl KeyMatcher for FilterSet {
    fn matches(&self, key: &[u8]) -> bool {
        std::str::from_utf8(key).is_ok_and(|topic| {
            self.filters.iter().any(|filter| TopicFilter::text_matches(filter, topic))
        })
    }
}
