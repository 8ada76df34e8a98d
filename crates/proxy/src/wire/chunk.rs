//! One chunk of a stream (the payload of one event): what it says of usage, errors and its own identity, and how it is
//! passed on when it can't be passed as it is.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

pub use super::choices::Choices;
use super::choices::{self, Survey};
use super::json::{self, Member, ObjectWriter};
use super::shown_model::ShownModel;

/// Members that name the operator's account at the upstream, or how the upstream went about the request.
pub(crate) const ACCOUNT_MEMBERS: &[&str] = &["user_id", "openrouter_metadata"];

/// What is looked for in a chunk. Serializers don't escape these names; a hit inside a text is told apart by parsing.
struct Finders {
    marks: [Finder<'static>; 4],
    unfinished: Finder<'static>,
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    marks: [
        Finder::new(b"\"usage\""),
        Finder::new(b"\"error\""),
        Finder::new(b"\"user_id\""),
        Finder::new(b"\"openrouter_metadata\""),
    ],
    unfinished: Finder::new(b"\"finish_reason\":null"),
});

/// What a chunk is inspected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Everything: the stream's first chunk, which says what serves it.
    Identity,
    /// Only usage, errors and the end of the answer: every later chunk.
    Usage,
}

/// What was found in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspected<'a> {
    /// Nothing but content: to be passed as it is.
    Ordinary,
    /// Something to look at. It may still be passed as it is if [`ChunkFacts::is_clean`].
    Facts(ChunkFacts<'a>),
    /// No JSON object.
    Unreadable,
}

/// What a chunk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkFacts<'a> {
    /// The generation's id.
    pub id: Option<Cow<'a, str>>,
    /// The model that serves.
    pub model: Option<Cow<'a, str>>,
    /// The provider that serves, by its display name.
    pub provider: Option<Cow<'a, str>>,
    /// The text of the usage object, if there is one that is not null.
    pub usage: Option<&'a str>,
    /// The text of the error, of the chunk or of a choice.
    pub error: Option<&'a str>,
    /// Whether there is content.
    pub choices: Choices,
    /// Why the answer ends here, if it does; `error` is one of the reasons.
    pub finish_reason: Option<Cow<'a, str>>,
    members: Vec<Member<'a>>,
    is_renamed: bool,
}

/// Whether a finish reason was already passed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// Not yet.
    Unsent,
    /// Yes.
    Sent,
}

/// Inspects a chunk. Ordinary chunks aren't parsed.
#[must_use]
pub fn inspect(payload: &[u8], interest: Interest) -> Inspected<'_> {
    let finders = &*FINDERS;
    let marked = |finder: &Finder<'_>| finder.find(payload).is_some();
    if interest == Interest::Usage
        && marked(&finders.unfinished)
        && !finders.marks.iter().any(marked)
    {
        return Inspected::Ordinary;
    }
    let Ok(members) = json::members_of(payload) else {
        return Inspected::Unreadable;
    };
    Inspected::Facts(ChunkFacts::new(members))
}

impl<'a> ChunkFacts<'a> {
    fn new(members: Vec<Member<'a>>) -> Self {
        let text = |name| json::last(&members, name).and_then(json::string);
        let Survey {
            choices,
            finish_reason,
            error,
        } = choices::survey(json::last(&members, "choices"));
        Self {
            id: text("id"),
            model: text("model"),
            provider: text("provider"),
            usage: json::last(&members, "usage"),
            error: json::last(&members, "error").or(error),
            choices,
            finish_reason,
            members,
            is_renamed: false,
        }
    }

    /// Tells the client another name of the model than the upstream's.
    pub(crate) fn show_model(&mut self, shown: &'a ShownModel) {
        shown.replace_in(&mut self.members);
        self.is_renamed = true;
    }

    /// Whether the chunk can pass as it came: it has no member that must not pass: no `usage` (not even null) and none about the account.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.is_renamed
            && !self
                .members
                .iter()
                .any(|member| member.name == "usage" || is_account_member(member))
    }

    /// Whether anything is left for a client that gets no usage in this chunk.
    #[must_use]
    pub fn is_worth_passing(&self, sent: FinishReason) -> bool {
        match self.choices {
            _ if self.usage.is_none() => true,
            Choices::Content => true,
            Choices::Blank => self.finish_reason.is_some() && sent == FinishReason::Unsent,
            Choices::Empty => false,
        }
    }

    /// The chunk without `usage`, and without what names the operator's account.
    #[must_use]
    pub fn without_usage(&self) -> String {
        self.rebuilt(|writer, member| {
            if member.name != "usage" {
                writer.keep(member);
            }
        })
    }

    /// The chunk in its own shape with another usage object: OpenRouter's way. A null usage stays null.
    #[must_use]
    pub fn with_usage(&self, usage: &str) -> String {
        self.rebuilt(|writer, member| {
            if member.name == "usage" && member.value != "null" {
                writer.keep_with_value(member, usage);
            } else {
                writer.keep(member);
            }
        })
    }

    /// The chunk that carries only usage, OpenAI's way: this chunk's identity, no choices, the usage object.
    #[must_use]
    pub fn usage_chunk(&self, usage: &str) -> String {
        let mut writer = ObjectWriter::with_capacity(256 + usage.len());
        for member in &self.members {
            if !matches!(&*member.name, "choices" | "usage" | "error") && !is_account_member(member)
            {
                writer.keep(member);
            }
        }
        writer.add("choices", "[]");
        writer.add("usage", usage);
        writer.finish()
    }

    fn rebuilt(&self, mut write: impl FnMut(&mut ObjectWriter, &Member<'a>)) -> String {
        let mut writer = ObjectWriter::with_capacity(1024);
        for member in self
            .members
            .iter()
            .filter(|member| !is_account_member(member))
        {
            write(&mut writer, member);
        }
        writer.finish()
    }
}

fn is_account_member(member: &Member<'_>) -> bool {
    ACCOUNT_MEMBERS.contains(&&*member.name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ORDINARY: &str = r#"{"id":"gen-1","object":"chat.completion.chunk","created":1,"model":"a/b","provider":"P","choices":[{"index":0,"delta":{"role":"assistant","content":"say \"usage\" loud"},"finish_reason":null,"logprobs":null}]}"#;
    const FINAL: &str = r#"{"id":"gen-1","object":"chat.completion.chunk","created":1,"model":"a/b","provider":"P","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop","native_finish_reason":"stop"}],"usage":{"prompt_tokens":1,"cost":1e-5},"user_id":"org_1"}"#;

    fn facts(payload: &str) -> ChunkFacts<'_> {
        match inspect(payload.as_bytes(), Interest::Identity) {
            Inspected::Facts(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_chunks_that_matter_are_looked_at() {
        assert_eq!(
            inspect(ORDINARY.as_bytes(), Interest::Usage),
            Inspected::Ordinary
        );
        assert!(matches!(
            inspect(FINAL.as_bytes(), Interest::Usage),
            Inspected::Facts(_)
        ));
        assert_eq!(
            inspect(b"{\"usage\":", Interest::Usage),
            Inspected::Unreadable
        );
        let first = facts(ORDINARY);
        assert_eq!(
            (
                first.id.as_deref(),
                first.model.as_deref(),
                first.provider.as_deref()
            ),
            (Some("gen-1"), Some("a/b"), Some("P"))
        );
        assert!(first.is_clean() && first.usage.is_none() && first.choices == Choices::Content);
    }

    #[test]
    fn a_finish_is_seen_however_it_is_written() {
        for finish in [r#""finish_reason":"stop""#, r#""finish_reason" : "stop""#] {
            let chunk = format!(r#"{{"choices":[{{"delta":{{}},{finish}}}]}}"#);
            let Inspected::Facts(facts) = inspect(chunk.as_bytes(), Interest::Usage) else {
                panic!("not seen: {chunk}")
            };
            assert_eq!(facts.finish_reason.as_deref(), Some("stop"));
        }
    }

    #[test]
    fn a_usage_chunk_that_repeats_the_finish_is_passed_only_if_it_is_the_first_to_say_so() {
        let last = facts(FINAL);
        assert_eq!(last.usage, Some(r#"{"prompt_tokens":1,"cost":1e-5}"#));
        assert!(!last.is_worth_passing(FinishReason::Sent));
        assert!(last.is_worth_passing(FinishReason::Unsent));
        let with_content = FINAL.replace(r#""content":"""#, r#""content":"x""#);
        assert!(facts(&with_content).is_worth_passing(FinishReason::Sent));
        assert!(!facts(r#"{"choices":[],"usage":{}}"#).is_worth_passing(FinishReason::Unsent));
        assert!(facts(r#"{"choices":[],"error":{}}"#).is_worth_passing(FinishReason::Sent));
    }

    #[test]
    fn chunks_are_rebuilt_in_both_dialects() {
        let last = facts(FINAL);
        assert!(!last.is_clean());
        let mut expected: Value = serde_json::from_str(FINAL).unwrap();
        expected.as_object_mut().unwrap().remove("user_id");
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        expected["usage"] = json!({"cost": 2});
        assert_eq!(read(&last.with_usage(r#"{"cost":2}"#)), expected);
        expected["choices"] = json!([]);
        assert_eq!(read(&last.usage_chunk(r#"{"cost":2}"#)), expected);
        let mut stripped = read(FINAL);
        stripped
            .as_object_mut()
            .unwrap()
            .retain(|name, _| name != "usage" && name != "user_id");
        assert_eq!(read(&last.without_usage()), stripped);
        assert_eq!(
            facts(r#"{"usage": null}"#).with_usage("{}"),
            r#"{"usage": null}"#
        );
    }

    #[test]
    fn errors_are_found_at_both_places() {
        assert_eq!(
            facts(r#"{"error":{"code":502},"choices":[]}"#).error,
            Some(r#"{"code":502}"#)
        );
        let in_choice = facts(
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"error","error":{"code":1}}]}"#,
        );
        assert_eq!(in_choice.error, Some(r#"{"code":1}"#));
        assert_eq!(in_choice.finish_reason.as_deref(), Some("error"));
        assert_eq!(facts(r#"{"error":null,"choices":[]}"#).error, None);
    }

    proptest! {
        #[test]
        fn random_payloads_are_no_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Inspected::Facts(facts) = inspect(&payload, Interest::Identity) {
                let _ = facts.without_usage();
            }
        }

        #[test]
        fn all_other_members_survive(
            members in proptest::collection::btree_map("[a-z]{1,8}", any::<f64>().prop_map(|number| number.to_string()), 0..6),
        ) {
            let numbers: Vec<String> = members.iter().filter(|(_, text)| !text.contains(['N', 'i'])).map(|(name, text)| format!("\"{name}\":{text}")).collect();
            let payload = format!("{{{}}}", numbers.iter().map(String::as_str).chain(["\"usage\":{\"cost\":1}"]).collect::<Vec<_>>().join(","));
            let expected = format!("{{{}}}", numbers.join(","));
            prop_assert_eq!(facts(&payload).without_usage(), expected);
        }
    }
}
