//! What is on sale.

use airouter_billing::sale::{Alias, SaleRules, SaleState};
use airouter_store::StoreError;
use airouter_store::sale::Sale;
use async_trait::async_trait;

use crate::connection::failed;
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

    async fn set_sale_state(&self, model: &str, state: SaleState) -> Result<(), StoreError> {
        let state = state.name();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO models_on_sale (model, state) VALUES ($1, $2)
            ON CONFLICT (model) DO UPDATE SET state = excluded.state",
            model,
            state
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    async fn set_alias(&self, alias: &Alias) -> Result<(), StoreError> {
        let name = alias.name();
        let models = serde_json::json!(alias.models()).to_string();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO model_aliases (alias, models) VALUES ($1, $2)
            ON CONFLICT (alias) DO UPDATE SET models = excluded.models",
            name,
            models
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    async fn remove_alias(&self, name: &str) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let removed = sqlx::query!("DELETE FROM model_aliases WHERE alias = $1", name)
            .execute(&mut *writer)
            .await
            .map_err(failed)?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NotFound { what: "the alias" });
        }
        Ok(())
    }

    async fn set_default_model(&self, model: Option<&str>) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let done = match model {
            Some(model) => {
                sqlx::query!(
                    "INSERT INTO sale_settings (name, value) VALUES ('default_model', $1)
                    ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    model
                )
                .execute(&mut *writer)
                .await
            }
            None => {
                sqlx::query!("DELETE FROM sale_settings WHERE name = 'default_model'")
                    .execute(&mut *writer)
                    .await
            }
        };
        done.map(drop).map_err(failed)
    }
}
