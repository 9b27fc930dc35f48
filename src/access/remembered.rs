//! Passwords that were right a moment ago, so that a storm of reconnects does not hash them all again.
//!
//! What is kept is a keyed hash of user name and password, with a key that lives as long as the process. The number of
//! entries is bounded: the oldest goes first. A reload of the password file begins with an empty one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::collections::Map;
use crate::time::Timestamp;

use super::scram::hmac;

/// The most passwords that are remembered: about 1 MB.
const ENTRIES_MAX: usize = 10_000;

/// Stands for a user name and a password.
pub(super) type Key = [u8; 32];

/// Passwords that were right a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    lifetime: Duration,
    /// Until when each is remembered.
    deadlines: Map<Key, Timestamp>,
    /// The same, the oldest first.
    order: VecDeque<(Timestamp, Key)>,
}

impl Remembered {
    /// Nothing yet. A lifetime of zero remembers nothing at all.
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, deadlines: Map::default(), order: VecDeque::new() }
    }

    /// The key of a user name and a password.
    pub(super) fn key(secret: &[u8], user: &str, password: &[u8]) -> Key {
        let length = user.len().to_le_bytes();
        hmac(secret, &[b"remembered", &length, user.as_bytes(), password])
    }

    /// Whether this one was right, not long ago.
    pub(super) fn contains(&self, key: &Key, now: Timestamp) -> bool {
        self.deadlines.get(key).is_some_and(|deadline| now < *deadline)
    }

    /// Remembers one that is right now.
    pub(super) fn insert(&mut self, key: Key, now: Timestamp) {
        if self.lifetime.is_zero() {
            return;
        }
        let deadline = now + self.lifetime;
        self.deadlines.insert(key, deadline);
        self.order.push_back((deadline, key));
        self.forget(now);
    }

    /// Forgets what is over, and the oldest of too many.
    fn forget(&mut self, now: Timestamp) {
        while let Some(&(deadline, key)) = self.order.front() {
            if now < deadline && self.order.len() <= ENTRIES_MAX {
                return;
            }
            self.order.pop_front();
            if self.deadlines.get(&key) == Some(&deadline) {
                self.deadlines.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(user: &str, password: &str) -> Key {
        Remembered::key(b"secret", user, password.as_bytes())
    }

    #[test]
    fn a_password_is_remembered_for_a_while() {
        let now = Timestamp::from_micros(5);
        let mut remembered = Remembered::new(SECOND);
        remembered.insert(key("a", "x"), now);
        assert!(remembered.contains(&key("a", "x"), now));
        assert!(!remembered.contains(&key("a", "y"), now));
        assert!(!remembered.contains(&key("ax", ""), now));
        assert!(!remembered.contains(&key("a", "x"), now + SECOND));
    }

    #[test]
    fn a_lifetime_of_zero_remembers_nothing() {
        let mut remembered = Remembered::new(Duration::ZERO);
        remembered.insert(key("a", "x"), Timestamp::EPOCH);
        assert!(!remembered.contains(&key("a", "x"), Timestamp::EPOCH));
        assert!(remembered.order.is_empty());
    }

    #[test]
    fn an_entry_that_was_renewed_outlives_its_first_deadline() {
        let start = Timestamp::from_micros(5);
        let mut remembered = Remembered::new(2 * SECOND);
        remembered.insert(key("a", "x"), start);
        remembered.insert(key("a", "x"), start + SECOND);
        remembered.insert(key("b", "x"), start + 2 * SECOND);
        assert!(remembered.contains(&key("a", "x"), start + 2 * SECOND));
        assert_eq!(remembered.order.len(), 2);
    }

    #[test]
    fn the_number_is_bounded() {
        let now = Timestamp::from_micros(5);
        let mut remembered = Remembered::new(SECOND);
        for number in 0..=ENTRIES_MAX {
            remembered.insert(key(&number.to_string(), "x"), now);
        }
        assert!(!remembered.contains(&key("0", "x"), now));
        assert!(remembered.contains(&key("1", "x"), now));
        assert_eq!(
            (remembered.order.len(), remembered.deadlines.len()),
            (ENTRIES_MAX, ENTRIES_MAX)
        );
        remembered.insert(key("late", "x"), now + SECOND);
        assert_eq!((remembered.order.len(), remembered.deadlines.len()), (1, 1));
    }
}
