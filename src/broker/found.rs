//! What the start found and what reads have met since: `$SYS/broker/recovery/...` and `$SYS/broker/log/damage`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broker::Broker;
use crate::commitlog::Damage;
use crate::store::CheckpointUse;
use crate::store::RecoverySummary;

/// So many damaged places are told apart; each one met beyond them is only counted.
const PLACES_MAX: usize = 4_096;

/// What is wrong with the log, as far as anybody has seen, and what the start found.
#[derive(Debug, Default)]
pub(super) struct Found {
    recovery: Vec<(&'static str, String)>,
    places: BTreeSet<(Box<str>, u64)>,
    more: u64,
}

impl Found {
    /// Notes a damaged place; whether it is new.
    fn note(&mut self, damage: &Damage) -> bool {
        let place = (damage.file.clone(), damage.position);
        if self.places.contains(&place) {
            return false;
        }
        if self.places.len() < PLACES_MAX {
            self.places.insert(place);
        } else {
            self.more += 1;
        }
        true
    }

    /// How many places of the log are damaged.
    fn damaged(&self) -> u64 {
        self.places.len() as u64 + self.more
    }

    /// The names and values of what `$SYS` says about it.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let damage = ("log/damage", self.damaged().to_string());
        self.recovery.iter().cloned().chain([damage])
    }
}

impl Broker {
    /// Tells the broker what opening its store found, and how long that took: `$SYS` tells it on.
    pub fn set_recovery(&mut self, recovery: &RecoverySummary, took: Duration) {
        for damage in recovery.places() {
            self.found.note(damage);
        }
        let log = &recovery.log;
        let checkpoint = match recovery.checkpoint {
            CheckpointUse::Used { offset } => offset.as_u64(),
            CheckpointUse::Rebuilt(_) => 0,
        };
        let torn = log.torn.as_ref().map_or(0, |torn| torn.bytes);
        self.found.recovery = vec![
            ("recovery/milliseconds", took.as_millis().to_string()),
            ("recovery/checkpoint", recovery.checkpoint.name().to_owned()),
            ("recovery/checkpoint-offset", checkpoint.to_string()),
            ("recovery/records-replayed", recovery.records_replayed.to_string()),
            ("recovery/records-unreadable", recovery.records_unreadable.to_string()),
            ("recovery/segments-scanned", log.segments_scanned.to_string()),
            ("recovery/bytes-scanned", log.bytes_scanned.to_string()),
            ("recovery/torn-bytes", torn.to_string()),
            ("recovery/damaged-places", recovery.places().len().to_string()),
            ("recovery/sessions", recovery.sessions.to_string()),
            ("recovery/subscriptions", recovery.subscriptions.to_string()),
            ("recovery/groups", recovery.groups.to_string()),
            ("recovery/retained", recovery.retained.to_string()),
            ("recovery/delayed", recovery.delayed.to_string()),
        ];
    }

    /// Raises the alarm for what a read has met, once for each place.
    pub(super) fn note_damage(&mut self, damage: &[Damage]) {
        let before = self.found.damaged();
        for damage in damage {
            if self.found.note(damage) {
                tracing::error!(%damage, "the log is damaged; what can be read is served");
            }
        }
        if self.found.damaged() > before {
            self.publish_sys_value("$SYS/broker/log/damage", &self.found.damaged().to_string());
        }
    }
}
