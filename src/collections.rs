//! Hash maps whose order does not depend on the process, so that one seed gives one history; and a small map for what there are
//! many of.
//!
//! The hash is keyed by a seed that the server draws at start ([`set_hash_seed`]), so that a peer can't
//! choose keys that collide; the simulation leaves it fixed. Nothing may depend on the order of iteration.

#![expect(clippy::disallowed_types, reason = "the one place that names the standard maps")]

use std::borrow::Borrow;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use foldhash::fast::FoldHasher;

/// A hash map with a seeded, fast hash.
pub type Map<K, V> = std::collections::HashMap<K, V, SeededState>;

/// A hash set with a seeded, fast hash.
pub type Set<K> = std::collections::HashSet<K, SeededState>;

/// An ordered map for few entries: it takes no more memory than they do. Inserting and removing take time in proportion to their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedMap<K, V> {
    /// Ascending.
    entries: Vec<(K, V)>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// The value under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Puts a value under a key; returns the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => {
                let (_, present) = self.entries.get_mut(place)?;
                Some(std::mem::replace(present, value))
            }
            Err(place) => {
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(self.entries.len().max(1));
                }
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    /// Takes the value under a key away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.entries.remove(place).1)
    }

    /// Keeps only what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }

    /// Every key and value, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> + '_ {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// The keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> + '_ {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + '_ {
        self.iter().map(|(_, value)| value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries.binary_search_by(|(present, _)| present.borrow().cmp(key))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sorted_map_does_as_the_standard_one() {
        let mut map = SortedMap::default();
        let mut standard = std::collections::BTreeMap::new();
        for step in 0..500_u32 {
            let key = step * 7 % 31;
            if step % 3 == 2 {
                assert_eq!(map.remove(&key), standard.remove(&key));
            } else {
                assert_eq!(map.insert(key, step), standard.insert(key, step));
            }
            assert_eq!(map.get(&(key + 1)), standard.get(&(key + 1)));
            assert!(map.iter().eq(standard.iter()) && map.len() == standard.len());
        }
        map.retain(|key, _| key % 2 == 0);
        standard.retain(|key, _| key % 2 == 0);
        assert!(map.keys().eq(standard.keys()) && map.values().eq(standard.values()));
        assert_eq!(map.is_empty(), standard.is_empty());
    }
}
