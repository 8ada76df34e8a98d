//! `GET /v1/organizations`.

use std::sync::Arc;

use airouter_billing::AccountId;
use axum::Json;
use axum::extract::State;

use super::Organization;
use crate::answer::Answer;
use crate::body::Params;
use crate::caller::Caller;
use crate::page::{Page, PageQuery};
use crate::shared::Shared;

/// The organizations of which the caller is a member, the oldest first.
#[utoipa::path(
    get,
    path = "/v1/organizations",
    tag = "organizations",
    params(PageQuery),
    responses((status = 200, description = "A page of organizations", body = Page<Organization>))
)]
pub(crate) async fn list_organizations(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    Params(query): Params<PageQuery>,
) -> Answer<Page<Organization>> {
    let limit = query.limit()?;
    let after = query.after()?.map(AccountId::new);
    let found = shared
        .store
        .organizations_of(login.account, after, limit + 1)
        .await?;
    Ok(Json(Page::of(
        found,
        limit,
        |organization| organization.account.get(),
        Organization::from,
    )))
}
