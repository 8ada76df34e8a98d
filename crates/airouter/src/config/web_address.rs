//! URLs in settings.

use http::Uri;

/// A plain http or https URL, without a slash at its end; `None` for any other text, and for one with a user name, a
/// query or a fragment.
pub(super) fn plain_http_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let is_plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| {
            !authority.host().is_empty() && !authority.as_str().contains('@')
        })
        && uri.query().is_none()
        && !text.contains('#');
    is_plain.then(|| text.trim_end_matches('/').to_owned())
}
