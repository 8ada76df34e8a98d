//! Which models a key or a plan may use.

use serde::{Deserialize, Serialize};

/// Which models may be used: a key has one such list and its payer's plan another, and both hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelAccess {
    /// Every model on sale. In JSON: null.
    #[default]
    All,
    /// Only what these name: a model of the price book or an alias, as it is written, or whatever begins with what
    /// stands before a trailing `*`.
    Only(Vec<String>),
}

impl ModelAccess {
    /// Whether the list names `name`. Case counts, as it does upstream.
    pub fn names(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| matches(pattern, name)),
        }
    }

    /// Whether it is every model, also those that the upstream may choose by itself.
    pub fn is_unrestricted(&self) -> bool {
        match self {
            Self::All => true,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern == "*"),
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// Whether `pattern` can be an entry of a list: a name, or the beginning of one and a `*`.
pub fn is_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    !pattern.is_empty()
        && pattern.len() <= crate::sale::LONGEST_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(patterns: &[&str]) -> ModelAccess {
        ModelAccess::Only(patterns.iter().map(|&pattern| pattern.to_owned()).collect())
    }

    #[test]
    fn a_list_names_what_is_written_and_what_begins_so() {
        let access = only(&["a/b", "open/*"]);
        for name in ["a/b", "open/x", "open/x:free", "open/"] {
            assert!(access.names(name), "{name}");
        }
        for name in [
            "a/b:free", "a/bb", "A/b", "a/B", "opener/x", "~open/x", "", "a/*",
        ] {
            assert!(!access.names(name), "{name}");
        }
        assert!(!access.is_unrestricted() && only(&["x", "*"]).is_unrestricted());
        assert!(ModelAccess::All.names("anything") && !only(&[]).names("anything"));
    }

    #[test]
    fn a_star_stands_at_the_end_only() {
        for good in ["a", "a/b", "a/*", "*", "~a/b-latest", "a/b:free"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "a*b", "*/b", "**", "a b", "а/b", "a\n"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn null_is_every_model() {
        let read = |text| serde_json::from_str::<ModelAccess>(text).unwrap();
        assert_eq!(read("null"), ModelAccess::All);
        assert_eq!(read(r#"["a"]"#), only(&["a"]));
        assert_eq!(serde_json::to_string(&ModelAccess::All).unwrap(), "null");
    }

    proptest! {
        #[test]
        fn without_a_star_only_the_very_name_is_named(pattern in "[a-z/:~]{1,12}", name in "\\PC{0,12}") {
            prop_assert_eq!(only(&[&pattern]).names(&name), pattern == name);
        }
    }
}
