//! Reads what is to be proved: everything as of one moment, on connections of its own.

mod pages;
mod rows;

use airouter_store::StoreError;
use airouter_store::ledger::Verification;
use airouter_store::verification::{Proof, SharedTexts};
use async_trait::async_trait;
use sqlx::sqlite::Sqlite;
use sqlx::{Acquire as _, SqliteConnection, Transaction};

use self::rows::LedgerReader;
use crate::connection::{begin, failed};
use crate::open::SqliteStore;

/// Verifies the whole database.
pub(crate) async fn verify(store: &SqliteStore) -> Result<Verification, StoreError> {
    let mut events_reader = store.readers.acquire().await.map_err(failed)?;
    let mut ledger_reader = store.readers.acquire().await.map_err(failed)?;
    // Both must see the same moment: nobody writes between the two beginnings.
    let mut writer = store.writer().await?;
    let pause = begin(&mut writer).await?;
    let mut events = begin_reading(&mut events_reader).await?;
    let mut ledger = begin_reading(&mut ledger_reader).await?;
    pause.rollback().await.map_err(failed)?;
    drop(writer);

    let mut proof = Proof::new(rows::ledger_accounts(&mut ledger).await?, store);
    proof
        .correct(&pages::corrections(&mut ledger).await?)
        .await?;
    proof.refund(&pages::refunds(&mut ledger).await?).await?;
    proof.reconcile(&pages::findings(&mut ledger).await?)?;
    let (events, postings) = (pages::events(&mut events), pages::postings(&mut ledger));
    proof.walk(events, postings).await?;
    proof.finish(&mut LedgerReader(&mut ledger)).await
}

/// A reading transaction sees the moment of its first statement.
async fn begin_reading(
    connection: &mut SqliteConnection,
) -> Result<Transaction<'_, Sqlite>, StoreError> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query!(r#"SELECT max(id) AS "id: i64" FROM plans"#)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
    Ok(transaction)
}

#[async_trait]
impl SharedTexts for SqliteStore {
    async fn price_terms(&self, id: i64) -> Result<String, StoreError> {
        sqlx::query_scalar!("SELECT terms FROM price_terms WHERE id = $1", id)
            .fetch_one(&self.readers)
            .await
            .map_err(failed)
    }

    async fn budget_set(&self, id: i64) -> Result<String, StoreError> {
        sqlx::query_scalar!("SELECT slots FROM budget_sets WHERE id = $1", id)
            .fetch_one(&self.readers)
            .await
            .map_err(failed)
    }
}
