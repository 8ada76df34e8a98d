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
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::{begin, failed};
use crate::convert::{Column, count, counted};
use crate::open::SqliteStore;

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
impl Prices for SqliteStore {
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
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let new = record(&mut transaction, &provider, listed, now).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(new)
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
        let provider = PriceProvider::Compatible(account).to_string();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let models = listed.len();
        let new = record(&mut transaction, &provider, listed, audit.at).await?;
        let told = AuditEntry {
            after: Some(json!({ "models": models, "new_prices": new }).to_string()),
            ..audit.clone()
        };
        audit::append(&mut transaction, &told).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(new)
    }

    async fn price_history(
        &self,
        model: &str,
        before: Option<ModelPricingId>,
        limit: u16,
    ) -> Result<Vec<PriceVersion>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        history(&mut reader, model, before, limit).await
    }

    async fn catalog(&self) -> Result<Vec<CatalogModel>, StoreError> {
        sqlx::query_as!(
            PricingRow,
            "SELECT id, provider, model, pricing, context_length, max_completion_tokens, output_limit, listing,
                served_as
            FROM model_pricing WHERE is_active = 1 ORDER BY model, provider"
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?
        .into_iter()
        .map(PricingRow::into_model)
        .collect()
    }

    async fn model_prices(
        &self,
        version: ModelPricingId,
    ) -> Result<Option<ModelPrices>, StoreError> {
        let id = version.get();
        sqlx::query_as!(
            PricingRow,
            "SELECT id, provider, model, pricing, context_length, max_completion_tokens, output_limit, listing,
                served_as
            FROM model_pricing WHERE id = $1",
            id
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?
        .map(|row| row.into_model().map(|model| model.prices))
        .transpose()
    }

    async fn model_prices_at(
        &self,
        model: &str,
        at: Timestamp,
    ) -> Result<Option<ModelPrices>, StoreError> {
        let at = at.as_micros();
        sqlx::query_as!(
            PricingRow,
            "SELECT id, provider, model, pricing, context_length, max_completion_tokens, output_limit, listing,
                served_as
            FROM model_pricing WHERE provider = 'openrouter' AND model = $1 AND in_force_from <= $2
            ORDER BY in_force_from DESC, id DESC LIMIT 1",
            model,
            at
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?
        .map(|row| row.into_model().map(|model| model.prices))
        .transpose()
    }
}

async fn record(
    connection: &mut SqliteConnection,
    provider: &str,
    mut listed: HashMap<&str, ListedColumns<'_>>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let in_force = sqlx::query_as!(
        PricingRow,
        "SELECT id, provider, model, pricing, context_length, max_completion_tokens, output_limit, listing,
            served_as
        FROM model_pricing WHERE provider = $1 AND is_active = 1",
        provider
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    for row in in_force {
        match listed.get(row.model.as_str()) {
            Some(columns) if row.says(columns) => {
                listed.remove(row.model.as_str());
            }
            Some(_) | None => retire(connection, row.id).await?,
        }
    }
    let mut new: Vec<&ListedColumns<'_>> = listed.values().collect();
    new.sort_by(|left, right| left.model.id.cmp(&right.model.id));
    for columns in &new {
        insert(connection, provider, columns, now).await?;
    }
    Ok(new.len())
}

async fn history(
    connection: &mut SqliteConnection,
    model: &str,
    before: Option<ModelPricingId>,
    limit: u16,
) -> Result<Vec<PriceVersion>, StoreError> {
    let before = before.map(ModelPricingId::get);
    let limit = i64::from(limit);
    let rows = sqlx::query!(
        r#"SELECT id AS "id!: i64", provider, model, pricing AS "pricing!", context_length, max_completion_tokens, output_limit,
            listing AS "listing!", served_as AS served_as, in_force_from,
            is_active AS "is_active!: bool"
        FROM model_pricing WHERE model = $1 AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"#,
        model,
        before,
        limit
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
                in_force_from: Timestamp::from_micros(row.in_force_from),
                is_active: row.is_active,
            })
        })
        .collect()
}

async fn retire(connection: &mut SqliteConnection, id: i64) -> Result<(), StoreError> {
    sqlx::query!("UPDATE model_pricing SET is_active = 0 WHERE id = $1", id)
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

async fn insert(
    connection: &mut SqliteConnection,
    provider: &str,
    columns: &ListedColumns<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let in_force_from = now.as_micros();
    sqlx::query!(
        "INSERT INTO model_pricing (provider, model, in_force_from, pricing, context_length, max_completion_tokens,
            output_limit, listing, served_as)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        provider,
        columns.model.id,
        in_force_from,
        columns.pricing,
        columns.context_length,
        columns.max_completion_tokens,
        columns.output_limit,
        columns.model.listing,
        columns.served_as
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
