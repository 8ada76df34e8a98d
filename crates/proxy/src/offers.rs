//! Compatible servers: what each of them offers, and which may serve a request.

use std::sync::Arc;

use airouter_billing::hold::{self, Candidate, Hold, HoldRequest};
use airouter_billing::price_table::ServedAs;
use airouter_billing::{MasterAccountId, ModelPrices};
use airouter_store::master_accounts::UpstreamKind;
use rust_decimal::Decimal;

use crate::catalog::{CatalogEntry, SoldBy};
use crate::masters::{Master, Masters};
use crate::problem::Problem;
use crate::wanted::Wanted;
use crate::wire::compatible::needs_openrouter;
use crate::wire::request::ChatRequest;

/// A model at a compatible server.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The account there.
    pub account: MasterAccountId,
    /// What it costs there.
    pub prices: ModelPrices,
    /// How it is asked for.
    pub served_as: ServedAs,
}

/// A compatible server that may serve a request, and with what.
#[derive(Debug)]
pub(crate) struct Suited {
    pub(crate) offer: Arc<Offer>,
    /// What the client calls the model.
    pub(crate) shown_as: String,
    /// The most tokens of an answer.
    pub(crate) most_output: u64,
    fit: Fit,
}

/// How well somebody serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// The place of its model among those wanted; 0 is the preferred one.
    pub(crate) place: usize,
    /// Its list prices, for one dollar at OpenRouter's (where only such servers have the model: at the dearest of them).
    pub(crate) list_share: Decimal,
}

/// Who may serve a request.
#[derive(Debug)]
pub(crate) struct Servers {
    openrouter: Option<Fit>,
    compatible: Vec<Arc<Suited>>,
}

impl Default for Servers {
    /// Every account at OpenRouter, and no other.
    fn default() -> Self {
        Self {
            openrouter: Some(Fit {
                place: 0,
                list_share: Decimal::ONE,
            }),
            compatible: Vec::new(),
        }
    }
}

impl Servers {
    /// How well an account serves the request; `None` where it must not be asked.
    pub(crate) fn fit(&self, master: &Master) -> Option<Fit> {
        match master.kind {
            UpstreamKind::OpenRouter => self.openrouter,
            UpstreamKind::Compatible => self.suited(master.id).map(|suited| suited.fit),
        }
    }

    /// What a compatible server serves of the request.
    pub(crate) fn suited(&self, account: MasterAccountId) -> Option<&Arc<Suited>> {
        self.compatible
            .iter()
            .find(|suited| suited.offer.account == account)
    }
}

/// What the hold must bound: of a model that OpenRouter sells the price there, which other servers must keep to; else what
/// the servers ask that have it.
pub(crate) fn candidates<'a>(masters: &Masters, wanted: &'a [Wanted]) -> Vec<Candidate<'a>> {
    let dearest = masters.dearest_cost_share();
    let mut candidates = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let candidate = |model, cost_share| Candidate {
            model,
            rule: &wanted.rule,
            cost_share,
        };
        let entry = &wanted.entry;
        if entry.sold_by == SoldBy::OpenRouter {
            candidates.push(candidate(&entry.prices, dearest));
            continue;
        }
        let before = candidates.len();
        candidates.extend(entry.offers.iter().filter_map(|offer| {
            let master = serving(masters, offer.account)?;
            Some(candidate(&offer.prices, master.discount.cost_share()))
        }));
        if candidates.len() == before {
            candidates.push(candidate(&entry.prices, Decimal::ONE));
        }
    }
    candidates
}

/// A request that only OpenRouter understands, for models that only others have.
pub(crate) fn check_servable(wanted: &[Wanted], request: &ChatRequest<'_>) -> Result<(), Problem> {
    let is_elsewhere = |wanted: &Wanted| wanted.entry.sold_by == SoldBy::Servers;
    let is_plain =
        || !needs_openrouter(request) && wanted.iter().any(|wanted| wanted.modifier().is_none());
    if wanted.iter().all(is_elsewhere) && !is_plain() {
        return Err(Problem::NotServable);
    }
    Ok(())
}

/// Who may serve an admitted request. A compatible server may if it has one of the models, if the request asks for nothing
/// that only OpenRouter does, and if the hold bounds its price too. An error where those that serve are all too dear for
/// what the client is ready to pay.
pub(crate) fn servers(
    masters: &Masters,
    wanted: &[Wanted],
    request: &ChatRequest<'_>,
    held: (&HoldRequest<'_>, &Hold),
) -> Result<Servers, Problem> {
    let openrouter = wanted
        .iter()
        .position(|wanted| wanted.entry.sold_by == SoldBy::OpenRouter)
        .map(|place| Fit {
            place,
            list_share: Decimal::ONE,
        });
    let is_offered = wanted.iter().any(|wanted| !wanted.entry.offers.is_empty());
    if !is_offered || needs_openrouter(request) {
        return Ok(Servers {
            openrouter,
            compatible: Vec::new(),
        });
    }
    let compatible: Vec<_> = masters
        .all()
        .iter()
        .filter(|master| master.kind == UpstreamKind::Compatible)
        .filter_map(|master| suited(master, wanted, request, held).map(Arc::new))
        .collect();
    let mut offers = wanted.iter().flat_map(|wanted| &wanted.entry.offers);
    let is_served = offers.any(|offer| serving(masters, offer.account).is_some());
    if openrouter.is_none() && compatible.is_empty() && is_served {
        return Err(Problem::NotServable);
    }
    Ok(Servers {
        openrouter,
        compatible,
    })
}

/// The first of the models that the server may be asked for.
fn suited(
    master: &Master,
    wanted: &[Wanted],
    request: &ChatRequest<'_>,
    (hold_request, hold): (&HoldRequest<'_>, &Hold),
) -> Option<Suited> {
    wanted.iter().enumerate().find_map(|(place, wanted)| {
        let mut offers = wanted.entry.offers.iter();
        let offer = offers.find(|offer| offer.account == master.id)?;
        let most_output = offer.prices.max_completion_tokens.unwrap_or(u64::MAX);
        // What the client asks for is cut where nobody gives more; else only what nobody asked for is.
        let asked = request.output_limit();
        let is_long_enough = asked.is_none_or(|limit| limit.min(hold.output_tokens) <= most_output);
        let candidate = Candidate {
            model: &offer.prices,
            rule: &wanted.rule,
            cost_share: master.discount.cost_share(),
        };
        let is_suited = wanted.modifier().is_none()
            && is_long_enough
            && hold::covers(hold_request, hold, &candidate);
        is_suited.then(|| Suited {
            offer: Arc::clone(offer),
            shown_as: wanted.name().to_owned(),
            most_output: hold.output_tokens.min(most_output),
            fit: Fit {
                place,
                list_share: offer
                    .prices
                    .relative_to(&wanted.entry.prices)
                    .unwrap_or(Decimal::ONE),
            },
        })
    })
}

/// What one dollar of a model's list cost costs at the cheapest account that has it.
pub(crate) fn cheapest_cost_share(masters: &Masters, entry: &CatalogEntry) -> Decimal {
    if entry.sold_by == SoldBy::OpenRouter {
        return masters.cheapest_cost_share();
    }
    entry
        .offers
        .iter()
        .filter_map(|offer| Some(serving(masters, offer.account)?.discount.cost_share()))
        .min()
        .unwrap_or(Decimal::ONE)
}

fn serving(masters: &Masters, account: MasterAccountId) -> Option<&Arc<Master>> {
    masters.all().iter().find(|master| master.id == account)
}

#[cfg(test)]
mod tests;
