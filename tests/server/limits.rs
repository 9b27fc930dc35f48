//! Caps on connections: over them a socket is closed at once, below them everything works again.

use tidelog::config::Config;
use tidelog::config::Listener;

use super::echo::Fixture;
use super::echo::config;
use super::echo::echoed;
use super::echo::expect_end;
use super::echo::listener;

/// Two connections are let in, a third only when one of them is gone.
async fn two_and_no_more(config: Config) {
    let mut fixture = Fixture::start(config);
    let mut first = fixture.connect().await;
    let mut second = fixture.connect().await;
    echoed(&mut first, b"1").await;
    echoed(&mut second, b"2").await;
    expect_end(&mut fixture.connect().await).await;
    assert_eq!(fixture.running.connections().refused, 1);
    assert_eq!(fixture.running.connections().open, 2);
    echoed(&mut second, b"2").await;
    drop(first);
    fixture.saw_closed().await;
    while fixture.running.connections().open == 2 {
        tokio::task::yield_now().await;
    }
    echoed(&mut fixture.connect().await, b"3").await;
    assert_eq!(fixture.running.connections().accepted, 3);
}

#[tokio::test]
async fn in_all() {
    let mut config = config(listener("plain"));
    config.limits.connections = 2;
    two_and_no_more(config).await;
}

#[tokio::test]
async fn of_one_listener() {
    two_and_no_more(config(Listener { connections: Some(2), ..listener("plain") })).await;
}

#[tokio::test]
async fn from_one_address() {
    let mut config = config(listener("plain"));
    config.limits.connections_per_address = Some(2);
    two_and_no_more(config).await;
}

#[tokio::test]
async fn each_listener_has_its_own() {
    let mut config = config(Listener { connections: Some(1), ..listener("small") });
    config.listeners.push(listener("large"));
    let fixture = Fixture::start(config);
    let mut first = fixture.connect().await;
    echoed(&mut first, b"1").await;
    expect_end(&mut fixture.connect().await).await;
    let mut other = tokio::net::TcpStream::connect(fixture.address(1)).await.unwrap();
    echoed(&mut other, b"2").await;
}
