//! `POST /v1/auth/second-factor/confirm`.

use std::sync::Arc;

use airouter_auth::RecoveryCode;
use airouter_store::StoreError;
use airouter_store::second_factors::{ConfirmedFactor, FactorState};
use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{RecoveryCodes, new_recovery_codes, secret};
use crate::answer::Answer;
use crate::attempts::Attempt;
use crate::audited::Actor;
use crate::body::{JsonBody, secret as secret_text};
use crate::caller::{Caller, ClientAddress};
use crate::problem::Problem;
use crate::shared::Shared;

/// A first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FirstCode {
    /// What the authenticator shows.
    #[serde(deserialize_with = "secret_text")]
    #[schema(value_type = String, max_length = 40, example = "123456")]
    code: SecretString,
}

/// Turn the second factor on with a first code. From now on every login needs one; sessions go on.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/confirm",
    tag = "auth",
    request_body = FirstCode,
    responses((status = 200, description = "The recovery codes, shown this once", body = RecoveryCodes))
)]
pub(crate) async fn confirm_second_factor(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<FirstCode>,
) -> Answer<RecoveryCodes> {
    let attempt = Attempt::Code {
        of: login.user,
        from: address.0,
    };
    shared.count(&attempt).await?;
    let factor = shared.store.second_factor(login.user).await?;
    let factor = factor.ok_or(Problem::NoSecondFactor)?;
    if factor.state != FactorState::Pending {
        return Err(Problem::SecondFactorOn);
    }
    let code = request.code.expose_secret().trim();
    let step = secret::open(&shared, login.user, &factor.secret)
        .and_then(|secret| secret.step_of(code, shared.now_seconds()))
        .ok_or(Problem::WrongCode)?;
    let codes = new_recovery_codes()?;
    let confirmed = ConfirmedFactor {
        user: login.user,
        secret: factor.secret,
        step,
        recovery_codes: codes.iter().map(RecoveryCode::hash).collect(),
    };
    let actor = Actor::of_login(&login, address);
    let subject = login.account.get();
    let entry = actor.entry("login.second_factor_on", subject, shared.now());
    shared
        .store
        .confirm_second_factor(&confirmed, &entry)
        .await
        .map_err(|error| match error {
            // Another one was begun, or this one confirmed, in this very moment.
            StoreError::NotFound { .. } => Problem::ChangedMeanwhile,
            error => error.into(),
        })?;
    shared.succeeded(&attempt).await;
    Ok(Json(RecoveryCodes::of(&codes)))
}
