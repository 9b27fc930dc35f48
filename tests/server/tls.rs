//! TLS: versions, client certificates and the names in them, replacement, slow handshakes.

use std::fs;
use std::io;
use std::time::Duration;

use rcgen::SanType;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use tidelog::config::ClientCertificate;
use tidelog::config::Listener;
use tidelog::config::Tls;
use tidelog::config::TlsVersion;
use tidelog::config::UserFromCertificate;
use tidelog::server::Server;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::version::TLS13;

use super::certificates::Authority;
use super::certificates::Identity;
use super::certificates::spoil;
use super::echo::Echo;
use super::echo::Fixture;
use super::echo::config;
use super::echo::echoed;
use super::echo::expect;
use super::echo::expect_end;
use super::echo::listener;
use super::echo::within;

fn with(tls: Tls) -> Listener {
    Listener { tls: Some(tls), ..listener("tls") }
}

fn plain(authority: &Authority) -> Listener {
    with(authority.listener(ClientCertificate::None, UserFromCertificate::None))
}

async fn connect(fixture: &Fixture, client: TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    within(client.connect(name, fixture.connect().await)).await
}

/// Whether a connection comes about: with TLS 1.3 a client learns only afterwards that it was refused.
async fn is_let_in(fixture: &Fixture, client: TlsConnector) -> bool {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    let Ok(mut stream) = connect(fixture, client).await else { return false };
    if within(stream.write_all(b"?")).await.is_err() {
        return false;
    }
    matches!(within(stream.read(&mut [0; 1])).await, Ok(1))
}

fn seen_by(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn both_versions_carry_bytes() {
    let authority = Authority::new();
    let fixture = Fixture::start(config(plain(&authority)));
    for version in [&TLS12, &TLS13] {
        let client = authority.client_of(&[version], None);
        let mut stream = connect(&fixture, client).await.unwrap();
        echoed(&mut stream, &vec![1; 50_000]).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"close").await.unwrap();
        expect(&mut stream, b"close").await;
        let end = within(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1])).await;
        assert_eq!(end.unwrap(), 0, "with a closing alert");
    }
}

#[tokio::test]
async fn a_listener_may_insist_on_tls_1_3() {
    let authority = Authority::new();
    let tls = authority.listener(ClientCertificate::None, UserFromCertificate::None);
    let fixture = Fixture::start(config(with(Tls { minimum: TlsVersion::V1_3, ..tls })));
    assert!(!is_let_in(&fixture, authority.client_of(&[&TLS12], None)).await);
    assert!(is_let_in(&fixture, authority.client_of(&[&TLS13], None)).await);
}

/// The user whom the core is told, of a client with this certificate.
async fn user(
    from: UserFromCertificate,
    identity: impl Fn(&Authority) -> Identity,
) -> Option<String> {
    let authority = Authority::new();
    let tls = authority.listener(ClientCertificate::Required, from);
    let mut fixture = Fixture::start(config(with(tls)));
    let identity = identity(&authority);
    let mut stream = connect(&fixture, authority.client(Some(&identity))).await.unwrap();
    echoed(&mut stream, b"hello").await;
    fixture.saw_opened().await.certificate_name.map(|name| name.as_str().to_owned())
}

#[tokio::test]
async fn the_name_in_a_certificate_is_the_user_if_the_listener_says_so() {
    use UserFromCertificate::Cn;
    use UserFromCertificate::None as Nobody;
    use UserFromCertificate::San;
    let device = |authority: &Authority| authority.make("device-7", &[]);
    assert_eq!(user(Cn, device).await.as_deref(), Some("device-7"));
    assert_eq!(user(Nobody, device).await, None);
    assert_eq!(user(San, device).await.as_deref(), Some("localhost"));
    let mail = |authority: &Authority| {
        let url = SanType::URI("https://example.org/".try_into().unwrap());
        let mail = SanType::Rfc822Name("seven@example.org".try_into().unwrap());
        authority.make("device-7", &[url, mail])
    };
    assert_eq!(user(San, mail).await.as_deref(), Some("seven@example.org"));
    let unnamed = |authority: &Authority| authority.make("", &[]);
    assert_eq!(user(Cn, unnamed).await, None);
    let with_nul = |authority: &Authority| authority.make("a\0b", &[]);
    assert_eq!(user(Cn, with_nul).await, None);
}

#[tokio::test]
async fn a_required_certificate_is_required() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = authority.listener(ClientCertificate::Required, UserFromCertificate::Cn);
    let fixture = Fixture::start(config(with(tls)));
    assert!(!is_let_in(&fixture, authority.client(None)).await, "none");
    let forged = stranger.make("device-7", &[]);
    assert!(!is_let_in(&fixture, authority.client(Some(&forged))).await, "of another authority");
    let real = authority.make("device-7", &[]);
    assert!(is_let_in(&fixture, authority.client(Some(&real))).await);
}

#[tokio::test]
async fn an_optional_certificate_is_optional_but_not_any() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = authority.listener(ClientCertificate::Optional, UserFromCertificate::Cn);
    let mut fixture = Fixture::start(config(with(tls)));
    assert!(is_let_in(&fixture, authority.client(None)).await);
    assert_eq!(fixture.saw_opened().await.certificate_name, None);
    let forged = stranger.make("device-7", &[]);
    assert!(!is_let_in(&fixture, authority.client(Some(&forged))).await);
    let real = authority.make("device-7", &[]);
    assert!(is_let_in(&fixture, authority.client(Some(&real))).await);
    let name = fixture.saw_opened().await.certificate_name;
    assert_eq!(name.unwrap().as_str(), "device-7");
}

#[tokio::test]
async fn certificates_are_replaced_for_new_connections_and_only_by_sound_ones() {
    let authority = Authority::new();
    let fixture = Fixture::start(config(plain(&authority)));
    let mut old = connect(&fixture, authority.client(None)).await.unwrap();

    let replacement = authority.replace_server();
    fixture.running.reload();
    let new = connect(&fixture, authority.client(None)).await.unwrap();
    assert_ne!(seen_by(&new), seen_by(&old));
    assert_eq!(seen_by(&new), replacement);
    echoed(&mut old, b"the old connection lives").await;

    spoil(&authority.path("server.pem"));
    fixture.running.reload();
    let after_spoiled = connect(&fixture, authority.client(None)).await.unwrap();
    assert_eq!(seen_by(&after_spoiled), replacement);

    fs::remove_file(authority.path("server.pem")).unwrap();
    fixture.running.reload();
    let after_removed = connect(&fixture, authority.client(None)).await.unwrap();
    assert_eq!(seen_by(&after_removed), replacement);

    let repaired = authority.replace_server();
    fixture.running.reload();
    let last = connect(&fixture, authority.client(None)).await.unwrap();
    assert_eq!(seen_by(&last), repaired);
}

#[tokio::test]
async fn certificates_are_looked_at_without_being_told() {
    let authority = Authority::new();
    let fixture = Fixture::start(config(plain(&authority)));
    let replacement = authority.replace_server();
    within(async {
        loop {
            let stream = connect(&fixture, authority.client(None)).await.unwrap();
            if seen_by(&stream) == replacement {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn half_a_pair_is_no_pair() {
    let (authority, other) = (Authority::new(), Authority::new());
    fs::copy(other.path("server.key"), authority.path("server.key")).unwrap();
    let server = Server::new(config(plain(&authority)));
    let error = server.start_with(Box::new(Echo::new().0)).unwrap_err().to_string();
    assert!(error.contains("listener tls: ") && error.contains("server.pem"), "{error}");
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_cut_off() {
    let authority = Authority::new();
    let mut config = config(plain(&authority));
    config.limits.connect_timeout = Duration::from_millis(100);
    let fixture = Fixture::start(config);
    let mut silent = fixture.connect().await;
    expect_end(&mut silent).await;
    let mut plain = fixture.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut plain, &[0x10, 0x0c]).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"\x00\x04MQTT no TLS at all").await.unwrap();
    let mut all = Vec::new();
    drop(within(tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut all)).await);
}
