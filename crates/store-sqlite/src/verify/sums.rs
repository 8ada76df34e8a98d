//! Sums over everything, and what they are compared with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use airouter_billing::budget::BudgetSlot;
use airouter_billing::posting::LedgerAccount;
use airouter_billing::{BudgetId, Quantity, Timestamp};
use airouter_store::StoreError;
use airouter_store::ledger::Check;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::event_rows::EventRow;
use super::findings::Findings;
use crate::connection::failed;
use crate::convert::Column;
use crate::shared_rows::ChargedSlot;

/// An account of the ledger as the database names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LedgerAccountKey {
    kind: String,
    owner: Option<Uuid>,
}

impl From<LedgerAccount> for LedgerAccountKey {
    fn from(account: LedgerAccount) -> Self {
        Self {
            kind: account.kind().to_owned(),
            owner: account.owner(),
        }
    }
}

impl fmt::Display for LedgerAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            None => f.write_str(&self.kind),
            Some(owner) => write!(f, "{} of account {owner}", self.kind),
        }
    }
}

/// A ledger account while its postings are summed.
struct LedgerSum {
    key: LedgerAccountKey,
    balance: i64,
    posted: i128,
}

/// What a client was charged and credited, by its postings.
#[derive(Clone, Copy, Default)]
struct ClientSums {
    balance: i128,
    spent: i128,
    earned: i128,
}

/// What events charged to one set of budgets.
#[derive(Clone, Copy, Default)]
struct SetSums {
    nanos: i128,
    requests: i128,
}

/// Everything that is summed in one pass.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) events: u64,
    pub(super) transactions: u64,
    ledger: HashMap<i64, LedgerSum>,
    clients: BTreeMap<Uuid, ClientSums>,
    sets: HashMap<i64, SetSums>,
}

impl Totals {
    pub(super) async fn read_ledger_accounts(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query!("SELECT id, kind, owner_id, balance_nanos FROM ledger_accounts")
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        for row in rows {
            let key = LedgerAccountKey {
                kind: row.kind,
                owner: Uuid::from_slice(&row.owner_id).ok(),
            };
            let sum = LedgerSum {
                key,
                balance: row.balance_nanos,
                posted: 0,
            };
            self.ledger.insert(row.id, sum);
        }
        Ok(())
    }

    pub(super) fn add_event(&mut self, row: &EventRow<'_>) {
        self.events += 1;
        let sums = self.sets.entry(row.budget_set_id).or_default();
        sums.nanos += i128::from(row.charged_nanos);
        sums.requests += i128::from(row.charged_requests);
    }

    /// Adds a posting; returns the account that it is on.
    pub(super) fn add_posting(
        &mut self,
        account: i64,
        amount: i64,
        is_usage: bool,
    ) -> LedgerAccountKey {
        let sum = self.ledger.entry(account).or_insert_with(|| LedgerSum {
            key: LedgerAccountKey {
                kind: format!("ledger account {account}"),
                owner: None,
            },
            balance: 0,
            posted: 0,
        });
        let amount = i128::from(amount);
        sum.posted += amount;
        if let Some(owner) = sum.key.owner {
            let is_balance = sum.key.kind == "client_balance";
            if is_balance || sum.key.kind == "receivable" {
                let client = self.clients.entry(owner).or_default();
                // A client's balance is a liability: what it has is the negative sum of its postings.
                if is_balance {
                    client.balance -= amount;
                }
                if is_usage {
                    client.spent += amount;
                } else if is_balance && amount < 0 {
                    client.earned -= amount;
                }
            }
        }
        sum.key.clone()
    }

    /// Postings whose transaction does not exist.
    pub(super) async fn read_orphan_postings(
        &mut self,
        connection: &mut SqliteConnection,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let rows = sqlx::query!(
            "SELECT transaction_id, ledger_account_id, amount_nanos FROM ledger_postings
            WHERE transaction_id NOT IN (SELECT id FROM ledger_transactions)"
        )
        .fetch_all(connection)
        .await
        .map_err(failed)?;
        for row in rows {
            let account = self.add_posting(row.ledger_account_id, row.amount_nanos, true);
            let subject = || format!("a posting of transaction {}, {account}", row.transaction_id);
            findings.compare(Check::Orphan, subject, 0, row.amount_nanos.into());
        }
        Ok(())
    }
}

/// Compares the sums with what the database says they are.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    totals: &Totals,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut ledger: Vec<_> = totals.ledger.values().collect();
    ledger.sort_by(|left, right| left.key.cmp(&right.key));
    for sum in ledger {
        let subject = || sum.key.to_string();
        findings.compare(
            Check::AccountBalance,
            subject,
            sum.posted,
            sum.balance.into(),
        );
    }
    check_clients(connection, totals, findings).await?;
    check_reserved(connection, findings).await?;
    check_spent(connection, totals, findings).await
}

async fn check_clients(
    connection: &mut SqliteConnection,
    totals: &Totals,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        "SELECT account_id, balance_nanos, lifetime_spent_nanos, lifetime_earned_nanos FROM balances"
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut clients = totals.clients.clone();
    for row in rows {
        let account = Column::new("balances", "account_id").uuid(&row.account_id)?;
        let sums = clients.remove(&account).unwrap_or_default();
        for (check, what, expected, found) in [
            (
                Check::ClientBalance,
                "balance",
                sums.balance,
                row.balance_nanos,
            ),
            (
                Check::Lifetime,
                "lifetime spent",
                sums.spent,
                row.lifetime_spent_nanos,
            ),
            (
                Check::Lifetime,
                "lifetime earned",
                sums.earned,
                row.lifetime_earned_nanos,
            ),
        ] {
            let subject = || format!("{what} of account {account}");
            findings.compare(check, subject, expected, found.into());
        }
    }
    for (account, sums) in clients {
        let subject = || format!("account {account}, which has no balance");
        findings.add(Check::Orphan, subject, 0, sums.balance);
    }
    Ok(())
}

async fn check_reserved(
    connection: &mut SqliteConnection,
    findings: &mut Findings,
) -> Result<(), StoreError> {
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
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        let id = Column::new("leases", "budget_id").uuid(&row.id)?;
        let subject = || match row.kind.as_str() {
            "balance" => format!("reserved of the balance of account {id}"),
            _ => format!("reserved of budget {id} from {}", day(row.period_start)),
        };
        findings.add(
            Check::Reserved,
            subject,
            row.leased.into(),
            row.reserved.into(),
        );
    }
    Ok(())
}

async fn check_spent(
    connection: &mut SqliteConnection,
    totals: &Totals,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut expected = expected_spent(connection, totals).await?;
    let rows = sqlx::query!(
        r#"SELECT p.budget_id, p.period_start, p.spent, b.owner_kind AS "owner_kind?", b.owner_id AS "owner_id?"
        FROM budget_periods p LEFT JOIN budgets b ON b.id = p.budget_id"#
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        let budget = Column::new("budget_periods", "budget_id").uuid(&row.budget_id)?;
        let spent = expected.remove(&(budget, row.period_start)).unwrap_or(0);
        let subject = || {
            let from = day(row.period_start);
            let owner = row.owner_id.as_deref().map(Uuid::from_slice);
            match (owner, &row.owner_kind) {
                (Some(Ok(owner)), Some(kind)) => {
                    format!("budget {budget} of {kind} {owner} from {from}")
                }
                _ => format!("budget {budget} from {from}"),
            }
        };
        findings.compare(Check::BudgetSpent, subject, spent, row.spent.into());
    }
    for ((budget, period_start), spent) in expected {
        let subject = || format!("budget {budget} from {}", day(period_start));
        findings.compare(Check::BudgetSpent, subject, spent, 0);
    }
    Ok(())
}

/// What the events charged to each cap in each period.
async fn expected_spent(
    connection: &mut SqliteConnection,
    totals: &Totals,
) -> Result<BTreeMap<(Uuid, i64), i128>, StoreError> {
    let mut expected = BTreeMap::new();
    for (id, sums) in &totals.sets {
        let slots = sqlx::query_scalar!("SELECT slots FROM budget_sets WHERE id = $1", id)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        let slots: Vec<ChargedSlot> = serde_json::from_str(&slots)
            .map_err(|_| Column::new("budget_sets", "slots").corrupt(id))?;
        for ChargedSlot { slot, quantity } in slots {
            let BudgetSlot {
                id: BudgetId::Cap(budget),
                period_start,
            } = slot
            else {
                continue;
            };
            let key = (budget, period_start.as_micros());
            *expected.entry(key).or_insert(0) += match quantity {
                Quantity::Nanos => sums.nanos,
                Quantity::Requests => sums.requests,
            };
        }
    }
    Ok(expected)
}

fn day(period_start: i64) -> String {
    Timestamp::from_micros(period_start)
        .to_utc()
        .map_or_else(|| period_start.to_string(), |at| at.date().to_string())
}
