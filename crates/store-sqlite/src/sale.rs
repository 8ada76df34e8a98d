//! What is on sale.

use airouter_billing::sale::{Alias, SaleRules, SaleState};
use airouter_store::audit::AuditEntry;
use airouter_store::sale::{Sale, described_alias, described_default, described_state};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;

#[async_trait]
impl Sale for SqliteStore {
    async fn sale_rules(&self) -> Result<SaleRules, StoreError> {
        // One transaction, so that all is of one moment.
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let mut rules = SaleRules::default();
        let states = sqlx::query!(r#"SELECT model AS "model!", state FROM models_on_sale"#)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        for row in states {
            let state = SaleState::from_name(&row.state)
                .ok_or_else(|| Column::new("models_on_sale", "state").corrupt(&row.model))?;
            rules.states.insert(row.model, state);
        }
        let aliases = sqlx::query!(r#"SELECT alias AS "alias!", models FROM model_aliases"#)
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        for row in aliases {
            let corrupt = || Column::new("model_aliases", "models").corrupt(&row.alias);
            let models = serde_json::from_str(&row.models).map_err(|_| corrupt())?;
            let alias = Alias::new(row.alias.clone(), models).map_err(|_| corrupt())?;
            rules.aliases.insert(row.alias, alias);
        }
        rules.default_model =
            sqlx::query_scalar!("SELECT value FROM sale_settings WHERE name = 'default_model'")
                .fetch_optional(&mut *snapshot)
                .await
                .map_err(failed)?;
        Ok(rules)
    }

    async fn set_sale_state(
        &self,
        model: &str,
        state: SaleState,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        write_state(&mut transaction, model, state, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn set_alias(
        &self,
        alias: &Alias,
        seen: &Seen,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        write_alias(&mut transaction, alias, seen, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn remove_alias(&self, name: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        delete_alias(&mut transaction, name, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn set_default_model(
        &self,
        model: Option<&str>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        write_default(&mut transaction, model, audit).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn write_state(
    connection: &mut SqliteConnection,
    model: &str,
    state: SaleState,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = sqlx::query_scalar!("SELECT state FROM models_on_sale WHERE model = $1", model)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let before = before.as_deref().and_then(SaleState::from_name);
    let name = state.name();
    sqlx::query!(
        "INSERT INTO models_on_sale (model, state) VALUES ($1, $2)
        ON CONFLICT (model) DO UPDATE SET state = excluded.state",
        model,
        name
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let (was, is) = (before.map(described_state), described_state(state));
    let told = audit.telling("model", model, was.as_ref(), Some(&is));
    audit::append(connection, &told).await
}

/// What an alias stands for now.
async fn alias_now(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Value>, StoreError> {
    let models = sqlx::query_scalar!("SELECT models FROM model_aliases WHERE alias = $1", name)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let Some(models) = models else {
        return Ok(None);
    };
    let corrupt = || Column::new("model_aliases", "models").corrupt(name);
    let models = serde_json::from_str(&models).map_err(|_| corrupt())?;
    Alias::new(name.to_owned(), models)
        .map(|alias| Some(described_alias(&alias)))
        .map_err(|_| corrupt())
}

async fn write_alias(
    connection: &mut SqliteConnection,
    alias: &Alias,
    seen: &Seen,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = alias_now(connection, alias.name()).await?;
    seen.check(before.as_ref())?;
    let (name, models) = (alias.name(), json!(alias.models()).to_string());
    sqlx::query!(
        "INSERT INTO model_aliases (alias, models) VALUES ($1, $2)
        ON CONFLICT (alias) DO UPDATE SET models = excluded.models",
        name,
        models
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let is = described_alias(alias);
    let told = audit.telling("alias", alias.name(), before.as_ref(), Some(&is));
    audit::append(connection, &told).await
}

async fn delete_alias(
    connection: &mut SqliteConnection,
    name: &str,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = alias_now(connection, name).await?;
    let before = before.ok_or(StoreError::NotFound { what: "the alias" })?;
    sqlx::query!("DELETE FROM model_aliases WHERE alias = $1", name)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let told = audit.telling("alias", name, Some(&before), None);
    audit::append(connection, &told).await
}

async fn write_default(
    connection: &mut SqliteConnection,
    model: Option<&str>,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = sqlx::query_scalar!(
        "DELETE FROM sale_settings WHERE name = 'default_model' RETURNING value"
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    if let Some(model) = model {
        sqlx::query!(
            "INSERT INTO sale_settings (name, value) VALUES ('default_model', $1)",
            model
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    let (was, is) = (
        described_default(before.as_deref()),
        described_default(model),
    );
    let told = audit.telling("setting", "default_model", Some(&was), Some(&is));
    audit::append(connection, &told).await
}
