//! A connection's task: bytes from the transport to the core, bytes from the core to the transport.
//!
//! ```text
//!        ┌──────── open ────────┐   core says close    ┌─ closing ─┐   written, or late
//!  ─────►│ read, take turns,    ├─────────────────────►│ write the ├──────────► Closed ─► linger ─► end
//!        │ write                │                      │ rest      │                       ▲
//!        └──────────┬───────────┘                      └───────────┘                       │
//!                   └────────────── the peer is gone ────────────────► Closed ─────────────┘
//! ```
//!
//! While nothing happens it holds no buffer and no timer: bytes are read into a buffer of the thread, and only what
//! is not yet a whole packet stays. One write a round, of all chunks at once. It knows no MQTT.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use smallvec::SmallVec;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time;

use super::driver::Driver;
use super::mailbox::Mailbox;
use super::transport::Transport;
use crate::broker::event::ConnectionId;
use crate::broker::event::Event;
use crate::broker::event::Origin;

/// How many bytes one read brings at most.
const READ_BYTES_MAX: usize = 64 << 10;
/// How many chunks one write takes at most.
const CHUNKS_MAX: usize = 64;
/// What is left of the input is moved to a place of its own size if it has no more bytes than this.
const REST_BYTES_MAX: usize = 4 << 10;
/// Rounds before other tasks get their turn.
const ROUNDS: usize = 16;
/// How long closing may take, whatever the peer does.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

thread_local! {
    /// What this thread reads into.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES_MAX]);
}

/// How bytes flow on every connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// The core is told of written bytes when they are so many, or together with something else.
    pub(super) drained_step: usize,
    /// While more bytes are not written nothing is read: a peer that asks and does not listen is not heard. More than the
    /// core gives to one that keeps quiet, so that the answers of a slow one are always read.
    pub(super) unwritten_max: usize,
}

/// One connection, its handshakes done.
pub(super) struct Connection {
    id: ConnectionId,
    driver: Arc<Driver>,
    mailbox: Arc<Mailbox>,
    transport: Transport,
    /// Read and not yet taken by the core.
    input: BytesMut,
    output: VecDeque<Bytes>,
    unwritten: usize,
    /// Written, and the core was not yet told.
    drained: usize,
    flow: Flow,
    paused: bool,
    /// What is left of the input has to be handed in again.
    resumed: bool,
    unflushed: bool,
}

/// Why a connection is not open any more.
enum Ended {
    /// The core asked for it.
    Asked,
    /// The peer sends nothing more.
    ByPeer,
    /// The transport failed, or the peer broke its rules.
    Broken(io::Error),
}

impl Connection {
    /// A connection that the core hears of when it is run.
    pub(super) fn new(driver: Arc<Driver>, transport: Transport, flow: Flow) -> Self {
        let (id, mailbox) = driver.connect();
        Self {
            id,
            driver,
            mailbox,
            transport,
            input: BytesMut::new(),
            output: VecDeque::new(),
            unwritten: 0,
            drained: 0,
            flow,
            paused: false,
            resumed: false,
            unflushed: false,
        }
    }

    /// Carries bytes until the connection is closed from either side, then closes it.
    pub(super) async fn run(mut self, origin: Origin) {
        let peer = Arc::clone(&origin.peer);
        self.driver.turn([Event::Opened { connection: self.id, origin }]);
        let ended = poll_fn(|cx| self.poll_open(cx)).await;
        let deadline = time::Instant::now() + CLOSE_DEADLINE;
        if !matches!(ended, Ended::Broken(_)) {
            let written = time::timeout_at(deadline, poll_fn(|cx| self.poll_drain(cx))).await;
            if written.is_err() {
                tracing::debug!(connection = %self.id, %peer, unwritten = self.unwritten, "closed before all was written");
            }
        }
        self.driver.turn([Event::Closed { connection: self.id }]);
        if let Ended::Broken(error) = &ended {
            tracing::debug!(connection = %self.id, %peer, %error, "connection broken");
        }
        let asked = matches!(ended, Ended::Asked);
        drop(time::timeout_at(deadline, poll_fn(|cx| self.poll_goodbye(cx, asked))).await);
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        for _ in 0..ROUNDS {
            if self.take_orders() {
                return Poll::Ready(Ended::Asked);
            }
            let wrote = match self.poll_write(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::Broken(error)),
                Poll::Ready(Ok(wrote)) => wrote,
                Poll::Pending => false,
            };
            let read = match self.poll_read(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::Broken(error)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Ended::ByPeer),
                Poll::Ready(Ok(_)) => true,
                Poll::Pending => false,
            };
            let told = self.tell(read);
            if !wrote && !read && !told && self.rest(cx) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes what the core has for us. Returns whether it wants to be rid of us.
    fn take_orders(&mut self) -> bool {
        let before = self.output.len();
        let orders = self.mailbox.take(&mut self.output);
        self.unwritten += self.output.iter().skip(before).map(Bytes::len).sum::<usize>();
        self.paused = orders.paused.unwrap_or(self.paused);
        self.resumed |= orders.resumed;
        orders.close
    }

    /// Writes, once, all that the transport takes. Returns whether there was something to write and all of what was
    /// tried went.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut wrote = false;
        if !self.output.is_empty() {
            let slices: SmallVec<[IoSlice<'_>; CHUNKS_MAX]> =
                self.output.iter().take(CHUNKS_MAX).map(|chunk| IoSlice::new(chunk)).collect();
            let transport = Pin::new(&mut self.transport);
            let written = ready!(transport.poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(slices);
            self.advance(written);
            self.unflushed = true;
            wrote = true;
        }
        if self.unflushed && self.output.is_empty() {
            ready!(Pin::new(&mut self.transport).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(wrote))
    }

    /// Forgets bytes that were written.
    fn advance(&mut self, written: usize) {
        self.drained += written;
        self.unwritten -= written;
        let mut left = written;
        while let Some(chunk) = self.output.front_mut() {
            if chunk.len() > left {
                chunk.advance(left);
                return;
            }
            left -= chunk.len();
            self.output.pop_front();
        }
    }

    /// Reads, once, unless the core does not want to hear more. Returns how many bytes came; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.paused || self.unwritten > self.flow.unwritten_max {
            return Poll::Pending;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer))?;
            self.input.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Takes a turn, if there is something to tell the core. Returns whether there was.
    fn tell(&mut self, read: bool) -> bool {
        let resumed = std::mem::take(&mut self.resumed) && !self.input.is_empty();
        let connection = self.id;
        let drained = (self.drained >= self.flow.drained_step
            || (self.drained > 0 && (read || resumed)))
            .then(|| Event::Drained { connection, bytes: std::mem::take(&mut self.drained) });
        if !read && !resumed && drained.is_none() {
            return false;
        }
        let input = &mut self.input;
        let received = (read || resumed).then_some(Event::Received { connection, input });
        self.driver.turn(drained.into_iter().chain(received));
        true
    }

    /// Gives back what is not needed while nothing happens. Returns `false` if something does happen.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.mailbox.arm(cx.waker()) {
            return false;
        }
        if self.output.is_empty() {
            self.output = VecDeque::new();
        }
        if self.input.len() <= REST_BYTES_MAX {
            self.input = BytesMut::from(self.input.as_ref());
        }
        true
    }

    /// Writes all that is left, reading nothing.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.take_orders();
        while !self.output.is_empty() || self.unflushed {
            if ready!(self.poll_write(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    }

    /// Says goodbye. If it is we who close, what the peer still sends is read and thrown away until it closes, too:
    /// a socket that is closed with unread bytes takes back what was written last.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>, linger: bool) -> Poll<()> {
        self.output = VecDeque::new();
        if ready!(Pin::new(&mut self.transport).poll_shutdown(cx)).is_err() || !linger {
            return Poll::Ready(());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            loop {
                let mut buffer = ReadBuf::new(scratch);
                let read = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
    }
}
