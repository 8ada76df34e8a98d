//! `POST /v1/admin/master-accounts/{id}/keys`.

use std::sync::Arc;

use axum::extract::State;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Key, desk, one};
use crate::answer::{Created, created};
use crate::audited::Author;
use crate::body::{JsonBody, PathId, secret};
use crate::shared::Shared;
use crate::values::Id;

/// Another key of a master account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// The key.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, min_length = 1, max_length = 512, example = "sk-or-v1-0123456789abcdef")]
    key: SecretString,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Add an inference key to a master account. It is sealed and never shown.
#[utoipa::path(
    post,
    path = "/v1/admin/master-accounts/{id}/keys",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = NewKey,
    responses((status = 201, description = "The key, as far as it is shown", body = Key))
)]
pub(crate) async fn add_master_account_key(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathId(id): PathId,
    JsonBody(request): JsonBody<NewKey>,
) -> Created<Key> {
    let account = one::find(&shared, id).await?;
    let (action, reason) = ("master_account.add_key", request.reason.as_deref());
    let entry = author.entry(&shared, action, id, reason)?;
    let key = desk(&shared)
        .add_key(&account, &request.key, &entry)
        .await?;
    created(Key {
        id: Id(key.id),
        fingerprint: key.key.short_fingerprint().to_owned(),
        preview: shared.upstreams.preview(&account, &key),
    })
}
