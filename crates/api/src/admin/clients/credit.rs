//! `POST /v1/admin/clients/{id}/credit`.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;

use super::booking::{self, Amount, BookedAmount, Direction, Teller};
use crate::answer::Answer;
use crate::body::{JsonBody, PathId};
use crate::caller::{ClientAddress, Operator};
use crate::shared::Shared;

/// Credit a prepaid account. What it owes is paid first.
///
/// With an `Idempotency-Key` it is booked once, however often the request comes within a day.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/credit",
    tag = "admin",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "A key of the caller's choice")
    ),
    request_body = Amount,
    responses((status = 200, description = "What was booked", body = BookedAmount))
)]
pub(crate) async fn credit_client(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(request): JsonBody<Amount>,
) -> Answer<BookedAmount> {
    let teller = Teller {
        operator: &operator,
        address,
        headers: &headers,
    };
    booking::book(&shared, teller, id, Direction::Credit, request).await
}
