//! Logins, step by step.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::proptest;

use tidelog::access::Accepted;
use tidelog::access::Access;
use tidelog::access::ConnectRequest;
use tidelog::access::Exchange;
use tidelog::access::Options;
use tidelog::access::PasswordJob;
use tidelog::access::Refusal;
use tidelog::access::Step;
use tidelog::access::passwords;
use tidelog::access::passwords::Credentials;
use tidelog::access::scram;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Text;
use tidelog::time::Timestamp;

use super::text;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn options() -> Options {
    Options { remember_passwords: Duration::from_mins(1), secret: [9; 32] }
}

/// A password file with `alice:wonder`, who may use SCRAM, and `bob:builder`, who may not.
fn file() -> String {
    let alice =
        Credentials::derive(b"wonder", [1; 16], Some(([2; 16], scram::ITERATIONS_MIN))).unwrap();
    let bob = Credentials::derive(b"builder", [3; 16], None).unwrap();
    passwords::with_user(&passwords::with_user("", "alice", &alice).unwrap(), "bob", &bob).unwrap()
}

fn access() -> Access {
    Access::new(options(), Some(&file()), None).unwrap()
}

/// A CONNECT from a place that lets nobody in without a user.
fn request<'a>() -> ConnectRequest<'a> {
    ConnectRequest {
        user_name: None,
        password: None,
        authentication_method: None,
        authentication_data: None,
        certificate_user: None,
        anonymous_allowed: false,
        nonce: [7; 18],
        now: NOW,
    }
}

#[track_caller]
fn accepted(step: Step) -> Accepted {
    match step {
        Step::Accept(accepted) => accepted,
        Step::Refuse(_) | Step::Verify(_) | Step::Continue { .. } => panic!("{step:?}"),
    }
}

#[track_caller]
fn refused(step: Step) -> Refusal {
    match step {
        Step::Refuse(refusal) => refusal,
        step @ (Step::Accept(_) | Step::Verify(_) | Step::Continue { .. }) => panic!("{step:?}"),
    }
}

#[track_caller]
fn job(step: Step) -> PasswordJob {
    match step {
        Step::Verify(job) => job,
        Step::Accept(_) | Step::Refuse(_) | Step::Continue { .. } => panic!("{step:?}"),
    }
}

#[track_caller]
fn challenge(step: Step) -> (Exchange, Bytes) {
    match step {
        Step::Continue { exchange, data } => (exchange, data),
        Step::Accept(_) | Step::Refuse(_) | Step::Verify(_) => panic!("{step:?}"),
    }
}

/// A login with user name and password, the password checked if that is asked for.
fn login(access: &mut Access, user: &str, password: &str) -> Step {
    let (user, password) = (text(user), Bytes::copy_from_slice(password.as_bytes()));
    let step = access.begin(&ConnectRequest {
        user_name: Some(&user),
        password: Some(&password),
        ..request()
    });
    match step {
        Step::Verify(job) => access.verified(job.run(), NOW),
        Step::Accept(_) | Step::Refuse(_) | Step::Continue { .. } => step,
    }
}

#[test]
fn clients_without_a_user_are_let_in_where_the_listener_says_so() {
    let mut access = access();
    let refusal = refused(access.begin(&request()));
    assert_eq!((refusal, refusal.reason_code()), (Refusal::Anonymous, ReasonCode::NotAuthorized));
    let step = access.begin(&ConnectRequest { anonymous_allowed: true, ..request() });
    assert_eq!(accepted(step), Accepted { user_name: None, data: None });
}

#[test]
fn passwords_are_checked_wherever_there_is_a_file() {
    let mut access = access();
    assert_eq!(accepted(login(&mut access, "alice", "wonder")).user_name, Some(text("alice")));
    for (user, password) in [("alice", "builder"), ("alice", ""), ("carol", "wonder"), ("", "")] {
        let refusal = refused(login(&mut access, user, password));
        assert_eq!(
            (refusal, refusal.reason_code()),
            (Refusal::Password, ReasonCode::BadUserNameOrPassword),
            "{user}"
        );
    }
    let user = text("alice");
    let no_password =
        ConnectRequest { user_name: Some(&user), anonymous_allowed: true, ..request() };
    assert_eq!(refused(access.begin(&no_password)), Refusal::Password);
}

#[test]
fn without_a_password_file_a_user_name_proves_nothing() {
    let mut access = Access::new(options(), None, None).unwrap();
    let user = text("alice");
    let open = ConnectRequest { user_name: Some(&user), anonymous_allowed: true, ..request() };
    assert_eq!(accepted(access.begin(&open)).user_name, None);
    let closed = ConnectRequest { anonymous_allowed: false, ..open };
    assert_eq!(refused(access.begin(&closed)), Refusal::Password);
    assert_eq!(access.users(), None);
}

#[test]
fn a_right_password_is_remembered_until_it_is_too_old_or_the_file_is_read_again() {
    let mut access = access();
    let (user, password) = (text("bob"), Bytes::from_static(b"builder"));
    let request = ConnectRequest { user_name: Some(&user), password: Some(&password), ..request() };
    let verdict = job(access.begin(&request)).run();
    accepted(access.verified(verdict, NOW));
    assert_eq!(accepted(access.begin(&request)).user_name, Some(text("bob")));
    job(access.begin(&ConnectRequest { now: NOW + Duration::from_mins(1), ..request.clone() }));
    job(access.reload(Some(&file()), None).unwrap().begin(&request));
}

#[test]
fn a_verdict_on_an_old_file_does_not_count() {
    let mut access = access();
    let (user, password) = (text("bob"), Bytes::from_static(b"builder"));
    let request = ConnectRequest { user_name: Some(&user), password: Some(&password), ..request() };
    let verdict = job(access.begin(&request)).run();
    let mut access =
        access.reload(Some(&passwords::without_user(&file(), "bob").unwrap()), None).unwrap();
    let again = job(access.verified(verdict, NOW));
    assert_eq!(**again.user(), *"bob");
    assert_eq!(refused(access.verified(again.run(), NOW)), Refusal::Password);
}

#[test]
fn a_reload_with_a_broken_file_leaves_the_old_one() {
    let mut access = access();
    let error = access.reload(Some("alice\n"), None).unwrap_err().to_string();
    assert_eq!(error, "password file: line 1: a line is name:hash or name:hash:scram-verifier");
    let error = access.reload(None, Some("allow\n")).unwrap_err().to_string();
    assert_eq!(error, "ACL file: line 1: whom the rule is about is missing");
    accepted(login(&mut access, "alice", "wonder"));
    assert_eq!(access.users(), Some(2));
}

#[test]
fn a_certificate_names_the_user_where_the_listener_says_so() {
    let mut access = access();
    let (device, other) = (text("device"), text("other"));
    let request = ConnectRequest { certificate_user: Some(&device), ..request() };
    assert_eq!(accepted(access.begin(&request)).user_name, Some(device.clone()));
    let same = ConnectRequest { user_name: Some(&device), ..request.clone() };
    assert_eq!(accepted(access.begin(&same)).user_name, Some(device.clone()));
    let different = ConnectRequest { user_name: Some(&other), ..request };
    let refusal = refused(access.begin(&different));
    assert_eq!((refusal, refusal.reason_code()), (Refusal::OtherUser, ReasonCode::NotAuthorized));
}

/// An enhanced authentication of `user`, from a CONNECT that says so and `base`.
fn enhanced(
    access: &mut Access,
    user: &str,
    password: &str,
    base: &ConnectRequest<'_>,
) -> Result<Accepted, Refusal> {
    let (mut client, first) = scram::Client::begin(user, password.as_bytes(), &[5; 18]);
    let (method, first) = (text(scram::METHOD), Bytes::from(first));
    let step = access.begin(&ConnectRequest {
        authentication_method: Some(&method),
        authentication_data: Some(&first),
        ..base.clone()
    });
    finish(access, step, &mut client, &method)
}

fn finish(
    access: &Access,
    step: Step,
    client: &mut scram::Client,
    method: &Text,
) -> Result<Accepted, Refusal> {
    let (exchange, data) = match step {
        Step::Continue { exchange, data } => (exchange, data),
        Step::Refuse(refusal) => return Err(refusal),
        Step::Accept(_) | Step::Verify(_) => panic!("{step:?}"),
    };
    let answer = Bytes::from(client.respond(&data).unwrap());
    match access.authenticate(exchange, method, Some(&answer)) {
        Step::Accept(accepted) => {
            client.clone().finish(accepted.data.as_ref().unwrap()).unwrap();
            Ok(accepted)
        }
        Step::Refuse(refusal) => Err(refusal),
        step @ (Step::Verify(_) | Step::Continue { .. }) => panic!("{step:?}"),
    }
}

#[test]
fn scram_lets_a_user_in_who_knows_the_password() {
    let mut access = access();
    assert_eq!(
        enhanced(&mut access, "alice", "wonder", &request()).unwrap().user_name,
        Some(text("alice"))
    );
    let wrong = Refusal::Scram(scram::ScramError::WrongProof);
    assert_eq!(enhanced(&mut access, "alice", "builder", &request()), Err(wrong));
    assert_eq!(
        enhanced(&mut access, "bob", "builder", &request()),
        Err(wrong),
        "bob has no verifier"
    );
    assert_eq!(enhanced(&mut access, "carol", "wonder", &request()), Err(wrong));
    assert_eq!(wrong.reason_code(), ReasonCode::NotAuthorized);
}

#[test]
fn scram_ends_with_the_user_that_connect_or_the_certificate_names() {
    let mut access = access();
    let (alice, bob) = (text("alice"), text("bob"));
    let named = ConnectRequest { user_name: Some(&alice), ..request() };
    assert!(enhanced(&mut access, "alice", "wonder", &named).is_ok());
    let other = ConnectRequest { user_name: Some(&bob), ..request() };
    assert_eq!(enhanced(&mut access, "alice", "wonder", &other), Err(Refusal::OtherUser));
    let certificate = ConnectRequest { certificate_user: Some(&bob), ..request() };
    assert_eq!(enhanced(&mut access, "alice", "wonder", &certificate), Err(Refusal::OtherUser));
    let both =
        ConnectRequest { certificate_user: Some(&bob), user_name: Some(&alice), ..request() };
    assert_eq!(enhanced(&mut access, "alice", "wonder", &both), Err(Refusal::OtherUser));
}

#[test]
fn a_client_may_name_the_method_and_send_its_first_message_later() {
    let mut access = access();
    let method = text(scram::METHOD);
    let (exchange, data) = challenge(
        access.begin(&ConnectRequest { authentication_method: Some(&method), ..request() }),
    );
    assert!(data.is_empty());
    let (mut client, first) = scram::Client::begin("alice", b"wonder", &[5; 18]);
    let step = access.authenticate(exchange, &method, Some(&Bytes::from(first)));
    assert!(finish(&access, step, &mut client, &method).is_ok());
}

#[test]
fn other_methods_and_broken_messages_are_refused() {
    let mut access = access();
    let (method, data) = (text("GS2-KRB5"), Bytes::from_static(b"n,,n=alice,r=abc"));
    let unknown = ConnectRequest {
        authentication_method: Some(&method),
        authentication_data: Some(&data),
        ..request()
    };
    let refusal = refused(access.begin(&unknown));
    assert_eq!(
        (refusal, refusal.reason_code()),
        (Refusal::Method, ReasonCode::BadAuthenticationMethod)
    );
    let scram = text(scram::METHOD);
    let offered = ConnectRequest { authentication_method: Some(&scram), ..unknown.clone() };
    let mut without_file = Access::new(options(), None, None).unwrap();
    assert_eq!(refused(without_file.begin(&offered)), Refusal::Method);
    let (exchange, _) = challenge(access.begin(&offered));
    assert_eq!(
        refused(access.authenticate(exchange.clone(), &method, Some(&data))),
        Refusal::Method
    );
    assert!(matches!(
        refused(access.authenticate(exchange.clone(), &scram, None)),
        Refusal::Scram(_)
    ));
    assert!(matches!(
        refused(access.authenticate(exchange, &scram, Some(&data))),
        Refusal::Scram(_)
    ));
}

#[test]
fn an_exchange_does_not_outlive_its_password_file() {
    let mut access = access();
    let (mut client, first) = scram::Client::begin("alice", b"wonder", &[5; 18]);
    let (method, first) = (text(scram::METHOD), Bytes::from(first));
    let step = access.begin(&ConnectRequest {
        authentication_method: Some(&method),
        authentication_data: Some(&first),
        ..request()
    });
    let access = access.reload(Some(&file()), None).unwrap();
    let refusal = finish(&access, step, &mut client, &method).unwrap_err();
    assert_eq!((refusal, refusal.reason_code()), (Refusal::Changed, ReasonCode::ServerBusy));
}

#[test]
fn a_reauthentication_ends_with_the_same_user() {
    let mut access = access();
    for (user, outcome) in [("alice", true), ("bob", false)] {
        let (mut client, first) = scram::Client::begin("alice", b"wonder", &[5; 18]);
        let (method, first) = (text(scram::METHOD), Bytes::from(first));
        let step = access.reauthenticate(Some(&text(user)), &method, Some(&first), [8; 18]);
        assert_eq!(finish(&access, step, &mut client, &method).is_ok(), outcome, "{user}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let mut access = access();
    let (user, password) = (text("alice"), Bytes::from_static(b"wonder"));
    let request = ConnectRequest { user_name: Some(&user), password: Some(&password), ..request() };
    let shown = format!("{:?} {access:?}", job(access.begin(&request)));
    assert!(
        shown.contains("alice") && !shown.contains("wonder") && !shown.contains("argon2id"),
        "{shown}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a client sends at any step, it is answered, and not let in.
    #[test]
    fn no_message_of_an_exchange_panics_or_gets_in(
        first in "[ny],(a=)?[a-z=,]{0,4},(n=|m=)?[a-z=23CD]{0,6},?(r=)?[a-z,]{0,4}",
        last in "(c=(biws|eSws)?)?,?(r=)?[ -~]{0,30},?(p=[A-Za-z0-9+/]{0,44}=?)?",
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let access = Access::new(options(), Some(""), None).unwrap();
        let method = text(scram::METHOD);
        let named = ConnectRequest { authentication_method: Some(&method), ..request() };
        let valid = &b"n,,n=alice,r=abc"[..];
        for first in [first.as_bytes(), &bytes, valid] {
            let (exchange, _) = challenge(access.clone().begin(&named));
            let step = access.authenticate(exchange, &method, Some(&Bytes::copy_from_slice(first)));
            let Step::Continue { exchange, data } = step else {
                assert_ne!(first, valid);
                continue;
            };
            let nonce = std::str::from_utf8(&data).unwrap().split(',').next().unwrap();
            let near = format!("c=biws,{nonce},{last}");
            for last in [last.as_bytes(), &bytes, near.as_bytes()] {
                refused(access.authenticate(exchange.clone(), &method, Some(&Bytes::copy_from_slice(last))));
            }
        }
    }
}
