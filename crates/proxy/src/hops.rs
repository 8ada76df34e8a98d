//! How many AI Routers a request has passed: one whose upstream is, in a circle, itself must not ask itself for ever.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

const HOPS: HeaderName = HeaderName::from_static("x-airouter-hops");
/// The longest chain.
const MOST: u8 = 8;

/// How many AI Routers a request came through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hops(u8);

impl Hops {
    /// Those that the headers tell of. What can't be read is no router's.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let told = headers.get(HOPS).and_then(|hops| hops.to_str().ok());
        Self(told.and_then(|hops| hops.parse().ok()).unwrap_or(0))
    }

    /// Whether it may go on to another one.
    pub(crate) fn check(self) -> Result<(), Problem> {
        if self.0 < MOST {
            Ok(())
        } else {
            Err(Problem::TooManyHops)
        }
    }

    /// Tells the next one.
    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        headers.insert(HOPS, HeaderValue::from(u16::from(self.0) + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_ends() {
        let mut headers = HeaderMap::new();
        let mut passed = 0;
        while Hops::of(&headers).check().is_ok() {
            Hops::of(&headers).add_to(&mut headers);
            passed += 1;
        }
        assert_eq!(passed, MOST);
    }

    #[test]
    fn what_is_no_number_counts_as_none() {
        for text in ["", "x", "-1", "999"] {
            let mut headers = HeaderMap::new();
            headers.insert(HOPS, HeaderValue::from_static(text));
            assert_eq!(Hops::of(&headers), Hops(0), "{text}");
        }
    }
}
