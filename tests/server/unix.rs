//! Unix sockets and their files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tidelog::config::Endpoint;
use tidelog::config::Listener;
use tidelog::server::Server;
use tidelog::server::ServerError;
use tokio::net::UnixStream;

use super::echo::Echo;
use super::echo::Fixture;
use super::echo::config;
use super::echo::echoed;
use super::echo::listener;

fn at(path: &Path) -> Listener {
    Listener { endpoint: Endpoint::Unix(path.to_owned()), ..listener("unix") }
}

fn refused(path: &Path) -> String {
    let error = Server::new(config(at(path))).start_with(Box::new(Echo::new().0)).unwrap_err();
    assert!(matches!(error, ServerError::Listen { .. }));
    error.to_string()
}

#[tokio::test]
async fn a_socket_file_is_there_as_long_as_the_server_and_not_for_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let mut fixture = Fixture::start(config(at(&path)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let origin = fixture.saw_opened().await;
    assert_eq!((&*origin.peer, origin.anonymous), ("unix", true));
    echoed(&mut stream, b"hello").await;
    drop(stream);
    fixture.running.shutdown().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let _fixture = Fixture::start(config(at(&path)));
    echoed(&mut UnixStream::connect(&path).await.unwrap(), b"hello").await;
}

#[tokio::test]
async fn a_socket_that_is_listened_on_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let _fixture = Fixture::start(config(at(&path)));
    assert!(refused(&path).contains("somebody listens"));
    echoed(&mut UnixStream::connect(&path).await.unwrap(), b"hello").await;
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    fs::write(&path, "data").unwrap();
    assert!(refused(&path).contains("no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}
