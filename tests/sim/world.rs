//! One world: a broker, its disk, its network and its clients, under one clock and one seed.
//!
//! ```text
//!   heap of happenings, by time ──► one at a time ──► broker (events in, outputs out)
//!            ▲                             │          clients (packets in, effects out)
//!            └──── delays from the seed ───┘          links, disk, checker
//! ```
//!
//! Nothing here reads a clock or draws chance from anywhere but the seed, so a seed is a history.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use tidelog::broker::ConnectionId;
use tidelog::broker::Event;
use tidelog::broker::Output;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ReasonCode;
use tidelog::store::ClockFound;
use tidelog::store::MemoryStateStore;
use tidelog::time::Timestamp;

use crate::chance::Chance;
use crate::checker::Checker;
use crate::checker::Fact;
use crate::checker::Slack;
use crate::client::Client;
use crate::client::Effects;
use crate::client::Phase;
use crate::engine::Engine;
use crate::engine::Sorted;
use crate::engine::Work;
use crate::engine::origin;
use crate::engine::work_of;
use crate::network::End;
use crate::network::Link;
use crate::plan::MILLI;
use crate::plan::Plan;
use crate::plan::SECOND;
use crate::trace::Trace;
use crate::watch;

/// When the world begins, in seconds after the Unix epoch.
const BEGINNING: u64 = 1_700_000_000;

/// How long it takes, after the storm, until everybody has everything.
const SETTLING: u64 = 60 * SECOND;

/// How late who commits may be, in microseconds.
const COMMIT_LATE: u64 = 200;

/// How long the auditor may take.
const AUDITING: u64 = 10 * SECOND;

/// Bytes of answers that may be on their way to a client beyond the deliveries that are limited, and the largest delivery.
const ANSWERS_MAX: usize = 8 << 10;

/// A thing that happens at its time. Those of the broker carry the life of the process they belong to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The broker's timers.
    Tick(u32),
    /// Somebody commits.
    Commit(u32),
    /// Slow work is done.
    Done(u32, u64),
    /// Bytes move to the broker.
    Up(u64),
    /// Bytes move to the client.
    Down(u64),
    /// The broker learns that a connection is gone.
    Gone(u64),
    /// The client learns it.
    Ended(u64),
    /// A client does something.
    Act(usize),
    /// A client answers.
    Answer(usize),
    /// A client reads again.
    Unstall(u64),
    /// The power is cut, or the process killed.
    Crash,
    /// The broker has ended in good order.
    Stopped(u32),
    /// It should have by now.
    StopOverdue(u32),
    /// The broker starts.
    Start,
    /// The disk fails, or is full.
    Fault,
    /// The storm is over.
    Calm,
    /// Somebody new looks at what is retained.
    Audit,
    /// The end.
    Finish,
}

/// See the module's page.
pub(crate) struct World {
    pub(super) now: u64,
    pub(super) chance: Chance,
    pub(super) plan: Plan,
    pub(super) heap: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    pub(super) engine: Option<Engine>,
    /// Counts the broker's lives.
    pub(super) life: u32,
    pub(super) disk: MemoryDisk,
    pub(super) states: MemoryStateStore,
    pub(super) work: BTreeMap<u64, Work>,
    next_work: u64,
    tick_at: Option<u64>,
    /// Somebody is about to commit.
    commit_coming: bool,
    pub(super) links: BTreeMap<u64, Link>,
    /// What decodes the broker's words as they leave it.
    taps: BTreeMap<u64, (Decoder, bytes::BytesMut)>,
    next_link: u64,
    pub(super) clients: Vec<Client>,
    answering: BTreeSet<usize>,
    pub(super) next_number: u64,
    /// Messages that the broker has said it has.
    pub(super) promised: BTreeSet<u64>,
    pub(super) calm: bool,
    /// The end is near: nobody asks for what another has, which would have no answer yet when it comes.
    pub(super) auditing: bool,
    pub(super) checker: Checker,
    pub(super) trace: Trace,
    pub(super) violations: Vec<String>,
    finished: bool,
    full: bool,
    /// The last of the broker's lives in which its disk failed.
    pub(super) read_only_life: u32,
    /// The broker was asked to stop.
    pub(super) stops: bool,
    /// How far the wall clock is off, in microseconds.
    pub(super) skew: i64,
    /// What the last start found of it.
    pub(super) clock_found: ClockFound,
    /// When the broker died, by the world's time and by its own.
    pub(super) died_at: Option<(u64, Timestamp)>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) hash: u64,
    /// The last lines of the history.
    pub(crate) tail: String,
}

impl World {
    pub(crate) fn new(seed: u64, prints: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        let settling = 5 * SECOND + 3 * plan.commit;
        let mut checker = Checker::new(Slack { settling, ..Slack::default() });
        if plan.retains {
            checker.allow_forgetting();
        }
        if plan.fills {
            checker.allow_refusals();
        }
        if plan.fills || plan.disk_fault > 0 {
            checker.allow_refused_subscriptions();
        }
        let clients = plan.personas.iter().cloned().map(Client::new).collect();
        Self {
            now: BEGINNING * SECOND,
            chance,
            plan,
            heap: BTreeMap::new(),
            happenings: 0,
            engine: None,
            life: 0,
            disk: MemoryDisk::new(),
            states: MemoryStateStore::new(),
            work: BTreeMap::new(),
            next_work: 0,
            tick_at: None,
            commit_coming: false,
            links: BTreeMap::new(),
            taps: BTreeMap::new(),
            next_link: 0,
            clients,
            answering: BTreeSet::new(),
            next_number: 0,
            promised: BTreeSet::new(),
            calm: false,
            auditing: false,
            checker,
            trace: Trace::new(prints),
            violations: Vec::new(),
            finished: false,
            full: false,
            read_only_life: u32::MAX,
            stops: false,
            skew: 0,
            clock_found: ClockFound::Agrees,
            died_at: None,
        }
    }

    /// Runs to the end, or to the first thing that is wrong.
    pub(crate) fn run(mut self) -> Outcome {
        self.start();
        for client in 0..self.clients.len() {
            let delay = self.chance.below(SECOND);
            self.after(delay, Happening::Act(client));
        }
        if self.plan.crash > 0 {
            let delay = self.chance.delay(0, 2 * self.plan.crash);
            self.after(delay, Happening::Crash);
        }
        if self.plan.disk_fault > 0 || self.plan.fills || self.plan.read_faults {
            let delay = self.chance.below(5 * SECOND);
            self.after(delay, Happening::Fault);
        }
        self.after(self.plan.length, Happening::Calm);
        while let Some(((at, _), happening)) = self.heap.pop_first() {
            self.now = at;
            self.happen(happening);
            self.violations.extend(self.checker.violations().iter().cloned());
            if self.finished || !self.violations.is_empty() {
                break;
            }
        }
        Outcome { violations: self.violations, hash: self.trace.hash(), tail: self.trace.tail() }
    }

    pub(super) fn after(&mut self, delay: u64, happening: Happening) {
        self.happenings += 1;
        self.heap.insert((self.now + delay, self.happenings), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(life) => self.tick(life),
            Happening::Commit(life) => self.commit(life),
            Happening::Done(life, work) => self.done(life, work),
            Happening::Up(link) => self.move_up(link),
            Happening::Down(link) => self.move_down(link),
            Happening::Gone(link) => self.tell_gone(link),
            Happening::Ended(link) => self.ended(link),
            Happening::Act(client) => self.act(client),
            Happening::Answer(client) => self.answer(client),
            Happening::Unstall(link) => self.unstall(link),
            Happening::Crash => self.crash_by_plan(),
            Happening::Stopped(life) => self.stopped(life),
            Happening::StopOverdue(life) => self.stop_overdue(life),
            Happening::Start => self.start(),
            Happening::Fault => self.fault(),
            Happening::Calm => self.begin_calm(),
            Happening::Audit => self.audit(),
            Happening::Finish => self.finish(),
        }
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    pub(super) fn fact(&mut self, fact: &Fact) {
        self.trace.line(self.now, format_args!("{fact:?}"));
        self.checker.observe(self.now, fact);
    }

    /// Hands an event to the broker, if it lives, and does what it wants done.
    pub(super) fn event(&mut self, event: Event<'_>) {
        let now = self.timestamp();
        let Some(engine) = &mut self.engine else { return };
        let outputs = engine.handle(now, event);
        for output in outputs {
            self.output(output);
        }
        self.see_to_what_comes();
    }

    fn see_to_what_comes(&mut self) {
        self.see_to_commit();
        self.set_tick();
    }

    /// Who commits may be a little late, and gets more.
    fn see_to_commit(&mut self) {
        let wants = self.engine.as_ref().is_some_and(Engine::wants_commit);
        if wants && !self.commit_coming {
            self.commit_coming = true;
            let delay = self.chance.delay(0, COMMIT_LATE);
            self.after(delay, Happening::Commit(self.life));
        }
    }

    fn commit(&mut self, life: u32) {
        if life != self.life {
            return;
        }
        self.commit_coming = false;
        if let Some(work) = self.engine.as_mut().and_then(Engine::take_commit) {
            self.begin(work);
        }
    }

    fn set_tick(&mut self) {
        let Some(timeout) = self.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let at = timeout.as_micros().max(self.now);
        if self.tick_at.is_none_or(|set| at < set) {
            self.tick_at = Some(at);
            let life = self.life;
            self.after(at - self.now, Happening::Tick(life));
        }
    }

    fn tick(&mut self, life: u32) {
        if life == self.life && self.tick_at.is_some_and(|at| at <= self.now) {
            self.tick_at = None;
            self.event(Event::Tick);
            self.check_keep_alive();
            self.check_bounds();
        }
    }

    fn output(&mut self, output: Output) {
        match work_of(output) {
            Sorted::Work(work) => self.begin(work),
            Sorted::Other(Output::Write { connection, chunks }) => {
                for bytes in chunks {
                    self.write(connection.0, &bytes);
                }
            }
            Sorted::Other(Output::Close { connection }) => self.server_closes(connection.0),
            Sorted::Other(Output::Pause { connection }) => self.set_paused(connection.0, true),
            Sorted::Other(Output::Resume { connection }) => self.set_paused(connection.0, false),
            Sorted::Other(Output::Stopped) => self.after(0, Happening::Stopped(self.life)),
            Sorted::Other(Output::Poisoned(error)) => {
                self.trace.line(self.now, format_args!("poisoned: {error}"));
                self.after(0, Happening::Crash);
            }
            Sorted::Other(
                Output::Fetch { .. }
                | Output::Verify { .. }
                | Output::Checkpoint(_)
                | Output::Truncate(_)
                | Output::Replenish
                | Output::Clean(_),
            ) => {}
        }
    }

    fn begin(&mut self, work: Work) {
        let longest =
            if matches!(work, Work::Commit(_)) { self.plan.commit } else { self.plan.work };
        let delay = self.chance.delay(50, longest);
        if let Work::Fetch(ticket, request) = &work {
            self.trace.line(self.now, format_args!("fetch {ticket}: {request:?}"));
        }
        self.next_work += 1;
        self.work.insert(self.next_work, work);
        self.after(delay, Happening::Done(self.life, self.next_work));
    }

    fn done(&mut self, life: u32, number: u64) {
        if life != self.life {
            return;
        }
        let (Some(work), Some(engine)) = (self.work.remove(&number), &mut self.engine) else {
            return;
        };
        let committed = matches!(work, Work::Commit(_));
        let event = engine.run(work);
        if let Event::Fetched { ticket, result } = &event {
            let told = watch::told(result);
            self.trace.line(self.now, format_args!("fetched {ticket}: {told}"));
        }
        if committed && self.chance.percent(20) {
            engine.maintain();
        }
        self.event(event);
        self.check_bounds();
        if committed {
            self.see_read_only();
        }
    }

    fn write(&mut self, number: u64, bytes: &bytes::Bytes) {
        self.trace.bytes(bytes);
        let now = self.now;
        let Some(link) = self.links.get_mut(&number) else { return };
        link.write(now, bytes.clone());
        let limit = self.plan.settings.broker.output_bytes_max + ANSWERS_MAX;
        if link.undrained > limit {
            let undrained = link.undrained;
            self.violations
                .push(format!("connection {number} holds {undrained} bytes, over {limit}"));
        }
        self.tap(number, bytes);
        self.schedule_down(number);
    }

    /// Looks at what the broker says, as it says it.
    fn tap(&mut self, number: u64, bytes: &bytes::Bytes) {
        let Some((decoder, input)) = self.taps.get_mut(&number) else { return };
        input.extend_from_slice(bytes);
        let mut packets = Vec::new();
        while let Ok(Some(packet)) = decoder.decode(input) {
            packets.push(packet);
        }
        for packet in packets {
            match packet {
                Packet::Puback(ack) | Packet::Pubrec(ack) if !ack.reason_code.is_error() => {
                    self.promise(number, ack.packet_id);
                }
                Packet::Connack(_) => self.connack_said(number),
                Packet::Pingresp => self.pong(number),
                Packet::Disconnect(disconnect)
                    if disconnect.reason_code == ReasonCode::KeepAliveTimeout =>
                {
                    self.check_not_early(number);
                }
                Packet::Connect(_)
                | Packet::Publish(_)
                | Packet::Puback(_)
                | Packet::Pubrec(_)
                | Packet::Pubrel(_)
                | Packet::Pubcomp(_)
                | Packet::Subscribe(_)
                | Packet::Suback(_)
                | Packet::Unsubscribe(_)
                | Packet::Unsuback(_)
                | Packet::Pingreq
                | Packet::Disconnect(_)
                | Packet::Auth(_) => {}
            }
        }
    }

    fn promise(&mut self, number: u64, id: PacketId) {
        let Some(link) = self.links.get(&number) else { return };
        let client = &self.clients[link.client];
        if client.link == number
            && let Some(message) = client.message_of(id)
        {
            // The cleaner takes out what has expired.
            let cleans = !self.plan.settings.broker.clean_interval.is_zero();
            if !(cleans && client.message_expires(id)) {
                self.promised.insert(message);
            }
            if !self.calm && self.chance.below(1_000) < self.plan.crash_at_ack {
                self.after(0, Happening::Crash);
            }
        }
    }

    fn check_not_early(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        let keep_alive = u64::from(self.clients[link.client].persona.keep_alive) * SECOND;
        if self.now + 200 * MILLI < link.heard_at + keep_alive * 3 / 2 {
            self.violations
                .push(format!("connection {number} was closed before its keep-alive had passed"));
        }
    }

    fn set_paused(&mut self, number: u64, paused: bool) {
        self.trace.line(self.now, format_args!("connection {number} paused: {paused}"));
        if let Some(link) = self.links.get_mut(&number) {
            link.paused = paused;
            if !paused {
                link.heard_at = self.now;
                self.schedule_up(number);
            }
        }
    }

    pub(super) fn schedule_up(&mut self, number: u64) {
        let delay = self.chance.delay(10, self.plan.network);
        let Some(link) = self.links.get_mut(&number) else { return };
        if !link.up_moves && !link.over {
            link.up_moves = true;
            self.after(delay, Happening::Up(number));
        }
    }

    pub(super) fn schedule_down(&mut self, number: u64) {
        let delay = self.chance.delay(10, self.plan.network);
        let Some(link) = self.links.get_mut(&number) else { return };
        if !link.down_moves && link.has_down() {
            link.down_moves = true;
            self.after(delay, Happening::Down(number));
        }
    }

    fn move_up(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.up_moves = false;
        if link.over || link.server_closed || self.engine.is_none() {
            return;
        }
        if link.paused {
            // A socket that nobody reads: only a cut is noticed.
            if link.end == Some(End::Cut) {
                self.after(MILLI, Happening::Gone(number));
            }
            return;
        }
        link.move_up(&mut self.chance);
        let mut input = std::mem::take(&mut link.input);
        let before = input.clone();
        if !input.is_empty() {
            let now = self.timestamp();
            let connection = ConnectionId(number);
            let Some(engine) = &mut self.engine else { return };
            let outputs = engine.handle(now, Event::Received { connection, input: &mut input });
            if let Some(link) = self.links.get_mut(&number) {
                link.pings_unanswered += watch::pings(&before[..before.len() - input.len()]);
                if input.len() < before.len() {
                    link.heard_at = self.now;
                }
                link.input = input;
            }
            for output in outputs {
                self.output(output);
            }
            self.see_to_what_comes();
            self.check_pings(number);
        }
        self.after_move_up(number);
    }

    fn after_move_up(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        if link.has_up() {
            self.schedule_up(number);
        } else if matches!(link.end, Some(End::Closed | End::Cut)) && !link.paused {
            let delay = self.chance.delay(0, self.plan.network);
            self.after(delay, Happening::Gone(number));
        }
    }

    fn move_down(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.down_moves = false;
        if !link.has_down() {
            return;
        }
        let client = link.client;
        let moved = link.move_down(&mut self.chance);
        let drained: usize = moved.iter().map(|(_, bytes)| bytes.len()).sum();
        link.undrained -= drained;
        let alive = !link.over && !link.server_closed;
        if alive {
            self.event(Event::Drained { connection: ConnectionId(number), bytes: drained });
        }
        let mut effects = Effects::default();
        if self.clients[client].link == number {
            for (written_at, bytes) in &moved {
                self.clients[client].receive(*written_at, bytes, &mut effects);
            }
        }
        self.apply(client, effects);
        self.schedule_down(number);
        self.see_end(number);
    }

    /// The client learns that the broker closed, once it has read what came before.
    fn see_end(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        if link.server_closed && !link.has_down() && link.end.is_none() {
            let delay = self.chance.delay(0, self.plan.network);
            self.after(delay, Happening::Ended(number));
        }
    }

    fn server_closes(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.over || link.server_closed {
            return;
        }
        link.server_closed = true;
        let read_all = link.read_all() && !self.full;
        self.fact(&Fact::ServerClosed { connection: number, read_all });
        let delay = self.chance.delay(0, 20 * MILLI);
        self.after(delay, Happening::Gone(number));
        self.see_end(number);
    }

    fn tell_gone(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.over || self.engine.is_none() {
            return;
        }
        link.over = true;
        let known = std::mem::replace(&mut link.server_closed, true);
        let read_all = link.read_all() && !self.full;
        self.event(Event::Closed { connection: ConnectionId(number) });
        if !known {
            self.fact(&Fact::ServerClosed { connection: number, read_all });
        }
        self.see_end(number);
    }

    fn ended(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if link.has_down() {
            return self.schedule_down(number);
        }
        let client = link.client;
        link.end(End::Cut, &mut self.chance);
        if self.clients[client].link == number {
            let mut effects = Effects::default();
            self.clients[client].lose(&mut effects);
            self.apply(client, effects);
        }
    }

    fn unstall(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.stalled = false;
            self.schedule_down(number);
            self.see_end(number);
        }
    }

    fn answer(&mut self, client: usize) {
        self.answering.remove(&client);
        let count = usize::try_from(self.chance.between(1, 8)).unwrap();
        let mut effects = Effects::default();
        if self.clients[client].phase == Phase::Online {
            self.clients[client].answer(count, &mut effects);
        }
        self.apply(client, effects);
    }

    /// Does what follows from what a client did.
    pub(super) fn apply(&mut self, client: usize, effects: Effects) {
        for fact in effects.facts {
            self.fact(&fact);
        }
        if let Some(refused) = effects.refused
            && !self.full
        {
            self.violations.push(refused);
        }
        self.violations.extend(effects.problems);
        let number = self.clients[client].link;
        if !effects.bytes.is_empty()
            && let Some(link) = self.links.get_mut(&number)
        {
            link.send(&effects.bytes);
            self.schedule_up(number);
        }
        if effects.closes {
            self.end_link(client, End::Closed);
        }
        if self.clients[client].owes() && self.answering.insert(client) {
            let within = if self.calm { 2 } else { self.clients[client].persona.answers_within };
            let delay = self.chance.delay(0, within * MILLI);
            self.after(delay, Happening::Answer(client));
        }
    }

    /// A client's connection ends on its side.
    pub(super) fn end_link(&mut self, client: usize, end: End) {
        let number = self.clients[client].link;
        let mut effects = Effects::default();
        self.clients[client].lose(&mut effects);
        for fact in effects.facts {
            self.fact(&fact);
        }
        let Some(link) = self.links.get_mut(&number) else { return };
        link.end(end, &mut self.chance);
        if end == End::Vanished {
            let delay = self.chance.between(5, 60) * SECOND;
            self.after(delay, Happening::Gone(number));
        }
        self.schedule_up(number);
    }

    /// A client begins a connection; one that it has is left as it is, without a sign.
    pub(super) fn connect(&mut self, client: usize, clean: bool) {
        if self.engine.is_none() {
            return;
        }
        if self.clients[client].phase != Phase::Offline {
            let old = self.clients[client].link;
            if let Some(link) = self.links.get_mut(&old) {
                link.end(End::Vanished, &mut self.chance);
                let delay = self.chance.between(5, 60) * SECOND;
                self.after(delay, Happening::Gone(old));
                self.schedule_up(old);
            }
        }
        self.next_link += 1;
        self.next_number += 1;
        let (number, will) = (self.next_link, self.next_number);
        self.links.insert(number, Link::new(client, self.now));
        let decoder = Decoder::for_client(self.clients[client].persona.version, 1 << 20);
        self.taps.insert(number, (decoder, bytes::BytesMut::new()));
        self.event(Event::Opened { connection: ConnectionId(number), origin: origin() });
        let mut effects = Effects::default();
        self.clients[client].connect(number, clean, will, &mut effects);
        self.apply(client, effects);
    }

    fn begin_calm(&mut self) {
        self.calm = true;
        // Whatever is left to deliver, through a window of one message if need be, has time enough.
        self.plan.network = MILLI;
        self.plan.commit = MILLI;
        self.plan.work = MILLI;
        self.disk.set_capacity(None);
        self.disk.heal();
        self.see_read_only();
        self.trace.line(self.now, format_args!("calm"));
        self.after(SETTLING, Happening::Audit);
    }

    fn audit(&mut self) {
        let persona = crate::persona::Persona::auditor(&mut self.chance);
        self.clients.push(Client::new(persona));
        let auditor = self.clients.len() - 1;
        self.auditing = true;
        self.connect(auditor, true);
        let connection = self.clients[auditor].link;
        self.fact(&Fact::Auditing { connection });
        self.after(SECOND, Happening::Act(auditor));
        self.after(AUDITING, Happening::Finish);
    }

    fn finish(&mut self) {
        self.finished = true;
        for client in &self.clients {
            let persona = &client.persona;
            if client.phase != Phase::Online {
                if persona.is_persistent() {
                    self.violations.push(format!("{} can't connect any more", persona.name));
                }
            } else if let Some(what) = client.waits_for() {
                self.violations.push(format!("{} still waits for {what}", persona.name));
            }
        }
        if self.violations.is_empty() {
            self.checker.pass_time(self.now);
            self.checker.finish();
        }
    }

    /// Whether the disk was ever full in this run.
    pub(super) fn note_full(&mut self) {
        self.full = true;
    }

    pub(super) fn has_been_full(&self) -> bool {
        self.full
    }

    pub(super) fn forget_life(&mut self) {
        self.life += 1;
        self.stops = false;
        self.commit_coming = false;
        self.tick_at = None;
        self.work.clear();
    }
}
