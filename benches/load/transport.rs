//! Bytes to and from a broker: over TCP, TLS or WebSocket.
//!
//! A WebSocket is spoken with one frame for each write, masked with zeros, which costs us nothing and the broker what any mask costs.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::ring;

/// The bit of a WebSocket frame's length that says that a mask follows.
const MASKED: u8 = 0x80;
/// The length that says that the length follows in two bytes.
const MEDIUM: u8 = 0x7E;
/// The length that says that it follows in eight.
const LONG: u8 = 0x7F;

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Tls,
    WebSocket,
}

/// Where a broker is, and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) carrier: Carrier,
    /// The certificate of the authority, for TLS.
    pub(crate) authority: PathBuf,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection as a stream of MQTT's bytes.
pub(crate) struct Transport {
    stream: Stream,
    frames: Option<Frames>,
    /// On its way out.
    outbound: Vec<u8>,
    /// How much of that has gone.
    gone: usize,
    unflushed: bool,
}

impl Transport {
    /// Connects, from this address if it matters.
    pub(crate) async fn connect(target: &Target, source: Option<Ipv4Addr>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(source) = source {
            socket.bind((source, 0).into()).unwrap();
        }
        let tcp = socket.connect(target.address).await.expect("the broker takes connections");
        tcp.set_nodelay(true).unwrap();
        let (stream, frames) = match target.carrier {
            Carrier::Tcp => (Stream::Tcp(tcp), None),
            Carrier::Tls => (Stream::Tls(Box::new(encrypted(target, tcp).await)), None),
            Carrier::WebSocket => (Stream::Tcp(upgraded(tcp).await), Some(Frames::default())),
        };
        Self { stream, frames, outbound: Vec::new(), gone: 0, unflushed: false }
    }

    /// Another handle of a plain TCP connection.
    pub(crate) fn plain(&self) -> std::net::TcpStream {
        match &self.stream {
            Stream::Tcp(tcp) => {
                let socket = std::os::fd::AsFd::as_fd(tcp).try_clone_to_owned().unwrap();
                std::net::TcpStream::from(socket)
            }
            Stream::Tls(_) => panic!("an encrypted connection has one end only"),
        }
    }

    /// Reads, once. Returns how many bytes there are; panics at the end of the stream.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<usize> {
        loop {
            let mut buffer = ReadBuf::new(into);
            ready!(self.stream.poll_read(cx, &mut buffer))
                .expect("the broker holds the connection");
            let read = buffer.filled().len();
            assert!(read > 0, "the broker closed a connection");
            let left = match &mut self.frames {
                None => read,
                Some(frames) => frames.strip(&mut into[..read]),
            };
            if left > 0 {
                return Poll::Ready(left);
            }
        }
    }

    /// Writes what is on its way, then what is in `more`, until all has gone.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, more: &mut Vec<u8>) -> Poll<()> {
        loop {
            while self.gone < self.outbound.len() {
                let rest = &self.outbound[self.gone..];
                let written = ready!(self.stream.poll_write(cx, rest));
                self.gone += written.expect("the broker holds the connection");
                self.unflushed = true;
            }
            self.outbound.clear();
            self.gone = 0;
            if more.is_empty() {
                break;
            }
            if self.frames.is_some() {
                self.outbound.extend(frame_head(more.len()));
                self.outbound.append(more);
            } else {
                std::mem::swap(&mut self.outbound, more);
            }
        }
        if self.unflushed {
            ready!(self.stream.poll_flush(cx)).expect("the broker holds the connection");
            self.unflushed = false;
        }
        Poll::Ready(())
    }
}

impl Stream {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }
}

async fn encrypted(target: &Target, tcp: TcpStream) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&target.authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake")
}

/// Makes a WebSocket of a connection.
async fn upgraded(mut tcp: TcpStream) -> TcpStream {
    let request = "GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tcp.read_u8().await.expect("an answer to the upgrade"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "no WebSocket: {}", answer.escape_ascii());
    tcp
}

/// The head of a masked binary frame whose mask is zero.
fn frame_head(length: usize) -> Vec<u8> {
    let mut head = vec![0x82];
    match u16::try_from(length) {
        Ok(short) if short < u16::from(MEDIUM) => head.push(MASKED | short as u8),
        Ok(medium) => {
            head.push(MASKED | MEDIUM);
            head.extend(medium.to_be_bytes());
        }
        Err(_) => {
            head.push(MASKED | LONG);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}

/// Takes the heads of a server's frames out of what was read.
#[derive(Default)]
struct Frames {
    /// Of a head that has not come completely.
    head: Vec<u8>,
    /// Bytes of the present frame still to come.
    left: usize,
}

impl Frames {
    /// Moves what the frames carry to the front. Returns how much that is.
    fn strip(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            if self.left == 0 {
                self.head.push(bytes[from]);
                from += 1;
                self.left = self.length().unwrap_or(0);
                continue;
            }
            let carried = self.left.min(bytes.len() - from);
            bytes.copy_within(from..from + carried, to);
            from += carried;
            to += carried;
            self.left -= carried;
        }
        to
    }

    /// The length of the frame whose head is complete, which is forgotten.
    fn length(&mut self) -> Option<usize> {
        let (length, wide) = match (*self.head.get(1)?, self.head.len()) {
            (MEDIUM, 4) => (usize::from(u16::from_be_bytes([self.head[2], self.head[3]])), true),
            (LONG, 10) => (u64::from_be_bytes(self.head[2..].try_into().unwrap()) as usize, true),
            (MEDIUM | LONG, _) => return None,
            (short, _) => (usize::from(short), false),
        };
        assert!(self.head[0] & 0x0F <= 2, "a control frame: the broker gave up");
        assert!(length > 0 || !wide, "a long frame of nothing");
        self.head.clear();
        Some(length)
    }
}
