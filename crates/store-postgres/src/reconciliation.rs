//! What upstreams say that they billed.

use airouter_billing::ids::TransactionId;
use airouter_billing::reconciliation::{
    About, BookedRequest, Finding, FindingKey, Observed, Posted, Purse, Span, Spend, next_entry,
};
use airouter_billing::{MasterAccountId, Nanos, RequestId, Timestamp, UtcDay};
use airouter_store::StoreError;
use airouter_store::reconciliation::{ReconciledDay, Reconciliation, TakeRequest, UpstreamReading};
use async_trait::async_trait;
use futures_util::stream::TryStreamExt as _;
use sqlx::PgConnection;

use crate::books::{self, Entry, Postings};
use crate::connection::{Purpose, failed, is_conflict, timed_out};
use crate::convert::{Column, timestamptz};
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

/// Who adjusts the ledger for a finding.
const ACTOR: &str = "reconciliation";
/// How often a finding is tried that another replica enters at the same time.
const ATTEMPTS: u32 = 4;
/// Clocks of replicas differ by less, and a request is committed no earlier than so long before its end.
const COMMIT_SLACK_SECONDS: i64 = 3_600;
/// How long the server may take for the next request.
const ROW_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);

#[async_trait]
impl Reconciliation for PostgresStore {
    async fn booked_requests(
        &self,
        account: MasterAccountId,
        during: Span,
        take: TakeRequest<'_>,
    ) -> Result<(), StoreError> {
        let connection = self.connector.connect(Purpose::Long).await;
        let mut connection = connection.map_err(failed)?;
        booked_requests(&mut connection, account, during, take).await
    }

    async fn claim_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.on_pool(async |connection| {
            let claimed = sqlx::query!(
                "INSERT INTO reconciliation_days (master_account_id, day, claimed_until) VALUES ($1, $2, $4)
                ON CONFLICT (master_account_id, day) DO UPDATE SET claimed_until = excluded.claimed_until
                WHERE reconciliation_days.reconciled_at IS NULL AND reconciliation_days.claimed_until <= $3",
                account.get(),
                day.date(),
                timestamptz(now),
                timestamptz(until)
            )
            .execute(connection)
            .await
            .map_err(failed)?;
            Ok(claimed.rows_affected() > 0)
        })
        .await
    }

    async fn close_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        closed: &ReconciledDay,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            sqlx::query!(
                "INSERT INTO reconciliation_days
                    (master_account_id, day, claimed_until, reconciled_at, carried_credits, carried_at_provider)
                VALUES ($1, $2, $3, $3, $4::text::numeric, $5::text::numeric)
                ON CONFLICT (master_account_id, day) DO UPDATE SET reconciled_at = excluded.reconciled_at,
                    carried_credits = excluded.carried_credits, carried_at_provider = excluded.carried_at_provider",
                account.get(),
                day.date(),
                timestamptz(closed.reconciled_at),
                closed.carried.credits.to_string(),
                closed.carried.at_provider.to_string()
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    async fn reconciled_day(
        &self,
        account: MasterAccountId,
        day: UtcDay,
    ) -> Result<Option<ReconciledDay>, StoreError> {
        self.on_pool(async |connection| reconciled_day(connection, account, day).await)
            .await
    }

    async fn record_finding(
        &self,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<Option<Finding>, StoreError> {
        self.on_pool(async |connection| {
            for _ in 1..ATTEMPTS {
                let outcome = record(connection, observed, now).await;
                if !outcome.as_ref().is_err_and(is_conflict) {
                    return outcome;
                }
            }
            record(connection, observed, now).await
        })
        .await
    }

    async fn findings(&self, since: UtcDay) -> Result<Vec<Finding>, StoreError> {
        self.on_pool(async |connection| findings(connection, since).await)
            .await
    }

    async fn add_upstream_reading(
        &self,
        account: MasterAccountId,
        reading: &UpstreamReading,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            sqlx::query!(
                "INSERT INTO upstream_readings (master_account_id, source, credits, at_provider, taken_at)
                VALUES ($1, $2, $3::text::numeric, $4::text::numeric, $5)",
                account.get(),
                reading.source,
                reading.used.credits.to_string(),
                reading.used.at_provider.to_string(),
                timestamptz(reading.taken_at)
            )
            .execute(connection)
            .await
            .map(drop)
            .map_err(failed)
        })
        .await
    }

    async fn upstream_readings(
        &self,
        account: MasterAccountId,
        since: Timestamp,
    ) -> Result<Vec<UpstreamReading>, StoreError> {
        self.on_pool(async |connection| upstream_readings(connection, account, since).await)
            .await
    }
}

/// Requests have no index by time. Their transactions are in the order of time, nearly: those that were committed before
/// the span are not looked at.
async fn booked_requests(
    connection: &mut PgConnection,
    account: MasterAccountId,
    during: Span,
    take: TakeRequest<'_>,
) -> Result<(), StoreError> {
    let committed_from = during.from.plus_seconds(-COMMIT_SLACK_SECONDS);
    let mut rows = sqlx::query!(
        r#"WITH earlier AS MATERIALIZED (
            SELECT coalesce((
                SELECT id FROM ledger_transactions WHERE created_at < $4 ORDER BY id DESC LIMIT 1
            ), 0) AS transaction_id
        )
        SELECT r.id AS "id!", r.generation_id AS "generation_id?", r.reported_cost::text AS "reported_cost!",
            r.upstream_inference_cost::text AS "at_provider?", r.admitted_at AS "admitted_at!",
            r.finished_at AS "finished_at!"
        FROM (
            SELECT id, transaction_id, price_terms_id, generation_id, reported_cost, upstream_inference_cost,
                admitted_at, finished_at
            FROM request_logs logged
            WHERE transaction_id >= (SELECT transaction_id FROM earlier) AND admitted_at < $3 AND finished_at >= $2
                AND (loss_reason IS NULL
                    OR NOT EXISTS (SELECT FROM request_corrections WHERE request_corrections.id = logged.id))
            UNION ALL
            SELECT id, transaction_id, price_terms_id, generation_id, reported_cost, upstream_inference_cost,
                admitted_at, finished_at
            FROM request_corrections
            WHERE transaction_id >= (SELECT transaction_id FROM earlier) AND admitted_at < $3 AND finished_at >= $2
        ) AS r JOIN price_terms t ON t.id = r.price_terms_id
        WHERE t.terms::json ->> 'master_account' = $1
        ORDER BY r.generation_id, r.transaction_id, r.id"#,
        account.to_string(),
        timestamptz(during.from),
        timestamptz(during.to),
        timestamptz(committed_from)
    )
    .fetch(connection);
    loop {
        let next = tokio::time::timeout(ROW_TIMEOUT, rows.try_next()).await;
        let next = next.map_err(|_| failed(timed_out()))?.map_err(failed)?;
        let Some(row) = next else { return Ok(()) };
        let column = |name| Column::new("request_logs", name);
        let at_provider = row.at_provider.as_deref().unwrap_or("0");
        take(BookedRequest {
            request: RequestId::new(row.id),
            generation_id: row.generation_id,
            spend: Spend {
                credits: column("reported_cost").decimal(&row.reported_cost, row.id)?,
                at_provider: column("upstream_inference_cost").decimal(at_provider, row.id)?,
            },
            admitted_at: row.admitted_at.into(),
            finished_at: row.finished_at.into(),
        })
        .map_err(|_| StoreError::OutOfRange)?;
    }
}

async fn reconciled_day(
    connection: &mut PgConnection,
    account: MasterAccountId,
    day: UtcDay,
) -> Result<Option<ReconciledDay>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT reconciled_at AS "reconciled_at!", carried_credits::text AS "credits!",
            carried_at_provider::text AS "at_provider!"
        FROM reconciliation_days WHERE master_account_id = $1 AND day = $2 AND reconciled_at IS NOT NULL"#,
        account.get(),
        day.date()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let column = |name| Column::new("reconciliation_days", name);
    row.map(|row| {
        Ok(ReconciledDay {
            carried: Spend {
                credits: column("carried_credits").decimal(&row.credits, day)?,
                at_provider: column("carried_at_provider").decimal(&row.at_provider, day)?,
            },
            reconciled_at: row.reconciled_at.into(),
        })
    })
    .transpose()
}

async fn record(
    connection: &mut PgConnection,
    observed: &Observed,
    now: Timestamp,
) -> Result<Option<Finding>, StoreError> {
    let mut transaction = begin(connection).await?;
    let recorded = enter(&mut transaction, observed, now).await;
    finish(transaction, recorded).await
}

/// Two replicas that enter the same at once take the same number; one of them waits, and tries again.
async fn enter(
    connection: &mut PgConnection,
    observed: &Observed,
    now: Timestamp,
) -> Result<Option<Finding>, StoreError> {
    let posted = posted(connection, &observed.key).await?;
    let entry = next_entry(observed, posted).map_err(|_| StoreError::OutOfRange)?;
    let Some(entry) = entry else { return Ok(None) };
    let transaction = if entry.postings.is_empty() {
        None
    } else {
        Some(open_transaction(connection, observed, now).await?)
    };
    let finding = Finding {
        key: observed.key.clone(),
        number: entry.number,
        ours: observed.ours,
        theirs: observed.theirs,
        difference: entry.difference,
        cost: entry.cost,
        transaction: transaction.map(TransactionId::new),
        found_at: now,
    };
    insert(connection, &finding).await?;
    if let Some(transaction) = transaction {
        let postings = Postings {
            transaction,
            postings: entry.postings,
        };
        let change = Entry {
            postings: vec![postings],
            ..Entry::default()
        };
        books::write(connection, &change).await?;
    }
    Ok(Some(finding))
}

/// What the entries about a finding come to.
async fn posted(connection: &mut PgConnection, key: &FindingKey) -> Result<Posted, StoreError> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "entries!", coalesce(sum(difference_nanos), 0)::bigint AS "difference!",
            coalesce(sum(cost_nanos), 0)::bigint AS "cost!"
        FROM reconciliation_findings
        WHERE master_account_id = $1 AND day = $2 AND kind = $3 AND subject = $4 AND purse = $5"#,
        key.master_account.get(),
        key.day.date(),
        key.about.kind(),
        key.about.subject(),
        key.purse.name()
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

async fn open_transaction(
    connection: &mut PgConnection,
    observed: &Observed,
    now: Timestamp,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        "INSERT INTO ledger_transactions (kind, reason, actor, created_at) VALUES ('adjustment', $1, $2, $3) RETURNING id",
        observed.reason(),
        ACTOR,
        timestamptz(now)
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

async fn insert(connection: &mut PgConnection, finding: &Finding) -> Result<(), StoreError> {
    let key = &finding.key;
    sqlx::query!(
        "INSERT INTO reconciliation_findings (master_account_id, day, kind, subject, purse, number, ours, theirs,
            difference_nanos, cost_nanos, transaction_id, found_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7::text::numeric, $8::text::numeric, $9, $10, $11, $12)",
        key.master_account.get(),
        key.day.date(),
        key.about.kind(),
        key.about.subject(),
        key.purse.name(),
        finding.number,
        finding.ours.to_string(),
        finding.theirs.map(|theirs| theirs.to_string()),
        finding.difference.get(),
        finding.cost.get(),
        finding.transaction.map(TransactionId::get),
        timestamptz(finding.found_at)
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn findings(
    connection: &mut PgConnection,
    since: UtcDay,
) -> Result<Vec<Finding>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, master_account_id, day, kind, subject, purse, number, ours::text AS "ours!", theirs::text,
            difference_nanos, cost_nanos, transaction_id, found_at
        FROM reconciliation_findings WHERE day >= $1 ORDER BY id"#,
        since.date()
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let column = |name| Column::new("reconciliation_findings", name);
            let theirs = row.theirs.as_deref();
            Ok(Finding {
                key: FindingKey {
                    master_account: MasterAccountId::new(row.master_account_id),
                    day: UtcDay::new(row.day),
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
                found_at: row.found_at.into(),
            })
        })
        .collect()
}

async fn upstream_readings(
    connection: &mut PgConnection,
    account: MasterAccountId,
    since: Timestamp,
) -> Result<Vec<UpstreamReading>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, source, credits::text AS "credits!", at_provider::text AS "at_provider!", taken_at
        FROM upstream_readings WHERE master_account_id = $1 AND taken_at >= $2 ORDER BY taken_at, id"#,
        account.get(),
        timestamptz(since)
    )
    .fetch_all(connection)
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
                taken_at: row.taken_at.into(),
            })
        })
        .collect()
}
