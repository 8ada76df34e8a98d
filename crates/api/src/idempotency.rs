//! `Idempotency-Key`: what moves money is done once, however often it is asked for.

use airouter_auth::sha256;
use airouter_billing::UserId;
use airouter_store::client_admin::IdempotencyKey;
use http::{HeaderMap, HeaderName};

use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_KEY: usize = 255;

/// The caller's key, bound to what it asks for.
pub(crate) fn key(
    headers: &HeaderMap,
    user: UserId,
    request: &str,
) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY)
        .ok_or(Problem::Invalid {
            field: "Idempotency-Key",
            expected: "1 to 255 printable ASCII characters",
        })?;
    Ok(Some(IdempotencyKey {
        user,
        key: key.to_owned(),
        request: sha256(request.as_bytes()),
    }))
}
