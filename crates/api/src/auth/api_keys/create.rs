//! `POST /v1/auth/api-keys`.

use std::sync::Arc;

use axum::extract::State;

use crate::answer::Created;
use crate::audited::Actor;
use crate::body::JsonBody;
use crate::caller::{Caller, ClientAddress};
use crate::keys::issue::{self, CreatedApiKey, NewApiKey};
use crate::shared::Shared;

/// Create a key that spends from the caller's account, or from an organization of which the caller is a member.
#[utoipa::path(
    post,
    path = "/v1/auth/api-keys",
    tag = "auth",
    request_body = NewApiKey,
    responses((status = 201, description = "The key, shown this once", body = CreatedApiKey))
)]
pub(crate) async fn create_api_key(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<NewApiKey>,
) -> Created<CreatedApiKey> {
    let actor = Actor::of_login(&login, address);
    issue::issue(&shared, &actor, login.account, request).await
}
