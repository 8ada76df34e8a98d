//! `POST /v1/admin/invitations`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_store::invitations::{InvitationRecord, NewInvitation};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Invitation;
use crate::answer::{Created, created};
use crate::audited;
use crate::body::JsonBody;
use crate::caller::{ClientAddress, Operator};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::days_from;

const DEFAULT_DAYS: u16 = 7;
const MOST_DAYS: u16 = 90;

/// An invitation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvitationRequest {
    /// The only e-mail address that may register with it; without one any may.
    #[schema(example = "ann@example.com", max_length = 254)]
    email: Option<String>,
    /// For how many days it holds.
    #[schema(minimum = 1, maximum = 90, default = 7)]
    expires_in_days: Option<u16>,
}

/// An invitation that was just made.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedInvitation {
    /// What the invited one sends as `invitation` to `POST /v1/auth/register`. It is shown this once.
    #[schema(example = "air-inv-…")]
    code: String,
    #[serde(flatten)]
    shown: Invitation,
}

/// Invite somebody to register. An invitation is good for one login.
#[utoipa::path(
    post,
    path = "/v1/admin/invitations",
    tag = "admin",
    request_body = InvitationRequest,
    responses((status = 201, description = "The invitation, its code shown this once", body = CreatedInvitation))
)]
pub(crate) async fn create_invitation(
    State(shared): State<Arc<Shared>>,
    operator: Operator,
    address: ClientAddress,
    JsonBody(request): JsonBody<InvitationRequest>,
) -> Created<CreatedInvitation> {
    let email = match &request.email {
        None => None,
        Some(text) => Some(names::email(text).ok_or(Problem::Invalid {
            field: "email",
            expected: "an e-mail address",
        })?),
    };
    let now = shared.now();
    let days = request.expires_in_days.unwrap_or(DEFAULT_DAYS);
    let expires_at = days_from(now, days, MOST_DAYS).ok_or(Problem::Invalid {
        field: "expires_in_days",
        expected: "a number from 1 to 90",
    })?;
    let code = OpaqueToken::generate(OpaqueKind::Invitation).map_err(|error| {
        tracing::error!(%error, "no invitation could be made");
        Problem::Internal
    })?;
    let new = NewInvitation {
        id: Uuid::now_v7(),
        code: code.hash(),
        email,
        expires_at,
        at: now,
    };
    let mut entry = audited::entry(&operator, address, "invitation.create", new.id, now);
    let after = serde_json::json!({ "email": new.email, "expires_in_days": days });
    entry.after = Some(after.to_string());
    shared.store.invite(&new, &entry).await?;
    created(CreatedInvitation {
        code: code.expose().to_owned(),
        shown: Invitation::from(InvitationRecord {
            id: new.id,
            email: new.email,
            created_at: now,
            expires_at,
            used: None,
            revoked_at: None,
        }),
    })
}
