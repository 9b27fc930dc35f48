//! The core at its start: what the store remembers, set going again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use crate::access::Access;
use crate::broker::Broker;
use crate::broker::GroupOptions;
use crate::broker::Options;
use crate::broker::Stats;
use crate::broker::Timer;
use crate::broker::asked::Wanted;
use crate::broker::delayed::DelayedQueue;
use crate::broker::durability::CommitState;
use crate::broker::found::Found;
use crate::broker::lagging::LaggingWatch;
use crate::broker::lifecycle::Stopping;
use crate::broker::lifecycle::group_key;
use crate::broker::random::Random;
use crate::broker::retention::RetentionState;
use crate::broker::router::Router;
use crate::broker::timers::TimerWheel;
use crate::broker::undelivered::Undelivered;
use crate::collections::Map;
use crate::commitlog::Offset;
use crate::mqtt::ClientId;
use crate::session::AddressError;
use crate::session::Start;
use crate::store::Declared;
use crate::store::GroupKey;
use crate::store::Row;
use crate::store::SessionRow;
use crate::store::Store;
use crate::store::WillRow;
use crate::time::Timestamp;

impl Broker {
    /// The core of a broker on an open store. `seed` feeds nonces and assigned client ids.
    ///
    /// Connections that died with the broker before are treated as lost at `now`: their wills are due, their sessions without
    /// expiry end.
    pub fn new(
        options: Options,
        store: Store,
        access: Access,
        seed: [u8; 32],
        now: Timestamp,
    ) -> Self {
        let durability = store.options().durability;
        let undelivered = Undelivered::new(options.report_undelivered.clone());
        let routed = store.durable_offset();
        let mut broker = Self {
            options,
            access,
            random: Random::new(seed),
            store,
            connections: Slab::new(),
            connection_slots: Map::default(),
            clients: Slab::new(),
            client_slots: Map::default(),
            ended: Map::default(),
            epoch: 0,
            router: Router::new(),
            groups: Slab::new(),
            lags: Slab::new(),
            replays: Slab::new(),
            group_indexes: BTreeMap::new(),
            unrouted: VecDeque::new(),
            routed,
            exclusive: BTreeMap::new(),
            delayed: DelayedQueue::new(),
            timers: TimerWheel::new(now),
            turns: VecDeque::new(),
            lagging: Vec::new(),
            due: Vec::new(),
            writes: Vec::new(),
            gates: Vec::new(),
            paused: BTreeSet::new(),
            outputs: VecDeque::new(),
            tickets: Map::default(),
            next_ticket: 0,
            commit: CommitState::new(durability),
            retention: RetentionState::default(),
            lagging_watch: LaggingWatch::default(),
            cleaning: false,
            stopping: Stopping::No,
            stats: Stats::default(),
            undelivered,
            found: Found::default(),
            started: now,
            now,
        };
        broker.recover_groups();
        broker.recover_wills();
        broker.recover_sessions();
        broker.declare_groups();
        broker.recover_exclusive();
        broker.recover_delayed();
        broker.set_timers();
        broker
    }

    fn set_timers(&mut self) {
        self.timers.set(self.now + self.options.checkpoint_interval, Timer::Checkpoint);
        self.timers.set(self.now + self.options.retention_interval, Timer::Retention);
        if !self.options.clean_interval.is_zero() {
            self.timers.set(self.now + self.options.clean_interval, Timer::Clean);
        }
        if !self.options.sys_interval.is_zero() {
            self.timers.set(self.now + self.options.sys_interval, Timer::Sys);
        }
    }

    fn recover_groups(&mut self) {
        let mut members: Vec<(GroupKey, ClientId)> = Vec::new();
        for (client_id, session) in self.store.state().sessions() {
            let open = session.subscriptions.iter().filter(|(_, row)| row.open_span().is_some());
            members.extend(
                open.filter_map(|(filter, _)| Some((group_key(filter)?, client_id.clone()))),
            );
        }
        for (key, client_id) in members {
            let position =
                self.store.state().group(&key).map_or(self.store.next_offset(), |row| row.position);
            let index = self.group_of(&key, position, false);
            if let Some(group) = self.groups.get_mut(index) {
                group.sessions.insert(client_id);
            }
        }
        let known: Vec<(GroupKey, Offset, bool)> = {
            let groups = self.store.state().groups().iter();
            let known = groups.filter(|(key, _)| !self.group_indexes.contains_key(key));
            known.map(|(key, row)| (key.clone(), row.position, row.declared.is_some())).collect()
        };
        for (key, position, declared) in known {
            if declared {
                let index = self.group_of(&key, position, false);
                self.queue_group_turn(index);
            } else {
                self.store.put(self.now, Row::Group(key, None));
            }
        }
    }

    /// Wills whose connection died with the broker begin to wait now; those that waited go on.
    fn recover_wills(&mut self) {
        let wills: Vec<(ClientId, WillRow, u32)> = self
            .store
            .state()
            .sessions()
            .filter_map(|(client_id, session)| {
                let expiry = session.session.as_ref().map_or(0, |row| row.expiry_interval);
                Some((client_id.clone(), session.will.as_deref()?.clone(), expiry))
            })
            .collect();
        for (client_id, row, expiry) in wills {
            match row.fires_at {
                Some(fires_at) => self.set_will_timer(client_id, fires_at),
                None => self.will_of_lost(&client_id, expiry),
            }
        }
    }

    fn recover_sessions(&mut self) {
        let sessions: Vec<(ClientId, SessionRow)> = self
            .store
            .state()
            .sessions()
            .filter_map(|(client_id, session)| Some((client_id.clone(), session.session.clone()?)))
            .collect();
        for (client_id, row) in sessions {
            let left_at = if row.connected { self.now } else { row.disconnected_at };
            if row.connected {
                let row = SessionRow { connected: false, disconnected_at: self.now, ..row.clone() };
                self.store.put(self.now, Row::Session(client_id.clone(), Some(row)));
            }
            match row.expiry_interval {
                0 => self.end_session(&client_id),
                u32::MAX => {}
                seconds => {
                    let forgiven = self.store.state().clock().forgiven_since(left_at);
                    let deadline = left_at + Duration::from_secs(u64::from(seconds)) + forgiven;
                    self.set_far_timer(deadline, Timer::SessionExpiry(client_id, left_at));
                }
            }
        }
    }

    /// Makes the groups of the options that do not exist. Sessions that end with the start have left theirs before.
    fn declare_groups(&mut self) {
        for group in self.options.groups.clone() {
            let (share, filter) = (group.share.clone(), group.filter.clone());
            let key = GroupKey { share: share.into(), filter: filter.into() };
            let wanted = Wanted {
                start: Some((group.start, group.from.clone())),
                strategy: Some(group.strategy),
                commit: Some(group.commit),
            };
            let (name, filter) = (&*key.share, &*key.filter);
            match self.asked_group(&key, wanted) {
                Ok(None) => {}
                Ok(Some(row)) => drop(self.declare_group(&key, &row)),
                Err(AddressError::OtherGroup) => {
                    let row = self.store.state().group(&key);
                    let found = differences(row.and_then(|row| row.declared.as_deref()), &group);
                    tracing::warn!(
                        group = name,
                        filter,
                        "a group of the configuration exists with other words and stays as it is ({found}); `tidelog group rm` comes first"
                    );
                }
                Err(error) => {
                    tracing::error!(group = name, filter, %error, "a group of the configuration is not made");
                }
            }
        }
    }
}

/// How a group that exists differs from what the options say.
fn differences(declared: Option<&Declared>, wanted: &GroupOptions) -> String {
    let Some(declared) = declared else {
        return "it has no start and ends with its members".to_owned();
    };
    let from = if wanted.start == Start::Committed { &declared.start } else { &wanted.from };
    let words = [
        ("from", declared.start.as_str(), from.as_str()),
        ("strategy", declared.strategy.name(), wanted.strategy.name()),
        ("commit", declared.commit.name(), wanted.commit.name()),
    ];
    let others = words.into_iter().filter(|(_, is, said)| is != said);
    let texts: Vec<String> =
        others.map(|(name, is, said)| format!("{name} is {is}, not {said}")).collect();
    texts.join(", ")
}
