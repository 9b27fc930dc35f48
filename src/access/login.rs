//! From a CONNECT to a user, in steps.
//!
//! ```text
//!            begin                    verified
//! CONNECT ----------> Verify(job) -----------------> Accept | Refuse | Verify, if the files changed meanwhile
//!            |           authenticate
//!            +-------> Continue(exchange) --> ... -> Accept | Refuse
//!            +-------> Accept | Refuse
//! ```
//!
//! Which user it is:
//!
//! 1. With an Authentication Method: the user of the exchange. Nothing else is asked.
//! 2. On a listener that takes users from certificates, with a certificate: its name. No password is asked.
//! 3. With a user name, while there is a password file: that user, if the password is right.
//! 4. Else nobody, an anonymous client, where those are let in. While there is no password file a user name proves
//!    nothing, so it is not believed and not refused either.
//!
//! A user name in CONNECT, or a certificate's name under 2, that differs from the user is refused.

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::ReasonCode;
use crate::mqtt::Text;
use crate::time::Timestamp;

use super::AccessError;
use super::Acl;
use super::Action;
use super::Decision;
use super::Explanation;
use super::Grants;
use super::Identity;
use super::Options;
use super::passwords::Check;
use super::passwords::Passwords;
use super::remembered::Key;
use super::remembered::Remembered;
use super::scram;
use super::scram::ClientFirst;
use super::scram::ScramError;

/// What a CONNECT says about who sends it, and what the listener says about that.
#[derive(Clone, Debug)]
pub struct ConnectRequest<'a> {
    /// The User Name.
    pub user_name: Option<&'a Text>,
    /// The Password.
    pub password: Option<&'a Bytes>,
    /// The Authentication Method.
    pub authentication_method: Option<&'a Text>,
    /// The Authentication Data.
    pub authentication_data: Option<&'a Bytes>,
    /// The certificate's name, if the listener takes users from certificates and the client showed one.
    pub certificate_user: Option<&'a Text>,
    /// Whether the listener lets clients without a user in.
    pub anonymous_allowed: bool,
    /// Fresh random bytes, for a challenge.
    pub nonce: [u8; 18],
    /// The time.
    pub now: Timestamp,
}

/// What comes next for a client that wants in.
#[derive(Debug)]
pub enum Step {
    /// It is let in.
    Accept(Accepted),
    /// It is refused.
    Refuse(Refusal),
    /// A password has to be checked: run the job where it may take its time, and hand the verdict to
    /// [`Access::verified`].
    Verify(PasswordJob),
    /// The client is to be sent an AUTH with Reason Code 0x18 and this data [MQTT-4.12.0-2]; its answer goes to
    /// [`Access::authenticate`].
    Continue {
        /// What the next step needs to know.
        exchange: Exchange,
        /// The Authentication Data.
        data: Bytes,
    },
}

/// A client that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The user; `None` for an anonymous client.
    pub user_name: Option<Text>,
    /// The Authentication Data for the CONNACK, or for the AUTH that ends a re-authentication.
    pub data: Option<Bytes>,
}

/// Why a client is not let in. The client is told the reason code, not more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no user, and the listener wants one.
    #[error("clients without a user name are not let in here")]
    Anonymous,
    /// There is no such user, or the password is wrong or missing.
    #[error("unknown user or wrong password")]
    Password,
    /// The user name is not the user that the client has proven to be.
    #[error("the user name is not the one that was proven")]
    OtherUser,
    /// The Authentication Method is unknown, or nobody can use it.
    #[error("this authentication method is not offered")]
    Method,
    /// The enhanced authentication failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// The password file was replaced during the exchange.
    #[error("the password file changed meanwhile")]
    Changed,
}

impl Refusal {
    /// The reason code for CONNACK or DISCONNECT.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Password => ReasonCode::BadUserNameOrPassword,
            Self::Anonymous | Self::OtherUser | Self::Scram(_) => ReasonCode::NotAuthorized,
            Self::Method => ReasonCode::BadAuthenticationMethod,
            Self::Changed => ReasonCode::ServerBusy,
        }
    }
}

/// A password to be checked, slowly: about 31 ms and 19 MiB.
#[derive(Clone)]
pub struct PasswordJob {
    check: Check,
    user: Text,
    password: Bytes,
    key: Key,
    generation: u64,
}

impl PasswordJob {
    /// Checks it.
    pub fn run(self) -> Verdict {
        Verdict { right: self.check.run(&self.password), job: self }
    }

    /// The user whose password it is, or would be.
    pub const fn user(&self) -> &Text {
        &self.user
    }
}

impl std::fmt::Debug for PasswordJob {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordJob").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a [`PasswordJob`] found.
#[derive(Clone, Debug)]
pub struct Verdict {
    job: PasswordJob,
    right: bool,
}

/// An enhanced authentication under way, between two packets.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The user that it has to end with.
    expected: Option<Text>,
    nonce: [u8; 18],
    generation: u64,
    state: ExchangeState,
}

#[derive(Clone, Debug)]
enum ExchangeState {
    /// The client has named the method only.
    Named,
    /// The client was sent the challenge.
    Challenged { user: Text, server: Box<scram::Server> },
}

/// Who may connect, and what they may do then: the files, read.
///
/// Cheap to clone. Whoever answers CONNECTs keeps a value of its own, since that remembers right passwords.
#[derive(Clone, Debug)]
pub struct Access {
    options: Options,
    passwords: Option<Arc<Passwords>>,
    acl: Acl,
    remembered: Remembered,
    /// Which reading of the files this is; a verdict on an older one does not count.
    generation: u64,
}

impl Access {
    /// Reads the texts of the password file and the ACL file, where there are any.
    pub fn new(
        options: Options,
        passwords: Option<&str>,
        acl: Option<&str>,
    ) -> Result<Self, AccessError> {
        Self::read(options, passwords, acl, 0)
    }

    /// Reads the files anew. Nothing of the old ones is remembered; the old value stays as it is.
    pub fn reload(&self, passwords: Option<&str>, acl: Option<&str>) -> Result<Self, AccessError> {
        Self::read(self.options.clone(), passwords, acl, self.generation + 1)
    }

    fn read(
        options: Options,
        passwords: Option<&str>,
        acl: Option<&str>,
        generation: u64,
    ) -> Result<Self, AccessError> {
        let passwords = passwords.map(Passwords::parse).transpose()?.map(Arc::new);
        let acl = acl.map_or_else(|| Ok(Acl::open()), Acl::parse)?;
        let remembered = Remembered::new(options.remember_passwords);
        Ok(Self { options, passwords, acl, remembered, generation })
    }

    /// Answers a CONNECT.
    pub fn begin(&mut self, request: &ConnectRequest<'_>) -> Step {
        if let Some(method) = request.authentication_method {
            let expected = request.certificate_user.or(request.user_name);
            let differ = request.user_name.is_some_and(|user| Some(user) != expected);
            if differ {
                return Step::Refuse(Refusal::OtherUser);
            }
            return self.begin_exchange(
                method,
                request.authentication_data,
                expected.cloned(),
                request.nonce,
            );
        }
        match (request.certificate_user, request.user_name, &self.passwords) {
            (Some(proven), Some(user), _) if proven != user => Step::Refuse(Refusal::OtherUser),
            (Some(proven), _, _) => accept(Some(proven.clone()), None),
            (None, Some(user), Some(_)) => match request.password {
                Some(password) => self.check_password(user, password, request.now),
                None => Step::Refuse(Refusal::Password),
            },
            (None, _, _) if request.anonymous_allowed => accept(None, None),
            (None, Some(_), None) => Step::Refuse(Refusal::Password),
            (None, None, _) => Step::Refuse(Refusal::Anonymous),
        }
    }

    fn check_password(&mut self, user: &Text, password: &Bytes, now: Timestamp) -> Step {
        let Some(passwords) = &self.passwords else {
            return Step::Refuse(Refusal::Password);
        };
        let key = Remembered::key(&self.options.secret, user, password);
        if self.remembered.contains(&key, now) {
            return accept(Some(user.clone()), None);
        }
        let check = passwords.check(user, &self.options.secret);
        let (user, password) = (user.clone(), password.clone());
        Step::Verify(PasswordJob { check, user, password, key, generation: self.generation })
    }

    /// Goes on after a password was checked. A verdict on files that were replaced meanwhile is not worth anything:
    /// the password is checked again.
    pub fn verified(&mut self, verdict: Verdict, now: Timestamp) -> Step {
        let Verdict { job, right } = verdict;
        if job.generation != self.generation {
            return self.check_password(&job.user, &job.password, now);
        }
        if !right {
            return Step::Refuse(Refusal::Password);
        }
        self.remembered.insert(job.key, now);
        accept(Some(job.user), None)
    }

    /// Begins a re-authentication: an AUTH with Reason Code 0x19 from a client that is in. It has to end with the user
    /// that the client is already; the caller holds the method to the one of CONNECT [MQTT-4.12.1-1].
    pub fn reauthenticate(
        &mut self,
        user: Option<&Text>,
        method: &Text,
        data: Option<&Bytes>,
        nonce: [u8; 18],
    ) -> Step {
        self.begin_exchange(method, data, user.cloned(), nonce)
    }

    fn begin_exchange(
        &self,
        method: &Text,
        data: Option<&Bytes>,
        expected: Option<Text>,
        nonce: [u8; 18],
    ) -> Step {
        if **method != *scram::METHOD || self.passwords.is_none() {
            return Step::Refuse(Refusal::Method);
        }
        let exchange =
            Exchange { expected, nonce, generation: self.generation, state: ExchangeState::Named };
        match data {
            Some(data) => self.authenticate(exchange, method, Some(data)),
            None => Step::Continue { exchange, data: Bytes::new() },
        }
    }

    /// Goes on with an exchange after the client's AUTH with Reason Code 0x18. The method has to be that of CONNECT
    /// [MQTT-4.12.0-5].
    pub fn authenticate(&self, exchange: Exchange, method: &Text, data: Option<&Bytes>) -> Step {
        if **method != *scram::METHOD {
            return Step::Refuse(Refusal::Method);
        }
        if exchange.generation != self.generation {
            return Step::Refuse(Refusal::Changed);
        }
        let data = data.map(AsRef::as_ref).unwrap_or_default();
        self.advance(exchange, data).unwrap_or_else(Step::Refuse)
    }

    fn advance(&self, exchange: Exchange, data: &[u8]) -> Result<Step, Refusal> {
        let Exchange { expected, nonce, generation, state } = exchange;
        match state {
            ExchangeState::Named => {
                let first = ClientFirst::decode(data)?;
                let user = Text::try_from(first.user())
                    .map_err(|_| ScramError::Malformed("the user name"))?;
                let passwords = self.passwords.as_ref().ok_or(Refusal::Method)?;
                let (verifier, known) = passwords.scram(&user, &self.options.secret);
                let (server, challenge) = scram::Server::begin(first, verifier, known, &nonce);
                let state = ExchangeState::Challenged { user, server: Box::new(server) };
                let exchange = Exchange { expected, nonce, generation, state };
                Ok(Step::Continue { exchange, data: Bytes::from(challenge) })
            }
            ExchangeState::Challenged { user, server } => {
                let signature = server.finish(data)?;
                if expected.is_some_and(|expected| expected != user) {
                    return Err(Refusal::OtherUser);
                }
                Ok(accept(Some(user), Some(Bytes::from(signature))))
            }
        }
    }

    /// What a client may do: to be kept with its session, and made again after a reload.
    pub fn grants(&self, identity: &Identity) -> Grants {
        self.acl.grants(identity)
    }

    /// Whether a client may do this. [`Access::grants`] answers the same many times, faster.
    pub fn may(&self, action: Action<'_>, identity: &Identity) -> Decision {
        self.grants(identity).may(action)
    }

    /// Whether a client may do this, and by which rules.
    pub fn explain(&self, action: Action<'_>, identity: &Identity) -> Explanation {
        self.acl.explain(action, identity)
    }

    /// Whether the password file has this user; `None` without a password file.
    pub fn knows(&self, user: &str) -> Option<bool> {
        self.passwords.as_ref().map(|passwords| passwords.credentials(user).is_some())
    }

    /// How many users the password file has; `None` without one.
    pub fn users(&self) -> Option<usize> {
        self.passwords.as_ref().map(|passwords| passwords.len())
    }
}

fn accept(user_name: Option<Text>, data: Option<Bytes>) -> Step {
    Step::Accept(Accepted { user_name, data })
}
