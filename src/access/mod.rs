//! Who may connect, publish and subscribe.
//!
//! - [`Access`] answers a CONNECT with a [`Step`]: let in, refused, or something to do first (check a password, which
//!   is slow and happens elsewhere; another round of enhanced authentication).
//! - [`Grants`] answers what a client that was let in may publish and subscribe to ([`acl`]).
//! - [`passwords`] and [`scram`] are what the answers rest on.
//!
//! It opens no file, reads no clock and draws nothing random: file texts, time, nonces and the secret are arguments.
//! A reload makes a new [`Access`] beside the old one, which stays as it is if the new one can't be made.

pub mod acl;
pub mod passwords;
pub mod scram;

mod cover;
mod login;
mod remembered;

use std::sync::Arc;
use std::time::Duration;

use crate::mqtt::ClientId;
use crate::mqtt::Text;

pub use acl::Acl;
pub use acl::Action;
pub use acl::Decision;
pub use acl::Explanation;
pub use acl::Grants;
pub use cover::covers;
pub use cover::overlaps;
pub use login::Accepted;
pub use login::Access;
pub use login::ConnectRequest;
pub use login::Exchange;
pub use login::PasswordJob;
pub use login::Refusal;
pub use login::Step;
pub use login::Verdict;

/// Who a client is, once it was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its client id, as given or as assigned.
    pub client_id: ClientId,
    /// The user it has proven to be; `None` if it is anonymous.
    pub user_name: Option<Text>,
    /// The name in its certificate, if it showed one.
    pub certificate_name: Option<Text>,
    /// The name of the listener that it came through.
    pub listener: Arc<str>,
    /// Where it came from, as in `10.0.0.7:50312`.
    pub peer: Arc<str>,
}

/// What access is decided by, beside the files.
#[derive(Clone)]
pub struct Options {
    /// How long a right password is not hashed again; zero for not at all.
    pub remember_passwords: Duration,
    /// Random bytes that nobody outside knows. As long as they are the same, also over restarts, a user that does not
    /// exist is asked for the same SCRAM salt each time.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for Options {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("remember_passwords", &self.remember_passwords)
            .finish_non_exhaustive()
    }
}

/// Why the files give no [`Access`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The password file is wrong.
    #[error("password file: {0}")]
    Passwords(#[from] passwords::PasswordsError),
    /// The ACL file is wrong.
    #[error("ACL file: {0}")]
    Acl(#[from] acl::AclError),
}
