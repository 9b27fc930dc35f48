//! Chapter 6: MQTT in a WebSocket, handshake and frames written by hand.

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::prelude::*;

const BINARY: u8 = 2;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

fn broker() -> Broker {
    Broker::start_with(Settings { websocket: true, ..Settings::default() })
}

/// Opens the socket, asks for these subprotocols and returns the answer's head.
fn handshake(broker: &Broker, protocols: Option<&str>) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(broker.websocket_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let protocols =
        protocols.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n")).unwrap_or_default();
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocols}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap().to_lowercase())
}

/// A frame as a client sends it: whole, masked (with zeros, which changes nothing).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126, "short frames only");
    [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// The next frame's kind and payload, or `None` at the end of the connection.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    assert!(head[1] < 126, "a short frame was due");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).ok()?;
    Some((head[0] & 0x0F, payload))
}

/// The MQTT bytes that come next, however they are framed.
fn read_mqtt(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let (kind, payload) = read_frame(stream).expect("the connection lives");
        // A long message may be continued; anything but binary is not MQTT.
        assert!(kind == BINARY || kind == 0, "a frame of kind {kind}");
        bytes.extend(payload);
    }
    bytes
}

fn connected(broker: &Broker) -> TcpStream {
    let (mut stream, head) = handshake(broker, Some("mqtt"));
    assert!(head.starts_with("http/1.1 101"), "{head}");
    stream.write_all(&frame(BINARY, &Connect::new(Version::V4, "ws").bytes())).unwrap();
    assert_eq!(read_mqtt(&mut stream, 4), [0x20, 2, 0, 0]);
    stream
}

/// [MQTT-6.0.0-3] [MQTT-6.0.0-4] [3.1.1 MQTT-6.0.0-3] [3.1.1 MQTT-6.0.0-4]
#[test]
fn subprotocol_mqtt_is_selected() {
    let broker = broker();
    for offered in ["mqtt", "other, mqtt"] {
        let (_, head) = handshake(&broker, Some(offered));
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("sec-websocket-protocol: mqtt\r\n"), "{head}");
    }
    if mosquitto_differs("takes connections without it") {
        return;
    }
    for offered in [None, Some("other")] {
        let (_, head) = handshake(&broker, offered);
        assert!(!head.starts_with("http/1.1 101"), "{head}");
    }
}

/// [MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2] [MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1]
#[test]
fn frame_borders_mean_nothing() {
    let broker = broker();
    let mut stream = connected(&broker);
    let mut bytes = request::subscribe(Version::V4, 1, &[("a", 0)], &[]);
    bytes.extend(Publish::new("a", "x").bytes(Version::V4));
    bytes.extend(request::PINGREQ);
    for part in bytes.chunks(1) {
        stream.write_all(&frame(BINARY, part)).unwrap();
    }
    let answers = [&[0x90, 3, 0, 1, 0][..], &[0x30, 4, 0, 1, b'a', b'x'], &[0xD0, 0]].concat();
    assert_eq!(read_mqtt(&mut stream, answers.len()), answers);
    stream.write_all(&frame(BINARY, &request::PINGREQ.repeat(3))).unwrap();
    assert_eq!(read_mqtt(&mut stream, 6), [0xD0, 0].repeat(3));
}

/// [MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1]
#[test]
fn text_frames_close_the_connection() {
    if mosquitto_differs("takes text frames") {
        return;
    }
    let broker = broker();
    let mut stream = connected(&broker);
    stream.write_all(&frame(TEXT, request::PINGREQ)).unwrap();
    // A close frame may say why; PINGRESP may not come.
    while let Some((kind, payload)) = read_frame(&mut stream) {
        assert_eq!(kind, CLOSE, "{payload:x?}");
    }
}
