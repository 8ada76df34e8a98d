//! `POST /v1/admin/clients/{id}/remove-second-factor`.

use std::sync::Arc;

use airouter_billing::AccountId;
use axum::extract::State;
use http::StatusCode;

use super::status::Reason;
use crate::answer::Done;
use crate::audited;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;
use crate::shared::Shared;

/// Take away the second factor of an account's login, for somebody who has lost it: the password alone is needed then.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/remove-second-factor",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Reason,
    responses((status = 204, description = "There is none any more"))
)]
pub(crate) async fn remove_client_second_factor(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(Reason { reason }): JsonBody<Reason>,
) -> Done {
    let account = AccountId::new(id);
    if account == operator.account {
        return Err(Problem::Oneself);
    }
    let client = shared.store.client(account).await?;
    let client = client.ok_or(Problem::NotFound("account"))?;
    let (user, _) = client.login.ok_or(Problem::NoSecondFactor)?;
    let action = "client.remove_second_factor";
    let mut entry = audited::entry(&operator, address, action, id, shared.now());
    entry.reason = Some(audited::reason(&reason)?);
    shared.store.remove_second_factor(user, &entry).await?;
    Ok(StatusCode::NO_CONTENT)
}
