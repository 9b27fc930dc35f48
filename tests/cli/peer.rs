//! A broker that does exactly what a test says.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tidelog::mqtt::Ack;
use tidelog::mqtt::Connack;
use tidelog::mqtt::Connect;
use tidelog::mqtt::Decoder;
use tidelog::mqtt::Packet;
use tidelog::mqtt::PacketId;
use tidelog::mqtt::ProtocolVersion;
use tidelog::mqtt::Publish;
use tidelog::mqtt::QoS;
use tidelog::mqtt::ReasonCode;
use tidelog::mqtt::Suback;
use tidelog::mqtt::Subscribe;

/// A test that hangs fails after this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener on a free port.
pub(crate) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// The port, as a word of a command line.
    pub(crate) fn port(&self) -> String {
        self.listener.local_addr().unwrap().port().to_string()
    }

    /// Takes the next connection, without a word.
    pub(crate) fn accept(&self) -> Connection {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let decoder = Decoder::for_server(1 << 20, 1 << 28);
        Connection { stream, decoder, input: BytesMut::new(), version: ProtocolVersion::V5 }
    }

    /// Takes the next connection and its CONNECT, and answers with `connack`.
    pub(crate) fn welcome(&self, connack: &Connack) -> (Connection, Connect) {
        let mut connection = self.accept();
        let connect = connection.expect_connect();
        connection.send(&Packet::Connack(Box::new(connack.clone())));
        (connection, connect)
    }

    /// Takes the next connection, lets it in and grants what it subscribes to.
    pub(crate) fn subscriber(&self) -> (Connection, Subscribe) {
        let (mut connection, _) = self.welcome(&Connack::default());
        let subscribe = connection.expect_subscribe();
        let codes = subscribe.filters.iter().map(|each| ReasonCode::granted(each.options.qos));
        let suback = Suback::new(subscribe.packet_id, codes.collect());
        connection.send(&Packet::Suback(suback));
        (connection, subscribe)
    }
}

/// The broker's side of a connection.
pub(crate) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    version: ProtocolVersion,
}

impl Connection {
    /// Sends a packet.
    pub(crate) fn send(&mut self, packet: &Packet) {
        let mut output = BytesMut::new();
        packet.encode(self.version, &mut output).unwrap();
        self.stream.write_all(&output).unwrap();
    }

    /// The next packet; `None` if the program closes.
    pub(crate) fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).unwrap() {
                self.version = self.decoder.version().unwrap();
                return Some(packet);
            }
            let mut chunk = [0; 4096];
            let length = self.stream.read(&mut chunk).unwrap();
            if length == 0 {
                return None;
            }
            self.input.extend_from_slice(chunk.get(..length).unwrap());
        }
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn expect(&mut self) -> Packet {
        self.next().expect("the program has closed the connection")
    }

    #[track_caller]
    pub(crate) fn expect_connect(&mut self) -> Connect {
        let packet = self.expect();
        let Packet::Connect(connect) = packet.clone() else { panic!("not a CONNECT: {packet:?}") };
        *connect
    }

    #[track_caller]
    pub(crate) fn expect_subscribe(&mut self) -> Subscribe {
        let packet = self.expect();
        let Packet::Subscribe(subscribe) = packet.clone() else {
            panic!("not a SUBSCRIBE: {packet:?}")
        };
        *subscribe
    }

    #[track_caller]
    pub(crate) fn expect_publish(&mut self) -> Publish {
        let packet = self.expect();
        let Packet::Publish(publish) = packet.clone() else { panic!("not a PUBLISH: {packet:?}") };
        *publish
    }

    /// Waits for a DISCONNECT and the end of the connection.
    #[track_caller]
    pub(crate) fn expect_goodbye(&mut self) {
        let packet = self.expect();
        assert!(matches!(packet, Packet::Disconnect(_)), "not a DISCONNECT: {packet:?}");
        assert_eq!(self.next(), None);
    }
}

/// A packet id.
pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// An acknowledgement of success.
pub(crate) fn ack(number: u16) -> Ack {
    Ack::new(id(number))
}

/// A message to the program, its packet id 0 at `QoS` 0.
pub(crate) fn message(topic: &str, payload: &str, qos: QoS, number: u16) -> Packet {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    let mut publish = Publish::new(topic.try_into().unwrap(), payload);
    publish.qos = qos;
    publish.packet_id = PacketId::new(number);
    Packet::Publish(Box::new(publish))
}

/// A CONNACK that lets nothing but one message in flight.
pub(crate) fn one_at_a_time() -> Connack {
    Connack { receive_maximum: NonZeroU16::new(1), ..Connack::default() }
}
