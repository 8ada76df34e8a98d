//! Server-sent events (WHATWG HTML, section 9.2.6) as they arrive: an incremental splitter that keeps every byte, and
//! what an event says.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The most bytes of one unfinished event that are held; what is larger is handed on in pieces.
pub const EVENT_HELD_MAX: usize = 1 << 20;

/// The terminator of a chat stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only comment lines: a keep-alive.
    Comment,
    /// Carries data; see [`data_payload`].
    Data,
    /// The terminator: data that begins with `[DONE]`.
    Done,
    /// Blank lines, or only fields that are not `data`.
    Other,
}

/// Where a piece lies in its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first piece.
    Start,
    /// Neither the first nor the last.
    Middle,
    /// The last piece; may be empty when the stream ends.
    End,
}

/// What the splitter hands on. The bytes of all frames, in order, are those of the stream, without the byte order mark
/// that a stream may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole event with the blank line that ends it.
    Event {
        /// What it is for.
        kind: Kind,
        /// As it came.
        bytes: Bytes,
    },
    /// A part of an event that is larger than [`EVENT_HELD_MAX`].
    Piece {
        /// Where it lies.
        position: Position,
        /// As it came.
        bytes: Bytes,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the beginning of a line.
    Start,
    /// Behind a line's first byte.
    Inside,
    /// Behind a carriage return, to which a line feed may still belong.
    AfterReturn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Held,
    InPieces,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Nothing has been handed on yet.
    StreamStart,
    Later,
}

/// Cuts a byte stream into events, however it was cut into chunks. An event that lies in one chunk is a slice of it.
///
/// An event ends with the byte that makes its blank line complete: when a line feed follows a carriage return only in
/// the next chunk, it comes as a blank event of its own, which readers ignore.
#[derive(Debug)]
pub struct EventSplitter {
    input: Bytes,
    held: BytesMut,
    line: Line,
    size: Size,
    origin: Origin,
}

impl Default for EventSplitter {
    fn default() -> Self {
        Self {
            input: Bytes::new(),
            held: BytesMut::new(),
            line: Line::Start,
            size: Size::Held,
            origin: Origin::StreamStart,
        }
    }
}

impl EventSplitter {
    /// A splitter at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the stream's next bytes. Frames of earlier bytes must have been fetched with [`Self::next_frame`]; those
    /// that were not are joined with the new bytes.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.input.is_empty() {
            self.input = chunk;
            return;
        }
        let mut joined = BytesMut::with_capacity(self.input.len() + chunk.len());
        joined.extend_from_slice(&self.input);
        joined.extend_from_slice(&chunk);
        self.input = joined.freeze();
    }

    /// The next frame of what was fed, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.input.is_empty() {
            return None;
        }
        match self.find_event_end() {
            Some(end) => {
                let tail = self.input.split_to(end);
                Some(self.complete(tail))
            }
            None => {
                let part = std::mem::take(&mut self.input);
                self.hold_or_hand_on(part)
            }
        }
    }

    /// What remains when the stream has ended: an event without its blank line, or the end of one in pieces. Readers
    /// drop such an event; its usage counts all the same.
    pub fn finish(&mut self) -> Option<Frame> {
        if let Some(frame) = self.next_frame() {
            return Some(frame);
        }
        let nothing_is_open = self.held.is_empty() && self.size == Size::Held;
        (!nothing_is_open).then(|| self.complete(Bytes::new()))
    }

    /// Bytes of an unfinished event that are held now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn complete(&mut self, tail: Bytes) -> Frame {
        if std::mem::replace(&mut self.size, Size::Held) == Size::InPieces {
            return Frame::Piece {
                position: Position::End,
                bytes: tail,
            };
        }
        let bytes = self.joined_with(tail);
        Frame::Event {
            kind: kind_of(&bytes),
            bytes,
        }
    }

    fn hold_or_hand_on(&mut self, part: Bytes) -> Option<Frame> {
        if self.size == Size::InPieces {
            return Some(Frame::Piece {
                position: Position::Middle,
                bytes: part,
            });
        }
        if self.held.len() + part.len() <= EVENT_HELD_MAX {
            self.held.extend_from_slice(&part);
            return None;
        }
        self.size = Size::InPieces;
        Some(Frame::Piece {
            position: Position::Start,
            bytes: self.joined_with(part),
        })
    }

    fn joined_with(&mut self, tail: Bytes) -> Bytes {
        let mut bytes = tail;
        if !self.held.is_empty() {
            self.held.extend_from_slice(&bytes);
            bytes = self.held.split().freeze();
        }
        if std::mem::replace(&mut self.origin, Origin::Later) == Origin::StreamStart
            && bytes.starts_with(BYTE_ORDER_MARK)
        {
            return bytes.slice(BYTE_ORDER_MARK.len()..);
        }
        bytes
    }

    /// Where in the input the current event ends.
    fn find_event_end(&mut self) -> Option<usize> {
        let bytes = &self.input[..];
        let mut at = 0;
        loop {
            match self.line {
                Line::Inside => {
                    at += memchr2(b'\n', b'\r', &bytes[at..])? + 1;
                    self.line = if bytes[at - 1] == b'\r' {
                        Line::AfterReturn
                    } else {
                        Line::Start
                    };
                }
                Line::AfterReturn => {
                    at += usize::from(*bytes.get(at)? == b'\n');
                    self.line = Line::Start;
                }
                Line::Start => match bytes.get(at)? {
                    b'\n' => return Some(at + 1),
                    b'\r' => return Some(at + 1 + usize::from(bytes.get(at + 1) == Some(&b'\n'))),
                    _ => self.line = Line::Inside,
                },
            }
        }
    }
}

/// What an event is for.
#[must_use]
pub fn kind_of(event: &[u8]) -> Kind {
    if let Some(payload) = event.strip_prefix(b"data:") {
        return kind_of_data(payload);
    }
    let mut kind = Kind::Other;
    for line in Lines(event) {
        if let Some(payload) = data_of(line) {
            return kind_of_data(payload);
        }
        if line.starts_with(b":") {
            kind = Kind::Comment;
        }
    }
    kind
}

fn kind_of_data(payload: &[u8]) -> Kind {
    let blanks = payload.iter().take_while(|byte| **byte == b' ').count();
    if payload[blanks..].starts_with(b"[DONE]") {
        Kind::Done
    } else {
        Kind::Data
    }
}

/// The data of an event: its `data` lines, joined with line feeds. Borrowed when there is only one.
#[must_use]
pub fn data_payload(event: &[u8]) -> Cow<'_, [u8]> {
    let mut payloads = Lines(event).filter_map(data_of);
    let Some(first) = payloads.next() else {
        return Cow::Borrowed(&[]);
    };
    let Some(second) = payloads.next() else {
        return Cow::Borrowed(first);
    };
    let mut joined = Vec::with_capacity(event.len());
    joined.extend_from_slice(first);
    for payload in std::iter::once(second).chain(payloads) {
        joined.push(b'\n');
        joined.extend_from_slice(payload);
    }
    Cow::Owned(joined)
}

/// An event that carries `json`. Line ends in it, which in JSON can only be white space, become blanks.
#[must_use]
pub fn data_event(json: &str) -> Bytes {
    let mut event = Vec::with_capacity(json.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(json.as_bytes());
    for byte in &mut event {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// The payload of a `data` line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let payload = rest.strip_prefix(b":")?;
    Some(payload.strip_prefix(b" ").unwrap_or(payload))
}

/// The lines of an event, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.get(1..))
            .unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests;
