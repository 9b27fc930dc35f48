//! What the survey of a round remembers of the log, and what is dead by that.
//!
//! Names are kept as the first 16 bytes of their SHA-256, so that nobody can choose two that are taken for one. What is
//! not remembered is alive.
//!
//! Shared groups follow from rows of others: an assignment moves its group on, and the end of a session gives its
//! assignments back. Both are **settled** below the oldest last record of a living group, because each such record says
//! all about its group.

use sha2::Digest;
use sha2::Sha256;

use crate::collections::Map;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::ClientId;
use crate::mqtt::QoS;
use crate::mutant::Mutant;
use crate::store::AssignedRow;
use crate::store::Kind;
use crate::store::MessageView;
use crate::store::Row;
use crate::store::RowKey;
use crate::store::clean::Horizon;
use crate::store::codec::Encode;
use crate::time::Timestamp;

/// Names a row, a client or a group.
type Name = [u8; 16];

/// Stands in front of a client id that is hashed, where a row has its kind.
const CLIENT: u8 = 0xff;

/// The records of one name.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Offset,
    last: Offset,
}

/// What was seen of a client. An offset of zero stands for none: there lies the record that names the log.
#[derive(Clone, Copy, Debug)]
struct Client {
    /// The first record of any of its rows.
    first: Offset,
    /// The last tombstone of its session.
    ended: Offset,
    /// The last record of its progress, and the position in it.
    progress: Offset,
    position: Offset,
}

/// What a record says.
enum Said {
    /// What this version can't judge.
    Unknown,
    Message {
        expires_at: Option<Timestamp>,
        /// The name of the retained row that it sets or clears.
        retained: Option<Name>,
        /// The client and the name of the row that it sets.
        inbound: Option<(Name, Name)>,
    },
    /// A row of nobody: a group's, a retained, a delayed or a held message's.
    Common { kind: Kind, name: Name, tombstone: bool },
    /// A row of a client.
    Own { kind: Kind, client: Name, name: Name, tombstone: bool, detail: Detail },
}

/// What has to be known of a client's row beyond its name.
enum Detail {
    None,
    /// The position in its progress.
    Position(Offset),
    /// The place of an assignment, and whether a shared group made it.
    Assigned {
        place: Offset,
        by_group: bool,
    },
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Names {
    horizon: Horizon,
    rows: Map<Name, Seen>,
    clients: Map<Name, Client>,
    /// The last record of each group, unless that is a tombstone.
    groups: Map<Name, Option<Offset>>,
    /// Below this offset nothing that happened to groups matters any more.
    settled: Offset,
    /// The records that are judged: those of which all that came later, up to the end of the survey, was seen.
    from: Offset,
    to: Offset,
    /// The offset after the last record seen.
    next: Offset,
}

impl Names {
    pub(super) fn new(horizon: Horizon) -> Self {
        Self {
            horizon,
            rows: Map::default(),
            clients: Map::default(),
            groups: Map::default(),
            settled: Offset::ZERO,
            from: Offset::ZERO,
            to: Offset::MAX,
            next: Offset::ZERO,
        }
    }

    /// Forgets all that was seen, because something behind it can't be read: only what comes later is judged, and what it
    /// says of groups and of first records is not all there is.
    pub(super) fn begin_again(&mut self) {
        self.rows.clear();
        self.clients.clear();
        self.groups.clear();
        self.from = self.next.max(self.from.next());
        self.settle();
    }

    /// Ends the survey before this segment: what comes later is not judged.
    pub(super) fn close(&mut self, segment: Offset) {
        self.to = self.to.min(segment);
    }

    /// Notes a record of the survey, which comes in offset order.
    pub(super) fn note(&mut self, record: &StoredRecord) {
        let at = record.offset;
        if at >= self.to {
            return;
        }
        self.next = at.next();
        match said(record) {
            Said::Unknown => {}
            Said::Message { retained, inbound, .. } => {
                if let Some(name) = retained {
                    self.note_row(name, at);
                }
                if let Some((client, name)) = inbound {
                    self.note_row(name, at);
                    self.note_client(client, at);
                }
            }
            Said::Common { kind, name, tombstone } => {
                self.note_row(name, at);
                if kind == Kind::Group {
                    self.groups.insert(name, (!tombstone).then_some(at));
                }
            }
            Said::Own { kind, client, name, tombstone, detail } => {
                self.note_row(name, at);
                let Some(client) = self.note_client(client, at) else { return };
                if kind == Kind::Session && tombstone {
                    client.ended = at;
                }
                if let Detail::Position(position) = detail {
                    (client.progress, client.position) = (at, position);
                }
            }
        }
    }

    fn note_row(&mut self, name: Name, at: Offset) {
        let full = self.is_full();
        match self.rows.get_mut(&name) {
            Some(seen) => seen.last = at,
            None if full => {}
            None => {
                self.rows.insert(name, Seen { first: at, last: at });
            }
        }
    }

    fn note_client(&mut self, name: Name, at: Offset) -> Option<&mut Client> {
        let none = Offset::ZERO;
        if !self.is_full() {
            let new = Client { first: at, ended: none, progress: none, position: none };
            self.clients.entry(name).or_insert(new);
        }
        self.clients.get_mut(&name)
    }

    fn is_full(&self) -> bool {
        self.rows.len() + self.clients.len() >= self.horizon.names_max
    }

    /// Notes that a segment was seen to its end.
    pub(super) fn settle(&mut self) {
        let last = self.groups.values().flatten().min().copied().unwrap_or(Offset::MAX);
        self.settled = if self.is_whole() { last } else { Offset::ZERO };
    }

    /// Whether everything from the first record of the log on was seen.
    fn is_whole(&self) -> bool {
        self.from == Offset::ZERO
    }

    /// Whether nothing follows from a record any more.
    pub(super) fn is_dead(&self, record: &StoredRecord) -> bool {
        let at = record.offset;
        if !(self.from..self.to).contains(&at) {
            return false;
        }
        match said(record) {
            Said::Unknown => false,
            Said::Message { expires_at, retained, inbound } => {
                self.is_passed(at, expires_at)
                    && retained.is_none_or(|name| self.is_superseded(&name, at))
                    && inbound.is_none_or(|(client, name)| {
                        self.is_settled(&client, at)
                            && (self.is_superseded(&name, at) || self.has_ended(&client, at))
                    })
            }
            Said::Common { kind, name, tombstone } => {
                let content = kind == Kind::Retained && !tombstone;
                let read = content && !self.is_unreferred(at);
                !read && (self.is_superseded(&name, at) || (tombstone && self.is_first(&name, at)))
            }
            Said::Own { kind, client, name, tombstone, detail } => {
                self.is_settled(&client, at)
                    && self.is_row_dead(kind, (&client, &name), at, tombstone, &detail)
            }
        }
    }

    fn is_row_dead(
        &self,
        kind: Kind,
        (client, name): (&Name, &Name),
        at: Offset,
        tombstone: bool,
        detail: &Detail,
    ) -> bool {
        if kind == Kind::Session && tombstone {
            // It deletes rows of any name, so only its like does for it.
            let first = self.clients.get(client).is_some_and(|client| client.first == at);
            return self.has_ended(client, at) || (self.may_be_first(first) && at < self.settled);
        }
        if self.has_ended(client, at) {
            return !matches!(detail, Detail::Assigned { by_group: true, .. } if at >= self.settled);
        }
        let known = self.clients.get(client);
        match detail {
            Detail::Position(position) => {
                self.is_superseded(name, at)
                    && known.is_some_and(|client| client.position >= *position)
            }
            Detail::Assigned { place, by_group } => {
                let passed = known.is_some_and(|c| c.progress > at && c.position > *place);
                (!by_group || at < self.settled) && (passed || self.is_superseded(name, at))
            }
            Detail::None => self.is_superseded(name, at) || (tombstone && self.is_first(name, at)),
        }
    }

    /// Whether a message has expired, and everybody has passed it.
    fn is_passed(&self, at: Offset, expires_at: Option<Timestamp>) -> bool {
        let Some(floor) = &self.horizon.floor else { return false };
        expires_at.is_some_and(|expiry| expiry <= self.horizon.now)
            && at < floor.position
            && self.is_unreferred(at)
    }

    /// Whether no row says that the content at an offset is still to be sent.
    fn is_unreferred(&self, at: Offset) -> bool {
        let floor = self.horizon.floor.as_ref();
        floor.is_some_and(|floor| floor.referred.binary_search(&at).is_err())
    }

    /// Whether there is a later record of a name.
    fn is_superseded(&self, name: &Name, at: Offset) -> bool {
        self.rows.get(name).is_some_and(|seen| {
            seen.last > at || (Mutant::CleanerDropsLive.is_active() && seen.last == at)
        })
    }

    /// Whether there is no earlier record of a name.
    fn is_first(&self, name: &Name, at: Offset) -> bool {
        self.may_be_first(self.rows.get(name).is_some_and(|seen| seen.first == at))
    }

    fn may_be_first(&self, first: bool) -> bool {
        (first && self.is_whole()) || Mutant::CleanerDropsTombstone.is_active()
    }

    /// Whether the client's session ended later.
    fn has_ended(&self, client: &Name, at: Offset) -> bool {
        self.clients.get(client).is_some_and(|client| client.ended > at)
    }

    /// Whether what the end of the client's session did to groups is settled, if it came later.
    fn is_settled(&self, client: &Name, at: Offset) -> bool {
        let known = self.clients.get(client);
        known.is_some_and(|client| client.ended <= at || client.ended < self.settled)
    }
}

fn said(record: &StoredRecord) -> Said {
    let Some(kind) = Kind::from_u8(record.kind) else { return Said::Unknown };
    match kind {
        // Few, and none of them is worth the trouble.
        Kind::Origin | Kind::Clock => Said::Unknown,
        Kind::Message => message(record).unwrap_or(Said::Unknown),
        Kind::Group | Kind::Retained | Kind::Delayed | Kind::Held => {
            let (name, tombstone) = (name(record.kind, record.key()), record.value().is_empty());
            Said::Common { kind, name, tombstone }
        }
        Kind::Session
        | Kind::Progress
        | Kind::Subscription
        | Kind::Inbound
        | Kind::Assigned
        | Kind::Will => own(record, kind).unwrap_or(Said::Unknown),
    }
}

fn message(record: &StoredRecord) -> Option<Said> {
    let view = MessageView::from_record(record)?;
    let retained = view.retain.then(|| name(Kind::Retained.as_u8(), record.key()));
    let inbound = match (view.qos, view.packet_id) {
        (QoS::ExactlyOnce, Some(id)) => {
            let client = ClientId::try_from(view.publisher).ok()?;
            Some((client_name(&client), row_name(&RowKey::Inbound(client, id))))
        }
        _ => None,
    };
    Some(Said::Message { expires_at: view.expires_at(), retained, inbound })
}

fn own(record: &StoredRecord, kind: Kind) -> Option<Said> {
    let key = RowKey::decode(kind, record.key())?;
    let client = client_name(key.client()?);
    let detail = match kind {
        Kind::Progress | Kind::Assigned => {
            detail(Row::decode(kind, record.key(), record.value())?, record.offset)
        }
        Kind::Message
        | Kind::Session
        | Kind::Subscription
        | Kind::Inbound
        | Kind::Will
        | Kind::Group
        | Kind::Retained
        | Kind::Clock
        | Kind::Delayed
        | Kind::Held
        | Kind::Origin => Detail::None,
    };
    let (name, tombstone) = (name(record.kind, record.key()), record.value().is_empty());
    Some(Said::Own { kind, client, name, tombstone, detail })
}

fn detail(row: Row, at: Offset) -> Detail {
    if let Row::Progress(_, row) = row {
        return Detail::Position(row.position);
    }
    if let Row::Assigned(_, _, Some(AssignedRow { place, group, .. })) = row {
        return Detail::Assigned { place: place.unwrap_or(at), by_group: group.is_some() };
    }
    Detail::None
}

fn row_name(key: &RowKey) -> Name {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    name(key.kind().as_u8(), &bytes)
}

fn client_name(client: &ClientId) -> Name {
    name(CLIENT, client.as_bytes())
}

fn name(kind: u8, key: &[u8]) -> Name {
    let mut whole = Vec::with_capacity(key.len() + 1);
    whole.put_u8(kind);
    whole.put_raw(key);
    let digest: [u8; 32] = Sha256::digest(&whole).into();
    let mut name = Name::default();
    name.iter_mut().zip(digest).for_each(|(target, byte)| *target = byte);
    name
}
