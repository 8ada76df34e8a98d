//! `GET /activity`: what an upstream account used, by completed UTC day, model and endpoint.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ControlError;
use crate::json;
use crate::number::NumberText;

/// What was used of one model at one endpoint in one day. Money is in USD. Source: OpenRouter's OpenAPI document,
/// `/activity`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ActivityRow {
    /// The day in UTC, like `2026-11-20`; what may follow it (a time) says nothing more.
    pub date: String,
    /// What was taken from the account's credit.
    pub usage: NumberText,
    /// What providers took for inference on the account's own keys there.
    #[serde(default)]
    pub byok_usage_inference: Option<NumberText>,
    /// The model.
    #[serde(default, deserialize_with = "json::or_default")]
    pub model: Option<String>,
    /// Who served it.
    #[serde(default, deserialize_with = "json::or_default")]
    pub provider_name: Option<String>,
    /// How many requests that were.
    #[serde(default, deserialize_with = "json::or_default")]
    pub requests: Option<u64>,
}

impl ActivityRow {
    /// Whether it is of this day, written as `2026-11-20`.
    pub fn is_of(&self, day: &str) -> bool {
        self.date
            .strip_prefix(day)
            .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    }
}

/// Reads the body of `GET /activity`. A row that can't be read makes the whole unreadable: sums must miss nothing.
pub fn parse_activity(body: &[u8]) -> Result<Vec<ActivityRow>, ControlError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    let malformed = |_| ControlError::Malformed {
        what: "an object whose `data` is a list of what was used by day",
    };
    let envelope: Envelope<'_> = json::from_object(body).map_err(malformed)?;
    let rows = envelope.data.into_iter();
    rows.map(|row| json::from_object(row.get().as_bytes()).map_err(malformed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_its_digits_and_other_fields_may_be_anything() {
        let rows = parse_activity(
            br#"{"data":[{"date":"2026-11-20","model":"a/b","endpoint_id":7,"usage":1.50e-07,"byok_usage_inference":0,
                "requests":"many","later":{}},{"date":"2026-11-20 00:00:00","usage":3}]}"#,
        )
        .unwrap();
        assert_eq!(rows[0].usage.as_str(), "1.50e-07");
        assert_eq!(
            (rows[0].requests, rows[0].model.as_deref()),
            (None, Some("a/b"))
        );
        assert!(rows.iter().all(|row| row.is_of("2026-11-20")));
        assert!(!rows[0].is_of("2026-11-2") && !rows[0].is_of("2026-11-21"));
        assert_eq!(rows[1].byok_usage_inference, None);
    }

    #[test]
    fn a_row_that_can_not_be_read_is_an_error_not_a_zero() {
        for body in [
            r#"{"data":[{"date":"2026-11-20"}]}"#,
            r#"{"data":[{"date":"2026-11-20","usage":null}]}"#,
            r#"{"data":[{"date":"2026-11-20","usage":1,"byok_usage_inference":"NaN"}]}"#,
            r#"{"data":[{"usage":1}]}"#,
            r#"{"data":[["2026-11-20",1]]}"#,
            r#"{"data":{}}"#,
            "[]",
            "",
        ] {
            let parsed = parse_activity(body.as_bytes());
            assert!(
                matches!(parsed, Err(ControlError::Malformed { .. })),
                "{body}"
            );
        }
    }
}
