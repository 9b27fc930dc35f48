//! What a SUBSCRIBE asks for beyond a filter, and where in the log that is.
//!
//! A start or an end beyond what is stored is refused, so that a mistyped one is not taken for silence.

use crate::broker::Broker;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::mqtt::SubscriptionFilter;
use crate::mqtt::Text;
use crate::mqtt::TopicFilter;
use crate::session::Address;
use crate::session::AddressError;
use crate::session::Meta;
use crate::session::Start;
use crate::session::Wishes;
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

impl Broker {
    /// Reads what one filter asks for.
    pub(super) fn asked(
        &self,
        client_id: &ClientId,
        filter: &SubscriptionFilter,
        wishes: &Result<Wishes, AddressError>,
    ) -> Result<Asked, AddressError> {
        let address = Address::parse(filter.text())?;
        let wishes = wishes.as_ref().map_err(|error| *error)?;
        let start = start_of(&address, filter.text(), wishes)?;
        let prefixed = address.meta || start.is_some();
        let of_one = address.share.is_some() || address.exclusive;
        if of_one && (prefixed || wishes.needs_start()) {
            return Err(AddressError::NotShared);
        }
        let meta = match (address.meta, wishes.meta) {
            (true, _) => Meta::Envelope,
            (false, true) => Meta::Properties,
            (false, false) => Meta::None,
        };
        let replay = match start {
            None if wishes.needs_start() => return Err(AddressError::StartMissing),
            None => AskedReplay::No,
            Some((_, text)) if goes_on(&self.subscription_row(client_id, filter.text()), &text) => {
                AskedReplay::GoesOn
            }
            Some((start, text)) => {
                let row = self.replay_row(client_id, start, text, wishes)?;
                AskedReplay::Begins(Box::new(row))
            }
        };
        Ok(Asked { filter: address.filter, meta, replay })
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
        let mut row = ReplayRow {
            start: text,
            live: false,
            position: end,
            not_before: None,
            until: None,
            ends_at: None,
            left: wishes.limit,
            last: None,
            speed: wishes.speed,
        };
        match start {
            Start::Earliest => row.position = self.store.start_offset(),
            Start::Latest => row.live = wishes.until.is_none() && wishes.limit.is_none(),
            Start::Committed => row.position = self.committed(client_id),
            Start::Last(count) => row.last = Some(count),
            Start::Offset(offset) if offset > end => return Err(AddressError::StartBeyondEnd),
            Start::Offset(offset) => row.position = offset.max(self.store.start_offset()),
            Start::At(_) | Start::Ago(_) => {
                let moment = self.moment(start).ok_or(AddressError::StartBeyondEnd)?;
                row.not_before = Some(moment);
                row.position = self.store.offset_below(moment);
            }
        }
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
