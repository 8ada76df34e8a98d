//! Reading a segment, whatever is in it.

use std::io::{self, Read};

use super::window::Window;
use super::{
    HEADER_BYTES, Head, MAX_RECORD_BYTES, RECORD_HEAD_BYTES, SegmentName, VERSION, read_header,
};

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A record, whole.
    Record {
        /// Its number.
        number: u64,
        /// Where it ends in the file.
        end: u64,
        /// What was appended.
        payload: &'a [u8],
    },
    /// Bytes that are no record; a record follows them, or the end.
    Gap {
        /// Where it begins in the file.
        start: u64,
        /// How long it is.
        bytes: u64,
        /// What it looks like.
        kind: GapKind,
    },
    /// The segment has a later format; nothing else is read.
    NewerFormat {
        /// The format's version.
        version: u32,
    },
}

/// Why bytes can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapKind {
    /// The start of something, or zeros, and then the end: what a crash leaves of an append that was not acknowledged.
    Torn,
    /// Anything else; also an append of which a crash left the first part, and zeros instead of the rest.
    Damaged,
}

/// Reads one segment from a reader. It never fails for what is in the file, only when the reader does; it holds one
/// record in memory, and never more than there is in the file.
#[derive(Debug)]
pub struct Scanner<R> {
    window: Window<R>,
    name: SegmentName,
    stopped: bool,
}

/// What is at a place in the file.
enum Here {
    Header,
    NewerFormat(u32),
    Record(Head),
    /// A part of a header or of a record, and then the end.
    Start,
    Nothing,
    End,
}

impl<R: Read> Scanner<R> {
    /// Reads the segment `name` from `offset`, which is where `reader` begins: 0, or the end of a record.
    pub fn new(reader: R, name: SegmentName, offset: u64) -> Self {
        Self {
            window: Window::new(reader, offset),
            name,
            stopped: false,
        }
    }

    /// What comes next; `None` at the end.
    pub fn next_found(&mut self) -> io::Result<Option<Found<'_>>> {
        if self.stopped {
            return Ok(None);
        }
        loop {
            match self.look()? {
                Here::Header => self.window.pass(HEADER_BYTES),
                Here::NewerFormat(version) => {
                    self.stopped = true;
                    return Ok(Some(Found::NewerFormat { version }));
                }
                Here::Record(head) => return Ok(Some(self.take(head))),
                Here::Start => return self.gap(GapKind::Torn).map(Some),
                Here::Nothing => return self.gap(GapKind::Damaged).map(Some),
                Here::End => return Ok(None),
            }
        }
    }

    fn look(&mut self) -> io::Result<Here> {
        let offset = self.window.offset();
        if offset == 0 {
            let bytes = self.window.peek(HEADER_BYTES)?;
            match read_header(&self.name, bytes) {
                Some(VERSION) => return Ok(Here::Header),
                Some(version) => return Ok(Here::NewerFormat(version)),
                None if bytes.is_empty() => return Ok(Here::End),
                None if bytes.len() < HEADER_BYTES => return Ok(Here::Start),
                None => return Ok(Here::Nothing),
            }
        }
        let bytes = self.window.peek(RECORD_HEAD_BYTES)?;
        let Some((head, checksum)) = Head::read(&self.name, offset, bytes) else {
            return Ok(match bytes.len() {
                0 => Here::End,
                1..RECORD_HEAD_BYTES => Here::Start,
                _ => Here::Nothing,
            });
        };
        let record = RECORD_HEAD_BYTES + head.payload_bytes();
        let bytes = self.window.peek(record)?;
        if bytes.len() < record {
            return Ok(Here::Start);
        }
        let mut hasher = head.hasher(&self.name, offset);
        hasher.update(&bytes[RECORD_HEAD_BYTES..]);
        Ok(if hasher.finalize() == checksum {
            Here::Record(head)
        } else {
            Here::Nothing
        })
    }

    fn take(&mut self, head: Head) -> Found<'_> {
        let payload = head.payload_bytes().min(MAX_RECORD_BYTES);
        self.window.pass(RECORD_HEAD_BYTES + payload);
        Found::Record {
            number: head.number,
            end: self.window.offset(),
            payload: self.window.last(payload),
        }
    }

    /// Passes bytes up to the next record or the end. `kind` is what the first of them look like.
    fn gap(&mut self, kind: GapKind) -> io::Result<Found<'static>> {
        let start = self.window.offset();
        let mut only_zeros = true;
        let record_follows = loop {
            only_zeros &= self.window.peek(1)?.iter().all(|byte| *byte == 0);
            self.window.pass(1);
            match self.look()? {
                Here::Record(_) => break true,
                Here::End => break false,
                Here::Header | Here::NewerFormat(_) | Here::Start | Here::Nothing => {}
            }
        };
        let kind = match kind {
            _ if record_follows => GapKind::Damaged,
            _ if only_zeros => GapKind::Torn,
            kind => kind,
        };
        Ok(Found::Gap {
            start,
            bytes: self.window.offset() - start,
            kind,
        })
    }
}
