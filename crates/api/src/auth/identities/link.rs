//! `POST /v1/auth/identities`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::oidc::{Authorization, Purpose, begun};
use crate::body::JsonBody;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// How an identity is linked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkStart {
    /// The path of this origin to which the browser returns.
    #[schema(example = "/account", max_length = 512)]
    return_to: Option<String>,
}

/// Link the caller's identity at the provider: from then on it logs in there too.
#[utoipa::path(
    post,
    path = "/v1/auth/identities",
    tag = "auth",
    request_body = LinkStart,
    responses((status = 200, description = "Where to send the browser", body = Authorization))
)]
pub(crate) async fn link_identity(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    JsonBody(start): JsonBody<LinkStart>,
) -> Result<(HeaderMap, Json<Authorization>), Problem> {
    let provider = shared.login_provider()?;
    let purpose = Purpose::Link {
        user: login.user.get(),
        session: login.session.get(),
    };
    let (headers, authorization) =
        begun(&shared, provider, purpose, start.return_to.as_deref()).await?;
    Ok((headers, Json(authorization)))
}
