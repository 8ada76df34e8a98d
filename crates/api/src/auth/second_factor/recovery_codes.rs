//! `POST /v1/auth/second-factor/recovery-codes`.

use std::sync::Arc;

use airouter_auth::RecoveryCode;
use axum::Json;
use axum::extract::State;

use super::{PasswordAndCode, RecoveryCodes, new_recovery_codes, prove};
use crate::answer::Answer;
use crate::audited::Actor;
use crate::auth::confirmed;
use crate::body::JsonBody;
use crate::caller::{Caller, ClientAddress};
use crate::shared::Shared;

/// Make new recovery codes in place of those that are left.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor/recovery-codes",
    tag = "auth",
    request_body = PasswordAndCode,
    responses((status = 200, description = "The recovery codes, shown this once", body = RecoveryCodes))
)]
pub(crate) async fn new_codes(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<PasswordAndCode>,
) -> Answer<RecoveryCodes> {
    confirmed::password(&shared, &login, address, request.password).await?;
    prove(&shared, &login, &request.code, address.0).await?;
    let codes = new_recovery_codes()?;
    let hashes: Vec<_> = codes.iter().map(RecoveryCode::hash).collect();
    let actor = Actor::of_login(&login, address);
    let subject = login.account.get();
    let entry = actor.entry("login.new_recovery_codes", subject, shared.now());
    shared
        .store
        .replace_recovery_codes(login.user, &hashes, &entry)
        .await?;
    Ok(Json(RecoveryCodes::of(&codes)))
}
