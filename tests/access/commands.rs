//! The commands `user`, `certs` and `check-config`, on directories of their own.

use std::io::Cursor;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use tidelog::cli::Failure;
use tidelog::cli::certs::CertsArgs;
use tidelog::cli::check_config::CheckConfigArgs;
use tidelog::cli::check_config::report;
use tidelog::cli::user::Input;
use tidelog::cli::user::UserArgs;
use tidelog::config::Sources;

/// The part of the command line that is under test.
#[derive(Parser)]
enum Command {
    User(UserArgs),
    Certs(CertsArgs),
    CheckConfig(CheckConfigArgs),
}

/// Runs a command; `input` is what stands on its standard input.
fn run(arguments: &[&str], input: &str) -> Result<String, Failure> {
    let program = ["tidelog"];
    match Command::try_parse_from(program.iter().chain(arguments)).unwrap() {
        Command::User(args) => {
            args.answer(&mut Input { lines: &mut Cursor::new(input), terminal: false })
        }
        Command::Certs(args) => args.make(),
        Command::CheckConfig(args) => report(&Sources::from(args.broker)),
    }
}

#[track_caller]
fn fails(arguments: &[&str], input: &str, exit_code: u8, message: &str) {
    let failure = run(arguments, input).unwrap_err();
    assert_eq!(failure.exit_code, exit_code, "{}", failure.message);
    assert!(failure.message.contains(message), "{}", failure.message);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn users_are_added_listed_checked_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let path = file.to_str().unwrap();
    run(&["user", "-f", path, "add", "alice", "--iterations", "4096"], "wonder land\r\n").unwrap();
    run(&["user", "add", "bob", "-P", "builder", "--no-scram", "--file", path], "").unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(run(&["user", "ls", "-f", path], "").unwrap(), "alice\nbob\n");
    run(&["user", "check", "alice", "-f", path], "wonder land").unwrap();
    fails(&["user", "check", "alice", "-f", path], "wonder", 1, "unknown user or wrong password");
    fails(&["user", "check", "carol", "-f", path], "wonder", 1, "unknown user or wrong password");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("scram-sha-256$4096:").count(), 1);
    run(&["user", "add", "alice", "-f", path, "-P", "new"], "").unwrap();
    fails(&["user", "check", "alice", "-f", path], "wonder land", 1, "wrong password");
    run(&["user", "rm", "alice", "-f", path], "").unwrap();
    assert_eq!(run(&["user", "ls", "-f", path], "").unwrap(), "bob\n");
    fails(&["user", "rm", "alice", "-f", path], "", 1, "there is no user \"alice\"");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

#[test]
fn the_password_file_may_be_named_by_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let set = format!("access.passwords={}", dir.path().join("passwords").display());
    run(&["user", "--set", &set, "add", "alice", "-P", "x", "--no-scram"], "").unwrap();
    assert_eq!(run(&["user", "--set", &set, "ls"], "").unwrap(), "alice\n");
    fails(&["user", "--set", "access.passwords=", "ls"], "", 1, "which file?");
    fails(&["user", "--set", "acess.passwords=x", "ls"], "", 2, "is it `access.passwords`?");
}

#[test]
fn a_password_file_keeps_its_mode_and_a_broken_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "# ours\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    run(&["user", "add", "alice", "-f", path, "-P", "x", "--no-scram"], "").unwrap();
    assert_eq!(mode(&file), 0o640);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("# ours\nalice:$argon2id$"));
    std::fs::write(&file, "broken\n").unwrap();
    fails(
        &["user", "add", "alice", "-f", path, "-P", "x", "--no-scram"],
        "",
        1,
        "line 1: a line is name:hash",
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "broken\n");
}

#[test]
fn what_can_not_be_a_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    let path = file.to_str().unwrap();
    fails(&["user", "add", "a:b", "-f", path, "-P", "x"], "", 1, "a user name is");
    fails(&["user", "add", "alice", "-f", path], "\n", 1, "the password is empty");
    fails(&["user", "ls", "-f", path], "", 1, "there is no such file");
    fails(&["user", "rm", "alice", "-f", path], "", 1, "there is no such file");
    assert!(!file.exists());
}

#[test]
fn certificates_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let path = certs.to_str().unwrap();
    let told = run(&["certs", "--dir", path, "--client", "device 1"], "").unwrap();
    assert!(told.contains("client-device 1.pem") && told.contains("[[listener]]"), "{told}");
    assert_eq!((mode(&certs.join("ca-key.pem")), mode(&certs.join("ca.pem"))), (0o600, 0o644));
    assert_eq!(mode(&certs.join("client-device 1-key.pem")), 0o600);
    let read = |name: &str| std::fs::read(certs.join(name)).unwrap();
    let (authority, server) = (read("ca.pem"), read("server.pem"));
    let told = run(&["certs", "--dir", path], "").unwrap();
    assert!(told.starts_with("nothing to make"), "{told}");
    fails(&["certs", "--dir", path, "--client", "device 1"], "", 1, "is there already");
    fails(&["certs", "--dir", path, "--host", "broker"], "", 1, "is there already");
    fails(&["certs", "--dir", path, "--client", "../x"], "", 1, "without slashes");
    run(&["certs", "--dir", path, "--client", "device2"], "").unwrap();
    assert_eq!((read("ca.pem"), read("server.pem")), (authority.clone(), server));
    std::fs::remove_file(certs.join("ca-key.pem")).unwrap();
    fails(&["certs", "--dir", path, "--client", "device3"], "", 1, "only one of");
    run(&["certs", "--dir", path, "--force"], "").unwrap();
    assert_ne!(read("ca.pem"), authority);
}

#[test]
fn an_authority_of_somebody_else_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    run(&["certs", "--dir", path], "").unwrap();
    let copy =
        |from: &str, to: &str| std::fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
    copy("server-key.pem", "ca-key.pem");
    fails(
        &["certs", "--dir", path, "--client", "c"],
        "",
        1,
        "ca.pem is not an authority of this command",
    );
    copy("server.pem", "ca.pem");
    fails(
        &["certs", "--dir", path, "--client", "c"],
        "",
        1,
        "ca.pem is not an authority of this command",
    );
}

fn certificates(dir: &Path, name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(dir.join(name)).unwrap().map(Result::unwrap).collect()
}

fn key(dir: &Path, name: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(dir.join(name)).unwrap()
}

fn roots(dir: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates(dir, "ca.pem").remove(0)).unwrap();
    Arc::new(roots)
}

/// A TLS handshake in memory, with the certificates of `dir` on both sides.
fn handshake(dir: &Path, host: &str, client: &str) -> Result<(), Error> {
    let verifier = WebPkiClientVerifier::builder(roots(dir)).build().unwrap();
    let server = ServerConfig::builder().with_client_cert_verifier(verifier);
    let server =
        server.with_single_cert(certificates(dir, "server.pem"), key(dir, "server-key.pem"))?;
    let configured = ClientConfig::builder().with_root_certificates(roots(dir));
    let chain = certificates(dir, &format!("client-{client}.pem"));
    let configured =
        configured.with_client_auth_cert(chain, key(dir, &format!("client-{client}-key.pem")))?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(configured), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    client.writer().write_all(b"hello").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets()?;
    let mut heard = [0; 5];
    server.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    Ok(())
}

#[test]
fn the_certificates_carry_a_handshake_of_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    run(&["certs", "--dir", path, "--client", "first"], "").unwrap();
    run(&["certs", "--dir", path, "--client", "second name"], "").unwrap();
    for (host, client) in [("localhost", "first"), ("127.0.0.1", "second name"), ("::1", "first")] {
        handshake(dir.path(), host, client).unwrap();
    }
    assert!(handshake(dir.path(), "example.org", "first").is_err());
}

#[test]
fn check_config_prints_each_value_with_its_source() {
    let text = run(
        &["check-config", "--set", "limits.connections=7", "--data", "d", "--listen", "1884"],
        "",
    )
    .unwrap();
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(line("limits.connections =").starts_with("limits.connections = 7 "));
    assert!(line("limits.connections =").ends_with(" # --set"));
    assert!(line("data.dir = \"d\"").ends_with(" # --data"));
    assert!(line("listener.0.address = \"127.0.0.1:1884\"").ends_with(" # --listen"));
    assert!(line("# ").starts_with("# "));
}

#[test]
fn check_config_exits_with_2_and_says_why() {
    fails(&["check-config", "--set", "limits.conections=7"], "", 2, "is it `limits.connections`?");
    fails(&["check-config", "--config", "/nonexistent/t.toml"], "", 2, "/nonexistent/t.toml");
    fails(
        &["check-config", "--set", "access.acl=/nonexistent/acl"],
        "",
        2,
        "access.acl: /nonexistent/acl: No such file",
    );
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "permit all\n").unwrap();
    let set = format!("access.acl={}", acl.display());
    fails(
        &["check-config", "--set", &set],
        "",
        2,
        &format!("access.acl: {}: line 1: a line begins with", acl.display()),
    );
}
