//! The log: append-only, in segments, of keyed records whose meaning is their writer's business.
//!
//! It knows no MQTT, no clock, no thread, no random source. Three values share the work:
//!
//! ```text
//!            append ──► Log ──take_batch──► PendingBatch ──► Writer::commit ──► Committed ──► Log::committed
//!                        │  (the core owns it, no I/O)        (a thread of its own, or inline)
//!   Log::read ───────────┴─► Records, from memory
//!                        └─► Cold(ReadRequest) ──► Reader::read ──► ReadResult
//! ```
//!
//! - Nothing below [`Log::durable_offset`] is lost by a crash.
//! - A batch is whole or absent; bytes whose checksum differs are never served.
//! - Only [`Writer`] writes and syncs what is new, and only [`Cleaner`] replaces what is sealed; only `disk::os` opens files.
//!
//! Every byte is described in `docs/format.md`.

mod batch;
mod cache;
mod clean;
mod damage;
mod directory;
pub mod disk;
mod error;
mod format;
mod index;
mod log;
mod matcher;
mod offset;
mod options;
mod query;
mod reader;
mod record;
mod recovery;
mod repair;
mod reserve;
mod segment;
mod snapshot;
mod tail;
mod varint;
mod verify;
mod writer;

pub use batch::PendingBatch;
pub use clean::CleanOutcome;
pub use clean::Cleanable;
pub use clean::Cleaner;
pub use clean::Pace;
pub use clean::Rewritten;
pub use damage::Damage;
pub use damage::Fault;
pub use error::LogError;
pub use error::StorageError;
pub use error::StorageFault;
pub use log::Log;
pub use log::RetentionLeft;
pub use matcher::EveryKey;
pub use matcher::KeyMatcher;
pub use offset::Offset;
pub use options::Options;
pub use query::OffsetAt;
pub use query::Read;
pub use reader::ReadRequest;
pub use reader::ReadResult;
pub use reader::Reader;
pub use reader::TimeRequest;
pub use record::Record;
pub use record::StoredRecord;
pub use recovery::RecoveryProgress;
pub use recovery::RecoveryReport;
pub use recovery::TornTail;
pub use repair::GivenUp;
pub use repair::RepairReport;
pub use repair::repair;
pub use snapshot::SnapshotReport;
pub use snapshot::copy_file;
pub use snapshot::snapshot;
pub use verify::DumpFilter;
pub use verify::VerifyReport;
pub use verify::dump;
pub use verify::verify;
pub use verify::verify_records;
pub use writer::Committed;
pub use writer::Durability;
pub use writer::Truncation;
pub use writer::Writer;
