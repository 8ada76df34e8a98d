//! `GET /v1/auth/second-factor`.

use std::sync::Arc;

use airouter_store::second_factors::FactorState;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::shared::Shared;
use crate::values::Time;

/// Whether a login needs a code.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Protection {
    /// The password alone.
    Off,
    /// The password alone, until a first code was shown.
    Pending,
    /// The password and a code.
    On,
}

/// A login's second factor.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecondFactorStatus {
    /// Whether a login needs a code: `off`, `pending` (until a first code was shown), `on`.
    #[schema(value_type = String, example = "on")]
    state: Protection,
    /// Since when it does.
    since: Option<Time>,
    /// Recovery codes that are left.
    #[schema(example = 10)]
    recovery_codes_left: i64,
}

/// Whether the caller's login needs a code beside the password.
#[utoipa::path(
    get,
    path = "/v1/auth/second-factor",
    tag = "auth",
    responses((status = 200, description = "The second factor", body = SecondFactorStatus))
)]
pub(crate) async fn second_factor(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Answer<SecondFactorStatus> {
    let factor = shared.store.second_factor(login.user).await?;
    let (state, since, recovery_codes_left) = match factor.map(|factor| factor.state) {
        None => (Protection::Off, None, 0),
        Some(FactorState::Pending) => (Protection::Pending, None, 0),
        Some(FactorState::On {
            since,
            recovery_codes,
        }) => (Protection::On, Some(Time(since)), recovery_codes),
    };
    Ok(Json(SecondFactorStatus {
        state,
        since,
        recovery_codes_left,
    }))
}
