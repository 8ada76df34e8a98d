//! A look at what comes next in a file.

use std::io::{self, Read};

/// So much is read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Buffers as much of a reader as was asked for, and at most a chunk more.
#[derive(Debug)]
pub(super) struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    passed: usize,
    /// Where the window begins in the file.
    offset: u64,
}

impl<R: Read> Window<R> {
    /// A window on `reader`, which begins at `offset` of a file.
    pub(super) fn new(reader: R, offset: u64) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            passed: 0,
            offset,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes, or as many as there are.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let held = self.buffer.len() - self.passed;
        if held < count {
            self.buffer.drain(..self.passed);
            self.passed = 0;
            let missing = u64::try_from((count - held).max(CHUNK_BYTES)).unwrap_or(u64::MAX);
            self.reader
                .by_ref()
                .take(missing)
                .read_to_end(&mut self.buffer)?;
        }
        let rest = &self.buffer[self.passed..];
        Ok(&rest[..count.min(rest.len())])
    }

    /// Passes `count` bytes that were looked at.
    pub(super) fn pass(&mut self, count: usize) {
        let count = count.min(self.buffer.len() - self.passed);
        self.passed += count;
        self.offset += count as u64;
    }

    /// The `count` bytes that were passed last.
    pub(super) fn last(&self, count: usize) -> &[u8] {
        &self.buffer[self.passed - count.min(self.passed)..self.passed]
    }
}
