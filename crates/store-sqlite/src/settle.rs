//! What a batch of usage events takes from its budgets: pure, from what was read to what is to be written. How much a
//! budget covers and what is posted is decided by `airouter-billing`.

use std::collections::{BTreeSet, HashMap};

use airouter_billing::budget::BudgetSlot;
use airouter_billing::event::Payment;
use airouter_billing::posting::Transaction;
use airouter_billing::settlement::{BudgetCharge, Covered, cover};
use airouter_billing::{BudgetId, Nanos, Outcome, Period, Quantity, Timestamp, UsageEvent};
use airouter_store::StoreError;

use crate::books::{BalanceChanges, SlotChanges, SlotState};

/// A usage event and what became of its price.
#[derive(Debug)]
pub(crate) struct SettledEvent<'a> {
    pub(crate) event: &'a UsageEvent,
    pub(crate) covered: Covered,
    /// What it counts in each budget of requests.
    pub(crate) requests: i64,
}

/// All that a batch changes.
#[derive(Debug, Default)]
pub(crate) struct Settlement<'a> {
    /// In the order of the batch.
    pub(crate) events: Vec<SettledEvent<'a>>,
    pub(crate) slots: SlotChanges,
    pub(crate) balances: BalanceChanges,
    pub(crate) postings: Transaction,
}

/// Every budget that has to be read before a batch can be settled.
pub(crate) fn slots_of(events: &[&UsageEvent]) -> BTreeSet<BudgetSlot> {
    events
        .iter()
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

/// What one event claims of one budget.
#[derive(Clone, Copy)]
struct Claim {
    charge: BudgetCharge,
    /// What the lease really had of `charge.from_lease`.
    taken: i64,
}

/// Settles a batch, given the state of each of [`slots_of`] it. First the events that their leases cover, then the
/// others in order, as far as what is free covers them.
pub(crate) fn settle<'a>(
    events: &[&'a UsageEvent],
    states: HashMap<BudgetSlot, SlotState>,
) -> Result<Settlement<'a>, StoreError> {
    let mut batch = Batch {
        states,
        settlement: Settlement::default(),
    };
    let mut outcomes: Vec<Option<Covered>> = Vec::with_capacity(events.len());
    let mut uncovered = Vec::new();
    for (position, event) in events.iter().enumerate() {
        let claims = batch.take(event)?;
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
            outcomes.push(Some(covered));
        } else {
            uncovered.push((position, claims));
            outcomes.push(None);
        }
    }
    for (position, claims) in uncovered {
        let (Some(event), Some(outcome)) = (events.get(position), outcomes.get_mut(position))
        else {
            continue;
        };
        let covered = batch.cover(event, &claims);
        batch.spend(event, &claims, covered)?;
        *outcome = Some(covered);
    }
    let mut settlement = batch.settlement;
    for (event, covered) in events.iter().zip(outcomes) {
        let covered = covered.ok_or(StoreError::OutOfRange)?;
        settlement.postings.book(event, covered);
        settlement.events.push(SettledEvent {
            event,
            covered,
            requests: counted_requests(event),
        });
    }
    Ok(settlement)
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

struct Batch<'a> {
    states: HashMap<BudgetSlot, SlotState>,
    settlement: Settlement<'a>,
}

impl Batch<'_> {
    /// Takes what the event has out of the leases; a lease that has lapsed has nothing.
    fn take(&mut self, event: &UsageEvent) -> Result<Vec<Claim>, StoreError> {
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
            let taken = charge.from_lease.clamp(0, state.leased.max(0));
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
    ) -> Result<(), StoreError> {
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

fn sum(left: i64, right: i64) -> Result<i64, StoreError> {
    left.checked_add(right).ok_or(StoreError::OutOfRange)
}
