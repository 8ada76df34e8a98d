//! Admission: may this key use this model, within its limits, and can it pay? Takes the hold.

use std::sync::Arc;
use std::time::Instant;

use airouter_billing::event::RequestFacts;
use airouter_billing::hold::{self, Candidate, Decision, Hold, HoldRequest, MaxPrice, PromptSize};
use airouter_billing::holds::NoHold;
use airouter_billing::{BudgetRef, Nanos, Quantity};
use airouter_limits::{Admission, LimitKey, RateLimits, Refused};
use airouter_store::StoreError;
use airouter_store::clients::{KeySnapshot, RequestLimits};
use airouter_store::idempotency::Claim;
use bytes::Bytes;
use rust_decimal::Decimal;

use crate::bodies::Bodies;
use crate::catalog::Catalog;
use crate::chat::usage_wish;
use crate::choosing::FreeUse;
use crate::gateway::Gateway;
use crate::meter::Meter;
use crate::offers;
use crate::problem::Problem;
use crate::report::Moments;
use crate::service::Caller;
use crate::session::{Session, delivery_of};
use crate::wanted::{self, Wanted, named_models, wanted_models};
use crate::wire::media::{MediaKind, PromptShape};
use crate::wire::request::{self, ChatRequest, StreamUsage};
use crate::wire::rewrite::{LimitField, OutputLimit, RewritePlan, rewrite};

/// How often a hold is tried before the budget counts as too busy: each try but the last made the lease grow.
const HOLD_TRIES: usize = 256;
/// Bytes of text that count as a token against the tokens-a-minute limit until the real number is known.
const TEXT_BYTES_PER_TOKEN: u64 = 4;

/// A request that may be forwarded.
pub(crate) struct Admitted {
    pub(crate) session: Session,
    /// The bodies to forward.
    pub(crate) bodies: Bodies,
    /// What a dollar of list cost is sold for; `None` where prices don't follow list costs.
    pub(crate) price_share: Option<Decimal>,
    /// What a stream's client wants to see of usage.
    pub(crate) usage: StreamUsage,
}

/// Admits a request, or says what is wrong with it.
pub(crate) async fn admit(
    gateway: &Arc<Gateway>,
    caller: Caller,
    snapshot: &Arc<KeySnapshot>,
    body: &Bytes,
    accepted: Instant,
    claim: Option<Claim>,
) -> Result<Admitted, Problem> {
    let request = ChatRequest::parse(body).map_err(Problem::InvalidRequest)?;
    if gateway.settler.is_stuck() {
        return Err(Problem::StoreUnavailable);
    }
    let place = gateway
        .settler
        .reserve()
        .map_err(|_| Problem::StoreUnavailable)?;
    let catalog = gateway.catalog.load_full();
    let named = named_models(&gateway.settings, &catalog, &request)?;
    let wanted = wanted_models(&catalog, snapshot, &named)?;
    offers::check_servable(&wanted, &request)?;
    let cost_raising = wanted::cost_raising(&catalog, snapshot, &request, &wanted)?;
    let rate = admit_rate(gateway, snapshot, &request).await?;
    let prompt = prompt_size(&request.prompt);
    let masters = gateway.masters.load_full();
    let candidates = offers::candidates(&masters, &wanted);
    let size = (&prompt, cost_raising);
    let hold_request = hold_request(snapshot, &request, &candidates, size);
    let take = |amount| gateway.leases.take(&snapshot.budgets, amount);
    let (hold, holds) = take_hold(gateway, &hold_request, &snapshot.budgets, take).await?;
    let servers = offers::servers(&masters, &wanted, &request, (&hold_request, &hold))?;
    let first = wanted.first().ok_or(Problem::MissingModel)?;
    let requested_model = named
        .first()
        .map_or_else(String::new, |name| name.to_string());
    let body = forwarded_body(gateway, snapshot, &request, &wanted, &hold);
    let facts = RequestFacts {
        id: caller.id,
        api_key: snapshot.key,
        payer: snapshot.payer,
        payment: snapshot.payment,
        requested_model,
        model_pricing: (!first.entry.prices.is_dynamic()).then_some(first.entry.prices.version),
        plan_version: snapshot.plan.version,
        rule: first.rule.clone(),
        fallback_rules: wanted::fallback_rules(&wanted),
        names: wanted::names(&wanted),
        delivery: delivery_of(request.delivery),
        admitted_at: gateway.clock.now(),
        hold: hold.amount,
    };
    let price_share = first.rule.price_share(Decimal::ZERO);
    let session = Session {
        running: gateway.in_flight.add(facts, holds.as_charges(), claim),
        entry: Arc::clone(&first.entry),
        plan: Arc::clone(&snapshot.plan),
        abandoned: None,
        catalog,
        meter: Meter::default(),
        moments: Moments::new(accepted),
        client: caller.client,
        hops: caller.hops,
        key_preview: snapshot.preview.as_str().into(),
        holds,
        rate,
        place,
        on: None,
        servers: Arc::new(servers),
        use_of_free: FreeUse::of(wanted.iter().map(|wanted| wanted.entry.prices.id.as_str())),
        suited: None,
        counted: gateway.metrics.request_started(),
        key: None,
        head: None,
        gateway: Arc::clone(gateway),
    };
    Ok(Admitted {
        session,
        bodies: Bodies::new(body),
        price_share,
        usage: usage_wish(request.delivery),
    })
}

/// Whether a request would be admitted, with which models and which hold. Nothing is held, counted or reserved.
pub(crate) async fn look(
    gateway: &Arc<Gateway>,
    snapshot: &KeySnapshot,
    request: &ChatRequest<'_>,
) -> (Option<Vec<Wanted>>, Result<Hold, Problem>) {
    let catalog = gateway.catalog.load_full();
    let named = named_models(&gateway.settings, &catalog, request);
    let wanted = named.and_then(|named| wanted_models(&catalog, snapshot, &named));
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(problem) => return (None, Err(problem)),
    };
    let hold = look_at_limits(gateway, &catalog, snapshot, request, &wanted).await;
    (Some(wanted), hold)
}

async fn look_at_limits(
    gateway: &Arc<Gateway>,
    catalog: &Catalog,
    snapshot: &KeySnapshot,
    request: &ChatRequest<'_>,
    wanted: &[Wanted],
) -> Result<Hold, Problem> {
    if gateway.settler.is_stuck() {
        return Err(Problem::StoreUnavailable);
    }
    offers::check_servable(wanted, request)?;
    let cost_raising = wanted::cost_raising(catalog, snapshot, request, wanted)?;
    let (keys, tokens) = (limited_keys(snapshot), counted_tokens(request));
    gateway
        .limiter
        .look(&keys, tokens, gateway.moment())
        .map_err(refused)?;
    let prompt = prompt_size(&request.prompt);
    let candidates = offers::candidates(&gateway.masters.load(), wanted);
    let size = (&prompt, cost_raising);
    let hold_request = hold_request(snapshot, request, &candidates, size);
    let look = |amount| gateway.leases.look(&snapshot.budgets, amount);
    let (hold, ()) = take_hold(gateway, &hold_request, &snapshot.budgets, look).await?;
    Ok(hold)
}

fn hold_request<'a>(
    snapshot: &'a KeySnapshot,
    request: &ChatRequest<'_>,
    candidates: &'a [Candidate<'a>],
    (prompt, cost_raising): (&'a PromptSize, Nanos),
) -> HoldRequest<'a> {
    HoldRequest {
        candidates,
        prompt,
        output_limit: request.output_limit(),
        client_max_price: client_max_price(&request.max_price),
        cost_raising,
        policy: &snapshot.plan.policy,
    }
}

async fn admit_rate(
    gateway: &Gateway,
    snapshot: &KeySnapshot,
    request: &ChatRequest<'_>,
) -> Result<Admission, Problem> {
    let (keys, tokens) = (limited_keys(snapshot), counted_tokens(request));
    gateway
        .limiter
        .admit(&keys, tokens, gateway.moment())
        .await
        .map_err(refused)
}

/// Whose rates a request counts for.
fn limited_keys(snapshot: &KeySnapshot) -> [(LimitKey, RateLimits); 2] {
    let limits = |limits: &RequestLimits| RateLimits {
        requests_per_minute: limits.requests_per_minute,
        tokens_per_minute: limits.tokens_per_minute,
        concurrent_requests: limits.concurrent_requests,
    };
    [
        (
            LimitKey::Key(*snapshot.key.get().as_bytes()),
            limits(&snapshot.key_limits),
        ),
        (
            LimitKey::Account(*snapshot.payer.get().as_bytes()),
            limits(&snapshot.account_limits),
        ),
    ]
}

fn counted_tokens(request: &ChatRequest<'_>) -> u64 {
    request.prompt.text_bytes.div_ceil(TEXT_BYTES_PER_TOKEN)
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::RateLimited(limited) => Problem::RateLimited(limited),
        Refused::Full => Problem::StoreUnavailable,
    }
}

fn prompt_size(shape: &PromptShape) -> PromptSize {
    let linked = shape.linked_media;
    let linked_media = [linked.images, linked.audio, linked.videos, linked.files];
    let inline = |of_images: bool| {
        shape
            .inline_media
            .iter()
            .filter(move |media| (media.kind == MediaKind::Image) == of_images)
            .map(|media| media.bytes)
    };
    PromptSize {
        text_bytes: shape.text_bytes,
        messages: u64::from(shape.messages),
        inline_images: inline(true).collect(),
        other_media_bytes: inline(false).sum(),
        linked_media: linked_media.into_iter().map(u64::from).sum(),
    }
}

fn client_max_price(max_price: &request::MaxPrice) -> MaxPrice {
    MaxPrice {
        prompt: max_price.prompt,
        completion: max_price.completion,
        request: max_price.request,
        image: max_price.image,
    }
}

/// Takes the hold, or looks whether it could be taken: decides by what this replica knows to be free, and asks the database
/// when that is too little.
async fn take_hold<T>(
    gateway: &Gateway,
    request: &HoldRequest<'_>,
    budgets: &[BudgetRef],
    take: impl Fn(Nanos) -> Result<T, NoHold>,
) -> Result<(Hold, T), Problem> {
    let away = |error: StoreError| {
        tracing::warn!(%error, "a hold could not be taken");
        Problem::StoreUnavailable
    };
    for _ in 0..HOLD_TRIES {
        let free = gateway.leases.free(budgets).await.map_err(away)?;
        match hold::decide(request, free).map_err(|_| Problem::InsufficientQuota {
            affordable_tokens: 0,
        })? {
            Decision::Unaffordable {
                affordable_tokens,
                needed,
            } => {
                match short_budget(gateway, budgets, needed) {
                    // Somebody may have paid in since it was last asked.
                    Some((budget, missing)) => {
                        gateway
                            .leases
                            .ask(budget, needed.get(), missing)
                            .await
                            .map_err(away)?;
                    }
                    None => return Err(Problem::InsufficientQuota { affordable_tokens }),
                }
            }
            Decision::Hold(hold) => match take(hold.amount) {
                Ok(holds) => return Ok((hold, holds)),
                Err(NoHold::Dry {
                    budget,
                    amount,
                    shortfall,
                }) => {
                    gateway
                        .leases
                        .ask(budget, amount, shortfall)
                        .await
                        .map_err(away)?;
                }
                Err(NoHold::Ended) => gateway.leases.renew_if_due().await.map_err(away)?,
                Err(NoHold::Exhausted(budget)) => return Err(exhausted(gateway, budget, request)),
            },
        }
    }
    Err(Problem::StoreUnavailable)
}

/// A money budget that lacks `needed` and has not just said so, and what it lacks.
fn short_budget(
    gateway: &Gateway,
    budgets: &[BudgetRef],
    needed: Nanos,
) -> Option<(BudgetRef, i64)> {
    budgets
        .iter()
        .filter(|budget| budget.quantity == Quantity::Nanos)
        .find_map(|budget| {
            let is_short = gateway.leases.free_of(*budget) < needed.get();
            let is_refused = gateway.leases.is_refused(*budget, needed.get());
            (is_short && !is_refused)
                .then(|| (*budget, gateway.leases.missing(*budget, needed.get())))
        })
}

fn exhausted(gateway: &Gateway, budget: BudgetRef, request: &HoldRequest<'_>) -> Problem {
    let now = gateway.clock.now();
    match budget.quantity {
        Quantity::Requests => Problem::RequestBudgetSpent {
            retry_after_seconds: budget
                .period
                .end(now)
                .map(|end| end.micros_since(now).div_ceil(1_000_000)),
        },
        Quantity::Nanos => {
            let free = Nanos::new(gateway.leases.free_of(budget));
            let affordable_tokens = match hold::decide(request, Some(free)) {
                Ok(Decision::Unaffordable {
                    affordable_tokens, ..
                }) => affordable_tokens,
                Ok(Decision::Hold(hold)) => hold.output_limit.unwrap_or(0),
                Err(_) => 0,
            };
            Problem::InsufficientQuota { affordable_tokens }
        }
    }
}

/// What goes upstream: the client's body, with the limits that the hold rests on and the tenant's pseudonym.
fn forwarded_body(
    gateway: &Gateway,
    snapshot: &KeySnapshot,
    request: &ChatRequest<'_>,
    wanted: &[Wanted],
    hold: &Hold,
) -> Bytes {
    let pseudonym = gateway.pseudonyms.of(snapshot.payer);
    let asked_instead = wanted::asked_instead(request, wanted);
    let plan = RewritePlan {
        models: asked_instead.as_deref(),
        output_limit: hold.output_limit.map(|tokens| OutputLimit {
            tokens,
            added_as: LimitField::MaxTokens,
        }),
        max_price: request::MaxPrice {
            prompt: hold.max_price.prompt,
            completion: hold.max_price.completion,
            request: hold.max_price.request,
            image: hold.max_price.image,
            audio: None,
        },
        user: Some(pseudonym.as_str()),
    };
    rewrite(request, &plan).into()
}
