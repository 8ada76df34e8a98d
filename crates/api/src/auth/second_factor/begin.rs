//! `POST /v1/auth/second-factor`.

use std::sync::Arc;

use airouter_auth::TotpSecret;
use airouter_store::StoreError;
use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret;
use crate::answer::{Created, created};
use crate::auth::confirmed;
use crate::body::{JsonBody, secret as secret_text};
use crate::caller::{Caller, ClientAddress};
use crate::problem::Problem;
use crate::shared::Shared;

/// The password once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordAgain {
    /// The password.
    #[serde(deserialize_with = "secret_text")]
    #[schema(value_type = String, format = Password, max_length = 1024, example = "correct horse battery")]
    password: SecretString,
}

/// What an authenticator makes codes of.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewSecondFactor {
    /// To be typed into the app, in base 32. It is shown this once.
    #[schema(example = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
    secret: String,
    /// The same as a URI, to be shown as a QR code.
    #[schema(
        example = "otpauth://totp/ai%2Eexample%2Ecom:ann%40example%2Ecom?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=ai%2Eexample%2Ecom&algorithm=SHA1&digits=6&period=30"
    )]
    uri: String,
}

/// Begin to set up a second factor: codes of an authenticator app (RFC 6238).
///
/// Nothing is asked for until a first code was shown to `POST /v1/auth/second-factor/confirm`.
#[utoipa::path(
    post,
    path = "/v1/auth/second-factor",
    tag = "auth",
    request_body = PasswordAgain,
    responses((status = 201, description = "What codes are made of, shown this once", body = NewSecondFactor))
)]
pub(crate) async fn begin_second_factor(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<PasswordAgain>,
) -> Created<NewSecondFactor> {
    confirmed::password(&shared, &login, address, request.password).await?;
    let new = TotpSecret::generate().map_err(|error| {
        tracing::error!(%error, "no second factor could be made");
        Problem::Internal
    })?;
    let sealed = secret::seal(&shared, login.user, &new)?;
    shared
        .store
        .begin_second_factor(login.user, &sealed, shared.now())
        .await
        .map_err(|error| match error {
            StoreError::Exists { .. } => Problem::SecondFactorOn,
            error => error.into(),
        })?;
    let (_, issuer) = shared
        .public_url
        .split_once("://")
        .unwrap_or(("", &shared.public_url));
    created(NewSecondFactor {
        secret: new.text().expose_secret().to_owned(),
        uri: new.uri(issuer, &login.email).expose_secret().to_owned(),
    })
}
