//! The broker itself behind its server: links, a restart, the end of clients, its lock.

use std::path::Path;

use tidelog::config::Config;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::server::LinkError;
use tidelog::server::Running;
use tidelog::server::Server;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task;

use super::echo::address;
use super::echo::config;
use super::echo::expect;
use super::echo::expect_end;
use super::echo::listener;
use super::echo::within;

/// MQTT 3.1.1, client id `c`, a session that stays.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01c";
/// MQTT 5, client id `d`, clean start.
const CONNECT_5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01d";

fn on(dir: &Path) -> Config {
    let mut config = config(listener("plain"));
    config.data.dir = dir.join("data");
    config.data.segment_size = 1 << 20;
    config
}

async fn shut_down(running: Running) {
    within(task::spawn_blocking(move || running.shutdown())).await.unwrap().unwrap();
}

async fn connect(running: &Running) -> TcpStream {
    within(TcpStream::connect(address(running, 0))).await.unwrap()
}

#[tokio::test]
async fn a_message_goes_from_link_to_link_at_every_qos() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::new(on(dir.path())).start().unwrap();
    let mut subscriber = within(running.link("subscriber")).await.unwrap();
    let mut publisher = within(running.link("publisher")).await.unwrap();
    within(subscriber.subscribe("plant/#", QoS::ExactlyOnce)).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        within(publisher.publish("plant/a", "21.5", qos, false)).await.unwrap();
        let message = within(subscriber.next()).await.unwrap();
        assert_eq!(message.topic.unwrap().as_str(), "plant/a");
        assert_eq!((&message.payload[..], message.qos), (&b"21.5"[..], qos));
    }
    within(subscriber.unsubscribe("plant/#")).await.unwrap();
    within(subscriber.disconnect()).await.unwrap();
    shut_down(running).await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::new(on(dir.path())).start().unwrap();
    assert!(running.startup().recovery.as_ref().unwrap().0.log.created);
    let mut stream = connect(&running).await;
    within(stream.write_all(CONNECT)).await.unwrap();
    expect(&mut stream, b"\x20\x02\x00\x00").await;
    within(stream.write_all(b"\x82\x06\x00\x01\x00\x01t\x01")).await.unwrap();
    expect(&mut stream, b"\x90\x03\x00\x01\x01").await;
    drop(stream);
    let mut link = within(running.link("publisher")).await.unwrap();
    within(link.publish("t", "kept", QoS::AtLeastOnce, true)).await.unwrap();
    drop(link);
    shut_down(running).await;

    let running = Server::new(on(dir.path())).start().unwrap();
    let (recovery, _) = running.startup().recovery.as_ref().unwrap();
    assert_eq!((recovery.sessions, recovery.subscriptions, recovery.retained), (1, 1, 1));
    let mut stream = connect(&running).await;
    within(stream.write_all(CONNECT)).await.unwrap();
    expect(&mut stream, b"\x20\x02\x01\x00").await;
    expect(&mut stream, b"\x32\x09\x00\x01t").await;
    let mut rest = [0; 6];
    within(stream.read_exact(&mut rest)).await.unwrap();
    assert_eq!(&rest[2..], b"kept");
}

#[tokio::test]
async fn a_server_that_was_dropped_has_kept_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::new(on(dir.path())).start().unwrap();
    let mut link = within(running.link("publisher")).await.unwrap();
    within(link.publish("t", "kept", QoS::ExactlyOnce, true)).await.unwrap();
    drop(running);
    let closed = within(link.publish("t", "late", QoS::AtLeastOnce, false)).await.unwrap_err();
    assert!(matches!(closed, LinkError::Closed(_)), "{closed}");
    let running = start_when_free(dir.path()).await;
    let mut link = within(running.link("subscriber")).await.unwrap();
    within(link.subscribe("t", QoS::AtLeastOnce)).await.unwrap();
    assert_eq!(&within(link.next()).await.unwrap().payload[..], b"kept");
}

/// Starts once the threads of the server before have let go of the directory.
async fn start_when_free(dir: &Path) -> Running {
    within(async {
        loop {
            match Server::new(on(dir)).start() {
                Ok(running) => return running,
                Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
            }
            task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_data_directory_has_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let _running = Server::new(on(dir.path())).start().unwrap();
    let error = Server::new(on(dir.path())).start().unwrap_err();
    assert!(error.to_string().contains("in use by another broker"), "{error}");
}

#[tokio::test]
async fn an_end_in_good_order_is_told_to_clients_that_can_understand_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::new(on(dir.path())).start().unwrap();
    let mut link = within(running.link("link")).await.unwrap();
    let mut old = connect(&running).await;
    within(old.write_all(CONNECT)).await.unwrap();
    expect(&mut old, b"\x20\x02\x00\x00").await;
    let ended = task::spawn_blocking(move || running.shutdown());
    let told = within(link.next()).await.unwrap_err();
    let LinkError::Disconnected(code) = told else { panic!("{told}") };
    assert_eq!(code, ReasonCode::ServerShuttingDown);
    expect_end(&mut old).await;
    drop((link, old));
    within(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_connection_is_closed_when_connect_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = on(dir.path());
    config.limits.connect_timeout = std::time::Duration::from_millis(100);
    let running = Server::new(config).start().unwrap();
    expect_end(&mut connect(&running).await).await;
    let mut slow = connect(&running).await;
    within(slow.write_all(&CONNECT_5[..5])).await.unwrap();
    expect_end(&mut slow).await;
}

#[tokio::test]
async fn garbage_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let running = Server::new(on(dir.path())).start().unwrap();
    let mut stream = connect(&running).await;
    within(stream.write_all(b"GET / HTTP/1.1\r\n\r\n")).await.unwrap();
    expect_end(&mut stream).await;
}

#[tokio::test]
async fn the_start_says_what_it_found_and_warns_of_open_doors() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = on(dir.path());
    config.listeners[0].endpoint =
        tidelog::config::Endpoint::Tcp(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
    config.listeners[0].anonymous = tidelog::config::Anonymous::Always;
    let running = Server::new(config).start().unwrap();
    let text = running.startup().to_string();
    assert!(text.contains("data: ") && text.contains(", new"), "{text}");
    assert!(text.contains("durability: an acknowledged message is on disk"), "{text}");
    assert!(text.contains("WARNING: listener plain lets everybody in"), "{text}");
    assert!(text.contains("listening: tcp on 0.0.0.0:"), "{text}");
    shut_down(running).await;
}
