//! `POST /v1/admin/logs/{id}/refund`.

use std::sync::Arc;

use airouter_billing::{Nanos, RequestId};
use airouter_store::client_admin::Booked;
use airouter_store::refunds::{RefundOrder, Refunding};
use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::Answer;
use crate::audited;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::idempotency;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Id, Usd};

const ACTION: &str = "request.refund";

/// What is to be given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refund {
    /// How much; more than 0. Without it, all that is left of the charge.
    amount: Option<Usd>,
    /// Why; kept in the ledger and in the audit log.
    #[schema(
        example = "the answer was broken off",
        min_length = 1,
        max_length = 500
    )]
    reason: String,
}

/// What was given back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refunded {
    /// The transaction of the ledger; it names the one of the charge.
    transaction_id: i64,
    /// The request.
    request_id: Id,
    /// How much.
    amount: Usd,
    /// What was given back of the request now in all.
    refunded: Usd,
}

/// Give back what a request was charged, or a part of it: never more in all than was charged.
///
/// A prepaid account gets it into its balance, of which debts are paid first; a metered one owes less. What a limit of a
/// day, a week or a month has counted stays counted. With an `Idempotency-Key` it is done once, however often the request
/// comes within a day.
#[utoipa::path(
    post,
    path = "/v1/admin/logs/{id}/refund",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The request's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "A key of the caller's choice")
    ),
    request_body = Refund,
    responses((status = 200, description = "What was given back", body = Refunded))
)]
pub(crate) async fn refund_request(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(refund): JsonBody<Refund>,
) -> Answer<Refunded> {
    let amount = refund.amount.map(|Usd(amount)| amount);
    if amount.is_some_and(|amount| amount <= Nanos::ZERO) {
        return Err(Problem::Invalid {
            field: "amount",
            expected: "more than 0",
        });
    }
    let reason = audited::reason(&refund.reason)?;
    let asked = asked(id, amount, &reason);
    let now = shared.now();
    let mut audit = audited::entry(&operator, address, ACTION, id, now);
    audit.reason = Some(reason.clone());
    let order = RefundOrder {
        request: RequestId::new(id),
        amount,
        reason,
        at: now,
        audit,
        idempotency: idempotency::key(&headers, operator.user, &asked)?,
        actor: operator.actor,
    };
    match shared.store.refund(&order).await? {
        Refunding::Booked(Booked::Yes(booked)) => Ok(Json(Refunded {
            transaction_id: booked.transaction,
            request_id: Id(id),
            amount: Usd(booked.amount),
            refunded: Usd(booked.refunded),
        })),
        Refunding::Booked(Booked::OtherRequest) => Err(Problem::KeyOfAnotherRequest),
        Refunding::Booked(Booked::Running) => Err(Problem::KeyRuns),
        Refunding::TooLarge(too_large) => Err(Problem::RefundTooLarge(too_large.left)),
    }
}

fn asked(id: Uuid, amount: Option<Nanos>, reason: &str) -> String {
    match amount {
        Some(amount) => format!("{ACTION} {id} {amount} {reason}"),
        None => format!("{ACTION} {id} all {reason}"),
    }
}
