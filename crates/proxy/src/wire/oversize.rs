//! An event that is too large to be held, on its way through: its pieces pass, except for the values of chosen top-level
//! members of the JSON object that its `data` lines carry.

use bytes::Bytes;
use memchr::memchr2;

use super::json_scan::{MemberCutter, Segment};

/// The members whose values must not pass as they are: what the upstream says of money, of its account and of errors.
pub const WITHHELD: &[&str] = &["usage", "error", "user_id", "openrouter_metadata"];

/// The same, and the model's name, where the client is told another one.
const WITHHELD_AND_MODEL: &[&str] = &["usage", "error", "user_id", "openrouter_metadata", "model"];

const FIELD: &[u8] = b"data";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of the line are those of `data`.
    Name(usize),
    /// Behind the colon of a `data` line, where one blank does not count.
    AfterColon,
    Payload,
    /// A line of another field, or a comment.
    Foreign,
}

/// Filters one event in pieces (see `sse::Frame::Piece`).
#[derive(Debug)]
pub struct OversizeFilter {
    cutter: MemberCutter,
    line: Line,
}

impl Default for OversizeFilter {
    fn default() -> Self {
        Self {
            cutter: MemberCutter::new(WITHHELD),
            line: Line::Name(0),
        }
    }
}

impl OversizeFilter {
    /// A filter at the beginning of an event that withholds the model's name too.
    #[must_use]
    pub fn withholding_the_model() -> Self {
        Self {
            cutter: MemberCutter::new(WITHHELD_AND_MODEL),
            ..Self::default()
        }
    }

    /// A filter at the beginning of an event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the event's next piece and appends what of it passes, and what is withheld, to `out`.
    pub fn feed(&mut self, piece: &Bytes, out: &mut Vec<Segment>) {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            if self.line == Line::Payload {
                let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                self.cutter.feed(&piece.slice(at..at + length), out);
                at += length;
                if length < rest.len() {
                    self.line = Line::Name(0);
                }
                continue;
            }
            let length = self.advance_in_framing(rest);
            // Framing in the midst of a withheld value belongs to that value's lines, which are gone.
            if length > 0 && !self.cutter.is_withholding() {
                out.push(Segment::Pass(piece.slice(at..at + length)));
            }
            at += length;
        }
    }

    /// Goes over what is not payload, up to a payload or the end of `bytes`.
    fn advance_in_framing(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            self.line = match (self.line, byte) {
                (Line::AfterColon, b' ') => {
                    self.line = Line::Payload;
                    return at + 1;
                }
                (Line::AfterColon | Line::Payload, _) => {
                    self.line = Line::Payload;
                    return at;
                }
                (_, b'\n' | b'\r') => Line::Name(0),
                (Line::Name(matched), b':') if matched == FIELD.len() => Line::AfterColon,
                (Line::Name(matched), _) if FIELD.get(matched) == Some(&byte) => {
                    Line::Name(matched + 1)
                }
                _ => Line::Foreign,
            };
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::sse::data_payload;

    fn filter(event: &str, cuts: &[usize]) -> (String, Vec<(&'static str, String)>) {
        let mut filter = OversizeFilter::new();
        let mut segments = Vec::new();
        let mut positions: Vec<usize> = cuts.iter().map(|cut| cut % (event.len() + 1)).collect();
        positions.extend([0, event.len()]);
        positions.sort_unstable();
        for range in positions.windows(2) {
            filter.feed(
                &Bytes::copy_from_slice(&event.as_bytes()[range[0]..range[1]]),
                &mut segments,
            );
        }
        let (mut text, mut fields) = (Vec::new(), Vec::new());
        for segment in segments {
            match segment {
                Segment::Pass(bytes) => text.extend_from_slice(&bytes),
                Segment::Field { name, value } => {
                    text.extend_from_slice(b"null");
                    fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
                }
                Segment::TooLarge { name } => panic!("{name} is small"),
            }
        }
        (String::from_utf8(text).unwrap(), fields)
    }

    #[test]
    fn usage_is_cut_out_of_one_line() {
        let event = ": hi\ndata: {\"a\":\"data: x\",\"usage\":{\"cost\":1}}\n\n";
        for cut in 0..=event.len() {
            let (text, fields) = filter(event, &[cut]);
            assert_eq!(text, ": hi\ndata: {\"a\":\"data: x\",\"usage\":null}\n\n");
            assert_eq!(fields, [("usage", "{\"cost\":1}".to_owned())]);
        }
    }

    proptest! {
        #[test]
        fn usage_is_cut_out_of_any_lines(
            ends in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 20),
            content in "[ -~]{0,20}",
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            let chunk = serde_json::json!({
                "choices": [{"delta": {"content": content, "usage": 1}}],
                "usage": {"cost": 0.25, "details": [1, 2]},
                "user_id": "org_1",
            });
            let pretty = format!("{chunk:#}");
            let event: String = pretty.lines().zip(ends.iter().cycle()).map(|(line, end)| format!("data:{line}{end}")).collect();
            let (text, fields) = filter(&format!("{event}\n"), &cuts);
            let payload = data_payload(text.as_bytes()).into_owned();
            let mut expected = chunk;
            expected["usage"] = serde_json::Value::Null;
            expected["user_id"] = serde_json::Value::Null;
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&payload).unwrap(), expected);
            prop_assert_eq!(fields.len(), 2);
        }
    }
}
