//! A small set of delivery numbers that lie close together.
//!
//! Invariant: the first and the last word are not zero, so that equal sets are equal values.

use crate::store::codec::Decoder;
use crate::store::codec::Encode;

/// How far the largest number of a [`NumberSet`] may lie above the smallest.
pub const NUMBERS_WIDE_MAX: u64 = 8_192;

const WORD_BITS: u64 = 64;

/// A set of delivery numbers, at most [`NUMBERS_WIDE_MAX`] from the first to the last: a bit each, in memory and on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet {
    /// The number of the first word: numbers from `64 * first_word` on.
    first_word: u64,
    words: Vec<u64>,
}

impl NumberSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { first_word: 0, words: Vec::new() }
    }

    /// Adds a number. Returns whether it is in the set now: `false` when it lies too far from the others.
    pub fn insert(&mut self, number: u64) -> bool {
        if self.first().is_some_and(|first| first.abs_diff(number) >= NUMBERS_WIDE_MAX)
            || self.last().is_some_and(|last| last.abs_diff(number) >= NUMBERS_WIDE_MAX)
        {
            return false;
        }
        let word = number / WORD_BITS;
        if self.words.is_empty() {
            self.first_word = word;
        }
        while word < self.first_word {
            self.words.insert(0, 0);
            self.first_word -= 1;
        }
        while self.words.len() as u64 <= word - self.first_word {
            self.words.push(0);
        }
        if let Some(bits) = self.word_mut(word) {
            *bits |= 1 << (number % WORD_BITS);
        }
        true
    }

    /// Takes a number out; returns whether it was in.
    pub fn remove(&mut self, number: u64) -> bool {
        let was_in = self.contains(number);
        if let Some(bits) = self.word_mut(number / WORD_BITS) {
            *bits &= !(1 << (number % WORD_BITS));
        }
        self.trim();
        was_in
    }

    /// Takes out all numbers below `number`.
    pub fn remove_below(&mut self, number: u64) {
        let words = (number / WORD_BITS).saturating_sub(self.first_word);
        let words = usize::try_from(words).unwrap_or(usize::MAX).min(self.words.len());
        self.words.drain(..words);
        self.first_word += words as u64;
        if let Some(bits) = self.word_mut(number / WORD_BITS) {
            *bits &= u64::MAX << (number % WORD_BITS);
        }
        self.trim();
    }

    /// Whether a number is in.
    pub fn contains(&self, number: u64) -> bool {
        let index = (number / WORD_BITS)
            .checked_sub(self.first_word)
            .and_then(|index| usize::try_from(index).ok());
        let bits = index.and_then(|index| self.words.get(index));
        bits.is_some_and(|bits| bits & (1 << (number % WORD_BITS)) != 0)
    }

    /// The numbers, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (self.first_word..).zip(&self.words).flat_map(|(word, bits)| {
            (0..WORD_BITS)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| word * WORD_BITS + bit)
        })
    }

    /// How many numbers are in.
    pub fn len(&self) -> usize {
        self.words.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Whether no number is in.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The smallest number.
    pub fn first(&self) -> Option<u64> {
        let bits = self.words.first()?;
        Some(self.first_word * WORD_BITS + u64::from(bits.trailing_zeros()))
    }

    /// The largest number.
    pub fn last(&self) -> Option<u64> {
        let bits = self.words.last()?;
        let word = self.first_word + (self.words.len() as u64 - 1);
        Some(word * WORD_BITS + u64::from(63 - bits.leading_zeros()))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_varint(self.first_word);
        out.put_varint(self.words.len() as u64);
        for word in &self.words {
            out.put_u64(*word);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Option<Self> {
        let first_word = input.varint().filter(|word| *word <= u64::MAX / WORD_BITS)?;
        let count = input.varint().filter(|count| *count <= NUMBERS_WIDE_MAX / WORD_BITS + 1)?;
        first_word.checked_add(count).filter(|end| *end <= u64::MAX / WORD_BITS + 1)?;
        let words = (0..count).map(|_| input.u64()).collect::<Option<Vec<u64>>>()?;
        let mut set = Self { first_word, words };
        set.trim();
        Some(set)
    }

    fn word_mut(&mut self, word: u64) -> Option<&mut u64> {
        let index = usize::try_from(word.checked_sub(self.first_word)?).ok()?;
        self.words.get_mut(index)
    }

    /// Restores the invariant.
    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
        let zeros = self.words.iter().take_while(|bits| **bits == 0).count();
        self.words.drain(..zeros);
        self.first_word = if self.words.is_empty() { 0 } else { self.first_word + zeros as u64 };
    }
}

impl FromIterator<u64> for NumberSet {
    /// Numbers that lie too far from the first are left out.
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = Self::new();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(base in 0..u64::MAX - 9_000, steps in prop::collection::vec((0_u64..8_000, 0..3_u8), 0..200)) {
            let mut set = NumberSet::new();
            let mut model = BTreeSet::new();
            for (distance, step) in steps {
                let number = base + distance;
                match step {
                    0 | 1 => {
                        prop_assert!(set.insert(number));
                        model.insert(number);
                    }
                    _ if distance % 2 == 0 => prop_assert_eq!(set.remove(number), model.remove(&number)),
                    _ => {
                        set.remove_below(number);
                        model = model.split_off(&number);
                    }
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert_eq!(set.contains(number), model.contains(&number));
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(&set, &model.into_iter().collect());
            let mut bytes = Vec::new();
            set.encode(&mut bytes);
            let mut input = Decoder::new(&bytes);
            prop_assert_eq!(NumberSet::decode(&mut input), Some(set));
            prop_assert!(input.rest().is_empty());
        }
    }

    #[test]
    fn a_number_too_far_away_is_not_taken() {
        let mut set = NumberSet::new();
        assert!(set.insert(10));
        assert!(set.insert(10 + NUMBERS_WIDE_MAX - 1));
        assert!(!set.insert(10 + NUMBERS_WIDE_MAX));
        assert!(!set.insert(9));
        assert_eq!(set.len(), 2);
    }
}
