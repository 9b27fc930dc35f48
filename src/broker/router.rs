//! Which subscribers a topic has: a trie of filters, and a bounded cache of its answers.
//!
//! It knows who is *connected* (and which shared groups exist), not who is away: a session that is away is a position in the log.
//! A filter's subscribers are found by walking the trie level by level; the answer for a topic is kept as a
//! [`Route`] until a subscription changes, so that a topic is matched once and not once per message.
//!
//! **Invariants:** a client has at most one entry per filter and what stands in front of it; a node without children and subscribers does not exist
//! (but for the root); the cache holds no route older than the latest change.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::broker::client::ClientRef;
use crate::collections::Map;
use crate::mutant::Mutant;
use crate::session::Grant;
use crate::session::Grants;
use crate::session::plain_filter;

/// How many topics' routes are kept.
const ROUTES_MAX: usize = 65_536;

/// How many bytes they may take.
const ROUTE_BYTES_MAX: usize = 32 << 20;

/// A shared group, by its place in the broker's table.
pub(super) type GroupIndex = usize;

type NodeIndex = usize;

/// All that a message on one topic may go to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    /// Each connected client with a matching subscription, once, in order.
    pub(super) targets: Vec<Target>,
    /// Each shared group whose filter matches.
    pub(super) groups: SmallVec<[GroupIndex; 2]>,
}

impl Route {
    /// What the route says about a client.
    pub(super) fn target(&self, client: ClientRef) -> Option<&Target> {
        let index = self.targets.binary_search_by_key(&client, |target| target.client).ok()?;
        self.targets.get(index)
    }

    /// Roughly the memory it takes.
    fn bytes(&self) -> usize {
        self.targets.len() * size_of::<Target>() + self.groups.len() * size_of::<GroupIndex>()
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }
}

/// A client and what its matching subscriptions say together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) client: ClientRef,
    pub(super) grants: Grants,
}

#[derive(Debug, Default)]
struct Node {
    children: Map<Box<str>, NodeIndex>,
    /// Subscribers of the filter that ends here.
    here: Subscribers,
    /// Subscribers of the filter that ends here with `/#`.
    below: Subscribers,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_empty() && self.below.is_empty()
    }
}

#[derive(Debug, Default)]
struct Subscribers {
    clients: BTreeMap<ClientRef, Grant>,
    /// Those whose text has a prefix before the filter, under that prefix.
    prefixed: Vec<(Box<str>, ClientRef, Grant)>,
    groups: SmallVec<[GroupIndex; 2]>,
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.prefixed.is_empty() && self.groups.is_empty()
    }

    fn prefixed_at(&self, prefix: &str, client: ClientRef) -> Option<usize> {
        self.prefixed.iter().position(|(known, who, _)| **known == *prefix && *who == client)
    }

    /// Adds or replaces; true if it is new.
    fn insert(&mut self, subscriber: Subscriber<'_>) -> bool {
        match subscriber {
            Subscriber::Client("", client, grant) => self.clients.insert(client, grant).is_none(),
            Subscriber::Client(prefix, client, grant) => {
                let known = self.prefixed_at(prefix, client);
                if let Some(at) = known {
                    self.prefixed.swap_remove(at);
                }
                self.prefixed.push((prefix.into(), client, grant));
                known.is_none()
            }
            Subscriber::Group(group) if self.groups.contains(&group) => false,
            Subscriber::Group(group) => {
                self.groups.push(group);
                true
            }
        }
    }

    /// Removes; true if it was there.
    fn remove(&mut self, subscriber: &Subscriber<'_>) -> bool {
        match subscriber {
            Subscriber::Client("", client, _) => self.clients.remove(client).is_some(),
            Subscriber::Client(prefix, client, _) => {
                let known = self.prefixed_at(prefix, *client);
                known.map(|at| self.prefixed.swap_remove(at)).is_some()
            }
            Subscriber::Group(group) => {
                let before = self.groups.len();
                self.groups.retain(|known| known != group);
                self.groups.len() < before
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscriber<'a> {
    /// With what stands in front of the filter.
    Client(&'a str, ClientRef, Grant),
    Group(GroupIndex),
}

/// The subscriptions of all connected clients and all shared groups.
#[derive(Debug)]
pub(super) struct Router {
    nodes: slab::Slab<Node>,
    root: NodeIndex,
    routes: Map<Box<str>, Arc<Route>>,
    route_bytes: usize,
    nobody: Arc<Route>,
    count: usize,
}

impl Router {
    pub(super) fn new() -> Self {
        let mut nodes = slab::Slab::new();
        let root = nodes.insert(Node::default());
        Self {
            nodes,
            root,
            routes: Map::default(),
            route_bytes: 0,
            nobody: Arc::default(),
            count: 0,
        }
    }

    /// How many subscriptions there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds or replaces a client's subscription with this text.
    pub(super) fn subscribe(&mut self, text: &str, client: ClientRef, grant: Grant) {
        let (prefix, filter) = taken_apart(text);
        self.insert(filter, Subscriber::Client(prefix, client, grant));
    }

    /// Removes a client's subscription with this text.
    pub(super) fn unsubscribe(&mut self, text: &str, client: ClientRef) {
        let (prefix, filter) = taken_apart(text);
        self.remove(filter, &Subscriber::Client(prefix, client, Grant::default()));
    }

    /// Adds a shared group.
    pub(super) fn add_group(&mut self, filter: &str, group: GroupIndex) {
        self.insert(filter, Subscriber::Group(group));
    }

    /// Removes a shared group.
    pub(super) fn remove_group(&mut self, filter: &str, group: GroupIndex) {
        self.remove(filter, &Subscriber::Group(group));
    }

    /// Whether there are filters with this first level, which is no wildcard.
    pub(super) fn has_literal(&self, level: &str) -> bool {
        self.nodes.get(self.root).is_some_and(|root| root.children.contains_key(level))
    }

    /// Who gets a message on `topic`.
    pub(super) fn route(&mut self, topic: &str) -> Arc<Route> {
        if let Some(route) = self.routes.get(topic) {
            return Arc::clone(route);
        }
        let route = self.find(topic);
        let route = if route.is_empty() { Arc::clone(&self.nobody) } else { Arc::new(route) };
        let bytes = topic.len() + route.bytes();
        if self.routes.len() >= ROUTES_MAX || self.route_bytes + bytes > ROUTE_BYTES_MAX {
            self.forget_routes();
        }
        self.route_bytes += bytes;
        self.routes.insert(topic.into(), Arc::clone(&route));
        route
    }

    fn forget_routes(&mut self) {
        self.routes.clear();
        self.route_bytes = 0;
    }

    fn insert(&mut self, filter: &str, subscriber: Subscriber<'_>) {
        self.forget_routes();
        let (levels, below) = split(filter);
        let mut index = self.root;
        for level in levels {
            index = self.child_or_new(index, level);
        }
        let Some(node) = self.nodes.get_mut(index) else { return };
        let list = if below { &mut node.below } else { &mut node.here };
        self.count += usize::from(list.insert(subscriber));
    }

    fn child_or_new(&mut self, parent: NodeIndex, level: &str) -> NodeIndex {
        if let Some(child) = self.nodes.get(parent).and_then(|node| node.children.get(level)) {
            return *child;
        }
        let child = self.nodes.insert(Node::default());
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(level.into(), child);
        }
        child
    }

    fn remove(&mut self, filter: &str, subscriber: &Subscriber<'_>) {
        self.forget_routes();
        let (levels, below) = split(filter);
        let mut path: SmallVec<[(NodeIndex, &str); 16]> = SmallVec::new();
        let mut index = self.root;
        for level in levels {
            let Some(child) = self.nodes.get(index).and_then(|node| node.children.get(level))
            else {
                return;
            };
            path.push((index, level));
            index = *child;
        }
        let Some(node) = self.nodes.get_mut(index) else { return };
        let list = if below { &mut node.below } else { &mut node.here };
        self.count -= usize::from(list.remove(subscriber));
        while let Some((parent, level)) = path.pop() {
            if !self.nodes.get(index).is_some_and(Node::is_empty) {
                return;
            }
            self.nodes.remove(index);
            if let Some(node) = self.nodes.get_mut(parent) {
                node.children.remove(level);
            }
            index = parent;
        }
    }

    /// The same, without a look at what is kept and without keeping it. Walks the trie: at each level the literal child and the child `+`, and everything that ends in `#` on the way.
    pub(super) fn find(&self, topic: &str) -> Route {
        let mut found = Found::default();
        // [MQTT-4.7.2-1]: a leading wildcard does not match a topic that begins with `$`.
        let wildcard_first = !topic.starts_with('$');
        let mut front: SmallVec<[NodeIndex; 16]> = SmallVec::from_slice(&[self.root]);
        for (depth, level) in topic.split('/').enumerate() {
            let wildcard = depth > 0 || wildcard_first;
            let mut next = SmallVec::new();
            for node in front.iter().filter_map(|index| self.nodes.get(*index)) {
                if wildcard {
                    found.add(&node.below);
                    next.extend(node.children.get("+").copied());
                }
                next.extend(node.children.get(level).copied());
            }
            front = next;
        }
        for node in front.iter().filter_map(|index| self.nodes.get(*index)) {
            found.add(&node.here);
            // `a/#` matches `a` too: the number sign includes the parent level.
            found.add(&node.below);
        }
        found.into_route()
    }
}

/// What stands in front of a subscription's filter, and the filter.
fn taken_apart(text: &str) -> (&str, &str) {
    let filter = plain_filter(text);
    text.split_at_checked(text.len() - filter.len()).unwrap_or(("", text))
}

/// A filter's levels, and whether it ends in `#`, which is no level of its own.
fn split(filter: &str) -> (std::str::Split<'_, char>, bool) {
    if filter == "#" {
        let mut none = "".split('/');
        none.next();
        return (none, true);
    }
    match filter.strip_suffix("/#") {
        Some(levels) => (levels.split('/'), true),
        None => (filter.split('/'), false),
    }
}

#[derive(Default)]
struct Found {
    clients: Vec<(ClientRef, Grant)>,
    groups: SmallVec<[GroupIndex; 2]>,
}

impl Found {
    fn add(&mut self, subscribers: &Subscribers) {
        self.clients.extend(subscribers.clients.iter().map(|(client, grant)| (*client, *grant)));
        let prefixed = subscribers.prefixed.iter().map(|(_, client, grant)| (*client, *grant));
        self.clients.extend(prefixed);
        self.groups.extend_from_slice(&subscribers.groups);
    }

    /// Overlapping subscriptions of one client become one target [MQTT-3.3.4-2].
    fn into_route(mut self) -> Route {
        self.clients.sort_by_key(|(client, _)| *client);
        self.groups.sort_unstable();
        let mut targets: Vec<Target> = Vec::new();
        for (client, grant) in self.clients {
            match targets.last_mut() {
                Some(target)
                    if target.client == client && !Mutant::OverlappingTwice.is_active() =>
                {
                    target.grants.push(grant);
                }
                _ => targets.push(Target { client, grants: Grants::from(grant) }),
            }
        }
        Route { targets, groups: self.groups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::QoS;

    fn client(slot: u32) -> ClientRef {
        ClientRef { slot, epoch: 1 }
    }

    fn grant(id: u32) -> Grant {
        Grant {
            qos: QoS::AtLeastOnce,
            subscription_id: crate::mqtt::SubscriptionId::new(id),
            ..Grant::default()
        }
    }

    fn slots(router: &mut Router, topic: &str) -> Vec<u32> {
        router.route(topic).targets.iter().map(|target| target.client.slot).collect()
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+/c", "a//c", true),
            ("a/", "a/", true),
            ("a/", "a", false),
            ("+/#", "a", true),
            ("a/+/#", "a", false),
        ];
        for (filter, topic, expected) in cases {
            let mut router = Router::new();
            router.subscribe(filter, client(1), grant(1));
            assert_eq!(!slots(&mut router, topic).is_empty(), expected, "{filter} on {topic}");
            router.unsubscribe(filter, client(1));
            assert_eq!(router.nodes.len(), 1, "{filter} leaves nothing behind");
            assert_eq!(router.len(), 0);
        }
    }

    #[test]
    fn overlapping_subscriptions_are_one_target() {
        let mut router = Router::new();
        router.subscribe("a/#", client(1), grant(1));
        router.subscribe("a/+", client(1), grant(2));
        router.subscribe("a/b", client(2), grant(3));
        let route = router.route("a/b");
        assert_eq!(route.targets.len(), 2);
        assert_eq!(route.targets[0].grants.len(), 2);
    }

    #[test]
    fn a_filter_with_a_prefix_stands_beside_the_plain_one() {
        let mut router = Router::new();
        for text in ["a/#", "$replay/earliest/a/#", "$meta/a/#", "$meta/a/#"] {
            router.subscribe(text, client(1), grant(1));
        }
        assert_eq!((router.route("a/b").targets[0].grants.len(), router.len()), (3, 3));
        router.unsubscribe("a/#", client(1));
        router.unsubscribe("$meta/a/#", client(1));
        assert_eq!((router.route("a/b").targets[0].grants.len(), router.len()), (1, 1));
        router.unsubscribe("$replay/earliest/a/#", client(1));
        assert_eq!((router.nodes.len(), router.len()), (1, 0));
    }

    #[test]
    fn a_change_is_seen_at_once() {
        let mut router = Router::new();
        assert!(slots(&mut router, "a").is_empty());
        router.subscribe("a", client(1), grant(1));
        assert_eq!(slots(&mut router, "a"), [1]);
        router.subscribe("+", client(2), grant(1));
        assert_eq!(slots(&mut router, "a"), [1, 2]);
        router.unsubscribe("a", client(1));
        assert_eq!(slots(&mut router, "a"), [2]);
        router.add_group("a", 7);
        assert_eq!(router.route("a").groups.as_slice(), [7]);
        router.remove_group("a", 7);
        assert!(router.route("a").groups.is_empty());
    }
}
