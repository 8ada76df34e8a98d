//! The rows that are compared with the sums.

use airouter_billing::budget::BudgetSlot;
use airouter_billing::{AccountId, BudgetId};
use airouter_store::StoreError;
use airouter_store::verification::Ledger;
use airouter_store::verification::rows::{
    BalanceRow, LedgerAccountRow, OrphanRow, PeriodRow, RefusedRow, ReservedRow,
};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::connection::failed;

/// All accounts of the ledger.
pub(super) async fn ledger_accounts(
    connection: &mut PgConnection,
) -> Result<Vec<LedgerAccountRow>, StoreError> {
    let rows = sqlx::query!("SELECT id, kind, owner_id, balance_nanos FROM ledger_accounts")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let accounts = rows.into_iter().map(|row| LedgerAccountRow {
        id: row.id,
        kind: row.kind,
        owner: Some(row.owner_id).filter(|owner| !owner.is_nil()),
        balance_nanos: row.balance_nanos,
    });
    Ok(accounts.collect())
}

/// A connection that sees the moment of the verification.
pub(super) struct LedgerReader<'a>(pub(super) &'a mut PgConnection);

#[async_trait]
impl Ledger for LedgerReader<'_> {
    async fn has_transaction(&mut self, transaction: i64) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM ledger_transactions WHERE id = $1) AS "exists!""#,
            transaction
        )
        .fetch_one(&mut *self.0)
        .await
        .map_err(failed)
    }

    async fn orphan_postings(&mut self) -> Result<Vec<OrphanRow>, StoreError> {
        sqlx::query_as!(
            OrphanRow,
            "SELECT transaction_id, ledger_account_id, amount_nanos FROM ledger_postings p
            WHERE NOT EXISTS (SELECT FROM ledger_transactions t WHERE t.id = p.transaction_id)
            ORDER BY transaction_id, ledger_account_id"
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)
    }

    async fn balances(&mut self) -> Result<Vec<BalanceRow>, StoreError> {
        sqlx::query_as!(
            BalanceRow,
            "SELECT account_id AS account, balance_nanos, lifetime_spent_nanos, lifetime_earned_nanos FROM balances"
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)
    }

    async fn wrong_reservations(&mut self) -> Result<Vec<ReservedRow>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT kind AS "kind!", id AS "id!", period_start AS "period_start!",
                sum(reserved)::bigint AS "reserved!", sum(leased)::bigint AS "leased!"
            FROM (
                SELECT 'balance' AS kind, account_id AS id, timestamptz 'epoch' AS period_start,
                    reserved_nanos AS reserved, 0 AS leased
                FROM balances
                UNION ALL SELECT 'cap', budget_id, period_start, reserved, 0 FROM budget_periods
                UNION ALL SELECT budget_kind, budget_id, period_start, 0, amount FROM leases
            ) AS part
            GROUP BY kind, id, period_start HAVING sum(reserved) <> sum(leased)
            ORDER BY kind, id, period_start"#
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)?;
        let reservations = rows.into_iter().map(|row| ReservedRow {
            slot: BudgetSlot {
                id: match row.kind.as_str() {
                    "balance" => BudgetId::Balance(AccountId::new(row.id)),
                    _ => BudgetId::Cap(row.id),
                },
                period_start: row.period_start.into(),
            },
            reserved: row.reserved,
            leased: row.leased,
        });
        Ok(reservations.collect())
    }

    async fn periods(&mut self) -> Result<Vec<PeriodRow>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT p.budget_id, p.period_start, p.spent, b.owner_kind AS "owner_kind?", b.owner_id AS "owner_id?"
            FROM budget_periods p LEFT JOIN budgets b ON b.id = p.budget_id"#
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)?;
        let periods = rows.into_iter().map(|row| PeriodRow {
            budget: row.budget_id,
            period_start: row.period_start.into(),
            spent: row.spent,
            owner: row.owner_kind.zip(row.owner_id),
        });
        Ok(periods.collect())
    }

    async fn refused(&mut self) -> Result<Vec<RefusedRow>, StoreError> {
        sqlx::query_as!(
            RefusedRow,
            r#"SELECT request_id AS "request!", cost_nanos AS "cost_nanos!" FROM unbooked_refusals ORDER BY id"#
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)
    }

    async fn name_event(&mut self, row: &str) -> Result<String, StoreError> {
        Ok(format!("request {row}"))
    }
}
