//! Sections 3.15 and 4.12: enhanced authentication, shown with SCRAM-SHA-256.

use argon2::Argon2;
use argon2::Params;
use argon2::PasswordHasher;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Digest;
use sha2::Sha256;

use crate::prelude::*;
use crate::wire::packet::Connack;
use crate::wire::packet::Reason;
use crate::wire::request::auth;
use crate::wire::request::frame;

const METHOD: &str = "SCRAM-SHA-256";
const SALT: &[u8] = b"salt of a test..";
const ITERATIONS: u32 = 4_096;
const CONTINUE: u8 = 0x18;
const REAUTHENTICATE: u8 = 0x19;

/// A password file with one user, `alice`, whose password is `secret`; as cheap to check as it gets.
pub(crate) fn password_file() -> String {
    let cost = Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
    let hash = argon2.hash_password_with_salt(b"secret", SALT).unwrap();
    let salted = salted_password("secret");
    let stored_key = STANDARD.encode(Sha256::digest(sign(&salted, b"Client Key")));
    let server_key = STANDARD.encode(sign(&salted, b"Server Key"));
    let salt = STANDARD.encode(SALT);
    format!("alice:{hash}:scram-sha-256${ITERATIONS}:{salt}${stored_key}:{server_key}\n")
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn salted_password(password: &str) -> Vec<u8> {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), SALT, ITERATIONS).to_vec()
}

fn with_users() -> Broker {
    Broker::start_with(Settings { passwords: Some(password_file()), ..Settings::default() })
}

fn method() -> Property {
    Property::AuthenticationMethod(METHOD.into())
}

fn data(text: &str) -> Property {
    Property::AuthenticationData(text.into())
}

fn first_message() -> (&'static str, &'static str) {
    ("n,,n=alice,r=clientnonce", "n=alice,r=clientnonce")
}

fn connect() -> Connect {
    Connect::new(Version::V5, "c").with(method()).with(data(first_message().0))
}

/// The AUTH that has to be the next packet; it repeats the method.
fn challenge(client: &mut Client) -> String {
    match client.next() {
        Packet::Auth(Reason { code, properties }) => {
            assert_eq!(code, CONTINUE);
            assert!(properties.contains(&method()));
            let data = properties.into_iter().find_map(|p| match p {
                Property::AuthenticationData(data) => Some(data),
                _ => None,
            });
            String::from_utf8(data.expect("authentication data")).unwrap()
        }
        other => panic!("AUTH was due, not {other:?}"),
    }
}

/// The client's second message: the proof that it knows the password.
fn proof(challenge: &str, password: &str) -> String {
    let nonce = challenge.split(',').next().unwrap();
    let without_proof = format!("c=biws,{nonce}");
    let signed = format!("{},{challenge},{without_proof}", first_message().1);
    let client_key = sign(&salted_password(password), b"Client Key");
    let signature = sign(&Sha256::digest(&client_key), signed.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn answer(client: &mut Client, password: &str) {
    let challenge = challenge(client);
    client.send(&auth(CONTINUE, &[method(), data(&proof(&challenge, password))]));
}

/// A client that has logged in.
fn logged_in(broker: &Broker) -> (Client, Connack) {
    let mut client = Client::open(broker.address(), Version::V5);
    client.send(&connect().bytes());
    answer(&mut client, "secret");
    let connack = client.connack();
    assert_eq!(connack.code, 0);
    (client, connack)
}

/// [MQTT-4.12.0-1] [MQTT-3.2.2-7] [MQTT-3.2.2-8] [MQTT-4.13.2-1]
#[test]
fn unsupported_method_is_refused() {
    let broker = Broker::start();
    let connect = Connect::new(Version::V5, "c")
        .with(Property::AuthenticationMethod("NO-SUCH-METHOD".into()));
    let (mut client, connack) = Client::try_connect(broker.address(), &connect);
    assert!([0x8C, 0x87].contains(&connack.code), "{:#x}", connack.code);
    assert_eq!(client.try_next(), None);
}

/// [MQTT-4.12.0-6] [MQTT-4.12.0-7]
#[test]
fn without_a_method_there_is_no_auth() {
    let broker = Broker::start();
    let (mut client, connack) = Client::connect(broker.address(), &Connect::new(Version::V5, "c"));
    let method = connack.properties.iter().find(|p| matches!(p, Property::AuthenticationMethod(_)));
    assert_eq!(method, None);
    client.send(&auth(REAUTHENTICATE, &[Property::AuthenticationMethod(METHOD.into())]));
    client.expect_close_because(0x82);
}

/// [3.1.1 MQTT-2.2.2-2]
#[test]
fn auth_is_unknown_before_version_5() {
    let broker = Broker::start();
    for version in [Version::V3, Version::V4] {
        let mut client = Client::clean(broker.address(), version, "c");
        client.send(&frame(0xF0, &[]));
        assert_eq!(client.try_next(), None);
    }
}

/// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1] [MQTT-3.2.0-1] [MQTT-3.15.1-1]
#[test]
fn login_takes_steps_that_repeat_the_method() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let (mut client, connack) = logged_in(&broker);
    assert!(connack.properties.contains(&method()));
    client.ping();
}

/// [MQTT-4.12.0-4] [MQTT-3.2.2-6] [MQTT-3.2.2-7]
#[test]
fn wrong_proof_is_refused() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let mut client = Client::open(broker.address(), Version::V5);
    client.send(&connect().bytes());
    answer(&mut client, "wrong");
    match client.try_next() {
        None => {}
        Some(Packet::Connack(connack)) => {
            assert!(connack.code >= 0x80);
            assert_eq!(client.try_next(), None);
        }
        Some(other) => panic!("{other:?}"),
    }
}

/// [MQTT-3.1.2-30] [MQTT-4.12.0-3] [MQTT-4.12.0-5]
#[test]
fn login_is_not_interrupted_by_anything_else() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let other_method = Property::AuthenticationMethod("OTHER".into());
    for bytes in [
        Publish::new("a", "x").bytes(Version::V5),
        request::PINGREQ.to_vec(),
        request::subscribe(Version::V5, 1, &[("a", 0)], &[]),
        connect().bytes(),
        auth(CONTINUE, &[other_method]),
        auth(0, &[method()]),
    ] {
        let mut client = Client::open(broker.address(), Version::V5);
        client.send(&connect().bytes());
        challenge(&mut client);
        client.send(&bytes);
        match client.try_next() {
            None => {}
            Some(Packet::Connack(connack)) => {
                assert!(connack.code >= 0x80);
                assert_eq!(client.try_next(), None);
            }
            Some(other) => panic!("{bytes:x?} was answered with {other:?}"),
        }
    }
}

/// [MQTT-4.12.1-1] [MQTT-4.12.0-5] [MQTT-3.15.2-1]
#[test]
fn client_logs_in_again_while_it_goes_on() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let (mut client, _) = logged_in(&broker);
    client.send(&auth(REAUTHENTICATE, &[method(), data(first_message().0)]));
    client.ping();
    answer(&mut client, "secret");
    match client.next() {
        Packet::Auth(reason) => {
            assert_eq!(reason.code, 0);
            assert!(reason.properties.contains(&method()));
        }
        other => panic!("AUTH was due, not {other:?}"),
    }
    client.ping();
}

/// [MQTT-4.12.1-1] [MQTT-4.12.1-2] [MQTT-4.12.0-4]
#[test]
fn failed_second_login_closes() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let (mut client, _) = logged_in(&broker);
    client.send(&auth(REAUTHENTICATE, &[method(), data(first_message().0)]));
    answer(&mut client, "wrong");
    client.expect_close();
    let (mut client, _) = logged_in(&broker);
    client.send(&auth(REAUTHENTICATE, &[Property::AuthenticationMethod("OTHER".into())]));
    client.expect_close();
}

/// [MQTT-3.15.1-1] [MQTT-3.15.2-1]
#[test]
fn malformed_auth_closes() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    let whole = auth(REAUTHENTICATE, &[method()]);
    let mut bad: Vec<Vec<u8>> = (1..16).map(|flags| frame(0xF0 | flags, &whole[2..])).collect();
    bad.push(auth(0x01, &[method()]));
    bad.push(auth(REAUTHENTICATE, &[method(), method()]));
    bad.push(auth(REAUTHENTICATE, &[data("without method")]));
    bad.push(auth(REAUTHENTICATE, &[method(), Property::SessionExpiry(1)]));
    for bytes in bad {
        let (mut client, _) = logged_in(&broker);
        client.send(&bytes);
        client.expect_close();
    }
}

/// [MQTT-3.15.2-2] [MQTT-3.15.2-3] [MQTT-3.1.2-24]
#[test]
fn auth_keeps_within_the_clients_maximum_packet_size() {
    if mosquitto_differs("knows no method") {
        return;
    }
    let broker = with_users();
    // The challenge itself needs about 100 bytes; a reason string beside it would not fit.
    for maximum in [130, 200] {
        let mut client = Client::open(broker.address(), Version::V5);
        client.send(&connect().with(Property::MaximumPacketSize(maximum)).bytes());
        let (packet, length) = client.next_with_length();
        assert!(matches!(packet, Packet::Auth(_)), "{packet:?}");
        assert!(length <= maximum as usize, "{packet:?} has {length} bytes");
    }
}
