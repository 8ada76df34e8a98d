//! `POST /v1/admin/clients/{id}/api-keys`.

use std::sync::Arc;

use airouter_billing::AccountId;
use axum::extract::State;

use crate::admin::clients::one;
use crate::answer::Created;
use crate::audited::Actor;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::keys::issue::{self, CreatedApiKey, NewApiKey};
use crate::shared::Shared;

/// Create a key that belongs to an account and spends from it. An organization may have such a key without a member.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/api-keys",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = NewApiKey,
    responses((status = 201, description = "The key, shown this once", body = CreatedApiKey))
)]
pub(crate) async fn create_client_api_key(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(request): JsonBody<NewApiKey>,
) -> Created<CreatedApiKey> {
    let account = one::find(&shared, AccountId::new(id)).await?.account;
    let actor = Actor::of_operator(&operator, address);
    issue::issue(&shared, &actor, account, request).await
}
