//! TCP, and what every transport shares: pieces, pauses, closing.

use tidelog::broker::event::Origin;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::echo::Fixture;
use super::echo::Seen;
use super::echo::config;
use super::echo::echoed;
use super::echo::expect;
use super::echo::expect_end;
use super::echo::listener;
use super::echo::within;

#[tokio::test]
async fn bytes_go_both_ways_and_the_core_hears_of_it() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    let Origin { listener, peer, anonymous, certificate_name } = fixture.saw_opened().await;
    assert_eq!(&*listener, "plain");
    assert_eq!(*peer, stream.local_addr().unwrap().to_string());
    assert!(anonymous, "it is of this machine");
    assert_eq!(certificate_name, None);
    echoed(&mut stream, b"hello").await;
    echoed(&mut stream, b"again").await;
    drop(stream);
    fixture.saw_closed().await;
}

#[tokio::test]
async fn large_things_arrive_whole_and_their_bytes_are_told_as_drained() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let (mut reader, mut writer) = fixture.connect().await.into_split();
    let sent: Vec<u8> = (0..5_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let back = sent.clone();
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer
    });
    expect(&mut reader, &back).await;
    let writer = within(sending).await.unwrap();
    let mut drained = 0;
    while drained < back.len() - (16 << 10) {
        drained += fixture
            .saw(|seen| if let Seen::Drained(bytes) = seen { Some(bytes) } else { None })
            .await;
    }
    assert!(drained <= back.len());
    drop(writer);
}

#[tokio::test]
async fn what_comes_during_a_pause_is_handed_in_after_it() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    echoed(&mut stream, b"pause").await;
    within(stream.write_all(b"later")).await.unwrap();
    expect(&mut stream, b"go onlater").await;
    let received = |seen| if let Seen::Received(bytes) = seen { Some(bytes) } else { None };
    assert_eq!(fixture.saw(received).await, 5);
    assert_eq!(fixture.saw(received).await, 5);
}

#[tokio::test]
async fn closing_sends_everything_first_even_if_the_peer_still_sends() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"close")).await.unwrap();
    fixture.saw_closed().await;
    within(stream.write_all(&vec![0; 100_000])).await.unwrap();
    expect(&mut stream, b"close").await;
    assert_eq!(within(stream.read(&mut [0; 16])).await.unwrap(), 0, "an orderly end");
}

#[tokio::test]
async fn a_peer_that_never_reads_is_closed_all_the_same() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"hang up")).await.unwrap();
    fixture.saw_closed().await;
    drop(stream);
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_not_read_from() {
    let mut fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"flood")).await.unwrap();
    let received = |seen| if let Seen::Received(bytes) = seen { Some(bytes) } else { None };
    assert_eq!(fixture.saw(received).await, 5);
    within(stream.write_all(b"and more")).await.unwrap();
    let mut other = fixture.connect().await;
    echoed(&mut other, b"meanwhile").await;
    assert_eq!(fixture.saw(received).await, 9, "of the other connection");
    let mut flood = vec![0; 5 + (16 << 20)];
    within(stream.read_exact(&mut flood)).await.unwrap();
    expect(&mut stream, b"and more").await;
}

#[tokio::test]
async fn a_peer_that_stops_sending_gets_what_was_under_way() {
    let fixture = Fixture::start(config(listener("plain")));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"flood")).await.unwrap();
    within(stream.shutdown()).await.unwrap();
    let mut all = Vec::new();
    within(stream.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 5 + (16 << 20));
    expect_end(&mut stream).await;
}
