//! How `sub` prints a message: the payload, topic and payload (`-v`), or a format (`-F`) with `mosquitto_sub`'s
//! sequences.
//!
//! | sequence | prints |
//! |---|---|
//! | `%t` `%p` `%l` | topic, payload, length of the payload |
//! | `%x` `%X` | payload in hexadecimal, lower or upper case |
//! | `%q` `%r` `%m` | `QoS`, retain flag, packet id (0 at `QoS` 0) |
//! | `%A` `%C` `%D` `%E` `%F` `%R` | topic alias, content type, correlation data, message expiry, payload format, response topic |
//! | `%P` `%S` | user properties as `name:value`, subscription ids |
//! | `%I` `%U` | time as ISO 8601, as seconds since 1970 with nanoseconds |
//! | `%j` `%J` | JSON, with the payload as a string, with the payload as it is |
//! | `%%` `@@` `\\` | the character itself |
//! | `@X` | strftime's `%X`, for X in `YymdHMSFTRszZ`, and `N` for nanoseconds; in UTC |
//! | `\0 \a \e \n \r \t \v` | control characters |
//!
//! Between `%` and the letter there may be `-` (left), `0` (zeroes), a least width and `.` with a greatest width.

mod json;
mod pattern;

use bytes::BufMut;
use bytes::BytesMut;

use super::moment::Moment;
use crate::mqtt::Publish;
pub(crate) use pattern::Pattern;

/// A message to be printed: its topic, even where the packet has an alias only, and the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printed<'a> {
    /// The topic name.
    pub(crate) topic: &'a str,
    /// The packet that brought it.
    pub(crate) publish: &'a Publish,
}

/// The payload of a message was to be printed as JSON, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message payload is not valid JSON")]
pub(crate) struct NotJson;

/// A way to print messages.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// What to print of each.
    pub(crate) style: Style,
    /// Whether a line feed follows each.
    pub(crate) line_feed: bool,
}

/// What is printed of a message.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// The payload. An empty one prints nothing, not even a line feed.
    Payload,
    /// The topic and the payload, or `(null)` for an empty one.
    Verbose,
    /// A format of the user's.
    Pattern(Pattern),
}

impl Format {
    /// Appends the message to `output`.
    ///
    /// # Errors
    /// Fails if a payload has to be JSON and is not; the rest was printed.
    pub(crate) fn print(&self, message: Printed<'_>, output: &mut BytesMut) -> Result<(), NotJson> {
        let payload = &message.publish.payload;
        let mut printed = Ok(());
        match &self.style {
            Style::Payload if payload.is_empty() => return Ok(()),
            Style::Payload => output.put_slice(payload),
            Style::Verbose => {
                output.put_slice(message.topic.as_bytes());
                output.put_u8(b' ');
                output.put_slice(if payload.is_empty() { b"(null)" } else { payload });
            }
            Style::Pattern(pattern) => printed = pattern.print(message, Moment::now(), output),
        }
        if self.line_feed {
            output.put_u8(b'\n');
        }
        printed
    }
}
