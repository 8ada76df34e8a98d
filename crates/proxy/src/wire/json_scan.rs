//! Cutting members out of a JSON object that is too large to be held: an incremental scanner that passes the text on as
//! it comes, and withholds the values of chosen top-level members.

use bytes::Bytes;
use memchr::memchr2;

/// The longest member name that is looked at, in bytes as written; leaves room for a name made of escapes.
const NAME_MAX: usize = 160;

/// The longest value of a chosen member that is kept.
pub const VALUE_MAX: usize = 64 << 10;

/// What the scanner gives out, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text to be passed on as it is.
    Pass(Bytes),
    /// The value of a chosen member, withheld. Its name and colon were passed on: some value has to be put here.
    Field {
        /// The member's name, as chosen.
        name: &'static str,
        /// The value as it stands.
        value: Bytes,
    },
    /// As [`Segment::Field`], but the value was longer than [`VALUE_MAX`] and is gone.
    TooLarge {
        /// The member's name, as chosen.
        name: &'static str,
    },
}

/// Which part of the text comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeObject,
    BeforeName,
    Name,
    BeforeColon,
    BeforeValue,
    Value,
    /// Behind the object, or in a text that is no object or broken: all of it passes.
    Beyond,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    /// Inside a string, behind a backslash.
    Escaped,
}

#[derive(Debug)]
struct Cut {
    name: &'static str,
    value: Vec<u8>,
    whole: Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    TooLarge,
}

/// Passes a JSON object on and cuts the values of chosen members out of it, however the text is cut into chunks. Holds
/// no more than one chosen value.
#[derive(Debug)]
pub struct MemberCutter {
    chosen: &'static [&'static str],
    place: Place,
    quote: Quote,
    depth: u64,
    name: Vec<u8>,
    cut: Option<Cut>,
}

impl MemberCutter {
    /// A cutter for the top-level members with the names in `chosen`.
    #[must_use]
    pub fn new(chosen: &'static [&'static str]) -> Self {
        Self {
            chosen,
            place: Place::BeforeObject,
            quote: Quote::Outside,
            depth: 0,
            name: Vec::new(),
            cut: None,
        }
    }

    /// Takes the text's next bytes and appends what they give to `out`. A value that is still withheld when the text
    /// ends is lost.
    pub fn feed(&mut self, input: &Bytes, out: &mut Vec<Segment>) {
        let mut at = 0;
        let mut passed_to = 0;
        while at < input.len() {
            let run = self.advance(&input[at..]);
            let end = at + run.length;
            if let Some(cut) = &mut self.cut {
                if at > passed_to {
                    out.push(Segment::Pass(input.slice(passed_to..at)));
                }
                passed_to = end;
                cut.take(&input[at..end]);
            }
            if run.ends_value {
                out.extend(self.cut.take().map(Cut::into_segment));
            }
            at = end;
        }
        if passed_to < input.len() {
            out.push(Segment::Pass(input.slice(passed_to..)));
        }
    }

    /// Whether the text is inside a value that is withheld.
    #[must_use]
    pub fn is_withholding(&self) -> bool {
        self.cut.is_some()
    }

    /// Goes to the end of the current place, or of `bytes`.
    fn advance(&mut self, bytes: &[u8]) -> Run {
        match self.place {
            Place::Name => return self.advance_in_name(bytes),
            Place::Value => return self.advance_in_value(bytes),
            Place::Beyond => return Run::of(bytes.len()),
            _ => {}
        }
        let separators = bytes.iter().take_while(|byte| self.skips(**byte)).count();
        let Some(byte) = bytes.get(separators) else {
            return Run::of(separators);
        };
        let (place, consumed) = match (self.place, byte) {
            (Place::BeforeObject, b'{') => (Place::BeforeName, 1),
            (Place::BeforeName, b'"') => (Place::Name, 1),
            (Place::BeforeColon, b':') => (Place::BeforeValue, 1),
            (Place::BeforeValue, _) => (Place::Value, 0),
            _ => (Place::Beyond, 0),
        };
        if place == Place::Value && separators > 0 {
            return Run::of(separators);
        }
        self.place = place;
        match place {
            Place::Name => self.enter_name(),
            Place::Value => self.enter_value(),
            _ => {}
        }
        Run::of(separators + consumed)
    }

    fn skips(&self, byte: u8) -> bool {
        byte.is_ascii_whitespace() || (byte == b',' && self.place == Place::BeforeName)
    }

    fn enter_name(&mut self) {
        self.name.clear();
        self.quote = Quote::Inside;
    }

    fn enter_value(&mut self) {
        self.depth = 0;
        self.quote = Quote::Outside;
        let name = name_of(&self.name);
        let chosen = self
            .chosen
            .iter()
            .find(|chosen| name.as_deref() == Some(**chosen));
        self.cut = chosen.map(|name| Cut {
            name,
            value: Vec::new(),
            whole: Whole::Yes,
        });
    }

    fn advance_in_name(&mut self, bytes: &[u8]) -> Run {
        let length = self.advance_in_string(bytes);
        let room = (NAME_MAX + 1).saturating_sub(self.name.len());
        self.name.extend_from_slice(&bytes[..length.min(room)]);
        if self.quote == Quote::Outside {
            self.place = Place::BeforeColon;
        }
        Run::of(length)
    }

    fn advance_in_value(&mut self, bytes: &[u8]) -> Run {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.quote != Quote::Outside {
                at += self.advance_in_string(&bytes[at..]);
                if self.quote == Quote::Outside && self.depth == 0 {
                    return self.end_value(at);
                }
                continue;
            }
            match byte {
                b'"' => self.quote = Quote::Inside,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return self.end_value(at + 1),
                b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => {
                    return self.end_value(at);
                }
                _ => {}
            }
            at += 1;
        }
        Run::of(at)
    }

    fn end_value(&mut self, length: usize) -> Run {
        self.place = Place::BeforeName;
        Run {
            length,
            ends_value: true,
        }
    }

    /// Goes to just behind the string's closing quote, or to the end of `bytes`.
    fn advance_in_string(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.quote == Quote::Escaped {
            self.quote = Quote::Inside;
            at = 1;
        }
        while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                self.quote = Quote::Outside;
                return at;
            }
            if at == bytes.len() {
                self.quote = Quote::Escaped;
                return at;
            }
            at += 1;
        }
        bytes.len()
    }
}

/// How far the scanner went.
struct Run {
    length: usize,
    ends_value: bool,
}

impl Run {
    fn of(length: usize) -> Self {
        Self {
            length,
            ends_value: false,
        }
    }
}

impl Cut {
    fn take(&mut self, bytes: &[u8]) {
        if self.value.len() + bytes.len() > VALUE_MAX {
            self.whole = Whole::TooLarge;
            self.value = Vec::new();
        }
        if self.whole == Whole::Yes {
            self.value.extend_from_slice(bytes);
        }
    }

    fn into_segment(self) -> Segment {
        match self.whole {
            Whole::Yes => Segment::Field {
                name: self.name,
                value: self.value.into(),
            },
            Whole::TooLarge => Segment::TooLarge { name: self.name },
        }
    }
}

/// A name from its text behind the opening quote; `None` when it is too long or no string.
fn name_of(text: &[u8]) -> Option<String> {
    if text.len() > NAME_MAX {
        return None;
    }
    serde_json::from_slice(&[b"\"", text].concat()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHOSEN: &[&str] = &["usage", "error"];

    fn cut(text: &str, cuts: &[usize]) -> Vec<Segment> {
        let mut cutter = MemberCutter::new(CHOSEN);
        let mut segments = Vec::new();
        let mut positions: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        positions.extend([0, text.len()]);
        positions.sort_unstable();
        for range in positions.windows(2) {
            cutter.feed(
                &Bytes::copy_from_slice(&text.as_bytes()[range[0]..range[1]]),
                &mut segments,
            );
        }
        segments
    }

    /// The text with every withheld value replaced by `#`, and those values.
    fn summary(segments: &[Segment]) -> (String, Vec<(&'static str, String)>) {
        let (mut text, mut fields) = (Vec::new(), Vec::new());
        for segment in segments {
            match segment {
                Segment::Pass(bytes) => text.extend_from_slice(bytes),
                Segment::Field { name, value } => {
                    text.push(b'#');
                    fields.push((*name, String::from_utf8(value.to_vec()).unwrap()));
                }
                Segment::TooLarge { name } => {
                    text.push(b'#');
                    fields.push((*name, "too large".to_owned()));
                }
            }
        }
        (String::from_utf8(text).unwrap(), fields)
    }

    #[test]
    fn chosen_values_are_cut_out() {
        for (text, expected, fields) in [
            (
                r#"{"usage":{"a":"}\""},"b":1}"#,
                r#"{"usage":#,"b":1}"#,
                vec![("usage", r#"{"a":"}\""}"#)],
            ),
            (
                r#" {"a":{"usage":1}, "usage" : null }"#,
                r#" {"a":{"usage":1}, "usage" : # }"#,
                vec![("usage", "null")],
            ),
            (
                r#"{"error":"x","usage":12}"#,
                r#"{"error":#,"usage":#}"#,
                vec![("error", "\"x\""), ("usage", "12")],
            ),
            (
                r#"{"us\u0061ge":[1,[2]]}"#,
                r#"{"us\u0061ge":#}"#,
                vec![("usage", "[1,[2]]")],
            ),
            (
                r#"["usage",{"usage":1}]"#,
                r#"["usage",{"usage":1}]"#,
                vec![],
            ),
            (
                r#"{"a":"usage","b":{}}{"usage":1}"#,
                r#"{"a":"usage","b":{}}{"usage":1}"#,
                vec![],
            ),
        ] {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect::<Vec<_>>();
            for position in 0..=text.len() {
                assert_eq!(
                    summary(&cut(text, &[position])),
                    (expected.to_owned(), fields.clone()),
                    "{text} {position}"
                );
            }
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let text = format!(
            r#"{{"usage":"{}","{}":1,"error":2}}"#,
            "x".repeat(VALUE_MAX),
            "n".repeat(1 << 20)
        );
        let mut cutter = MemberCutter::new(CHOSEN);
        let mut segments = Vec::new();
        for chunk in text.as_bytes().chunks(1000) {
            cutter.feed(&Bytes::copy_from_slice(chunk), &mut segments);
            assert!(cutter.name.len() <= NAME_MAX + 1);
            assert!(
                cutter
                    .cut
                    .as_ref()
                    .is_none_or(|cut| cut.value.len() <= VALUE_MAX)
            );
        }
        assert_eq!(
            summary(&segments).1,
            [("usage", "too large".to_owned()), ("error", "2".to_owned())]
        );
    }

    /// Any JSON value, a few levels deep, with names that matter in all places.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(serde_json::Value::from),
            "[\\PC\"\\\\{}\\[\\],:]{0,8}".prop_map(serde_json::Value::from),
        ];
        let name = prop_oneof![
            Just("usage".to_owned()),
            Just("error".to_owned()),
            "[a-z\"\\\\]{0,4}"
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(name.clone(), inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_a_parser_finds(
            value in value(),
            pretty in any::<bool>(),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let (passed, fields) = summary(&cut(&text, &cuts));
            let mut restored = passed;
            for (name, field) in &fields {
                let expected = &value[*name];
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(field).unwrap(), expected);
                let place = restored.find(&format!("{}:{}#", serde_json::Value::from(*name), if pretty { " " } else { "" }));
                let at = place.unwrap() + name.len() + 3 + usize::from(pretty);
                restored.replace_range(at..=at, field);
            }
            prop_assert_eq!(restored, text);
            let chosen = |object: &serde_json::Map<_, _>| CHOSEN.iter().filter(|name| object.contains_key(**name)).count();
            prop_assert_eq!(fields.len(), value.as_object().map_or(0, chosen));
        }

        #[test]
        fn random_text_passes_whole(bytes in "[{}\\[\\]\",:\\\\ua-c1 ]{0,60}", cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
            // The alphabet can't spell a chosen name.
            prop_assert_eq!(summary(&cut(&bytes, &cuts)), (bytes, vec![]));
        }
    }
}
