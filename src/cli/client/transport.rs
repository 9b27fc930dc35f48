//! Byte streams to a broker: TCP or a Unix socket, then TLS, then WebSocket, as far as asked for.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::ClientError;
use super::tls::Tls;
use super::websocket;

/// A connected byte stream of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How a broker is reached.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Where it listens.
    pub(crate) address: Address,
    /// With encryption, if any.
    pub(crate) tls: Option<Tls>,
    /// As a WebSocket under this path, if any.
    pub(crate) websocket_path: Option<String>,
}

/// Where a broker listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A TCP port.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
        /// The address to connect from, if not any.
        bind: Option<IpAddr>,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Connects and does the handshakes of the layers below MQTT.
    ///
    /// # Errors
    /// The error of the layer that failed. There is no deadline here.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let (mut stream, host) = match &self.address {
            Address::Tcp { host, port, bind } => {
                (boxed(connect_tcp(host, *port, *bind).await?), host.as_str())
            }
            Address::Unix(path) => (connect_unix(path).await?, "localhost"),
        };
        if let Some(tls) = &self.tls {
            stream = boxed(tls.connect(host, stream).await?);
        }
        if let Some(path) = &self.websocket_path {
            stream = boxed(websocket::connect(&self.authority(), path, stream).await?);
        }
        Ok(stream)
    }

    /// The value of the Host header.
    fn authority(&self) -> String {
        match &self.address {
            Address::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port, .. } => format!("{host}:{port}"),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }
}

fn boxed(stream: impl Stream + 'static) -> Box<dyn Stream> {
    Box::new(stream)
}

/// Tries every address of the host in turn; the last error is the one reported.
async fn connect_tcp(
    host: &str,
    port: u16,
    bind: Option<IpAddr>,
) -> Result<TcpStream, ClientError> {
    let resolved = tokio::net::lookup_host((host, port)).await;
    let addresses =
        resolved.map_err(|source| ClientError::Resolve { host: host.to_owned(), source })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.filter(|address| fits(*address, bind)) {
        match connect_address(address, bind).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ClientError::Connect(last))
}

/// An address can only be reached from an address of its own family.
fn fits(address: SocketAddr, bind: Option<IpAddr>) -> bool {
    bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4())
}

async fn connect_address(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(bind) = bind {
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(unix)]
async fn connect_unix(path: &std::path::Path) -> Result<Box<dyn Stream>, ClientError> {
    Ok(boxed(UnixStream::connect(path).await.map_err(ClientError::Connect)?))
}

#[cfg(not(unix))]
async fn connect_unix(_path: &std::path::Path) -> Result<Box<dyn Stream>, ClientError> {
    Err(ClientError::Connect(io::ErrorKind::Unsupported.into()))
}
