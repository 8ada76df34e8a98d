//! Pages of other origins: which ones a browser lets use this server, and what it is told (CORS, the Fetch standard §3.2).
//! Without a policy answers say nothing of it, and browsers refuse.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

use crate::body::AnswerBody;

/// Most origins of a policy.
const MOST_ORIGINS: usize = 64;
/// Most bytes of the names of headers that a page asks for.
const LONGEST_NAMES: usize = 2_048;
/// Every method that a route has.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// A browser need not ask again for so many seconds: a change of the setting acts within an hour.
const MAX_AGE: &str = "3600";
/// What scripts may read of an answer, beside what they always may.
const EXPOSED: &str = "etag, idempotent-replayed, retry-after, www-authenticate, x-airouter-balance, x-airouter-hold, \
     x-airouter-limit-remaining, x-airouter-price, x-airouter-request-id, x-airouter-requests-remaining, x-csrf-token, \
     x-generation-id, x-next-cursor, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, \
     x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
     x-ratelimit-reset-tokens, x-request-id, x-should-retry";

/// Whose pages may use this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Anybody's, without cookies: each must have a key or a token of its own.
    Any,
    /// Those of these origins, with cookies.
    These(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// Reads origins, separated by commas, as browsers write them; or `*` alone. `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let origins = text
            .split(',')
            .map(|part| origin(part.trim()))
            .collect::<Option<Vec<_>>>()?;
        (origins.len() <= MOST_ORIGINS).then_some(Self::These(origins))
    }

    /// The origins as one text.
    pub fn as_text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::These(origins) => {
                let texts = origins.iter().filter_map(|origin| origin.to_str().ok());
                texts.collect::<Vec<_>>().join(",")
            }
        }
    }

    /// Whose page sends a request with these headers.
    pub(crate) fn page(&self, headers: &HeaderMap) -> Page {
        match (self, headers.get(ORIGIN)) {
            (Self::Any, _) => Page::Anybodys,
            (Self::These(origins), Some(origin)) if origins.contains(origin) => {
                Page::Of(origin.clone())
            }
            (Self::These(_), _) => Page::NoneOfThese,
        }
    }
}

/// Whose page a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// It doesn't matter.
    Anybodys,
    /// That of an allowed origin.
    Of(HeaderValue),
    /// Another origin's, or no page at all.
    NoneOfThese,
}

impl Page {
    /// The answer to a browser that asks whether its page may send a request. It is no request yet, so it needs no key.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Response<AnswerBody>> {
        let asks = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || *self == Self::NoneOfThese {
            return None;
        }
        let mut response = Response::new(AnswerBody::whole(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let told = response.headers_mut();
        told.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        if let Some(names) = requested_names(headers) {
            told.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        told.append(
            VARY,
            HeaderValue::from_static("access-control-request-headers"),
        );
        self.mark(told);
        Some(response)
    }

    /// Says in an answer who may read it, and what of its headers.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Anybodys => HeaderValue::from_static("*"),
            Self::Of(origin) => {
                let yes = HeaderValue::from_static("true");
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                headers.append(VARY, HeaderValue::from_static("origin"));
                origin.clone()
            }
            Self::NoneOfThese => {
                headers.append(VARY, HeaderValue::from_static("origin"));
                return;
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}

/// The headers that a page wants to send. All of them may come: whoever has no page sends what he likes, a header that
/// means nothing is not passed on, and a list would break with the next version of an SDK. The wildcard does not name
/// `Authorization`, and means nothing with cookies.
fn requested_names(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .filter(|names| names.len() <= LONGEST_NAMES && names.as_bytes().iter().all(is_of_a_list))
}

/// Whether a byte may be in a list of names.
fn is_of_a_list(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_, ".contains(byte)
}

/// An origin as browsers write it: without a path, and without a port that goes without saying.
fn origin(text: &str) -> Option<HeaderValue> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let implied = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(implied).unwrap_or(authority);
    let origin = format!("{scheme}://{authority}");
    let uri: Uri = origin.parse().ok()?;
    let is_plain = uri.authority()?.as_str() == authority
        && !uri.host()?.is_empty()
        && !authority.contains(['@', '*'])
        && !authority.ends_with(':');
    is_plain.then(|| HeaderValue::from_str(&origin).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "https://app.example.com";

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    fn told(page: &Page) -> HeaderMap {
        let mut headers = HeaderMap::new();
        page.mark(&mut headers);
        headers
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let read = |text: &str| AllowedOrigins::parse(text).map(|origins| origins.as_text());
        for (text, expected) in [
            ("*", "*"),
            (APP, APP),
            ("HTTPS://App.example.com:443", APP),
            (
                "http://localhost:5173 , http://[::1]:80",
                "http://localhost:5173,http://[::1]",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://*.example.com",
            "https://user@app.example.com",
            "https://app.example.com:",
            "https://app.example.com?x",
            "ftp://app.example.com",
            "*,https://app.example.com",
            "https://app.example.com,",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let many = vec![APP; MOST_ORIGINS + 1].join(",");
        assert_eq!(read(&many), None);
    }

    #[test]
    fn only_pages_of_these_origins_may_read() {
        let policy = AllowedOrigins::parse(APP).unwrap();
        let allowed = told(&policy.page(&headers(&[(ORIGIN, APP)])));
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_ORIGIN], APP);
        assert_eq!(allowed[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(allowed[VARY], "origin");
        for other in [
            "https://app.example.com.evil.example",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://evil.example",
            "null",
        ] {
            let told = told(&policy.page(&headers(&[(ORIGIN, other)])));
            assert_eq!(told.len(), 1, "{other}");
            assert_eq!(told[VARY], "origin", "{other}");
        }
        assert_eq!(policy.page(&HeaderMap::new()), Page::NoneOfThese);
    }

    #[test]
    fn anybody_comes_without_cookies() {
        let policy = AllowedOrigins::parse("*").unwrap();
        let told = told(&policy.page(&headers(&[(ORIGIN, "https://evil.example")])));
        assert_eq!(told[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!told.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn a_preflight_is_told_what_it_asked_for() {
        let policy = AllowedOrigins::parse(APP).unwrap();
        let asked = headers(&[
            (ORIGIN, APP),
            (ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (
                ACCESS_CONTROL_REQUEST_HEADERS,
                "authorization,x-stainless-lang",
            ),
        ]);
        let page = policy.page(&asked);
        let answer = page.preflight(&Method::OPTIONS, &asked).unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
            "authorization,x-stainless-lang"
        );
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], APP);
        assert!(page.preflight(&Method::POST, &asked).is_none());
        let not_asked = headers(&[(ORIGIN, APP)]);
        assert!(page.preflight(&Method::OPTIONS, &not_asked).is_none());
        let other = Page::NoneOfThese;
        assert!(other.preflight(&Method::OPTIONS, &asked).is_none());
    }

    #[test]
    fn names_that_are_too_many_or_none_are_not_repeated() {
        let long = "a".repeat(LONGEST_NAMES + 1);
        for names in [long.as_str(), "a;b", "a:b"] {
            let mut asked = HeaderMap::new();
            let value = HeaderValue::from_str(names).unwrap();
            asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, value);
            assert_eq!(requested_names(&asked), None, "{names}");
        }
    }
}
