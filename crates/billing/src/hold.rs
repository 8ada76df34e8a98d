//! Holds: an upper bound of what a request may cost, taken from its budgets before it is forwarded (design §3).

mod covers;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::cost_raising::{CostRaisingKind, CostRaisingUse};
use crate::money::{MoneyError, Nanos};
use crate::plan::{PlanPolicy, PriceRule};
use crate::price_book::{ModelPrices, OutputLimit, PriceKey};

pub use covers::covers;

/// An answer without a limit of the client's own gets at least so many tokens, if they are affordable.
const LEAST_OUTPUT_TOKENS: u64 = 1_024;
/// Tokens that a message costs beside its text.
const TOKENS_PER_MESSAGE: u64 = 8;
/// What an answer is bounded at where neither the model nor its context says.
const UNKNOWN_MAX_OUTPUT_TOKENS: u64 = 131_072;
/// OpenRouter's `provider.max_price` is in USD per million tokens (wire-contract §1.1).
const TOKENS_PER_PRICE_UNIT: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// The size of a prompt, as far as bytes tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptSize {
    /// All bytes of the body but inline media: text, tools and schemas.
    pub text_bytes: u64,
    /// How many messages.
    pub messages: u64,
    /// Bytes of each image that the body carries inline. What an image costs is bounded: providers scale it down.
    pub inline_images: Vec<u64>,
    /// Bytes of all other media that the body carries inline: audio, video and files cost by their length.
    pub other_media_bytes: u64,
    /// Media that are only linked to.
    pub linked_media: u64,
}

/// Highest prices that the upstream may choose: OpenRouter's `provider.max_price`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    /// USD per million prompt tokens.
    pub prompt: Option<Decimal>,
    /// USD per million tokens of the answer.
    pub completion: Option<Decimal>,
    /// USD per request.
    pub request: Option<Decimal>,
    /// USD per image of the prompt.
    pub image: Option<Decimal>,
}

/// A model that may serve the request, with the rule that prices it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its prices.
    pub model: &'a ModelPrices,
    /// The plan's rule for it.
    pub rule: &'a PriceRule,
    /// What one dollar of its list cost costs the operator at the dearest master account that may serve it.
    pub cost_share: Decimal,
}

/// All that a hold depends on but the budget.
#[derive(Clone, Debug)]
pub struct HoldRequest<'a> {
    /// The model asked for, and its fallbacks.
    pub candidates: &'a [Candidate<'a>],
    /// The size of the prompt.
    pub prompt: &'a PromptSize,
    /// The client's own output limit in tokens.
    pub output_limit: Option<u64>,
    /// The client's own maximum prices, in what the client pays.
    pub client_max_price: MaxPrice,
    /// What is held for what raises the cost in ways that have no price in advance: the caps of the plan's policy.
    pub cost_raising: Nanos,
    /// The plan's bounds.
    pub policy: &'a PlanPolicy,
}

/// A hold, and what the forwarded request must say so that the hold is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The amount to hold.
    pub amount: Nanos,
    /// The output limit to forward; `None` leaves the request as it is.
    pub output_limit: Option<u64>,
    /// The tokens of an answer that it is enough for.
    pub output_tokens: u64,
    /// The maximum prices to forward, as list prices.
    pub max_price: MaxPrice,
}

/// Whether a request is affordable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is, with this hold.
    Hold(Hold),
    /// It is not.
    Unaffordable {
        /// The tokens of an answer that would be.
        affordable_tokens: u64,
        /// What would have to be free.
        needed: Nanos,
    },
}

/// What a request may cost the client at most, by its parts.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    /// USD for a prompt token.
    input: Decimal,
    /// USD for a token of the answer.
    output: Decimal,
    /// USD for the request and its media by count.
    fixed: Decimal,
}

/// Decides the hold of a request when `free` is left in the tightest of its money budgets (`None`: it has none).
pub fn decide(request: &HoldRequest<'_>, free: Option<Nanos>) -> Result<Decision, MoneyError> {
    let max_price = forwarded_max_price(request);
    let rates = dearest_rates(request, &max_price)?;
    let limits = OutputLimits::of(request);
    let thin = input_price(request, rates, TextBytesPerToken::Two)?;
    let is_scarce = free.is_some_and(|free| free.usd() < thin.saturating_mul(Decimal::TWO));
    let input = if is_scarce {
        input_price(request, rates, TextBytesPerToken::One)?
    } else {
        thin
    };
    let affordable = match free {
        None => u64::MAX,
        Some(free) => affordable_tokens(free.usd() - input, rates.output),
    };
    let wanted = limits.wanted(|| match free {
        None => u64::MAX,
        Some(free) => {
            affordable_tokens(free.usd() / Decimal::from(4), rates.output).max(LEAST_OUTPUT_TOKENS)
        }
    });
    let granted = match limits.fixed() {
        Some(fixed) => fixed,
        None => wanted.min(affordable),
    };
    let amount = |tokens: u64| -> Result<Nanos, MoneyError> {
        let output = Decimal::from(tokens)
            .checked_mul(rates.output)
            .ok_or(MoneyError::OutOfRange)?;
        Nanos::round_up(input.checked_add(output).ok_or(MoneyError::OutOfRange)?)
    };
    let is_affordable =
        free.is_none_or(|free| input <= free.usd()) && granted <= affordable && granted > 0;
    if !is_affordable {
        return Ok(Decision::Unaffordable {
            affordable_tokens: if input > free.unwrap_or(Nanos::MAX).usd() {
                0
            } else {
                affordable
            },
            needed: amount(limits.fixed().unwrap_or(1))?,
        });
    }
    Ok(Decision::Hold(Hold {
        amount: amount(granted)?,
        output_limit: limits.forwarded(granted),
        output_tokens: granted,
        max_price,
    }))
}

/// How many bytes of text are taken for a token.
#[derive(Clone, Copy)]
enum TextBytesPerToken {
    One,
    Two,
}

/// What bounds the answer.
struct OutputLimits {
    client: Option<u64>,
    model: u64,
    is_supported: bool,
}

impl OutputLimits {
    fn of(request: &HoldRequest<'_>) -> Self {
        let model = request
            .candidates
            .iter()
            .map(|candidate| {
                let context = candidate.model.context_length.unwrap_or(u64::MAX);
                let most = candidate
                    .model
                    .max_completion_tokens
                    .unwrap_or(u64::MAX)
                    .min(context);
                if most == u64::MAX || most == 0 {
                    UNKNOWN_MAX_OUTPUT_TOKENS
                } else {
                    most
                }
            })
            .max()
            .unwrap_or(UNKNOWN_MAX_OUTPUT_TOKENS);
        let is_supported = request
            .candidates
            .iter()
            .all(|candidate| candidate.model.output_limit == OutputLimit::Supported);
        Self {
            client: request.output_limit,
            model,
            is_supported,
        }
    }

    /// The number of tokens that can't be lowered: the client's own limit, or what a model takes that obeys none.
    fn fixed(&self) -> Option<u64> {
        if self.is_supported {
            self.client.map(|limit| limit.min(self.model))
        } else {
            Some(self.model)
        }
    }

    fn wanted(&self, of_budget: impl Fn() -> u64) -> u64 {
        self.fixed().unwrap_or_else(|| self.model.min(of_budget()))
    }

    fn forwarded(&self, granted: u64) -> Option<u64> {
        self.is_supported.then_some(granted)
    }
}

/// How many tokens `usd` pays for.
fn affordable_tokens(usd: Decimal, price: Decimal) -> u64 {
    if usd < Decimal::ZERO {
        return 0;
    }
    match usd.checked_div(price) {
        Some(tokens) => tokens.floor().to_u64().unwrap_or(u64::MAX),
        None => u64::MAX,
    }
}

fn input_price(
    request: &HoldRequest<'_>,
    rates: Rates,
    per_token: TextBytesPerToken,
) -> Result<Decimal, MoneyError> {
    let prompt = request.prompt;
    let bytes = prompt.text_bytes.saturating_add(prompt.other_media_bytes);
    let text = match per_token {
        TextBytesPerToken::One => bytes,
        TextBytesPerToken::Two => bytes.div_ceil(2),
    };
    let tokens = text.saturating_add(prompt.messages.saturating_mul(TOKENS_PER_MESSAGE));
    let context = request
        .candidates
        .iter()
        .map(|candidate| candidate.model.context_length.unwrap_or(u64::MAX))
        .max();
    let tokens = tokens.min(context.unwrap_or(u64::MAX));
    let text_price = Decimal::from(tokens)
        .checked_mul(rates.input)
        .ok_or(MoneyError::OutOfRange)?;
    let cap = request.policy.media_cap.usd();
    let inline = prompt.inline_images.iter().map(|bytes| {
        Decimal::from(*bytes)
            .checked_mul(rates.input)
            .map_or(cap, |price| price.min(cap))
    });
    let linked = cap.saturating_mul(Decimal::from(prompt.linked_media));
    let raised = request.cost_raising.usd();
    inline
        .chain([linked, raised, rates.fixed])
        .try_fold(text_price, |sum, part| sum.checked_add(part))
        .ok_or(MoneyError::OutOfRange)
}

/// The price book times the plan's tolerance, or the client's own maximum in list prices, where that is lower.
fn forwarded_max_price(request: &HoldRequest<'_>) -> MaxPrice {
    let share = request
        .candidates
        .iter()
        .filter_map(|candidate| candidate.rule.price_share(candidate.cost_share))
        .max()
        .filter(|share| !share.is_zero());
    let client = request.client_max_price;
    let any_dynamic = request
        .candidates
        .iter()
        .any(|candidate| candidate.model.is_dynamic());
    let part = |keys: &[PriceKey], unit: Decimal, client: Option<Decimal>| {
        let book = request
            .candidates
            .iter()
            .filter_map(|candidate| candidate.model.dearest(keys))
            .max();
        let ours = book.filter(|_| !any_dynamic).and_then(|price| {
            price
                .checked_mul(unit)?
                .checked_mul(request.policy.max_price_tolerance)
        });
        let theirs = client.map(|price| {
            share
                .and_then(|share| price.checked_div(share))
                .unwrap_or(price)
                .round_dp(12)
        });
        [ours, theirs]
            .into_iter()
            .flatten()
            .min()
            .map(|price| price.normalize())
    };
    MaxPrice {
        prompt: part(&[PriceKey::Prompt], TOKENS_PER_PRICE_UNIT, client.prompt),
        completion: part(
            &[PriceKey::Completion],
            TOKENS_PER_PRICE_UNIT,
            client.completion,
        ),
        request: part(&[PriceKey::Request], Decimal::ONE, client.request),
        image: part(&[PriceKey::Image], Decimal::ONE, client.image),
    }
}

/// The dearest rates of all candidates, in what the client pays.
fn dearest_rates(request: &HoldRequest<'_>, max_price: &MaxPrice) -> Result<Rates, MoneyError> {
    request
        .candidates
        .iter()
        .try_fold(Rates::default(), |dearest, candidate| {
            let tolerance = request.policy.max_price_tolerance;
            let rates = candidate_rates(request, candidate, max_price, tolerance)
                .ok_or(MoneyError::OutOfRange)?;
            Ok(Rates {
                input: dearest.input.max(rates.input),
                output: dearest.output.max(rates.output),
                fixed: dearest.fixed.max(rates.fixed),
            })
        })
}

/// What a router is held at. One that the plan refuses is refused before it is held.
fn router_cap(policy: &PlanPolicy, model: &str) -> Nanos {
    let router = CostRaisingUse::new(CostRaisingKind::Routers, model);
    policy.cap_of(&router).unwrap_or(policy.cost_raising_cap)
}

/// The dearest rates of a candidate in what the client pays, where its list prices times `tolerance` are exceeded by
/// nobody, nor is `max_price`. `None` when a product does not fit.
fn candidate_rates(
    request: &HoldRequest<'_>,
    candidate: &Candidate<'_>,
    max_price: &MaxPrice,
    tolerance: Decimal,
) -> Option<Rates> {
    let model = candidate.model;
    if model.is_dynamic() {
        return Some(Rates {
            fixed: router_cap(request.policy, &model.id).usd(),
            ..Rates::default()
        });
    }
    let bounded = |keys: &[PriceKey], base: PriceKey, ceiling: Option<Decimal>| {
        let dearest = model.dearest(keys).unwrap_or_default();
        let list = dearest.checked_mul(tolerance)?;
        // A ceiling is on the plain price; the dearest of its kind goes down in proportion.
        let plain = model
            .dearest(&[base])
            .unwrap_or_default()
            .checked_mul(tolerance)?;
        match ceiling.and_then(|ceiling| ceiling.checked_div(TOKENS_PER_PRICE_UNIT)) {
            Some(ceiling) if ceiling < plain => list.checked_mul(ceiling)?.checked_div(plain),
            Some(_) | None => Some(list),
        }
    };
    let input_keys = [
        PriceKey::Prompt,
        PriceKey::CacheRead,
        PriceKey::CacheWrite,
        PriceKey::CacheWriteHour,
        PriceKey::Audio,
    ];
    let output_keys = [
        PriceKey::Completion,
        PriceKey::Reasoning,
        PriceKey::ImageOutput,
    ];
    let media = request
        .prompt
        .linked_media
        .saturating_add(u64::try_from(request.prompt.inline_images.len()).ok()?);
    let image = model
        .dearest(&[PriceKey::Image])
        .unwrap_or_default()
        .checked_mul(Decimal::from(media))?;
    let per_request = model.dearest(&[PriceKey::Request]).unwrap_or_default();
    let list = Rates {
        input: bounded(&input_keys, PriceKey::Prompt, max_price.prompt)?,
        output: bounded(&output_keys, PriceKey::Completion, max_price.completion)?,
        fixed: image.checked_add(per_request)?.checked_mul(tolerance)?,
    };
    price_of(list, candidate.rule, candidate.cost_share)
}

/// What the client pays for these list prices at most: by its rule, and never less than the operator's cost.
fn price_of(list: Rates, rule: &PriceRule, cost_share: Decimal) -> Option<Rates> {
    let share = rule.price_share(cost_share).unwrap_or(cost_share);
    let by_list = Rates {
        input: list.input.checked_mul(share)?,
        output: list.output.checked_mul(share)?,
        fixed: list.fixed.checked_mul(share)?,
    };
    Some(match rule {
        PriceRule::OwnPrices {
            prompt,
            completion,
            request,
        } => Rates {
            input: by_list.input.max(*prompt),
            output: by_list.output.max(*completion),
            fixed: by_list.fixed.max(*request),
        },
        PriceRule::PercentOfList { .. } | PriceRule::MarkupOnCost { .. } => by_list,
    })
}

#[cfg(test)]
mod tests;
