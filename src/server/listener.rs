//! A listener: a bound socket, and the way from an accepted one to a transport whose handshakes are done.
//!
//! Whoever is over a limit is closed at once; nothing was read or spawned for it. An accept that fails because the
//! process or the machine is short of something is tried again after a pause that grows, not in a loop that spins.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::time;
use tokio_tungstenite::tungstenite;

use super::admission::ListenerQuota;
use super::transport::Transport;
use super::transport::tcp;
use super::transport::tls::Tls;
use super::transport::tls::TlsError;
use super::transport::unix;
use super::transport::unix::UnixSocket;
use super::transport::websocket::WebSocket;
use crate::config;
use crate::config::Anonymous;
use crate::config::Endpoint;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a listener can't be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The socket can't be bound.
    #[error("address: {endpoint}: {source}")]
    Bind {
        /// Where.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// Its certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why a connection did not get as far as MQTT.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// The transport, or the TLS in it.
    #[error("{0}")]
    Transport(#[from] io::Error),
    /// The WebSocket's opening handshake.
    #[error("{0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// It took too long.
    #[error("not done in time")]
    Late,
}

/// Where a listener is bound, with the port that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerAddress {
    /// The listener's name.
    pub name: Arc<str>,
    /// What it speaks: `tcp`, `tls`, `websocket`, `wss` or `unix`.
    pub kind: &'static str,
    /// Its address, or the path of its Unix socket.
    pub endpoint: Endpoint,
    /// The path of its URL, for a WebSocket.
    pub websocket_path: Option<String>,
}

impl ListenerAddress {
    /// Whether its display has the name in it: the kind or the address.
    pub(super) fn says_its_name(&self) -> bool {
        *self.name == *self.kind || *self.name == *endpoint_text(&self.endpoint)
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, endpoint_text(&self.endpoint))?;
        f.write_str(self.websocket_path.as_deref().unwrap_or_default())
    }
}

/// A listener that is open.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: Arc<str>,
    pub(crate) quota: Arc<ListenerQuota>,
    socket: Socket,
    speech: Arc<Speech>,
    anonymous: Anonymous,
}

/// What is spoken below MQTT.
#[derive(Debug)]
pub(crate) struct Speech {
    tls: Option<Tls>,
    websocket_path: Option<String>,
    frame_bytes_max: u64,
    deadline: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// An accepted socket, before any handshake.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// With the peer's address.
    Tcp(TcpStream, SocketAddr),
    /// Of this machine.
    Unix(UnixStream),
}

impl Listener {
    /// Binds the socket and reads the certificates. Handshakes have to be done within `deadline`, WebSocket frames have
    /// at most `frame_bytes_max` bytes. Has to be called in a tokio runtime.
    pub(crate) fn open(
        options: &config::Listener,
        frame_bytes_max: u64,
        deadline: Duration,
    ) -> Result<Self, ListenError> {
        let tls = options.tls.as_ref().map(Tls::open).transpose()?;
        let bound = match &options.endpoint {
            Endpoint::Tcp(address) => tcp::bind(*address).map(Socket::Tcp),
            Endpoint::Unix(path) => UnixSocket::bind(path).map(Socket::Unix),
        };
        let socket = bound.map_err(|source| ListenError::Bind {
            endpoint: endpoint_text(&options.endpoint),
            source,
        })?;
        let websocket_path = options.websocket_path.clone();
        Ok(Self {
            name: options.name.as_str().into(),
            quota: ListenerQuota::new(options.connections),
            socket,
            speech: Arc::new(Speech { tls, websocket_path, frame_bytes_max, deadline }),
            anonymous: options.anonymous,
        })
    }

    /// Whether [`Listener::open`] would find its address free and its certificates sound. Nobody is listened to.
    pub(crate) fn check(options: &config::Listener) -> Result<(), ListenError> {
        options.tls.as_ref().map(Tls::open).transpose()?;
        let free = match &options.endpoint {
            Endpoint::Tcp(address) => tcp::check(*address),
            Endpoint::Unix(path) => unix::refuse_what_is_not_stale(path),
        };
        free.map_err(|source| ListenError::Bind {
            endpoint: endpoint_text(&options.endpoint),
            source,
        })
    }

    /// Where it is bound, with the port that it got.
    pub(crate) fn address(&self) -> io::Result<ListenerAddress> {
        let endpoint = match &self.socket {
            Socket::Tcp(listener) => Endpoint::Tcp(listener.local_addr()?),
            Socket::Unix(socket) => Endpoint::Unix(socket.path().to_owned()),
        };
        let websocket_path = self.speech.websocket_path.clone();
        Ok(ListenerAddress {
            name: Arc::clone(&self.name),
            kind: self.kind(),
            endpoint,
            websocket_path,
        })
    }

    fn kind(&self) -> &'static str {
        match (&self.socket, &self.speech.tls, &self.speech.websocket_path) {
            (Socket::Unix(_), _, _) => "unix",
            (Socket::Tcp(_), None, None) => "tcp",
            (Socket::Tcp(_), Some(_), None) => "tls",
            (Socket::Tcp(_), None, Some(_)) => "websocket",
            (Socket::Tcp(_), Some(_), Some(_)) => "wss",
        }
    }

    /// The next socket. Waits, with a warning, while the system gives none.
    pub(crate) async fn accept(&self) -> Accepted {
        let mut pause = PAUSE_MIN;
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(listener) => {
                    listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
                }
                Socket::Unix(socket) => socket.accept().await.map(Accepted::Unix),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = %self.name, %error, ?pause, "no connection accepted");
                    time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// What is spoken below MQTT on this listener.
    pub(crate) fn speech(&self) -> &Arc<Speech> {
        &self.speech
    }

    /// Whether a connection from there may do without a user name.
    pub(crate) fn lets_anonymous_in(&self, accepted: &Accepted) -> bool {
        match self.anonymous {
            Anonymous::Loopback => accepted.is_local(),
            Anonymous::Always => true,
            Anonymous::Never => false,
        }
    }
}

impl Accepted {
    /// The address of the peer, if it has one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, peer) => Some(peer.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The peer, for traces.
    pub(crate) fn peer(&self) -> Arc<str> {
        match self {
            Self::Tcp(_, peer) => peer.to_string().into(),
            Self::Unix(_) => "unix".into(),
        }
    }

    fn is_local(&self) -> bool {
        self.address().is_none_or(|address| address.to_canonical().is_loopback())
    }
}

impl Speech {
    /// Does the handshakes. Returns the user's name in the client's certificate, too, if there is one to be used.
    pub(crate) async fn open(
        &self,
        accepted: Accepted,
    ) -> Result<(Transport, Option<String>), HandshakeError> {
        let transport: Transport = match accepted {
            Accepted::Tcp(stream, _) => {
                tcp::configure(&stream)?;
                Box::new(stream)
            }
            Accepted::Unix(stream) => Box::new(stream),
        };
        if self.tls.is_none() && self.websocket_path.is_none() {
            return Ok((transport, None));
        }
        let handshakes = time::timeout(self.deadline, Box::pin(self.shake_hands(transport)));
        handshakes.await.unwrap_or(Err(HandshakeError::Late))
    }

    async fn shake_hands(
        &self,
        mut transport: Transport,
    ) -> Result<(Transport, Option<String>), HandshakeError> {
        let mut name = None;
        if let Some(tls) = &self.tls {
            let (stream, user_name) = tls.accept(transport).await?;
            transport = Box::new(stream);
            name = user_name;
        }
        if let Some(path) = &self.websocket_path {
            let stream = WebSocket::accept(transport, path, self.frame_bytes_max).await?;
            transport = Box::new(stream);
        }
        Ok((transport, name))
    }

    /// Whether there are certificates to be looked at.
    pub(crate) fn has_certificates(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads the certificates again, if there are any and they changed. Blocks on files.
    pub(crate) fn reload(&self, listener: &str) {
        let Some(tls) = &self.tls else { return };
        let certificate = tls.certificate().display();
        match tls.reload() {
            Ok(true) => tracing::info!(listener, %certificate, "certificates replaced"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(listener, %error, "certificates not replaced, the old ones stay in use");
            }
        }
    }
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp(address) => address.to_string(),
        Endpoint::Unix(path) => path.display().to_string(),
    }
}

/// Whether accepting failed for a reason that went away with the connection.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::ConnectionAborted;
    use io::ErrorKind::ConnectionReset;
    use io::ErrorKind::Interrupted;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
