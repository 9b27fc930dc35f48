//! A client on a blocking socket: sends what it is told, waits for packets with a deadline.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Version;
use super::packet::Connack;
use super::packet::Packet;
use super::packet::Reason;
use super::property::Property;
use super::request;
use super::request::Connect;
use super::request::Publish;

/// How long a client waits for anything. Far longer than any answer takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

static FENCES: AtomicU32 = AtomicU32::new(1);

/// Why a read brought no packet.
#[derive(Debug)]
enum Silence {
    Closed,
    Deadline,
}

/// A raw client.
pub(crate) struct Client {
    stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
    /// Packets that came while another one was waited for.
    inbox: VecDeque<Packet>,
    last_packet_id: u16,
}

impl Client {
    /// Opens the network connection and sends nothing.
    pub(crate) fn open(address: SocketAddr, version: Version) -> Self {
        Self::new(TcpStream::connect(address).expect("the broker listens"), version)
    }

    fn new(stream: TcpStream, version: Version) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, version, buffer: Vec::new(), inbox: VecDeque::new(), last_packet_id: 0 }
    }

    /// Sends CONNECT and returns the answer, whatever it says.
    pub(crate) fn try_connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        Self::attempt(address, connect).expect("the broker answers")
    }

    /// Connects to a broker that may die meanwhile.
    pub(crate) fn attempt(address: SocketAddr, connect: &Connect) -> Option<(Self, Connack)> {
        let mut client = Self::new(TcpStream::connect(address).ok()?, connect.version);
        if !client.try_send(&connect.bytes()) {
            return None;
        }
        match client.try_next()? {
            Packet::Connack(connack) => Some((client, connack)),
            other => panic!("CONNACK was due, not {other:?}"),
        }
    }

    /// Connects, which has to work.
    pub(crate) fn connect(address: SocketAddr, connect: &Connect) -> (Self, Connack) {
        let (client, connack) = Self::try_connect(address, connect);
        assert_eq!(connack.code, 0, "refused: {connack:?}");
        (client, connack)
    }

    /// Connects with a clean start.
    pub(crate) fn clean(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::connect(address, &Connect::new(version, client_id)).0
    }

    /// Connects to a session that outlives the connection.
    pub(crate) fn persistent(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::connect(address, &Connect::persistent(version, client_id)).0
    }

    /// Writes these bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the broker closed the connection");
    }

    /// Writes these bytes to a broker that may die meanwhile.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// A packet identifier that was not used before on this connection.
    pub(crate) fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id += 1;
        self.last_packet_id
    }

    /// The next packet.
    pub(crate) fn next(&mut self) -> Packet {
        self.try_next().expect("a packet was due and the broker closed the connection")
    }

    /// The next packet, or `None` at the end of the connection.
    pub(crate) fn try_next(&mut self) -> Option<Packet> {
        if let Some(packet) = self.inbox.pop_front() {
            return Some(packet);
        }
        match self.read_packet() {
            Ok(packet) => Some(packet),
            Err(Silence::Closed) => None,
            Err(Silence::Deadline) => panic!("nothing came within {PATIENCE:?}"),
        }
    }

    /// The next packet from the connection, and how many bytes it has.
    pub(crate) fn next_with_length(&mut self) -> (Packet, usize) {
        self.read_sized().unwrap_or_else(|silence| panic!("a packet was due: {silence:?}"))
    }

    fn read_packet(&mut self) -> Result<Packet, Silence> {
        self.read_sized().map(|(packet, _)| packet)
    }

    fn read_sized(&mut self) -> Result<(Packet, usize), Silence> {
        loop {
            if let Some((packet, length)) = Packet::read(&self.buffer, self.version) {
                self.buffer.drain(..length);
                return Ok((packet, length));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Silence::Closed),
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Silence::Deadline);
                }
                Err(_) => return Err(Silence::Closed),
            }
        }
    }

    /// What came while something else was waited for.
    pub(crate) fn early(&mut self) -> VecDeque<Packet> {
        std::mem::take(&mut self.inbox)
    }

    /// The first packet that `pick` takes; those before it are kept for later.
    pub(crate) fn wait<T>(&mut self, mut pick: impl FnMut(&Packet) -> Option<T>) -> T {
        for position in 0..self.inbox.len() {
            if let Some(found) = pick(&self.inbox[position]) {
                self.inbox.remove(position);
                return found;
            }
        }
        loop {
            match self.read_packet() {
                Ok(packet) => match pick(&packet) {
                    Some(found) => return found,
                    None => self.inbox.push_back(packet),
                },
                Err(silence) => {
                    panic!("waited for a packet: {silence:?}; before it came {:?}", self.inbox)
                }
            }
        }
    }

    /// CONNACK, which has to be the next packet.
    pub(crate) fn connack(&mut self) -> Connack {
        match self.next() {
            Packet::Connack(connack) => connack,
            other => panic!("CONNACK was due, not {other:?}"),
        }
    }

    /// PUBLISH, which has to be the next packet. It is not acknowledged.
    pub(crate) fn receive(&mut self) -> Publish {
        match self.next() {
            Packet::Publish(publish) => publish,
            other => panic!("PUBLISH was due, not {other:?}"),
        }
    }

    /// PUBLISH, acknowledged as its QoS demands.
    pub(crate) fn take(&mut self) -> Publish {
        let publish = self.receive();
        self.accept(&publish);
        publish
    }

    /// Acknowledges a PUBLISH as its QoS demands.
    pub(crate) fn accept(&mut self, publish: &Publish) {
        let id = publish.packet_id;
        match publish.qos {
            0 => {}
            1 => self.send(&request::ack(0x40, id)),
            _ => {
                self.send(&request::ack(0x50, id));
                self.wait_pubrel(id);
                self.send(&request::ack(0x70, id));
            }
        }
    }

    /// Waits for the PUBREL of this identifier.
    pub(crate) fn wait_pubrel(&mut self, id: u16) -> u8 {
        self.wait(|p| match p {
            Packet::Pubrel(ack) if ack.packet_id == id => Some(ack.code),
            _ => None,
        })
    }

    /// Waits for the PUBACK of this identifier.
    pub(crate) fn wait_puback(&mut self, id: u16) -> u8 {
        self.wait(|p| match p {
            Packet::Puback(ack) if ack.packet_id == id => Some(ack.code),
            _ => None,
        })
    }

    /// Waits for the PUBREC of this identifier.
    pub(crate) fn wait_pubrec(&mut self, id: u16) -> u8 {
        self.wait(|p| match p {
            Packet::Pubrec(ack) if ack.packet_id == id => Some(ack.code),
            _ => None,
        })
    }

    /// Waits for the PUBCOMP of this identifier.
    pub(crate) fn wait_pubcomp(&mut self, id: u16) -> u8 {
        self.wait(|p| match p {
            Packet::Pubcomp(ack) if ack.packet_id == id => Some(ack.code),
            _ => None,
        })
    }

    /// Publishes and waits until the broker has acknowledged as the QoS demands. Returns the reason code of PUBACK or PUBREC.
    pub(crate) fn publish(&mut self, mut publish: Publish) -> u8 {
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.next_packet_id();
        }
        let id = publish.packet_id;
        self.send(&publish.bytes(self.version));
        match publish.qos {
            0 => 0,
            1 => self.wait_puback(id),
            _ => {
                let code = self.wait_pubrec(id);
                if code < 0x80 {
                    self.send(&request::ack(0x62, id));
                    assert_eq!(self.wait_pubcomp(id), 0);
                }
                code
            }
        }
    }

    /// Subscribes and returns the codes of SUBACK.
    pub(crate) fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_with(filters, &[])
    }

    /// Subscribes with properties and returns the codes of SUBACK.
    pub(crate) fn subscribe_with(
        &mut self,
        filters: &[(&str, u8)],
        properties: &[Property],
    ) -> Vec<u8> {
        let id = self.next_packet_id();
        self.send(&request::subscribe(self.version, id, filters, properties));
        self.wait(|p| match p {
            Packet::Suback(suback) if suback.packet_id == id => Some(suback.codes.clone()),
            _ => None,
        })
    }

    /// Unsubscribes and returns the codes of UNSUBACK.
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.next_packet_id();
        self.send(&request::unsubscribe(self.version, id, filters));
        self.wait(|p| match p {
            Packet::Unsuback(unsuback) if unsuback.packet_id == id => Some(unsuback.codes.clone()),
            _ => None,
        })
    }

    /// Everything that was on its way to this client: subscribes to a topic of its own, publishes there, and
    /// returns what came before that message. Whatever was acknowledged to anybody before is delivered by then.
    pub(crate) fn settle(&mut self) -> Vec<Packet> {
        let topic = format!("settle/{}", FENCES.fetch_add(1, Ordering::Relaxed));
        self.subscribe(&[(&topic, 1)]);
        let id = self.next_packet_id();
        self.send(&Publish::new(&topic, "").qos(1).id(id).bytes(self.version));
        self.wait_puback(id);
        let fence = self.wait(|p| match p {
            Packet::Publish(publish) if publish.topic == topic => Some(publish.clone()),
            _ => None,
        });
        self.accept(&fence);
        self.unsubscribe(&[&topic]);
        let is_fence = |p: &Packet| matches!(p, Packet::Publish(publish) if publish.topic == topic);
        self.inbox.drain(..).filter(|p| !is_fence(p)).collect()
    }

    /// Nothing is on its way to this client.
    pub(crate) fn expect_nothing(&mut self) {
        let packets = self.settle();
        assert!(packets.is_empty(), "nothing was due, but there came {packets:?}");
    }

    /// The answer to a PINGREQ, which shows that the connection lives.
    pub(crate) fn ping(&mut self) {
        self.send(request::PINGREQ);
        self.wait(|p| matches!(p, Packet::Pingresp).then_some(()));
    }

    /// The broker closes the connection, with at most a DISCONNECT before that. Returns the DISCONNECT.
    pub(crate) fn expect_close(&mut self) -> Option<Reason> {
        match self.try_next() {
            None => None,
            Some(Packet::Disconnect(reason)) => {
                let after = self.try_next();
                assert_eq!(after, None, "a packet after DISCONNECT");
                Some(reason)
            }
            Some(other) => panic!("the connection should be closed, but there came {other:?}"),
        }
    }

    /// The broker closes the connection; a version 5 broker that says why says this.
    pub(crate) fn expect_close_because(&mut self, code: u8) {
        if let Some(reason) = self.expect_close() {
            assert_eq!(
                reason.code, code,
                "closed with {:#04x} instead of {code:#04x}",
                reason.code
            );
        }
    }

    /// Ends in good order and waits for the broker to close.
    pub(crate) fn disconnect(mut self) {
        self.send(request::DISCONNECT);
        self.until_closed();
    }

    /// Cuts the network connection and waits for the broker to notice.
    pub(crate) fn cut(mut self) {
        // An end of file in the middle of the session is a broken connection to the broker.
        self.stream.shutdown(Shutdown::Write).ok();
        self.until_closed();
    }

    /// All bytes that come until the broker closes the connection, undecoded.
    pub(crate) fn bytes_until_closed(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.buffer);
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "not closed within {PATIENCE:?}");
        }
        bytes
    }

    fn until_closed(&mut self) {
        while self.try_next().is_some() {}
    }
}
