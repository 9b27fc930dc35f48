//! A mixed load for a real broker: model clients on sockets, and the checker that is told all they see.
//!
//! QoS 0 to 2 both ways, retained messages, wills, shared groups, subscriptions that come and go, cuts, take-overs and clean
//! starts, in MQTT 3.1, 3.1.1 and 5.0, drawn from a seed. A [`Load`] lasts over several lives of the broker: [`Load::storm`] runs
//! everybody until the broker is dead, [`Load::settle`] brings everybody to rest on a broker that lives and gives the verdict.
//!
//! One thread is one client. The seed decides what each does; when it happens is the machine's business.

pub(crate) mod cleaning;
mod history;
mod player;
mod stage;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tidelog::mqtt::ProtocolVersion;

use crate::chance::Chance;
use crate::checker::Fact;
use crate::persona::Persona;

pub(crate) use history::History;
use player::Player;
use stage::Part;
use stage::Stage;

/// A broker that brings nothing for so long has nothing more to bring.
const SILENCE: Duration = Duration::from_secs(15);

/// How long all has to be quiet before the verdict, so that what should not come has time to.
const QUIET: Duration = Duration::from_millis(300);

/// How often it is looked whether all is quiet, at most.
const GLANCE: Duration = Duration::from_millis(50);

/// What the clients of a load are like.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    /// Clients beside the witnesses.
    pub(crate) clients: usize,
    /// Bytes of padding in a payload, at most.
    pub(crate) padding: u64,
    /// Percent of the messages that expire.
    pub(crate) expiring: u64,
}

impl Mix {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        Self {
            clients: usize::try_from(chance.between(5, 8)).unwrap(),
            padding: *chance.pick(&[0, 20, 300, 3_000]),
            expiring: 10,
        }
    }

    /// Small messages that soon expire: most of the log is soon dead.
    pub(crate) fn for_cleaning(chance: &mut Chance) -> Self {
        Self { padding: *chance.pick(&[0, 20]), expiring: 70, ..Self::draw(chance) }
    }
}

/// See the module's page.
pub(crate) struct Load {
    history: History,
    players: Vec<Player>,
    chance: Chance,
}

impl Load {
    pub(crate) fn new(seed: u64, mix: Mix) -> Self {
        let mut chance = Chance::new(seed);
        let mut personas: Vec<Persona> = (0..mix.clients)
            .map(|number| Persona::draw(number, mix.padding, &mut chance))
            .map(|persona| quickened(Persona { expiring: mix.expiring, ..persona }))
            .collect();
        personas[0].publishes = true;
        personas[1].publishes = true;
        let witnesses = [
            ("keeper", ProtocolVersion::V5, ["#"].as_slice()),
            ("watcher", ProtocolVersion::V3_1_1, ["w/#", "a/#"].as_slice()),
        ];
        for (name, version, filters) in witnesses {
            personas.push(quickened(Persona::witness(name, version, filters, &mut chance)));
        }
        personas.push(quickened(Persona::replayer("replayer", true, &mut chance)));
        let players = personas
            .into_iter()
            .map(|persona| Player::new(persona, Chance::new(chance.bits())))
            .collect();
        Self { history: History::new(), players, chance }
    }

    /// Runs everybody against a broker while `until` watches, which returns when the broker is dead or dying.
    pub(crate) fn storm(&mut self, address: SocketAddr, until: impl FnOnce(&History)) {
        let stage = Stage::new(self.players.len());
        let history = &self.history;
        thread::scope(|scope| {
            for (number, player) in self.players.iter_mut().enumerate() {
                let part = Part { stage: &stage, number, history, address };
                scope.spawn(move || player.storm(&part));
            }
            until(history);
            stage.end();
        });
        self.history.tell(&Fact::Crashed);
    }

    /// The broker serves again.
    pub(crate) fn recovered(&self) {
        self.history.tell(&Fact::Recovered);
    }

    /// The broker may end by itself from now on.
    pub(crate) fn expect_failure(&self) {
        self.history.expect_failure();
    }

    /// What was found wrong so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        let violations = self.history.violations();
        if !violations.is_empty() {
            self.history.write_down();
        }
        violations
    }

    /// How many messages were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.history.acknowledged()
    }

    /// Brings everybody back, until nothing moves and nothing is missing or nothing comes any more; then a new client
    /// looks at what is retained. Returns everything that is wrong.
    pub(crate) fn settle(mut self, address: SocketAddr) -> Vec<String> {
        self.calm(address);
        let auditor = Persona::auditor(&mut self.chance);
        self.players.push(Player::new(auditor, Chance::new(self.chance.bits())));
        self.calm(address);
        self.history.finish()
    }

    fn calm(&mut self, address: SocketAddr) {
        let stage = Stage::new(self.players.len());
        let history = &self.history;
        thread::scope(|scope| {
            for (number, player) in self.players.iter_mut().enumerate() {
                let part = Part { stage: &stage, number, history, address };
                scope.spawn(move || player.calm(&part));
            }
            let begun = Instant::now();
            loop {
                let looking = Instant::now();
                let quiet = history.quiet_for().min(begun.elapsed());
                let settled = quiet > QUIET && stage.all_idle() && history.is_complete();
                if settled || quiet > SILENCE || !history.violations().is_empty() {
                    break;
                }
                // To look through a long history takes a while, and everybody waits for it.
                stage.wait(GLANCE.max(4 * looking.elapsed()));
            }
            if history.violations().is_empty() {
                stage.waiting().into_iter().for_each(|what| history.blame(what));
            }
            stage.end();
        });
    }
}

/// A history in real time has no minutes to wait in.
fn quickened(mut persona: Persona) -> Persona {
    if let Some(will) = &mut persona.will {
        will.delay = will.delay.min(2);
    }
    persona.answers_within = persona.answers_within.min(1_000);
    persona.keep_alive *= 10;
    persona
}
