//! The name that a client is told instead of the upstream's, where it used an alias.

use super::json::{self, Member};

/// The member `model` as the client is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownModel {
    /// `"model":"…"`
    text: String,
}

const NAME: &str = "\"model\":";

impl ShownModel {
    /// The member for this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            text: format!("{NAME}{}", json::quote(name)),
        }
    }

    /// The value: the name as a JSON text.
    #[must_use]
    pub fn value(&self) -> &str {
        self.text.get(NAME.len()..).unwrap_or_default()
    }

    /// Puts this in place of every member `model`.
    pub(crate) fn replace_in<'a>(&'a self, members: &mut [Member<'a>]) {
        for member in members.iter_mut().filter(|member| member.name == "model") {
            member.text = &self.text;
            member.value = self.value();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::answer::Answer;
    use crate::wire::chunk::{Inspected, Interest, inspect};

    #[test]
    fn every_member_with_the_models_name_has_the_other_one() {
        let shown = ShownModel::new("my \"own\"");
        let payload = r#"{"id":"g","model" : "a/b","mod\u0065l":"a/b","choices":[{"delta":{"content":"model"}}]}"#;
        let Inspected::Facts(mut facts) = inspect(payload.as_bytes(), Interest::Identity) else {
            panic!("it is a chunk");
        };
        assert!(facts.is_clean());
        facts.show_model(&shown);
        assert!(!facts.is_clean());
        let name = r#""model":"my \"own\"""#;
        let expected =
            format!(r#"{{"id":"g",{name},{name},"choices":[{{"delta":{{"content":"model"}}}}]}}"#);
        assert_eq!(facts.without_usage(), expected);

        let mut answer = Answer::parse(br#"{"model":"a/b","usage":{}}"#).unwrap();
        answer.show_model(&shown);
        assert_eq!(answer.with_usage("1"), format!(r#"{{{name},"usage":1}}"#));
    }
}
