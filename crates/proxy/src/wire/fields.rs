//! Reading the fields of a request body, with errors that tell the client which one is wrong and what to do about it.

use std::borrow::Cow;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::json::{self, JsonError, Member};

/// The longest text of a price.
const PRICE_LENGTH_MAX: usize = 32;

/// Why a request body is refused. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a JSON object in UTF-8.
    #[error(
        "The request body could not be read as a JSON object: {0}. Send a JSON object encoded in UTF-8."
    )]
    Unreadable(JsonError),
    /// Nested too deeply.
    #[error("The request body is nested more than {limit} levels deep. Flatten it.")]
    TooDeep {
        /// The most levels that are accepted.
        limit: usize,
    },
    /// A field that occurs twice, so that nobody can know which one counts.
    #[error("The field `{param}` occurs more than once. Send it once.")]
    Duplicate {
        /// The field.
        param: Cow<'static, str>,
    },
    /// A field that has to be there.
    #[error("The field `{param}` is missing. Send {expected}.")]
    Missing {
        /// The field.
        param: Cow<'static, str>,
        /// What it has to be.
        expected: &'static str,
    },
    /// A field with a value of the wrong type, or out of range.
    #[error("The field `{param}` has a wrong value: it must be {expected}.")]
    Invalid {
        /// The field.
        param: Cow<'static, str>,
        /// What it has to be.
        expected: &'static str,
    },
    /// More than one choice was asked for. Upstreams ignore `n`, so the client would get less than it asked for.
    #[error(
        "Only one choice a request is supported: leave `n` out or set it to 1, and send several requests instead."
    )]
    SeveralChoices,
}

impl RequestError {
    /// The field that is wrong, as in OpenAI's `error.param`; `None` if it is the body as a whole.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Unreadable(_) | Self::TooDeep { .. } => None,
            Self::Duplicate { param }
            | Self::Missing { param, .. }
            | Self::Invalid { param, .. } => Some(param),
            Self::SeveralChoices => Some("n"),
        }
    }

    pub(crate) fn invalid(param: impl Into<Cow<'static, str>>, expected: &'static str) -> Self {
        Self::Invalid {
            param: param.into(),
            expected,
        }
    }
}

/// The fields of an object, read by name. Null is as good as missing, as OpenAI has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'m, 'a> {
    members: &'m [Member<'a>],
    /// What stands before a name in `param`: the object's own name and a dot, or nothing.
    path: &'static str,
}

impl<'m, 'a> Fields<'m, 'a> {
    pub(crate) fn new(members: &'m [Member<'a>], path: &'static str) -> Self {
        Self { members, path }
    }

    fn param(&self, name: &'static str) -> Cow<'static, str> {
        if self.path.is_empty() {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(format!("{}{name}", self.path))
        }
    }

    pub(crate) fn invalid(&self, name: &'static str, expected: &'static str) -> RequestError {
        RequestError::invalid(self.param(name), expected)
    }

    /// The field's text unless it is null.
    pub(crate) fn value(&self, name: &'static str) -> Result<Option<&'a str>, RequestError> {
        let mut found = self.members.iter().filter(|member| member.name == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(RequestError::Duplicate {
                param: self.param(name),
            });
        }
        Ok(first.and_then(Member::value_unless_null))
    }

    pub(crate) fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, RequestError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        json::string(value)
            .map(Some)
            .ok_or_else(|| self.invalid(name, "a string"))
    }

    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>, RequestError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        value
            .parse()
            .map(Some)
            .map_err(|_| self.invalid(name, "true or false"))
    }

    /// A positive integer; one beyond 64 bits reads as `u64::MAX`.
    pub(crate) fn positive(&self, name: &'static str) -> Result<Option<u64>, RequestError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let positive = json::unsigned(value).filter(|number| *number > 0);
        positive
            .map(Some)
            .ok_or_else(|| self.invalid(name, "a positive integer"))
    }

    /// A price in USD: a number, or a string that holds one, not negative.
    pub(crate) fn price(&self, name: &'static str) -> Result<Option<Decimal>, RequestError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let text = json::string(value).unwrap_or(Cow::Borrowed(value));
        price_of(&text)
            .map(Some)
            .ok_or_else(|| self.invalid(name, "an amount in USD that is not negative"))
    }

    pub(crate) fn object(
        &self,
        name: &'static str,
    ) -> Result<Option<Vec<Member<'a>>>, RequestError> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        json::members(value)
            .map(Some)
            .map_err(|_| self.invalid(name, "an object"))
    }
}

fn price_of(text: &str) -> Option<Decimal> {
    if text.len() > PRICE_LENGTH_MAX || !json::is_number(text) {
        return None;
    }
    let price = if text.contains(['e', 'E']) {
        Decimal::from_scientific(text)
    } else {
        Decimal::from_str(text)
    };
    price
        .ok()
        .filter(|price| price.is_zero() || price.is_sign_positive())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prices() {
        for (text, price) in [
            ("0", "0"),
            ("1.50", "1.50"),
            ("1e-6", "0.000001"),
            ("2.5E2", "250"),
        ] {
            assert_eq!(
                price_of(text),
                Some(Decimal::from_str(price).unwrap()),
                "{text}"
            );
        }
        for text in [
            "-1",
            "NaN",
            "",
            "1e999999999999",
            "1e99",
            "1,5",
            &"1".repeat(40),
        ] {
            assert_eq!(price_of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_price_text_is_read_without_panic(text in "[-+0-9.eE]{0,40}") {
            if let Some(price) = price_of(&text) {
                prop_assert!(price >= Decimal::ZERO);
            }
        }
    }
}
