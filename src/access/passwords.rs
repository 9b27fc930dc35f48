//! The password file: its text, and whether a password is right.
//!
//! One user a line, `name:argon2` or `name:argon2:verifier`; empty lines and lines that begin with `#` are comments.
//!
//! ```text
//! # operators
//! alice:$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA:scram-sha-256$65536:c2FsdA==$c3RvcmVk:c2VydmVy
//! ```
//!
//! - The first hash serves the password of CONNECT, the second one enhanced authentication with SCRAM-SHA-256
//!   ([`scram`]); a user without the second can't use that.
//! - Checking a password is slow on purpose (about 31 ms and 19 MiB with the default cost), so it is a value of its
//!   own, [`Check`], that runs on another thread.
//! - A user that does not exist costs the same, with the cost of a user who does.
//! - No file is opened here and nothing random is drawn: text and salts are arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;

use super::scram;
use super::scram::ScramError;
use super::scram::Verifier;

/// The iterations of a new SCRAM verifier. The client computes them, some 20 ms on a small computer, so they can't
/// be as dear as argon2; a leaked file is as strong as the cheaper of the two.
pub const SCRAM_ITERATIONS_DEFAULT: u32 = 65_536;

/// The most memory that a line of the file may ask for: 1 GiB, in KiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;

/// The most passes and lanes that a line may ask for.
const PASSES_MAX: u32 = 64;

/// What an unknown user is checked against while the file has no users: no password fits it.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What is wrong with a password file or an entry of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct PasswordsError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub why: EntryError,
}

/// What is wrong with a user's entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// No colon.
    #[error("a line is name:hash or name:hash:scram-verifier")]
    NoHash,
    /// An empty name, or one with a character that would break the file.
    #[error(
        "a user name is 1 to 1024 bytes without `:`, control characters, or a `#` or white space at its border"
    )]
    Name,
    /// The name has a line already.
    #[error("the user {0:?} has a line already")]
    Twice(String),
    /// The hash is no PHC string.
    #[error("the hash is no argon2id PHC string ($argon2id$v=19$m=..,t=..,p=..$salt$hash)")]
    Hash,
    /// The hash asks for more than any check should cost.
    #[error("the hash costs too much: at most m=1048576 (1 GiB), t=64, p=64")]
    Cost,
    /// The second hash is no verifier.
    #[error(transparent)]
    Scram(ScramError),
    /// The hash could not be computed.
    #[error("the password could not be hashed")]
    Hashing,
}

/// The hashes of one user's password.
#[derive(Clone)]
pub struct Credentials {
    argon2: PasswordHash,
    scram: Option<Verifier>,
}

impl Credentials {
    /// Hashes a password. `scram` is the salt and the iterations of a verifier for enhanced authentication.
    /// Slow: about 31 ms, and 20 ms more for the verifier.
    pub fn derive(
        password: &[u8],
        salt: [u8; 16],
        scram: Option<([u8; 16], u32)>,
    ) -> Result<Self, EntryError> {
        Self::derive_with(password, salt, Params::DEFAULT, scram)
    }

    fn derive_with(
        password: &[u8],
        salt: [u8; 16],
        cost: Params,
        scram: Option<([u8; 16], u32)>,
    ) -> Result<Self, EntryError> {
        let hasher = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
        let argon2 =
            hasher.hash_password_with_salt(password, &salt).map_err(|_| EntryError::Hashing)?;
        let scram = scram.map(|(salt, iterations)| Verifier::derive(password, &salt, iterations));
        Ok(Self { argon2, scram })
    }

    fn decode(text: &str) -> Result<Self, EntryError> {
        let (argon2, scram) =
            text.split_once(':').map_or((text, None), |(argon2, scram)| (argon2, Some(scram)));
        let argon2 = decode_argon2(argon2)?;
        let scram = scram.map(str::parse).transpose().map_err(EntryError::Scram)?;
        Ok(Self { argon2, scram })
    }

    /// Whether the password is right. Slow: about 31 ms with the default cost.
    pub fn verify(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.argon2).is_ok()
    }

    /// The verifier for enhanced authentication, if the user has one.
    pub const fn scram(&self) -> Option<&Verifier> {
        self.scram.as_ref()
    }
}

fn decode_argon2(text: &str) -> Result<PasswordHash, EntryError> {
    let hash = PasswordHash::new(text).map_err(|_| EntryError::Hash)?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(EntryError::Hash);
    }
    let cost = Params::try_from(&hash).map_err(|_| EntryError::Hash)?;
    if cost.m_cost() > MEMORY_KIB_MAX || cost.t_cost() > PASSES_MAX || cost.p_cost() > PASSES_MAX {
        return Err(EntryError::Cost);
    }
    Ok(hash)
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.argon2)?;
        self.scram.as_ref().map_or(Ok(()), |scram| write!(f, ":{scram}"))
    }
}

impl fmt::Debug for Credentials {
    /// Without the hashes: debug output ends up in traces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("scram", &self.scram).finish_non_exhaustive()
    }
}

/// A password file, read.
#[derive(Clone, Debug, Default)]
pub struct Passwords {
    users: BTreeMap<Box<str>, Arc<Credentials>>,
    /// Every user's, to choose a stand-in for an unknown user from.
    all: Vec<Arc<Credentials>>,
    /// Those with a SCRAM verifier, for the same.
    with_scram: Vec<Arc<Credentials>>,
}

impl Passwords {
    /// Reads the text of a password file.
    pub fn parse(text: &str) -> Result<Self, PasswordsError> {
        let mut users = BTreeMap::new();
        for (line, entry) in (1..).zip(text.lines()).filter(|(_, entry)| is_entry(entry)) {
            let at = |why| PasswordsError { line, why };
            let (name, hashes) =
                entry.trim().split_once(':').ok_or_else(|| at(EntryError::NoHash))?;
            check_name(name).map_err(at)?;
            let credentials = Credentials::decode(hashes).map_err(at)?;
            if users.insert(Box::from(name), Arc::new(credentials)).is_some() {
                return Err(at(EntryError::Twice(name.to_owned())));
            }
        }
        let all: Vec<Arc<Credentials>> = users.values().cloned().collect();
        let with_scram =
            all.iter().filter(|credentials| credentials.scram.is_some()).cloned().collect();
        Ok(Self { users, all, with_scram })
    }

    /// The users' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(AsRef::as_ref)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The hashes of a user.
    pub fn credentials(&self, user: &str) -> Option<&Arc<Credentials>> {
        self.users.get(user)
    }

    /// Whether the password is right. Slow, and as slow for a user that does not exist.
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        self.check(user, b"").run(password)
    }

    /// The check of a user's password, to be run elsewhere. `secret` decides which user's cost an unknown one has.
    pub fn check(&self, user: &str, secret: &[u8]) -> Check {
        let known = self.credentials(user);
        let credentials = known.or_else(|| stand_in(&self.all, user, secret)).cloned();
        Check { credentials, known: known.is_some() }
    }

    /// The SCRAM verifier of a user, and whether it is a real one: unknown users, and users without a verifier, get
    /// one that no password fits.
    pub fn scram(&self, user: &str, secret: &[u8]) -> (Verifier, bool) {
        if let Some(verifier) = self.credentials(user).and_then(|credentials| credentials.scram()) {
            return (verifier.clone(), true);
        }
        let model =
            stand_in(&self.with_scram, user, secret).and_then(|credentials| credentials.scram());
        let iterations = model.map_or(SCRAM_ITERATIONS_DEFAULT, Verifier::iterations);
        let salt_length = model.map_or(16, Verifier::salt_length);
        (Verifier::decoy(secret, user, iterations, salt_length), false)
    }
}

/// A user whose cost stands in for that of an unknown one, always the same for the same name, so that unknown users
/// differ from each other as known ones do.
fn stand_in<'a>(
    models: &'a [Arc<Credentials>],
    user: &str,
    secret: &[u8],
) -> Option<&'a Arc<Credentials>> {
    let [first, second, third, ..] = scram::hmac(secret, &[b"stand-in", user.as_bytes()]);
    let number = u32::from_le_bytes([first, second, third, 0]);
    models.get(usize::try_from(number).ok()?.checked_rem(models.len())?)
}

/// A slow check of one user's password. It is `Send` and cheap to move; run it off the thread that serves others.
#[derive(Clone, Debug)]
pub struct Check {
    credentials: Option<Arc<Credentials>>,
    known: bool,
}

impl Check {
    /// Computes the hash and compares. The time does not tell whether the user exists.
    pub fn run(&self, password: &[u8]) -> bool {
        let matches = match &self.credentials {
            Some(credentials) => credentials.verify(password),
            None => decode_argon2(DECOY)
                .is_ok_and(|argon2| Credentials { argon2, scram: None }.verify(password)),
        };
        self.known && matches
    }
}

/// The text of a password file with one user's line set: in place, or at the end. The other lines stay as they are.
pub fn with_user(text: &str, name: &str, credentials: &Credentials) -> Result<String, EntryError> {
    check_name(name)?;
    let entry = format!("{name}:{credentials}");
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let is_this = is_line_of(line, name);
        found |= is_this;
        lines.push(if is_this { &entry } else { line });
    }
    if !found {
        lines.push(&entry);
    }
    Ok(joined(&lines))
}

/// The text of a password file without one user's line; `None` if the user has none.
pub fn without_user(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !is_line_of(line, name)).collect();
    (lines.len() < text.lines().count()).then(|| joined(&lines))
}

fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

fn is_entry(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn is_line_of(line: &str, name: &str) -> bool {
    is_entry(line) && line.trim().split_once(':').is_some_and(|(owner, _)| owner == name)
}

/// Whether the file can hold this name.
pub fn check_name(name: &str) -> Result<(), EntryError> {
    let clean = !name.contains(|c: char| c == ':' || c.is_control())
        && name.trim() == name
        && !name.starts_with('#');
    if clean && (1..=1_024).contains(&name.len()) { Ok(()) } else { Err(EntryError::Name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cheap as argon2 gets, for tests that are not about cost.
    fn cheap(password: &[u8]) -> Credentials {
        let cost = Params::new(8, 1, 1, None).unwrap();
        Credentials::derive_with(password, [1; 16], cost, Some(([2; 16], 4_096))).unwrap()
    }

    fn file() -> String {
        let text = with_user("# ours\n\n", "alice", &cheap(b"wonder")).unwrap();
        with_user(&text, "bob", &cheap(b"builder")).unwrap()
    }

    #[test]
    fn passwords_are_verified() {
        let passwords = Passwords::parse(&file()).unwrap();
        assert_eq!(passwords.names().collect::<Vec<_>>(), ["alice", "bob"]);
        assert!(passwords.verify("alice", b"wonder"));
        assert!(!passwords.verify("alice", b"builder"));
        assert!(!passwords.verify("alice", b""));
        assert!(!passwords.verify("carol", b"wonder"));
        assert!(!passwords.verify("carol", b"builder"));
        assert!(!passwords.verify("", b"wonder"));
    }

    #[test]
    fn an_empty_file_lets_nobody_in() {
        let passwords = Passwords::parse("").unwrap();
        assert!(passwords.is_empty());
        assert!(!passwords.verify("alice", b""));
        assert!(decode_argon2(DECOY).is_ok(), "the decoy is a hash, or unknown users are quick");
    }

    #[test]
    fn the_default_cost_is_what_is_written() {
        let credentials = Credentials::derive(b"x", [3; 16], None).unwrap();
        assert!(
            credentials.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{credentials}"
        );
        assert!(credentials.verify(b"x"));
        assert!(DECOY.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn an_unknown_user_costs_what_some_known_user_costs() {
        let passwords = Passwords::parse(&file()).unwrap();
        let check = passwords.check("carol", b"secret");
        assert!(!check.known);
        assert!(check.credentials.is_some());
        let (verifier, known) = passwords.scram("carol", b"secret");
        assert!(!known);
        assert_eq!((verifier.iterations(), verifier.salt_length()), (4_096, 16));
        assert_eq!(passwords.scram("carol", b"secret").0, verifier);
        assert!(passwords.scram("alice", b"secret").1);
    }

    #[test]
    fn lines_are_set_and_removed_in_place() {
        let text = file();
        let changed = with_user(&text, "alice", &cheap(b"new")).unwrap();
        assert_eq!(changed.lines().count(), 4);
        assert!(changed.starts_with("# ours\n\nalice:"));
        assert!(Passwords::parse(&changed).unwrap().verify("alice", b"new"));
        let removed = without_user(&changed, "alice").unwrap();
        assert_eq!(Passwords::parse(&removed).unwrap().names().collect::<Vec<_>>(), ["bob"]);
        assert!(removed.starts_with("# ours\n\nbob:"));
        assert_eq!(without_user(&removed, "alice"), None);
        assert_eq!(without_user("#alice:x\n", "#alice"), None);
    }

    #[test]
    fn names_that_would_break_the_file_are_refused() {
        for name in ["", "a:b", "a\nb", " a", "a ", "#a", &"x".repeat(1_025)] {
            assert_eq!(
                with_user("", name, &cheap(b"x")).unwrap_err(),
                EntryError::Name,
                "{name:?}"
            );
        }
        let text = with_user("", "ünal o'neil", &cheap(b"x")).unwrap();
        assert!(Passwords::parse(&text).unwrap().verify("ünal o'neil", b"x"));
    }

    #[test]
    fn errors_name_the_line() {
        let hash = cheap(b"x").argon2.to_string();
        let cases = [
            ("alice".to_owned(), EntryError::NoHash),
            (format!(":{hash}"), EntryError::Name),
            ("alice:".to_owned(), EntryError::Hash),
            ("alice:$6$salt$hash".to_owned(), EntryError::Hash),
            (format!("alice:{}", hash.replace("argon2id", "argon2i")), EntryError::Hash),
            (format!("alice:{}", hash.replace("m=8", "m=4000000")), EntryError::Cost),
            (format!("alice:{}", hash.replace("t=1", "t=65")), EntryError::Cost),
            (format!("first:{hash}"), EntryError::Twice("first".to_owned())),
        ];
        for (entry, why) in cases {
            let text = format!("# comment\nfirst:{hash}\n{entry}\n");
            assert_eq!(
                Passwords::parse(&text).unwrap_err(),
                PasswordsError { line: 3, why },
                "{entry}"
            );
        }
        let error = Passwords::parse(&format!("alice:{hash}:nonsense")).unwrap_err();
        assert!(matches!(error.why, EntryError::Scram(_)), "{error}");
    }
}
