//! WebSocket frames from a client, taken apart as their bytes come.
//!
//! ```text
//!  FIN RSV opcode | MASK length 7 | length 16 or 64 | mask 32 | payload, masked ...
//! ```
//!
//! [`Frames`] is a state machine over the bytes; it reads and writes no stream. After [`Frames::end`] says that
//! the stream is over, nothing more is taken from it.

use std::io;
use std::io::Cursor;
use std::mem;

use smallvec::SmallVec;
use thiserror::Error;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// The longest body of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;
const CLOSE_NORMAL: u16 = 1_000;

/// What a peer did that ends its WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// A data frame that is not binary [MQTT-6.0.0-1].
    #[error("a WebSocket frame that is not binary")]
    NotBinary,
    /// A frame larger than the limit.
    #[error("a WebSocket frame of {0} bytes")]
    TooLarge(u64),
    /// A frame that a client may not send.
    #[error("a WebSocket frame against the rules")]
    Malformed,
}

impl FrameError {
    /// The status code of the closing frame.
    fn code(self) -> u16 {
        match self {
            Self::Malformed => 1_002,
            Self::NotBinary => 1_003,
            Self::TooLarge(_) => 1_009,
        }
    }
}

/// The frames that we send.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opcode {
    Binary,
    Close,
    Pong,
}

/// Takes frames apart.
pub(super) struct Frames {
    state: State,
    frame_bytes_max: u64,
    /// Whether a message was begun and not ended.
    in_message: bool,
    pong: Option<Vec<u8>>,
    close: Option<u16>,
}

enum State {
    /// Before or in a frame's head.
    Head(SmallVec<[u8; 16]>),
    /// In the payload of a data frame.
    Payload { left: u64, mask: [u8; 4] },
    /// In the payload of a control frame.
    Control { kind: Control, left: usize, mask: [u8; 4], body: Vec<u8> },
    /// The peer said goodbye.
    Closed,
    /// The peer broke the rules.
    Failed(FrameError),
}

impl Frames {
    pub(super) fn new(frame_bytes_max: u64) -> Self {
        let state = State::Head(SmallVec::new());
        Self { state, frame_bytes_max, in_message: false, pong: None, close: None }
    }

    /// How the stream ended, if it did.
    pub(super) fn end(&self) -> Option<io::Result<()>> {
        match &self.state {
            State::Head(_) | State::Payload { .. } | State::Control { .. } => None,
            State::Closed => Some(Ok(())),
            State::Failed(error) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, *error))),
        }
    }

    /// The body of the pong that is due.
    pub(super) fn take_pong(&mut self) -> Option<Vec<u8>> {
        self.pong.take()
    }

    /// The status code of the closing frame that is due.
    pub(super) fn take_close(&mut self) -> Option<u16> {
        self.close.take()
    }

    /// Takes the frames in `bytes` apart and moves their payload to the front of it; returns how many bytes that is.
    pub(super) fn unframe(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && self.end().is_none() {
            let (taken, payload) = self.step(bytes, read, kept);
            read += taken;
            kept += payload;
        }
        kept
    }

    /// Takes some of the bytes from `read` on and puts payload at `kept`; returns the number of both.
    fn step(&mut self, bytes: &mut [u8], read: usize, kept: usize) -> (usize, usize) {
        let there = bytes.len() - read;
        match &mut self.state {
            State::Head(head) => {
                let wanted = (head_bytes(head) - head.len()).min(there);
                head.extend_from_slice(bytes.get(read..read + wanted).unwrap_or_default());
                if head.len() == head_bytes(head) {
                    self.begin();
                }
                (wanted, 0)
            }
            State::Payload { left, mask } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
                bytes.copy_within(read..read + taken, kept);
                apply_mask(bytes.get_mut(kept..kept + taken).unwrap_or_default(), mask);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Head(SmallVec::new());
                }
                (taken, taken)
            }
            State::Control { left, mask, body, .. } => {
                let taken = (*left).min(there);
                let part = bytes.get_mut(read..read + taken).unwrap_or_default();
                apply_mask(part, mask);
                body.extend_from_slice(part);
                *left -= taken;
                if *left == 0 {
                    self.end_control();
                }
                (taken, 0)
            }
            State::Closed | State::Failed(_) => (there, 0),
        }
    }

    /// A frame's head is complete.
    fn begin(&mut self) {
        let State::Head(head) = mem::replace(&mut self.state, State::Closed) else { return };
        self.state = match FrameHeader::parse(&mut Cursor::new(head)) {
            Ok(Some((head, length))) => {
                self.payload_of(&head, length).unwrap_or_else(|error| self.failed(error))
            }
            Ok(None) | Err(_) => self.failed(FrameError::Malformed),
        };
        if let State::Control { left: 0, .. } = self.state {
            self.end_control();
        }
    }

    fn payload_of(&mut self, head: &FrameHeader, length: u64) -> Result<State, FrameError> {
        let mask = head.mask.ok_or(FrameError::Malformed)?;
        if head.rsv1 || head.rsv2 || head.rsv3 {
            return Err(FrameError::Malformed);
        }
        let data = match head.opcode {
            OpCode::Data(data) => data,
            OpCode::Control(kind) => return control(head, kind, length, mask),
        };
        match data {
            Data::Binary if !self.in_message => {}
            Data::Continue if self.in_message => {}
            Data::Text => return Err(FrameError::NotBinary),
            Data::Binary | Data::Continue | Data::Reserved(_) => return Err(FrameError::Malformed),
        }
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLarge(length));
        }
        self.in_message = !head.is_final;
        Ok(if length == 0 {
            State::Head(SmallVec::new())
        } else {
            State::Payload { left: length, mask }
        })
    }

    fn failed(&mut self, error: FrameError) -> State {
        self.close = Some(error.code());
        State::Failed(error)
    }

    /// A control frame is complete.
    fn end_control(&mut self) {
        let state = mem::replace(&mut self.state, State::Head(SmallVec::new()));
        let State::Control { kind, body, .. } = state else { return };
        match kind {
            Control::Ping => self.pong = Some(body),
            Control::Pong | Control::Reserved(_) => {}
            Control::Close => {
                self.close = Some(CLOSE_NORMAL);
                self.state = State::Closed;
            }
        }
    }
}

fn control(
    head: &FrameHeader,
    kind: Control,
    length: u64,
    mask: [u8; 4],
) -> Result<State, FrameError> {
    if length > CONTROL_BYTES_MAX || !head.is_final {
        return Err(FrameError::Malformed);
    }
    let left = usize::try_from(length).map_err(|_| FrameError::Malformed)?;
    Ok(State::Control { kind, left, mask, body: Vec::with_capacity(left) })
}

/// How many bytes a head has, as far as the ones that are there tell.
fn head_bytes(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

/// Undoes a frame's mask, and turns the mask so that it goes on where these bytes end.
fn apply_mask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let mut blocks = bytes.chunks_exact_mut(4);
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(*mask) {
            *byte ^= key;
        }
    }
    let rest = blocks.into_remainder();
    for (byte, key) in rest.iter_mut().zip(*mask) {
        *byte ^= key;
    }
    mask.rotate_left(rest.len());
}

/// The head of a frame of ours: whole and not masked.
pub(super) fn head(opcode: Opcode, length: usize) -> SmallVec<[u8; 16]> {
    let first = 0x80
        | match opcode {
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Pong => 0xa,
        };
    let mut head = SmallVec::new();
    head.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => head.push(length),
        (_, Ok(length)) => {
            head.push(126);
            head.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x11, 0x22, 0x44, 0x88];

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(0xfe);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(0xff);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// The payload of all frames, handed in by pieces of this size.
    fn unframe(frames: &mut Frames, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut buffer = piece.to_vec();
            let kept = frames.unframe(&mut buffer);
            payload.extend(&buffer[..kept]);
        }
        payload
    }

    fn failure(bytes: &[u8]) -> (String, Option<u16>) {
        let mut frames = Frames::new(1 << 20);
        assert_eq!(unframe(&mut frames, bytes, 3), b"");
        let error = frames.end().expect("ended").expect_err("by an error");
        (error.to_string(), frames.take_close())
    }

    #[test]
    fn payload_comes_out_wherever_the_pieces_are_cut() {
        let large: Vec<u8> = (0..70_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let middle = &large[..300];
        let mut bytes = frame(0x82, b"hello");
        bytes.extend(frame(0x02, b"frag"));
        bytes.extend(frame(0x89, b"are you there?"));
        bytes.extend(frame(0x80, b"ment"));
        bytes.extend(frame(0x82, b""));
        bytes.extend(frame(0x82, middle));
        bytes.extend(frame(0x82, &large));
        let expected = [b"hellofragment".as_slice(), middle, &large].concat();
        for piece in [1, 2, 3, 5, 7, 64, 4_096, bytes.len()] {
            let mut frames = Frames::new(1 << 20);
            assert_eq!(unframe(&mut frames, &bytes, piece), expected, "pieces of {piece}");
            assert_eq!(frames.take_pong().as_deref(), Some(&b"are you there?"[..]));
            assert!(frames.end().is_none());
        }
    }

    #[test]
    fn what_comes_before_a_text_frame_is_kept_and_nothing_after_it() {
        let mut bytes = frame(0x82, b"good");
        bytes.extend(frame(0x81, b"text"));
        bytes.extend(frame(0x82, b"late"));
        let mut frames = Frames::new(1 << 20);
        assert_eq!(unframe(&mut frames, &bytes, bytes.len()), b"good");
        assert_eq!(frames.take_close(), Some(1_003));
        assert!(frames.end().is_some_and(|end| end.is_err()));
    }

    #[test]
    fn a_closing_frame_ends_the_stream() {
        let mut bytes = frame(0x88, &1_001_u16.to_be_bytes());
        bytes.extend(frame(0x82, b"late"));
        let mut frames = Frames::new(1 << 20);
        assert_eq!(unframe(&mut frames, &bytes, 4), b"");
        assert_eq!(frames.take_close(), Some(1_000));
        assert!(frames.end().is_some_and(|end| end.is_ok()));
    }

    #[test]
    fn frames_against_the_rules_end_the_stream() {
        let malformed = ("a WebSocket frame against the rules".to_owned(), Some(1_002));
        assert_eq!(failure(&[0x82, 0x01, b'x']), malformed, "not masked");
        assert_eq!(failure(&frame(0xc2, b"")), malformed, "reserved bit");
        assert_eq!(failure(&frame(0x83, b"")), malformed, "reserved opcode");
        assert_eq!(failure(&frame(0x80, b"x")), malformed, "continues nothing");
        assert_eq!(failure(&frame(0x09, b"x")), malformed, "control frame in parts");
        assert_eq!(failure(&frame(0x89, &[0; 126])), malformed, "control frame too long");
        let twice = [frame(0x02, b""), frame(0x82, b"x")].concat();
        assert_eq!(failure(&twice), malformed, "a message within a message");
        let huge = [&[0x82, 0xff][..], &[0xff; 8], &MASK].concat();
        assert_eq!(failure(&huge).1, Some(1_009));
        assert_eq!(failure(&frame(0x82, &vec![0; (1 << 20) + 1])).1, Some(1_009));
    }

    #[test]
    fn heads_have_the_shortest_form() {
        assert_eq!(head(Opcode::Binary, 125).as_slice(), [0x82, 125]);
        assert_eq!(head(Opcode::Pong, 0).as_slice(), [0x8a, 0]);
        assert_eq!(head(Opcode::Binary, 126).as_slice(), [0x82, 126, 0, 126]);
        assert_eq!(head(Opcode::Binary, 65_535).as_slice(), [0x82, 126, 0xff, 0xff]);
        assert_eq!(head(Opcode::Binary, 65_536).as_slice(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
