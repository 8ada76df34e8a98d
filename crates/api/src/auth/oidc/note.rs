//! What a browser keeps of an attempt until it comes back from the provider: in a cookie that scripts can't read, and that
//! no other host can set.

use airouter_auth::{NOTE_SECONDS, TokenHash};
use airouter_oidc::Attempt;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::problem::Problem;
use crate::provider::LoginProvider;
use crate::shared::Shared;

const COOKIE_NAME: &str = "__Host-airouter-oidc";
const LONGEST_PATH: usize = 512;

/// What becomes of whoever comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// A session; if there is no such login yet, with this invitation.
    LogIn { invitation: Option<TokenHash> },
    /// An identity of this login, as long as the session goes on.
    Link { user: Uuid, session: Uuid },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    attempt: String,
    purpose: Purpose,
    return_to: Option<String>,
}

/// An attempt that a browser has brought back.
pub(super) struct Note {
    pub(super) attempt: Attempt,
    pub(super) purpose: Purpose,
    pub(super) return_to: Option<String>,
}

/// Where a browser goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Authorization {
    /// The provider's page, for this browser and this attempt.
    #[schema(example = "https://id.example.com/auth?client_id=airouter&response_type=code")]
    pub(crate) authorization_url: String,
}

/// Begins an attempt: where to go, and the cookie that ties its end to this browser.
pub(crate) async fn begun(
    shared: &Shared,
    provider: &LoginProvider,
    purpose: Purpose,
    return_to: Option<&str>,
) -> Result<(HeaderMap, Authorization), Problem> {
    let return_to = return_to.map(own_path).transpose()?;
    let attempt = Attempt::generate().map_err(|error| {
        tracing::error!(%error, "no attempt could be made");
        Problem::Internal
    })?;
    let authorization_url = provider.client.authorization_url(&attempt).await?;
    let kept = Kept {
        attempt: attempt.expose(),
        purpose,
        return_to,
    };
    let note = shared
        .tokens
        .sign_note(&kept, shared.now_seconds())
        .map_err(|error| {
            tracing::error!(%error, "no note could be made");
            Problem::Internal
        })?;
    let mut headers = HeaderMap::new();
    headers.append(SET_COOKIE, cookie(&note, NOTE_SECONDS)?);
    Ok((headers, Authorization { authorization_url }))
}

/// The attempt that this browser keeps, if it is the one of `state`.
pub(super) fn read(shared: &Shared, headers: &HeaderMap, state: &str) -> Option<Note> {
    let text = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))?;
    let kept: Kept = shared.tokens.read_note(text, shared.now_seconds())?;
    let attempt = Attempt::parse(&kept.attempt).ok()?;
    attempt.has_state(state).then_some(Note {
        attempt,
        purpose: kept.purpose,
        return_to: kept.return_to,
    })
}

/// Takes the cookie away.
pub(super) fn forget(headers: &mut HeaderMap) {
    if let Ok(cookie) = cookie("", 0) {
        headers.append(SET_COOKIE, cookie);
    }
}

/// `Lax`: it must come along when the provider sends the browser back.
fn cookie(note: &str, seconds: i64) -> Result<HeaderValue, Problem> {
    let cookie =
        format!("{COOKIE_NAME}={note}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    let mut value = HeaderValue::from_str(&cookie).map_err(|_| Problem::Internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A path of this origin: nothing that a browser could take for another one.
fn own_path(text: &str) -> Result<String, Problem> {
    let is_own = text.len() <= LONGEST_PATH
        && text.starts_with('/')
        && !text.starts_with("//")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_own.then(|| text.to_owned()).ok_or(Problem::Invalid {
        field: "return_to",
        expected: "a path of this origin, such as /account",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_returns_to_this_origin_only() {
        for path in ["/", "/account?tab=keys#new", "/a//b", "/@evil.example"] {
            assert_eq!(own_path(path).ok().as_deref(), Some(path));
        }
        let long = format!("/{}", "a".repeat(LONGEST_PATH));
        for other in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /a",
            "/a b",
            "/\u{e4}",
            &long,
        ] {
            assert!(own_path(other).is_err(), "{other:?}");
        }
    }
}
