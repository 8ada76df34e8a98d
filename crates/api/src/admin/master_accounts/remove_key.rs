//! `DELETE /v1/admin/master-accounts/{id}/keys/{key_id}`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use uuid::Uuid;

use super::{desk, one};
use crate::answer::Done;
use crate::audited::Author;
use crate::body::PathPair;
use crate::shared::Shared;

/// Remove an inference key of a master account; the last one only of an account that is paused.
#[utoipa::path(
    delete,
    path = "/v1/admin/master-accounts/{id}/keys/{key_id}",
    tag = "inventory",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("key_id" = crate::values::Id, Path, description = "The key's id")
    ),
    responses((status = 204, description = "The key is removed"))
)]
pub(crate) async fn remove_master_account_key(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathPair(id, key): PathPair<Uuid>,
) -> Done {
    let account = one::find(&shared, id).await?;
    let entry = author.entry(&shared, "master_account.remove_key", id, None)?;
    desk(&shared).remove_key(&account, key, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
