//! Who has messages of a key: in groups that promise an order, others of that key go nowhere else.

use std::collections::BTreeMap;

use crate::mqtt::ClientId;
use crate::store::AssignedRow;
use crate::store::GroupKey;

/// For each group the keys of messages that are in flight or held.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(BTreeMap<GroupKey, BTreeMap<u64, Holder>>);

/// Who has messages of a key, and how many.
#[derive(Clone, Debug)]
struct Holder {
    client: ClientId,
    count: usize,
}

impl Keys {
    /// The client that has messages of a key.
    pub(super) fn holder(&self, group: &GroupKey, key: u64) -> Option<&ClientId> {
        Some(&self.0.get(group)?.get(&key)?.client)
    }

    /// A client gets a message of a key.
    pub(super) fn take(&mut self, group: &GroupKey, key: u64, client: &ClientId) {
        let keys = self.0.entry(group.clone()).or_default();
        let holder = keys.entry(key).or_insert_with(|| Holder { client: client.clone(), count: 0 });
        holder.client.clone_from(client);
        holder.count += 1;
    }

    /// A message of a key is done with.
    pub(super) fn let_go(&mut self, group: &GroupKey, key: u64) {
        let Some(keys) = self.0.get_mut(group) else { return };
        if let Some(holder) = keys.get_mut(&key) {
            holder.count -= 1;
            if holder.count == 0 {
                keys.remove(&key);
            }
        }
        if keys.is_empty() {
            self.0.remove(group);
        }
    }

    /// The key of an assignment is taken by its client.
    pub(super) fn take_assigned(&mut self, row: &AssignedRow, client: &ClientId) {
        if let (Some(group), Some(key)) = (&row.group, row.key) {
            self.take(group, key, client);
        }
    }

    /// An assignment is done with.
    pub(super) fn let_go_assigned(&mut self, row: &AssignedRow) {
        if let (Some(group), Some(key)) = (&row.group, row.key) {
            self.let_go(group, key);
        }
    }
}
