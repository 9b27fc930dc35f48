//! What a SUBSCRIBE asks for beyond a filter, and where in the log that is.
//!
//! A start or an end beyond what is stored is refused, so that a mistyped one is not taken for silence.

use std::num::NonZeroU32;

use crate::broker::Broker;
use crate::broker::lifecycle::group_key;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::QoS;
use crate::mqtt::SubscribeFilter;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::session::Address;
use crate::session::AddressError;
use crate::session::Commit;
use crate::session::Meta;
use crate::session::Start;
use crate::session::Strategy;
use crate::session::Wishes;
use crate::store::Declared;
use crate::store::GroupKey;
use crate::store::GroupRow;
use crate::store::ReplayRow;
use crate::store::SubscriptionRow;
use crate::time::Timestamp;

/// What one filter of a SUBSCRIBE asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The filter without prefixes.
    pub(super) filter: TopicFilter,
    pub(super) meta: Meta,
    pub(super) replay: AskedReplay,
    /// A shared group, and what it has to be made with if it is a durable one that does not exist yet.
    pub(super) group: Option<(GroupKey, Option<GroupRow>)>,
}

/// What comes before live messages.
#[derive(Debug)]
pub(super) enum AskedReplay {
    /// Nothing.
    No,
    /// What the session has with the same text and start goes on, be it live by now.
    GoesOn,
    /// A replay.
    Begins(Box<ReplayRow>),
}

/// Where a start is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) position: Offset,
    /// What is older is left out.
    pub(super) not_before: Option<Timestamp>,
    /// It is so many messages that match before `position`.
    pub(super) last: Option<NonZeroU32>,
}

/// What a group is asked to be; what is not said is as it is, or as usual.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) start: Option<(Start, Text)>,
    pub(super) strategy: Option<Strategy>,
    pub(super) commit: Option<Commit>,
}

impl Broker {
    /// Reads what one filter asks for.
    pub(super) fn asked(
        &self,
        client_id: &ClientId,
        wanted: &SubscribeFilter,
        wishes: &Result<Wishes, AddressError>,
    ) -> Result<Asked, AddressError> {
        let text = wanted.filter.text();
        let address = Address::parse(text)?;
        let wishes = wishes.as_ref().map_err(|error| *error)?;
        let start = start_of(&address, text, wishes)?;
        let meta = match (address.meta, wishes.meta) {
            (true, _) => Meta::Envelope,
            (false, true) => Meta::Properties,
            (false, false) => Meta::None,
        };
        let mut asked =
            Asked { filter: address.filter, meta, replay: AskedReplay::No, group: None };
        if address.exclusive && (start.is_some() || wishes.needs_start()) {
            return Err(AddressError::NotExclusive);
        }
        if let Some(share) = address.share {
            if wishes.needs_start() {
                return Err(AddressError::NotShared);
            }
            let key = GroupKey { share: share.into(), filter: asked.filter.clone().into() };
            let Wishes { strategy, commit, .. } = *wishes;
            let row = self.asked_group(&key, Wanted { start, strategy, commit })?;
            self.may_enter(client_id, wanted, &key, row.as_ref())?;
            asked.group = Some((key, row));
            return Ok(asked);
        }
        if wishes.is_of_group() {
            return Err(AddressError::GroupMissing);
        }
        asked.replay = match start {
            None if wishes.needs_start() => return Err(AddressError::StartMissing),
            None => AskedReplay::No,
            Some((_, start)) if goes_on(&self.subscription_row(client_id, text), &start) => {
                AskedReplay::GoesOn
            }
            Some((start, words)) => {
                let row = self.replay_row(client_id, start, words, wishes)?;
                AskedReplay::Begins(Box::new(row))
            }
        };
        Ok(asked)
    }

    /// Whether a group is, or can be, what it is asked to be. `None`: it exists, or is to last as long as its members.
    pub(super) fn asked_group(
        &self,
        key: &GroupKey,
        wanted: Wanted,
    ) -> Result<Option<GroupRow>, AddressError> {
        let Wanted { start, strategy, commit } = wanted;
        let says = start.is_some() || strategy.is_some() || commit.is_some();
        let Some(row) = self.store.state().group(key) else {
            let Some((start, words)) = start else {
                return if says { Err(AddressError::GroupMissing) } else { Ok(None) };
            };
            if self.declared_groups() >= self.options.groups_max {
                return Err(AddressError::TooManyGroups);
            }
            let Place { position, not_before, last } =
                self.place_of(start, self.store.next_offset())?;
            let declared = Declared {
                start: words,
                strategy: strategy.unwrap_or_default(),
                commit: commit.unwrap_or_default(),
                not_before,
                last,
            };
            let declared = Some(Box::new(declared));
            return Ok(Some(GroupRow { declared, ..GroupRow::at(position) }));
        };
        let same = row.declared.as_ref().map_or(!says, |declared| {
            let stands = |(start, words): &(Start, Text)| {
                *start == Start::Committed || *words == declared.start
            };
            start.as_ref().is_none_or(stands)
                && strategy.is_none_or(|strategy| strategy == declared.strategy)
                && commit.is_none_or(|commit| commit == declared.commit)
        });
        if same { Ok(None) } else { Err(AddressError::OtherGroup) }
    }

    /// Whether a session may be a member by this subscription.
    fn may_enter(
        &self,
        client_id: &ClientId,
        wanted: &SubscribeFilter,
        key: &GroupKey,
        new: Option<&GroupRow>,
    ) -> Result<(), AddressError> {
        let session = self.store.state().session(client_id);
        let mut others = session.into_iter().flat_map(|session| session.subscriptions.iter());
        let text = wanted.filter.text();
        // Few have the same name, so few are taken apart.
        let named = format!("$share/{}/", &*key.share);
        let twice = others.any(|(other, row)| {
            other != text
                && other.starts_with(&named)
                && row.open_span().is_some()
                && group_key(other).as_ref() == Some(key)
        });
        if twice {
            return Err(AddressError::AlreadyMember);
        }
        let row = new.or_else(|| self.store.state().group(key));
        let manual = row.and_then(|row| row.declared.as_ref()).is_some_and(|declared| {
            declared.commit == Commit::Manual && wanted.options.qos == QoS::AtMostOnce
        });
        if manual { Err(AddressError::NoAcknowledgement) } else { Ok(()) }
    }

    /// A replay at its beginning.
    fn replay_row(
        &self,
        client_id: &ClientId,
        start: Start,
        text: Text,
        wishes: &Wishes,
    ) -> Result<ReplayRow, AddressError> {
        let end = self.store.next_offset();
        let Place { position, not_before, last } =
            self.place_of(start, self.committed(client_id))?;
        let mut row = ReplayRow {
            start: text,
            live: start == Start::Latest && wishes.until.is_none() && wishes.limit.is_none(),
            position,
            not_before,
            until: None,
            ends_at: None,
            left: wishes.limit,
            last,
            speed: wishes.speed,
        };
        if let Some(until) = wishes.until {
            row.until = Some(end);
            match until {
                Start::Offset(offset) if offset > end => return Err(AddressError::BadUntil),
                Start::Offset(offset) => row.until = Some(offset),
                Start::At(_) | Start::Ago(_) => {
                    row.ends_at = Some(self.moment(until).ok_or(AddressError::BadUntil)?);
                }
                Start::Earliest | Start::Latest | Start::Committed | Start::Last(_) => {}
            }
        }
        Ok(row)
    }

    /// Where a start is, for somebody who stands at `committed`.
    pub(super) fn place_of(&self, start: Start, committed: Offset) -> Result<Place, AddressError> {
        let (begin, end) = (self.store.start_offset(), self.store.next_offset());
        let mut place = Place { position: end, not_before: None, last: None };
        match start {
            Start::Earliest => place.position = begin,
            Start::Latest => {}
            Start::Committed => place.position = committed,
            Start::Last(count) => place.last = Some(count),
            Start::Offset(offset) if offset > end => return Err(AddressError::StartBeyondEnd),
            Start::Offset(offset) => place.position = offset.max(begin),
            Start::At(_) | Start::Ago(_) => {
                let moment = self.moment(start).ok_or(AddressError::StartBeyondEnd)?;
                place.not_before = Some(moment);
                place.position = self.store.offset_below(moment);
            }
        }
        Ok(place)
    }

    /// The moment that a start means, if it is not in the future.
    fn moment(&self, start: Start) -> Option<Timestamp> {
        let moment = match start {
            Start::At(moment) => moment,
            Start::Ago(length) => self.now - length,
            Start::Earliest
            | Start::Latest
            | Start::Committed
            | Start::Last(_)
            | Start::Offset(_) => return None,
        };
        (moment <= self.now).then_some(moment)
    }

    /// Where a session stands: everything that was its own below is acknowledged.
    fn committed(&self, client_id: &ClientId) -> Offset {
        let session = self.store.state().session(client_id);
        let position = session.map_or(Offset::ZERO, |session| session.progress.position);
        position.max(self.store.start_offset())
    }
}

/// Where a replay is to begin, and the text that says so.
fn start_of(
    address: &Address,
    text: &str,
    wishes: &Wishes,
) -> Result<Option<(Start, Text)>, AddressError> {
    match (address.replay, &wishes.from) {
        (Some(_), Some(_)) => Err(AddressError::TwoStarts),
        (Some(start), None) => {
            let level = text.split_once("$replay/").and_then(|(_, rest)| rest.split('/').next());
            let level = Text::try_from(level.unwrap_or_default())?;
            Ok(Some((start, level)))
        }
        (None, from) => Ok(from.clone()),
    }
}

/// Whether the session has what began at the same start.
fn goes_on(row: &SubscriptionRow, start: &Text) -> bool {
    let replay = row.open_span().and_then(|span| span.replay.as_ref());
    replay.is_some_and(|replay| replay.start == *start)
}
