//! An independent auditor. It is told what clients were promised, reads what the upstream billed and what the database
//! holds, and reckons for itself: no rule of `billing` is used here.

mod books;
mod claims;
mod price;

use std::collections::{BTreeMap, BTreeSet};

use airouter_billing::budget::{BudgetId, BudgetSlot, Quantity};
use airouter_billing::event::{LossReason, Outcome};
use airouter_billing::ids::TransactionId;
use airouter_billing::posting::LedgerAccount;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::{AccountId, Discount, MasterAccountId, Nanos, RequestId};

use crate::agenda::{Moment, SECOND};
use crate::database::{Database, Kind, RequestRow};
use crate::messages::{Job, ReplicaNumber};
use crate::population::Terms;
use crate::promise::{Broken, Promise, holds};
use crate::upstream::{Generation, Upstream, generation_name};

use claims::Claims;

/// So long a lease stays reserved after its last renewal: 120 s, and 60 s of grace.
const SILENCE: Moment = 180 * SECOND;
/// What the database may count too much: between two ticks, and for each jump of its clock.
const COUNTED_TOO_MUCH: Moment = 5 * SECOND;

/// What a client was told of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    TheEnd,
    /// The end, of an answer whose price is on a disk.
    TheEndOfACharge,
}

/// A request as its client and the upstream know it.
#[derive(Debug)]
struct Known {
    terms: Terms,
    replica: usize,
    number: ReplicaNumber,
    hold: Nanos,
    slots: Vec<BudgetSlot>,
    /// By attempt: when it began, and at which discount.
    attempts: BTreeMap<u32, (Moment, Discount)>,
    told: Told,
    /// When its replica crashed under it, and whether that had been cut off from the database.
    crashed: Option<(Moment, CutOff)>,
}

/// A loss that is booked and not corrected.
#[derive(Clone, Copy, Debug)]
struct Loss {
    transaction: TransactionId,
    reason: LossReason,
    cost: i128,
    master: MasterAccountId,
}

/// Whether a replica could reach the database when it crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutOff {
    Yes,
    No,
}

#[derive(Debug, Default)]
pub(crate) struct Auditor {
    known: BTreeMap<RequestId, Known>,
    /// Failed attempts are booked under ids of their own.
    failed_as: BTreeMap<RequestId, (RequestId, u32)>,
    claims: Claims,
    booked: BTreeMap<RequestId, i128>,
    refunded: BTreeMap<RequestId, i128>,
    spent: BTreeMap<BudgetSlot, i128>,
    /// How far a budget may be over its cap, because the cap was lowered.
    over: BTreeMap<BudgetSlot, i128>,
    postings: BTreeMap<LedgerAccount, i128>,
    expected: BTreeMap<LedgerAccount, i128>,
    clients: BTreeMap<AccountId, i128>,
    losses: BTreeMap<RequestId, Loss>,
    seen_requests: usize,
    seen_corrections: usize,
    seen_ledger: usize,
    fingerprint: u64,
    renewed: BTreeMap<ReplicaNumber, Moment>,
    ended: BTreeSet<ReplicaNumber>,
    clock_jumps: Vec<Moment>,
    /// Bills that a crash hid because the request was younger than a second.
    pub(crate) cut_young: u64,
    /// Bills that a crash hid because the replica was cut off from the database.
    pub(crate) cut_while_away: u64,
}

impl Auditor {
    /// A client sent a request; by these terms it is to be priced.
    pub(crate) fn asked(&mut self, request: RequestId, replica: usize, terms: Terms) {
        let known = Known {
            terms,
            replica,
            number: 0,
            hold: Nanos::ZERO,
            slots: Vec::new(),
            attempts: BTreeMap::new(),
            told: Told::Nothing,
            crashed: None,
        };
        self.known.insert(request, known);
    }

    /// A request was admitted: it rests on leases that are in force.
    pub(crate) fn admitted(
        &mut self,
        request: RequestId,
        number: ReplicaNumber,
        (hold, charges): (Nanos, &[BudgetCharge]),
        database: &Database,
    ) -> Result<(), Broken> {
        holds(!database.has_ended(number), Promise::NeverOverdrawn, || {
            format!("{request} was admitted on leases of {number}, which the database has ended")
        })?;
        if let Some(known) = self.known.get_mut(&request) {
            known.number = number;
            known.hold = hold;
            known.slots = charges.iter().map(|charge| charge.slot).collect();
            self.claims.hold(request, (known.replica, number), charges);
        }
        Ok(())
    }

    pub(crate) fn attempted(
        &mut self,
        request: RequestId,
        attempt: u32,
        (now, discount): (Moment, Discount),
        failed_as: RequestId,
    ) {
        if let Some(known) = self.known.get_mut(&request) {
            known.attempts.insert(attempt, (now, discount));
        }
        self.failed_as.insert(failed_as, (request, attempt));
    }

    /// Which request an id is booked for, and which attempts of it there were.
    pub(crate) fn generation_of(&self, booked_as: RequestId) -> (RequestId, Vec<u32>) {
        let request = self
            .failed_as
            .get(&booked_as)
            .map_or(booked_as, |(request, _)| *request);
        let known = self.known.get(&request);
        let attempts = known.map(|known| known.attempts.keys().copied().collect());
        (request, attempts.unwrap_or_default())
    }

    pub(crate) fn spent(&mut self, request: RequestId, charges: &[BudgetCharge]) {
        self.claims.spend(request, charges);
    }

    pub(crate) fn dropped(&mut self, request: RequestId) {
        self.claims.drop(request);
    }

    /// The end of an answer is being sent: by now it must be durable.
    pub(crate) fn end_sent(
        &mut self,
        request: RequestId,
        database: &Database,
        spooled: Option<&Job>,
    ) -> Result<(), Broken> {
        let is_known = database.row(request).is_some() || database.pending.contains_key(&request);
        if let Some(known) = self.known.get_mut(&request) {
            known.told = match spooled {
                Some(Job::Event(event, _)) if event.outcome == Outcome::Charged => {
                    Told::TheEndOfACharge
                }
                _ => Told::TheEnd,
            };
        }
        holds(
            is_known || spooled.is_some(),
            Promise::DurableBeforeDone,
            || format!("the end of {request} was sent and nothing durable knows of it"),
        )
    }

    /// A client is told that its answer is not whole; it has not been told the opposite.
    pub(crate) fn cut_off(&self, request: RequestId) -> Result<(), Broken> {
        let known = self.known.get(&request);
        holds(
            known.is_none_or(|known| known.told == Told::Nothing),
            Promise::DurableBeforeDone,
            || format!("{request} was told the end, and then that there is none"),
        )
    }

    pub(crate) fn crashed(&mut self, replica: usize, now: Moment, cut_off: CutOff) {
        self.claims.crash(replica);
        for known in self.known.values_mut() {
            if known.replica == replica && known.crashed.is_none() {
                known.crashed = Some((now, cut_off));
            }
        }
    }

    /// A cap was changed: what is spent already may exceed it.
    pub(crate) fn cap_changed(&mut self, database: &Database, cap: BudgetId) {
        for slot in database.periods.keys().filter(|slot| slot.id == cap) {
            let over = over(database, *slot);
            self.over.insert(*slot, over);
        }
    }

    pub(crate) fn database_clock_jumped(&mut self, now: Moment) {
        self.clock_jumps.push(now);
    }

    /// The database has heard from a replica.
    pub(crate) fn heard_of(&mut self, number: ReplicaNumber, now: Moment) {
        self.renewed.insert(number, now);
    }

    /// After every step: what has changed is checked.
    pub(crate) fn check(
        &mut self,
        database: &mut Database,
        upstream: &Upstream,
        now: Moment,
    ) -> Result<(), Broken> {
        self.check_ended(database, now)?;
        while let Some(row) = database.requests.get(self.seen_requests) {
            self.seen_requests += 1;
            self.check_row(row, upstream)?;
        }
        while let Some(row) = database.corrections.get(self.seen_corrections) {
            self.seen_corrections += 1;
            self.check_correction(row, database, upstream)?;
        }
        let new = database.ledger.get(self.seen_ledger..).unwrap_or_default();
        self.seen_ledger = database.ledger.len();
        self.check_entries(new)?;
        let touched = std::mem::take(&mut database.touched);
        for slot in &touched {
            self.check_slot(database, *slot)?;
        }
        self.claims.check(database, &touched)
    }

    /// What a replica believes to be held is what requests hold.
    pub(crate) fn check_held(
        &self,
        number: ReplicaNumber,
        leases: impl Iterator<Item = (BudgetSlot, i64)>,
    ) -> Result<(), Broken> {
        self.claims.check_held(number, leases)
    }

    /// A lapsed lease stays reserved through its grace.
    fn check_ended(&mut self, database: &Database, now: Moment) -> Result<(), Broken> {
        for (number, row) in &database.replicas {
            if !row.has_ended || !self.ended.insert(*number) {
                continue;
            }
            let heard = self.renewed.get(number).copied().unwrap_or(now);
            let jumps = self.clock_jumps.iter().filter(|at| **at >= heard).count();
            let too_much = COUNTED_TOO_MUCH * (1 + Moment::try_from(jumps).unwrap_or(0));
            holds(
                now - heard + too_much >= SILENCE,
                Promise::NeverOverdrawn,
                || {
                    format!(
                        "the leases of {number} were returned after {} s",
                        (now - heard) / SECOND
                    )
                },
            )?;
        }
        Ok(())
    }

    fn check_row(&mut self, row: &RequestRow, upstream: &Upstream) -> Result<(), Broken> {
        let event = &row.event;
        let id = event.request.id;
        let charged = i128::from(row.covered.charged.get());
        holds(
            self.booked.insert(id, charged).is_none(),
            Promise::BilledOnce,
            || format!("{id} was booked twice"),
        )?;
        if let Outcome::Lost(reason) = event.outcome {
            let loss = Loss {
                transaction: row.transaction,
                reason,
                cost: i128::from(event.cost.get()),
                master: event.served.master_account,
            };
            self.losses.insert(id, loss);
        }
        self.check_amounts(row, upstream)
    }

    /// A correction takes back a loss of a take-over, once, and names its entry; its client was told the end.
    fn check_correction(
        &mut self,
        row: &RequestRow,
        database: &Database,
        upstream: &Upstream,
    ) -> Result<(), Broken> {
        let id = row.event.request.id;
        let Some(loss) = self.losses.remove(&id) else {
            let what = format!("{id} was corrected and was no loss");
            return Err(Broken::new(Promise::BilledOnce, what));
        };
        let was_taken_over = matches!(loss.reason, LossReason::Crash | LossReason::Unknown);
        holds(was_taken_over, Promise::FreeWhenItFails, || {
            format!("{id} was a loss for {:?} and is charged", loss.reason)
        })?;
        holds(
            row.event.outcome == Outcome::Charged,
            Promise::DurableBeforeDone,
            || format!("{id} was corrected by a loss"),
        )?;
        let number = usize::try_from(row.transaction.get()).unwrap_or(usize::MAX);
        let kind = database.ledger.get(number).map(|entry| entry.kind);
        holds(
            kind == Some(Kind::Correction(loss.transaction)),
            Promise::AppendOnly,
            || {
                format!(
                    "{id} was booked by {} and corrected by {kind:?}",
                    loss.transaction
                )
            },
        )?;
        self.booked
            .insert(id, i128::from(row.covered.charged.get()));
        let mut add = |account, amount: i128| {
            *self.expected.entry(account).or_default() += amount;
        };
        add(LedgerAccount::Loss(loss.reason), -loss.cost);
        add(LedgerAccount::UpstreamCredit(loss.master), loss.cost);
        self.check_amounts(row, upstream)
    }

    fn check_amounts(&mut self, row: &RequestRow, upstream: &Upstream) -> Result<(), Broken> {
        let event = &row.event;
        let id = event.request.id;
        let (request, attempt) = match self.failed_as.get(&id) {
            Some((request, attempt)) => (*request, Some(*attempt)),
            None => (id, None),
        };
        let Some(known) = self.known.get(&request) else {
            let what = format!("{id} was booked and nobody asked for it");
            return Err(Broken::new(Promise::Conserved, what));
        };
        let attempt = attempt.or_else(|| {
            let name = event.served.generation_id.as_deref()?;
            let mut attempts = known.attempts.keys().copied();
            attempts.find(|attempt| generation_name(request, *attempt) == name)
        });
        let generation = attempt.and_then(|attempt| upstream.generations.get(&(request, attempt)));
        let discount = attempt.and_then(|attempt| known.attempts.get(&attempt));
        check_price(
            row,
            known,
            generation,
            discount.map(|(_, discount)| *discount),
        )?;
        check_cover(row, known)?;
        // A request that outlived its lease was made all the same, and counts where nothing may be left.
        if row.spender_had_ended || known.crashed.is_some() {
            let counted = event.charges.iter();
            for charge in counted.filter(|charge| charge.quantity == Quantity::Requests) {
                *self.over.entry(charge.slot).or_default() += 1;
            }
        }
        self.claims.drop(id);
        self.expect(row);
        Ok(())
    }

    /// What a booked event must have added to the ledger and to its budgets.
    fn expect(&mut self, row: &RequestRow) {
        let event = &row.event;
        for charge in &event.charges {
            let amount = match charge.quantity {
                Quantity::Nanos => i128::from(row.covered.charged.get()),
                Quantity::Requests => i128::from(row.requests),
            };
            *self.spent.entry(charge.slot).or_default() += amount;
        }
        let mut add = |account, amount: i128| {
            *self.expected.entry(account).or_default() += amount;
        };
        let cost = i128::from(event.cost.get());
        let (charged, price) = match event.outcome {
            Outcome::Charged => (
                i128::from(row.covered.charged.get()),
                i128::from(event.price.get()),
            ),
            Outcome::Lost(_) => (0, 0),
        };
        add(LedgerAccount::Revenue, -price);
        add(
            LedgerAccount::Loss(LossReason::Uncollected),
            price - charged,
        );
        add(
            LedgerAccount::UpstreamCredit(event.served.master_account),
            -cost,
        );
        match event.outcome {
            Outcome::Charged => add(LedgerAccount::CostOfSales, cost),
            Outcome::Lost(reason) => add(LedgerAccount::Loss(reason), cost),
        }
        *self.clients.entry(event.request.payer).or_default() += charged;
    }
}

/// Price and cost to the nano-dollar; what was not billed is free; what a crash cut costs the client nothing.
fn check_price(
    row: &RequestRow,
    known: &Known,
    generation: Option<&Generation>,
    discount: Option<Discount>,
) -> Result<(), Broken> {
    let event = &row.event;
    let id = event.request.id;
    let wanted = match (event.outcome, generation, discount) {
        (Outcome::Lost(LossReason::Unknown), _, _) => price::Wanted { price: 0, cost: 0 },
        (_, Some(generation), Some(discount)) => {
            price::wanted(event.source, generation, &known.terms, discount)
        }
        _ => {
            let what = format!("{id} was priced without a generation");
            return Err(Broken::new(Promise::FreeWhenItFails, what));
        }
    };
    let price = match event.outcome {
        Outcome::Charged => wanted.price,
        Outcome::Lost(_) => 0,
    };
    let booked = (i128::from(event.price.get()), i128::from(event.cost.get()));
    if event.outcome == Outcome::Charged && wanted.cost == 0 && price == 0 {
        return holds(booked.0 == 0, Promise::FreeWhenItFails, || {
            format!("{id} was billed nothing and charged {}", booked.0)
        });
    }
    holds(booked == (price, wanted.cost), Promise::Exact, || {
        format!(
            "{id} has price and cost {booked:?} and must have {:?}",
            (price, wanted.cost)
        )
    })
}

/// What is not charged of a price is a loss only where nothing was reserved for it.
fn check_cover(row: &RequestRow, known: &Known) -> Result<(), Broken> {
    let event = &row.event;
    let id = event.request.id;
    let (charged, uncollected) = (row.covered.charged, row.covered.uncollected);
    let is_whole = charged.get().checked_add(uncollected.get()) == Some(event.price.get());
    holds(
        is_whole && !charged.is_negative() && !uncollected.is_negative(),
        Promise::Conserved,
        || {
            format!(
                "of {} {id} was charged {charged:?} and lost {uncollected:?}",
                event.price
            )
        },
    )?;
    let counted = i64::from(event.outcome == Outcome::Charged);
    let counts_requests = event
        .charges
        .iter()
        .any(|charge| charge.quantity == Quantity::Requests);
    holds(
        !counts_requests || row.requests == counted,
        Promise::BilledOnce,
        || format!("{id} counts as {} requests", row.requests),
    )?;
    let slots = event.charges.iter().map(|charge| charge.slot);
    holds(
        event.charges.is_empty() || slots.eq(known.slots.iter().copied()),
        Promise::NeverOverdrawn,
        || format!("{id} is charged to other budgets than it held of"),
    )?;
    let is_excused = uncollected == Nanos::ZERO
        || event.price > known.hold
        || row.spender_had_ended
        || known.crashed.is_some();
    holds(is_excused, Promise::DurableBeforeDone, || {
        format!(
            "{uncollected} of {id} were lost although {} were held",
            known.hold
        )
    })
}

/// By how much a budget is over its cap.
fn over(database: &Database, slot: BudgetSlot) -> i128 {
    let BudgetId::Cap(id) = slot.id else {
        return 0;
    };
    let row = database.periods.get(&slot).copied().unwrap_or_default();
    let cap = database
        .caps
        .get(&id)
        .copied()
        .flatten()
        .unwrap_or(i64::MAX);
    (i128::from(row.spent) + i128::from(row.reserved) - i128::from(cap)).max(0)
}
