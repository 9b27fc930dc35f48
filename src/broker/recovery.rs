//! The core at its start: what the store remembers, set going again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use crate::access::Access;
use crate::broker::Broker;
use crate::broker::Options;
use crate::broker::Stats;
use crate::broker::Timer;
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
use crate::mqtt::ClientId;
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
        let known: Vec<GroupKey> = self.store.state().groups().keys().cloned().collect();
        for key in known.into_iter().filter(|key| !self.group_indexes.contains_key(key)) {
            self.store.put(self.now, Row::Group(key, None));
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
}
