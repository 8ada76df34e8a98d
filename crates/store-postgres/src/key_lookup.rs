//! Looking client keys up, all that wait in one statement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airouter_auth::{AddressAccess, KeyHash};
use airouter_billing::event::Payment;
use airouter_billing::plan::SharedPlan;
use airouter_billing::{
    AccountId, ApiKeyId, BudgetId, BudgetRef, Period, PlanVersionId, Quantity, Timestamp,
};
use airouter_store::StoreError;
use airouter_store::clients::{Access, KeySnapshot, ModelAccess};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::{Column, LimitColumns};
use crate::lane::{Repeat, Work};
use crate::plans::PlanCache;

/// Looks keys up by their hashes.
pub(crate) struct KeyLookup {
    plans: PlanCache,
    /// Set when versions that were read may be others now.
    plans_are_stale: Arc<AtomicBool>,
}

impl KeyLookup {
    /// Looks keys up; what it remembers of plans it forgets when `plans_are_stale`.
    pub(crate) fn new(plans_are_stale: Arc<AtomicBool>) -> Self {
        Self {
            plans: PlanCache::default(),
            plans_are_stale,
        }
    }
}

struct KeyRow {
    hash: Vec<u8>,
    id: Uuid,
    name: String,
    preview: String,
    account_id: Uuid,
    payer_id: Uuid,
    mode: String,
    plan_version: Option<i64>,
    key_requests: Option<i64>,
    key_tokens: Option<i64>,
    key_concurrent: Option<i64>,
    payer_requests: Option<i64>,
    payer_tokens: Option<i64>,
    payer_concurrent: Option<i64>,
    allowed_models: Option<Vec<String>>,
    allowed_addresses: Option<Vec<String>>,
    expires_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
    is_disabled: bool,
    budgets: Vec<Uuid>,
    quantities: Vec<String>,
    periods: Vec<String>,
}

impl Work for KeyLookup {
    type Question = KeyHash;
    type Answer = Option<KeySnapshot>;

    const REPEAT: Repeat = Repeat::Safe;

    fn connected(&mut self) {
        self.plans = PlanCache::default();
    }

    async fn answer(
        &mut self,
        connection: &mut PgConnection,
        hashes: &[KeyHash],
    ) -> Result<Vec<Option<KeySnapshot>>, StoreError> {
        if self.plans_are_stale.swap(false, Ordering::AcqRel) {
            self.plans = PlanCache::default();
        }
        let mut found = HashMap::with_capacity(hashes.len());
        for mut row in rows(connection, hashes).await? {
            let version = row
                .plan_version
                .ok_or_else(|| Column::new("accounts", "plan_id").corrupt(row.payer_id))?;
            let version = PlanVersionId::new(version);
            let plan = self.plans.plan(connection, version).await?;
            found.insert(std::mem::take(&mut row.hash), snapshot(row, plan)?);
        }
        let answer = |hash: &KeyHash| found.get(hash.as_bytes().as_slice()).cloned();
        Ok(hashes.iter().map(answer).collect())
    }
}

async fn rows(
    connection: &mut PgConnection,
    hashes: &[KeyHash],
) -> Result<Vec<KeyRow>, StoreError> {
    let hashes: Vec<&[u8]> = hashes
        .iter()
        .map(|hash| hash.as_bytes().as_slice())
        .collect();
    sqlx::query_as!(
        KeyRow,
        r#"SELECT k.hash AS "hash!", k.id AS "id!", k.name AS "name!", k.preview AS "preview!",
            k.account_id AS "account_id!", k.payer_id AS "payer_id!", payer.mode AS "mode!",
            (SELECT max(v.id) FROM plan_versions v WHERE v.plan_id = payer.plan_id) AS "plan_version?",
            k.requests_per_minute AS key_requests, k.tokens_per_minute AS key_tokens,
            k.concurrent_requests AS key_concurrent,
            payer.requests_per_minute AS payer_requests, payer.tokens_per_minute AS payer_tokens,
            payer.concurrent_requests AS payer_concurrent,
            k.allowed_models, k.allowed_addresses, k.expires_at, k.revoked_at,
            (account.status <> 'active' OR payer.status <> 'active' OR coalesce(u.status, 'active') <> 'active'
                OR (k.payer_id <> k.account_id AND m.id IS NULL)) AS "is_disabled!",
            coalesce(chain.budgets, '{}') AS "budgets!",
            coalesce(chain.quantities, '{}') AS "quantities!",
            coalesce(chain.periods, '{}') AS "periods!"
        FROM api_keys k
        JOIN accounts account ON account.id = k.account_id
        JOIN accounts payer ON payer.id = k.payer_id
        LEFT JOIN persons p ON p.account_id = k.account_id
        LEFT JOIN users u ON u.id = p.user_id
        LEFT JOIN memberships m ON m.organization_id = k.payer_id AND m.person_id = k.account_id
            AND m.ended_at IS NULL
        LEFT JOIN LATERAL (
            SELECT array_agg(id) AS budgets, array_agg(quantity) AS quantities, array_agg(period) AS periods
            FROM (
                SELECT id, quantity, period FROM budgets
                WHERE cap IS NOT NULL AND owner_id IN (k.id, m.id, k.payer_id)
                ORDER BY CASE owner_kind WHEN 'key' THEN 0 WHEN 'member' THEN 1 WHEN 'tier' THEN 2 ELSE 3 END, id
            ) AS capped
        ) AS chain ON true
        WHERE k.hash = ANY($1)"#,
        hashes.as_slice() as &[&[u8]]
    )
    .fetch_all(connection)
    .await
    .map_err(failed)
}

fn snapshot(row: KeyRow, plan: SharedPlan) -> Result<KeySnapshot, StoreError> {
    let payer = AccountId::new(row.payer_id);
    let payment = Payment::from_name(&row.mode)
        .ok_or_else(|| Column::new("accounts", "mode").corrupt(payer))?;
    let access = if row.revoked_at.is_some() {
        Access::Revoked
    } else if row.is_disabled {
        Access::Disabled
    } else {
        Access::Granted
    };
    Ok(KeySnapshot {
        budgets: chain(&row, payment)?,
        key: ApiKeyId::new(row.id),
        name: row.name,
        preview: row.preview,
        account: AccountId::new(row.account_id),
        payer,
        payment,
        plan,
        key_limits: LimitColumns {
            requests_per_minute: row.key_requests,
            tokens_per_minute: row.key_tokens,
            concurrent_requests: row.key_concurrent,
        }
        .into(),
        account_limits: LimitColumns {
            requests_per_minute: row.payer_requests,
            tokens_per_minute: row.payer_tokens,
            concurrent_requests: row.payer_concurrent,
        }
        .into(),
        models: row
            .allowed_models
            .map_or(ModelAccess::All, ModelAccess::Only),
        addresses: AddressAccess::from_stored(row.allowed_addresses.as_deref()),
        access,
        expires_at: row.expires_at.map(Timestamp::from),
    })
}

/// Every budget that a request of the key spends from: key, member, tier and account, balance.
fn chain(row: &KeyRow, payment: Payment) -> Result<Arc<[BudgetRef]>, StoreError> {
    let column = |name| Column::new("budgets", name);
    let mut chain = Vec::with_capacity(row.budgets.len() + 1);
    for ((id, quantity), period) in row.budgets.iter().zip(&row.quantities).zip(&row.periods) {
        chain.push(BudgetRef {
            id: BudgetId::Cap(*id),
            quantity: Quantity::from_name(quantity)
                .ok_or_else(|| column("quantity").corrupt(id))?,
            period: Period::from_name(period).ok_or_else(|| column("period").corrupt(id))?,
        });
    }
    if payment == Payment::Prepaid {
        chain.push(BudgetRef {
            id: BudgetId::Balance(AccountId::new(row.payer_id)),
            quantity: Quantity::Nanos,
            period: Period::None,
        });
    }
    Ok(chain.into())
}
