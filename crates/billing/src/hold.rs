//! Holds: an upper bound of what a request may cost, taken from its budgets before it is forwarded (design §3).

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::money::{MoneyError, Nanos};
use crate::plan::{PlanPolicy, PriceRule};
use crate::price_book::{ModelPrices, OutputLimit, PriceKey};

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
    /// How many fields raise the cost in ways that have no price in advance.
    pub cost_raising_fields: u32,
    /// What one dollar of list cost costs the operator at the dearest master account.
    pub cost_share: Decimal,
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
    let raised = request
        .policy
        .cost_raising_cap
        .usd()
        .saturating_mul(Decimal::from(request.cost_raising_fields));
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
        .filter_map(|candidate| candidate.rule.price_share(request.cost_share))
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
            let rates =
                candidate_rates(request, candidate, max_price).ok_or(MoneyError::OutOfRange)?;
            Ok(Rates {
                input: dearest.input.max(rates.input),
                output: dearest.output.max(rates.output),
                fixed: dearest.fixed.max(rates.fixed),
            })
        })
}

/// `None` when a product does not fit.
fn candidate_rates(
    request: &HoldRequest<'_>,
    candidate: &Candidate<'_>,
    max_price: &MaxPrice,
) -> Option<Rates> {
    let model = candidate.model;
    if model.is_dynamic() {
        return Some(Rates {
            fixed: request.policy.cost_raising_cap.usd(),
            ..Rates::default()
        });
    }
    let tolerance = request.policy.max_price_tolerance;
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
    price_of(list, candidate.rule, request.cost_share)
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
mod tests {
    use super::*;
    use crate::ids::ModelPricingId;
    use crate::price_book::{Pricing, RawPricing};
    use proptest::prelude::*;

    fn model(prompt: &str, completion: &str, max_output: Option<u64>) -> ModelPrices {
        let prices = vec![
            ("prompt".to_owned(), prompt.to_owned()),
            ("completion".to_owned(), completion.to_owned()),
        ];
        ModelPrices {
            version: ModelPricingId::new(1),
            id: "a/b".to_owned(),
            pricing: Pricing::from_raw(&RawPricing {
                prices,
                overrides: Vec::new(),
            })
            .unwrap(),
            context_length: Some(200_000),
            max_completion_tokens: max_output,
            output_limit: OutputLimit::Supported,
        }
    }

    struct Case {
        model: ModelPrices,
        text_bytes: u64,
        output_limit: Option<u64>,
        cost_raising_fields: u32,
        tolerance: Decimal,
    }

    impl Case {
        fn new(model: ModelPrices) -> Self {
            Self {
                model,
                text_bytes: 0,
                output_limit: None,
                cost_raising_fields: 0,
                tolerance: Decimal::ONE,
            }
        }

        fn decide(&self, free: Option<i64>) -> Decision {
            let rule = PriceRule::default_rule();
            let policy = PlanPolicy {
                max_price_tolerance: self.tolerance,
                ..PlanPolicy::default()
            };
            let prompt = PromptSize {
                text_bytes: self.text_bytes,
                ..PromptSize::default()
            };
            let request = HoldRequest {
                candidates: &[Candidate {
                    model: &self.model,
                    rule: &rule,
                }],
                prompt: &prompt,
                output_limit: self.output_limit,
                client_max_price: MaxPrice::default(),
                cost_raising_fields: self.cost_raising_fields,
                cost_share: Decimal::new(3, 1),
                policy: &policy,
            };
            decide(&request, free.map(Nanos::new)).unwrap()
        }

        fn hold(&self, free: i64) -> Hold {
            match self.decide(Some(free)) {
                Decision::Hold(hold) => hold,
                refused => panic!("{refused:?}"),
            }
        }
    }

    #[test]
    fn a_limit_of_the_clients_is_held_whole_or_refused_with_what_is_affordable() {
        let mut case = Case::new(model("0.000001", "0.000001", None));
        case.output_limit = Some(1_000);
        // 1,000 tokens × $1 per million × 80 %
        assert_eq!(case.hold(800_000).amount, Nanos::new(800_000));
        let refused = case.decide(Some(799_999));
        assert_eq!(
            refused,
            Decision::Unaffordable {
                affordable_tokens: 999,
                needed: Nanos::new(800_000)
            }
        );
    }

    #[test]
    fn without_a_limit_a_quarter_of_the_budget_is_held_and_the_limit_written() {
        let case = Case::new(model("0.000001", "0.000001", None));
        let hold = case.hold(100_000_000);
        assert_eq!(hold.output_limit, Some(31_250));
        assert_eq!(hold.amount, Nanos::new(25_000_000));
        assert_eq!(
            Case::new(model("0.000001", "0.000001", Some(4_096)))
                .hold(100_000_000)
                .output_limit,
            Some(4_096)
        );
        // At least 1,024 tokens while they are affordable, and never more than is.
        assert_eq!(case.hold(1_000_000).output_limit, Some(1_024));
        assert_eq!(case.hold(400_000).output_limit, Some(500));
        assert_eq!(
            case.decide(Some(0)),
            Decision::Unaffordable {
                affordable_tokens: 0,
                needed: Nanos::new(800)
            }
        );
    }

    /// A $1 balance, 20 parallel calls without an output limit on a model of $1 per million tokens: none is refused.
    #[test]
    fn twenty_calls_without_a_limit_fit_into_a_dollar() {
        let mut case = Case::new(model("0.000001", "0.000001", None));
        case.text_bytes = 300;
        let mut free = 1_000_000_000;
        for _ in 0..20 {
            free -= case.hold(free).amount.get();
        }
        assert!(free >= 0);
    }

    #[test]
    fn a_scarce_budget_counts_a_token_a_byte() {
        let mut case = Case::new(model("0.000001", "0", None));
        case.text_bytes = 1_000;
        assert_eq!(case.hold(1_000_000).amount, Nanos::new(400_000));
        assert_eq!(case.hold(799_999 + 1).amount, Nanos::new(400_000));
        assert!(matches!(
            case.decide(Some(799_999)),
            Decision::Unaffordable {
                affordable_tokens: 0,
                ..
            }
        ));
    }

    #[test]
    fn fields_without_a_price_are_held_at_the_cap() {
        let mut case = Case::new(model("0", "0", None));
        case.cost_raising_fields = 2;
        assert_eq!(case.hold(2_000_000_000).amount, Nanos::new(1_000_000_000));
        assert!(matches!(
            case.decide(Some(999_999_999)),
            Decision::Unaffordable { .. }
        ));
    }

    #[test]
    fn a_router_is_held_at_the_cap_and_its_price_never_multiplied() {
        let case = Case::new(ModelPrices {
            pricing: Pricing::Dynamic,
            ..model("0", "0", None)
        });
        let hold = case.hold(1_000_000_000);
        assert_eq!(hold.amount, Nanos::new(500_000_000));
        assert_eq!(hold.max_price, MaxPrice::default());
    }

    #[test]
    fn the_maximum_price_is_the_book_times_the_tolerance() {
        let mut case = Case::new(model("0.000002", "0.00001", None));
        case.tolerance = Decimal::new(125, 2);
        let max_price = case.hold(1_000_000_000).max_price;
        assert_eq!(max_price.prompt, Some(Decimal::new(25, 1)));
        assert_eq!(max_price.completion, Some(Decimal::new(125, 1)));
    }

    #[test]
    fn a_model_that_obeys_no_limit_is_held_at_its_maximum() {
        let case = Case::new(ModelPrices {
            output_limit: OutputLimit::Unsupported,
            ..model("0", "0.000001", Some(10_000))
        });
        let hold = case.hold(8_000_000);
        assert_eq!(
            (hold.amount, hold.output_limit),
            (Nanos::new(8_000_000), None)
        );
        assert!(matches!(
            case.decide(Some(7_999_999)),
            Decision::Unaffordable { .. }
        ));
    }

    #[test]
    fn an_image_is_held_at_the_cap_at_most_and_a_file_by_its_length() {
        let rule = PriceRule::default_rule();
        let policy = PlanPolicy {
            max_price_tolerance: Decimal::ONE,
            ..PlanPolicy::default()
        };
        let model = model("0.000003", "0", None);
        let amount = |prompt: PromptSize| {
            let request = HoldRequest {
                candidates: &[Candidate {
                    model: &model,
                    rule: &rule,
                }],
                prompt: &prompt,
                output_limit: None,
                client_max_price: MaxPrice::default(),
                cost_raising_fields: 0,
                cost_share: Decimal::new(3, 1),
                policy: &policy,
            };
            match decide(&request, None).unwrap() {
                Decision::Hold(hold) => hold.amount,
                refused => panic!("{refused:?}"),
            }
        };
        let image = PromptSize {
            inline_images: vec![4_000_000],
            ..PromptSize::default()
        };
        assert_eq!(amount(image), Nanos::new(50_000_000));
        let file = PromptSize {
            other_media_bytes: 100_000,
            ..PromptSize::default()
        };
        assert_eq!(amount(file), Nanos::new(120_000_000));
        // No prompt is longer than the context of 200,000 tokens.
        let long = PromptSize {
            other_media_bytes: 40_000_000,
            ..PromptSize::default()
        };
        assert_eq!(amount(long), Nanos::new(480_000_000));
    }

    proptest! {
        /// What is held covers every answer within the forwarded limits, and is never more than is free.
        #[test]
        fn a_hold_is_an_upper_bound_within_the_budget(
            prompt in 0_i64..100_000, completion in 0_i64..100_000, bytes in 0_u64..100_000,
            limit in prop::option::of(1_u64..50_000), free in 0_i64..10_000_000_000,
        ) {
            let mut case = Case::new(model(&Decimal::new(prompt, 10).to_string(), &Decimal::new(completion, 10).to_string(), Some(32_000)));
            case.text_bytes = bytes;
            case.output_limit = limit;
            if let Decision::Hold(hold) = case.decide(Some(free)) {
                prop_assert!(hold.amount.get() <= free);
                let tokens = hold.output_limit.unwrap();
                let list = Decimal::from(bytes / 2) * Decimal::new(prompt, 10) + Decimal::from(tokens) * Decimal::new(completion, 10);
                prop_assert!(hold.amount.usd() >= list * Decimal::new(8, 1));
            }
        }
    }
}
