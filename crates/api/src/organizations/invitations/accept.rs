//! `POST /v1/organizations/invitations/accept`.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken};
use airouter_store::organizations::{Acceptance, OrganizationChanged};
use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::answer::Answer;
use crate::audited::Actor;
use crate::body::{JsonBody, secret};
use crate::caller::{Caller, ClientAddress};
use crate::organizations::{Organization, of_member};
use crate::problem::Problem;
use crate::shared::Shared;

/// An invitation to be accepted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptedInvitation {
    /// Its code.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, example = "air-org-…")]
    code: SecretString,
}

/// Become a member of an organization. The invitation must be for the caller's e-mail address.
#[utoipa::path(
    post,
    path = "/v1/organizations/invitations/accept",
    tag = "organizations",
    request_body = AcceptedInvitation,
    responses((status = 200, description = "The organization", body = Organization))
)]
pub(crate) async fn accept_invitation(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<AcceptedInvitation>,
) -> Answer<Organization> {
    let code = OpaqueToken::parse(OpaqueKind::Membership, request.code.expose_secret())
        .map_err(|_| Problem::NoSuchInvitation)?;
    let actor = Actor::of_login(&login, address);
    let mut audit = actor.entry("organization.join", Uuid::nil(), shared.now());
    audit.after = Some(serde_json::json!({ "account_id": login.account }).to_string());
    let acceptance = Acceptance {
        code: code.hash(),
        person: login.account,
        email: login.email.clone(),
        audit,
    };
    let accepted = shared.store.accept_invitation(&acceptance).await;
    let (changed, organization) = accepted.map_err(|error| match error {
        airouter_store::StoreError::NotFound { .. } => Problem::NoSuchInvitation,
        error => error.into(),
    })?;
    match changed {
        OrganizationChanged::Yes => {}
        OrganizationChanged::Member => return Err(Problem::Exists("such a membership")),
        OrganizationChanged::TooMany
        | OrganizationChanged::Conflict
        | OrganizationChanged::LastOwner => return Err(Problem::TooMany("members")),
    }
    let found = of_member(&shared, &login, organization.get()).await?;
    Ok(Json(found.into()))
}
