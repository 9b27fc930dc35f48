//! What a world watches its broker for while it runs, beside the promises: memory, keep-alive, what it says of its disk.

use tidelog::broker::StorageState;
use tidelog::commitlog::ReadResult;
use tidelog::commitlog::StorageError;

use crate::plan::MILLI;
use crate::plan::SECOND;
use crate::world::Happening;
use crate::world::World;

/// Bytes that may wait for the disk beyond the limit: a message, and what is brought to its end.
const PENDING_SLACK: usize = 32 << 10;

/// How late a delayed message may be on a disk that takes no time.
const LATE: u64 = 300 * MILLI;

/// How many of them may have to be read before one.
const READS: u64 = 300;

/// The bytes of PINGREQ.
const PINGREQ: [u8; 2] = [0xc0, 0];

impl World {
    /// However slow the disk is, what waits for it is bounded.
    pub(super) fn check_bounds(&mut self) {
        let Some(engine) = &self.engine else { return };
        let (pending, limit) =
            (engine.pending_bytes(), self.plan.settings.broker.pending_bytes_max);
        if pending > limit + PENDING_SLACK {
            self.violations.push(format!("{pending} bytes wait for the disk, over {limit}"));
        }
        self.check_delayed();
    }

    /// What is due is published, as fast as the disk takes it.
    fn check_delayed(&mut self) {
        let Some(engine) = self.engine.as_ref().filter(|_| !self.calm && !self.stops) else {
            return;
        };
        let plan = &self.plan;
        let sound = plan.disk_fault == 0 && !plan.fills && !plan.read_faults;
        let late = engine.delayed_overdue(self.timestamp());
        // Those that are no longer in memory are read one after the other: slow reads add up.
        let prompt = plan.work <= MILLI;
        let allowed = LATE + 2 * plan.commit + READS * plan.work;
        if sound && prompt && late.as_micros() > u128::from(allowed) {
            self.violations.push(format!("a delayed message is {late:?} overdue"));
        }
    }

    /// A silent connection is closed in time [MQTT-3.1.2-22].
    pub(super) fn check_keep_alive(&mut self) {
        let now = self.now;
        let overdue = self.links.iter().find(|(_, link)| {
            let keep_alive = u64::from(self.clients[link.client].persona.keep_alive) * SECOND;
            let lives = !link.over && !link.server_closed && !link.paused && link.opened;
            lives && keep_alive > 0 && now > link.heard_at + keep_alive * 3 / 2 + 2 * SECOND
        });
        if let Some((number, link)) = overdue {
            let name = &self.clients[link.client].persona.name;
            self.violations.push(format!(
                "connection {number} of {name} is silent beyond its keep-alive and still open"
            ));
        }
    }

    /// A broker that stays up after its disk has failed is started again some time later.
    pub(super) fn see_read_only(&mut self) {
        let Some(engine) = &self.engine else { return };
        if engine.storage_state() == StorageState::ReadOnly && self.read_only_life != self.life {
            let told = ("$SYS/broker/store/state".to_owned(), "read-only".to_owned());
            if !engine.sys_values().contains(&told) {
                self.violations.push("the disk has failed, and $SYS does not say so".to_owned());
            }
            self.read_only_life = self.life;
            self.note_full();
            let within = if self.calm { SECOND } else { 5 * SECOND };
            let delay = self.chance.delay(MILLI, within);
            self.after(delay, Happening::Crash);
        }
    }

    /// A client that waits for CONNACK may be silent until then.
    pub(super) fn connack_said(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.opened = true;
            link.heard_at = self.now;
        }
    }

    pub(super) fn pong(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number) {
            link.pings_unanswered = link.pings_unanswered.saturating_sub(1);
        }
    }

    /// PINGREQ is answered at once, whatever the disk does, and is not held back with what adds to what waits for it.
    pub(super) fn check_pings(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        if !link.opened || link.server_closed || link.over {
            return;
        }
        let room = link.undrained < self.plan.settings.broker.output_bytes_max;
        let held = link.input.starts_with(&PINGREQ);
        if link.pings_unanswered > 0 || held && room && !self.stops {
            self.violations.push(format!("connection {number} waits for PINGRESP"));
        }
    }
}

/// How many of these packets are PINGREQ.
pub(super) fn pings(bytes: &[u8]) -> u32 {
    let mut count = 0;
    let mut rest = bytes;
    while let Some(length) = packet_length(rest) {
        count += u32::from(rest.starts_with(&PINGREQ));
        rest = &rest[length.min(rest.len())..];
    }
    count
}

/// The length of the packet that these bytes begin with.
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(length + place + 2);
        }
    }
    None
}

/// What a read brought, without its bytes.
pub(super) fn told(result: &Result<ReadResult, StorageError>) -> String {
    match result {
        Ok(ReadResult { records, next, damage }) => {
            let offsets: Vec<u64> = records.iter().map(|record| record.offset.as_u64()).collect();
            format!("{offsets:?}, next {next}, damage {damage:?}")
        }
        Err(error) => format!("{error}"),
    }
}
