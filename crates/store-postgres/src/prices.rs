//! The price book's versions.

use std::collections::HashMap;

use airouter_billing::ids::ModelPricingId;
use airouter_billing::price_book::{OutputLimit, Pricing, RawPricing};
use airouter_billing::{MasterAccountId, ModelPrices, Timestamp};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::prices::{CatalogModel, ListedModel, PriceProvider, PriceVersion, Prices};
use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use crate::audit;
use crate::connection::failed;
use crate::convert::{Column, count, counted, timestamptz};
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

struct PricingRow {
    id: i64,
    provider: String,
    model: String,
    pricing: String,
    context_length: Option<i64>,
    max_completion_tokens: Option<i64>,
    output_limit: String,
    listing: String,
    served_as: Option<String>,
}

impl PricingRow {
    fn into_model(self) -> Result<CatalogModel, StoreError> {
        let corrupt = |column| Column::new("model_pricing", column).corrupt(self.id);
        let raw: RawPricing =
            serde_json::from_str(&self.pricing).map_err(|_| corrupt("pricing"))?;
        let served_as = self.served_as.as_deref().map(serde_json::from_str);
        Ok(CatalogModel {
            provider: PriceProvider::from_name(&self.provider)
                .ok_or_else(|| corrupt("provider"))?,
            served_as: served_as.transpose().map_err(|_| corrupt("served_as"))?,
            prices: ModelPrices {
                version: ModelPricingId::new(self.id),
                pricing: Pricing::from_raw(&raw).map_err(|_| corrupt("pricing"))?,
                context_length: self.context_length.map(counted),
                max_completion_tokens: self.max_completion_tokens.map(counted),
                output_limit: match self.output_limit.as_str() {
                    "supported" => OutputLimit::Supported,
                    "unsupported" => OutputLimit::Unsupported,
                    _ => return Err(corrupt("output_limit")),
                },
                id: self.model,
            },
            listing: self.listing,
        })
    }

    /// Whether it says the same as the upstream's list.
    fn says(&self, listed: &ListedColumns<'_>) -> bool {
        self.pricing == listed.pricing
            && self.context_length == listed.context_length
            && self.max_completion_tokens == listed.max_completion_tokens
            && self.output_limit == listed.output_limit
            && self.listing == listed.model.listing
            && self.served_as == listed.served_as
    }
}

/// A listed model as columns.
struct ListedColumns<'a> {
    model: &'a ListedModel,
    pricing: String,
    context_length: Option<i64>,
    max_completion_tokens: Option<i64>,
    output_limit: &'static str,
    served_as: Option<String>,
}

impl<'a> ListedColumns<'a> {
    fn new(model: &'a ListedModel) -> Result<Self, StoreError> {
        Pricing::from_raw(&model.pricing).map_err(|error| StoreError::Refused(Box::new(error)))?;
        let refused = |error: serde_json::Error| StoreError::Refused(Box::new(error));
        let served_as = model.served_as.as_ref().map(serde_json::to_string);
        Ok(Self {
            model,
            pricing: serde_json::to_string(&model.pricing).map_err(refused)?,
            served_as: served_as.transpose().map_err(refused)?,
            context_length: model.context_length.map(count),
            max_completion_tokens: model.max_completion_tokens.map(count),
            output_limit: match model.output_limit {
                OutputLimit::Supported => "supported",
                OutputLimit::Unsupported => "unsupported",
            },
        })
    }
}

#[async_trait]
impl Prices for PostgresStore {
    async fn record_models(
        &self,
        provider: PriceProvider,
        models: &[ListedModel],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut listed = HashMap::with_capacity(models.len());
        for model in models {
            listed.insert(model.id.as_str(), ListedColumns::new(model)?);
        }
        let provider = provider.to_string();
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let recorded = record(&mut transaction, &provider, listed, now).await;
            finish(transaction, recorded).await
        })
        .await
    }

    async fn set_price_table(
        &self,
        account: MasterAccountId,
        models: &[ListedModel],
        audit: &AuditEntry,
    ) -> Result<usize, StoreError> {
        let mut listed = HashMap::with_capacity(models.len());
        for model in models {
            listed.insert(model.id.as_str(), ListedColumns::new(model)?);
        }
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let set = set_table(&mut transaction, account, listed, audit).await;
            finish(transaction, set).await
        })
        .await
    }

    async fn price_history(
        &self,
        model: &str,
        before: Option<ModelPricingId>,
        limit: u16,
    ) -> Result<Vec<PriceVersion>, StoreError> {
        self.on_pool(async |connection| history(connection, model, before, limit).await)
            .await
    }

    async fn catalog(&self) -> Result<Vec<CatalogModel>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query_as!(
                    PricingRow,
                    r#"SELECT id, provider, model, pricing::text AS "pricing!", context_length, max_completion_tokens,
                        output_limit, listing::text AS "listing!", served_as::text AS served_as
                    FROM model_pricing WHERE is_active ORDER BY model, provider"#
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        rows.into_iter().map(PricingRow::into_model).collect()
    }

    async fn model_prices(
        &self,
        version: ModelPricingId,
    ) -> Result<Option<ModelPrices>, StoreError> {
        let row = self
            .on_pool(async |connection| {
                sqlx::query_as!(
                    PricingRow,
                    r#"SELECT id, provider, model, pricing::text AS "pricing!", context_length, max_completion_tokens,
                        output_limit, listing::text AS "listing!", served_as::text AS served_as
                    FROM model_pricing WHERE id = $1"#,
                    version.get()
                )
                .fetch_optional(connection)
                .await
                .map_err(failed)
            })
            .await?;
        row.map(|row| row.into_model().map(|model| model.prices))
            .transpose()
    }

    async fn model_prices_at(
        &self,
        model: &str,
        at: Timestamp,
    ) -> Result<Option<ModelPrices>, StoreError> {
        let row = self
            .on_pool(async |connection| {
                sqlx::query_as!(
                    PricingRow,
                    r#"SELECT id, provider, model, pricing::text AS "pricing!", context_length, max_completion_tokens,
                        output_limit, listing::text AS "listing!", served_as::text AS served_as
                    FROM model_pricing WHERE provider = 'openrouter' AND model = $1 AND in_force_from <= $2
                    ORDER BY in_force_from DESC, id DESC LIMIT 1"#,
                    model,
                    timestamptz(at)
                )
                .fetch_optional(connection)
                .await
                .map_err(failed)
            })
            .await?;
        row.map(|row| row.into_model().map(|model| model.prices))
            .transpose()
    }
}

/// Replicas that record the same list at the same time do so one after the other; the second finds nothing new.
async fn record(
    connection: &mut PgConnection,
    provider: &str,
    mut listed: HashMap<&str, ListedColumns<'_>>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    sqlx::query!("LOCK TABLE model_pricing IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let in_force = sqlx::query_as!(
        PricingRow,
        r#"SELECT id, provider, model, pricing::text AS "pricing!", context_length, max_completion_tokens,
            output_limit, listing::text AS "listing!", served_as::text AS served_as
        FROM model_pricing WHERE provider = $1 AND is_active"#,
        provider
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut retired = Vec::new();
    for row in in_force {
        match listed.get(row.model.as_str()) {
            Some(columns) if row.says(columns) => {
                listed.remove(row.model.as_str());
            }
            Some(_) | None => retired.push(row.id),
        }
    }
    let mut new: Vec<ListedColumns<'_>> = listed.into_values().collect();
    new.sort_by(|left, right| left.model.id.cmp(&right.model.id));
    retire(connection, &retired).await?;
    insert(connection, provider, &new, now).await?;
    Ok(new.len())
}

async fn set_table(
    connection: &mut PgConnection,
    account: MasterAccountId,
    listed: HashMap<&str, ListedColumns<'_>>,
    audit: &AuditEntry,
) -> Result<usize, StoreError> {
    let models = listed.len();
    let provider = PriceProvider::Compatible(account).to_string();
    let new = record(connection, &provider, listed, audit.at).await?;
    let told = AuditEntry {
        after: Some(json!({ "models": models, "new_prices": new }).to_string()),
        ..audit.clone()
    };
    audit::append(connection, &told).await?;
    Ok(new)
}

async fn history(
    connection: &mut PgConnection,
    model: &str,
    before: Option<ModelPricingId>,
    limit: u16,
) -> Result<Vec<PriceVersion>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, provider, model, pricing::text AS "pricing!", context_length, max_completion_tokens, output_limit,
            listing::text AS "listing!", served_as::text AS served_as, in_force_from, is_active
        FROM model_pricing WHERE model = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"#,
        model,
        before.map(ModelPricingId::get),
        i64::from(limit)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let pricing = PricingRow {
                id: row.id,
                provider: row.provider,
                model: row.model,
                pricing: row.pricing,
                context_length: row.context_length,
                max_completion_tokens: row.max_completion_tokens,
                output_limit: row.output_limit,
                listing: row.listing,
                served_as: row.served_as,
            };
            Ok(PriceVersion {
                model: pricing.into_model()?,
                in_force_from: Timestamp::from(row.in_force_from),
                is_active: row.is_active,
            })
        })
        .collect()
}

async fn retire(connection: &mut PgConnection, ids: &[i64]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE model_pricing SET is_active = false WHERE id = ANY($1)",
        ids
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn insert(
    connection: &mut PgConnection,
    provider: &str,
    new: &[ListedColumns<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let texts = |text: for<'a> fn(&'a ListedColumns<'_>) -> &'a str| -> Vec<&str> {
        new.iter().map(text).collect()
    };
    let context_lengths: Vec<Option<i64>> =
        new.iter().map(|columns| columns.context_length).collect();
    let most_tokens: Vec<Option<i64>> = new
        .iter()
        .map(|columns| columns.max_completion_tokens)
        .collect();
    let served_as: Vec<Option<&str>> = new
        .iter()
        .map(|columns| columns.served_as.as_deref())
        .collect();
    sqlx::query!(
        "INSERT INTO model_pricing (provider, model, in_force_from, pricing, context_length, max_completion_tokens,
            output_limit, listing, served_as)
        SELECT $1, model, $2, pricing::json, context_length, max_completion_tokens, output_limit, listing::json,
            served_as::json
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[])
            AS listed (model, pricing, context_length, max_completion_tokens, output_limit, listing, served_as)
        ORDER BY model",
        provider,
        timestamptz(now),
        &texts(|columns| &columns.model.id) as &[&str],
        &texts(|columns| &columns.pricing) as &[&str],
        &context_lengths as &[Option<i64>],
        &most_tokens as &[Option<i64>],
        &texts(|columns| columns.output_limit) as &[&str],
        &texts(|columns| &columns.model.listing) as &[&str],
        &served_as as &[Option<&str>]
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
