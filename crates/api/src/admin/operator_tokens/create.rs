//! `POST /v1/admin/operator-tokens`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_store::operator_tokens::{NewOperatorToken, OperatorTokenRecord, Scope, Scopes};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OperatorToken, ScopeName};
use crate::answer::{Created, created};
use crate::audited;
use crate::body::JsonBody;
use crate::caller::{ClientAddress, Operator};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::days_from;

const DEFAULT_DAYS: u16 = 90;
const MOST_DAYS: u16 = 366;

/// An operator token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "nightly report", "scopes": ["stats:read"], "expires_in_days": 90}))]
pub(crate) struct OperatorTokenRequest {
    /// What to call it; it stands in the audit log beside what the token did.
    #[schema(example = "nightly report", min_length = 1, max_length = 200)]
    name: String,
    /// What it may do; one at least.
    #[schema(min_items = 1)]
    scopes: Vec<ScopeName>,
    /// For how many days it holds.
    #[schema(minimum = 1, maximum = 366, default = 90)]
    expires_in_days: Option<u16>,
}

/// An operator token that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedOperatorToken {
    /// The token itself. It is shown this once.
    #[schema(example = "sk-air-op-…")]
    token: String,
    #[serde(flatten)]
    shown: OperatorToken,
}

/// Make a token for a script. It is sent as `Authorization: Bearer`, and holds as long as its maker is an administrator.
#[utoipa::path(
    post,
    path = "/v1/admin/operator-tokens",
    tag = "admin",
    request_body = OperatorTokenRequest,
    responses((status = 201, description = "The token, shown this once", body = CreatedOperatorToken))
)]
pub(crate) async fn create_operator_token(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    JsonBody(request): JsonBody<OperatorTokenRequest>,
) -> Created<CreatedOperatorToken> {
    let name = names::name(&request.name).ok_or(Problem::Invalid {
        field: "name",
        expected: "one line of at most 200 bytes",
    })?;
    let scopes: Scopes = request.scopes.into_iter().map(Scope::from).collect();
    if scopes.is_empty() {
        return Err(Problem::Invalid {
            field: "scopes",
            expected: "one scope at least",
        });
    }
    let now = shared.now();
    let days = request.expires_in_days.unwrap_or(DEFAULT_DAYS);
    let expires_at = days_from(now, days, MOST_DAYS).ok_or(Problem::Invalid {
        field: "expires_in_days",
        expected: "a number from 1 to 366",
    })?;
    let token = OpaqueToken::generate(OpaqueKind::Operator).map_err(|error| {
        tracing::error!(%error, "no operator token could be made");
        Problem::Internal
    })?;
    let new = NewOperatorToken {
        id: Uuid::now_v7(),
        name,
        preview: token.preview(),
        hash: token.hash(),
        scopes,
        maker: operator.user,
        expires_at,
        at: now,
    };
    let mut entry = audited::entry(&operator, address, "operator_token.create", new.id, now);
    let after = serde_json::json!({ "name": new.name, "scopes": new.scopes.names(), "expires_in_days": days });
    entry.after = Some(after.to_string());
    shared.store.create_operator_token(&new, &entry).await?;
    created(CreatedOperatorToken {
        token: token.expose().to_owned(),
        shown: OperatorToken::from(OperatorTokenRecord {
            id: new.id,
            name: new.name,
            preview: new.preview,
            scopes: new.scopes,
            maker: operator.email,
            created_at: now,
            expires_at,
            revoked_at: None,
            last_used_at: None,
        }),
    })
}
