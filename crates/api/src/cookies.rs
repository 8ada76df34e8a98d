//! The refresh token of a browser: in a cookie that scripts can't read and other sites can't send. A second cookie, which the
//! page's own scripts can read, holds what they must repeat in a header.

use http::HeaderMap;
use http::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};

use airouter_auth::{REFRESH_TOKEN_SECONDS, RefreshToken};

use crate::problem::Problem;

const REFRESH: &str = "__Secure-airouter-refresh";
const FORGERY: &str = "__Secure-airouter-csrf";
/// Where the proof is repeated.
pub(crate) const FORGERY_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// The refresh token that came as a cookie.
pub(crate) fn refresh_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(REFRESH)?.strip_prefix('='))
}

/// The headers that give a browser its cookies. The proof comes in a header of its own too, for pages of another origin,
/// which can't read this one's cookies.
pub(crate) fn set(token: &RefreshToken, proof: &str) -> Result<HeaderMap, Problem> {
    let mut headers = both(token.expose(), proof, REFRESH_TOKEN_SECONDS)?;
    let repeated = HeaderValue::from_str(proof).map_err(|_| Problem::Internal)?;
    headers.insert(FORGERY_HEADER, repeated);
    Ok(headers)
}

/// The headers that take them away.
pub(crate) fn clear() -> Result<HeaderMap, Problem> {
    both("", "", 0)
}

fn both(token: &str, proof: &str, seconds: i64) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    let cookies = [
        format!(
            "{REFRESH}={token}; Path=/v1/auth; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
        ),
        format!("{FORGERY}={proof}; Path=/; Max-Age={seconds}; Secure; SameSite=Strict"),
    ];
    for cookie in cookies {
        let mut value = HeaderValue::from_str(&cookie).map_err(|_| Problem::Internal)?;
        value.set_sensitive(true);
        headers.append(SET_COOKIE, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(refresh_token(&headers), None);
        headers.append(
            COOKIE,
            HeaderValue::from_static("a=b; c=__Secure-airouter-refresh=no"),
        );
        assert_eq!(refresh_token(&headers), None);
        let ours = "x=y; __Secure-airouter-refresh=air-rt-abc; z=1";
        headers.append(COOKIE, HeaderValue::from_static(ours));
        assert_eq!(refresh_token(&headers), Some("air-rt-abc"));
    }
}
