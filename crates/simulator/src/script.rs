//! Puts an answer's bytes into the steps of a script, in the requested form (line ends, compression).

use std::{collections::VecDeque, io::Write, time::Duration};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::{
    body::{ScriptedBody, SimulatedBody, Step},
    directives::{Directives, LineEnd},
    meter::{FailedOutput, Meter},
};

/// Several equal chunks.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) chunk: Vec<u8>,
    pub(crate) times: u32,
    /// Output tokens of all of them together.
    pub(crate) tokens: u64,
}

/// Builds a script; neighbouring bytes become one step.
pub(crate) struct ScriptWriter {
    steps: VecDeque<Step>,
    open: Vec<u8>,
    open_tokens: u64,
    line_end: LineEnd,
    encoder: Option<GzEncoder<Vec<u8>>>,
    cut: u32,
    /// Nothing but bytes so far: the answer can go out at once.
    instant: bool,
}

impl ScriptWriter {
    pub(crate) fn new(directives: &Directives) -> Self {
        Self {
            steps: VecDeque::new(),
            open: Vec::new(),
            open_tokens: 0,
            line_end: directives.line_end,
            encoder: directives
                .gzip
                .then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            cut: directives.cut,
            instant: directives.cut == 0,
        }
    }

    /// Bytes that carry so many output tokens.
    pub(crate) fn send(&mut self, bytes: &[u8], tokens: u64) {
        self.open_tokens += tokens;
        let ended;
        let bytes = match self.line_end {
            LineEnd::Lf => bytes,
            LineEnd::Crlf => {
                ended = with_line_ends(bytes, b"\r\n");
                &ended
            }
            LineEnd::Cr => {
                ended = with_line_ends(bytes, b"\r");
                &ended
            }
        };
        match &mut self.encoder {
            None => self.open.extend_from_slice(bytes),
            Some(encoder) => {
                let written = encoder.write_all(bytes).and_then(|()| encoder.flush());
                debug_assert!(written.is_ok(), "a vector takes every byte");
                self.open.append(encoder.get_mut());
            }
        }
    }

    /// Equal chunks, with a wait before each.
    pub(crate) fn section(&mut self, section: &Section, pause: Duration) {
        let plain = self.encoder.is_none() && self.line_end == LineEnd::Lf;
        if plain && !pause.is_zero() {
            self.seal();
            self.instant = false;
            self.steps.push_back(Step::Repeat {
                bytes: Bytes::copy_from_slice(&section.chunk),
                times: section.times,
                pause,
                tokens: section.tokens,
            });
            return;
        }
        let times = u64::from(section.times);
        for index in 0..times {
            self.pause(pause);
            let upto = |index: u64| section.tokens * index / times;
            self.send(&section.chunk, upto(index + 1) - upto(index));
        }
    }

    pub(crate) fn pause(&mut self, pause: Duration) {
        if !pause.is_zero() {
            self.step(Step::Pause(pause));
        }
    }

    /// The generation is complete here. Of an answer that goes out at once it is so before the first byte.
    pub(crate) fn complete(&mut self) {
        if !self.instant {
            self.step(Step::Complete);
        }
    }

    pub(crate) fn fail(&mut self, output: FailedOutput) {
        self.step(Step::Fail(output));
    }

    pub(crate) fn cut_off(&mut self) {
        self.step(Step::Flush);
        self.step(Step::Break);
    }

    pub(crate) fn hang(&mut self) {
        self.step(Step::Hang);
    }

    /// The body that follows the script.
    pub(crate) fn into_body(mut self, mut meter: Meter) -> SimulatedBody {
        if let Some(encoder) = self.encoder.take()
            && let Ok(mut rest) = encoder.finish()
        {
            self.open.append(&mut rest);
        }
        if self.instant {
            meter.complete();
            return SimulatedBody::Streamed(self.open.into());
        }
        self.seal();
        SimulatedBody::Scripted(Box::new(ScriptedBody::new(self.steps, self.cut, meter)))
    }

    fn step(&mut self, step: Step) {
        self.seal();
        self.instant = false;
        self.steps.push_back(step);
    }

    fn seal(&mut self) {
        let tokens = std::mem::take(&mut self.open_tokens);
        if !self.open.is_empty() || tokens > 0 {
            let bytes = std::mem::take(&mut self.open).into();
            self.steps.push_back(Step::Send { bytes, tokens });
        }
    }
}

fn with_line_ends(bytes: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut ended = Vec::with_capacity(bytes.len() + 8);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                ended.extend_from_slice(text);
                ended.extend_from_slice(line_end);
            }
            None => ended.extend_from_slice(line),
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_replaced() {
        assert_eq!(with_line_ends(b"a\n\nb", b"\r\n"), b"a\r\n\r\nb");
        assert_eq!(with_line_ends(b"a\n\n", b"\r"), b"a\r\r");
    }
}
