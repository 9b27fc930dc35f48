//! Hash maps whose order does not depend on the process, so that one seed gives one history.
//!
//! The hash is keyed by a seed that the server draws at start ([`set_hash_seed`]), so that a peer can't
//! choose keys that collide; the simulation leaves it fixed. Nothing may depend on the order of iteration.

#![expect(clippy::disallowed_types, reason = "the one place that names the standard maps")]

use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use foldhash::fast::FoldHasher;

/// A hash map with a seeded, fast hash.
pub type Map<K, V> = std::collections::HashMap<K, V, SeededState>;

/// A hash set with a seeded, fast hash.
pub type Set<K> = std::collections::HashSet<K, SeededState>;

static HASH_SEED: AtomicU64 = AtomicU64::new(0x7469_6465_6c6f_6721);

/// Sets the seed of every map made from now on. The server calls it once, before it opens anything.
pub fn set_hash_seed(seed: u64) {
    HASH_SEED.store(seed, Ordering::Relaxed);
}

/// Builds hashers from the process's seed.
#[derive(Clone, Debug)]
pub struct SeededState(FixedState);

impl Default for SeededState {
    fn default() -> Self {
        Self(FixedState::with_seed(HASH_SEED.load(Ordering::Relaxed)))
    }
}

impl BuildHasher for SeededState {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}
