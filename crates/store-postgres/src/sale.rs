//! What is on sale.

use airouter_billing::sale::{Alias, SaleRules, SaleState};
use airouter_store::StoreError;
use airouter_store::sale::Sale;
use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection};

use crate::connection::failed;
use crate::convert::Column;
use crate::open::PostgresStore;

#[async_trait]
impl Sale for PostgresStore {
    async fn sale_rules(&self) -> Result<SaleRules, StoreError> {
        self.on_pool(async |connection| rules(connection).await)
            .await
    }

    async fn set_sale_state(&self, model: &str, state: SaleState) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            sqlx::query!(
                "INSERT INTO models_on_sale (model, state) VALUES ($1, $2)
                ON CONFLICT (model) DO UPDATE SET state = excluded.state",
                model,
                state.name()
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    async fn set_alias(&self, alias: &Alias) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            sqlx::query!(
                "INSERT INTO model_aliases (alias, models) VALUES ($1, $2)
                ON CONFLICT (alias) DO UPDATE SET models = excluded.models",
                alias.name(),
                alias.models()
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    async fn remove_alias(&self, name: &str) -> Result<(), StoreError> {
        let removed = self
            .on_pool(async |connection| {
                sqlx::query!("DELETE FROM model_aliases WHERE alias = $1", name)
                    .execute(connection)
                    .await
                    .map_err(failed)
            })
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NotFound { what: "the alias" });
        }
        Ok(())
    }

    async fn set_default_model(&self, model: Option<&str>) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let done = match model {
                Some(model) => {
                    sqlx::query!(
                        "INSERT INTO sale_settings (name, value) VALUES ('default_model', $1)
                        ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                        model
                    )
                    .execute(connection)
                    .await
                }
                None => {
                    sqlx::query!("DELETE FROM sale_settings WHERE name = 'default_model'")
                        .execute(connection)
                        .await
                }
            };
            done.map(drop).map_err(failed)
        })
        .await
    }
}

/// All that was decided, in one snapshot.
async fn rules(connection: &mut PgConnection) -> Result<SaleRules, StoreError> {
    let mut snapshot = connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(failed)?;
    let mut rules = SaleRules::default();
    let states = sqlx::query!("SELECT model, state FROM models_on_sale")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
    for row in states {
        let state = SaleState::from_name(&row.state)
            .ok_or_else(|| Column::new("models_on_sale", "state").corrupt(&row.model))?;
        rules.states.insert(row.model, state);
    }
    let aliases = sqlx::query!("SELECT alias, models FROM model_aliases")
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
    for row in aliases {
        let alias = Alias::new(row.alias.clone(), row.models)
            .map_err(|_| Column::new("model_aliases", "models").corrupt(&row.alias))?;
        rules.aliases.insert(row.alias, alias);
    }
    rules.default_model =
        sqlx::query_scalar!("SELECT value FROM sale_settings WHERE name = 'default_model'")
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(failed)?;
    snapshot.commit().await.map_err(failed)?;
    Ok(rules)
}
