//! `PUT /v1/admin/aliases/{name}`.

use std::sync::Arc;

use airouter_billing::sale::{self, AliasError};
use airouter_store::audit::named;
use airouter_store::sale::described_alias;
use axum::extract::State;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Alias, one};
use crate::audited::Author;
use crate::body::{JsonBody, PathName};
use crate::inventory::sale::check_alias;
use crate::problem::Problem;
use crate::shared::Shared;
use crate::tags::{self, Tagged};

/// More than any operator has.
const MOST_ALIASES: usize = 10_000;

/// What an alias is to stand for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasChange {
    /// The model that it stands for, then what to fall back on, in order. Each must be in the price book.
    #[schema(min_items = 1, max_items = 8, example = json!(["openai/gpt-4o-mini"]))]
    models: Vec<String>,
    /// Why; kept in the audit log.
    reason: Option<String>,
}

/// Add an alias, or give one other models; servers follow within a second. `If-Match` is the `ETag` of what the caller has
/// seen; for a new one there is none.
#[utoipa::path(
    put,
    path = "/v1/admin/aliases/{name}",
    tag = "inventory",
    params(
        ("name" = String, Path, description = "The alias, its slashes as %2F"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the alias as the caller has seen it, or `*`")
    ),
    request_body = AliasChange,
    responses((status = 200, description = "The alias as it is now", body = Alias))
)]
pub(crate) async fn set_alias(
    State(shared): State<Arc<Shared>>,
    author: Author,
    PathName(name): PathName,
    headers: HeaderMap,
    JsonBody(change): JsonBody<AliasChange>,
) -> Tagged<Alias> {
    let alias = sale::Alias::new(name, change.models).map_err(|error| Problem::Unacceptable {
        field: match error {
            AliasError::Name(_) => "name",
            AliasError::Model(_) | AliasError::Count => "models",
        },
        reason: error.to_string(),
    })?;
    let known = shared.store.sale_rules().await?.aliases;
    let before = known.get(alias.name());
    let seen = tags::seen(&headers, before.map(described_alias))?;
    if before.is_none() && known.len() >= MOST_ALIASES {
        return Err(Problem::TooMany("aliases"));
    }
    check_alias(&*shared.store, &alias).await?;
    let subject = named("alias", alias.name());
    let entry = author.entry(&shared, "alias.set", subject, change.reason.as_deref())?;
    shared.store.set_alias(&alias, &seen, &entry).await?;
    one::show(&shared, alias.name()).await
}
