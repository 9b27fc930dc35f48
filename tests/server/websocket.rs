//! MQTT in a WebSocket: the handshake, frames, and what ends them. [MQTT-6.0.0-1] [MQTT-6.0.0-2] [MQTT-6.0.0-3] [MQTT-6.0.0-4]

use std::time::Duration;

use futures_util::SinkExt;
use futures_util::StreamExt;
use rustls_pki_types::ServerName;
use tidelog::config::ClientCertificate;
use tidelog::config::Listener;
use tidelog::config::UserFromCertificate;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::certificates::Authority;
use super::echo::Fixture;
use super::echo::config;
use super::echo::expect_end;
use super::echo::listener;
use super::echo::within;

fn websocket() -> Listener {
    Listener { websocket_path: Some("/mqtt".to_owned()), ..listener("websocket") }
}

type Shaken<S> = Result<(WebSocketStream<S>, Response), Error>;

/// The opening handshake with this path and this offer of subprotocols.
async fn shake<S>(stream: S, path: &str, offer: Option<&str>) -> Shaken<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    if let Some(offer) = offer {
        request.headers_mut().insert("Sec-WebSocket-Protocol", offer.parse().unwrap());
    }
    within(client_async(request, stream)).await
}

async fn connect(fixture: &Fixture) -> WebSocketStream<TcpStream> {
    shake(fixture.connect().await, "/mqtt", Some("mqtt")).await.unwrap().0
}

/// Everything that comes as bytes, until there is this much of it.
async fn bytes<S>(stream: &mut WebSocketStream<S>, count: usize) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match within(stream.next()).await.unwrap().unwrap() {
            Message::Binary(more) => bytes.extend_from_slice(&more),
            other => panic!("{other:?}"),
        }
    }
    bytes
}

/// The code of the closing frame that comes next.
async fn closing_code(stream: &mut WebSocketStream<TcpStream>) -> CloseCode {
    match within(stream.next()).await.unwrap().unwrap() {
        Message::Close(Some(close)) => close.code,
        other => panic!("{other:?}"),
    }
}

fn status(shaken: Shaken<TcpStream>) -> u16 {
    match shaken {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test]
async fn the_subprotocol_is_returned_and_bytes_go_both_ways() {
    let fixture = Fixture::start(config(websocket()));
    let offer = Some("chat, mqtt");
    let (mut stream, response) = shake(fixture.connect().await, "/mqtt", offer).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    within(stream.send(Message::binary(b"hello".as_slice()))).await.unwrap();
    assert_eq!(bytes(&mut stream, 5).await, b"hello");
}

#[tokio::test]
async fn other_subprotocols_and_paths_are_refused() {
    let fixture = Fixture::start(config(websocket()));
    let refused = async |path, offer| status(shake(fixture.connect().await, path, offer).await);
    assert_eq!(refused("/mqtt", None).await, 400);
    assert_eq!(refused("/mqtt", Some("chat")).await, 400);
    assert_eq!(refused("/mqtt", Some("mqttv3.1")).await, 400);
    assert_eq!(refused("/other", Some("mqtt")).await, 404);
    assert_eq!(refused("/mqtt/", Some("mqtt")).await, 404);
    assert_eq!(fixture.running.connections().accepted, 5);
}

#[tokio::test]
async fn frames_may_be_cut_anywhere_and_be_large() {
    let fixture = Fixture::start(config(websocket()));
    let mut stream = connect(&fixture).await;
    for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        let sent: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[0]).collect();
        within(stream.send(Message::binary(sent.clone()))).await.unwrap();
        assert!(bytes(&mut stream, sent.len()).await == sent, "{size} bytes");
    }
}

#[tokio::test]
async fn a_text_frame_closes() {
    let mut fixture = Fixture::start(config(websocket()));
    let mut stream = connect(&fixture).await;
    within(stream.send(Message::text("hello"))).await.unwrap();
    assert_eq!(closing_code(&mut stream).await, CloseCode::Unsupported);
    fixture.saw_closed().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_before_it_is_read() {
    let mut config = config(websocket());
    config.limits.packet_size = 1_024;
    let mut fixture = Fixture::start(config);
    let mut stream = connect(&fixture).await;
    let sent = Message::binary(vec![0; 100_000]);
    drop(within(stream.send(sent)).await);
    assert_eq!(closing_code(&mut stream).await, CloseCode::Size);
    fixture.saw_closed().await;
}

#[tokio::test]
async fn a_ping_is_answered_and_a_close_is_returned() {
    let mut fixture = Fixture::start(config(websocket()));
    let mut stream = connect(&fixture).await;
    within(stream.send(Message::Ping("there?".into()))).await.unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), Message::Pong("there?".into()));
    within(stream.close(None)).await.unwrap();
    assert_eq!(closing_code(&mut stream).await, CloseCode::Normal);
    assert!(within(stream.next()).await.is_none());
    fixture.saw_closed().await;
}

#[tokio::test]
async fn our_end_is_a_closing_frame_after_everything_else() {
    let fixture = Fixture::start(config(websocket()));
    let mut stream = connect(&fixture).await;
    within(stream.send(Message::binary(b"close".as_slice()))).await.unwrap();
    assert_eq!(bytes(&mut stream, 5).await, b"close");
    assert_eq!(closing_code(&mut stream).await, CloseCode::Normal);
}

#[tokio::test]
async fn pings_during_a_flood_do_not_break_it() {
    let fixture = Fixture::start(config(websocket()));
    let mut stream = connect(&fixture).await;
    within(stream.send(Message::binary(b"flood".as_slice()))).await.unwrap();
    within(stream.send(Message::Ping("1".into()))).await.unwrap();
    within(stream.send(Message::Ping("2".into()))).await.unwrap();
    let (mut flood, mut pongs) = (0, 0);
    while flood < 5 + (16 << 20) || pongs == 0 {
        match within(stream.next()).await.unwrap().unwrap() {
            Message::Binary(more) => flood += more.len(),
            Message::Pong(_) => pongs += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(flood, 5 + (16 << 20));
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_cut_off() {
    let mut config = config(websocket());
    config.limits.connect_timeout = Duration::from_millis(100);
    let fixture = Fixture::start(config);
    let mut slow = fixture.connect().await;
    within(slow.write_all(b"GET /mqtt HTTP/1.1\r\n")).await.unwrap();
    expect_end(&mut slow).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_cut_off() {
    let fixture = Fixture::start(config(websocket()));
    let mut stream = fixture.connect().await;
    within(stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n"))
        .await
        .unwrap();
    let mut rest = Vec::new();
    drop(within(stream.read_to_end(&mut rest)).await);
    assert_eq!(rest, b"");
}

/// A browser or a health check that asks for the path gets an answer, and no cut.
#[tokio::test]
async fn http_without_an_upgrade_is_answered() {
    let fixture = Fixture::start(config(websocket()));
    let upgrade = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket";
    for (request, status) in [
        ("GET /mqtt HTTP/1.1\r\nHost: localhost".to_owned(), "426 Upgrade Required"),
        ("POST /mqtt HTTP/1.1\r\nHost: localhost".to_owned(), "426 Upgrade Required"),
        (format!("GET /mqtt HTTP/1.1\r\n{upgrade}"), "426 Upgrade Required"),
        (
            format!("GET /mqtt HTTP/1.1\r\n{upgrade}\r\nSec-WebSocket-Version: 13"),
            "400 Bad Request",
        ),
    ] {
        let mut stream = fixture.connect().await;
        within(stream.write_all(format!("{request}\r\n\r\n").as_bytes())).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(answer.ends_with("\r\n\r\nonly MQTT over WebSocket is spoken here\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_websocket_within_tls() {
    let authority = Authority::new();
    let tls = authority.listener(ClientCertificate::Required, UserFromCertificate::Cn);
    let mut fixture = Fixture::start(config(Listener { tls: Some(tls), ..websocket() }));
    assert_eq!(fixture.running.local_addresses()[0].kind, "wss");
    let identity = authority.make("device-7", &[]);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = authority.client(Some(&identity));
    let secure = within(connector.connect(name, fixture.connect().await)).await.unwrap();
    let mut stream = Box::pin(shake(secure, "/mqtt", Some("mqtt"))).await.unwrap().0;
    let sent = vec![9; 300_000];
    within(stream.send(Message::binary(sent.clone()))).await.unwrap();
    assert!(bytes(&mut stream, sent.len()).await == sent);
    let name = fixture.saw_opened().await.certificate_name;
    assert_eq!(name.unwrap().as_str(), "device-7");
}
