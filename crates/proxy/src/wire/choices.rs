//! What the `choices` of an answer or of a stream's chunk amount to.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{self, Object};

/// Whether choices say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choices {
    /// No choices, or none at all.
    Empty,
    /// Choices without any content: empty deltas, or no message.
    Blank,
    /// Some content, or a form that is not known.
    Content,
}

/// Choices, looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Survey<'a> {
    pub(crate) choices: Choices,
    /// The last reason that is neither null nor empty.
    pub(crate) finish_reason: Option<Cow<'a, str>>,
    /// The first choice's error.
    pub(crate) error: Option<&'a str>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Looks through the value of a `choices` member.
pub(crate) fn survey(choices: Option<&str>) -> Survey<'_> {
    let mut survey = Survey {
        choices: Choices::Empty,
        finish_reason: None,
        error: None,
    };
    let Some(choices) = choices else {
        return survey;
    };
    let seen = json::each_element(choices, |Object(choice): Object<Choice<'_>>| {
        let blank = choice.delta.is_none_or(is_blank) && choice.message.is_none_or(is_blank);
        if !blank {
            survey.choices = Choices::Content;
        } else if survey.choices == Choices::Empty {
            survey.choices = Choices::Blank;
        }
        let reason = choice
            .finish_reason
            .and_then(|reason| json::string(reason.get()));
        survey.finish_reason = reason
            .filter(|reason| !reason.is_empty())
            .or(survey.finish_reason.take());
        survey.error = survey.error.or(choice.error.map(RawValue::get));
    });
    if seen.is_err() {
        survey.choices = Choices::Content;
    }
    survey
}

/// Whether a delta or message holds nothing but its role and empty values.
fn is_blank(content: &RawValue) -> bool {
    let Ok(members) = json::members(content.get()) else {
        return false;
    };
    members.iter().all(|member| {
        member.name == "role" || matches!(member.value, "null" | "\"\"" | "[]" | "{}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_told_apart() {
        for (text, choices, reason) in [
            ("[]", Choices::Empty, None),
            (
                r#"[{"delta":{"role":"assistant","content":""},"finish_reason":null}]"#,
                Choices::Blank,
                None,
            ),
            (
                r#"[{"delta":{},"finish_reason":"stop"}]"#,
                Choices::Blank,
                Some("stop"),
            ),
            (
                r#"[{"delta":{"content":"","tool_calls":[]},"finish_reason":""}]"#,
                Choices::Blank,
                None,
            ),
            (r#"[{"delta":{"content":" "}}]"#, Choices::Content, None),
            (r#"[{"delta":{"reasoning":"hm"}}]"#, Choices::Content, None),
            (
                r#"[{"message":{"content":"hi"},"finish_reason":"stop"}]"#,
                Choices::Content,
                Some("stop"),
            ),
            (r#"[7]"#, Choices::Content, None),
            ("{}", Choices::Content, None),
        ] {
            let survey = survey(Some(text));
            assert_eq!(
                (survey.choices, survey.finish_reason.as_deref()),
                (choices, reason),
                "{text}"
            );
        }
        assert_eq!(
            survey(Some(r#"[{"error":{"code":502}}]"#)).error,
            Some(r#"{"code":502}"#)
        );
        assert_eq!(survey(None).choices, Choices::Empty);
    }
}
