//! Sums over everything, and what they are compared with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use airouter_billing::budget::BudgetSlot;
use airouter_billing::posting::LedgerAccount;
use airouter_billing::{BudgetId, Quantity, Timestamp};
use uuid::Uuid;

use super::event_rows::EventRow;
use super::findings::Findings;
use super::rows::{BalanceRow, LedgerAccountRow, OrphanRow, PeriodRow, RefusedRow, ReservedRow};
use super::{Ledger, SharedTexts};
use crate::error::StoreError;
use crate::ledger::Check;
use crate::shared_texts::ChargedSlot;

/// An account of the ledger as the database names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LedgerAccountKey {
    kind: String,
    owner: Option<Uuid>,
}

impl LedgerAccountKey {
    /// Whether it has what upstreams billed otherwise than it is booked.
    pub(super) fn is_of_reconciliation(&self) -> bool {
        self.kind == "reconciliation"
    }

    /// Whether it has what clients were asked to pay: of adjustments, only refunds post there.
    pub(super) fn is_revenue(&self) -> bool {
        self.kind == "revenue"
    }
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
    pub(super) corrections: u64,
    pub(super) transactions: u64,
    ledger: HashMap<i64, LedgerSum>,
    clients: BTreeMap<Uuid, ClientSums>,
    sets: HashMap<i64, SetSums>,
}

impl Totals {
    pub(super) fn new(accounts: Vec<LedgerAccountRow>) -> Self {
        let ledger = accounts.into_iter().map(|row| {
            let sum = LedgerSum {
                key: LedgerAccountKey {
                    kind: row.kind,
                    owner: row.owner,
                },
                balance: row.balance_nanos,
                posted: 0,
            };
            (row.id, sum)
        });
        Self {
            ledger: ledger.collect(),
            ..Self::default()
        }
    }

    pub(super) fn add_event(&mut self, row: &EventRow<'_>) {
        self.events += 1;
        self.add_charge(row);
    }

    pub(super) fn add_correction(&mut self, row: &EventRow<'_>) {
        self.corrections += 1;
        self.add_charge(row);
    }

    fn add_charge(&mut self, row: &EventRow<'_>) {
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

    /// Adds postings whose transaction does not exist.
    pub(super) fn add_orphans(&mut self, orphans: Vec<OrphanRow>, findings: &mut Findings) {
        for row in orphans {
            let account = self.add_posting(row.ledger_account_id, row.amount_nanos, true);
            let subject = || format!("a posting of transaction {}, {account}", row.transaction_id);
            findings.compare(Check::Orphan, subject, 0, row.amount_nanos.into());
        }
    }
}

/// Compares the sums with what the database says they are.
pub(super) async fn check(
    ledger: &mut dyn Ledger,
    texts: &dyn SharedTexts,
    totals: &Totals,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let mut sums: Vec<_> = totals.ledger.values().collect();
    sums.sort_by(|left, right| left.key.cmp(&right.key));
    for sum in sums {
        let subject = || sum.key.to_string();
        let balance = sum.balance.into();
        findings.compare(Check::AccountBalance, subject, sum.posted, balance);
    }
    check_clients(ledger.balances().await?, totals, findings);
    check_reserved(ledger.wrong_reservations().await?, findings);
    let expected = expected_spent(texts, totals).await?;
    check_spent(ledger.periods().await?, expected, findings);
    check_refused(ledger.refused().await?, findings);
    Ok(())
}

fn check_clients(rows: Vec<BalanceRow>, totals: &Totals, findings: &mut Findings) {
    let mut clients = totals.clients.clone();
    for row in rows {
        let account = row.account;
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
}

fn check_reserved(rows: Vec<ReservedRow>, findings: &mut Findings) {
    for row in rows {
        let subject = || match row.slot.id {
            BudgetId::Balance(account) => format!("reserved of the balance of account {account}"),
            BudgetId::Cap(budget) => {
                format!(
                    "reserved of budget {budget} from {}",
                    day(row.slot.period_start)
                )
            }
        };
        let (leased, reserved) = (row.leased.into(), row.reserved.into());
        findings.add(Check::Reserved, subject, leased, reserved);
    }
}

fn check_spent(
    rows: Vec<PeriodRow>,
    mut expected: BTreeMap<(Uuid, Timestamp), i128>,
    findings: &mut Findings,
) {
    for row in rows {
        let (budget, from) = (row.budget, row.period_start);
        let spent = expected.remove(&(budget, from)).unwrap_or(0);
        let subject = || match &row.owner {
            Some((kind, owner)) => {
                format!("budget {budget} of {kind} {owner} from {}", day(from))
            }
            None => format!("budget {budget} from {}", day(from)),
        };
        findings.compare(Check::BudgetSpent, subject, spent, row.spent.into());
    }
    for ((budget, period_start), spent) in expected {
        let subject = || format!("budget {budget} from {}", day(period_start));
        findings.compare(Check::BudgetSpent, subject, spent, 0);
    }
}

/// Every event that the database refused is missing from the ledger, with what it cost.
fn check_refused(rows: Vec<RefusedRow>, findings: &mut Findings) {
    for row in rows {
        let subject = || format!("request {}, set aside", row.request);
        findings.add(Check::Refused, subject, row.cost_nanos.into(), 0);
    }
}

/// What the events charged to each cap in each period.
async fn expected_spent(
    texts: &dyn SharedTexts,
    totals: &Totals,
) -> Result<BTreeMap<(Uuid, Timestamp), i128>, StoreError> {
    let mut expected = BTreeMap::new();
    for (id, sums) in &totals.sets {
        let slots = texts.budget_set(*id).await?;
        let slots: Vec<ChargedSlot> =
            serde_json::from_str(&slots).map_err(|_| StoreError::Corrupt {
                table: "budget_sets",
                column: "slots",
                row: id.to_string(),
            })?;
        for ChargedSlot { slot, quantity } in slots {
            let BudgetSlot {
                id: BudgetId::Cap(budget),
                period_start,
            } = slot
            else {
                continue;
            };
            *expected.entry((budget, period_start)).or_insert(0) += match quantity {
                Quantity::Nanos => sums.nanos,
                Quantity::Requests => sums.requests,
            };
        }
    }
    Ok(expected)
}

fn day(period_start: Timestamp) -> String {
    period_start.to_utc().map_or_else(
        || period_start.as_micros().to_string(),
        |at| at.date().to_string(),
    )
}
