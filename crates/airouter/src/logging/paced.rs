//! A writer that rests after each flush. Who writes log lines waits for the next one, and would be woken for each; while it
//! rests, lines gather, nobody has to wake it, and they go out together.

use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::Duration;

/// How much later a line may come out than it was logged.
const REST: Duration = Duration::from_millis(10);
/// Lines that go out in one write, in bytes.
const TOGETHER: usize = 64 * 1024;

/// Collects what is written until it is flushed, and rests then.
pub(super) struct Paced<W: Write>(BufWriter<W>);

impl<W: Write> Paced<W> {
    pub(super) fn new(writer: W) -> Self {
        Self(BufWriter::with_capacity(TOGETHER, writer))
    }
}

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        thread::sleep(REST);
        Ok(())
    }
}
