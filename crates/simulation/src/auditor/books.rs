//! The database's books against the auditor's own, step by step and at the end.

use airouter_billing::budget::{BudgetId, BudgetSlot};
use airouter_billing::event::{LossReason, Outcome};
use airouter_billing::posting::LedgerAccount;
use airouter_billing::{AccountId, Nanos, RequestId};

use super::{Auditor, CutOff, Known, Told, over};
use crate::agenda::SECOND;
use crate::database::{Database, Kind, LedgerEntry};
use crate::messages::ReplicaNumber;
use crate::promise::{Broken, Promise, holds};
use crate::replica::failed_attempt_id;
use crate::upstream::{Generation, Upstream};

impl Auditor {
    /// The operator has given or taken.
    pub(crate) fn adjusted(&mut self, account: AccountId, amount: Nanos) {
        let amount = i128::from(amount.get());
        *self.clients.entry(account).or_default() -= amount;
        *self.expected.entry(LedgerAccount::Grants).or_default() += amount;
    }

    /// A refund was granted.
    pub(crate) fn refunded(
        &mut self,
        request: RequestId,
        payer: AccountId,
        amount: Nanos,
    ) -> Result<(), Broken> {
        let amount = i128::from(amount.get());
        let refunded = self.refunded.entry(request).or_default();
        *refunded += amount;
        let charged = self.booked.get(&request).copied().unwrap_or(0);
        *self.clients.entry(payer).or_default() -= amount;
        *self.expected.entry(LedgerAccount::Revenue).or_default() += amount;
        holds(*refunded <= charged, Promise::BilledOnce, || {
            format!("{refunded} were refunded of {request}, which was charged {charged}")
        })
    }

    /// Entries of one step: what they come to together is what was booked in it.
    pub(super) fn check_entries(&mut self, entries: &[LedgerEntry]) -> Result<(), Broken> {
        for entry in entries {
            self.fingerprint = fingerprint(self.fingerprint, entry);
            let mut sum = 0_i128;
            for posting in &entry.postings {
                let amount = i128::from(posting.amount.get());
                sum += amount;
                *self.postings.entry(posting.account).or_default() += amount;
            }
            holds(sum == 0, Promise::Conserved, || {
                format!("the postings of a transaction sum to {sum}: {entry:?}")
            })?;
        }
        let is_usage =
            |entry: &&LedgerEntry| matches!(entry.kind, Kind::Usage | Kind::Correction(_));
        for entry in entries.iter().filter(is_usage) {
            for posting in &entry.postings {
                self.check_account(posting.account)?;
            }
        }
        Ok(())
    }

    fn check_account(&self, account: LedgerAccount) -> Result<(), Broken> {
        let posted = self.posted(account);
        let (posted, expected) = match account {
            LedgerAccount::ClientBalance(client) | LedgerAccount::Receivable(client) => {
                let balance = self.posted(LedgerAccount::ClientBalance(client));
                let owed = self.posted(LedgerAccount::Receivable(client));
                (balance + owed, self.clients.get(&client).copied())
            }
            _ => (posted, self.expected.get(&account).copied()),
        };
        let expected = expected.unwrap_or(0);
        holds(posted == expected, Promise::Conserved, || {
            format!("{account:?} has {posted}; events, credits and refunds make {expected}")
        })
    }

    fn posted(&self, account: LedgerAccount) -> i128 {
        self.postings.get(&account).copied().unwrap_or(0)
    }

    pub(super) fn check_slot(
        &mut self,
        database: &Database,
        slot: BudgetSlot,
    ) -> Result<(), Broken> {
        let leased: i128 = database
            .leases
            .range((slot, ReplicaNumber::MIN)..=(slot, ReplicaNumber::MAX))
            .map(|(_, amount)| i128::from(*amount))
            .sum();
        let reserved = match slot.id {
            BudgetId::Balance(account) => {
                let row = database.balances.get(&account).copied().unwrap_or_default();
                let free = i128::from(row.balance) + i128::from(row.credit_line);
                holds(
                    free >= i128::from(row.reserved),
                    Promise::NeverOverdrawn,
                    || format!("of {account} {row:?} is reserved beyond balance and credit line"),
                )?;
                let posted = -self.posted(LedgerAccount::ClientBalance(account));
                holds(
                    posted == i128::from(row.balance),
                    Promise::Conserved,
                    || format!("{account} has {}, and postings make {posted}", row.balance),
                )?;
                row.reserved
            }
            BudgetId::Cap(_) => {
                let row = database.periods.get(&slot).copied().unwrap_or_default();
                let (is_over, may_be) = (over(database, slot), self.over.get(&slot).copied());
                holds(
                    is_over <= may_be.unwrap_or(0),
                    Promise::NeverOverdrawn,
                    || format!("{slot:?} is {is_over} over its cap: {row:?}"),
                )?;
                if may_be.is_some() {
                    self.over.insert(slot, is_over);
                }
                let spent = self.spent.get(&slot).copied().unwrap_or(0);
                holds(spent == i128::from(row.spent), Promise::Conserved, || {
                    format!("{slot:?} has spent {}; events make {spent}", row.spent)
                })?;
                row.reserved
            }
        };
        holds(leased == i128::from(reserved), Promise::Conserved, || {
            format!("of {slot:?} {reserved} are reserved, and its leases sum to {leased}")
        })
    }

    /// After everything has come to rest.
    pub(crate) fn check_end(
        &mut self,
        database: &Database,
        upstream: &Upstream,
    ) -> Result<(), Broken> {
        let accounts: Vec<LedgerAccount> = self
            .postings
            .keys()
            .chain(self.expected.keys())
            .copied()
            .collect();
        for account in accounts {
            self.check_account(account)?;
        }
        let reread = database.ledger.iter().fold(0, fingerprint);
        holds(reread == self.fingerprint, Promise::AppendOnly, || {
            "the ledger does not read as it was written".to_owned()
        })?;
        holds(
            database.leases.is_empty(),
            Promise::NothingForgotten,
            || format!("leases were never returned: {:?}", database.leases),
        )?;
        holds(
            database.pending.is_empty(),
            Promise::NothingForgotten,
            || format!("requests are pending for ever: {:?}", database.pending),
        )?;
        self.check_ends(database)?;
        self.check_bills(database, upstream)
    }

    /// Every end that was sent is charged; where no price was known at the end, it may never have become known.
    fn check_ends(&self, database: &Database) -> Result<(), Broken> {
        for (request, known) in &self.known {
            let outcome = database.row(*request).map(|row| row.event.outcome);
            let is_charged = match known.told {
                Told::Nothing => continue,
                Told::TheEndOfACharge => outcome == Some(Outcome::Charged),
                Told::TheEnd => matches!(
                    outcome,
                    Some(Outcome::Charged | Outcome::Lost(LossReason::Unknown))
                ),
            };
            holds(is_charged, Promise::DurableBeforeDone, || {
                format!("the end of {request} was sent, and it is {outcome:?}")
            })?;
        }
        Ok(())
    }

    /// Everything that the upstream billed is charged, or a loss, or was cut by a crash too soon to be known.
    fn check_bills(&mut self, database: &Database, upstream: &Upstream) -> Result<(), Broken> {
        for ((request, attempt), generation) in &upstream.generations {
            if generation.billed.is_zero() {
                continue;
            }
            let as_failed = failed_attempt_id(*request, *attempt);
            let is_booked = [*request, as_failed].into_iter().any(|id| {
                let row = database.row(id);
                row.is_some_and(|row| {
                    let of_this = row
                        .event
                        .served
                        .generation_id
                        .as_deref()
                        .is_none_or(|name| {
                            name == crate::upstream::generation_name(*request, *attempt)
                        });
                    of_this || matches!(row.event.outcome, Outcome::Lost(LossReason::Unknown))
                })
            });
            if is_booked {
                continue;
            }
            let known = self.known.get(request);
            match known.and_then(|known| cut(known, generation)) {
                Some(Cut::Young) => self.cut_young += 1,
                Some(Cut::WhileAway) => self.cut_while_away += 1,
                None => {
                    let what = format!(
                        "the upstream billed {} for {request}, attempt {attempt}, and nobody knows",
                        generation.billed
                    );
                    return Err(Broken::new(Promise::NothingForgotten, what));
                }
            }
        }
        Ok(())
    }
}

/// Why a crash may have hidden a bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// It came within a second of the admission, or of the end of an attempt that failed.
    Young,
    /// The replica could not reach the database, and so could not write the request down.
    WhileAway,
}

fn cut(known: &Known, generation: &Generation) -> Option<Cut> {
    let (crashed_at, cut_off) = known.crashed?;
    let admitted_at = known.attempts.values().map(|(at, _)| *at).min();
    let is_young = admitted_at.is_none_or(|at| crashed_at - at < SECOND);
    let since_failure = crashed_at - generation.answered_at;
    let has_just_failed = generation.has_failed && (0..SECOND).contains(&since_failure);
    if is_young || has_just_failed {
        return Some(Cut::Young);
    }
    (cut_off == CutOff::Yes).then_some(Cut::WhileAway)
}

fn fingerprint(before: u64, entry: &LedgerEntry) -> u64 {
    entry
        .postings
        .iter()
        .fold(before.rotate_left(1), |sum, posting| {
            let amount = posting.amount.get().cast_unsigned();
            sum.rotate_left(7).wrapping_mul(31).wrapping_add(amount)
        })
}
