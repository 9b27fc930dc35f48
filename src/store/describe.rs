//! Records in a form for people and their tools: what `tidelog log dump` prints.

use crate::commitlog::StoredRecord;
use serde_json::Value;

/// A record of any kind as JSON.
pub fn describe(record: &StoredRecord) -> Value {
    Value::from(record.offset.as_u64())
}
