//! The start and the end of a server.

use rustix::process::Signal;
use tidelog::broker::event::Origin;
use tidelog::config::Anonymous;
use tidelog::config::Listener;
use tidelog::server::Server;
use tidelog::server::ServerError;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task;

use super::echo::Echo;
use super::echo::Fixture;
use super::echo::Seen;
use super::echo::config;
use super::echo::echoed;
use super::echo::expect;
use super::echo::expect_end;
use super::echo::listener;
use super::echo::within;

#[tokio::test]
async fn shutting_down_says_goodbye_and_stops_listening() {
    let fixture = Fixture::start(config(listener("plain")));
    let address = fixture.address(0);
    let mut stream = fixture.connect().await;
    echoed(&mut stream, b"hello").await;
    let running = fixture.running;
    let ended = task::spawn_blocking(move || running.shutdown());
    expect(&mut stream, b"goodbye").await;
    expect_end(&mut stream).await;
    drop(stream);
    within(ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    echoed(&mut stream, b"hello").await;
    drop(fixture);
    expect_end(&mut stream).await;
}

#[tokio::test]
async fn several_servers_live_in_one_process() {
    let one = Fixture::start(config(listener("one")));
    let other = Fixture::start(config(listener("other")));
    let (mut a, mut b) = (one.connect().await, other.connect().await);
    echoed(&mut a, b"to one").await;
    echoed(&mut b, b"to the other").await;
    drop(one);
    echoed(&mut b, b"still there").await;
}

#[tokio::test]
async fn a_link_needs_no_socket_and_no_user() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut link = fixture.running.connect().unwrap();
    let Origin { listener, anonymous, .. } = fixture.saw_opened().await;
    assert_eq!((&*listener, anonymous), ("link", true));
    echoed(&mut link, &vec![7; 60_000]).await;
    drop(link);
    fixture.saw_closed().await;
}

#[tokio::test]
async fn a_listener_says_whom_it_lets_in_without_a_user() {
    let mut config = config(Listener { anonymous: Anonymous::Never, ..listener("never") });
    config.listeners.push(Listener { anonymous: Anonymous::Always, ..listener("always") });
    let mut fixture = Fixture::start(config);
    let _never = fixture.connect().await;
    assert!(!fixture.saw_opened().await.anonymous);
    let _always = TcpStream::connect(fixture.address(1)).await.unwrap();
    assert!(fixture.saw_opened().await.anonymous);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_the_listener() {
    let fixture = Fixture::start(config(listener("plain")));
    let mut second = listener("second");
    second.endpoint = fixture.running.local_addresses()[0].endpoint.clone();
    let error = Server::new(config(second)).start_with(Box::new(Echo::new().0)).unwrap_err();
    assert!(matches!(&error, ServerError::Listen { name, .. } if name == "second"));
    assert!(error.to_string().starts_with("listener second: address: 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_core_that_panics_is_the_end_of_its_server() {
    let fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"panic")).await.unwrap();
    within(async {
        while !fixture.running.has_ended() {
            task::yield_now().await;
        }
    })
    .await;
    let running = fixture.running;
    let ended = within(task::spawn_blocking(move || running.shutdown())).await.unwrap();
    assert!(matches!(ended, Err(ServerError::Panicked)), "{ended:?}");
}

#[tokio::test]
async fn signals_reload_and_end_it() {
    let _so_that_none_kills_the_tests =
        [signal(SignalKind::hangup()), signal(SignalKind::terminate())];
    let Fixture { running, mut seen } = Fixture::start(config(listener("plain")));
    let send = |signal| rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
    let ended = task::spawn_blocking(move || running.run_until_signal());
    within(async {
        while !matches!(seen.try_recv(), Ok(Seen::Reloaded)) {
            send(Signal::HUP);
            task::yield_now().await;
        }
    })
    .await;
    send(Signal::TERM);
    within(ended).await.unwrap().unwrap();
}
