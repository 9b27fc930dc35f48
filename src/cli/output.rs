//! Standard output of `sub`: messages are acknowledged when their lines have been written and flushed, not before.
//!
//! While one batch of lines is being written, the next one is filled. A batch is written whole, whatever comes
//! meanwhile, so that an acknowledgement never waits for more than the two of them.

use std::io;
use std::mem;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

/// Above this many bytes in the next batch, no more messages should be read.
const BATCH_BYTES: usize = 64 * 1024;

/// Lines on their way to `W`, and the receipts `T` to hand back once they are written.
pub(crate) struct Output<W, T> {
    writer: W,
    writing: Batch<T>,
    next: Batch<T>,
}

#[derive(Debug)]
struct Batch<T> {
    bytes: BytesMut,
    receipts: Vec<T>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), receipts: Vec::new() }
    }
}

impl<W: AsyncWrite + Unpin, T> Output<W, T> {
    /// Nothing written yet.
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, writing: Batch::default(), next: Batch::default() }
    }

    /// Whether [`Self::write`] has something to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.writing.receipts.is_empty() && self.next.receipts.is_empty()
    }

    /// Whether there is room for more messages.
    pub(crate) fn has_room(&self) -> bool {
        self.next.bytes.len() < BATCH_BYTES
    }

    /// Adds what `print` appends to the buffer, and its receipt.
    pub(crate) fn push(&mut self, receipt: T, print: impl FnOnce(&mut BytesMut)) {
        print(&mut self.next.bytes);
        self.next.receipts.push(receipt);
    }

    /// Forgets what was not written, and its receipts.
    pub(crate) fn abandon(&mut self) {
        self.writing = Batch::default();
        self.next = Batch::default();
    }

    /// Writes one batch to its end, and returns its receipts. May be dropped and called again without loss.
    ///
    /// # Errors
    /// As the writer: what was not written has no receipts.
    pub(crate) async fn write(&mut self) -> io::Result<Vec<T>> {
        if self.writing.receipts.is_empty() {
            mem::swap(&mut self.writing, &mut self.next);
        }
        while !self.writing.bytes.is_empty() {
            if self.writer.write_buf(&mut self.writing.bytes).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.writer.flush().await?;
        Ok(mem::take(&mut self.writing.receipts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn receipts_come_back_when_their_batch_is_written() {
        let mut output = Output::new(Vec::new());
        output.push(1, |buffer| buffer.extend_from_slice(b"one\n"));
        output.push(2, |_| ());
        assert_eq!(output.write().await.unwrap(), [1, 2]);
        assert_eq!(output.writer, b"one\n");
        assert!(output.is_idle());
    }

    #[tokio::test]
    async fn a_writer_that_takes_nothing_gives_no_receipts() {
        let (writer, reader) = tokio::io::duplex(4);
        let mut output = Output::new(writer);
        output.push((), |buffer| buffer.extend_from_slice(b"more than four"));
        tokio::select! {
            biased;
            _ = output.write() => panic!("nobody reads"),
            () = std::future::ready(()) => (),
        }
        drop(reader);
        assert_eq!(output.write().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(!output.is_idle());
    }
}
