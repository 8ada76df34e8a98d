//! What clients may ask about their own use.

use airouter_billing::event::{Delivery, Ending};
use airouter_billing::{
    AccountId, ApiKeyId, Nanos, Period, Quantity, RequestId, Timestamp, TokenCounts,
};
use airouter_store::StoreError;
use airouter_store::reports::{ClientGeneration, KeyLimit, KeyUsage, Reports};
use async_trait::async_trait;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, counted};
use crate::open::SqliteStore;
use crate::pending;

#[async_trait]
impl Reports for SqliteStore {
    async fn key_usage(&self, key: ApiKeyId, now: Timestamp) -> Result<KeyUsage, StoreError> {
        let id = key.get();
        let (day, week, month) = (
            Period::Day.start(now).as_micros(),
            Period::Week.start(now).as_micros(),
            Period::Month.start(now).as_micros(),
        );
        let row = sqlx::query!(
            r#"SELECT coalesce(sum(charged_nanos), 0) AS "total!: i64",
                coalesce(sum(charged_nanos) FILTER (WHERE at >= $2), 0) AS "daily!: i64",
                coalesce(sum(charged_nanos) FILTER (WHERE at >= $3), 0) AS "weekly!: i64",
                coalesce(sum(charged_nanos) FILTER (WHERE at >= $4), 0) AS "monthly!: i64"
            FROM (
                SELECT charged_nanos, bucket AS at FROM usage_by_key WHERE grain = 86400 AND api_key_id = $1
                UNION ALL
                SELECT charged_nanos, finished_at AS at FROM usage_amounts
                WHERE source = 'log' AND place > (SELECT logs_through FROM usage_rollup_state) AND api_key_id = $1
                UNION ALL
                SELECT charged_nanos, finished_at AS at FROM usage_amounts
                WHERE source = 'later' AND place > (SELECT later_through FROM usage_rollup_state) AND api_key_id = $1
            ) AS charged"#,
            id,
            day,
            week,
            month
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(KeyUsage {
            total: Nanos::new(row.total),
            daily: Nanos::new(row.daily),
            weekly: Nanos::new(row.weekly),
            monthly: Nanos::new(row.monthly),
            limit: key_limit(self, key, now).await?,
        })
    }

    async fn generation(
        &self,
        payer: AccountId,
        id: &str,
    ) -> Result<Option<ClientGeneration>, StoreError> {
        generation(self, payer, id).await
    }

    async fn is_generation_pending(
        &self,
        payer: AccountId,
        generation: &str,
    ) -> Result<bool, StoreError> {
        let pending = pending::of_generation(self, generation).await?;
        Ok(pending.iter().any(|pending| pending.request.payer == payer))
    }
}

/// The limits in money that hold for the key: its own and its payer's; of several, the one with the least left.
async fn key_limit(
    store: &SqliteStore,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<Option<KeyLimit>, StoreError> {
    let id = key.get();
    let nanos = Quantity::Nanos.name();
    let budgets = sqlx::query!(
        r#"SELECT id, period, cap AS "cap!: i64" FROM budgets
        WHERE quantity = $2 AND cap IS NOT NULL AND (
            (owner_kind = 'key' AND owner_id = $1)
            OR (owner_kind IN ('tier', 'account')
                AND owner_id = (SELECT payer_id FROM api_keys WHERE id = $1))
            OR (owner_kind = 'member' AND owner_id = (
                SELECT m.id FROM api_keys k
                JOIN memberships m ON m.organization_id = k.payer_id AND m.person_id = k.account_id
                WHERE k.id = $1)))"#,
        id,
        nanos
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let mut tightest: Option<KeyLimit> = None;
    for budget in budgets {
        let period = Period::from_name(&budget.period)
            .ok_or_else(|| Column::new("budgets", "period").corrupt(key))?;
        let start = period.start(now).as_micros();
        let spent = sqlx::query_scalar!(
            "SELECT spent + spent_before FROM budget_periods WHERE budget_id = $1 AND period_start = $2",
            budget.id,
            start
        )
        .fetch_optional(&store.readers)
        .await
        .map_err(failed)?
        .unwrap_or(0);
        let cap = Nanos::new(budget.cap);
        let remaining = cap.saturating_sub(Nanos::new(spent)).max(Nanos::ZERO);
        if tightest.is_none_or(|limit| remaining < limit.remaining) {
            tightest = Some(KeyLimit {
                cap,
                remaining,
                period,
            });
        }
    }
    Ok(tightest)
}

async fn generation(
    store: &SqliteStore,
    payer: AccountId,
    id: &str,
) -> Result<Option<ClientGeneration>, StoreError> {
    let payer = payer.get();
    let request = Uuid::try_parse(id).ok();
    // A correction is later than what it corrects.
    let row = sqlx::query!(
        r#"SELECT r.id AS "id!: Vec<u8>", r.generation_id AS "generation_id?: String", r.model AS "model?: String",
            r.provider AS "provider?: String", r.delivery AS "delivery!: String", r.ending AS "ending!: String",
            r.admitted_at AS "admitted_at!: i64", r.finished_at AS "finished_at!: i64",
            r.first_byte_micros AS "first_byte_micros?: i64", r.prompt_tokens AS "prompt_tokens!: i64",
            r.completion_tokens AS "completion_tokens!: i64", r.cached_tokens AS "cached_tokens!: i64",
            r.cache_write_tokens AS "cache_write_tokens!: i64", r.audio_tokens AS "audio_tokens!: i64",
            r.reasoning_tokens AS "reasoning_tokens!: i64", r.image_output_tokens AS "image_output_tokens!: i64",
            r.charged_nanos AS "charged_nanos!: i64", t.terms ->> 'requested_model' AS "requested_model!: String",
            t.terms ->> 'shown_model' AS "shown_model?: String"
        FROM (
            SELECT id, generation_id, model, provider, delivery, ending, admitted_at, finished_at,
                first_byte_micros, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
                audio_tokens, reasoning_tokens, image_output_tokens, charged_nanos, price_terms_id,
                transaction_id
            FROM request_logs WHERE (id = $2 OR generation_id = $3) AND payer_id = $1
            UNION ALL
            SELECT id, generation_id, model, provider, delivery, ending, admitted_at, finished_at,
                first_byte_micros, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
                audio_tokens, reasoning_tokens, image_output_tokens, charged_nanos, price_terms_id,
                transaction_id
            FROM request_corrections WHERE (id = $2 OR generation_id = $3) AND payer_id = $1
        ) AS r JOIN price_terms t ON t.id = r.price_terms_id
        ORDER BY r.transaction_id DESC LIMIT 1"#,
        payer,
        request,
        id
    )
    .fetch_optional(&store.readers)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let column = |name| Column::new("request_logs", name);
    let request = RequestId::new(column("id").uuid(&row.id)?);
    Ok(Some(ClientGeneration {
        generation_id: row.generation_id.unwrap_or_default(),
        request,
        model: row.shown_model.or(row.model).unwrap_or(row.requested_model),
        provider: row.provider,
        delivery: Delivery::from_name(&row.delivery)
            .ok_or_else(|| column("delivery").corrupt(request))?,
        ending: Ending::from_name(&row.ending).ok_or_else(|| column("ending").corrupt(request))?,
        admitted_at: Timestamp::from_micros(row.admitted_at),
        finished_at: Timestamp::from_micros(row.finished_at),
        first_byte_micros: row.first_byte_micros.map(counted),
        tokens: TokenCounts {
            prompt: counted(row.prompt_tokens),
            completion: counted(row.completion_tokens),
            cached: counted(row.cached_tokens),
            cache_write: counted(row.cache_write_tokens),
            audio: counted(row.audio_tokens),
            reasoning: counted(row.reasoning_tokens),
            image_output: counted(row.image_output_tokens),
        },
        charged: Nanos::new(row.charged_nanos),
    }))
}
