//! MQTT in a WebSocket: the opening handshake, and the frames as a stream of bytes.
//!
//! Frames are taken apart as their bytes arrive, in the buffer they were read into, and put around what is written
//! without copying it: a frame's length makes nothing be allocated, and an idle connection holds no buffer.
//!
//! - Only binary frames carry bytes; any other data frame closes [MQTT-6.0.0-1].
//! - Where a frame begins or ends means nothing to who reads or writes [MQTT-6.0.0-2].
//! - A frame that was begun is finished before a control frame leaves: whoever writes comes back with the same bytes.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use smallvec::SmallVec;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::ErrorResponse;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::handshake::server::Response;
use tokio_tungstenite::tungstenite::handshake::server::write_response;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::Transport;
use super::frames::Frames;
use super::frames::Opcode;
use super::frames::head;

/// The subprotocol that a client has to offer.
const SUBPROTOCOL: &str = "mqtt";
/// What is said to a client that does not offer it.
const NO_SUBPROTOCOL: &str = "MQTT over WebSocket needs the subprotocol mqtt\n";
/// What is said to a client on another path.
const NO_SUCH_PATH: &str = "there is no MQTT on this path\n";
/// What is said to a client that does not ask for a WebSocket.
const NO_UPGRADE: &str = "only MQTT over WebSocket is spoken here\n";
/// The largest frame we send; larger writes become several.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// The normal end of a WebSocket.
const CLOSE_NORMAL: u16 = 1_000;

/// A WebSocket's frames as a stream of bytes.
pub(crate) struct WebSocket {
    inner: Transport,
    frames: Frames,
    outbound: Outbound,
}

/// What is under way to the peer, besides the bytes that are being written.
#[derive(Default)]
struct Outbound {
    /// The rest of the head of the frame that was begun.
    head: SmallVec<[u8; 16]>,
    /// Bytes that the frame still announces.
    frame_left: usize,
    /// Whole control frames, or what is left of them.
    control: Vec<u8>,
    close_sent: bool,
}

impl WebSocket {
    /// Does the opening handshake on `path`. The subprotocol `mqtt` has to be offered and is returned
    /// [MQTT-6.0.0-3] [MQTT-6.0.0-4]; frames from the peer have at most `frame_bytes_max` bytes.
    ///
    /// # Errors
    /// What the peer asked for is not a WebSocket for MQTT on this path (it was answered so), or its transport failed.
    pub(crate) async fn accept(
        mut transport: Transport,
        path: &str,
        frame_bytes_max: u64,
    ) -> Result<Self, Box<tungstenite::Error>> {
        #[expect(clippy::result_large_err, reason = "the handshake wants it so")]
        let answer = |request: &Request, response: Response| answer(path, request, response);
        let config = WebSocketConfig::default().read_buffer_size(0).write_buffer_size(0);
        let shaken =
            tokio_tungstenite::accept_hdr_async_with_config(&mut transport, answer, Some(config))
                .await;
        if let Err(error) = shaken {
            if let Some(response) = answer_to_no_websocket(&error) {
                write(&mut transport, &response).await?;
            }
            return Err(Box::new(error));
        }
        Ok(Self {
            inner: transport,
            frames: Frames::new(frame_bytes_max),
            outbound: Outbound::default(),
        })
    }

    /// Writes what answers the peer's control frames, if no frame of ours is under way.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outbound = &mut self.outbound;
        if outbound.frame_left > 0 {
            return Poll::Ready(Ok(()));
        }
        if outbound.control.is_empty() {
            outbound.answer(&mut self.frames);
        }
        while !outbound.control.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &outbound.control))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbound.control.drain(..written);
            if outbound.control.is_empty() {
                outbound.answer(&mut self.frames);
            }
        }
        outbound.control = Vec::new();
        Poll::Ready(Ok(()))
    }
}

impl Outbound {
    /// Takes the next control frame that the peer's ask for. Of several pings the last is answered.
    fn answer(&mut self, frames: &mut Frames) {
        if self.close_sent {
            return;
        }
        if let Some(body) = frames.take_pong() {
            self.push(Opcode::Pong, &body);
        }
        if let Some(code) = frames.take_close() {
            self.close(code);
        }
    }

    fn close(&mut self, code: u16) {
        if !self.close_sent {
            self.close_sent = true;
            self.push(Opcode::Close, &code.to_be_bytes());
        }
    }

    fn push(&mut self, opcode: Opcode, body: &[u8]) {
        self.control.extend_from_slice(&head(opcode, body.len()));
        self.control.extend_from_slice(body);
    }

    /// Begins a frame for what is about to be written.
    fn begin(&mut self, buffers: &[IoSlice<'_>]) {
        self.frame_left =
            buffers.iter().map(|buffer| buffer.len()).sum::<usize>().min(FRAME_BYTES_MAX);
        self.head = head(Opcode::Binary, self.frame_left);
    }

    /// The rest of the head, and of the buffers what the frame announces.
    fn gather<'a>(&'a self, buffers: &'a [IoSlice<'_>]) -> SmallVec<[IoSlice<'a>; 16]> {
        let mut slices = SmallVec::new();
        if !self.head.is_empty() {
            slices.push(IoSlice::new(&self.head));
        }
        let mut left = self.frame_left;
        for buffer in buffers {
            let part = buffer.get(..left).unwrap_or(buffer);
            slices.push(IoSlice::new(part));
            left -= part.len();
            if left == 0 {
                break;
            }
        }
        slices
    }

    /// Notes that so many bytes of what [`Outbound::gather`] gave were written; returns how many were not the head's.
    fn advance(&mut self, written: usize) -> usize {
        let of_head = written.min(self.head.len());
        self.head.drain(..of_head);
        let of_frame = (written - of_head).min(self.frame_left);
        self.frame_left -= of_frame;
        of_frame
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(Err(error)) = self.poll_control(cx) {
                return Poll::Ready(Err(error));
            }
            if let Some(end) = self.frames.end() {
                return Poll::Ready(end);
            }
            let start = buffer.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
            let read = buffer.filled_mut().get_mut(start..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let bytes = self.frames.unframe(read);
            buffer.set_filled(start + bytes);
            if bytes > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
    }

    /// If this is pending or takes only a part, whoever calls comes back with the rest, and nothing else before it.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            if this.outbound.frame_left == 0 {
                ready!(this.poll_control(cx))?;
                if this.outbound.close_sent {
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                this.outbound.begin(buffers);
            }
            let slices = this.outbound.gather(buffers);
            let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(slices);
            let bytes = this.outbound.advance(written);
            if bytes > 0 {
                return Poll::Ready(Ok(bytes));
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_control(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Says goodbye, unless that would be in the middle of a frame.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.frame_left == 0 {
            let this = &mut *self;
            this.outbound.answer(&mut this.frames);
            this.outbound.close(CLOSE_NORMAL);
            ready!(this.poll_control(cx))?;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The answer to the opening handshake.
#[expect(clippy::result_large_err, reason = "the handshake wants it so")]
fn answer(
    path: &str,
    request: &Request,
    mut response: Response,
) -> Result<Response, ErrorResponse> {
    if request.uri().path() != path {
        return Err(refusal(StatusCode::NOT_FOUND, NO_SUCH_PATH));
    }
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = offers.iter().filter_map(|offer| offer.to_str().ok());
    if !offers.any(|offer| offer.split(',').any(|one| one.trim() == SUBPROTOCOL)) {
        return Err(refusal(StatusCode::BAD_REQUEST, NO_SUBPROTOCOL));
    }
    let chosen = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    Ok(response)
}

/// What a client that speaks HTTP is told if it does not ask for a WebSocket: a browser, a health check.
fn answer_to_no_websocket(error: &tungstenite::Error) -> Option<ErrorResponse> {
    let tungstenite::Error::Protocol(violation) = error else { return None };
    let asks_for_something_else = matches!(
        violation,
        ProtocolError::WrongHttpMethod
            | ProtocolError::WrongHttpVersion
            | ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader
    );
    if asks_for_something_else {
        let mut response = refusal(StatusCode::UPGRADE_REQUIRED, NO_UPGRADE);
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, close"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Some(response);
    }
    let asks_wrongly = matches!(
        violation,
        ProtocolError::MissingSecWebSocketKey
            | ProtocolError::InvalidSecWebSocketKey
            | ProtocolError::InvalidHeader(_)
            | ProtocolError::JunkAfterRequest
    );
    asks_wrongly.then(|| refusal(StatusCode::BAD_REQUEST, NO_UPGRADE))
}

async fn write(transport: &mut Transport, response: &ErrorResponse) -> tungstenite::Result<()> {
    let mut bytes = Vec::new();
    write_response(&mut bytes, response)?;
    bytes.extend_from_slice(response.body().as_deref().unwrap_or_default().as_bytes());
    transport.write_all(&bytes).await?;
    transport.shutdown().await?;
    Ok(())
}

fn refusal(status: StatusCode, why: &'static str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(why.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(why.len()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
