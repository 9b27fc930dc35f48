//! What a checkpoint is kept in: a small ordered map of bytes that is durable when told.
//!
//! It is an index of what the log says already: losing it costs time, never facts. It is used by one
//! thread, and read only when the broker starts.

use crate::store::StateError;

/// The most changes in one [`StateStore::apply`].
pub const BATCH_CHANGES_MAX: usize = 256;

/// The most bytes in one value.
pub const VALUE_BYTES_MAX: usize = 4_096;

/// The most bytes in one key.
pub const KEY_BYTES_MAX: usize = 1_024;

/// A change of one key: its new value, or `None` to delete it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateOpened {
    /// What was damaged and is kept under this name, out of the way; the store is empty then.
    pub moved_aside: Option<Box<str>>,
}

/// An ordered map of bytes on disk.
pub trait StateStore: Send {
    /// Opens it or makes it new. What can't be opened is moved aside, and a new one takes its place.
    ///
    /// # Errors
    /// [`StateError`] when not even a new one can be made.
    fn open(&mut self) -> Result<StateOpened, StateError>;

    /// Hands every key and value to `visit`, in the order of the keys.
    ///
    /// # Errors
    /// [`StateError`]; `visit` may have got a part then.
    fn scan(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StateError>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`StateError`].
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Makes at most [`BATCH_CHANGES_MAX`] changes, all or none, after those made before. Durable after [`StateStore::sync`].
    ///
    /// # Errors
    /// [`StateError`].
    fn apply(&mut self, changes: &[Change]) -> Result<(), StateError>;

    /// Makes every change so far durable.
    ///
    /// # Errors
    /// [`StateError`].
    fn sync(&mut self) -> Result<(), StateError>;

    /// Deletes everything, durably.
    ///
    /// # Errors
    /// [`StateError`].
    fn wipe(&mut self) -> Result<(), StateError>;
}

/// Refuses what no state store has to bear.
pub(super) fn check(changes: &[Change]) -> Result<(), StateError> {
    let within = |what, size, size_max| {
        if size > size_max { Err(StateError::TooLarge { what, size, size_max }) } else { Ok(()) }
    };
    within("a batch", changes.len(), BATCH_CHANGES_MAX)?;
    for (key, value) in changes {
        within("a key", key.len(), KEY_BYTES_MAX)?;
        within("a value", value.as_ref().map_or(0, Vec::len), VALUE_BYTES_MAX)?;
    }
    Ok(())
}
