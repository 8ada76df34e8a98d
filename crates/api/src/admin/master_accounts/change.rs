//! `PATCH /v1/admin/master-accounts/{id}`.

use std::sync::Arc;

use airouter_store::master_accounts::{MostShare, Weight};
use axum::extract::State;
use http::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::percent;
use super::{BasisName, MasterAccount, desk, one};
use crate::audited::Author;
use crate::body::{JsonBody, PathId};
use crate::inventory::master_accounts::{AccountChanges, DiscountWish};
use crate::names;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{self, Tagged};
use crate::values::{Time, named};

/// What is to be changed; what is not named stays. Null takes something away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MasterAccountChange {
    /// What to call it.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// The upstream's address.
    base_url: Option<String>,
    /// The discount in percent, for requests from now on.
    #[schema(example = "65")]
    discount_percent: Option<String>,
    /// Where the discount shows.
    discount_basis: Option<BasisName>,
    /// Its part of the load among accounts that cost the same.
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<i64>,
    /// No more than so much of the traffic while others serve.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 99)]
    most_share_percent: Option<Option<i64>>,
    /// What the operator may resell on.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, max_length = 500)]
    agreement: Option<Option<String>>,
    /// When that ends; from then on the account is not used.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<Time>)]
    agreement_ends_at: Option<Option<Time>>,
    /// The management key, with which its credit is followed.
    #[serde(default, deserialize_with = "named")]
    #[schema(value_type = Option<String>, max_length = 512)]
    management_key: Option<Option<Hidden>>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// A text that must not print.
pub(crate) struct Hidden(SecretString);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::body::secret(deserializer).map(Self)
    }
}

impl MasterAccountChange {
    fn wanted(self) -> Result<AccountChanges, Problem> {
        let weight = self.weight.map(|weight| {
            Weight::new(weight).ok_or(Problem::Invalid {
                field: "weight",
                expected: "a whole number from 1 to 1000",
            })
        });
        let most_share = self.most_share_percent.map(|percent| {
            let share = percent.map(|percent| {
                MostShare::percent(percent).ok_or(Problem::Invalid {
                    field: "most_share_percent",
                    expected: "a whole number from 1 to 99, or null",
                })
            });
            share.transpose()
        });
        let agreement = self.agreement.map(|agreement| {
            let text = agreement.map(|text| {
                names::agreement(&text).ok_or(Problem::Invalid {
                    field: "agreement",
                    expected: "one line of at most 500 bytes, or null",
                })
            });
            text.transpose()
        });
        Ok(AccountChanges {
            name: self.name,
            base_url: self.base_url,
            discount: DiscountWish {
                percent: percent(self.discount_percent.as_deref())?,
                basis: self.discount_basis.map(Into::into),
            },
            weight: weight.transpose()?,
            most_share: most_share.transpose()?,
            agreement: agreement.transpose()?,
            agreement_ends_at: self
                .agreement_ends_at
                .map(|ends| ends.map(|Time(ends)| ends)),
            management_key: self.management_key.map(|key| key.map(|Hidden(key)| key)),
        })
    }
}

/// Change a master account; servers follow within a second. `If-Match` is the `ETag` of what the caller has seen.
#[utoipa::path(
    patch,
    path = "/v1/admin/master-accounts/{id}",
    tag = "inventory",
    params(
        ("id" = crate::values::Id, Path, description = "The account's id"),
        ("If-Match" = String, Header, description = "The `ETag` of the account as the caller has seen it, or `*`")
    ),
    request_body = MasterAccountChange,
    responses((status = 200, description = "The account as it is now", body = MasterAccount))
)]
pub(crate) async fn change_master_account(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathId(id): PathId,
    headers: HeaderMap,
    JsonBody(change): JsonBody<MasterAccountChange>,
) -> Tagged<MasterAccount> {
    let account = one::find(&shared, id).await?;
    let seen = tags::seen(&headers, Some(account.described()))?;
    let (action, reason) = ("master_account.change", change.reason.as_deref());
    let entry = author.entry(&shared, action, id, reason)?;
    let wanted = change.wanted()?;
    desk(&shared)
        .change(&account, wanted, &seen, &entry)
        .await?;
    one::show(&shared, id).await
}
