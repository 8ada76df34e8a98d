//! `POST …/quote`: what a chat request would be held at, at which prices, and whether it would be admitted. The same checks
//! as its admission; nothing is sent, held, counted or kept.

use std::sync::Arc;

use airouter_billing::hold::Hold;
use airouter_billing::plan::PriceRule;
use airouter_billing::price_book::PriceKey;
use airouter_store::clients::KeySnapshot;
use http::{Request, Response};
use hyper::body::Incoming;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::admit;
use crate::answer_headers::Left;
use crate::body::AnswerBody;
use crate::gateway::Gateway;
use crate::models::json_answer;
use crate::offers::cheapest_cost_share;
use crate::problem::Problem;
use crate::read_body::read_body;
use crate::wanted::Wanted;
use crate::wire::request::ChatRequest;

/// The answer. Amounts are decimal strings in USD.
#[derive(Serialize)]
struct Quote<'a> {
    object: &'static str,
    would_be_admitted: bool,
    /// Why not: what the request would be told.
    refusal: Option<Refusal>,
    /// What it would be held at, and could cost at most.
    hold: Option<String>,
    /// The limit that would be written into it.
    output_limit: Option<u64>,
    /// Each model that could serve, the preferred one first.
    models: Vec<ModelQuote<'a>>,
    /// What is left, as far as this replica knows; null where there is no such budget.
    balance: Option<String>,
    limit_remaining: Option<String>,
    requests_remaining: Option<i64>,
}

#[derive(Serialize)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct ModelQuote<'a> {
    model: &'a str,
    prices: Prices,
}

/// What the client pays; null where that is not known in advance.
#[derive(Serialize)]
struct Prices {
    prompt_token: Option<String>,
    cached_prompt_token: Option<String>,
    completion_token: Option<String>,
    request: Option<String>,
}

/// Answers what a request would cost at most.
pub(crate) async fn quote(
    gateway: &Arc<Gateway>,
    snapshot: &KeySnapshot,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    if gateway.stopping.is_cancelled() {
        return Err(Problem::ShuttingDown);
    }
    if !gateway.is_ready() {
        return Err(Problem::StoreUnavailable);
    }
    let body = read_body(request, gateway).await?;
    let request = ChatRequest::parse(body.bytes()).map_err(Problem::InvalidRequest)?;
    let (wanted, hold) = admit::look(gateway, snapshot, &request).await;
    let wanted = wanted.unwrap_or_default();
    let left = Left::of(gateway, &snapshot.budgets);
    let masters = gateway.masters.load();
    let held = hold.as_ref().ok();
    let quote = Quote {
        object: "quote",
        would_be_admitted: hold.is_ok(),
        hold: held.map(|hold: &Hold| hold.amount.to_string()),
        output_limit: held.and_then(|hold| hold.output_limit),
        refusal: hold.as_ref().err().map(refusal),
        models: shown(&wanted)
            .map(|wanted| ModelQuote {
                model: wanted.shown_as(),
                prices: prices(wanted, cheapest_cost_share(&masters, &wanted.entry)),
            })
            .collect(),
        balance: left.balance.map(|amount| amount.to_string()),
        limit_remaining: left.limit.map(|amount| amount.to_string()),
        requests_remaining: left.requests,
    };
    serde_json::to_string(&quote)
        .map(json_answer)
        .map_err(|_| Problem::StoreUnavailable)
}

/// Of the models behind an alias, which is all that is told of them, the first.
fn shown(wanted: &[Wanted]) -> impl Iterator<Item = &Wanted> {
    let is_first = |index: usize| {
        let name = wanted[index].shown_as();
        wanted[..index].iter().all(|other| other.shown_as() != name)
    };
    (0..wanted.len())
        .filter(move |index| is_first(*index))
        .map(|index| &wanted[index])
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal {
        status: problem.status().as_u16(),
        code: problem.code(),
        message: problem.message(),
    }
}

/// The client's prices, as `GET …/models` shows them.
fn prices(wanted: &Wanted, cost_share: Decimal) -> Prices {
    let model = &wanted.entry.prices;
    let share = wanted.rule.price_share(cost_share);
    let price = |key: PriceKey| {
        let list = model.dearest(&[key]).filter(|_| !model.is_dynamic())?;
        Some(list.checked_mul(share?)?.normalize().to_string())
    };
    if let PriceRule::OwnPrices {
        prompt,
        completion,
        request,
    } = wanted.rule
    {
        let own = |price: Decimal| Some(price.normalize().to_string());
        return Prices {
            prompt_token: own(prompt),
            cached_prompt_token: own(prompt),
            completion_token: own(completion),
            request: own(request),
        };
    }
    Prices {
        prompt_token: price(PriceKey::Prompt),
        cached_prompt_token: price(PriceKey::CacheRead),
        completion_token: price(PriceKey::Completion),
        request: price(PriceKey::Request),
    }
}
