//! The `x-airouter-…` headers of an answer: what it costs, and what is left. They tell what this replica knows and ask
//! nobody, so that what is left is approximate: leases of other replicas count as spent until they come back.

use airouter_billing::{BudgetId, BudgetRef, Nanos, Quantity, RequestId};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gateway::Gateway;

/// What the request costs, in USD; only where the answer is not streamed, for a stream tells it in its usage.
const PRICE: HeaderName = HeaderName::from_static("x-airouter-price");
/// What the request could have cost at most, in USD.
const HOLD: HeaderName = HeaderName::from_static("x-airouter-hold");
/// What is left of the balance, in USD.
const BALANCE: HeaderName = HeaderName::from_static("x-airouter-balance");
/// What is left of the tightest spend limit, in USD.
const LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-airouter-limit-remaining");
/// What is left of the tightest budget of requests.
const REQUESTS_REMAINING: HeaderName = HeaderName::from_static("x-airouter-requests-remaining");
/// The request that an `Idempotency-Key` belongs to.
const REQUEST: HeaderName = HeaderName::from_static("x-airouter-request-id");

/// Whether answers carry these headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerHeaders {
    /// They do.
    #[default]
    On,
    /// They don't.
    Off,
}

/// What is left of a client's budgets, as far as this replica knows; `None` where there is no such budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) balance: Option<Nanos>,
    pub(crate) limit: Option<Nanos>,
    pub(crate) requests: Option<i64>,
}

impl Left {
    /// Of the budgets of one chain.
    pub(crate) fn of(gateway: &Gateway, budgets: &[BudgetRef]) -> Self {
        let mut left = Self::default();
        for budget in budgets {
            let Some(free) = gateway.leases.known_free_of(*budget) else {
                continue;
            };
            let free = free.max(0);
            let least = |known: Option<Nanos>| {
                let free = Nanos::new(free);
                Some(known.map_or(free, |known| known.min(free)))
            };
            match (budget.quantity, budget.id) {
                (Quantity::Requests, _) => {
                    left.requests = Some(left.requests.map_or(free, |known| known.min(free)));
                }
                (Quantity::Nanos, BudgetId::Balance(_)) => left.balance = least(left.balance),
                (Quantity::Nanos, BudgetId::Cap(_)) => left.limit = least(left.limit),
            }
        }
        left
    }
}

/// Adds what an answer is held at and costs, and what the budgets of its client have left.
pub(crate) fn add((hold, price): (Nanos, Option<Nanos>), left: Left, headers: &mut HeaderMap) {
    let amounts = [
        (HOLD, Some(hold)),
        (PRICE, price),
        (BALANCE, left.balance),
        (LIMIT_REMAINING, left.limit),
    ];
    for (name, amount) in amounts {
        if let Some(amount) = amount {
            insert(headers, name, &amount.to_string());
        }
    }
    if let Some(requests) = left.requests {
        headers.insert(REQUESTS_REMAINING, HeaderValue::from(requests));
    }
}

/// Adds which earlier request an answer is about, and what that cost.
pub(crate) fn add_earlier(request: RequestId, price: Option<Nanos>, headers: &mut HeaderMap) {
    insert(headers, REQUEST, &request.to_string());
    if let Some(price) = price {
        insert(headers, PRICE, &price.to_string());
    }
}

/// Digits, points and dashes are always a header's value.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
