//! Where `pub` takes its messages from: one payload, once or repeated, or the lines of standard input.
//!
//! Standard input is read only as fast as its lines are published: beside the line that is being put together,
//! no more than one buffer of it is in memory.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncBufReadExt;
use tokio::time::Instant;

/// The longest payload that a PUBLISH can carry has a few bytes less.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 268_435_455;

/// A supply of payloads.
pub(crate) enum Source<R> {
    /// The same payload some times over.
    Repeated(Repeated),
    /// One payload for each line.
    Lines(Lines<R>),
}

impl<R: AsyncBufRead + Unpin> Source<R> {
    /// The next payload, or `None` at the end. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Repeated(repeated) => Ok(repeated.next().await),
            Self::Lines(lines) => lines.next().await,
        }
    }
}

/// One payload, published `left` more times.
pub(crate) struct Repeated {
    payload: Bytes,
    left: u64,
    delay: Duration,
    due: Option<Instant>,
}

impl Repeated {
    /// `times` times this payload, with `delay` between two of them.
    pub(crate) const fn new(payload: Bytes, times: u64, delay: Duration) -> Self {
        Self { payload, left: times, delay, due: None }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
        }
        self.left -= 1;
        self.due = (!self.delay.is_zero()).then(|| Instant::now() + self.delay);
        Some(self.payload.clone())
    }
}

/// The lines of a reader, without their line feeds. What stands behind the last line feed is a line too, unless it
/// is empty.
pub(crate) struct Lines<R> {
    reader: R,
    line: BytesMut,
    line_bytes_max: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of `reader`, each at most `line_bytes_max` long.
    pub(crate) fn new(reader: R, line_bytes_max: usize) -> Self {
        Self { reader, line: BytesMut::new(), line_bytes_max }
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                let rest = self.line.split().freeze();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            if self.line.len() + part.len() > self.line_bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            self.line.extend_from_slice(part);
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(Some(self.line.split().freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], capacity: usize) -> io::Result<Vec<Bytes>> {
        let reader = tokio::io::BufReader::with_capacity(capacity, input);
        let mut source = Source::Lines(Lines::new(reader, 8));
        let mut lines = Vec::new();
        while let Some(line) = source.next().await? {
            lines.push(line);
        }
        Ok(lines)
    }

    #[tokio::test]
    async fn lines_end_at_line_feeds_whatever_the_size_of_the_buffer() {
        for capacity in 1..12 {
            let found = lines(b"one\n\ntwo\r\n\xff\x00", capacity).await.unwrap();
            assert_eq!(found, [&b"one"[..], b"", b"two\r", b"\xff\x00"], "capacity {capacity}");
        }
    }

    #[tokio::test]
    async fn a_line_has_a_longest_length() {
        assert_eq!(lines(b"12345678\n", 4).await.unwrap(), ["12345678"]);
        assert!(lines(b"123456789\n", 4).await.is_err());
    }

    #[tokio::test]
    async fn a_payload_is_repeated_and_then_ends() {
        let repeated = Repeated::new(Bytes::from_static(b"x"), 3, Duration::ZERO);
        let mut source: Source<&[u8]> = Source::Repeated(repeated);
        for _ in 0..3 {
            assert_eq!(source.next().await.unwrap(), Some(Bytes::from_static(b"x")));
        }
        assert_eq!(source.next().await.unwrap(), None);
    }
}
