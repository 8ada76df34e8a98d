//! What a batch of usage events takes from its budgets: from what was read to what is to be written. Each event is
//! settled once, however often it comes; one that corrects a loss, as an entry of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use crate::budget::{BudgetId, BudgetSlot, Quantity};
use crate::correction::{Answers, BookedLoss, BookedRequests, Verdict, judge};
use crate::event::{Outcome, Payment, UsageEvent};
use crate::fault::{Fault, is_planted};
use crate::ids::{RequestId, TransactionId};
use crate::money::Nanos;
use crate::period::Period;
use crate::posting::Transaction;
use crate::settlement::{BudgetCharge, Covered, cover};
use crate::time::Timestamp;

/// A budget in a period, as one replica finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// What the replica's lease has left.
    pub leased: i64,
    /// What nobody has reserved, and is not owed; below zero when a cap was lowered, or more was clawed back than there
    /// was. 0 of a budget that does not exist.
    pub free: i64,
}

/// How a budget in a period changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotChange {
    /// Leaves the replica's lease and is not reserved any more.
    pub released: i64,
    /// Is spent.
    pub spent: i64,
}

/// How the balance of an account changes, but for what its leases release; in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceChange {
    /// Is added to the balance.
    pub balance: i64,
    /// Was charged, from the balance or to be paid later.
    pub spent: i64,
    /// Was paid in or granted.
    pub earned: i64,
}

/// How budgets change.
pub type SlotChanges = BTreeMap<BudgetSlot, SlotChange>;

/// How accounts change.
pub type BalanceChanges = BTreeMap<Uuid, BalanceChange>;

/// A usage event and what became of its price.
#[derive(Clone, Copy, Debug)]
pub struct SettledEvent<'a> {
    /// The event.
    pub event: &'a UsageEvent,
    /// Who pays how much of its price.
    pub covered: Covered,
    /// What it counts in each budget of requests.
    pub requests: i64,
}

/// A loss that is taken back, and the charge in its place.
#[derive(Clone, Copy, Debug)]
pub struct Correction<'a> {
    /// What was booked.
    pub loss: BookedLoss,
    /// What is booked instead.
    pub settled: SettledEvent<'a>,
}

/// An entry of the ledger that corrects another.
#[derive(Debug, Default)]
pub struct CorrectingEntry<'a> {
    /// Which losses of that entry, in the order of the batch.
    pub corrections: Vec<Correction<'a>>,
    /// What is posted.
    pub postings: Transaction,
}

/// All that a batch changes.
#[derive(Debug, Default)]
pub struct Settlement<'a> {
    /// What is settled now, in the order of the batch.
    pub events: Vec<SettledEvent<'a>>,
    /// Entries that correct others, by the entry that they name.
    pub corrections: BTreeMap<TransactionId, CorrectingEntry<'a>>,
    /// Charged events whose request is booked as a loss, which stands.
    pub superseded: Vec<RequestId>,
    /// How budgets change.
    pub slots: SlotChanges,
    /// How accounts change.
    pub balances: BalanceChanges,
    /// What is posted of the settled events.
    pub postings: Transaction,
}

/// A sum that does not fit into an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what a batch takes from a budget does not fit into an amount")]
pub struct SumOverflow;

/// Every budget that has to be read before these events can be settled.
pub fn slots_of<'a>(events: impl IntoIterator<Item = &'a UsageEvent>) -> BTreeSet<BudgetSlot> {
    events
        .into_iter()
        .flat_map(|event| {
            let charges = event.charges.iter().map(|charge| charge.slot);
            charges.chain(balance_slot(event))
        })
        .collect()
}

/// The balance that pays for a prepaid request, whether or not its charges name it.
fn balance_slot(event: &UsageEvent) -> Option<BudgetSlot> {
    (event.request.payment == Payment::Prepaid).then(|| BudgetSlot {
        id: BudgetId::Balance(event.request.payer),
        period_start: Period::None.start(Timestamp::default()),
    })
}

/// Settles those of `events` that are not `booked` already, and corrects losses, given the state of each of [`slots_of`]
/// them. First the events that their leases cover, then the others in order, as far as what is free covers them.
pub fn settle<'a>(
    events: impl IntoIterator<Item = &'a UsageEvent>,
    answers: Answers,
    booked: &BookedRequests,
    states: HashMap<BudgetSlot, SlotState>,
) -> Result<Settlement<'a>, SumOverflow> {
    let mut batch = Batch {
        states,
        settlement: Settlement::default(),
    };
    let entries = batch.select(events, answers, booked);
    let mut outcomes = vec![None; entries.len()];
    let mut uncovered = Vec::new();
    for ((event, loss), outcome) in entries.iter().zip(&mut outcomes) {
        let claims = batch.take(event, loss.as_ref())?;
        let price = asked_price(event);
        let is_covered = claims
            .iter()
            .all(|claim| claim.charge.quantity == Quantity::Requests || claim.taken >= price.get());
        if is_covered {
            let covered = Covered {
                charged: price,
                uncollected: Nanos::ZERO,
            };
            batch.spend(event, &claims, covered)?;
            *outcome = Some(covered);
        } else {
            uncovered.push((*event, claims, outcome));
        }
    }
    for (event, claims, outcome) in uncovered {
        let covered = batch.cover(event, &claims);
        batch.spend(event, &claims, covered)?;
        *outcome = Some(covered);
    }
    let mut settlement = batch.settlement;
    for ((event, loss), covered) in entries.into_iter().zip(outcomes) {
        let settled = SettledEvent {
            event,
            covered: covered.ok_or(SumOverflow)?,
            requests: counted_requests(event),
        };
        settlement.book(settled, loss);
    }
    Ok(settlement)
}

impl<'a> Settlement<'a> {
    fn book(&mut self, settled: SettledEvent<'a>, loss: Option<BookedLoss>) {
        let Some(loss) = loss else {
            self.postings.book(settled.event, settled.covered);
            self.events.push(settled);
            return;
        };
        let entry = self.corrections.entry(loss.transaction).or_default();
        entry.postings.reverse(&loss);
        entry.postings.book(settled.event, settled.covered);
        entry.corrections.push(Correction { loss, settled });
    }
}

/// What the client is asked to pay.
fn asked_price(event: &UsageEvent) -> Nanos {
    match event.outcome {
        Outcome::Charged => event.price,
        Outcome::Lost(_) => Nanos::ZERO,
    }
}

/// What an event counts in each of its budgets of requests, all alike: a lost one counts nothing.
fn counted_requests(event: &UsageEvent) -> i64 {
    let counted = event
        .charges
        .iter()
        .filter(|charge| charge.quantity == Quantity::Requests)
        .map(|charge| charge.from_lease.saturating_add(charge.excess))
        .max();
    match event.outcome {
        Outcome::Charged => counted.unwrap_or(0),
        Outcome::Lost(_) => 0,
    }
}

/// What one event claims of one budget.
#[derive(Clone, Copy)]
struct Claim {
    charge: BudgetCharge,
    /// What the lease really had of `charge.from_lease`.
    taken: i64,
}

struct Batch<'a> {
    states: HashMap<BudgetSlot, SlotState>,
    settlement: Settlement<'a>,
}

impl<'a> Batch<'a> {
    /// The events that are to be booked, the first of each request, each with the loss that it corrects.
    fn select(
        &mut self,
        events: impl IntoIterator<Item = &'a UsageEvent>,
        answers: Answers,
        booked: &BookedRequests,
    ) -> Vec<(&'a UsageEvent, Option<BookedLoss>)> {
        let mut seen = HashSet::new();
        let mut selected = Vec::new();
        for event in events {
            let id = event.request.id;
            if !seen.insert(id) {
                continue;
            }
            match judge(event, answers, booked.get(&id)) {
                Verdict::Books => selected.push((event, None)),
                Verdict::Corrects(loss) => selected.push((event, Some(loss))),
                Verdict::Superseded => self.settlement.superseded.push(id),
                Verdict::Known if is_planted(Fault::SpoolReplayedTwice) => {
                    selected.push((event, None));
                }
                Verdict::Known => {}
            }
        }
        selected
    }

    /// Takes what the event has out of the leases; a lease that has lapsed has nothing. What a request held that is
    /// corrected went back when it was booked as a loss.
    fn take(
        &mut self,
        event: &UsageEvent,
        corrects: Option<&BookedLoss>,
    ) -> Result<Vec<Claim>, SumOverflow> {
        let unnamed = balance_slot(event)
            .filter(|slot| event.charges.iter().all(|charge| charge.slot != *slot))
            .map(|slot| BudgetCharge {
                slot,
                quantity: Quantity::Nanos,
                from_lease: 0,
                excess: event.price.get(),
            });
        let mut claims = Vec::with_capacity(event.charges.len() + 1);
        for charge in event.charges.iter().copied().chain(unnamed) {
            let state = self.states.entry(charge.slot).or_default();
            let held = match corrects {
                None => charge.from_lease,
                Some(_) => 0,
            };
            let taken = held.clamp(0, state.leased.max(0));
            state.leased -= taken;
            let change = self.settlement.slots.entry(charge.slot).or_default();
            change.released = sum(change.released, taken)?;
            claims.push(Claim { charge, taken });
        }
        Ok(claims)
    }

    fn cover(&self, event: &UsageEvent, claims: &[Claim]) -> Covered {
        let budgets = claims
            .iter()
            .filter(|claim| claim.charge.quantity == Quantity::Nanos)
            .map(|claim| {
                let state = self.states.get(&claim.charge.slot);
                (claim.taken, state.map_or(0, |state| state.free))
            });
        cover(asked_price(event), budgets)
    }

    /// Spends what is charged; what was taken beyond that is free again.
    fn spend(
        &mut self,
        event: &UsageEvent,
        claims: &[Claim],
        covered: Covered,
    ) -> Result<(), SumOverflow> {
        for claim in claims {
            let spent = match claim.charge.quantity {
                Quantity::Nanos => covered.charged.get(),
                Quantity::Requests => counted_requests(event),
            };
            let change = self.settlement.slots.entry(claim.charge.slot).or_default();
            change.spent = sum(change.spent, spent)?;
            let state = self.states.entry(claim.charge.slot).or_default();
            state.free = state.free.saturating_add(claim.taken).saturating_sub(spent);
        }
        let payer = event.request.payer.get();
        let change = self.settlement.balances.entry(payer).or_default();
        change.spent = sum(change.spent, covered.charged.get())?;
        if event.request.payment == Payment::Prepaid {
            change.balance = sum(change.balance, -covered.charged.get())?;
        }
        Ok(())
    }
}

fn sum(left: i64, right: i64) -> Result<i64, SumOverflow> {
    left.checked_add(right).ok_or(SumOverflow)
}
