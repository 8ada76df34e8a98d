//! `POST /v1/admin/clients/{id}/erase`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_store::erasure::{ERASE, Erased};
use axum::extract::State;
use http::StatusCode;

use super::status::Reason;
use crate::audited;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;
use crate::shared::Shared;

/// Erase a person: name, e-mail address, login, sessions and whatever else is personal go for good, keys and memberships
/// end. Ids, money and usage stay. The balance must be 0, and no organization may be left without an owner (409).
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/erase",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    request_body = Reason,
    responses((status = 204, description = "The person is erased"))
)]
pub(crate) async fn erase_client(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    JsonBody(Reason { reason }): JsonBody<Reason>,
) -> Result<StatusCode, Problem> {
    let account = AccountId::new(id);
    if account == operator.account {
        return Err(Problem::Oneself);
    }
    let mut entry = audited::entry(&operator, address, ERASE, id, shared.now());
    entry.reason = Some(audited::reason(&reason)?);
    match shared.store.erase_client(account, &entry).await? {
        Erased::Yes => Ok(StatusCode::NO_CONTENT),
        Erased::NoPerson => Err(Problem::OfAnotherKind("There is no person to erase.")),
        Erased::Administrator => Err(Problem::OfAnotherKind(
            "It is an administrator: nobody can erase one.",
        )),
        Erased::BalanceLeft(balance) => Err(Problem::BalanceLeft(balance)),
        Erased::LastOwner => Err(Problem::LastOwner),
    }
}
