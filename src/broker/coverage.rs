//! What a session's subscriptions cover, as rows of the log say it.

use smallvec::SmallVec;

use crate::commitlog::KeyMatcher;
use crate::commitlog::Offset;
use crate::mqtt::SubscriptionId;
use crate::mqtt::SubscriptionIds;
use crate::mqtt::TopicFilter;
use crate::session::Grant;
use crate::session::Grants;
use crate::store::SessionState;
use crate::store::Span;

/// What an exclusive subscription's text begins with.
pub(super) const EXCLUSIVE: &str = "$exclusive/";

/// What a span grants.
pub(super) fn grant_of(span: &Span) -> Grant {
    Grant {
        qos: span.qos,
        no_local: span.no_local,
        retain_as_published: span.retain_as_published,
        subscription_id: span.subscription_id.and_then(SubscriptionId::new),
    }
}

/// The identifiers of a row.
pub(super) fn subscription_ids(numbers: &[u32]) -> SubscriptionIds {
    numbers.iter().filter_map(|number| SubscriptionId::new(*number)).collect()
}

/// The subscriptions of a session that covered `topic` at `offset`.
pub(super) fn grants_at(session: &SessionState, topic: &str, offset: Offset) -> Grants {
    let covers =
        |span: &&Span| span.from <= offset && span.until.is_none_or(|until| offset < until);
    let rows = session
        .subscriptions
        .iter()
        .filter(|(text, _)| !is_shared(text) && TopicFilter::text_matches(filter_in(text), topic));
    rows.flat_map(|(_, row)| row.spans.iter().filter(covers)).map(grant_of).collect()
}

/// Whether a subscription's text is that of a shared one.
pub(super) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// The filter in the text of a subscription that is not shared: behind `$exclusive/`, if that is there.
pub(super) fn filter_in(text: &str) -> &str {
    text.strip_prefix(EXCLUSIVE).unwrap_or(text)
}

/// Several filters as one question.
#[derive(Debug)]
pub(super) struct FilterSet {
    filters: SmallVec<[Box<str>; 2]>,
}

impl FilterSet {
    /// All filters of a session's own subscriptions, closed spans included.
    pub(super) fn of(session: Option<&SessionState>) -> Self {
        let filters = session.into_iter().flat_map(|session| session.subscriptions.keys());
        Self {
            filters: filters
                .filter(|filter| !is_shared(filter))
                .map(|filter| Box::from(filter_in(filter)))
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
