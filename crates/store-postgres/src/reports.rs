//! What clients may ask about their own use.

use airouter_billing::event::{Delivery, Ending};
use airouter_billing::{
    AccountId, ApiKeyId, Nanos, Period, Quantity, RequestId, Timestamp, TokenCounts,
};
use airouter_store::StoreError;
use airouter_store::reports::{ClientGeneration, KeyLimit, KeyUsage, Reports};
use async_trait::async_trait;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, counted, timestamptz};
use crate::open::PostgresStore;
use crate::pending;

#[async_trait]
impl Reports for PostgresStore {
    async fn key_usage(&self, key: ApiKeyId, now: Timestamp) -> Result<KeyUsage, StoreError> {
        self.on_pool(async |connection| key_usage(connection, key, now).await)
            .await
    }

    async fn generation(
        &self,
        payer: AccountId,
        id: &str,
    ) -> Result<Option<ClientGeneration>, StoreError> {
        // No text of the database has one.
        if id.contains('\0') {
            return Ok(None);
        }
        self.on_pool(async |connection| generation(connection, payer, id).await)
            .await
    }

    async fn is_generation_pending(
        &self,
        payer: AccountId,
        generation: &str,
    ) -> Result<bool, StoreError> {
        if generation.contains('\0') {
            return Ok(false);
        }
        let pending = self
            .on_pool(async |connection| pending::of_generation(connection, generation).await)
            .await?;
        Ok(pending.iter().any(|pending| pending.request.payer == payer))
    }
}

async fn key_usage(
    connection: &mut PgConnection,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<KeyUsage, StoreError> {
    let row = sqlx::query!(
        r#"SELECT coalesce(sum(charged_nanos), 0)::bigint AS "total!",
            coalesce(sum(charged_nanos) FILTER (WHERE at >= $2), 0)::bigint AS "daily!",
            coalesce(sum(charged_nanos) FILTER (WHERE at >= $3), 0)::bigint AS "weekly!",
            coalesce(sum(charged_nanos) FILTER (WHERE at >= $4), 0)::bigint AS "monthly!"
        FROM (
            SELECT charged_nanos, bucket AS at FROM usage_by_key WHERE grain = 86400 AND api_key_id = $1
            UNION ALL
            SELECT charged_nanos, finished_at AS at FROM usage_amounts
            WHERE transaction_id BETWEEN (SELECT folded_through + 1 FROM usage_rollup_state)
                    AND (SELECT coalesce(max(id), 0) FROM ledger_transactions)
                AND api_key_id = $1
        ) AS charged"#,
        key.get(),
        timestamptz(Period::Day.start(now)),
        timestamptz(Period::Week.start(now)),
        timestamptz(Period::Month.start(now))
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(KeyUsage {
        total: Nanos::new(row.total),
        daily: Nanos::new(row.daily),
        weekly: Nanos::new(row.weekly),
        monthly: Nanos::new(row.monthly),
        limit: key_limit(connection, key, now).await?,
    })
}

/// The limits in money that hold for the key: its own and its payer's; of several, the one with the least left.
async fn key_limit(
    connection: &mut PgConnection,
    key: ApiKeyId,
    now: Timestamp,
) -> Result<Option<KeyLimit>, StoreError> {
    let names: Vec<String> = Period::ALL
        .iter()
        .map(|period| period.name().to_owned())
        .collect();
    let starts: Vec<_> = Period::ALL
        .iter()
        .map(|period| timestamptz(period.start(now)))
        .collect();
    let budgets = sqlx::query!(
        r#"SELECT b.period, b.cap AS "cap!", coalesce(spending.spent + spending.spent_before, 0) AS "spent!"
        FROM api_keys k
        JOIN budgets b ON (b.owner_kind = 'key' AND b.owner_id = k.id)
            OR (b.owner_kind IN ('tier', 'account') AND b.owner_id = k.payer_id)
            OR (b.owner_kind = 'member' AND b.owner_id = (
                SELECT m.id FROM memberships m WHERE m.organization_id = k.payer_id AND m.person_id = k.account_id))
        JOIN unnest($3::text[], $4::timestamptz[]) AS present (period, period_start) ON present.period = b.period
        LEFT JOIN budget_periods spending
            ON spending.budget_id = b.id AND spending.period_start = present.period_start
        WHERE k.id = $1 AND b.quantity = $2 AND b.cap IS NOT NULL"#,
        key.get(),
        Quantity::Nanos.name(),
        &names,
        &starts
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut tightest: Option<KeyLimit> = None;
    for budget in budgets {
        let period = Period::from_name(&budget.period)
            .ok_or_else(|| Column::new("budgets", "period").corrupt(key))?;
        let cap = Nanos::new(budget.cap);
        let left = cap.saturating_sub(Nanos::new(budget.spent));
        let remaining = left.max(Nanos::ZERO);
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

/// What a report says of the terms of a price.
#[derive(Deserialize)]
struct Terms {
    requested_model: String,
    #[serde(default)]
    shown_model: Option<String>,
}

async fn generation(
    connection: &mut PgConnection,
    payer: AccountId,
    id: &str,
) -> Result<Option<ClientGeneration>, StoreError> {
    let payer = payer.get();
    let request = Uuid::try_parse(id).ok();
    // A correction is later than what it corrects.
    let row = sqlx::query!(
        r#"SELECT r.id AS "id!", r.generation_id, r.model, r.provider, r.delivery AS "delivery!", r.ending AS "ending!",
            r.admitted_at AS "admitted_at!", r.finished_at AS "finished_at!", r.first_byte_micros,
            r.prompt_tokens AS "prompt_tokens!", r.completion_tokens AS "completion_tokens!",
            r.cached_tokens AS "cached_tokens!", r.cache_write_tokens AS "cache_write_tokens!",
            r.audio_tokens AS "audio_tokens!", r.reasoning_tokens AS "reasoning_tokens!",
            r.image_output_tokens AS "image_output_tokens!", r.charged_nanos AS "charged_nanos!", t.terms
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
        ORDER BY r.transaction_id DESC, r.id DESC LIMIT 1"#,
        payer,
        request,
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let column = |name| Column::new("request_logs", name);
    let request = RequestId::new(row.id);
    let terms: Terms = serde_json::from_str(&row.terms)
        .map_err(|_| Column::new("price_terms", "terms").corrupt(request))?;
    Ok(Some(ClientGeneration {
        generation_id: row.generation_id.unwrap_or_default(),
        request,
        model: terms
            .shown_model
            .or(row.model)
            .unwrap_or(terms.requested_model),
        provider: row.provider,
        delivery: Delivery::from_name(&row.delivery)
            .ok_or_else(|| column("delivery").corrupt(request))?,
        ending: Ending::from_name(&row.ending).ok_or_else(|| column("ending").corrupt(request))?,
        admitted_at: Timestamp::from(row.admitted_at),
        finished_at: Timestamp::from(row.finished_at),
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
