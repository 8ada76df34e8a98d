//! `POST /v1/organizations`.

use std::sync::Arc;

use airouter_billing::AccountId;
use airouter_billing::event::Payment;
use airouter_store::clients::{MemberRole, NewOrganization, RequestLimits};
use airouter_store::organizations::{OrganizationChanged, OrganizationRecord};
use axum::extract::State;
use uuid::Uuid;

use super::{Organization, OrganizationName};
use crate::answer::{Created, created};
use crate::audited::Actor;
use crate::body::JsonBody;
use crate::caller::{Caller, ClientAddress};
use crate::problem::Problem;
use crate::shared::Shared;

/// Create an organization, prepaid at 0, whose owner is the caller.
#[utoipa::path(
    post,
    path = "/v1/organizations",
    tag = "organizations",
    request_body = OrganizationName,
    responses((status = 201, description = "The organization", body = Organization))
)]
pub(crate) async fn create_organization(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
    address: ClientAddress,
    JsonBody(request): JsonBody<OrganizationName>,
) -> Created<Organization> {
    let now = shared.now();
    let new = NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: request.checked()?,
        parent: None,
        payment: Payment::Prepaid,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: now,
    };
    let actor = Actor::of_login(&login, address);
    let mut entry = actor.entry("organization.create", new.account.get(), now);
    entry.after = Some(serde_json::json!({ "name": new.name }).to_string());
    match shared.store.found(&new, login.account, &entry).await? {
        OrganizationChanged::TooMany => return Err(Problem::TooMany("organizations")),
        OrganizationChanged::Yes
        | OrganizationChanged::Conflict
        | OrganizationChanged::LastOwner
        | OrganizationChanged::Member => {}
    }
    created(Organization::from(OrganizationRecord {
        account: new.account,
        name: new.name,
        role: MemberRole::Owner,
        created_at: now,
    }))
}
