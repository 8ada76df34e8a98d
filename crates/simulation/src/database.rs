//! A model of the database: tables as maps, each call one transaction. It decides nothing: what changes is what
//! `billing` says, exactly as in the adapters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use airouter_billing::batch::{self, BalanceChange, SettledEvent, SlotChange, SlotState};
use airouter_billing::budget::{BudgetId, BudgetSlot};
use airouter_billing::correction::{
    Answers, Booked, BookedLoss, BookedRequests, Opening, closes, opening, replaces,
};
use airouter_billing::event::{Outcome, Payment};
use airouter_billing::ids::TransactionId;
use airouter_billing::lease::{Grant, grant};
use airouter_billing::posting::{self, LedgerAccount, Posting, Standing, Transaction};
use airouter_billing::recovery::PendingReason;
use airouter_billing::refund::Charge;
use airouter_billing::settlement::Covered;
use airouter_billing::tenure::LeaseClock;
use airouter_billing::{AccountId, Nanos, RequestId, Timestamp, UsageEvent};
use uuid::Uuid;

use crate::messages::{Answer, Call, Fenced, Job, OwnPending, Pending, ReplicaNumber};

/// A registered replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaRow {
    /// When its leases end, by the lease clock.
    pub(crate) ends: i64,
    pub(crate) has_ended: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BalanceRow {
    pub(crate) balance: i64,
    pub(crate) credit_line: i64,
    pub(crate) reserved: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeriodRow {
    pub(crate) spent: i64,
    pub(crate) reserved: i64,
}

/// A usage event as it was booked.
#[derive(Clone, Debug)]
pub(crate) struct RequestRow {
    /// The entry of the ledger.
    pub(crate) transaction: TransactionId,
    pub(crate) event: UsageEvent,
    pub(crate) covered: Covered,
    pub(crate) requests: i64,
    /// Whether the replica under whose number it was spent had ended when it was booked.
    pub(crate) spender_had_ended: bool,
}

/// Why there is a transaction of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Usage,
    /// Of this entry.
    Correction(TransactionId),
    Adjustment,
    Refund(RequestId),
}

#[derive(Clone, Debug)]
pub(crate) struct LedgerEntry {
    pub(crate) kind: Kind,
    pub(crate) postings: Vec<Posting>,
}

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) lease_clock: LeaseClock,
    pub(crate) replicas: BTreeMap<ReplicaNumber, ReplicaRow>,
    pub(crate) leases: BTreeMap<(BudgetSlot, ReplicaNumber), i64>,
    pub(crate) balances: BTreeMap<AccountId, BalanceRow>,
    pub(crate) caps: BTreeMap<Uuid, Option<i64>>,
    pub(crate) periods: BTreeMap<BudgetSlot, PeriodRow>,
    pub(crate) requests: Vec<RequestRow>,
    /// What stands in place of losses.
    pub(crate) corrections: Vec<RequestRow>,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) accounts: BTreeMap<LedgerAccount, i64>,
    pub(crate) pending: BTreeMap<RequestId, (ReplicaNumber, Pending)>,
    /// What changed since the auditor looked.
    pub(crate) touched: BTreeSet<BudgetSlot>,
    refunded: BTreeMap<RequestId, Nanos>,
    settled: BTreeMap<RequestId, usize>,
    corrected: BTreeMap<RequestId, usize>,
}

/// The slot of a balance, which has no periods.
pub(crate) fn balance_slot(account: AccountId) -> BudgetSlot {
    BudgetSlot {
        id: BudgetId::Balance(account),
        period_start: Timestamp::default(),
    }
}

impl Database {
    /// Executes a call of a replica; `now` is the database's own clock.
    pub(crate) fn execute(&mut self, call: &Call, now: Timestamp) -> Answer {
        match call {
            Call::Register => Answer::Registered(self.register()),
            Call::Renew(replica) => Answer::Renewed(self.keep_alive(*replica)),
            Call::EndSilent => Answer::Ended(self.end_silent(now)),
            Call::Lease {
                replica,
                slot,
                at_least,
                wish,
            } => Answer::Leased(self.lease(*replica, *slot, *at_least, *wish)),
            Call::GiveBack { replica, amounts } => {
                self.give_back(*replica, amounts);
                Answer::GivenBack
            }
            Call::Commit {
                spender,
                owner,
                jobs,
                answers,
            } => self.commit(*spender, *owner, jobs, *answers),
            Call::TakeOver { replica, own } => self.take_over(*replica, *own),
        }
    }

    fn register(&mut self) -> ReplicaNumber {
        let number = self.replicas.keys().next_back().map_or(1, |last| last + 1);
        let row = ReplicaRow {
            ends: self.lease_clock.lease_ends(),
            has_ended: false,
        };
        self.replicas.insert(number, row);
        number
    }

    fn keep_alive(&mut self, replica: ReplicaNumber) -> Result<(), Fenced> {
        let ends = self.lease_clock.lease_ends();
        match self.replicas.get_mut(&replica) {
            Some(row) if !row.has_ended => {
                row.ends = row.ends.max(ends);
                Ok(())
            }
            Some(_) | None => Err(Fenced),
        }
    }

    pub(crate) fn has_ended(&self, replica: ReplicaNumber) -> bool {
        self.replicas.get(&replica).is_none_or(|row| row.has_ended)
    }

    fn end_silent(&mut self, now: Timestamp) -> Vec<ReplicaNumber> {
        self.lease_clock = self.lease_clock.tick(now);
        let until = self.lease_clock.given_back_until();
        let mut ended = Vec::new();
        for (number, row) in &mut self.replicas {
            if !row.has_ended && row.ends <= until {
                row.has_ended = true;
                ended.push(*number);
            }
        }
        for number in &ended {
            self.end_leases(*number);
        }
        ended
    }

    fn end_leases(&mut self, replica: ReplicaNumber) {
        let slots: Vec<(BudgetSlot, i64)> = self
            .leases
            .iter()
            .filter(|((_, owner), _)| *owner == replica)
            .map(|((slot, _), amount)| (*slot, *amount))
            .collect();
        for (slot, amount) in slots {
            let change = SlotChange {
                released: amount,
                spent: 0,
            };
            self.change_slot(replica, slot, change);
        }
    }

    fn lease(
        &mut self,
        replica: ReplicaNumber,
        slot: BudgetSlot,
        at_least: i64,
        wish: i64,
    ) -> Result<Grant, Fenced> {
        self.keep_alive(replica)?;
        let granted = grant(self.free(slot), at_least, wish);
        if granted.amount > 0 {
            self.touched.insert(slot);
            *self.leases.entry((slot, replica)).or_default() += granted.amount;
            match slot.id {
                BudgetId::Balance(account) => {
                    self.balances.entry(account).or_default().reserved += granted.amount;
                }
                BudgetId::Cap(_) => {
                    self.periods.entry(slot).or_default().reserved += granted.amount;
                }
            }
        }
        Ok(granted)
    }

    fn give_back(&mut self, replica: ReplicaNumber, amounts: &[(BudgetSlot, i64)]) {
        for (slot, amount) in amounts {
            let released = (*amount).clamp(0, self.leased(*slot, replica));
            self.change_slot(replica, *slot, SlotChange { released, spent: 0 });
        }
    }

    pub(crate) fn leased(&self, slot: BudgetSlot, replica: ReplicaNumber) -> i64 {
        self.leases.get(&(slot, replica)).copied().unwrap_or(0)
    }

    /// What nobody has reserved and is not owed.
    pub(crate) fn free(&self, slot: BudgetSlot) -> i64 {
        match slot.id {
            BudgetId::Balance(account) => {
                let row = self.balances.get(&account).copied().unwrap_or_default();
                row.balance + row.credit_line - row.reserved - self.owed(account).get()
            }
            BudgetId::Cap(id) => self.caps.get(&id).map_or(0, |cap| {
                let row = self.periods.get(&slot).copied().unwrap_or_default();
                cap.unwrap_or(i64::MAX) - row.spent - row.reserved
            }),
        }
    }

    fn owed(&self, account: AccountId) -> Nanos {
        let receivable = LedgerAccount::Receivable(account);
        Nanos::new(self.accounts.get(&receivable).copied().unwrap_or(0))
    }

    fn commit(
        &mut self,
        spender: ReplicaNumber,
        owner: ReplicaNumber,
        jobs: &[Job],
        answers: Answers,
    ) -> Answer {
        let events: Vec<&UsageEvent> = jobs
            .iter()
            .filter_map(|job| match job {
                Job::Event(event, _) => Some(&**event),
                Job::Open(_) | Job::Note(_) | Job::Forget(_) => None,
            })
            .collect();
        let booked: BookedRequests = jobs
            .iter()
            .map(Job::request)
            .filter_map(|id| Some((id, self.booked(id)?)))
            .collect();
        let (mut superseded, corrected) = self.settle(spender, &events, answers, &booked);
        for job in jobs {
            if let Job::Open(pending) | Job::Note(pending) = job {
                let id = pending.request.id;
                let is_new = !self.settled.contains_key(&id);
                match opening(pending.reason, answers, booked.get(&id)) {
                    Opening::Opens if is_new || booked.contains_key(&id) => {
                        let known = self.pending.get(&id).map(|(_, known)| known.reason);
                        if known.is_none_or(|known| replaces(pending.reason, known)) {
                            self.pending.insert(id, (owner, Pending::clone(pending)));
                        }
                    }
                    Opening::Opens | Opening::Settled => {}
                    Opening::Superseded => superseded.push(id),
                }
            }
        }
        for job in jobs {
            let id = job.request();
            let reason = self.pending.get(&id).map(|(_, pending)| pending.reason);
            let is_over = match job {
                Job::Event(event, _) => reason.is_some_and(|reason| closes(event.outcome, reason)),
                Job::Forget(_) => true,
                Job::Open(_) | Job::Note(_) => false,
            };
            if is_over {
                self.pending.remove(&id);
            }
        }
        Answer::Committed {
            superseded,
            corrected,
        }
    }

    /// How a request is booked.
    fn booked(&self, request: RequestId) -> Option<Booked> {
        let row = &self.requests[*self.settled.get(&request)?];
        let Outcome::Lost(reason) = row.event.outcome else {
            return Some(Booked::Charged);
        };
        if self.corrected.contains_key(&request) {
            return Some(Booked::Corrected);
        }
        let loss = BookedLoss {
            transaction: row.transaction,
            reason,
            cost: row.event.cost,
            master_account: row.event.served.master_account,
        };
        let pending = self.pending.get(&request);
        let is_asked_for =
            pending.is_some_and(|(_, pending)| pending.reason == PendingReason::UsageUnknown);
        Some(if is_asked_for {
            Booked::Reopened(loss)
        } else {
            Booked::Lost(loss)
        })
    }

    /// The row of a request that is booked, or what stands in its place.
    pub(crate) fn row(&self, request: RequestId) -> Option<&RequestRow> {
        let corrected = self.corrected.get(&request);
        let corrected = corrected.map(|index| &self.corrections[*index]);
        corrected.or_else(|| {
            let index = self.settled.get(&request)?;
            Some(&self.requests[*index])
        })
    }

    /// Which charges came after their losses, and how many losses were corrected.
    fn settle(
        &mut self,
        spender: ReplicaNumber,
        events: &[&UsageEvent],
        answers: Answers,
        booked: &BookedRequests,
    ) -> (Vec<RequestId>, usize) {
        let states: HashMap<BudgetSlot, SlotState> = batch::slots_of(events.iter().copied())
            .into_iter()
            .map(|slot| {
                let state = SlotState {
                    leased: self.leased(slot, spender),
                    free: self.free(slot),
                };
                (slot, state)
            })
            .collect();
        let settled = batch::settle(events.iter().copied(), answers, booked, states);
        let Ok(settlement) = settled else {
            return (Vec::new(), 0);
        };
        if !settlement.events.is_empty() {
            let transaction = self.post(Kind::Usage, settlement.postings);
            for settled in &settlement.events {
                let row = self.row_of(settled, transaction, spender);
                self.settled
                    .insert(row.event.request.id, self.requests.len());
                self.requests.push(row);
            }
        }
        let before = self.corrections.len();
        for (of, entry) in settlement.corrections {
            let transaction = self.post(Kind::Correction(of), entry.postings);
            for correction in &entry.corrections {
                let row = self.row_of(&correction.settled, transaction, spender);
                self.corrected
                    .insert(row.event.request.id, self.corrections.len());
                self.corrections.push(row);
            }
        }
        for (slot, change) in settlement.slots {
            self.change_slot(spender, slot, change);
        }
        for (account, change) in settlement.balances {
            self.change_balance(AccountId::new(account), change);
        }
        (settlement.superseded, self.corrections.len() - before)
    }

    fn row_of(
        &self,
        settled: &SettledEvent<'_>,
        transaction: TransactionId,
        spender: ReplicaNumber,
    ) -> RequestRow {
        RequestRow {
            transaction,
            event: settled.event.clone(),
            covered: settled.covered,
            requests: settled.requests,
            spender_had_ended: self.has_ended(spender),
        }
    }

    fn change_slot(&mut self, replica: ReplicaNumber, slot: BudgetSlot, change: SlotChange) {
        self.touched.insert(slot);
        if change.released != 0 {
            let left = self.leased(slot, replica) - change.released;
            if left == 0 {
                self.leases.remove(&(slot, replica));
            } else {
                self.leases.insert((slot, replica), left);
            }
        }
        match slot.id {
            BudgetId::Balance(account) => {
                self.balances.entry(account).or_default().reserved -= change.released;
            }
            BudgetId::Cap(_) => {
                let row = self.periods.entry(slot).or_default();
                row.reserved -= change.released;
                row.spent += change.spent;
            }
        }
    }

    fn change_balance(&mut self, account: AccountId, change: BalanceChange) {
        if let Some(row) = self.balances.get_mut(&account) {
            row.balance += change.balance;
            self.touched.insert(balance_slot(account));
        }
    }

    /// Writes an entry of the ledger; returns its number.
    fn post(&mut self, kind: Kind, transaction: Transaction) -> TransactionId {
        let number = i64::try_from(self.ledger.len()).unwrap_or(i64::MAX);
        let number = TransactionId::new(number);
        let Ok(postings) = transaction.into_postings() else {
            return number;
        };
        for posting in &postings {
            *self.accounts.entry(posting.account).or_default() += posting.amount.get();
        }
        self.ledger.push(LedgerEntry { kind, postings });
        number
    }

    /// Pending requests of replicas that have ended become this replica's; its own are told too, when asked for.
    fn take_over(&mut self, replica: ReplicaNumber, own: OwnPending) -> Answer {
        let replicas = &self.replicas;
        let has_ended = |owner| replicas.get(&owner).is_none_or(|row| row.has_ended);
        let (mut taken, mut known) = (Vec::new(), Vec::new());
        for (owner, pending) in self.pending.values_mut() {
            if has_ended(*owner) {
                *owner = replica;
                taken.push(pending.clone());
            } else if *owner == replica && own == OwnPending::Too {
                known.push(pending.clone());
            }
        }
        taken.sort_by_key(|pending| (pending.since, pending.request.id));
        Answer::TakenOver { taken, own: known }
    }

    pub(crate) fn open_balance(&mut self, account: AccountId, credit_line: Nanos) {
        let row = self.balances.entry(account).or_default();
        row.credit_line = credit_line.get();
    }

    pub(crate) fn set_cap(&mut self, cap: Uuid, amount: Option<i64>) {
        self.caps.insert(cap, amount);
    }

    /// A credit or a debit by the operator.
    pub(crate) fn adjust(&mut self, account: AccountId, amount: Nanos) {
        let transaction = posting::adjustment(account, amount, self.standing(account));
        self.post_for_client(Kind::Adjustment, account, transaction);
    }

    fn standing(&self, account: AccountId) -> Standing {
        let row = self.balances.get(&account).copied().unwrap_or_default();
        Standing {
            free: Nanos::new(row.balance + row.credit_line - row.reserved),
            owed: self.owed(account),
        }
    }

    /// Gives a client back what it was charged, or a part of it. Whether that was possible.
    pub(crate) fn refund(&mut self, request: RequestId, amount: Nanos) -> bool {
        let Some(row) = self.row(request) else {
            return false;
        };
        let (payer, payment) = (row.event.request.payer, row.event.request.payment);
        let refunded = self.refunded.get(&request).copied().unwrap_or(Nanos::ZERO);
        let charge = Charge {
            payer,
            payment,
            charged: row.covered.charged,
            refunded,
        };
        let standing = self.standing(payer);
        let Ok(refund) = charge.refund(amount, standing) else {
            return false;
        };
        let mut transaction = Transaction::default();
        transaction.refund(&refund);
        self.refunded
            .insert(request, refunded.saturating_add(amount));
        match payment {
            Payment::Prepaid => self.post_for_client(Kind::Refund(request), payer, transaction),
            Payment::Metered => {
                self.post(Kind::Refund(request), transaction);
            }
        }
        true
    }

    fn post_for_client(&mut self, kind: Kind, account: AccountId, transaction: Transaction) {
        self.post(kind, transaction);
        let postings = self.ledger.last().map(|entry| entry.postings.as_slice());
        let added: i64 = postings
            .unwrap_or_default()
            .iter()
            .filter(|posting| posting.account == LedgerAccount::ClientBalance(account))
            .map(|posting| -posting.amount.get())
            .sum();
        let change = BalanceChange {
            balance: added,
            ..BalanceChange::default()
        };
        self.change_balance(account, change);
    }
}
