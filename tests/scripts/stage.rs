//! Where a script is played: a broker in memory, a clock that only `wait` moves, and clients that do what they are told.
//!
//! ```text
//! sync                 makes the commit that is pending durable, and what follows from that
//! autosync [off]       every commit at once from here on, with the one that is pending; or no more
//! wait 1500ms|2s       lets time pass, with everything that is due in it, moment by moment
//! wall +3600s|-10s     how far the wall clock is off when the broker starts the next time
//! disk full [bytes]    the disk takes so many bytes more (none); `disk ok` heals it
//! disk fails read|sync every read, or every sync, fails from here on
//! sys name             what `$SYS/broker/name` says
//! crash                cuts the power: the broker starts again from what is durable
//! kill                 ends the process: the broker starts again from what was written
//! drop c1              cuts a client's connection
//! stall c1 / read c1   the client's transport takes nothing more / takes everything again
//! repeat n command     the command so many times
//! log on               prints appended messages as `append topic@offset`, those that are kept back as `keep topic@offset`
//! show limits|reasons  see print.rs
//! set name=value       an option of the broker; before the first connection, or before a crash
//! passwords|acl text   a line of the password file or the ACL file; before the first connection
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use tidelog::broker;
use tidelog::broker::ConnectionId;
use tidelog::broker::Event;
use tidelog::broker::GroupOptions;
use tidelog::broker::OnWriteFailure;
use tidelog::broker::Output;
use tidelog::commitlog;
use tidelog::commitlog::disk::MemoryDisk;
use tidelog::commitlog::disk::memory::Failure;
use tidelog::commitlog::disk::memory::Injection;
use tidelog::commitlog::disk::memory::Operation;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::Packet;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::TopicFilter;
use tidelog::session::Commit;
use tidelog::session::Start;
use tidelog::session::Strategy;
use tidelog::store;
use tidelog::store::Kind;
use tidelog::store::MemoryStateStore;
use tidelog::store::MessageView;
use tidelog::time::Timestamp;

use crate::command;
use crate::command::Words;
use crate::engine::Engine;
use crate::engine::Settings;
use crate::engine::Sorted;
use crate::engine::Work;
use crate::engine::origin;
use crate::engine::work_of;
use crate::hex;
use crate::print;
use crate::print::Show;

/// When every script begins, in seconds after the Unix epoch.
const BEGINNING: u64 = 1_700_000_000;

/// One client's connection.
struct Line {
    connection: ConnectionId,
    version: ProtocolVersion,
    decoder: Decoder,
    received: BytesMut,
    input: BytesMut,
    paused: bool,
    stalled: bool,
    /// Bytes that a stalled transport holds.
    held: usize,
}

/// See the module's page.
pub(crate) struct Stage {
    now: u64,
    settings: Settings,
    disk: MemoryDisk,
    states: MemoryStateStore,
    engine: Option<Engine>,
    lines: BTreeMap<String, Line>,
    names: BTreeSet<String>,
    next_connection: u64,
    /// How far the wall clock is off at the next start, in microseconds.
    skew: i64,
    /// A commit that waits for `sync`.
    commit: Option<Work>,
    autosync: bool,
    log: bool,
    show: Show,
    events: Vec<String>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let broker = broker::Options { sys_interval: Duration::ZERO, ..broker::Options::default() };
        let log = commitlog::Options {
            segment_bytes: 64 << 10,
            preallocate: false,
            ..commitlog::Options::default()
        };
        let store = store::Options { log, ..store::Options::default() };
        Self {
            now: BEGINNING * 1_000_000,
            settings: Settings { broker, store, passwords: None, acl: None },
            disk: MemoryDisk::new(),
            states: MemoryStateStore::new(),
            engine: None,
            lines: BTreeMap::new(),
            names: BTreeSet::new(),
            next_connection: 0,
            skew: 0,
            commit: None,
            autosync: false,
            log: false,
            show: Show::default(),
            events: Vec::new(),
        }
    }

    /// What happened since the last call: each client's part in its order, the clients by name. Between clients
    /// there is no order that a script could rely on.
    pub(crate) fn take_events(&mut self) -> Vec<String> {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| {
            let who = event.split(' ').next().unwrap_or_default();
            if self.names.contains(who) { who.to_owned() } else { String::new() }
        });
        events
    }

    /// Does what a line says.
    pub(crate) fn command(&mut self, line: &str) {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let name = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        match (name, rest.as_slice()) {
            ("set", [setting]) => self.set(setting),
            ("passwords", text) => add_line(&mut self.settings.passwords, &text.join(" ")),
            ("acl", text) => add_line(&mut self.settings.acl, &text.join(" ")),
            ("show", ["limits"]) => self.show.limits = true,
            ("show", ["reasons"]) => self.show.reasons = true,
            ("log", ["on"]) => self.log = true,
            ("autosync", []) => {
                self.autosync = true;
                self.sync();
            }
            ("autosync", ["off"]) => self.autosync = false,
            ("sync", []) => self.sync(),
            ("wait", [time]) => self.wait(micros(time)),
            ("repeat", [times, command @ ..]) => {
                (0..times.parse().unwrap()).for_each(|_| self.command(&command.join(" ")));
            }
            ("crash", []) => self.restart(true),
            ("kill", []) => self.restart(false),
            ("wall", [time]) => self.skew = skew(time),
            ("disk", words) => self.break_disk(words),
            ("sys", [topic]) => self.show_sys(topic),
            ("stop", []) => self.event(Event::Stop),
            (name, [client, words @ ..]) => {
                self.client_command(name, client, &Words(words.to_vec()));
            }
            (name, []) => panic!("what is {name}?"),
        }
    }

    fn client_command(&mut self, name: &str, client: &str, words: &Words<'_>) {
        let packet = match name {
            "connect" => {
                self.open(client, command::version(words));
                command::connect(client, words)
            }
            "open" => return self.open(client, command::version(words)),
            "publish" => command::publish(words),
            "subscribe" => command::subscribe(words),
            "unsubscribe" => command::unsubscribe(words),
            "puback" | "pubrec" | "pubrel" | "pubcomp" => command::ack(name, words),
            "ping" => Packet::Pingreq,
            "auth" => command::auth(words),
            "disconnect" => command::disconnect(words),
            "raw" => return self.send(client, &hex::decode(&words.0.concat())),
            "drop" => return self.drop_line(client),
            "stall" => return self.line(client).stalled = true,
            "read" => return self.read(client),
            other => panic!("what is {other}?"),
        };
        let mut bytes = BytesMut::new();
        packet.encode(self.line(client).version, &mut bytes).unwrap();
        self.send(client, &bytes);
    }

    fn line(&mut self, client: &str) -> &mut Line {
        self.lines.get_mut(client).unwrap_or_else(|| panic!("{client} is not connected"))
    }

    fn set(&mut self, setting: &str) {
        let (name, value) = setting.split_once('=').expect("set name=value");
        let number = || value.parse::<u32>().unwrap();
        let options = &mut self.settings.broker;
        match name {
            "receive_maximum" => options.session.receive_maximum = value.parse().unwrap(),
            "in_flight_max" => options.session.in_flight_max = value.parse().unwrap(),
            "packet_size_max" => options.session.packet_size_max = value.parse().unwrap(),
            "topic_alias_maximum" => options.session.topic_alias_maximum = value.parse().unwrap(),
            "keep_alive_max" => options.session.keep_alive_max = Some(value.parse().unwrap()),
            "session_expiry_max" => options.session.session_expiry_max = number(),
            "sys_interval" => options.sys_interval = Duration::from_secs(number().into()),
            "output_bytes_max" => options.output_bytes_max = value.parse().unwrap(),
            "pending_bytes_max" => options.pending_bytes_max = value.parse().unwrap(),
            "report_undelivered" => {
                options.report_undelivered =
                    value.split(',').map(|filter| TopicFilter::try_from(filter).unwrap()).collect();
            }
            "log_qos0" => options.log_qos0 = value == "true",
            "delayed_max" => options.delayed_max = value.parse().unwrap(),
            "uncommitted_max" => options.uncommitted_max = value.parse().unwrap(),
            "groups_max" => options.groups_max = value.parse().unwrap(),
            "group" => options.groups.push(group(value)),
            "read_only" => options.on_write_failure = OnWriteFailure::ReadOnly,
            "reserve_bytes" => self.settings.store.log.reserve_bytes = value.parse().unwrap(),
            "clock_jump_max" => {
                self.settings.store.clock_jump_max = Duration::from_secs(value.parse().unwrap());
            }
            "tail_bytes_max" => self.settings.store.log.tail_bytes_max = value.parse().unwrap(),
            "segment_bytes" => self.settings.store.log.segment_bytes = value.parse().unwrap(),
            "retention_bytes" => {
                self.settings.store.log.retention_bytes = Some(value.parse().unwrap());
            }
            "check_payload_format" => options.check_payload_format = value == "true",
            other => panic!("what is {other}?"),
        }
    }

    fn engine(&mut self) -> &mut Engine {
        if self.engine.is_none() {
            self.start();
        }
        self.engine.as_mut().unwrap()
    }

    fn start(&mut self) {
        let now = Timestamp::from_micros(self.now);
        let wall = Timestamp::from_micros(self.now.saturating_add_signed(self.skew));
        let opened = Engine::open(&self.disk, &self.states, &self.settings, now, wall);
        self.engine = Some(opened.unwrap().0);
        self.event(Event::Tick);
    }

    fn open(&mut self, client: &str, version: ProtocolVersion) {
        self.next_connection += 1;
        self.names.insert(client.to_owned());
        let connection = ConnectionId(self.next_connection);
        let line = Line {
            connection,
            version,
            decoder: Decoder::for_client(version, 1 << 28),
            received: BytesMut::new(),
            input: BytesMut::new(),
            paused: false,
            stalled: false,
            held: 0,
        };
        self.event(Event::Opened { connection, origin: origin() });
        let old = self.lines.insert(client.to_owned(), line);
        assert!(old.is_none(), "{client} is connected");
    }

    fn send(&mut self, client: &str, bytes: &[u8]) {
        let line = self.line(client);
        line.input.extend_from_slice(bytes);
        self.hand_in(client);
    }

    fn hand_in(&mut self, client: &str) {
        let now = Timestamp::from_micros(self.now);
        let Some(line) = self.lines.get_mut(client).filter(|line| !line.paused) else { return };
        let connection = line.connection;
        let mut input = std::mem::take(&mut line.input);
        let outputs = self.engine().handle(now, Event::Received { connection, input: &mut input });
        if let Some(line) = self.lines.get_mut(client) {
            line.input = input;
        }
        self.outputs(outputs);
    }

    fn event(&mut self, event: Event<'_>) {
        let now = Timestamp::from_micros(self.now);
        let outputs = self.engine().handle(now, event);
        self.outputs(outputs);
    }

    fn outputs(&mut self, outputs: Vec<Output>) {
        let mut slow = Vec::new();
        for output in outputs {
            match work_of(output) {
                Sorted::Work(work) => slow.push(work),
                Sorted::Other(output) => self.output(output),
            }
        }
        // What was written before an answer came is not printed behind it.
        for work in slow {
            let event = self.engine().run(work);
            self.event(event);
        }
        if let Some(work) = self.engine().take_commit() {
            self.begin_commit(work);
        }
    }

    fn begin_commit(&mut self, work: Work) {
        if let (true, Work::Commit(batch)) = (self.log, &work) {
            for record in batch.records() {
                if let Some(message) = MessageView::from_record(&record) {
                    let kept = Kind::from_u8(record.kind) == Some(Kind::Delayed);
                    let what = if kept { "keep" } else { "append" };
                    self.events.push(format!("{what} {}@{}", message.topic, record.offset));
                }
            }
        }
        self.commit = Some(work);
        if self.autosync {
            self.sync();
        }
    }

    fn sync(&mut self) {
        while let Some(work) = self.commit.take() {
            let event = self.engine().run(work);
            self.event(event);
        }
    }

    fn output(&mut self, output: Output) {
        let known = |lines: &BTreeMap<String, Line>, connection: ConnectionId| {
            lines
                .iter()
                .find(|(_, line)| line.connection == connection)
                .map(|(name, _)| name.clone())
        };
        match output {
            Output::Write { connection, chunks } => {
                let Some(name) = known(&self.lines, connection) else { return };
                for bytes in chunks {
                    self.write(&name, &bytes);
                }
            }
            Output::Close { connection } => {
                let Some(name) = known(&self.lines, connection) else { return };
                self.lines.remove(&name);
                self.events.push(format!("{name} closed"));
                self.event(Event::Closed { connection });
            }
            Output::Pause { connection } => {
                if let Some(name) = known(&self.lines, connection) {
                    self.line(&name).paused = true;
                }
            }
            Output::Resume { connection } => {
                if let Some(name) = known(&self.lines, connection) {
                    self.line(&name).paused = false;
                    self.hand_in(&name);
                }
            }
            Output::Stopped => self.events.push("stopped".to_owned()),
            work @ (Output::Fetch { .. }
            | Output::Verify { .. }
            | Output::Checkpoint(_)
            | Output::Truncate(_)
            | Output::Replenish
            | Output::Clean(_)
            | Output::Poisoned(_)) => panic!("{work:?}"),
        }
    }

    fn write(&mut self, client: &str, bytes: &[u8]) {
        let show = self.show;
        let line = self.line(client);
        line.received.extend_from_slice(bytes);
        if line.stalled {
            line.held += bytes.len();
            return;
        }
        let connection = line.connection;
        let mut printed = Vec::new();
        loop {
            match line.decoder.decode(&mut line.received) {
                Ok(Some(packet)) => {
                    printed.push(format!(
                        "{client} <- {}",
                        print::packet(&packet, line.version, show)
                    ));
                }
                Ok(None) => break,
                Err(violation) => {
                    printed.push(format!(
                        "{client} <- what is no packet: {violation:?} in {:02x?}",
                        &line.received[..]
                    ));
                    line.received.clear();
                }
            }
        }
        self.events.extend(printed);
        self.event(Event::Drained { connection, bytes: bytes.len() });
    }

    fn read(&mut self, client: &str) {
        let line = self.line(client);
        line.stalled = false;
        let held = std::mem::take(&mut line.held);
        let received = std::mem::take(&mut line.received);
        assert_eq!(held, received.len(), "a stalled transport holds whole packets");
        self.write(client, &received);
    }

    fn break_disk(&mut self, words: &[&str]) {
        // Whatever is there when the disk fills up is the broker's.
        self.engine();
        let fails =
            |operation| Injection { operation, after: 0, failure: Failure::Io, sticky: true };
        match words {
            ["ok"] => {
                self.disk.set_capacity(None);
                self.disk.heal();
            }
            ["full"] => self.disk.set_capacity(Some(self.disk.used_bytes())),
            ["full", bytes] => {
                let more: u64 = bytes.parse().unwrap();
                self.disk.set_capacity(Some(self.disk.used_bytes() + more));
            }
            ["fails", "read"] => self.disk.inject(fails(Operation::Read)),
            ["fails", "sync"] => self.disk.inject(fails(Operation::Sync)),
            other => panic!("what is {other:?}?"),
        }
    }

    fn show_sys(&mut self, name: &str) {
        let topic = format!("$SYS/broker/{name}");
        let values = self.engine().sys_values();
        let value = values.into_iter().find(|(known, _)| *known == topic);
        self.events.push(format!("{name} is {}", value.map(|(_, value)| value).unwrap()));
    }

    fn drop_line(&mut self, client: &str) {
        let connection = self.line(client).connection;
        self.lines.remove(client);
        self.event(Event::Closed { connection });
    }

    fn restart(&mut self, power: bool) {
        self.engine = None;
        self.commit = None;
        self.lines.clear();
        if power {
            self.disk.crash(0);
            self.states.crash(0);
        } else {
            self.disk.kill();
        }
        self.start();
    }

    fn wait(&mut self, micros: u64) {
        let end = self.now + micros;
        loop {
            let timeout = self.engine().poll_timeout().map(Timestamp::as_micros);
            match timeout.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.event(Event::Tick);
        }
        self.now = end;
        self.event(Event::Tick);
    }
}

fn add_line(text: &mut Option<String>, line: &str) {
    let text = text.get_or_insert_default();
    text.push_str(line);
    text.push('\n');
}

/// `NAME:FROM:STRATEGY:COMMIT:FILTER`, as a group of the options.
fn group(text: &str) -> GroupOptions {
    let parts: Vec<&str> = text.splitn(5, ':').collect();
    let [share, from, strategy, commit, filter] = parts[..] else { panic!("set group={text}") };
    GroupOptions {
        share: share.try_into().unwrap(),
        filter: filter.try_into().unwrap(),
        start: Start::parse(from).unwrap(),
        from: from.try_into().unwrap(),
        strategy: Strategy::from_name(strategy).unwrap(),
        commit: Commit::from_name(commit).unwrap(),
    }
}

fn skew(time: &str) -> i64 {
    let (sign, time) = time.split_at(1);
    let micros = i64::try_from(micros(time)).unwrap();
    if sign == "-" { -micros } else { micros }
}

fn micros(time: &str) -> u64 {
    match time.strip_suffix("ms") {
        Some(millis) => millis.parse::<u64>().unwrap() * 1_000,
        None => time.strip_suffix('s').unwrap().parse::<u64>().unwrap() * 1_000_000,
    }
}
