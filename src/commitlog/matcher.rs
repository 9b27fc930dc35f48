//! Which keys a reader wants.

/// Which keys a reader wants. Asked once for each distinct key in a range, not for each record.
pub trait KeyMatcher: Send + Sync {
    /// Whether records with this key are wanted. The same key always gets the same answer.
    fn matches(&self, key: &[u8]) -> bool;
}

impl<F: Fn(&[u8]) -> bool + Send + Sync> KeyMatcher for F {
    fn matches(&self, key: &[u8]) -> bool {
        self(key)
    }
}

/// Wants every key.
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryKey;

impl KeyMatcher for EveryKey {
    fn matches(&self, _key: &[u8]) -> bool {
        true
    }
}
