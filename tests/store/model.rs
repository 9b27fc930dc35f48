//! Random histories: the live state, the state from a checkpoint and the log, and the state from the log alone are the same,
//! after clean ends and power cuts, with segments deleted and the state store deleted at random.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use tidelog::commitlog::Offset;
use tidelog::mqtt::ClientId;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::QoS;
use tidelog::mqtt::TopicName;
use tidelog::store::AssignedRow;
use tidelog::store::GroupKey;
use tidelog::store::GroupRow;
use tidelog::store::HeldRow;
use tidelog::store::NewMessage;
use tidelog::store::ProgressRow;
use tidelog::store::Row;
use tidelog::store::Span;
use tidelog::store::SubscriptionRow;
use tidelog::store::WillRow;

use crate::chance::Chance;
use crate::world::Durable;
use crate::world::PLAIN;
use crate::world::World;
use crate::world::assigned;
use crate::world::client;
use crate::world::session;
use crate::world::span;
use crate::world::text;

const CLIENTS: [&str; 4] = ["a", "b", "c", "d"];
const TOPICS: [&str; 6] = ["t", "t/1", "t/2", "u", "u/é", "v/w/x"];
const FILTERS: [&str; 4] = ["t/#", "u", "$share/g/t/#", "+"];

struct History {
    chance: Chance,
    world: World,
    /// What a restart has to find when the log ends here.
    known: BTreeMap<Offset, Durable>,
    crashes: u32,
    truncations: u32,
    cleaned: u64,
    checked: u32,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let retention = chance.pick(&[8 << 10, 24 << 10, 1 << 30]);
        let world = World::with_retention_bytes(retention);
        Self {
            chance,
            world,
            known: BTreeMap::new(),
            crashes: 0,
            truncations: 0,
            cleaned: 0,
            checked: 0,
        }
    }

    fn step(&mut self) {
        match self.chance.below(62) {
            0..=16 => self.publish(),
            17..=19 => self.delay(),
            20..=44 => self.put(),
            45..=49 => self.world.commit(),
            50..=52 => {
                self.world.checkpoint();
            }
            53..=55 => self.truncations += u32::from(self.world.retain()),
            56 => self.end(false),
            57 => self.end(true),
            58 => self.fail_checkpoint(),
            59 | 60 => self.clean(),
            _ => self.world.pass(Duration::from_secs(1)),
        }
        let end = self.world.store().next_offset();
        let durable = self.world.durable();
        self.known.insert(end, durable);
    }

    /// Cleans, with as much of a round left over as chance has it.
    fn clean(&mut self) {
        let pieces = self.chance.below(40);
        if self.chance.one_in(2) {
            self.world.maintain();
        }
        self.cleaned += self.world.clean(usize::try_from(pieces).unwrap());
    }

    fn publish(&mut self) {
        let topic = self.chance.pick(&TOPICS);
        let qos = QoS::try_from(u8::try_from(self.chance.below(3)).unwrap()).unwrap();
        let id = u16::try_from(1 + self.chance.below(20)).unwrap();
        let message = NewMessage {
            qos,
            retain: self.chance.one_in(3),
            payload: if self.chance.one_in(6) { b"" } else { b"some" },
            publisher: self.chance.pick(&CLIENTS),
            packet_id: PacketId::new(id).filter(|_| qos == QoS::ExactlyOnce),
            expiry_interval: Some(3).filter(|_| self.chance.one_in(5)),
            properties: if self.chance.one_in(3) { &[1, 1] } else { &[] },
            ..PLAIN
        };
        self.world.publish(topic, message);
    }

    /// Keeps a message back, or ends one that was.
    fn delay(&mut self) {
        let known: Vec<Offset> = self.world.state().delayed().keys().copied().collect();
        if !known.is_empty() && self.chance.one_in(2) {
            let now = self.world.now;
            let id = known[usize::try_from(self.chance.below(known.len() as u64)).unwrap()];
            if self.chance.one_in(2) {
                // What it becomes when it is due.
                self.world.publish("t", PLAIN);
            }
            self.world.store().put(now, Row::Delayed(id, None));
        } else {
            let topic = self.chance.pick(&TOPICS);
            let retain = self.chance.one_in(3);
            self.world.delay(topic, NewMessage { retain, ..PLAIN });
        }
    }

    fn put(&mut self) {
        let client = client(self.chance.pick(&CLIENTS));
        let now = self.world.now;
        if self.world.state().session(&client).is_none_or(|kept| kept.session.is_none()) {
            let expiry = if self.chance.one_in(3) { 0 } else { 100 };
            self.world.store().put(now, Row::Session(client, Some(session(expiry))));
            return;
        }
        if self.chance.one_in(30) {
            self.world.store().record_session(now, &client);
            return;
        }
        let row = self.row(client);
        self.world.store().put(now, row);
    }

    fn row(&mut self, client: ClientId) -> Row {
        let next = self.world.store().next_offset();
        match self.chance.below(14) {
            0 if self.chance.one_in(2) => Row::Session(client, None),
            0 | 1 => Row::Session(client, Some(session(if self.chance.one_in(3) { 0 } else { 9 }))),
            2 | 3 => self.progress(client, next),
            4..=6 => self.subscription(client, next),
            7 => {
                let id = PacketId::new(u16::try_from(1 + self.chance.below(20)).unwrap()).unwrap();
                Row::Inbound(client, id, None)
            }
            8 | 9 => self.assigned(client, next),
            12 | 13 => {
                let row =
                    HeldRow { client, key: self.chance.one_in(2).then(|| self.chance.below(4)) };
                let row = if self.chance.one_in(3) { None } else { Some(row) };
                Row::Held(group(), Offset::new(self.chance.below(40)), row)
            }
            10 => Row::Will(client, if self.chance.one_in(3) { None } else { Some(self.will()) }),
            _ => {
                let row = GroupRow {
                    position: next,
                    returned: vec![Offset::new(self.chance.below(40))],
                    ..GroupRow::default()
                };
                Row::Group(group(), if self.chance.one_in(4) { None } else { Some(row) })
            }
        }
    }

    fn progress(&mut self, client: ClientId, next: Offset) -> Row {
        let before = self
            .world
            .state()
            .session(&client)
            .map(|kept| kept.progress.clone())
            .unwrap_or_default();
        let position = before
            .position
            .max(Offset::new(next.as_u64() - self.chance.below(next.as_u64().min(30))));
        let number = before.number + self.chance.below(3);
        let acked = (0..self.chance.below(4)).map(|distance| number + 3 * distance).collect();
        let runs_done = before
            .runs_done
            .max(Offset::new(position.as_u64().saturating_sub(self.chance.below(9))));
        let run = Some((text("t/#"), text("t"))).filter(|_| self.chance.one_in(2));
        Row::Progress(
            client,
            ProgressRow {
                position,
                number,
                acked,
                sent_limit: number + 8,
                run: run.map(Box::new),
                runs_done,
                ..before
            },
        )
    }

    fn subscription(&mut self, client: ClientId, next: Offset) -> Row {
        let filter = text(self.chance.pick(&FILTERS));
        let kept = self
            .world
            .state()
            .session(&client)
            .and_then(|kept| kept.subscriptions.get(&filter).cloned());
        let mut row = kept.unwrap_or_default();
        for span in &mut row.spans {
            span.until = span.until.or(Some(next.next()));
        }
        if !self.chance.one_in(4) {
            let retained_run = self.chance.one_in(2);
            row.spans.push(Span { retained_run, ..span(next.as_u64() + 1, None) });
        }
        let row = Some(row).filter(|row: &SubscriptionRow| !row.spans.is_empty());
        Row::Subscription(client, filter, row)
    }

    fn assigned(&mut self, client: ClientId, next: Offset) -> Row {
        let kept = self.world.state().session(&client).cloned().unwrap_or_default();
        if let Some((_, counter)) = kept.assigned.keys().next().filter(|_| self.chance.one_in(8)) {
            return Row::Assigned(client, *counter, None);
        }
        let shared = kept.recorded && self.chance.one_in(2);
        let row = AssignedRow {
            place: kept.runs.first().map(|run| run.place).filter(|_| !shared),
            message: Offset::new(next.as_u64() - self.chance.below(next.as_u64().min(20))),
            qos: if self.chance.one_in(3) { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
            retained: !shared,
            subscription_ids: [3].into_iter().collect(),
            key: (shared && self.chance.one_in(2)).then(|| self.chance.below(4)),
            ..assigned(Offset::ZERO, shared.then(group))
        };
        Row::Assigned(client, kept.assigned_next, Some(row))
    }

    fn will(&mut self) -> WillRow {
        WillRow {
            topic: TopicName::try_from("will").unwrap(),
            payload: "gone".into(),
            qos: QoS::AtLeastOnce,
            retain: self.chance.one_in(2),
            properties: bytes::Bytes::new(),
            delay_interval: 5,
            expiry_interval: None,
            fires_at: Some(self.world.now).filter(|_| self.chance.one_in(2)),
        }
    }

    fn fail_checkpoint(&mut self) {
        self.world.states.set_failing(true);
        self.world.checkpoint();
        self.world.states.set_failing(false);
    }

    /// Ends the process, cleanly or not, and compares what is found with what has to be.
    fn end(&mut self, crash: bool) {
        if crash {
            self.crashes += 1;
            let seed = self.chance.next();
            self.world.crash(seed);
        } else {
            self.world.commit();
            self.world.close();
        }
        if self.chance.one_in(4) {
            self.world.states.delete();
        }
        if self.chance.one_in(10) {
            self.world.states.damage();
        }
        self.world.open();
        let found = self.world.durable();
        let end = self.world.recovery().log.next_offset;
        if let Some(expected) = self.known.get(&end) {
            assert_eq!(&found, expected, "the state at {end}");
            self.checked += 1;
        }
        self.world.check_retained();

        self.world.commit();
        self.world.close();
        self.world.states.delete();
        self.world.open();
        assert!(!self.world.used_checkpoint());
        assert_eq!(self.world.durable(), found, "the log alone");
        self.world.check_retained();
        self.known.split_off(&end.next());
    }
}

fn group() -> GroupKey {
    GroupKey { share: text("g"), filter: text("t/#") }
}

fn run(seed: u64) -> History {
    let mut history = History::new(seed);
    for _ in 0..600 {
        history.step();
    }
    history.end(false);
    history
}

#[test]
fn model() {
    if let Some(seed) = env::var_os("STORE_SEED").and_then(|seed| seed.into_string().ok()) {
        run(seed.parse().expect("STORE_SEED is a number"));
        return;
    }
    let (mut crashes, mut truncations, mut cleaned, mut checked) = (0, 0, 0, 0);
    for seed in 0..80 {
        let history = std::panic::catch_unwind(|| run(seed));
        let history =
            history.unwrap_or_else(|_| panic!("STORE_SEED={seed} cargo test --test store model"));
        crashes += history.crashes;
        truncations += history.truncations;
        cleaned += history.cleaned;
        checked += history.checked;
    }
    assert!(
        crashes > 400 && truncations > 60 && cleaned > 200 && checked > 600,
        "{crashes} {truncations} {cleaned} {checked}"
    );
}

/// A cleaner that takes out too much is seen, whatever the bug.
#[cfg(feature = "mutants")]
#[test]
fn a_cleaner_that_takes_out_too_much_is_seen() {
    use tidelog::mutant::Mutant;
    use tidelog::mutant::activate;
    for mutant in [Mutant::CleanerDropsLive, Mutant::CleanerDropsTombstone] {
        activate(Some(mutant));
        let caught = (0..80).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        activate(None);
        println!("{}: seed {caught:?}", mutant.name());
        assert!(caught.is_some(), "{}", mutant.name());
    }
}
