//! An MQTT client's connection: packets in, packets out, with a read and a write for as many as there are.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::task::Context;
use std::task::Poll;

use crate::transport::Target;
use crate::transport::Transport;
use crate::wire;
use crate::wire::Frame;

/// How much one read brings at most.
const READ_BYTES_MAX: usize = 256 << 10;
/// CONNACK's first byte.
const CONNACK: u8 = 0x20;
/// SUBACK's first byte.
const SUBACK: u8 = 0x90;

thread_local! {
    /// What this thread reads into.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES_MAX]);
}

/// A connection that was accepted.
pub(crate) struct Link {
    transport: Transport,
    /// Read, and not a whole packet or not asked for yet.
    rest: Vec<u8>,
    /// To be written.
    pub(crate) out: Vec<u8>,
}

impl Link {
    /// Connects and waits until the broker accepts.
    pub(crate) async fn open(target: &Target, client_id: &str, clean_session: bool) -> Self {
        Self::open_from(target, None, client_id, clean_session).await
    }

    /// The same, from this address.
    pub(crate) async fn open_from(
        target: &Target,
        source: Option<Ipv4Addr>,
        client_id: &str,
        clean_session: bool,
    ) -> Self {
        let transport = Transport::connect(target, source).await;
        let mut link = Self { transport, rest: Vec::new(), out: Vec::new() };
        link.out.extend(wire::connect(client_id, clean_session));
        link.write().await;
        let (first, body) = link.next().await;
        assert!(first == CONNACK && body[1] == 0, "refused: {first:#x} {body:?}");
        link
    }

    /// Subscribes and waits until that is granted. What comes before is thrown away.
    pub(crate) async fn subscribe<'a>(
        &mut self,
        filters: impl IntoIterator<Item = &'a str>,
        qos: u8,
    ) {
        self.out.extend(wire::subscribe(filters, qos));
        self.write().await;
        loop {
            let (first, body) = self.next().await;
            if first == SUBACK {
                assert!(body[2..].iter().all(|granted| *granted == qos), "not granted: {body:?}");
                return;
            }
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        self.out.extend(wire::DISCONNECT);
        self.write().await;
    }

    /// Another handle of a plain connection.
    pub(crate) fn plain(&self) -> std::net::TcpStream {
        self.transport.plain()
    }

    /// Writes all that is in `out`.
    pub(crate) async fn write(&mut self) {
        poll_fn(|cx| self.poll_write(cx)).await;
    }

    /// Writes all that is in `out`.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.transport.poll_write(cx, &mut self.out)
    }

    /// The next packet, first byte and body.
    pub(crate) async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some((frame, length)) = wire::frame(&self.rest) {
                let packet = (frame.first, frame.body.to_vec());
                self.rest.drain(..length);
                return packet;
            }
            let mut bytes = [0; 4096];
            let read = poll_fn(|cx| self.transport.poll_read(cx, &mut bytes)).await;
            self.rest.extend_from_slice(&bytes[..read]);
        }
    }

    /// Reads once and hands over every packet that is complete, with the buffer for answers.
    pub(crate) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        mut handle: impl FnMut(Frame<'_>, &mut Vec<u8>),
    ) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let kept = self.rest.len();
            scratch[..kept].copy_from_slice(&self.rest);
            let read = match self.transport.poll_read(cx, &mut scratch[kept..]) {
                Poll::Ready(read) => read,
                Poll::Pending if wire::frame(&self.rest).is_some() => 0,
                Poll::Pending => return Poll::Pending,
            };
            let bytes = &scratch[..kept + read];
            let mut taken = 0;
            while let Some((frame, length)) = wire::frame(&bytes[taken..]) {
                handle(frame, &mut self.out);
                taken += length;
            }
            self.rest.clear();
            self.rest.extend_from_slice(&bytes[taken..]);
            Poll::Ready(())
        })
    }
}
