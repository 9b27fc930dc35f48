//! One client of the load: a model client with a socket.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;

use super::stage::Part;
use crate::chance::Chance;
use crate::checker::Fact;
use crate::client::Client;
use crate::client::Effects;
use crate::client::Phase;
use crate::persona::Persona;

/// How long a client looks for bytes before it does something else.
const GLANCE: Duration = Duration::from_millis(2);

/// How long it waits for the end of a connection that it has given up.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long it waits for bytes of a broker that is said to be dead.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Of a thousand actions, so many end the connection in this way.
const CUTS: u64 = 6;
const TAKE_OVERS: u64 = 6;
const DISCONNECTS: u64 = 6;

/// What a look at the socket brought.
enum Seen {
    Bytes(Bytes),
    Nothing,
    Closed,
}

/// See the module's page.
pub(crate) struct Player {
    client: Client,
    chance: Chance,
    stream: Option<TcpStream>,
    /// The connection before this one, taken over, and its number.
    old: Option<(TcpStream, u64)>,
}

impl Player {
    pub(crate) fn new(persona: Persona, chance: Chance) -> Self {
        Self { client: Client::new(persona), chance, stream: None, old: None }
    }

    /// Does what comes to its mind until the broker dies.
    pub(crate) fn storm(&mut self, part: &Part<'_>) {
        while !part.stage.is_over() {
            match self.client.phase {
                Phase::Offline => {
                    let clean = self.chance.percent(self.client.persona.clean_percent);
                    if !self.connect(part, clean) {
                        part.stage.wait(10 * GLANCE);
                    }
                }
                Phase::Connecting => {}
                Phase::Online => self.act(part),
            }
            self.look(part, GLANCE);
            self.answer(part);
        }
        // What the broker said before it died counts.
        while self.look(part, LAST_WORDS) {}
        self.lose(part, false);
        self.old = None;
    }

    /// Comes back, if its session does, and takes all that is due to it.
    pub(crate) fn calm(&mut self, part: &Part<'_>) {
        while !part.stage.is_over() {
            let waits = match self.client.phase {
                Phase::Offline => self.return_home(part),
                Phase::Connecting => Some("CONNACK".to_owned()),
                Phase::Online => self.tidy_up(part),
            };
            let name = &self.client.persona.name;
            part.waits_for(waits.map(|what| format!("{name} waits for {what}")));
            if !self.look(part, 5 * GLANCE) {
                part.stage.wait(5 * GLANCE);
            }
            self.answer_all(part);
        }
    }

    fn return_home(&mut self, part: &Part<'_>) -> Option<String> {
        let is_auditor = self.client.persona.name == "audit";
        if !self.client.persona.is_persistent() && !is_auditor {
            return None;
        }
        if self.connect(part, false) {
            if is_auditor {
                part.history.tell(&Fact::Auditing { connection: self.client.link });
            }
        } else {
            part.stage.wait(10 * GLANCE);
        }
        Some("a connection".to_owned())
    }

    fn tidy_up(&mut self, part: &Part<'_>) -> Option<String> {
        let waits = self.client.waits_for();
        if waits.is_none() && !self.client.has_begun() {
            let mut effects = Effects::default();
            if self.client.persona.name == "audit" {
                self.client.subscribe_to_all(&mut effects);
            } else {
                self.client.subscribe(&mut self.chance, &mut effects);
            }
            self.apply(part, effects);
            return Some("SUBACK".to_owned());
        }
        if self.chance.percent(1) {
            let mut effects = Effects::default();
            self.client.ping(&mut effects);
            self.apply(part, effects);
        }
        waits
    }

    /// Begins a connection; one that it has is taken over. Whether there is one now.
    fn connect(&mut self, part: &Part<'_>, clean: bool) -> bool {
        let Ok(stream) = TcpStream::connect(part.address) else { return false };
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(FAREWELL)).unwrap();
        self.old = self.stream.replace(stream).map(|old| (old, self.client.link));
        let (link, will) = (part.history.next_link(), part.history.next_number());
        let mut effects = Effects::default();
        self.client.connect(link, clean, will, &mut effects);
        self.apply(part, effects);
        true
    }

    fn act(&mut self, part: &Part<'_>) {
        if let Some((stream, link)) = self.old.take() {
            wait_for_close(part, stream, link, false);
        }
        let dice = self.chance.below(1_000);
        if dice < CUTS {
            return self.cut(part);
        }
        if dice < CUTS + TAKE_OVERS {
            let clean = self.chance.percent(self.client.persona.clean_percent);
            self.connect(part, clean);
            return;
        }
        if dice < CUTS + TAKE_OVERS + DISCONNECTS {
            return self.disconnect(part);
        }
        let mut effects = Effects::default();
        self.speak(part, &mut effects);
        self.apply(part, effects);
    }

    fn speak(&mut self, part: &Part<'_>, effects: &mut Effects) {
        let (client, chance) = (&mut self.client, &mut self.chance);
        if !client.has_begun() {
            if chance.percent(client.persona.eager) {
                client.subscribe(chance, effects);
            }
            return;
        }
        match chance.below(40) {
            0 | 1 if !client.persona.stable => client.subscribe(chance, effects),
            2 if !client.persona.stable => client.unsubscribe(chance, effects),
            3 => client.ping(effects),
            4..=30 if client.persona.publishes => {
                for _ in 0..chance.between(1, 4) {
                    client.publish(part.history.next_number(), chance, effects);
                }
            }
            _ => {}
        }
    }

    /// Ends the connection in good order, and waits for the broker to know.
    fn disconnect(&mut self, part: &Part<'_>) {
        let link = self.client.link;
        let mut effects = Effects::default();
        self.client.disconnect(&mut self.chance, &mut effects);
        self.apply(part, effects);
        if let Some(stream) = self.stream.take() {
            wait_for_close(part, stream, link, true);
        }
    }

    /// Ends the connection without a word, and waits for the broker to know.
    fn cut(&mut self, part: &Part<'_>) {
        let link = self.client.link;
        let stream = self.stream.take();
        self.lose(part, false);
        if let Some(stream) = stream {
            wait_for_close(part, stream, link, false);
        }
    }

    /// Its connection is gone, or given up.
    fn lose(&mut self, part: &Part<'_>, closed: bool) {
        self.stream = None;
        let link = self.client.link;
        let mut effects = Effects::default();
        self.client.lose(&mut effects);
        if closed && !effects.facts.is_empty() {
            effects.facts.push(Fact::ServerClosed { connection: link, read_all: false });
        }
        for fact in &effects.facts {
            part.history.tell(fact);
        }
    }

    /// Takes what has come, within `patience`. Whether the connection is still there.
    fn look(&mut self, part: &Part<'_>, patience: Duration) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match read(stream, patience) {
            Seen::Bytes(bytes) => {
                let mut effects = Effects::default();
                self.client.receive(part.history.now(), &bytes, &mut effects);
                self.apply(part, effects);
                true
            }
            Seen::Nothing => patience < LAST_WORDS,
            Seen::Closed => {
                self.lose(part, true);
                false
            }
        }
    }

    fn answer(&mut self, part: &Part<'_>) {
        let likely = match self.client.persona.answers_within {
            0..=5 => 100,
            6..=50 => 50,
            _ => 5,
        };
        if self.client.phase == Phase::Online && self.chance.percent(likely) {
            let mut effects = Effects::default();
            let count = usize::try_from(self.chance.between(1, 8)).unwrap();
            self.client.answer(count, &mut effects);
            self.apply(part, effects);
        }
    }

    fn answer_all(&mut self, part: &Part<'_>) {
        if self.client.phase == Phase::Online && self.client.owes() {
            let mut effects = Effects::default();
            self.client.answer(usize::MAX, &mut effects);
            self.apply(part, effects);
        }
    }

    /// Tells what it did and saw, then sends what it has to say.
    fn apply(&mut self, part: &Part<'_>, effects: Effects) {
        for fact in &effects.facts {
            part.history.tell(fact);
        }
        for problem in effects.problems {
            part.history.blame(problem);
        }
        let mut stuck = false;
        if let Some(stream) = &mut self.stream
            && !effects.bytes.is_empty()
        {
            // A broker that is gone is seen by the next look, after its last words; one that does not read is given up.
            let written = stream.write_all(&effects.bytes);
            stuck = written.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        }
        if effects.closes || stuck {
            self.lose(part, false);
        }
    }
}

fn read(stream: &mut TcpStream, patience: Duration) -> Seen {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut chunk = [0; 16 << 10];
    match stream.read(&mut chunk) {
        Ok(0) => Seen::Closed,
        Ok(count) => Seen::Bytes(Bytes::copy_from_slice(&chunk[..count])),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Seen::Nothing
        }
        Err(_) => Seen::Closed,
    }
}

/// Sends nothing more, and waits until the broker has read all and closes too.
fn wait_for_close(part: &Part<'_>, mut stream: TcpStream, link: u64, disconnected: bool) {
    stream.shutdown(Shutdown::Write).ok();
    stream.set_read_timeout(Some(FAREWELL)).unwrap();
    let mut rest = [0; 16 << 10];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => {
                let read_all = disconnected && part.history.trusts_closes();
                let closed = Fact::ServerClosed { connection: link, read_all };
                return part.history.tell(&closed);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
