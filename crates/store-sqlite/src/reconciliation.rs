//! What upstreams say that they billed.

use std::collections::BTreeSet;

use airouter_billing::ids::TransactionId;
use airouter_billing::reconciliation::{
    About, BookedRequest, Finding, FindingKey, NextEntry, Observed, Posted, Purse, Span, Spend,
    next_entry,
};
use airouter_billing::{MasterAccountId, Nanos, RequestId, Timestamp, UtcDay};
use airouter_store::StoreError;
use airouter_store::reconciliation::{ReconciledDay, Reconciliation, TakeRequest, UpstreamReading};
use async_trait::async_trait;
use futures_util::stream::TryStreamExt as _;
use sqlx::SqliteConnection;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;

/// Who adjusts the ledger for a finding.
const ACTOR: &str = "reconciliation";

#[async_trait]
impl Reconciliation for SqliteStore {
    async fn booked_requests(
        &self,
        account: MasterAccountId,
        during: Span,
        take: TakeRequest<'_>,
    ) -> Result<(), StoreError> {
        let (account, from, to) = (
            account.to_string(),
            during.from.as_micros(),
            during.to.as_micros(),
        );
        let mut rows = sqlx::query!(
            r#"SELECT r.id AS "id!: Vec<u8>", r.generation_id AS "generation_id?: String",
                r.reported_cost AS "reported_cost!: String", r.upstream_inference_cost AS "at_provider?: String",
                r.admitted_at AS "admitted_at!: i64", r.finished_at AS "finished_at!: i64"
            FROM (
                SELECT id, transaction_id, price_terms_id, generation_id, reported_cost, upstream_inference_cost,
                    admitted_at, finished_at
                FROM request_logs
                WHERE admitted_at < $3 AND finished_at >= $2
                    AND (loss_reason IS NULL OR id NOT IN (SELECT id FROM request_corrections))
                UNION ALL
                SELECT id, transaction_id, price_terms_id, generation_id, reported_cost, upstream_inference_cost,
                    admitted_at, finished_at
                FROM request_corrections WHERE admitted_at < $3 AND finished_at >= $2
            ) AS r JOIN price_terms t ON t.id = r.price_terms_id
            WHERE t.terms ->> 'master_account' = $1
            ORDER BY r.generation_id, r.transaction_id, r.id"#,
            account,
            from,
            to
        )
        .fetch(&self.readers);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let column = |name| Column::new("request_logs", name);
            let request = RequestId::new(column("id").uuid(&row.id)?);
            let at_provider = row.at_provider.as_deref().unwrap_or("0");
            take(BookedRequest {
                request,
                generation_id: row.generation_id,
                spend: Spend {
                    credits: column("reported_cost").decimal(&row.reported_cost, request)?,
                    at_provider: column("upstream_inference_cost").decimal(at_provider, request)?,
                },
                admitted_at: Timestamp::from_micros(row.admitted_at),
                finished_at: Timestamp::from_micros(row.finished_at),
            })
            .map_err(|_| StoreError::OutOfRange)?;
        }
        Ok(())
    }

    async fn claim_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let (account, day) = (account.get(), day.to_string());
        let (now, until) = (now.as_micros(), until.as_micros());
        let mut writer = self.writer().await?;
        let claimed = sqlx::query!(
            "INSERT INTO reconciliation_days (master_account_id, day, claimed_until) VALUES ($1, $2, $4)
            ON CONFLICT (master_account_id, day) DO UPDATE SET claimed_until = excluded.claimed_until
            WHERE reconciled_at IS NULL AND claimed_until <= $3",
            account,
            day,
            now,
            until
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        Ok(claimed.rows_affected() > 0)
    }

    async fn close_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        closed: &ReconciledDay,
    ) -> Result<(), StoreError> {
        let (account, day) = (account.get(), day.to_string());
        let at = closed.reconciled_at.as_micros();
        let credits = closed.carried.credits.to_string();
        let at_provider = closed.carried.at_provider.to_string();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO reconciliation_days
                (master_account_id, day, claimed_until, reconciled_at, carried_credits, carried_at_provider)
            VALUES ($1, $2, $3, $3, $4, $5)
            ON CONFLICT (master_account_id, day) DO UPDATE SET reconciled_at = excluded.reconciled_at,
                carried_credits = excluded.carried_credits, carried_at_provider = excluded.carried_at_provider",
            account,
            day,
            at,
            credits,
            at_provider
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    async fn reconciled_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
    ) -> Result<Option<ReconciledDay>, StoreError> {
        let (id, date) = (account.get(), day.to_string());
        let row = sqlx::query!(
            r#"SELECT reconciled_at AS "reconciled_at!: i64", carried_credits, carried_at_provider
            FROM reconciliation_days WHERE master_account_id = $1 AND day = $2 AND reconciled_at IS NOT NULL"#,
            id,
            date
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        let column = |name| Column::new("reconciliation_days", name);
        row.map(|row| {
            Ok(ReconciledDay {
                carried: Spend {
                    credits: column("carried_credits").decimal(&row.carried_credits, day)?,
                    at_provider: column("carried_at_provider")
                        .decimal(&row.carried_at_provider, day)?,
                },
                reconciled_at: Timestamp::from_micros(row.reconciled_at),
            })
        })
        .transpose()
    }

    async fn record_finding(
        &self,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<Option<Finding>, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let posted = posted(&mut transaction, &observed.key).await?;
        let entry = next_entry(observed, posted).map_err(|_| StoreError::OutOfRange)?;
        let Some(entry) = entry else { return Ok(None) };
        let finding = enter(&mut transaction, observed, entry, now).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Some(finding))
    }

    async fn findings(&self, since: UtcDay) -> Result<Vec<Finding>, StoreError> {
        let since = since.to_string();
        let rows = sqlx::query!(
            "SELECT id, master_account_id, day, kind, subject, purse, number, ours, theirs, difference_nanos, cost_nanos,
                transaction_id, found_at
            FROM reconciliation_findings WHERE day >= $1 ORDER BY id",
            since
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let column = |name| Column::new("reconciliation_findings", name);
                let theirs = row.theirs.as_deref();
                Ok(Finding {
                    key: FindingKey {
                        master_account: MasterAccountId::new(
                            column("master_account_id").uuid(&row.master_account_id)?,
                        ),
                        day: row.day.parse().map_err(|_| column("day").corrupt(row.id))?,
                        about: About::from_columns(&row.kind, &row.subject)
                            .ok_or_else(|| column("kind").corrupt(row.id))?,
                        purse: Purse::from_name(&row.purse)
                            .ok_or_else(|| column("purse").corrupt(row.id))?,
                    },
                    number: row.number,
                    ours: column("ours").decimal(&row.ours, row.id)?,
                    theirs: theirs
                        .map(|theirs| column("theirs").decimal(theirs, row.id))
                        .transpose()?,
                    difference: Nanos::new(row.difference_nanos),
                    cost: Nanos::new(row.cost_nanos),
                    transaction: row.transaction_id.map(TransactionId::new),
                    found_at: Timestamp::from_micros(row.found_at),
                })
            })
            .collect()
    }

    async fn add_upstream_reading(
        &self,
        account: MasterAccountId,
        reading: &UpstreamReading,
    ) -> Result<(), StoreError> {
        let (account, at) = (account.get(), reading.taken_at.as_micros());
        let credits = reading.used.credits.to_string();
        let at_provider = reading.used.at_provider.to_string();
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO upstream_readings (master_account_id, source, credits, at_provider, taken_at)
            VALUES ($1, $2, $3, $4, $5)",
            account,
            reading.source,
            credits,
            at_provider,
            at
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }

    async fn upstream_readings(
        &self,
        account: MasterAccountId,
        since: Timestamp,
    ) -> Result<Vec<UpstreamReading>, StoreError> {
        let (account, since) = (account.get(), since.as_micros());
        let rows = sqlx::query!(
            "SELECT id, source, credits, at_provider, taken_at FROM upstream_readings
            WHERE master_account_id = $1 AND taken_at >= $2 ORDER BY taken_at, id",
            account,
            since
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let column = |name| Column::new("upstream_readings", name);
        rows.into_iter()
            .map(|row| {
                Ok(UpstreamReading {
                    source: row.source,
                    used: Spend {
                        credits: column("credits").decimal(&row.credits, row.id)?,
                        at_provider: column("at_provider").decimal(&row.at_provider, row.id)?,
                    },
                    taken_at: Timestamp::from_micros(row.taken_at),
                })
            })
            .collect()
    }
}

/// What the entries about a finding come to.
async fn posted(connection: &mut SqliteConnection, key: &FindingKey) -> Result<Posted, StoreError> {
    let (account, day, subject) = (
        key.master_account.get(),
        key.day.to_string(),
        key.about.subject(),
    );
    let (kind, purse) = (key.about.kind(), key.purse.name());
    let row = sqlx::query!(
        r#"SELECT count(*) AS "entries!: i64", coalesce(sum(difference_nanos), 0) AS "difference!: i64",
            coalesce(sum(cost_nanos), 0) AS "cost!: i64"
        FROM reconciliation_findings
        WHERE master_account_id = $1 AND day = $2 AND kind = $3 AND subject = $4 AND purse = $5"#,
        account,
        day,
        kind,
        subject,
        purse
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(Posted {
        entries: row.entries,
        difference: Nanos::new(row.difference),
        cost: Nanos::new(row.cost),
    })
}

async fn enter(
    connection: &mut SqliteConnection,
    observed: &Observed,
    entry: NextEntry,
    now: Timestamp,
) -> Result<Finding, StoreError> {
    let finding = Finding {
        key: observed.key.clone(),
        number: entry.number,
        ours: observed.ours,
        theirs: observed.theirs,
        difference: entry.difference,
        cost: entry.cost,
        transaction: None,
        found_at: now,
    };
    let transaction = if entry.postings.is_empty() {
        None
    } else {
        let books =
            books::read(&mut *connection, None, &BTreeSet::new(), std::iter::empty()).await?;
        let reason = observed.reason();
        let transaction = NewTransaction {
            number: books.next_transaction,
            kind: TransactionKind::Adjustment {
                reason: &reason,
                actor: ACTOR,
            },
            at: now,
            postings: entry.postings,
        };
        let change = Entry {
            transactions: vec![transaction],
            ..Entry::default()
        };
        books::write(&mut *connection, &change).await?;
        Some(books.next_transaction)
    };
    insert(connection, &finding, transaction).await?;
    Ok(Finding {
        transaction: transaction.map(TransactionId::new),
        ..finding
    })
}

async fn insert(
    connection: &mut SqliteConnection,
    finding: &Finding,
    transaction: Option<i64>,
) -> Result<(), StoreError> {
    let key = &finding.key;
    let (account, day, subject) = (
        key.master_account.get(),
        key.day.to_string(),
        key.about.subject(),
    );
    let (kind, purse) = (key.about.kind(), key.purse.name());
    let ours = finding.ours.to_string();
    let theirs = finding.theirs.map(|theirs| theirs.to_string());
    let (difference, cost) = (finding.difference.get(), finding.cost.get());
    let at = finding.found_at.as_micros();
    sqlx::query!(
        "INSERT INTO reconciliation_findings (master_account_id, day, kind, subject, purse, number, ours, theirs,
            difference_nanos, cost_nanos, transaction_id, found_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        account,
        day,
        kind,
        subject,
        purse,
        finding.number,
        ours,
        theirs,
        difference,
        cost,
        transaction,
        at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
