//! Reads an answer as its bytes come, and tells whether it was received whole.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::WholeAnswer;

/// A line or a body that is longer is not read on.
const MAXIMUM_BYTES: usize = 128 * 1024 * 1024;

/// What is read of an event or of a whole answer.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    usage: Option<SeenUsage<'a>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct SeenUsage<'a> {
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

/// Why an answer isn't whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotWhole {
    /// It ended too early, or isn't JSON.
    Incomplete,
    /// It says that it failed.
    Error,
}

/// How the body of the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Proper,
    BrokenOff,
}

/// Takes the bytes of one answer.
#[derive(Debug)]
pub(super) struct AnswerReader {
    streamed: bool,
    pending: Vec<u8>,
    id: Option<String>,
    cost: Option<String>,
    done: bool,
    failed: bool,
}

impl AnswerReader {
    pub(super) fn streamed() -> Self {
        Self {
            streamed: true,
            pending: Vec::new(),
            id: None,
            cost: None,
            done: false,
            failed: false,
        }
    }

    pub(super) fn whole() -> Self {
        Self {
            streamed: false,
            ..Self::streamed()
        }
    }

    /// Takes the next bytes, cut anywhere.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        if self.pending.len() + bytes.len() > MAXIMUM_BYTES {
            self.failed = true;
            return;
        }
        while self.streamed
            && let Some(end) = memchr::memchr2(b'\n', b'\r', bytes)
        {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.pending.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                self.line(&whole);
            }
        }
        self.pending.extend_from_slice(bytes);
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        let of_note = |word: &[u8]| memchr::memmem::find(data, word).is_some();
        if self.id.is_none() || of_note(b"\"usage\"") || of_note(b"\"error\"") {
            self.read(data);
        }
    }

    fn read(&mut self, json: &[u8]) {
        let Ok(seen) = serde_json::from_slice::<Seen<'_>>(json) else {
            self.failed = true;
            return;
        };
        self.failed |= seen.error.is_some();
        if self.id.is_none() {
            self.id = seen.id.map(Cow::into_owned);
        }
        if let Some(cost) = seen.usage.and_then(|usage| usage.cost) {
            self.cost = Some(cost.get().to_owned());
        }
    }

    /// The answer, if it was received whole. A stream is so with its `[DONE]`, whatever the connection does after it.
    pub(super) fn end(mut self, end: BodyEnd) -> Result<WholeAnswer, NotWhole> {
        if !self.streamed && end == BodyEnd::Proper {
            let body = std::mem::take(&mut self.pending);
            let json = body.trim_ascii();
            if serde_json::from_slice::<IgnoredAny>(json).is_err() {
                return Err(NotWhole::Incomplete);
            }
            self.read(json);
            self.done = true;
        }
        match (self.failed, self.done, self.id) {
            (true, _, _) => Err(NotWhole::Error),
            (false, true, Some(id)) => Ok(WholeAnswer {
                id,
                cost: self.cost,
                streamed: self.streamed,
            }),
            (false, _, _) => Err(NotWhole::Incomplete),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\ndata: {\"id\":\"gen-1\",\"choices\":[]}\n\n\
        data: {\"id\":\"gen-1\",\"choices\":[],\"usage\":{\"cost\":7.1e-05}}\n\ndata: [DONE]\n\n";

    fn read_in_pieces(text: &str, size: usize) -> Result<WholeAnswer, NotWhole> {
        let mut reader = AnswerReader::streamed();
        for piece in text.as_bytes().chunks(size) {
            reader.feed(piece);
        }
        reader.end(BodyEnd::BrokenOff)
    }

    #[test]
    fn a_stream_is_whole_with_its_done_however_it_is_cut() {
        for size in 1..STREAM.len() {
            for text in [STREAM.to_owned(), STREAM.replace('\n', "\r\n")] {
                let answer = read_in_pieces(&text, size).unwrap();
                assert_eq!(answer.id, "gen-1");
                assert_eq!(answer.cost.as_deref(), Some("7.1e-05"));
            }
        }
    }

    #[test]
    fn a_stream_without_done_or_with_an_error_is_not_whole() {
        let cut = STREAM.replace("[DONE]", "");
        assert!(read_in_pieces(&cut, 7).is_err());
        let failed = STREAM.replace("\"usage\":", "\"error\":{},\"usage\":");
        assert_eq!(read_in_pieces(&failed, 7), Err(NotWhole::Error));
    }

    #[test]
    fn a_whole_answer_needs_its_proper_end() {
        let body = b"\n\n{\"id\":\"gen-2\",\"usage\":{\"cost\":0}}";
        let read = |bytes: &[u8], end| {
            let mut reader = AnswerReader::whole();
            reader.feed(bytes);
            reader.end(end)
        };
        assert_eq!(read(body, BodyEnd::Proper).unwrap().id, "gen-2");
        assert_eq!(read(body, BodyEnd::BrokenOff), Err(NotWhole::Incomplete));
        assert_eq!(
            read(&body[..20], BodyEnd::Proper),
            Err(NotWhole::Incomplete)
        );
    }
}
