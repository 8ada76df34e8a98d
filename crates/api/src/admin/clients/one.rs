//! `GET /v1/admin/clients/{id}`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::client_admin::ClientRecord;
use axum::Json;
use axum::extract::State;
use http::header::{ETAG, HeaderName, HeaderValue};

use super::{Client, settings};
use crate::body::PathId;
use crate::problem::Problem;
use crate::shared::Shared;

/// One account with the tag of its settings.
pub(super) type TaggedClient = Result<([(HeaderName, HeaderValue); 1], Json<Client>), Problem>;

/// One account. Its `ETag` is what `If-Match` of a change must be.
#[utoipa::path(
    get,
    path = "/v1/admin/clients/{id}",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    responses((status = 200, description = "The account", body = Client))
)]
pub(crate) async fn client(State(shared): State<Arc<Shared>>, PathId(id): PathId) -> TaggedClient {
    tagged(find(&shared, AccountId::new(id)).await?)
}

pub(super) async fn find(shared: &Shared, account: AccountId) -> Result<ClientRecord, Problem> {
    let found = shared.store.client(account).await?;
    found.ok_or(Problem::NotFound("client"))
}

pub(super) fn tagged(client: ClientRecord) -> TaggedClient {
    let tag = settings::tag(&client.settings)?;
    Ok(([(ETAG, tag)], Json(client.into())))
}
