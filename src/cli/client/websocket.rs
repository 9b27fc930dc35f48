//! MQTT over WebSocket, client's side: binary messages as a stream of bytes.
//!
//! Where a WebSocket message ends means nothing [MQTT-6.0.0-2]; one that is not binary ends the connection
//! [MQTT-6.0.0-1]; the subprotocol is `mqtt` [MQTT-6.0.0-3].

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use futures_util::Sink;
use futures_util::Stream as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::http::Uri;

use super::ClientError;
use super::transport::Stream;

/// Does the handshake on `stream`, which leads to `authority`.
///
/// # Errors
/// Fails if the handshake does, or if the broker does not choose the subprotocol.
pub(super) async fn connect(
    authority: &str,
    path: &str,
    stream: Box<dyn Stream>,
) -> Result<WebSocketBytes, ClientError> {
    let uri = Uri::builder().scheme("ws").authority(authority).path_and_query(path).build();
    let uri = uri.map_err(|_| websocket_error(Error::Url(UrlError::NoPathOrQuery)))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("mqtt");
    let (socket, _) =
        tokio_tungstenite::client_async(request, stream).await.map_err(websocket_error)?;
    Ok(WebSocketBytes { socket, unread: Bytes::new() })
}

/// A WebSocket seen as a stream of bytes.
pub(super) struct WebSocketBytes {
    socket: WebSocketStream<Box<dyn Stream>>,
    unread: Bytes,
}

impl AsyncRead for WebSocketBytes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => (),
                Some(Ok(Message::Text(_))) => {
                    let text = "the broker sent a text message over the WebSocket";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) | None => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketBytes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(context)).map_err(io_error)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        socket.start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(context)) {
            Ok(()) | Err(Error::ConnectionClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }
}

fn io_error(error: Error) -> io::Error {
    if let Error::Io(error) = error { error } else { io::Error::other(error) }
}

fn websocket_error(error: Error) -> ClientError {
    ClientError::WebSocket(Box::new(error))
}
