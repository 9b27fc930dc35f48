//! Bugs put in on purpose, to prove that the simulation sees what it should.
//!
//! Without the feature `mutants` nothing of this is in the program. With it, a test switches one on by name for its own thread,
//! and the code asks at the one place where the bug would be made.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Acknowledgements leave before what they promise is durable.
    AckBeforeSync,
    /// A batch whose checksum is wrong is taken for whole.
    TornTailAccepted,
    /// PUBREL leaves before the row that remembers its PUBREC is durable.
    PubrelBeforeDurablePubrec,
    /// What is in flight when a connection ends is forgotten.
    InFlightForgottenOnCut,
    /// Retained messages come after what was published behind the subscription.
    RetainedOutOfOrder,
    /// An empty retained message clears nothing.
    RetainedNotCleared,
    /// Session Present says what the client hopes for.
    SessionPresentLied,
    /// A QoS 2 message that is sent again is stored again.
    Qos2DedupForgotten,
    /// What is sent again goes without DUP.
    DupNotSet,
    /// A will is published although the client said goodbye.
    WillAfterDisconnect,
    /// A client gets its own messages although it does not want them.
    NoLocalIgnored,
    /// Overlapping subscriptions get a copy each.
    OverlappingTwice,
    /// Messages of one key go to several members of a group at a time.
    KeyTornApart,
    /// What was acknowledged in a group with manual commit counts as committed.
    CommitAtAcknowledgement,
    /// Two members of a shared group get the same message.
    SharedToTwo,
    /// Messages are delivered after they have expired.
    ExpiryIgnored,
    /// A subscription goes on after UNSUBSCRIBE.
    UnsubscribeIgnored,
    /// More is in flight than the client's Receive Maximum.
    WindowExceeded,
    /// What did not fit on a full disk is acknowledged.
    AcknowledgeWhenFull,
    /// A sync that failed is tried again, and believed.
    RetryAfterFailedSync,
    /// After a failed write the broker goes on as if nothing were.
    ServeAfterPoison,
    /// A clock that is behind the log is followed.
    TimeGoesBack,
    /// The whole of a jump of the clock counts.
    JumpExpiresAll,
    /// A client that was not read from is taken for silent.
    PauseIsSilence,
    /// The cleaner drops the last record of a row.
    CleanerDropsLive,
    /// The cleaner drops tombstones of which older records are left.
    CleanerDropsTombstone,
    /// A cleaned segment gets its name before it is durable.
    CleanerBeforeSync,
    /// The name of a new segment is not made durable.
    NameNotSynced,
    /// A reserve that was used counts as made again.
    ReserveNotRemade,
    /// A read that fails is taken for one that found nothing.
    FailedReadIsEmpty,
    /// A checkpoint is declared whole before its rows are there.
    CheckpointStampFirst,
    /// At the seam between a replay and live messages, what is not durable yet belongs to neither.
    SeamLosesOne,
    /// A replay goes on behind where it stood.
    ReplayResumesLate,
    /// A delayed message is published again after a restart.
    DelayedFiresTwice,
    /// A delayed message is published two seconds before it is due.
    DelayedFiresEarly,
    /// What waits to be due is forgotten when the broker ends.
    DelayedLostAtRestart,
    /// A delayed message that was cancelled is published.
    DelayedCancelForgotten,
    /// Who holds an exclusive subscription is forgotten when the broker ends.
    ExclusiveForgotten,
    /// An exclusive subscription stays with the session that had it first.
    ExclusiveKept,
    /// Retention does not wait until those are told of whom it passes.
    LaggingLate,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::AckBeforeSync,
        Self::TornTailAccepted,
        Self::PubrelBeforeDurablePubrec,
        Self::InFlightForgottenOnCut,
        Self::RetainedOutOfOrder,
        Self::RetainedNotCleared,
        Self::SessionPresentLied,
        Self::Qos2DedupForgotten,
        Self::DupNotSet,
        Self::WillAfterDisconnect,
        Self::NoLocalIgnored,
        Self::OverlappingTwice,
        Self::KeyTornApart,
        Self::CommitAtAcknowledgement,
        Self::SharedToTwo,
        Self::ExpiryIgnored,
        Self::UnsubscribeIgnored,
        Self::WindowExceeded,
        Self::AcknowledgeWhenFull,
        Self::RetryAfterFailedSync,
        Self::ServeAfterPoison,
        Self::TimeGoesBack,
        Self::JumpExpiresAll,
        Self::PauseIsSilence,
        Self::CleanerDropsLive,
        Self::CleanerDropsTombstone,
        Self::CleanerBeforeSync,
        Self::NameNotSynced,
        Self::ReserveNotRemade,
        Self::FailedReadIsEmpty,
        Self::CheckpointStampFirst,
        Self::SeamLosesOne,
        Self::ReplayResumesLate,
        Self::DelayedFiresTwice,
        Self::DelayedFiresEarly,
        Self::DelayedLostAtRestart,
        Self::DelayedCancelForgotten,
        Self::ExclusiveForgotten,
        Self::ExclusiveKept,
        Self::LaggingLate,
    ];

    /// Its name, as `SIM_MUTANT` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack_before_sync",
            Self::TornTailAccepted => "torn_tail_accepted",
            Self::PubrelBeforeDurablePubrec => "pubrel_before_durable_pubrec",
            Self::InFlightForgottenOnCut => "in_flight_forgotten_on_cut",
            Self::RetainedOutOfOrder => "retained_out_of_order",
            Self::RetainedNotCleared => "retained_not_cleared",
            Self::SessionPresentLied => "session_present_lied",
            Self::Qos2DedupForgotten => "qos2_dedup_forgotten",
            Self::DupNotSet => "dup_not_set",
            Self::WillAfterDisconnect => "will_after_disconnect",
            Self::NoLocalIgnored => "no_local_ignored",
            Self::OverlappingTwice => "overlapping_twice",
            Self::KeyTornApart => "key_torn_apart",
            Self::CommitAtAcknowledgement => "commit_at_acknowledgement",
            Self::SharedToTwo => "shared_to_two",
            Self::ExpiryIgnored => "expiry_ignored",
            Self::UnsubscribeIgnored => "unsubscribe_ignored",
            Self::WindowExceeded => "window_exceeded",
            Self::AcknowledgeWhenFull => "acknowledge_when_full",
            Self::RetryAfterFailedSync => "retry_after_failed_sync",
            Self::ServeAfterPoison => "serve_after_poison",
            Self::TimeGoesBack => "time_goes_back",
            Self::JumpExpiresAll => "jump_expires_all",
            Self::PauseIsSilence => "pause_is_silence",
            Self::CleanerDropsLive => "cleaner_drops_live",
            Self::CleanerDropsTombstone => "cleaner_drops_tombstone",
            Self::CleanerBeforeSync => "cleaner_before_sync",
            Self::NameNotSynced => "name_not_synced",
            Self::ReserveNotRemade => "reserve_not_remade",
            Self::FailedReadIsEmpty => "failed_read_is_empty",
            Self::CheckpointStampFirst => "checkpoint_stamp_first",
            Self::SeamLosesOne => "seam_loses_one",
            Self::ReplayResumesLate => "replay_resumes_late",
            Self::DelayedFiresTwice => "delayed_fires_twice",
            Self::DelayedFiresEarly => "delayed_fires_early",
            Self::DelayedLostAtRestart => "delayed_lost_at_restart",
            Self::DelayedCancelForgotten => "delayed_cancel_forgotten",
            Self::ExclusiveForgotten => "exclusive_forgotten",
            Self::ExclusiveKept => "exclusive_kept",
            Self::LaggingLate => "lagging_late",
        }
    }

    /// Whether this thread has switched it on.
    #[cfg(feature = "mutants")]
    pub fn is_active(self) -> bool {
        active::is(self)
    }

    /// Never: it is not in the program.
    #[cfg(not(feature = "mutants"))]
    pub const fn is_active(self) -> bool {
        false
    }
}

#[cfg(feature = "mutants")]
pub use active::activate;

#[cfg(feature = "mutants")]
mod active {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches one bug on for this thread, and any other off.
    pub fn activate(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
    }

    pub(super) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}
