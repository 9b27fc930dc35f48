//! The contract between the core and whoever drives it: events in, outputs out.
//!
//! The driver calls [`super::Broker::handle`] with the time and an [`Event`], then takes every
//! [`Output`] with [`super::Broker::poll_output`] until there is none, then sleeps until the next event or
//! until [`super::Broker::poll_timeout`]. What is to be made durable it takes with [`super::Broker::take_commit`], when it sees fit.
//! Whatever else takes long is a ticket: an output that starts it ([`Output::Fetch`], [`Output::Verify`], [`Output::Checkpoint`], [`Output::Truncate`],
//! [`Output::Replenish`], [`Output::Clean`]) and an event that brings its result.
//! At most one commit, one checkpoint and one truncation or cleaning are under way at a time; verifications are bounded by
//! the number of connections, fetches also by those of replays and of groups.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;
use smallvec::SmallVec;

use crate::access::PasswordJob;
use crate::access::Verdict;
use crate::commitlog::Committed;
use crate::commitlog::ReadRequest;
use crate::commitlog::ReadResult;
use crate::commitlog::StorageError;
use crate::commitlog::Truncation;
use crate::mqtt::Text;
use crate::store::Checkpoint;
use crate::store::CheckpointDone;
use crate::store::Clean;
use crate::store::CleanDone;
use crate::store::StateError;

/// A Network Connection. The driver numbers them and never uses a number twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a connection comes from, as far as the core has to know.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The peer's address, for traces and statistics.
    pub peer: Arc<str>,
    /// Whether this connection may do without a user name: it came over loopback or a Unix socket, or the listener allows it.
    pub anonymous: bool,
    /// The name in the client's verified certificate, if the listener uses it as the user name.
    pub certificate_name: Option<Text>,
}

/// A thing that happened outside the core.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection is up: transport and encryption are done, nothing was read yet.
    Opened {
        /// Its number.
        connection: ConnectionId,
        /// Where it comes from.
        origin: Origin,
    },
    /// Bytes are there. The core takes the complete packets from the front and leaves the rest: a packet that
    /// is not complete, or everything behind the point where it paused the connection.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// All bytes read and not yet taken.
        input: &'a mut BytesMut,
    },
    /// The transport took bytes of earlier [`Output::Write`]s.
    Drained {
        /// The connection.
        connection: ConnectionId,
        /// How many since the last such event.
        bytes: usize,
    },
    /// The connection is gone, without or after an [`Output::Close`].
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// The commit under way has ended.
    Committed(Result<Committed, StorageError>),
    /// A cold read has ended.
    Fetched {
        /// The ticket of its [`Output::Fetch`].
        ticket: u64,
        /// What was read.
        result: Result<ReadResult, StorageError>,
    },
    /// A password was checked.
    Verified {
        /// The ticket of its [`Output::Verify`].
        ticket: u64,
        /// What came out.
        verdict: Verdict,
    },
    /// The checkpoint under way has ended.
    Checkpointed(Result<CheckpointDone, StateError>),
    /// The truncation under way has ended.
    Truncated(Result<(), StorageError>),
    /// The space was set aside again that [`Output::Replenish`] asked for, or there is none.
    Replenished(Result<(), StorageError>),
    /// The cleaning of a segment has ended.
    Cleaned(Result<CleanDone, StorageError>),
    /// The password file and the ACL file were read again: their texts, or `None` where there is no such file.
    /// A text that is wrong changes nothing.
    AccessRead {
        /// The text of the password file.
        passwords: Option<String>,
        /// The text of the ACL file.
        acl: Option<String>,
    },
    /// Nothing but time has passed.
    Tick,
    /// End in good order: no more publishes, say goodbye, make everything durable, checkpoint.
    Stop,
}

/// A thing for the driver to do.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes to the connection, in order.
    Write {
        /// The connection.
        connection: ConnectionId,
        /// The bytes; never empty.
        chunks: SmallVec<[Bytes; 2]>,
    },
    /// Close the connection once everything given to it is written, or could not be within the driver's deadline.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Do not read from the connection until told; what was read stays.
    Pause {
        /// The connection.
        connection: ConnectionId,
    },
    /// Go on: hand in again what was left, then read.
    Resume {
        /// The connection.
        connection: ConnectionId,
    },
    /// Read from the disk, then [`Event::Fetched`].
    Fetch {
        /// Names the read.
        ticket: u64,
        /// What to read.
        request: ReadRequest,
    },
    /// Check a password, which takes tens of milliseconds of a core, then [`Event::Verified`].
    Verify {
        /// Names the check.
        ticket: u64,
        /// The work.
        job: PasswordJob,
    },
    /// Bring the checkpoint up to date, then [`Event::Checkpointed`].
    Checkpoint(Checkpoint),
    /// Delete whole segments, then [`Event::Truncated`].
    Truncate(Truncation),
    /// Set space aside again that was given back to a full disk, then [`Event::Replenished`].
    Replenish,
    /// Look at a segment, or take its dead records out, without haste, then [`Event::Cleaned`].
    Clean(Clean),
    /// The store takes no more writes; the process should end with this error.
    Poisoned(StorageError),
    /// Everything that [`Event::Stop`] asked for is done.
    Stopped,
}
