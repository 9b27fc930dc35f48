//! What goes wrong in a world, and what its clients do meanwhile.

use std::time::Duration;

use tidelog::broker::Event;
use tidelog::broker::OnWriteFailure;
use tidelog::broker::StorageState;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;
use tidelog::store::ClockFound;
use tidelog::store::MessageView;
use tidelog::time::Timestamp;

use crate::checker::Fact;
use crate::client::Client;
use crate::client::Effects;
use crate::client::Phase;
use crate::client::number_in;
use crate::engine::Engine;
use crate::engine::Work;
use crate::network::End;
use crate::plan::CLOCK_JUMP_MAX;
use crate::plan::MILLI;
use crate::plan::SECOND;
use crate::world::Happening;
use crate::world::World;

/// How many messages a run has at most: more take more time and show no more.
const MESSAGES_MAX: u64 = 4_000;

/// Microseconds in an hour, and in some ten years.
const HOUR: i64 = 3_600_000_000;
const TEN_YEARS: i64 = 3_652 * 24 * HOUR;

/// How long an orderly end may take.
const STOPPING_MAX: u64 = 20 * SECOND;

impl World {
    /// A client does something, and will do something again.
    pub(super) fn act(&mut self, client: usize) {
        let delay =
            if self.calm { 200 * MILLI } else { self.chance.delay(MILLI, 2 * self.plan.action) };
        self.after(delay, Happening::Act(client));
        match self.clients[client].phase {
            Phase::Offline => self.act_offline(client),
            Phase::Connecting => self.maybe_give_up(client),
            Phase::Online if self.calm => self.act_calm(client),
            Phase::Online => self.act_online(client),
        }
    }

    fn act_offline(&mut self, client: usize) {
        let persona = &self.clients[client].persona;
        let clean_percent = if self.calm { 0 } else { persona.clean_percent };
        if self.engine.is_some() && (!self.calm || persona.is_persistent()) {
            let clean = self.chance.percent(clean_percent);
            self.connect(client, clean);
        }
    }

    /// A client that waits for CONNACK now and then loses its connection or its patience.
    fn maybe_give_up(&mut self, client: usize) {
        if !self.calm && self.chance.below(1_000) < self.plan.cuts {
            self.end_link(client, End::Cut);
        }
    }

    fn act_calm(&mut self, client: usize) {
        let link = self.clients[client].link;
        if self.links.get(&link).is_some_and(|link| link.stalled) {
            self.after(0, Happening::Unstall(link));
        }
        let mut effects = Effects::default();
        let persona = &self.clients[client].persona;
        if persona.name == "audit" {
            if !self.clients[client].has_begun() && self.clients[client].waits_for().is_none() {
                self.clients[client].subscribe_to_all(&mut effects);
            }
        } else if self.clients[client].has_begun() || self.auditing && persona.is_rival() {
            self.clients[client].ping(&mut effects);
        } else {
            self.clients[client].subscribe(&mut self.chance, &mut effects);
        }
        self.apply(client, effects);
    }

    fn act_online(&mut self, client: usize) {
        let plan = &self.plan;
        let ends = [
            plan.cuts,
            plan.vanishes,
            plan.take_overs,
            plan.stalls,
            plan.disconnects,
            plan.garbage,
        ];
        let mut dice = self.chance.below(1_000);
        for (kind, share) in ends.into_iter().enumerate() {
            if dice < share {
                return self.disturb(client, kind);
            }
            dice -= share;
        }
        let mut effects = Effects::default();
        let eager = self.clients[client].persona.eager;
        if self.clients[client].has_begun() {
            self.speak(client, &mut effects);
        } else if self.chance.percent(eager) {
            self.clients[client].subscribe(&mut self.chance, &mut effects);
        }
        self.apply(client, effects);
    }

    fn speak(&mut self, client: usize, effects: &mut Effects) {
        let known = &mut self.clients[client];
        let chance = &mut self.chance;
        match chance.below(21) {
            20 if known.persona.version.is_v5() => self.cancel(client, effects),
            0 if !known.persona.stable => known.subscribe(chance, effects),
            1 if !known.persona.stable && known.persona.share.is_none() => {
                known.unsubscribe(chance, effects);
            }
            1 if chance.percent(20) => known.unsubscribe(chance, effects),
            2 => known.ping(effects),
            _ if known.persona.publishes && self.next_number < MESSAGES_MAX => {
                for _ in 0..chance.between(1, 4) {
                    self.next_number += 1;
                    known.publish(self.next_number, chance, effects);
                }
            }
            _ => known.ping(effects),
        }
    }

    /// Asks to cancel a delayed message that a list would show.
    fn cancel(&mut self, client: usize, effects: &mut Effects) {
        let known = self.engine.as_ref().map(Engine::delayed).unwrap_or_default();
        if known.is_empty() {
            return;
        }
        let (id, message) = self.chance.pick(&known).clone();
        let Some(cancelled) = number_in(&message.payload()) else { return };
        self.next_number += 1;
        let number = self.next_number;
        self.clients[client].cancel(number, (id, cancelled), &mut self.chance, effects);
    }

    fn disturb(&mut self, client: usize, kind: usize) {
        match kind {
            0 => self.end_link(client, End::Cut),
            1 => self.end_link(client, End::Vanished),
            2 => {
                let clean = self.chance.percent(self.clients[client].persona.clean_percent);
                self.connect(client, clean);
            }
            3 => self.stall(client),
            4 => {
                let mut effects = Effects::default();
                self.clients[client].disconnect(&mut self.chance, &mut effects);
                self.apply(client, effects);
                self.end_link(client, End::Closed);
            }
            _ => {
                let mut effects = Effects::default();
                Client::send_garbage(&mut self.chance, &mut effects);
                // What follows it is not read any more.
                let number = self.clients[client].link;
                if let Some(link) = self.links.get_mut(&number) {
                    link.truncated = true;
                }
                self.apply(client, effects);
            }
        }
    }

    fn stall(&mut self, client: usize) {
        let number = self.clients[client].link;
        if let Some(link) = self.links.get_mut(&number) {
            link.stalled = true;
            let delay = self.chance.delay(10 * MILLI, 8 * SECOND);
            self.after(delay, Happening::Unstall(number));
        }
    }

    pub(super) fn crash_by_plan(&mut self) {
        if self.plan.crash > 0 && !self.calm {
            let delay = self.chance.delay(10 * MILLI, 2 * self.plan.crash);
            self.after(delay, Happening::Crash);
        }
        // A process that ends because its disk has failed is not asked, and none is asked twice.
        let ends = self.plan.settings.broker.on_write_failure == OnWriteFailure::Exit;
        let asks = self
            .engine
            .as_ref()
            .is_some_and(|engine| !(ends && engine.storage_state() == StorageState::ReadOnly))
            && !self.stops;
        if self.chance.percent(self.plan.stop_percent) && !self.calm && asks {
            self.trace.line(self.now, format_args!("asked to stop"));
            self.stops = true;
            self.after(STOPPING_MAX + 4 * self.plan.commit, Happening::StopOverdue(self.life));
            return self.event(Event::Stop);
        }
        self.crash();
    }

    /// The broker has done all that an orderly end demands: the process exits, and nothing is lost.
    pub(super) fn stopped(&mut self, life: u32) {
        if life == self.life && self.engine.is_some() {
            self.work.clear();
            self.end_process(false);
        }
    }

    pub(super) fn stop_overdue(&mut self, life: u32) {
        if life != self.life || self.engine.is_none() {
            return;
        }
        if self.has_been_full() {
            // A full disk holds it up until there is space.
            self.crash();
        } else {
            self.violations.push("the broker was asked to stop and has not".to_owned());
        }
    }

    /// The broker ends, in the middle of whatever it was doing.
    fn crash(&mut self) {
        if self.engine.is_none() {
            return;
        }
        self.interrupt_work();
        let power = self.chance.percent(self.plan.power_percent);
        self.end_process(power);
    }

    /// The process is gone, and with `power` what was not synced.
    fn end_process(&mut self, power: bool) {
        self.fact(&Fact::Crashed);
        let now = self.timestamp();
        self.died_at = self.engine.take().map(|engine| (self.now, engine.own_time(now)));
        self.forget_life();
        self.lose_what_is_not_synced(power);
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| !link.over).map(|(number, _)| *number).collect();
        for number in links {
            if let Some(link) = self.links.get_mut(&number) {
                link.broker_died(&mut self.chance);
                link.stalled = false;
            }
            self.schedule_down(number);
            let delay = self.chance.delay(0, SECOND);
            self.after(delay, Happening::Ended(number));
        }
        let delay = self.chance.delay(MILLI, 2 * SECOND);
        self.after(delay, Happening::Start);
    }

    /// Work under way at the moment of the crash is done, not done, or half done.
    fn interrupt_work(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        for work in std::mem::take(&mut self.work).into_values() {
            if matches!(work, Work::Fetch(..) | Work::Verify(..)) {
                continue;
            }
            match self.chance.below(3) {
                0 => {}
                1 => drop(engine.run(work)),
                _ => {
                    let operation = *self.chance.pick(&[Operation::Write, Operation::Sync]);
                    let after = self.chance.below(3);
                    self.disk.inject(Injection {
                        operation,
                        after,
                        failure: Failure::Io,
                        sticky: true,
                    });
                    drop(engine.run(work));
                }
            }
        }
        self.disk.heal();
    }

    fn lose_what_is_not_synced(&mut self, power: bool) {
        if power {
            self.disk.crash(self.chance.bits());
            let kept = self.chance.index(self.states.unsynced() + 1);
            self.states.crash(kept);
        } else {
            self.disk.kill();
        }
        match self.chance.below(20) {
            0 | 1 => self.states.delete(),
            2 => self.states.damage(),
            _ => {}
        }
    }

    /// The broker starts on what is left, unless it dies again while it does.
    pub(super) fn start(&mut self) {
        if self.engine.is_some() {
            return;
        }
        self.disk.set_capacity(None);
        let dies = self.life > 0 && !self.calm && self.chance.percent(15);
        if dies {
            let operation =
                *self.chance.pick(&[Operation::Write, Operation::Sync, Operation::Read]);
            let after = self.chance.below(6);
            self.disk.inject(Injection { operation, after, failure: Failure::Io, sticky: true });
        }
        let now = self.timestamp();
        let wall = self.wall();
        let opened = Engine::open(&self.disk, &self.states, &self.plan.settings, now, wall);
        self.disk.heal();
        if dies {
            drop(opened);
            let power = self.chance.percent(self.plan.power_percent);
            self.lose_what_is_not_synced(power);
            let delay = self.chance.delay(MILLI, SECOND);
            return self.after(delay, Happening::Start);
        }
        match opened {
            Ok((engine, summary)) => {
                self.trace.line(
                    self.now,
                    format_args!("started: {:?} {:?}", summary.log, summary.checkpoint),
                );
                if !summary.damage.is_empty() || !summary.log.damage.is_empty() {
                    self.violations.push(format!(
                        "recovery found damage where there was only a crash: {summary:?}"
                    ));
                }
                self.clock_found = summary.clock;
                self.engine = Some(engine);
            }
            Err(error) => {
                return self.violations.push(format!("the broker does not start again: {error}"));
            }
        }
        self.check_promised();
        self.tell_clock();
        self.fact(&Fact::Recovered);
        self.event(Event::Tick);
    }

    /// What the wall says at a start.
    fn wall(&mut self) -> Timestamp {
        if self.plan.clock_jumps && self.life > 0 && self.chance.percent(50) {
            self.skew = *self.chance.pick(&[0, HOUR, -HOUR, TEN_YEARS, -TEN_YEARS]);
        }
        Timestamp::from_micros(self.now.saturating_add_signed(self.skew))
    }

    /// Tells the checker how much more or less time than is true has passed for the broker, as `data.clock_jump_max` has it; and
    /// looks that time has not gone back in the log.
    fn tell_clock(&mut self) {
        let (now, wall) = (self.timestamp(), self.now.saturating_add_signed(self.skew));
        let Some(engine) = &mut self.engine else { return };
        let mut latest = Timestamp::EPOCH;
        let mut back = None;
        engine.records(&mut |record| {
            if record.timestamp < latest {
                back = back.or(Some(record.offset));
            }
            latest = latest.max(record.timestamp);
        });
        if let Some(offset) = back {
            self.violations.push(format!("time goes back in the log at offset {offset}"));
        }
        let (believed, behind) = (CLOCK_JUMP_MAX.as_micros(), wall < latest.as_micros());
        let ahead = u128::from(wall.saturating_sub(latest.as_micros())) > believed;
        let found = match self.clock_found {
            ClockFound::Agrees => !ahead && !behind || latest == Timestamp::EPOCH,
            ClockFound::Behind { .. } => behind,
            ClockFound::Ahead { .. } => ahead,
        };
        if self.plan.clock_jumps && !found {
            let found = self.clock_found;
            self.violations.push(format!("the wall says {wall}, the log {latest}: {found}"));
        }
        let (Some((died_at, own)), true) = (self.died_at, self.plan.clock_jumps) else { return };
        let believed = u64::try_from(believed).unwrap();
        let counts = wall.saturating_sub(latest.as_micros()).min(believed);
        let passed = (latest + Duration::from_micros(counts)).as_micros();
        let truly = own.as_micros() + (self.now - died_at);
        self.trace.line(self.now, format_args!("clock: {} at {now}", engine.own_time(now)));
        self.checker.clock_jumped(passed.saturating_sub(truly), truly.saturating_sub(passed));
    }

    /// What was acknowledged before the crash is in the log after it.
    fn check_promised(&mut self) {
        if self.plan.retains {
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        let mut missing = self.promised.clone();
        engine.records(&mut |record| {
            if let Some(message) = MessageView::from_record(&record)
                && let Some(number) = number_in(message.payload)
            {
                missing.remove(&number);
            }
        });
        if let Some(number) = missing.first() {
            self.violations.push(format!(
                "message {number} was acknowledged, and is not in the log after the crash"
            ));
        }
    }

    /// The disk fails once, or is full for a while.
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let delay = self.chance.delay(100 * MILLI, 2 * self.plan.disk_fault.max(2 * SECOND));
        self.after(delay, Happening::Fault);
        if self.engine.is_none() {
            return;
        }
        if self.plan.fills {
            self.note_full();
            let room = self.chance.below(2_000);
            let full = self.chance.percent(50);
            self.disk.set_capacity(full.then(|| self.disk.used_bytes() + room));
        }
        if self.plan.read_faults {
            let (operation, after) = (Operation::Read, self.chance.below(4));
            self.disk.inject(Injection { operation, after, failure: Failure::Io, sticky: false });
        }
        if self.plan.disk_fault > 0 {
            let operation = *self.chance.pick(&[Operation::Write, Operation::Sync]);
            let after = self.chance.below(4);
            self.disk.inject(Injection { operation, after, failure: Failure::Io, sticky: false });
        }
    }
}
