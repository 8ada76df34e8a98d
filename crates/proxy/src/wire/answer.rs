//! A whole answer that was not streamed: what it says, and how it is passed on.
//!
//! It is read once: [`ReadAnswer`] keeps the text and where everything lies in it, [`Answer`] looks at it.

use std::borrow::Cow;

use serde_json::value::RawValue;

pub use super::choices::Choices;
use super::choices::{self, Survey};
use super::chunk::ACCOUNT_MEMBERS;
use super::json::{self, JsonError, Member, MemberPlace, ObjectWriter, Place};
use super::shown_model::ShownModel;

/// An answer's body, read as far as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The generation's id.
    pub id: Option<Cow<'a, str>>,
    /// The model that served.
    pub model: Option<Cow<'a, str>>,
    /// The provider that served, by its display name.
    pub provider: Option<Cow<'a, str>>,
    /// The text of the usage object, if there is one that is not null.
    pub usage: Option<&'a str>,
    /// The text of the error: the answer's own, or a choice's, beside what content there may be.
    pub error: Option<&'a str>,
    /// Whether there is content.
    pub choices: Choices,
    /// Why the answer ended; `error` is one of the reasons.
    pub finish_reason: Option<Cow<'a, str>>,
    length: usize,
    members: Vec<Member<'a>>,
}

/// An answer that was read: its text, and where in it is what.
#[derive(Debug)]
pub struct ReadAnswer {
    text: String,
    members: Vec<MemberPlace>,
    error: Option<Place>,
    choices: Choices,
    finish_reason: Option<Cow<'static, str>>,
}

impl ReadAnswer {
    /// Reads a body.
    ///
    /// # Errors
    /// [`JsonError`] if it is no JSON object.
    pub fn read(body: Vec<u8>) -> Result<Self, JsonError> {
        let text = String::from_utf8(body).map_err(|_| JsonError::NotUtf8)?;
        let answer = Answer::parse(text.as_bytes())?;
        let members = answer.members.iter();
        let members = members
            .map(|member| MemberPlace::of(&text, member))
            .collect();
        let error = answer.error.map(|error| Place::of(&text, error));
        let choices = answer.choices;
        let finish_reason = answer.finish_reason.map(own_reason);
        Ok(Self {
            members,
            error,
            choices,
            finish_reason,
            text,
        })
    }

    /// What it says.
    pub fn look(&self) -> Answer<'_> {
        let members = self.members.iter();
        Answer::of(
            members.map(|place| place.in_text(&self.text)).collect(),
            Survey {
                choices: self.choices,
                finish_reason: self.finish_reason.as_deref().map(Cow::Borrowed),
                error: self.error.map(|error| error.in_text(&self.text)),
            },
            self.text.len(),
        )
    }

    /// The text of the body.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The usual reasons need no copy.
fn own_reason(reason: Cow<'_, str>) -> Cow<'static, str> {
    match &*reason {
        "stop" => Cow::Borrowed("stop"),
        "length" => Cow::Borrowed("length"),
        "tool_calls" => Cow::Borrowed("tool_calls"),
        _ => Cow::Owned(reason.into_owned()),
    }
}

impl<'a> Answer<'a> {
    /// Reads a body. The white space that an upstream sends before it, to keep the connection alive, is not part of it.
    ///
    /// # Errors
    /// [`JsonError`] if it is no JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonError> {
        let members = json::members_of(body.trim_ascii())?;
        let survey = choices::survey(json::last(&members, "choices"));
        Ok(Self::of(members, survey, body.len()))
    }

    fn of(members: Vec<Member<'a>>, survey: Survey<'a>, length: usize) -> Self {
        let text = |name| json::last(&members, name).and_then(json::string);
        Self {
            id: text("id"),
            model: text("model"),
            provider: text("provider"),
            usage: json::last(&members, "usage"),
            error: json::last(&members, "error").or(survey.error),
            choices: survey.choices,
            finish_reason: survey.finish_reason,
            length,
            members,
        }
    }

    /// Tells the client another name of the model than the upstream's.
    pub(crate) fn show_model(&mut self, shown: &'a ShownModel) {
        shown.replace_in(&mut self.members);
    }

    /// Whether the upstream failed, although it may have sent a status that says otherwise.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.error.is_some()
            || self.finish_reason.as_deref() == Some("error")
            || self.choices == Choices::Empty
    }

    /// The answer with another usage object (in place of the old one, else at the end), without what names the operator's
    /// account, and with errors in our words: the upstream's may speak of that account too.
    #[must_use]
    pub fn with_usage(&self, usage: &str) -> String {
        let mut usage_to_write = Some(usage);
        let mut writer = ObjectWriter::with_capacity(self.length + usage.len() + 16);
        for member in &self.members {
            match &*member.name {
                "usage" => {
                    if let Some(usage) = usage_to_write.take() {
                        writer.keep_with_value(member, usage);
                    }
                }
                "error" if member.value != "null" => writer.keep_with_value(member, OUR_ERROR),
                "choices" if self.error.is_some() => {
                    writer.keep_with_value(member, &choices_without_errors(member.value));
                }
                name if ACCOUNT_MEMBERS.contains(&name) => {}
                _ => writer.keep(member),
            }
        }
        if let Some(usage) = usage_to_write {
            writer.add("usage", usage);
        }
        writer.finish()
    }
}

/// What stands where the upstream told of an error beside content.
const OUR_ERROR: &str =
    r#"{"code":502,"message":"The provider failed before the answer was complete."}"#;

fn choices_without_errors(choices: &str) -> String {
    let mut rebuilt = Vec::new();
    let read = json::each_element(choices, |choice: &RawValue| {
        let mut writer = ObjectWriter::with_capacity(choice.get().len());
        for member in &json::members(choice.get()).unwrap_or_default() {
            if member.name == "error" && member.value != "null" {
                writer.keep_with_value(member, OUR_ERROR);
            } else {
                writer.keep(member);
            }
        }
        rebuilt.push(writer.finish());
    });
    if read.is_err() {
        rebuilt.clear();
    }
    format!("[{}]", rebuilt.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_behind_white_space_is_read_and_rewritten() {
        let body = b"\n   \n{\"id\":\"gen-1\",\"user_id\":\"u\",\"model\":\"a/b\",\"provider\":\"P\",\"openrouter_metadata\":{},\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\",\"x\":1.50}],\"usage\":{\"cost\":1}}\n";
        let answer = Answer::parse(body).unwrap();
        assert_eq!(answer.id.as_deref(), Some("gen-1"));
        assert_eq!(answer.usage, Some("{\"cost\":1}"));
        assert!(!answer.is_failure());
        assert_eq!(
            answer.with_usage("{\"cost\":2}"),
            "{\"id\":\"gen-1\",\"model\":\"a/b\",\"provider\":\"P\",\"choices\":[{\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\",\"x\":1.50}],\"usage\":{\"cost\":2}}"
        );
    }

    #[test]
    fn the_upstreams_words_of_an_error_do_not_pass() {
        let body = r#"{"choices":[{"message":{"content":"half"},"finish_reason":"error","error":{"message":"org_1"}}],"error":{"message":"key sk-1"},"usage":{}}"#;
        let shown = Answer::parse(body.as_bytes()).unwrap().with_usage("{}");
        assert!(
            !shown.contains("org_1") && !shown.contains("sk-1"),
            "{shown}"
        );
        assert!(
            shown.contains("half") && shown.matches(OUR_ERROR).count() == 2,
            "{shown}"
        );
    }

    #[test]
    fn failures_inside_a_success_are_seen() {
        for body in [
            r#"{"error":{"code":502,"message":"x"},"user_id":"u"}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{"message":{"content":"half"},"finish_reason":"error"}]}"#,
            r#"{"choices":[{"message":{"content":"half"},"error":{"code":1}}]}"#,
        ] {
            assert!(
                Answer::parse(body.as_bytes()).unwrap().is_failure(),
                "{body}"
            );
        }
        assert_eq!(Answer::parse(b"<html>"), Err(JsonError::NotAnObject));
        assert_eq!(Answer::parse(b"  \n "), Err(JsonError::NotAnObject));
    }

    #[test]
    fn usage_is_added_where_there_is_none() {
        assert_eq!(
            Answer::parse(b"{}").unwrap().with_usage("{}"),
            "{\"usage\":{}}"
        );
        assert_eq!(
            Answer::parse(b"{\"usage\":null}").unwrap().with_usage("{}"),
            "{\"usage\":{}}"
        );
    }

    proptest! {
        #[test]
        fn an_answer_that_was_read_says_the_same_again(
            body in prop_oneof![
                "[ \n]{0,2}\\{(\"(id|model|provider|err\\\\u006fr|error|x)\" ?: ?(\"[a-z\\\\n]{0,5}\"|null|1.50|\\{\"é\":\\[\\]\\}),){0,5}\"usage\":\\{\"cost\":1\\},\"choices\":\\[\\{\"message\":\\{\"content\":\"hi\"\\},\"finish_reason\":\"(stop|error|odd)\"(,\"error\":\\{\\})?\\}\\]\\}[ \n]{0,2}",
                "\\PC{0,30}",
            ],
        ) {
            let parsed = Answer::parse(body.as_bytes());
            match ReadAnswer::read(body.clone().into_bytes()) {
                Ok(read) => {
                    prop_assert_eq!(&read.look(), &parsed.clone().unwrap());
                    prop_assert_eq!(read.look().with_usage("{}"), parsed.unwrap().with_usage("{}"));
                }
                Err(error) => prop_assert_eq!(parsed, Err(error)),
            }
        }

        #[test]
        fn random_bodies_are_no_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(answer) = Answer::parse(&body) {
                let _ = answer.with_usage("{}");
            }
        }
    }
}
