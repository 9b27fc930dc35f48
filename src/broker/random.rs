//! Randomness from a seed: the server's is drawn from the system, the simulation's is its own.
//!
//! Block `n` is SHA-256 of the seed and `n`, so that who sees nonces and client ids can't tell the next.

use sha2::Digest;
use sha2::Sha256;

/// A source of random bytes.
pub(super) struct Random {
    seed: [u8; 32],
    block: u64,
}

impl std::fmt::Debug for Random {
    /// Without the seed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").field("block", &self.block).finish_non_exhaustive()
    }
}

impl Random {
    /// The source that belongs to a seed.
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, block: 0 }
    }

    /// The next bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(32) {
            let digest = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.block.to_le_bytes())
                .finalize();
            self.block += 1;
            for (byte, random) in chunk.iter_mut().zip(digest) {
                *byte = random;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (mut one, mut two) = (Random::new([1; 32]), Random::new([1; 32]));
        assert_eq!(one.bytes::<40>(), two.bytes::<40>());
        assert_ne!(one.bytes::<18>(), one.bytes::<18>());
        assert_ne!(Random::new([2; 32]).bytes::<8>(), Random::new([1; 32]).bytes::<8>());
    }
}
