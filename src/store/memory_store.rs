//! A state store in memory that can lose what was not synced: for the simulation and the tests.

#![expect(
    clippy::disallowed_types,
    reason = "shared by the checkpointer and the test that breaks it"
)]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::store::Change;
use crate::store::StateError;
use crate::store::StateOpened;
use crate::store::StateStore;
use crate::store::state_store::check;

const DIRECTORY: &str = "memory";

/// A state store in memory. Clones share it, so that it outlives the broker that uses it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStateStore(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Batches since the last sync, in order.
    unsynced: Vec<Vec<Change>>,
    failing: bool,
    damaged: bool,
    moved_aside: usize,
}

impl Shared {
    fn live(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut live = self.durable.clone();
        self.unsynced.iter().for_each(|batch| carry_out(&mut live, batch));
        live
    }

    fn checked(&self, what: &'static str) -> Result<(), StateError> {
        if self.failing {
            let source = Arc::new(io::Error::from(io::ErrorKind::StorageFull));
            return Err(StateError::Io { directory: DIRECTORY.into(), what, source });
        }
        Ok(())
    }
}

impl MemoryStateStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut: of the batches that were not synced, the first `kept` (as far as there are so many) survive.
    pub fn crash(&self, kept: usize) {
        let shared = &mut *self.shared();
        let unsynced = std::mem::take(&mut shared.unsynced);
        unsynced.iter().take(kept).for_each(|batch| carry_out(&mut shared.durable, batch));
    }

    /// How many batches a power cut could lose.
    pub fn unsynced(&self) -> usize {
        self.shared().unsynced.len()
    }

    /// Whether every change and sync fails from now on.
    pub fn set_failing(&self, failing: bool) {
        self.shared().failing = failing;
    }

    /// Spoils it: the next open finds it damaged and moves it aside.
    pub fn damage(&self) {
        self.shared().damaged = true;
    }

    /// Deletes everything, as somebody who deletes the directory does.
    pub fn delete(&self) {
        let shared = &mut *self.shared();
        shared.durable.clear();
        shared.unsynced.clear();
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.shared().live().len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn carry_out(entries: &mut BTreeMap<Vec<u8>, Vec<u8>>, batch: &[Change]) {
    for (key, value) in batch {
        match value {
            Some(value) => {
                entries.insert(key.clone(), value.clone());
            }
            None => {
                entries.remove(key);
            }
        }
    }
}

impl StateStore for MemoryStateStore {
    fn open(&mut self) -> Result<StateOpened, StateError> {
        let mut shared = self.shared();
        if !std::mem::take(&mut shared.damaged) {
            return Ok(StateOpened::default());
        }
        shared.durable.clear();
        shared.unsynced.clear();
        shared.moved_aside += 1;
        Ok(StateOpened {
            moved_aside: Some(format!("state.damaged-{}", shared.moved_aside).into()),
        })
    }

    fn scan(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError> {
        self.shared().live().iter().for_each(|(key, value)| visit(key, value));
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let shared = self.shared();
        let mut changes = shared.unsynced.iter().rev().flat_map(|batch| batch.iter().rev());
        let unsynced = changes.find(|(changed, _)| changed == key).map(|(_, value)| value.clone());
        Ok(unsynced.unwrap_or_else(|| shared.durable.get(key).cloned()))
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), StateError> {
        check(changes)?;
        let mut shared = self.shared();
        shared.checked("a batch")?;
        shared.unsynced.push(changes.to_vec());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StateError> {
        let shared = &mut *self.shared();
        shared.checked("a sync")?;
        let unsynced = std::mem::take(&mut shared.unsynced);
        for batch in &unsynced {
            carry_out(&mut shared.durable, batch);
        }
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), StateError> {
        self.shared().checked("wiping")?;
        self.delete();
        Ok(())
    }
}
