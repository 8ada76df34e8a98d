//! Reads what is to be proved: everything as of one moment, on two connections of its own. It locks nothing, so that
//! nobody waits for it.

mod pages;
mod rows;

use std::time::Duration;

use airouter_store::StoreError;
use airouter_store::ledger::Verification;
use airouter_store::verification::{Proof, SharedTexts};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Postgres, Transaction};

use self::rows::LedgerReader;
use crate::connection::{Purpose, failed, timed_out};
use crate::open::PostgresStore;

/// How long the server may take for the next row.
const ROW_TIMEOUT: Duration = Duration::from_secs(120);

/// What a transaction sees, for others to see the same: its name at the server.
pub(crate) struct Snapshot(String);

/// Verifies the whole database.
pub(crate) async fn verify(store: &PostgresStore) -> Result<Verification, StoreError> {
    verify_as_of(store, None).await
}

/// Verifies the whole database as of now, or as another transaction sees it.
pub(crate) async fn verify_as_of(
    store: &PostgresStore,
    seen: Option<&Snapshot>,
) -> Result<Verification, StoreError> {
    let connect = || store.connector.connect(Purpose::Long);
    let mut events = connect().await.map_err(failed)?;
    let mut ledger = connect().await.map_err(failed)?;
    let mut ledger = begin_reading(&mut ledger).await?;
    let proof = {
        let mut events = begin_reading(&mut events).await?;
        match seen {
            Some(snapshot) => {
                adopt(&mut ledger, snapshot).await?;
                adopt(&mut events, snapshot).await?;
            }
            None => adopt(&mut events, &export(&mut ledger).await?).await?,
        }
        for connection in [&mut ledger, &mut events] {
            read_in_order(connection).await?;
        }
        let mut proof = Proof::new(rows::ledger_accounts(&mut ledger).await?, store);
        proof
            .correct(&pages::corrections(&mut ledger).await?)
            .await?;
        proof.refund(&pages::refunds(&mut ledger).await?).await?;
        proof.reconcile(&pages::findings(&mut ledger).await?)?;
        let (events, postings) = (pages::events(&mut events), pages::postings(&mut ledger));
        proof.walk(patient(events), patient(postings)).await?;
        proof
    };
    let verification = proof.finish(&mut LedgerReader(&mut ledger)).await?;
    ledger.rollback().await.map_err(failed)?;
    Ok(verification)
}

/// A reading transaction sees one moment, that of its first statement unless it is told another.
pub(crate) async fn begin_reading(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, StoreError> {
    connection
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .map_err(failed)
}

/// What a reading transaction sees, for as long as it goes on.
pub(crate) async fn export(connection: &mut PgConnection) -> Result<Snapshot, StoreError> {
    sqlx::query_scalar!(r#"SELECT pg_export_snapshot() AS "snapshot!""#)
        .fetch_one(connection)
        .await
        .map(Snapshot)
        .map_err(failed)
}

/// Lets a transaction that has not read anything yet see the same.
async fn adopt(connection: &mut PgConnection, snapshot: &Snapshot) -> Result<(), StoreError> {
    // The statement takes no parameters. A snapshot's name is hexadecimal digits and hyphens.
    let name: String = snapshot
        .0
        .chars()
        .filter(|digit| digit.is_ascii_hexdigit() || *digit == '-')
        .collect();
    let statement = format!("SET TRANSACTION SNAPSHOT '{name}'");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

/// Goes through tables in the order of their indexes, however large they are: nothing is sorted before the first row
/// comes.
async fn read_in_order(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "SELECT set_config(name, 'off', true) AS setting FROM unnest(ARRAY['enable_sort', 'enable_hashagg', 'jit'])
            AS settings (name)"
    )
    .fetch_all(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// The same rows, as long as they come.
fn patient<Row: Send + 'static>(
    rows: BoxStream<'_, Result<Row, StoreError>>,
) -> BoxStream<'_, Result<Row, StoreError>> {
    stream::unfold(rows, async |mut rows| {
        let row = tokio::time::timeout(ROW_TIMEOUT, rows.next())
            .await
            .unwrap_or_else(|_| Some(Err(failed(timed_out()))));
        Some((row?, rows))
    })
    .boxed()
}

#[async_trait]
impl SharedTexts for PostgresStore {
    async fn price_terms(&self, id: i64) -> Result<String, StoreError> {
        self.on_pool(async |connection| {
            sqlx::query_scalar!("SELECT terms FROM price_terms WHERE id = $1", id)
                .fetch_one(connection)
                .await
                .map_err(failed)
        })
        .await
    }

    async fn budget_set(&self, id: i64) -> Result<String, StoreError> {
        self.on_pool(async |connection| {
            sqlx::query_scalar!("SELECT slots FROM budget_sets WHERE id = $1", id)
                .fetch_one(connection)
                .await
                .map_err(failed)
        })
        .await
    }
}
