//! Which master account a request asks next: by health, eligibility (the cost keeps the price above it), concentration,
//! credit, discount and load. Each is tried once; one that is put aside only where nothing else is left, and then one.

use std::sync::Arc;

use airouter_billing::{MasterAccountId, Timestamp};
use airouter_store::master_accounts::MasterAccountStatus;
use rust_decimal::Decimal;

use super::Masters;
use super::account::Master;
use super::breaker::Look;
use super::credit::CreditStanding;
use super::turn::Turn;
use crate::offers::Servers;

/// The way of one request through the accounts.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// What a dollar of list cost is sold for; `None` where prices don't follow list costs.
    pub(crate) price_share: Option<Decimal>,
    servers: Arc<Servers>,
    tried: Vec<MasterAccountId>,
    had_last_resort: bool,
}

impl Route {
    /// A way on which nobody was asked.
    pub(crate) fn new(price_share: Option<Decimal>, servers: Arc<Servers>) -> Self {
        Self {
            price_share,
            servers,
            ..Self::default()
        }
    }

    /// Who may serve.
    pub(crate) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// This account is not to be asked.
    pub(crate) fn pass_by(&mut self, account: MasterAccountId) {
        self.tried.push(account);
    }

    /// This account may be asked again.
    pub(crate) fn again(&mut self, account: MasterAccountId) {
        self.tried.retain(|tried| *tried != account);
    }
}

/// In which order accounts are asked: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    standing: Standing,
    /// The place of the model that it serves among those wanted.
    place: usize,
    /// The part of a dollar of list cost that it costs, where that leaves no margin.
    loss: Option<Decimal>,
    is_concentrated: bool,
    credit: CreditStanding,
    /// What it costs where OpenRouter's list price is a dollar.
    cost_share: Decimal,
    /// Requests in flight, then recent ones, by weight.
    load: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Serving,
    Draining,
    /// When its time comes; the soonest first.
    PutAside(Timestamp),
}

impl Masters {
    /// The best account that this request has not asked, and leave to ask it.
    pub(crate) fn next(&self, route: &mut Route, now: Timestamp) -> Option<Turn> {
        let total = self.recent(now);
        let mut ranked: Vec<(Rank, &Arc<Master>)> = self
            .all()
            .iter()
            .filter(|master| !route.tried.contains(&master.id))
            .filter_map(|master| Some((rank(master, route, total, now)?, master)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        for (rank, master) in ranked {
            let turn = match rank.standing {
                Standing::Serving | Standing::Draining => master.enter(now),
                Standing::PutAside(_) if route.had_last_resort => None,
                Standing::PutAside(_) => {
                    let turn = master.enter_last(now);
                    route.had_last_resort = turn.is_some();
                    turn
                }
            };
            if let Some(turn) = turn {
                route.tried.push(master.id);
                return Some(turn);
            }
        }
        None
    }
}

/// Where an account stands for a request; `None` where it must not be asked.
fn rank(master: &Master, route: &Route, total: u64, now: Timestamp) -> Option<Rank> {
    let fit = route.servers.fit(master)?;
    let credit = master.credit_standing(now);
    let standing = match (master.look(now), master.status) {
        (_, MasterAccountStatus::Paused) => return None,
        _ if credit == CreditStanding::Spent => return None,
        (Look::Open { told: true, .. }, _) => return None,
        (Look::Closed | Look::Due, MasterAccountStatus::Active) => Standing::Serving,
        (Look::Closed | Look::Due, MasterAccountStatus::Draining) => Standing::Draining,
        (Look::Probing, _) => Standing::PutAside(now),
        (Look::Open { until, .. }, _) => Standing::PutAside(until),
    };
    // It is sold by its own list price.
    let own_share = master.discount.cost_share();
    let cost_share = own_share.saturating_mul(fit.list_share);
    let weight = u64::from(master.weight.get());
    let by_weight = |count: u64| count.saturating_mul(1_000_000) / weight;
    let in_flight = u64::try_from(master.in_flight()).unwrap_or(u64::MAX);
    Some(Rank {
        standing,
        place: fit.place,
        loss: route
            .price_share
            .is_some_and(|price| own_share >= price)
            .then_some(cost_share),
        is_concentrated: master.is_concentrated(total, now),
        credit,
        cost_share,
        load: (
            by_weight(in_flight),
            by_weight(master.state.recent.count(now)),
        ),
    })
}

#[cfg(test)]
mod tests;
