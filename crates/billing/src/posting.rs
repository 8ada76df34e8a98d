//! Double entry: what a settlement, a credit or a loss writes into the ledger.
//!
//! Amounts are signed: a debit is positive, a credit negative, and the postings of a transaction sum to zero. What a
//! client owns is a liability of the operator, so a client's balance of $5 is a sum of postings of −$5.

use std::collections::BTreeMap;

use crate::correction::BookedLoss;
use crate::event::{LossReason, Outcome, Payment, UsageEvent};
use crate::fault::{Fault, is_planted};
use crate::ids::{AccountId, MasterAccountId};
use crate::money::Nanos;
use crate::refund::Refund;
use crate::settlement::Covered;

/// An account of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerAccount {
    /// Money that a client has paid in or was granted, and not spent (liability).
    ClientBalance(AccountId),
    /// What a metered client owes (asset).
    Receivable(AccountId),
    /// What clients were asked to pay (income).
    Revenue,
    /// What serving them cost (expense).
    CostOfSales,
    /// Credit at a master account (asset); negative while purchases are not booked.
    UpstreamCredit(MasterAccountId),
    /// What nobody paid for, by reason (expense).
    Loss(LossReason),
    /// Credit that the operator gave without a payment (expense).
    Grants,
    /// What the upstream billed otherwise than it is booked (expense).
    Reconciliation(MasterAccountId),
}

impl LedgerAccount {
    /// The kind of account, as the database names it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::ClientBalance(_) => "client_balance",
            Self::Receivable(_) => "receivable",
            Self::Revenue => "revenue",
            Self::CostOfSales => "cost_of_sales",
            Self::UpstreamCredit(_) => "upstream_credit",
            Self::Loss(LossReason::Crash) => "loss_crash",
            Self::Loss(LossReason::Uncollected) => "loss_uncollected",
            Self::Loss(LossReason::FailedAttempt) => "loss_failed_attempt",
            Self::Loss(LossReason::Unknown) => "loss_unknown",
            Self::Grants => "grants",
            Self::Reconciliation(_) => "reconciliation",
        }
    }

    /// Whose account it is, for the kinds that have an owner.
    pub const fn owner(self) -> Option<uuid::Uuid> {
        match self {
            Self::ClientBalance(account) | Self::Receivable(account) => Some(account.get()),
            Self::UpstreamCredit(master) | Self::Reconciliation(master) => Some(master.get()),
            Self::Revenue | Self::CostOfSales | Self::Loss(_) | Self::Grants => None,
        }
    }
}

/// One line of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Where.
    pub account: LedgerAccount,
    /// How much: a debit is positive, a credit negative.
    pub amount: Nanos,
}

/// The postings of one transaction, summed by account; they can only be taken out balanced.
#[derive(Debug, Default)]
pub struct Transaction {
    sums: BTreeMap<LedgerAccount, i128>,
}

/// A sum that does not fit into an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the postings of a transaction do not fit into an amount")]
pub struct PostingOverflow;

impl Transaction {
    /// Moves `amount` from `credit` to `debit`.
    pub fn transfer(&mut self, debit: LedgerAccount, credit: LedgerAccount, amount: Nanos) {
        *self.sums.entry(debit).or_default() += i128::from(amount.get());
        *self.sums.entry(credit).or_default() -= i128::from(amount.get());
    }

    /// Books a request: the client pays what was covered, the rest of its price is lost; what serving it cost is cost of
    /// sales, or a loss when the client is not asked to pay.
    pub fn book(&mut self, event: &UsageEvent, covered: Covered) {
        let payer = event.request.payer;
        let client = match event.request.payment {
            Payment::Prepaid => LedgerAccount::ClientBalance(payer),
            Payment::Metered => LedgerAccount::Receivable(payer),
        };
        let upstream = LedgerAccount::UpstreamCredit(event.served.master_account);
        match event.outcome {
            Outcome::Charged => {
                self.transfer(client, LedgerAccount::Revenue, covered.charged);
                let uncollected = LedgerAccount::Loss(LossReason::Uncollected);
                self.transfer(uncollected, LedgerAccount::Revenue, covered.uncollected);
                self.transfer(LedgerAccount::CostOfSales, upstream, event.cost);
            }
            Outcome::Lost(reason) => {
                self.transfer(LedgerAccount::Loss(reason), upstream, event.cost)
            }
        }
    }

    /// Takes a loss back: what was posted for it, the other way round.
    pub fn reverse(&mut self, loss: &BookedLoss) {
        if is_planted(Fault::LossNotReversed) {
            return;
        }
        let upstream = LedgerAccount::UpstreamCredit(loss.master_account);
        self.transfer(upstream, LedgerAccount::Loss(loss.reason), loss.cost);
    }

    /// Gives back what a request was charged, or a part of it. What serving it cost stays with the operator.
    pub fn refund(&mut self, refund: &Refund) {
        let client = refund.client();
        self.transfer(LedgerAccount::Revenue, client, refund.amount);
        let owed = LedgerAccount::Receivable(refund.payer);
        self.transfer(client, owed, refund.debt_paid);
    }

    /// The postings that are not zero, by account; they sum to zero.
    pub fn into_postings(self) -> Result<Vec<Posting>, PostingOverflow> {
        self.sums
            .into_iter()
            .filter(|(_, sum)| *sum != 0)
            .map(|(account, sum)| {
                let amount = i64::try_from(sum).map_err(|_| PostingOverflow)?;
                Ok(Posting {
                    account,
                    amount: Nanos::new(amount),
                })
            })
            .collect()
    }
}

/// How a prepaid account stands before it is adjusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is free of its balance and credit line: not reserved.
    pub free: Nanos,
    /// What it owes because more was clawed back than was free.
    pub owed: Nanos,
}

/// An operator's credit (positive) or debit (negative) of a prepaid account. A debit takes what is free; what it exceeds
/// that by becomes a receivable, because a claw-back is never refused. A credit pays what is owed first, and so does what
/// has become free since.
pub fn adjustment(account: AccountId, amount: Nanos, standing: Standing) -> Transaction {
    let mut transaction = Transaction::default();
    let balance = LedgerAccount::ClientBalance(account);
    let receivable = LedgerAccount::Receivable(account);
    let mut owed = standing.owed.max(Nanos::ZERO);
    let mut free = standing.free.max(Nanos::ZERO);
    if amount.is_negative() {
        let debit = -amount;
        transaction.transfer(receivable, LedgerAccount::Grants, debit);
        owed = owed.saturating_add(debit);
    } else {
        transaction.transfer(LedgerAccount::Grants, balance, amount);
        free = free.saturating_add(amount);
    }
    transaction.transfer(balance, receivable, owed.min(free));
    transaction
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    proptest! {
        #[test]
        fn every_transaction_sums_to_zero(transfers in prop::collection::vec((0_u8..4, 0_u8..4, 0_i64..1_000_000), 0..50)) {
            let account = |index: u8| match index {
                0 => LedgerAccount::Revenue,
                1 => LedgerAccount::CostOfSales,
                2 => LedgerAccount::ClientBalance(AccountId::new(Uuid::from_u128(1))),
                _ => LedgerAccount::Loss(LossReason::Crash),
            };
            let mut transaction = Transaction::default();
            for (debit, credit, amount) in transfers {
                transaction.transfer(account(debit), account(credit), Nanos::new(amount));
            }
            let postings = transaction.into_postings().unwrap();
            prop_assert_eq!(postings.iter().map(|posting| posting.amount.get()).sum::<i64>(), 0);
            prop_assert!(postings.iter().all(|posting| posting.amount != Nanos::ZERO));
        }
    }

    #[test]
    fn a_debit_beyond_what_is_free_is_owed_and_paid_by_the_next_credit() {
        let account = AccountId::new(Uuid::from_u128(1));
        let balance = LedgerAccount::ClientBalance(account);
        let receivable = LedgerAccount::Receivable(account);
        let posted = |amount: i64, free: i64, owed: i64| {
            let standing = Standing {
                free: Nanos::new(free),
                owed: Nanos::new(owed),
            };
            let postings = adjustment(account, Nanos::new(amount), standing)
                .into_postings()
                .unwrap();
            let of = |wanted| {
                let posting = postings.iter().find(|posting| posting.account == wanted);
                posting.map_or(0, |posting| posting.amount.get())
            };
            (of(balance), of(receivable), of(LedgerAccount::Grants))
        };
        assert_eq!(posted(-100, 300, 0), (100, 0, -100));
        assert_eq!(posted(-100, 30, 0), (30, 70, -100));
        assert_eq!(posted(50, 0, 70), (0, -50, 50));
        assert_eq!(posted(100, 0, 70), (-30, -70, 100));
        // What came free since the debit pays it too.
        assert_eq!(posted(10, 60, 70), (60, -70, 10));
    }
}
