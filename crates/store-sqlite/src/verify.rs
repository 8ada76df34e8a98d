//! The proof that everything adds up: one pass over the ledger's transactions in step with the usage events that they
//! book, each priced again, then the sums. Everything is read as of one moment, on connections of its own.

mod event_prices;
mod event_rows;
mod findings;
mod ledger_walk;
mod sums;

use airouter_store::StoreError;
use airouter_store::ledger::Verification;
use sqlx::sqlite::Sqlite;
use sqlx::{Acquire as _, SqliteConnection, Transaction};

use self::findings::Findings;
use self::ledger_walk::LedgerWalk;
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

    let mut findings = Findings::default();
    let mut walk = LedgerWalk::new(store);
    walk.run(&mut events, &mut ledger, &mut findings).await?;
    let totals = walk.finish(&mut ledger, &mut findings).await?;
    sums::check(&mut ledger, &totals, &mut findings).await?;
    findings.name_requests(&mut events).await?;
    Ok(Verification {
        events: totals.events,
        transactions: totals.transactions,
        findings: findings.listed,
        more_findings: findings.more,
    })
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
