//! Numbers as text: money is never a float.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// No price or cost has more digits than this.
const LONGEST: usize = 128;

/// The text of a JSON number, digit by digit as the upstream wrote it (`7.1e-05` stays that). Numbers in quotes are
/// taken too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberText(Box<str>);

impl NumberText {
    /// The text, at most 128 bytes, in JSON's syntax for numbers.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for NumberText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let quoted = raw
            .get()
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let text = quoted.unwrap_or(raw.get());
        if text.len() > LONGEST || !is_number(text) {
            return Err(D::Error::custom("not a number"));
        }
        Ok(Self(text.into()))
    }
}

/// Whether a text is a number by JSON's grammar.
fn is_number(text: &str) -> bool {
    let starts_as_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    starts_as_number && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stay_as_they_are_written() {
        for text in [
            "0",
            "0.00001234500",
            "7.1e-05",
            "1E+3",
            "-1",
            "123456789012345678901234567890.5",
        ] {
            assert_eq!(
                serde_json::from_str::<NumberText>(text).unwrap().as_str(),
                text
            );
            assert_eq!(
                serde_json::from_str::<NumberText>(&format!("\"{text}\""))
                    .unwrap()
                    .as_str(),
                text
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "1".repeat(LONGEST + 1);
        for text in [
            "true",
            "null",
            "[1]",
            "{}",
            r#""""#,
            r#""free""#,
            r#""NaN""#,
            r#""0x1""#,
            r#"" 1""#,
            r#""+1""#,
            r#""1 2""#,
            &long,
        ] {
            assert!(serde_json::from_str::<NumberText>(text).is_err(), "{text}");
        }
    }
}
