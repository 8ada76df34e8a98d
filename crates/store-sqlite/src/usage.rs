//! Sums of what was used: from the sums that are kept, and from the requests that are not in them yet.

use airouter_billing::{AccountId, ApiKeyId};
use airouter_store::StoreError;
use airouter_store::usage::cover::{Grain, cover};
use airouter_store::usage::rows::UsageColumns;
use airouter_store::usage::{
    Lines, OperatorPart, OperatorQuery, PayerPart, PayerQuery, Usage, UsagePeriod, UsageRow,
};
use async_trait::async_trait;
use uuid::Uuid;

use crate::connection::failed;
use crate::open::SqliteStore;

#[async_trait]
impl Usage for SqliteStore {
    async fn payer_usage(&self, query: &PayerQuery) -> Result<Vec<UsageRow>, StoreError> {
        let (parts, periods) = times(&query.periods, &Grain::USUAL);
        let (payer, key) = (query.payer.get(), query.key.map(ApiKeyId::get));
        let (by, member) = (query.by.name(), query.member.map(AccountId::get));
        let rows = sqlx::query_file_as!(
            UsageColumns,
            "src/usage/by_payer.sql",
            parts,
            periods,
            payer,
            key,
            query.model,
            by,
            query.lines.limit,
            query.lines.skip,
            member
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let rows = rows.into_iter().map(UsageRow::from);
        Ok(match query.by {
            PayerPart::Key | PayerPart::Member => rows.map(with_id).collect(),
            PayerPart::Whole | PayerPart::Model => rows.collect(),
        })
    }

    async fn operator_usage(&self, query: &OperatorQuery) -> Result<Vec<UsageRow>, StoreError> {
        let (parts, periods) = times(&query.periods, &Grain::USUAL);
        if query.is_of_all() {
            let rows = sqlx::query_file_as!(
                UsageColumns,
                "src/usage/in_all.sql",
                parts,
                periods,
                query.lines.limit,
                query.lines.skip
            )
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
            return Ok(rows.into_iter().map(UsageRow::from).collect());
        }
        let master_account = query.master_account.map(|account| account.get());
        let by = query.by.name();
        let rows = sqlx::query_file_as!(
            UsageColumns,
            "src/usage/by_operator.sql",
            parts,
            periods,
            query.model,
            master_account,
            by,
            query.lines.limit,
            query.lines.skip
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let rows = rows.into_iter().map(UsageRow::from);
        Ok(match query.by {
            OperatorPart::MasterAccount => rows.map(with_id).collect(),
            OperatorPart::Whole | OperatorPart::Model => rows.collect(),
        })
    }

    async fn usage_by_client(
        &self,
        period: UsagePeriod,
        lines: Lines,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let (parts, periods) = times(&[period], &Grain::OF_ACCOUNTS);
        let rows = sqlx::query_file_as!(
            UsageColumns,
            "src/usage/by_client.sql",
            parts,
            periods,
            lines.limit,
            lines.skip
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        Ok(rows.into_iter().map(UsageRow::from).map(with_id).collect())
    }

    async fn is_key_of_payer(&self, payer: AccountId, key: ApiKeyId) -> Result<bool, StoreError> {
        let (payer, key) = (payer.get(), key.get());
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = $1 AND payer_id = $2)
                OR EXISTS (SELECT 1 FROM usage_by_key WHERE payer_id = $2 AND api_key_id = $1) AS "is_known!: bool""#,
            key,
            payer
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)
    }
}

/// The same with its id as text: the database has the digits alone.
fn with_id(row: UsageRow) -> UsageRow {
    let about = match Uuid::try_parse(&row.about) {
        Ok(id) => id.to_string(),
        Err(_) => row.about,
    };
    UsageRow { about, ..row }
}

/// Times as JSON: which sums make them up, and they themselves.
fn times(periods: &[UsagePeriod], grains: &[Grain]) -> (String, String) {
    let parts: Vec<_> = cover(periods, grains)
        .into_iter()
        .map(|part| {
            let (from, to) = (part.from.begins(), part.to.begins());
            let times = (from.as_micros(), to.as_micros());
            (part.period, part.grain.seconds(), times.0, times.1)
        })
        .collect();
    let periods: Vec<_> = periods
        .iter()
        .enumerate()
        .map(|(index, period)| {
            let (from, to) = (period.from.begins(), period.to.begins());
            (index, from.as_micros(), to.as_micros())
        })
        .collect();
    (
        serde_json::json!(parts).to_string(),
        serde_json::json!(periods).to_string(),
    )
}
