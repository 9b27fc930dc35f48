//! A client that sends as fast as it can and does not read.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use socket2::Domain;
use socket2::Socket;
use socket2::Type;

use super::wire::Version;
use super::wire::packet::Packet;
use super::wire::request::Connect;

/// A broker that takes nothing for so long has stopped reading.
const STILL: Duration = Duration::from_secs(2);
/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// The system holds little on behalf of one who does not read.
const SOCKET_BUFFER_BYTES: usize = 4 << 10;
/// So does the broker's side of the socket, which makes room for some segments: 64 KiB each on loopback otherwise.
const SEGMENT_BYTES: u32 = 536;

/// A connection that is flooded.
pub(crate) struct Flood {
    stream: TcpStream,
    version: Version,
    /// The rest of what could not be written whole.
    rest: Vec<u8>,
}

/// How a flood went.
pub(crate) struct Flooded {
    /// How many times the bytes were sent, the last time perhaps in part.
    pub(crate) times: u64,
    /// Whether the broker stopped reading.
    pub(crate) held: bool,
}

impl Flood {
    /// Connects with a clean start.
    pub(crate) fn connect(address: SocketAddr, version: Version, client_id: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        socket.set_tcp_mss(SEGMENT_BYTES).unwrap();
        socket.connect(&address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut flood = Self { stream, version, rest: Vec::new() };
        flood.stream.write_all(&Connect::new(version, client_id).bytes()).unwrap();
        match flood.read(1).first() {
            Some(Packet::Connack(connack)) if connack.code == 0 => flood,
            other => panic!("CONNACK was due, not {other:?}"),
        }
    }

    /// Sends these bytes again and again until they were sent `times_max` times or the broker stops reading.
    pub(crate) fn send(&mut self, bytes: &[u8], times_max: u64) -> Flooded {
        self.stream.set_write_timeout(Some(STILL)).unwrap();
        for times in 1..=times_max {
            let mut sent = 0;
            while sent < bytes.len() {
                match self.stream.write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.rest = bytes[sent..].to_vec();
                        return Flooded { times, held: true };
                    }
                    Err(error) => panic!("the broker closed the connection: {error}"),
                }
            }
        }
        Flooded { times: times_max, held: false }
    }

    /// Reads so many packets at last, while the rest of what was held is sent.
    pub(crate) fn read(&mut self, count: u64) -> Vec<Packet> {
        let mut writer = self.stream.try_clone().unwrap();
        writer.set_write_timeout(Some(PATIENCE)).unwrap();
        let rest = std::mem::take(&mut self.rest);
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&rest).unwrap());
            let mut packets = Vec::new();
            let mut buffer = Vec::new();
            let mut chunk = vec![0; 64 << 10];
            while (packets.len() as u64) < count {
                let length = self.stream.read(&mut chunk).expect("the broker answers");
                assert_ne!(length, 0, "closed after {} packets", packets.len());
                buffer.extend(&chunk[..length]);
                let mut taken = 0;
                while let Some((packet, length)) = Packet::read(&buffer[taken..], self.version) {
                    packets.push(packet);
                    taken += length;
                }
                buffer.drain(..taken);
            }
            packets
        })
    }
}
