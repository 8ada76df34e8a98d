//! `POST /v1/admin/master-accounts`.

use std::sync::Arc;

use airouter_billing::MasterAccountId;
use airouter_billing::decimal::parse_decimal;
use axum::extract::State;
use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::one::find;
use super::{BasisName, KindName, MasterAccount, desk, shown};
use crate::answer::{Created, created};
use crate::audited::Author;
use crate::body::{JsonBody, optional_secret};
use crate::inventory::InventoryError;
use crate::inventory::master_accounts::{AccountToAdd, DiscountWish};
use crate::problem::Problem;
use crate::shared::Shared;

/// A master account to be added, with its first key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMasterAccount {
    /// What to call it; without it a name is found.
    #[schema(example = "second", min_length = 1, max_length = 200)]
    name: Option<String>,
    /// What its upstream speaks.
    #[serde(default)]
    kind: KindName,
    /// The upstream's address: OpenRouter's up to `/api/v1` (the server's own upstream unless it is said), a compatible
    /// server's up to `/v1`.
    #[schema(example = "https://openrouter.ai/api/v1")]
    base_url: Option<String>,
    /// The first inference key. A compatible server may want none.
    #[serde(default, deserialize_with = "optional_secret")]
    #[schema(value_type = Option<String>, max_length = 512)]
    key: Option<SecretString>,
    /// The discount in percent; at OpenRouter the server's own unless it is said, at a compatible server 0.
    #[schema(example = "65")]
    discount_percent: Option<String>,
    /// Where the discount shows.
    discount_basis: Option<BasisName>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Add a master account; it serves within a second. The key is sealed and never shown.
#[utoipa::path(
    post,
    path = "/v1/admin/master-accounts",
    tag = "inventory",
    request_body = NewMasterAccount,
    responses((status = 201, description = "The account", body = MasterAccount))
)]
pub(crate) async fn create_master_account(
    State(shared): State<Arc<Shared>>,
    author: Author,
    JsonBody(request): JsonBody<NewMasterAccount>,
) -> Created<MasterAccount> {
    let id = MasterAccountId::new(Uuid::now_v7());
    let (action, reason) = ("master_account.add", request.reason.as_deref());
    let entry = author.entry(&shared, action, id.get(), reason)?;
    let wanted = AccountToAdd {
        id,
        name: request.name,
        kind: request.kind.into(),
        base_url: request.base_url,
        discount: DiscountWish {
            percent: percent(request.discount_percent.as_deref())?,
            basis: request.discount_basis.map(Into::into),
        },
        key: request.key,
    };
    desk(&shared).add(wanted, &entry).await?;
    let account = find(&shared, id.get()).await?;
    created(shown(&shared, account, shared.now()))
}

/// A decimal number.
pub(super) fn percent(text: Option<&str>) -> Result<Option<Decimal>, Problem> {
    let percent = text.map(parse_decimal).transpose();
    percent.map_err(|_| InventoryError::Discount.into())
}
