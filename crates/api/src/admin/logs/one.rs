//! `GET /v1/admin/logs/{id}`.

use std::sync::Arc;

use airouter_billing::RequestId;
use airouter_store::refunds::RefundRecord;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::LoggedRequest;
use crate::answer::Answer;
use crate::body::PathId;
use crate::problem::Problem;
use crate::requests::worked_out::{Audience, WorkedOutPrice, work_out};
use crate::shared::Shared;
use crate::values::{Exact, Time, Usd};

/// Something that was given back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedRefund {
    /// The transaction of the ledger.
    transaction_id: i64,
    /// How much.
    amount: Usd,
    /// Why.
    reason: String,
    /// Who.
    actor: String,
    /// When.
    at: Time,
}

impl From<RefundRecord> for LoggedRefund {
    fn from(refund: RefundRecord) -> Self {
        Self {
            transaction_id: refund.transaction,
            amount: Usd(refund.amount),
            reason: refund.reason,
            actor: refund.actor,
            at: Time(refund.at),
        }
    }
}

/// A request with its price worked out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedRequestDetail {
    /// The request.
    request: LoggedRequest,
    /// How its price came about.
    worked_out: WorkedOutPrice,
    /// The version of the price plan.
    plan_version: i64,
    /// The discount of the master account at that time: cost = reported cost × (1 − discount), where credits were bought
    /// below par.
    discount: Exact,
    /// `credits_bought_below_par` or `in_reported_cost`.
    #[schema(example = "credits_bought_below_par")]
    discount_basis: &'static str,
    /// What was given back, in its order.
    refunds: Vec<LoggedRefund>,
}

/// One request with its price worked out line by line, and what was given back of it.
#[utoipa::path(
    get,
    path = "/v1/admin/logs/{id}",
    tag = "admin",
    params(("id" = crate::values::Id, Path, description = "The request's id")),
    responses((status = 200, description = "The request", body = LoggedRequestDetail))
)]
pub(crate) async fn log(
    State(shared): State<Arc<Shared>>,
    PathId(id): PathId,
) -> Answer<LoggedRequestDetail> {
    let id = RequestId::new(id);
    let request = shared
        .store
        .request(id)
        .await?
        .ok_or(Problem::NotFound("request"))?;
    let refunds = shared.store.refunds(id).await?;
    let discount = request.terms.discount;
    Ok(Json(LoggedRequestDetail {
        worked_out: work_out(&shared, &request, Audience::Operator).await?,
        plan_version: request.terms.plan_version.get(),
        discount: Exact(discount.fraction()),
        discount_basis: discount.basis().name(),
        refunds: refunds.into_iter().map(LoggedRefund::from).collect(),
        request: request.into(),
    }))
}
