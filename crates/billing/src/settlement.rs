//! Settlement: how much of a price the budgets of a request cover.

use serde::{Deserialize, Serialize};

use crate::budget::BudgetSlot;
use crate::money::Nanos;

/// What a settled request takes from one of its budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetCharge {
    /// The budget, in the period of admission.
    pub slot: BudgetSlot,
    /// What the budget caps decides the unit: nano-dollars, or requests.
    pub quantity: crate::budget::Quantity,
    /// What the replica's lease had reserved for it; 0 when the lease has lapsed.
    pub from_lease: i64,
    /// What goes beyond that.
    pub excess: i64,
}

/// A price, split into what the client pays and what the operator loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Charged to the client.
    pub charged: Nanos,
    /// Not covered by any budget: the operator's loss.
    pub uncollected: Nanos,
}

/// How much of `price` is charged: as far as every money budget covers it out of its lease and what it has free
/// (`budgets` holds these two numbers of each). A request without a budget is covered whole.
pub fn cover(price: Nanos, budgets: impl IntoIterator<Item = (i64, i64)>) -> Covered {
    let limit = budgets
        .into_iter()
        .map(|(from_lease, free)| from_lease.max(0).saturating_add(free.max(0)))
        .min()
        .unwrap_or(i64::MAX);
    let charged = Nanos::new(price.get().min(limit).max(0));
    Covered {
        charged,
        uncollected: price.saturating_sub(charged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_budget_decides() {
        let covered = cover(Nanos::new(100), [(60, 100), (50, 20)]);
        assert_eq!(
            covered,
            Covered {
                charged: Nanos::new(70),
                uncollected: Nanos::new(30)
            }
        );
    }

    #[test]
    fn without_a_budget_all_is_charged_and_an_overspent_one_covers_nothing() {
        assert_eq!(cover(Nanos::new(100), []).charged, Nanos::new(100));
        assert_eq!(
            cover(Nanos::new(100), [(0, -20)]).uncollected,
            Nanos::new(100)
        );
    }
}
