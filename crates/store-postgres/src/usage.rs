//! Sums of what was used: from the sums that are kept, and from the requests that are not in them yet.

use airouter_billing::{AccountId, ApiKeyId};
use airouter_store::StoreError;
use airouter_store::usage::cover::{Grain, cover};
use airouter_store::usage::rows::UsageColumns;
use airouter_store::usage::{
    Lines, OperatorQuery, PayerPart, PayerQuery, Usage, UsagePeriod, UsageRow,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::open::PostgresStore;

#[async_trait]
impl Usage for PostgresStore {
    async fn payer_usage(&self, query: &PayerQuery) -> Result<Vec<UsageRow>, StoreError> {
        if has_nul(query.model.as_deref()) {
            return Ok(Vec::new());
        }
        self.on_pool(async |connection| {
            if query.model.is_some() || query.by == PayerPart::Model {
                payer_model_usage(connection, query).await
            } else {
                payer_usage(connection, query).await
            }
        })
        .await
    }

    async fn operator_usage(&self, query: &OperatorQuery) -> Result<Vec<UsageRow>, StoreError> {
        if has_nul(query.model.as_deref()) {
            return Ok(Vec::new());
        }
        self.on_pool(async |connection| {
            if query.is_of_all() {
                usage_in_all(connection, query).await
            } else {
                operator_usage(connection, query).await
            }
        })
        .await
    }

    async fn usage_by_client(
        &self,
        period: UsagePeriod,
        lines: Lines,
    ) -> Result<Vec<UsageRow>, StoreError> {
        self.on_pool(async |connection| usage_by_client(connection, period, lines).await)
            .await
    }

    async fn is_key_of_payer(&self, payer: AccountId, key: ApiKeyId) -> Result<bool, StoreError> {
        self.on_pool(async |connection| {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT FROM api_keys WHERE id = $1 AND payer_id = $2)
                    OR EXISTS (SELECT FROM usage_by_key WHERE payer_id = $2 AND api_key_id = $1) AS "is_known!""#,
                key.get(),
                payer.get()
            )
            .fetch_one(connection)
            .await
            .map_err(failed)
        })
        .await
    }
}

/// No text of the database has one.
fn has_nul(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.contains('\0'))
}

/// Times as columns: which sums make them up, and they themselves.
#[derive(Default)]
struct TimeColumns {
    part_periods: Vec<i32>,
    part_grains: Vec<i32>,
    part_begins: Vec<OffsetDateTime>,
    part_ends: Vec<OffsetDateTime>,
    periods: Vec<i32>,
    begins: Vec<OffsetDateTime>,
    ends: Vec<OffsetDateTime>,
}

impl TimeColumns {
    fn of(periods: &[UsagePeriod], grains: &[Grain]) -> Self {
        let mut columns = Self::default();
        for part in cover(periods, grains) {
            columns.part_periods.push(number(part.period));
            columns.part_grains.push(part.grain.seconds());
            columns.part_begins.push(timestamptz(part.from.begins()));
            columns.part_ends.push(timestamptz(part.to.begins()));
        }
        for (period, UsagePeriod { from, to }) in periods.iter().enumerate() {
            columns.periods.push(number(period));
            columns.begins.push(timestamptz(from.begins()));
            columns.ends.push(timestamptz(to.begins()));
        }
        columns
    }
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

async fn payer_usage(
    connection: &mut PgConnection,
    query: &PayerQuery,
) -> Result<Vec<UsageRow>, StoreError> {
    let times = TimeColumns::of(&query.periods, &Grain::USUAL);
    let rows = sqlx::query_file_as!(
        UsageColumns,
        "src/usage/by_payer.sql",
        &times.part_periods,
        &times.part_grains,
        &times.part_begins,
        &times.part_ends,
        &times.periods,
        &times.begins,
        &times.ends,
        query.payer.get(),
        query.key.map(ApiKeyId::get),
        query.by.name(),
        i64::from(query.lines.limit),
        i64::from(query.lines.skip),
        query.member.map(AccountId::get)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}

/// The same where models matter.
async fn payer_model_usage(
    connection: &mut PgConnection,
    query: &PayerQuery,
) -> Result<Vec<UsageRow>, StoreError> {
    let times = TimeColumns::of(&query.periods, &Grain::USUAL);
    let rows = sqlx::query_file_as!(
        UsageColumns,
        "src/usage/by_payer_model.sql",
        &times.part_periods,
        &times.part_grains,
        &times.part_begins,
        &times.part_ends,
        &times.periods,
        &times.begins,
        &times.ends,
        query.payer.get(),
        query.key.map(ApiKeyId::get),
        query.model,
        query.by.name(),
        i64::from(query.lines.limit),
        i64::from(query.lines.skip),
        query.member.map(AccountId::get)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}

async fn operator_usage(
    connection: &mut PgConnection,
    query: &OperatorQuery,
) -> Result<Vec<UsageRow>, StoreError> {
    let times = TimeColumns::of(&query.periods, &Grain::USUAL);
    let rows = sqlx::query_file_as!(
        UsageColumns,
        "src/usage/by_operator.sql",
        &times.part_periods,
        &times.part_grains,
        &times.part_begins,
        &times.part_ends,
        &times.periods,
        &times.begins,
        &times.ends,
        query.model,
        query.master_account.map(|account| account.get()),
        query.by.name(),
        i64::from(query.lines.limit),
        i64::from(query.lines.skip)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}

/// The same undivided.
async fn usage_in_all(
    connection: &mut PgConnection,
    query: &OperatorQuery,
) -> Result<Vec<UsageRow>, StoreError> {
    let times = TimeColumns::of(&query.periods, &Grain::USUAL);
    let rows = sqlx::query_file_as!(
        UsageColumns,
        "src/usage/in_all.sql",
        &times.part_periods,
        &times.part_grains,
        &times.part_begins,
        &times.part_ends,
        &times.periods,
        &times.begins,
        &times.ends,
        i64::from(query.lines.limit),
        i64::from(query.lines.skip)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}

async fn usage_by_client(
    connection: &mut PgConnection,
    period: UsagePeriod,
    lines: Lines,
) -> Result<Vec<UsageRow>, StoreError> {
    let times = TimeColumns::of(&[period], &Grain::OF_ACCOUNTS);
    let rows = sqlx::query_file_as!(
        UsageColumns,
        "src/usage/by_client.sql",
        &times.part_periods,
        &times.part_grains,
        &times.part_begins,
        &times.part_ends,
        &times.periods,
        &times.begins,
        &times.ends,
        i64::from(lines.limit),
        i64::from(lines.skip)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(UsageRow::from).collect())
}
