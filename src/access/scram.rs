//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as steps, for both sides, without channel binding.
//!
//! ```text
//! client                                   server
//!   | client-first  n,,n=user,r=CNONCE        |
//!   |---------------------------------------->|
//!   | server-first  r=CNONCE+SNONCE,s=,i=     |
//!   |<----------------------------------------|
//!   | client-final  c=biws,r=NONCE,p=PROOF    |
//!   |---------------------------------------->|
//!   | server-final  v=SIGNATURE               |   or a refusal
//!   |<----------------------------------------|
//! ```
//!
//! It knows no MQTT: the messages are the authentication data of CONNECT, AUTH and CONNACK. Nonces and salts are
//! arguments.
//!
//! - The server never sees the password and does not store it; it costs the server four hashes a login.
//! - A user that does not exist is asked like one that does, and refused at the last step, as for a wrong password.
//! - Proofs and signatures are compared in constant time.
//! - Passwords and names are taken as their bytes are (no `SASLprep`), as by most servers outside of XMPP.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The name of the mechanism, as it stands in the Authentication Method.
pub const METHOD: &str = "SCRAM-SHA-256";

/// The fewest PBKDF2 iterations that RFC 7677 allows.
pub const ITERATIONS_MIN: u32 = 4_096;

/// The most iterations that a client of ours computes because a server asks for them: some seconds.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// The longest message that either side reads, in bytes.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// The prefix of a verifier's text.
const VERIFIER_PREFIX: &str = "scram-sha-256$";

/// Why a step of SCRAM failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The message does not have the form that this step wants.
    #[error("the SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// The peer wants something that we don't have, such as channel binding.
    #[error("SCRAM: {0} is not supported")]
    Unsupported(&'static str),
    /// Wrong password or unknown user; which of them is not told.
    #[error("the SCRAM proof is wrong")]
    WrongProof,
    /// The server could not prove that it knows the user's verifier.
    #[error("the server's SCRAM signature is wrong")]
    WrongSignature,
}

/// What the server keeps of a password: enough to check a proof, not enough to make one.
///
/// As text: `scram-sha-256$iterations:salt$stored_key:server_key`, the three values in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Verifier {
    /// Derives the verifier of `password`. Costs `iterations` HMACs: about 0.3 us each.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: stored_key(&client_key(&salted)),
            server_key: server_key(&salted),
        }
    }

    /// A verifier for a user that does not exist: the same salt for the same name as long as the secret lives, so
    /// that asking twice tells nothing. No password fits it.
    pub fn decoy(secret: &[u8], user: &str, iterations: u32, salt_length: usize) -> Self {
        let salt = hmac(secret, &[b"salt", user.as_bytes()]);
        let salt = salt.get(..salt_length.clamp(8, 32)).unwrap_or(&salt).to_vec();
        Self {
            iterations,
            salt,
            stored_key: hmac(secret, &[b"stored", user.as_bytes()]),
            server_key: hmac(secret, &[b"server", user.as_bytes()]),
        }
    }

    /// How many PBKDF2 iterations it was derived with.
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The length of the salt in bytes.
    pub const fn salt_length(&self) -> usize {
        self.salt.len()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VERIFIER_PREFIX}{}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

impl fmt::Debug for Verifier {
    /// Without the keys: debug output ends up in traces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl FromStr for Verifier {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, ScramError> {
        let form = || {
            ScramError::Malformed(
                "a verifier is scram-sha-256$iterations:salt$stored_key:server_key",
            )
        };
        let text = text.strip_prefix(VERIFIER_PREFIX).ok_or_else(form)?;
        let (cost, keys) = text.split_once('$').ok_or_else(form)?;
        let (iterations, salt) = cost.split_once(':').ok_or_else(form)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or_else(form)?;
        let iterations: u32 = iterations.parse().map_err(|_| form())?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Malformed("the iterations of a verifier are 4096 to 10000000"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| form())?;
        if !(8..=64).contains(&salt.len()) {
            return Err(ScramError::Malformed("the salt of a verifier has 8 to 64 bytes"));
        }
        Ok(Self { iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

fn key(text: &str) -> Result<[u8; 32], ScramError> {
    let bytes = STANDARD.decode(text).map_err(|_| ScramError::Malformed("a key is not base64"))?;
    bytes.try_into().map_err(|_| ScramError::Malformed("a key does not have 32 bytes"))
}

/// The client's first message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    gs2_header: String,
    bare: String,
    user: String,
    nonce: String,
}

impl ClientFirst {
    /// Reads a client-first message.
    pub fn decode(message: &[u8]) -> Result<Self, ScramError> {
        let text = message_text(message)?;
        let mut parts = text.splitn(3, ',');
        let binding = parts.next().unwrap_or_default();
        let authorization = parts.next().ok_or(ScramError::Malformed("no GS2 header"))?;
        let bare = parts.next().ok_or(ScramError::Malformed("no GS2 header"))?;
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => {
                return Err(ScramError::Unsupported("channel binding"));
            }
            _ => return Err(ScramError::Malformed("the channel binding flag is not n, y or p")),
        }
        let (user, nonce) = decode_bare(bare)?;
        check_authorization(authorization, &user)?;
        let gs2_header = format!("{binding},{authorization},");
        Ok(Self { gs2_header, bare: bare.to_owned(), user, nonce })
    }

    /// Who wants to be let in.
    pub fn user(&self) -> &str {
        &self.user
    }
}

fn decode_bare(bare: &str) -> Result<(String, String), ScramError> {
    let mut attributes = bare.split(',');
    let name = attributes.next().unwrap_or_default();
    if name.starts_with("m=") {
        return Err(ScramError::Unsupported("a mandatory extension"));
    }
    let user = decode_name(name.strip_prefix("n=").ok_or(ScramError::Malformed("no user name"))?)?;
    let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
    let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(ScramError::Malformed("no nonce"))?;
    Ok((user, nonce.to_owned()))
}

/// Nobody may act for somebody else: an authorization identity is the user or absent.
fn check_authorization(authorization: &str, user: &str) -> Result<(), ScramError> {
    if authorization.is_empty() {
        return Ok(());
    }
    let name = authorization
        .strip_prefix("a=")
        .ok_or(ScramError::Malformed("the authorization identity"))?;
    if decode_name(name)? == user {
        Ok(())
    } else {
        Err(ScramError::Unsupported("another authorization identity"))
    }
}

/// The server's side between its two messages.
#[derive(Clone, Debug)]
pub struct Server {
    gs2_header: String,
    nonce: String,
    transcript: String,
    verifier: Verifier,
    known: bool,
}

impl Server {
    /// Answers a client-first message. `known` is false for a [`Verifier::decoy`]; `server_nonce` is random bytes.
    /// Returns the server-first message.
    pub fn begin(
        first: ClientFirst,
        verifier: Verifier,
        known: bool,
        server_nonce: &[u8],
    ) -> (Self, String) {
        Self::begin_with(first, verifier, known, &STANDARD.encode(server_nonce))
    }

    fn begin_with(
        first: ClientFirst,
        verifier: Verifier,
        known: bool,
        server_nonce: &str,
    ) -> (Self, String) {
        let nonce = format!("{}{server_nonce}", first.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let transcript = format!("{},{server_first}", first.bare);
        (Self { gs2_header: first.gs2_header, nonce, transcript, verifier, known }, server_first)
    }

    /// Checks the client's proof. Returns the server-final message.
    pub fn finish(self, message: &[u8]) -> Result<String, ScramError> {
        let text = message_text(message)?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|binding| binding.strip_prefix("c="));
        if binding != Some(STANDARD.encode(&self.gs2_header).as_str()) {
            return Err(ScramError::Malformed(
                "the GS2 header is not the one of the first message",
            ));
        }
        if attributes.next().and_then(|nonce| nonce.strip_prefix("r=")) != Some(self.nonce.as_str())
        {
            return Err(ScramError::Malformed("the nonce is not ours"));
        }
        let proof = key(proof)?;
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = hmac(&self.verifier.stored_key, &[transcript.as_bytes()]);
        let proven = stored_key(&xor(&proof, &signature)).ct_eq(&self.verifier.stored_key);
        if !(self.known && bool::from(proven)) {
            return Err(ScramError::WrongProof);
        }
        let signature = hmac(&self.verifier.server_key, &[transcript.as_bytes()]);
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}

/// The client's side.
#[derive(Clone)]
pub struct Client {
    password: Vec<u8>,
    bare: String,
    nonce: String,
    signature: Option<[u8; 32]>,
}

impl Client {
    /// Begins a login. `nonce` is at least 16 random bytes. Returns the client-first message.
    pub fn begin(user: &str, password: &[u8], nonce: &[u8]) -> (Self, String) {
        Self::begin_with(user, password, STANDARD.encode(nonce))
    }

    fn begin_with(user: &str, password: &[u8], nonce: String) -> (Self, String) {
        let bare = format!("n={},r={nonce}", encode_name(user));
        let first = format!("n,,{bare}");
        (Self { password: password.to_vec(), bare, nonce, signature: None }, first)
    }

    /// Answers the server-first message with client-final. Costs as many HMACs as the server asks for, at most
    /// [`ITERATIONS_MAX`].
    pub fn respond(&mut self, message: &[u8]) -> Result<String, ScramError> {
        let text = message_text(message)?;
        let (nonce, salt, iterations) = decode_server_first(text)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Malformed("the server's nonce does not begin with ours"));
        }
        let without_proof = format!("c={},r={nonce}", STANDARD.encode("n,,"));
        let transcript = format!("{},{text},{without_proof}", self.bare);
        let salted = salted_password(&self.password, &salt, iterations);
        let client_key = client_key(&salted);
        let signature = hmac(&stored_key(&client_key), &[transcript.as_bytes()]);
        self.signature = Some(hmac(&server_key(&salted), &[transcript.as_bytes()]));
        Ok(format!("{without_proof},p={}", STANDARD.encode(xor(&client_key, &signature))))
    }

    /// Checks the server-final message: whether the server knows the user's verifier.
    pub fn finish(self, message: &[u8]) -> Result<(), ScramError> {
        let text = message_text(message)?;
        let value = text.split(',').next().and_then(|value| value.strip_prefix("v="));
        let signature = key(value.ok_or(ScramError::Malformed("no server signature"))?)?;
        let expected = self.signature.ok_or(ScramError::WrongSignature)?;
        if bool::from(signature.ct_eq(&expected)) {
            Ok(())
        } else {
            Err(ScramError::WrongSignature)
        }
    }
}

impl fmt::Debug for Client {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("bare", &self.bare).finish_non_exhaustive()
    }
}

fn decode_server_first(text: &str) -> Result<(&str, Vec<u8>, u32), ScramError> {
    let mut attributes = text.split(',');
    let mut next = |name| attributes.next().and_then(|value| value.strip_prefix(name));
    let nonce = next("r=").ok_or(ScramError::Malformed("no nonce"))?;
    let salt = next("s=")
        .and_then(|salt| STANDARD.decode(salt).ok())
        .ok_or(ScramError::Malformed("no salt"))?;
    let iterations = next("i=").and_then(|iterations| iterations.parse().ok());
    let iterations = iterations.ok_or(ScramError::Malformed("no iteration count"))?;
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Err(ScramError::Unsupported("this iteration count"));
    }
    Ok((nonce, salt, iterations))
}

fn message_text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed("longer than 4096 bytes"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

/// Printable ASCII without the comma, as RFC 5802 says.
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn encode_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn decode_name(name: &str) -> Result<String, ScramError> {
    let mut parts = name.split('=');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramError::Malformed("an `=` in the user name")),
        };
        decoded.push(character);
        decoded.push_str(rest);
    }
    if decoded.is_empty() { Err(ScramError::Malformed("an empty user name")) } else { Ok(decoded) }
}

fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations)
}

fn client_key(salted: &[u8; 32]) -> [u8; 32] {
    hmac(salted, &[b"Client Key"])
}

fn server_key(salted: &[u8; 32]) -> [u8; 32] {
    hmac(salted, &[b"Server Key"])
}

fn stored_key(client_key: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(client_key).into()
}

fn xor(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut result = *left;
    result.iter_mut().zip(right).for_each(|(left, right)| *left ^= right);
    result
}

/// HMAC-SHA-256 of the parts one after the other; callers separate them where it matters.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn verifier() -> Verifier {
        Verifier::derive(b"pencil", &STANDARD.decode(SALT).unwrap(), 4_096)
    }

    #[test]
    fn the_vectors_of_rfc_7677() {
        let (mut client, first) = Client::begin_with("user", b"pencil", CLIENT_NONCE.to_owned());
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = ClientFirst::decode(first.as_bytes()).unwrap();
        assert_eq!(first.user(), "user");
        let (server, server_first) = Server::begin_with(first, verifier(), true, SERVER_NONCE);
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let client_final = client.respond(server_first.as_bytes()).unwrap();
        assert_eq!(
            client_final,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let server_final = server.finish(client_final.as_bytes()).unwrap();
        assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        client.finish(server_final.as_bytes()).unwrap();
    }

    fn login(password: &[u8], verifier: Verifier, known: bool) -> Result<(), ScramError> {
        let (mut client, first) = Client::begin("a=b,c", password, b"0123456789abcdef");
        let first = ClientFirst::decode(first.as_bytes())?;
        assert_eq!(first.user(), "a=b,c");
        let (server, message) = Server::begin(first, verifier, known, b"fedcba9876543210");
        let message = server.finish(client.respond(message.as_bytes())?.as_bytes())?;
        client.finish(message.as_bytes())
    }

    #[test]
    fn only_the_right_password_of_a_known_user_is_let_in() {
        assert_eq!(login(b"pencil", verifier(), true), Ok(()));
        assert_eq!(login(b"pencils", verifier(), true), Err(ScramError::WrongProof));
        assert_eq!(login(b"", verifier(), true), Err(ScramError::WrongProof));
        assert_eq!(login(b"pencil", verifier(), false), Err(ScramError::WrongProof));
    }

    #[test]
    fn a_decoy_looks_the_same_each_time_and_fits_no_password() {
        let decoy = Verifier::decoy(b"secret", "nobody", 4_096, 16);
        assert_eq!(decoy, Verifier::decoy(b"secret", "nobody", 4_096, 16));
        assert_ne!(decoy.salt, Verifier::decoy(b"secret", "nobody2", 4_096, 16).salt);
        assert_ne!(decoy.salt, Verifier::decoy(b"another", "nobody", 4_096, 16).salt);
        assert_eq!(decoy.salt_length(), 16);
        assert_eq!(login(b"pencil", decoy, true), Err(ScramError::WrongProof));
    }

    #[test]
    fn a_verifier_survives_its_text() {
        let text = verifier().to_string();
        assert!(text.starts_with("scram-sha-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
        assert_eq!(text.parse::<Verifier>(), Ok(verifier()));
        for broken in [
            "",
            "scram-sha-1$4096:W22ZaJ0SNY7soEsUEjb6gQ==$x:y",
            &text.replace("4096", "4095"),
            &text.replace("4096", "99999999999"),
            &text.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22Z"),
            text.get(..text.len() - 4).unwrap(),
        ] {
            assert!(broken.parse::<Verifier>().is_err(), "{broken}");
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_verifier_is_found_out() {
        let (mut client, _) = Client::begin_with("user", b"pencil", "abc".to_owned());
        client.respond(format!("r=abcdef,s={SALT},i=4096").as_bytes()).unwrap();
        let forged = format!("v={}", STANDARD.encode([0; 32]));
        assert_eq!(client.finish(forged.as_bytes()), Err(ScramError::WrongSignature));
    }

    #[test]
    fn a_client_refuses_a_foreign_nonce_and_absurd_costs() {
        let (client, _) = Client::begin_with("user", b"pencil", "abc".to_owned());
        let refused = [
            "r=abdef,s=AAAA,i=4096",
            "r=abc,s=AAAA,i=4096",
            "r=abcd,s=AAAA,i=1",
            "r=abcd,s=AAAA,i=4000000000",
            "r=abcd,s=*,i=4096",
            "",
        ];
        for message in refused {
            assert!(client.clone().respond(message.as_bytes()).is_err(), "{message}");
        }
        assert_eq!(
            client.finish(b"v=AAAA").unwrap_err(),
            ScramError::Malformed("a key does not have 32 bytes")
        );
    }

    #[test]
    fn broken_first_messages_are_named() {
        let cases: [(&[u8], ScramError); 11] = [
            (b"", ScramError::Malformed("no GS2 header")),
            (b"n,", ScramError::Malformed("no GS2 header")),
            (b"x,,n=a,r=b", ScramError::Malformed("the channel binding flag is not n, y or p")),
            (b"p=tls-unique,,n=a,r=b", ScramError::Unsupported("channel binding")),
            (b"n,a=other,n=a,r=b", ScramError::Unsupported("another authorization identity")),
            (b"n,,m=x,n=a,r=b", ScramError::Unsupported("a mandatory extension")),
            (b"n,,r=b", ScramError::Malformed("no user name")),
            (b"n,,n=,r=b", ScramError::Malformed("an empty user name")),
            (b"n,,n=a=zz,r=b", ScramError::Malformed("an `=` in the user name")),
            (b"n,,n=a", ScramError::Malformed("no nonce")),
            (b"n,,n=\xff,r=b", ScramError::Malformed("not UTF-8")),
        ];
        for (message, error) in cases {
            assert_eq!(ClientFirst::decode(message), Err(error), "{message:?}");
        }
        assert!(ClientFirst::decode(&[b'n'; 5_000]).is_err());
        assert_eq!(ClientFirst::decode(b"y,a=a,n=a,r=b").unwrap().user(), "a");
    }

    #[test]
    fn broken_final_messages_are_refused() {
        let first = ClientFirst::decode(b"n,,n=user,r=abc").unwrap();
        let (server, _) = Server::begin_with(first, verifier(), true, "def");
        let proof = STANDARD.encode([7; 32]);
        let cases = [
            (String::new(), ScramError::Malformed("no proof")),
            (
                format!("c=eSws,r=abcdef,p={proof}"),
                ScramError::Malformed("the GS2 header is not the one of the first message"),
            ),
            (format!("c=biws,r=abc,p={proof}"), ScramError::Malformed("the nonce is not ours")),
            (
                "c=biws,r=abcdef,p=AAAA".to_owned(),
                ScramError::Malformed("a key does not have 32 bytes"),
            ),
            (format!("c=biws,r=abcdef,p={proof}"), ScramError::WrongProof),
        ];
        for (message, error) in cases {
            assert_eq!(server.clone().finish(message.as_bytes()), Err(error), "{message}");
        }
    }
}
