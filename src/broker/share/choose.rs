//! Who of a group's members gets a message.

use sha2::Digest;
use sha2::Sha256;

use crate::broker::Broker;
use crate::broker::client::ClientRef;
use crate::broker::message::Message;
use crate::broker::router::GroupIndex;
use crate::broker::share::Group;
use crate::mqtt::PropertiesView;
use crate::mqtt::QoS;
use crate::mutant::Mutant;
use crate::session::Commit;
use crate::session::Grant;
use crate::session::Strategy;

/// The user property that says a message's key.
const KEY: &str = "key";

/// What an assignment needs to know of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The hash of its key, if its group promises an order.
    pub(super) key: Option<u64>,
}

impl Broker {
    /// What an assignment by this group needs to know of a message.
    pub(super) fn candidate(&self, index: GroupIndex, message: &Message<'_>) -> Candidate {
        let strategy = self.groups.get(index).and_then(|group| group.terms).map(|terms| terms.0);
        let key = strategy.and_then(|strategy| key_of(strategy, message));
        Candidate { qos: message.qos, retain: message.retain, key }
    }

    /// The member that gets the next message; `None` if it has to wait.
    pub(super) fn choose_member(
        &mut self,
        index: GroupIndex,
        key: Option<u64>,
    ) -> Option<(ClientRef, Grant)> {
        let group = self.groups.get(index)?;
        let (strategy, commit) = group.terms.unwrap_or_default();
        let full = commit == Commit::Manual && self.holds_enough(group);
        if full || group.members.is_empty() {
            return None;
        }
        let at = match (strategy, key) {
            (Strategy::Key | Strategy::Exclusive, Some(key))
                if !Mutant::KeyTornApart.is_active() =>
            {
                let at = self.holder_of(group, key)?;
                let (client, _) = group.members.get(at)?;
                self.has_room(*client).then_some(at)?
            }
            (Strategy::RoundRobin, _) => self.first_with_room(group, group.rotation)?,
            (Strategy::Sticky, _) => {
                self.first_with_room(group, group.rotation + group.members.len() - 1)?
            }
            (Strategy::Random, _) => {
                let random = u64::from_le_bytes(self.random.bytes());
                let group = self.groups.get(index)?;
                let count = group.members.len() as u64;
                self.first_with_room(group, usize::try_from(random % count).unwrap_or(0))?
            }
            (Strategy::LeastInflight | Strategy::Key | Strategy::Exclusive, _) => {
                self.least_in_flight(group)?
            }
        };
        let group = self.groups.get_mut(index)?;
        group.rotation = at + 1;
        group.members.get(at).copied()
    }

    /// Whether a group waits for a commit.
    fn holds_enough(&self, group: &Group) -> bool {
        let held = self.store.state().held().get(&group.key);
        held.is_some_and(|held| held.len() >= self.options.uncommitted_max)
    }

    /// The member with the fewest messages in flight that can take another, the longest not chosen first.
    fn least_in_flight(&self, group: &Group) -> Option<usize> {
        let count = group.members.len();
        let mut best: Option<(usize, usize)> = None;
        for step in 0..count {
            let at = (group.rotation + step) % count;
            let Some((client, _)) = group.members.get(at) else { continue };
            let Some(known) = self.clients.get(client.index()) else { continue };
            if !self.has_room(*client) {
                continue;
            }
            let load = known.outbound.in_flight() + known.assigned_waiting;
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, at));
            }
        }
        best.map(|(_, at)| at)
    }

    /// The first member that can take another message, from one on.
    fn first_with_room(&self, group: &Group, from: usize) -> Option<usize> {
        let count = group.members.len();
        let mut places = (0..count).map(|step| (from % count + step) % count);
        places.find(|at| group.members.get(*at).is_some_and(|(client, _)| self.has_room(*client)))
    }

    /// The members that may get a message published at QoS 0, the first choice first.
    pub(super) fn order_of_qos0(&self, index: GroupIndex, message: &Message<'_>) -> Vec<usize> {
        let Some(group) = self.groups.get(index) else { return Vec::new() };
        let count = group.members.len();
        if let Some(key) = self.candidate(index, message).key {
            return self.holder_of(group, key).into_iter().collect();
        }
        let sticky = group.terms.is_some_and(|(strategy, _)| strategy == Strategy::Sticky);
        let first = if sticky { group.rotation + count.saturating_sub(1) } else { group.rotation };
        (0..count).map(|step| (first + step) % count).collect()
    }

    /// The member that has messages of this key, or is to have them; `None` if it is not there.
    fn holder_of(&self, group: &Group, key: u64) -> Option<usize> {
        let mut members = group.members.iter().enumerate();
        let holder = self.store.state().holder(&group.key, key);
        match holder {
            Some(holder) => {
                let is_holder = |client: &ClientRef| {
                    self.clients.get(client.index()).is_some_and(|known| known.id == *holder)
                };
                members.find(|(_, (client, _))| is_holder(client)).map(|(at, _)| at)
            }
            None if key == WHOLE => Some(0),
            None => members
                .max_by_key(|(_, (client, _))| {
                    let known = self.clients.get(client.index());
                    score(key, known.map_or("", |known| known.id.as_str()))
                })
                .map(|(at, _)| at),
        }
    }

    /// Whether the client's window takes more than what is assigned to it already, and its socket more than what is on its way.
    pub(in crate::broker) fn has_room(&self, client: ClientRef) -> bool {
        let Some(known) = self.clients.get(client.index()) else { return false };
        let connection = self.connections.get(known.connection);
        connection.is_some_and(|connection| connection.outbox.has_room())
            && known.outbound.quota() > known.assigned_waiting
    }
}

/// The one key of a group that goes to one member as a whole.
const WHOLE: u64 = 0;

/// The hash of a message's key: of its user property, or of its topic. It is on disk.
fn key_of(strategy: Strategy, message: &Message<'_>) -> Option<u64> {
    match strategy {
        Strategy::Exclusive => Some(WHOLE),
        Strategy::Key => {
            let mut properties = PropertiesView::user_properties_in(message.properties);
            let key = properties.find(|(name, _)| *name == KEY).map(|(_, key)| key);
            Some(hash(&[key.unwrap_or(message.topic).as_bytes()]).max(WHOLE + 1))
        }
        Strategy::LeastInflight | Strategy::RoundRobin | Strategy::Random | Strategy::Sticky => {
            None
        }
    }
}

/// How much a client is the one for a key: rendezvous hashing (Thaler and Ravishankar, 1998), by which a member that comes or goes moves
/// only the keys that are its own.
fn score(key: u64, client: &str) -> u64 {
    hash(&[&key.to_le_bytes(), client.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
