//! Why a run under load came to an end before its time.

use std::time::Duration;

use crate::cli::client::ClientError;
use crate::mqtt::EncodeError;
use crate::mqtt::QoS;
use crate::mqtt::ReasonCode;

/// What ended a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// No connection, or none any more.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Our own packets can't be sent in this version.
    #[error("a packet can't be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// A SUBACK that refuses.
    #[error("the subscription to '{filter}' was refused: {code}")]
    Subscription {
        /// To what.
        filter: String,
        /// Why.
        code: ReasonCode,
    },
    /// A SUBACK that grants less.
    #[error("the broker grants QoS {granted}, not {wanted}")]
    Granted {
        /// What it grants.
        granted: QoS,
        /// What is to be measured.
        wanted: QoS,
    },
    /// A CONNACK that excludes our messages.
    #[error("the broker takes QoS {0} at most")]
    MaximumQos(QoS),
    /// A CONNACK that excludes our messages.
    #[error("the broker takes packets of {0} bytes at most")]
    MaximumPacketSize(u32),
    /// An acknowledgement of a message that was not sent.
    #[error("the broker acknowledged packet id {0}, which is not in flight")]
    NotInFlight(u16),
    /// Nothing comes, though something should.
    #[error("the broker has not answered for {}", humantime::format_duration(*.0))]
    Silent(Duration),
    /// A session that was to wait for us is not there.
    #[error("the broker has forgotten a session that was to be kept")]
    SessionForgotten,
    /// The threads of the load can't be started.
    #[error("can't start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// A thread of the load is gone.
    #[error("a thread of the load has ended")]
    ThreadEnded,
}
