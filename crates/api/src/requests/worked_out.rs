//! A request's price worked out, as the API tells it.

use airouter_billing::ModelPrices;
use airouter_billing::pricing::Terms;
use airouter_billing::working::{CrossCheck, Line, LineKind, ListPrices, Stored, cross_check};
use airouter_store::master_accounts::UpstreamKind;
use airouter_store::requests::RequestRecord;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Exact, Usd};

/// A line: `amount` = `quantity` × `rate`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PriceLine {
    /// What it is about: `list_cost`, `reported_cost` and `provider_cost` are amounts in USD, names of prices (`prompt`,
    /// `completion`, `input_cache_read`, `request` and so on) are tokens or requests. `rounding` is to the nano-dollar,
    /// half-even; `price` stands for a price of which no more is told; `raised_to_cost` makes it the cost.
    #[schema(example = "list_cost")]
    what: &'static str,
    /// How much.
    quantity: Exact,
    /// Times what: a factor, or USD for one.
    rate: Exact,
    /// In USD.
    amount: Exact,
}

impl From<&Line> for PriceLine {
    fn from(line: &Line) -> Self {
        Self {
            what: line.kind.name(),
            quantity: Exact(line.quantity),
            rate: Exact(line.rate),
            amount: Exact(line.amount),
        }
    }
}

/// The same tokens by the public prices of that time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PriceBookCheck {
    /// Line by line.
    lines: Vec<PriceLine>,
    /// What the lines sum to.
    sum: Exact,
    /// What the upstream said that the request costs.
    list_cost: Option<Exact>,
    /// How much more that is than the sum: endpoints of one model have different prices.
    difference: Option<Exact>,
}

/// How a price came about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkedOutPrice {
    /// Line by line; they sum to the price.
    lines: Vec<PriceLine>,
    /// The price.
    price: Usd,
    /// Null where there is no listed price, or none that is told.
    cross_check: Option<PriceBookCheck>,
}

/// To whom it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Who pays: nothing that would tell what it cost the operator.
    Client,
    /// The operator.
    Operator,
}

/// Works a request's price out. One that the client does not pay has no lines.
pub(crate) async fn work_out(
    shared: &Shared,
    request: &RequestRecord,
    audience: Audience,
) -> Result<WorkedOutPrice, Problem> {
    let list_prices = match request.server.kind {
        Some(UpstreamKind::OpenRouter) => ListPrices::Public,
        Some(UpstreamKind::Compatible) | None => ListPrices::Agreed,
    };
    let stored = Stored {
        reported: request.reported_cost,
        inference: request.inference,
        terms: Terms {
            discount: request.terms.discount,
            rule: &request.terms.rule,
        },
        tokens: request.tokens,
    };
    let lines = match (request.loss, audience) {
        (Some(_), _) => Ok(Vec::new()),
        (None, Audience::Operator) => stored.lines(),
        (None, Audience::Client) => stored.lines_for_client(list_prices),
    };
    let lines = lines.map_err(|error| {
        tracing::error!(%error, request = %request.id, "a price can't be worked out");
        Problem::Internal
    })?;
    let is_checked = audience == Audience::Operator || stored.are_list_prices_told(list_prices);
    let check = match is_checked {
        true => prices(shared, request)
            .await?
            .and_then(|prices| cross_check(&prices, request.tokens, request.admitted_at)),
        false => None,
    };
    let tells_list_cost =
        audience == Audience::Operator || lines.iter().any(|line| line.kind == LineKind::ListCost);
    let list_cost = tells_list_cost.then_some(request.list_cost);
    Ok(WorkedOutPrice {
        lines: lines.iter().map(PriceLine::from).collect(),
        price: Usd(request.price()),
        cross_check: check.map(|check| told(&check, list_cost)),
    })
}

fn told(check: &CrossCheck, list_cost: Option<Decimal>) -> PriceBookCheck {
    PriceBookCheck {
        lines: check.lines.iter().map(PriceLine::from).collect(),
        sum: Exact(check.sum),
        list_cost: list_cost.map(Exact),
        difference: list_cost
            .and_then(|list_cost| list_cost.checked_sub(check.sum))
            .map(Exact),
    }
}

/// The prices of the model that served, as they were when the request was admitted; else those by which it was held.
async fn prices(shared: &Shared, request: &RequestRecord) -> Result<Option<ModelPrices>, Problem> {
    let held_by = match request.terms.model_pricing {
        Some(version) => shared.store.model_prices(version).await?,
        None => None,
    };
    let served = request.server.model.as_deref();
    let others = served.filter(|served| {
        request.server.kind != Some(UpstreamKind::Compatible)
            && held_by.as_ref().is_none_or(|prices| prices.id != *served)
    });
    let Some(others) = others else {
        return Ok(held_by);
    };
    let at = request.admitted_at;
    let served_by = shared.store.model_prices_at(others, at).await?;
    Ok(served_by.or(held_by))
}
