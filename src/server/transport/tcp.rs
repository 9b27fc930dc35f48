//! TCP: a listening socket, and what every accepted one is told.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::Domain;
use socket2::Protocol;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4_096;
/// A connection that is silent for this long is probed by the system.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 5;
/// Sent bytes that are not acknowledged for this long end the connection.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_mins(5);

/// Listens on an address; port 0 takes a free one. Has to be called in a tokio runtime.
///
/// # Errors
/// Those of the system: the address is in use, is not of this machine, or is not allowed.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether [`bind`] would work now.
///
/// # Errors
/// As [`bind`].
pub(crate) fn check(address: SocketAddr) -> io::Result<()> {
    bound(address).map(drop)
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets what every connection has: no delay of small packets, probes of a silent peer, an end to unacknowledged bytes.
pub(crate) fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(PROBES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
