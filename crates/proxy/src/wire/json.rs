//! Borrowed looks into a JSON text: the members of an object and the elements of an array, each with the very bytes it
//! lies in, and a writer that puts an object together again from such pieces.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr_iter, memchr2};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

/// The most members that one object may have; an object with more is [`JsonError::Malformed`].
pub const MEMBERS_MAX: usize = 1024;

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8, which JSON must be (RFC 8259, section 8.1).
    #[error("it is not valid UTF-8")]
    NotUtf8,
    /// Some other JSON value, or nothing at all, where an object has to be.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Some other JSON value where an array has to be.
    #[error("it is not a JSON array")]
    NotAnArray,
    /// Not JSON; says where, never what it read.
    #[error("{0}")]
    Malformed(String),
    /// The array's element at this position (from 0) is not of the type that was asked for.
    #[error("element {0} has the wrong type")]
    Element(u32),
}

/// One member of a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The name, unescaped.
    pub name: Cow<'a, str>,
    /// The whole member as it stands, from the name's opening quote to the value's end.
    pub text: &'a str,
    /// The value as it stands.
    pub value: &'a str,
}

impl<'a> Member<'a> {
    fn new(object: &'a str, quoted_name: &'a str, value: &'a str) -> Option<Self> {
        let start = offset_in(object, quoted_name)?;
        let end = offset_in(object, value)? + value.len();
        let name = string(quoted_name).unwrap_or(Cow::Borrowed(quoted_name));
        Some(Self {
            name,
            text: object.get(start..end)?,
            value,
        })
    }

    /// The value unless it is `null`.
    #[must_use]
    pub fn value_unless_null(&self) -> Option<&'a str> {
        (self.value != "null").then_some(self.value)
    }

    /// Name, colon and the white space around it, as they stand.
    fn prefix(&self) -> &'a str {
        &self.text[..self.text.len() - self.value.len()]
    }
}

/// Where `part`, a slice of `whole`, begins in it, in bytes.
fn offset_in(whole: &str, part: &str) -> Option<usize> {
    part.as_ptr().addr().checked_sub(whole.as_ptr().addr())
}

/// Where a piece of a text lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    start: usize,
    end: usize,
}

impl Place {
    /// Where `part` lies in `whole`, of which it is a slice.
    pub fn of(whole: &str, part: &str) -> Self {
        let start = offset_in(whole, part).unwrap_or(whole.len());
        let end = start.saturating_add(part.len());
        Self { start, end }
    }

    /// The piece; empty in another text that is too short for it.
    pub fn in_text(self, whole: &str) -> &str {
        whole.get(self.start..self.end).unwrap_or_default()
    }
}

/// Where a member lies in its text, so that it can be looked at again without reading that anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberPlace {
    text: Place,
    value: Place,
    /// The name, if it is not written as it is.
    unescaped: Option<String>,
}

impl MemberPlace {
    /// Where `member`, which was read from it, lies in `whole`.
    pub fn of(whole: &str, member: &Member<'_>) -> Self {
        Self {
            text: Place::of(whole, member.text),
            value: Place::of(whole, member.value),
            unescaped: match &member.name {
                Cow::Borrowed(_) => None,
                Cow::Owned(name) => Some(name.clone()),
            },
        }
    }

    /// The member again.
    pub fn in_text<'a>(&'a self, whole: &'a str) -> Member<'a> {
        let text = self.text.in_text(whole);
        let quoted = text.strip_prefix('"').unwrap_or_default();
        let plain = || &quoted[..memchr(b'"', quoted.as_bytes()).unwrap_or(0)];
        Member {
            name: Cow::Borrowed(self.unescaped.as_deref().unwrap_or_else(plain)),
            text,
            value: self.value.in_text(whole),
        }
    }
}

/// Reads `body` as the members of the JSON object that it is, in their order, duplicates included; white space around
/// the object is allowed.
///
/// # Errors
/// [`JsonError::NotUtf8`], [`JsonError::NotAnObject`], or [`JsonError::Malformed`].
pub fn members_of(body: &[u8]) -> Result<Vec<Member<'_>>, JsonError> {
    members(std::str::from_utf8(body).map_err(|_| JsonError::NotUtf8)?)
}

/// As [`members_of`], for what is known to be UTF-8.
///
/// # Errors
/// [`JsonError::NotAnObject`] or [`JsonError::Malformed`].
pub fn members(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(JsonError::NotAnObject);
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = reader
        .deserialize_map(MembersVisitor { object: text })
        .map_err(malformed)?;
    reader.end().map_err(malformed)?;
    Ok(members)
}

fn malformed(error: serde_json::Error) -> JsonError {
    JsonError::Malformed(error.to_string())
}

struct MembersVisitor<'a> {
    object: &'a str,
}

impl<'a> Visitor<'a> for MembersVisitor<'a> {
    type Value = Vec<Member<'a>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(name) = map.next_key::<&'a RawValue>()? {
            let value = map.next_value::<&'a RawValue>()?;
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom("the object has too many members"));
            }
            let member = Member::new(self.object, name.get(), value.get());
            members.push(member.ok_or_else(|| A::Error::custom("the object is not one text"))?);
        }
        Ok(members)
    }
}

/// The value of the last member of that name that is not `null`.
#[must_use]
pub fn last<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members
        .iter()
        .rev()
        .find(|member| member.name == name)
        .and_then(Member::value_unless_null)
}

/// Reads `text` as an array and gives its elements one by one to `visit`; returns how many there were. Nothing is
/// collected, so that a long array costs no memory.
///
/// # Errors
/// [`JsonError::NotAnArray`], or [`JsonError::Element`] for the first element that is no `T`.
pub fn each_element<'a, T: Deserialize<'a>>(
    text: &'a str,
    visit: impl FnMut(T),
) -> Result<u32, JsonError> {
    if !text.starts_with('[') {
        return Err(JsonError::NotAnArray);
    }
    let mut count = 0;
    let elements = Elements {
        count: &mut count,
        visit,
        element: std::marker::PhantomData,
    };
    match elements.deserialize(&mut serde_json::Deserializer::from_str(text)) {
        Ok(()) => Ok(count),
        Err(_) => Err(JsonError::Element(count)),
    }
}

struct Elements<'c, T, F> {
    count: &'c mut u32,
    visit: F,
    element: std::marker::PhantomData<T>,
}

impl<'a, T: Deserialize<'a>, F: FnMut(T)> DeserializeSeed<'a> for Elements<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, T: Deserialize<'a>, F: FnMut(T)> Visitor<'a> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.visit)(element);
            *self.count = self.count.saturating_add(1);
        }
        Ok(())
    }
}

/// A `T` that was written as an object: serde's derived structs would also accept an array of their fields.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

/// A string, borrowed from the text where it holds no escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The string that a JSON value is, unescaped; `None` for other values.
#[must_use]
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(value).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// `text` as a JSON string literal.
#[must_use]
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The non-negative integer that a JSON value is. One that is beyond 64 bits reads as `u64::MAX`; a fraction, an
/// exponent, a sign or another type is `None`.
#[must_use]
pub fn unsigned(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// Whether `text` is a number as JSON writes it (RFC 8259, section 6).
#[must_use]
pub fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether arrays and objects nest deeper than `limit` levels in a JSON text.
#[must_use]
pub fn nests_deeper_than(text: &[u8], limit: usize) -> bool {
    if memchr_iter(b'{', text).count() + memchr_iter(b'[', text).count() <= limit {
        return false;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at += string_length(&text[at..]),
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The bytes from just after a string's opening quote to just after its closing one, or to the end.
fn string_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// Writes one JSON object from members of others and from new ones.
#[derive(Debug)]
pub struct ObjectWriter {
    text: String,
}

impl ObjectWriter {
    /// An object without members, with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut text = String::with_capacity(capacity);
        text.push('{');
        Self { text }
    }

    fn separate(&mut self) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
    }

    /// Adds a member as it stands.
    pub fn keep(&mut self, member: &Member<'_>) {
        self.separate();
        self.text.push_str(member.text);
    }

    /// Adds a member with another value, which must be a JSON text.
    pub fn keep_with_value(&mut self, member: &Member<'_>, value: &str) {
        self.separate();
        self.text.push_str(member.prefix());
        self.text.push_str(value);
    }

    /// Adds a new member. `name` needs no escapes; `value` must be a JSON text.
    pub fn add(&mut self, name: &str, value: &str) {
        self.separate();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(value);
    }

    /// The object's text.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_keep_their_text() {
        let members = members("  {\"a\" : 1.50 , \"\\u0062\":[1, 2],\"a\":null}\n").unwrap();
        let seen: Vec<_> = members
            .iter()
            .map(|m| (&*m.name, m.text, m.value))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "\"a\" : 1.50", "1.50"),
                ("b", "\"\\u0062\":[1, 2]", "[1, 2]"),
                ("a", "\"a\":null", "null")
            ]
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "null", "1", "\"{\""] {
            assert_eq!(members(text), Err(JsonError::NotAnObject), "{text}");
        }
        for text in ["{", "{}x", "{\"a\"}", "{\"a\":1,}", "{1:2}", "{\"a\":01}"] {
            assert!(
                matches!(members(text), Err(JsonError::Malformed(_))),
                "{text}"
            );
        }
        assert_eq!(members_of(b"{\"a\":\"\xff\"}"), Err(JsonError::NotUtf8));
    }

    #[test]
    fn too_many_members_are_refused() {
        let object = |count: usize| format!("{{{}}}", vec!["\"a\":1"; count].join(","));
        assert_eq!(members(&object(MEMBERS_MAX)).unwrap().len(), MEMBERS_MAX);
        assert!(matches!(
            members(&object(MEMBERS_MAX + 1)),
            Err(JsonError::Malformed(_))
        ));
    }

    #[test]
    fn a_million_levels_do_not_overflow_the_stack() {
        let levels = 1_000_000;
        let text = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(members(&text).unwrap().len(), 1);
        assert!(nests_deeper_than(text.as_bytes(), 128));
    }

    #[test]
    fn nesting_is_counted_outside_strings_only() {
        assert!(!nests_deeper_than(br#"{"a":"[[[\"[[["}"#, 1));
        assert!(nests_deeper_than(br#"{"a\\":[1]}"#, 1));
        assert!(!nests_deeper_than(br"[[],[],[],[]]", 2));
        assert!(nests_deeper_than(br"[[],[],[[]]]", 2));
    }

    #[test]
    fn numbers_are_told_from_other_text() {
        for good in ["0", "-1", "7.1e-05", "1E9", "12.50"] {
            assert!(is_number(good), "{good}");
        }
        for bad in [
            "", "NaN", "01", "+1", ".5", "1.", "1 ", "0x1", "1e", "-", "\"1\"",
        ] {
            assert!(!is_number(bad), "{bad}");
        }
        assert_eq!(unsigned("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(unsigned("-1"), None);
        assert_eq!(unsigned("1.0"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = members_of(&bytes);
            let _ = nests_deeper_than(&bytes, 3);
        }

        #[test]
        fn quoting_and_reading_a_string_are_inverse(text in "\\PC*") {
            let quoted = quote(&text);
            prop_assert_eq!(&*string(&quoted).unwrap(), &text);
        }
    }
}
