//! What carries bytes: TCP, a Unix socket, a pipe in memory, TLS and WebSocket around them.
//!
//! [MQTT-4.2-1]: each is an ordered, lossless stream of bytes both ways. Everything above sees a [`Transport`] and does
//! not know which it is.

mod frames;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod unix;
pub(crate) mod websocket;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

/// A stream of bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection's transport, its handshakes done.
pub(crate) type Transport = Box<dyn Duplex>;
