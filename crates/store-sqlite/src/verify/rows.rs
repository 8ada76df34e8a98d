//! The rows that are compared with the sums.

use airouter_billing::budget::BudgetSlot;
use airouter_billing::{AccountId, BudgetId, Timestamp};
use airouter_store::StoreError;
use airouter_store::verification::Ledger;
use airouter_store::verification::rows::{
    BalanceRow, LedgerAccountRow, OrphanRow, PeriodRow, RefusedRow, ReservedRow,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::Column;

/// All accounts of the ledger.
pub(super) async fn ledger_accounts(
    connection: &mut SqliteConnection,
) -> Result<Vec<LedgerAccountRow>, StoreError> {
    let rows = sqlx::query!("SELECT id, kind, owner_id, balance_nanos FROM ledger_accounts")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let accounts = rows.into_iter().map(|row| LedgerAccountRow {
        id: row.id,
        kind: row.kind,
        owner: Uuid::from_slice(&row.owner_id).ok(),
        balance_nanos: row.balance_nanos,
    });
    Ok(accounts.collect())
}

/// A connection that sees the moment of the verification.
pub(super) struct LedgerReader<'a>(pub(super) &'a mut SqliteConnection);

#[async_trait]
impl Ledger for LedgerReader<'_> {
    async fn has_transaction(&mut self, transaction: i64) -> Result<bool, StoreError> {
        let exists = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM ledger_transactions WHERE id = $1) AS "exists!: i64""#,
            transaction
        )
        .fetch_one(&mut *self.0)
        .await
        .map_err(failed)?;
        Ok(exists != 0)
    }

    async fn orphan_postings(&mut self) -> Result<Vec<OrphanRow>, StoreError> {
        sqlx::query_as!(
            OrphanRow,
            "SELECT transaction_id, ledger_account_id, amount_nanos FROM ledger_postings
            WHERE transaction_id NOT IN (SELECT id FROM ledger_transactions)"
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)
    }

    async fn balances(&mut self) -> Result<Vec<BalanceRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT account_id, balance_nanos, lifetime_spent_nanos, lifetime_earned_nanos FROM balances"
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)?;
        let balances = rows.into_iter().map(|row| {
            Ok(BalanceRow {
                account: Column::new("balances", "account_id").uuid(&row.account_id)?,
                balance_nanos: row.balance_nanos,
                lifetime_spent_nanos: row.lifetime_spent_nanos,
                lifetime_earned_nanos: row.lifetime_earned_nanos,
            })
        });
        balances.collect()
    }

    async fn wrong_reservations(&mut self) -> Result<Vec<ReservedRow>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT kind AS "kind!: String", id AS "id!: Vec<u8>", period_start AS "period_start!: i64",
                sum(reserved) AS "reserved!: i64", sum(leased) AS "leased!: i64"
            FROM (
                SELECT 'balance' AS kind, account_id AS id, 0 AS period_start, reserved_nanos AS reserved, 0 AS leased
                FROM balances
                UNION ALL SELECT 'cap', budget_id, period_start, reserved, 0 FROM budget_periods
                UNION ALL SELECT budget_kind, budget_id, period_start, 0, amount FROM leases
            )
            GROUP BY kind, id, period_start HAVING sum(reserved) <> sum(leased)"#
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)?;
        let reservations = rows.into_iter().map(|row| {
            let id = Column::new("leases", "budget_id").uuid(&row.id)?;
            let id = match row.kind.as_str() {
                "balance" => BudgetId::Balance(AccountId::new(id)),
                _ => BudgetId::Cap(id),
            };
            let slot = BudgetSlot {
                id,
                period_start: Timestamp::from_micros(row.period_start),
            };
            Ok(ReservedRow {
                slot,
                reserved: row.reserved,
                leased: row.leased,
            })
        });
        reservations.collect()
    }

    async fn periods(&mut self) -> Result<Vec<PeriodRow>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT p.budget_id, p.period_start, p.spent, b.owner_kind AS "owner_kind?", b.owner_id AS "owner_id?"
            FROM budget_periods p LEFT JOIN budgets b ON b.id = p.budget_id"#
        )
        .fetch_all(&mut *self.0)
        .await
        .map_err(failed)?;
        let periods = rows.into_iter().map(|row| {
            let owner = row.owner_id.as_deref().map(Uuid::from_slice);
            Ok(PeriodRow {
                budget: Column::new("budget_periods", "budget_id").uuid(&row.budget_id)?,
                period_start: Timestamp::from_micros(row.period_start),
                spent: row.spent,
                owner: row.owner_kind.zip(owner.and_then(Result::ok)),
            })
        });
        periods.collect()
    }

    async fn refused(&mut self) -> Result<Vec<RefusedRow>, StoreError> {
        let rows = sqlx::query!("SELECT request_id, cost_nanos FROM unbooked_refusals ORDER BY id")
            .fetch_all(&mut *self.0)
            .await
            .map_err(failed)?;
        let refused = rows.into_iter().map(|row| {
            Ok(RefusedRow {
                request: Column::new("refused_settlements", "request_id").uuid(&row.request_id)?,
                cost_nanos: row.cost_nanos,
            })
        });
        refused.collect()
    }

    async fn name_event(&mut self, row: &str) -> Result<String, StoreError> {
        // A correction is known by its request, which is longer than any number.
        if let Ok(request) = Uuid::try_parse(row) {
            return Ok(format!("request {request}"));
        }
        let id = sqlx::query_scalar!("SELECT id FROM request_logs WHERE seq = $1", row)
            .fetch_one(&mut *self.0)
            .await
            .map_err(failed)?;
        Ok(match Column::new("request_logs", "id").uuid(&id) {
            Ok(id) => format!("request {id}"),
            Err(_) => format!("the request in row {row}"),
        })
    }
}
