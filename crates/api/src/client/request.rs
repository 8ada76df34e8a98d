//! `GET /v1/client/requests/{id}`.

use std::sync::Arc;

use airouter_billing::RequestId;
use airouter_billing::event::LossReason;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::recent_requests::ClientRequest;
use crate::answer::Answer;
use crate::body::PathId;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::requests::worked_out::{Audience, WorkedOutPrice, work_out};
use crate::shared::Shared;

/// A request with its price worked out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientRequestDetail {
    /// The request.
    request: ClientRequest,
    /// How its price came about.
    worked_out: WorkedOutPrice,
}

/// One request that the caller's account paid for, with its price worked out line by line.
#[utoipa::path(
    get,
    path = "/v1/client/requests/{id}",
    tag = "client",
    params(("id" = crate::values::Id, Path, description = "The request's id")),
    responses((status = 200, description = "The request", body = ClientRequestDetail))
)]
pub(crate) async fn client_request(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    PathId(id): PathId,
) -> Answer<ClientRequestDetail> {
    let found = shared.store.request(RequestId::new(id)).await?;
    let request = found
        .filter(|request| {
            request.sender.payer == login.account && request.loss != Some(LossReason::FailedAttempt)
        })
        .ok_or(Problem::NotFound("request"))?;
    let worked_out = work_out(&shared, &request, Audience::Client).await?;
    Ok(Json(ClientRequestDetail {
        request: request.into(),
        worked_out,
    }))
}
