//! What requests rest on: as long as a replica is not ended, the database has reserved for it what its requests hold.

use std::collections::{BTreeMap, BTreeSet};

use airouter_billing::RequestId;
use airouter_billing::budget::BudgetSlot;
use airouter_billing::settlement::BudgetCharge;

use crate::database::Database;
use crate::messages::ReplicaNumber;
use crate::promise::{Broken, Promise, holds};

#[derive(Debug)]
struct Claim {
    replica: usize,
    number: ReplicaNumber,
    amounts: Vec<(BudgetSlot, i64)>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Held,
    Spent,
}

#[derive(Debug, Default)]
pub(super) struct Claims {
    of: BTreeMap<RequestId, Claim>,
    totals: BTreeMap<(BudgetSlot, ReplicaNumber), i64>,
    held: BTreeMap<(ReplicaNumber, BudgetSlot), i64>,
    changed: BTreeSet<BudgetSlot>,
}

impl Claims {
    pub(super) fn hold(
        &mut self,
        request: RequestId,
        (replica, number): (usize, ReplicaNumber),
        charges: &[BudgetCharge],
    ) {
        self.add(
            request,
            Claim {
                replica,
                number,
                amounts: charges
                    .iter()
                    .map(|charge| (charge.slot, charge.from_lease))
                    .collect(),
                stage: Stage::Held,
            },
        );
    }

    /// The holds of a request became what its price takes from the leases.
    pub(super) fn spend(&mut self, request: RequestId, charges: &[BudgetCharge]) {
        if let Some(claim) = self.remove(request) {
            let amounts = charges
                .iter()
                .map(|charge| (charge.slot, charge.from_lease));
            self.add(
                request,
                Claim {
                    amounts: amounts.collect(),
                    stage: Stage::Spent,
                    ..claim
                },
            );
        }
    }

    pub(super) fn drop(&mut self, request: RequestId) {
        self.remove(request);
    }

    /// All that a replica had in its memory is gone.
    pub(super) fn crash(&mut self, replica: usize) {
        let gone: Vec<RequestId> = self
            .of
            .iter()
            .filter(|(_, claim)| claim.replica == replica)
            .map(|(request, _)| *request)
            .collect();
        for request in gone {
            self.remove(request);
        }
    }

    fn add(&mut self, request: RequestId, claim: Claim) {
        for (slot, amount) in &claim.amounts {
            *self.totals.entry((*slot, claim.number)).or_default() += amount;
            if claim.stage == Stage::Held {
                *self.held.entry((claim.number, *slot)).or_default() += amount;
            }
            self.changed.insert(*slot);
        }
        self.of.insert(request, claim);
    }

    fn remove(&mut self, request: RequestId) -> Option<Claim> {
        let claim = self.of.remove(&request)?;
        for (slot, amount) in &claim.amounts {
            take_from(&mut self.totals, (*slot, claim.number), *amount);
            if claim.stage == Stage::Held {
                take_from(&mut self.held, (claim.number, *slot), *amount);
            }
        }
        Some(claim)
    }

    pub(super) fn check(
        &mut self,
        database: &Database,
        touched: &BTreeSet<BudgetSlot>,
    ) -> Result<(), Broken> {
        let changed = std::mem::take(&mut self.changed);
        for slot in changed.union(touched) {
            let of_slot = self
                .totals
                .range((*slot, ReplicaNumber::MIN)..=(*slot, ReplicaNumber::MAX));
            for ((_, number), total) in of_slot {
                let leased = database.leased(*slot, *number);
                let is_covered = leased >= *total || database.has_ended(*number);
                holds(is_covered, Promise::NeverOverdrawn, || {
                    format!(
                        "requests of {number} rest on {total} of {slot:?}, of which {leased} are reserved"
                    )
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn check_held(
        &self,
        number: ReplicaNumber,
        leases: impl Iterator<Item = (BudgetSlot, i64)>,
    ) -> Result<(), Broken> {
        for (slot, believed) in leases {
            let held = self.held.get(&(number, slot)).copied().unwrap_or(0);
            holds(believed == held, Promise::NothingForgotten, || {
                format!(
                    "{number} believes that {believed} of {slot:?} are held; requests hold {held}"
                )
            })?;
        }
        Ok(())
    }
}

fn take_from<Key: Ord + Copy>(sums: &mut BTreeMap<Key, i64>, key: Key, amount: i64) {
    if let Some(sum) = sums.get_mut(&key) {
        *sum -= amount;
        if *sum == 0 {
            sums.remove(&key);
        }
    }
}
