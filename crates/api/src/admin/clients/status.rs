//! What disabling and enabling have in common.

use airouter_billing::AccountId;
use airouter_store::client_admin::AccountStatus;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::one::{self, TaggedClient};
use crate::audited;
use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;
use crate::shared::Shared;

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// Kept in the audit log.
    #[schema(example = "chargeback", min_length = 1, max_length = 500)]
    pub(super) reason: String,
}

pub(super) async fn set(
    shared: &Shared,
    operator: &Operator,
    address: ClientAddress,
    account: Uuid,
    status: AccountStatus,
    Reason { reason }: &Reason,
) -> TaggedClient {
    let account = AccountId::new(account);
    let action = match status {
        AccountStatus::Disabled if account == operator.account => return Err(Problem::Oneself),
        AccountStatus::Disabled => "client.disable",
        AccountStatus::Active => "client.enable",
    };
    let mut entry = audited::entry(operator, address, action, account.get(), shared.now());
    entry.reason = Some(audited::reason(reason)?);
    shared
        .store
        .set_client_status(account, status, &entry)
        .await?;
    one::tagged(one::find(shared, account).await?)
}
