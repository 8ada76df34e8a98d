//! `GET /v1/client/balance`.

use std::sync::Arc;

use airouter_store::clients;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::shared::Shared;
use crate::values::Usd;

/// What an account has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    /// What is left of what was paid in.
    pub(crate) balance: Usd,
    /// How far below zero it may go.
    pub(crate) credit_line: Usd,
    /// All that was ever charged.
    pub(crate) lifetime_spent: Usd,
    /// All that was ever paid in, granted or given back.
    pub(crate) lifetime_earned: Usd,
    /// In which currency.
    #[schema(example = "USD")]
    pub(crate) currency: &'static str,
}

impl From<clients::Balance> for Balance {
    fn from(balance: clients::Balance) -> Self {
        Self {
            balance: Usd(balance.balance),
            credit_line: Usd(balance.credit_line),
            lifetime_spent: Usd(balance.lifetime_spent),
            lifetime_earned: Usd(balance.lifetime_earned),
            currency: "USD",
        }
    }
}

/// What the caller's account has.
#[utoipa::path(
    get,
    path = "/v1/client/balance",
    tag = "client",
    responses((status = 200, description = "The balance", body = Balance))
)]
pub(crate) async fn balance(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Answer<Balance> {
    let balance = shared.store.balance(login.account).await?;
    Ok(Json(balance.into()))
}
