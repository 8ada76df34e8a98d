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
    cost_raising: Nanos,
    tolerance: Decimal,
}

impl Case {
    fn new(model: ModelPrices) -> Self {
        Self {
            model,
            text_bytes: 0,
            output_limit: None,
            cost_raising: Nanos::ZERO,
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
                cost_share: Decimal::new(3, 1),
            }],
            prompt: &prompt,
            output_limit: self.output_limit,
            client_max_price: MaxPrice::default(),
            cost_raising: self.cost_raising,
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
    case.cost_raising = Nanos::new(1_000_000_000);
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
                cost_share: Decimal::new(3, 1),
            }],
            prompt: &prompt,
            output_limit: None,
            client_max_price: MaxPrice::default(),
            cost_raising: Nanos::ZERO,
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

/// A hold of `model`, and whether it covers `offer` at a server that serves without max_price.
fn is_covered(
    model: &ModelPrices,
    offer: &ModelPrices,
    share: Decimal,
    bytes: u64,
) -> (Hold, bool) {
    let (rule, policy) = (PriceRule::default_rule(), PlanPolicy::default());
    let prompt = PromptSize {
        text_bytes: bytes,
        ..PromptSize::default()
    };
    let candidate = |model, cost_share| Candidate {
        model,
        rule: &rule,
        cost_share,
    };
    let candidates = [candidate(model, Decimal::new(3, 1))];
    let request = HoldRequest {
        candidates: &candidates,
        prompt: &prompt,
        output_limit: Some(1_000),
        client_max_price: MaxPrice::default(),
        cost_raising: Nanos::ZERO,
        policy: &policy,
    };
    let Decision::Hold(hold) = decide(&request, None).unwrap() else {
        panic!("it is affordable");
    };
    (hold, covers(&request, &hold, &candidate(offer, share)))
}

#[test]
fn a_hold_covers_other_servers_up_to_the_tolerance_of_the_plan() {
    let held = model("0.000001", "0.000002", None);
    let share = Decimal::new(8, 1);
    let covered = |prompt, completion| {
        let offer = model(prompt, completion, None);
        is_covered(&held, &offer, share, 4_000).1
    };
    assert!(covered("0.00000125", "0.0000025"));
    assert!(!covered("0.00000126", "0.000002"));
    assert!(!covered("0.000001", "0.00000251"));
    // At its full cost it is sold at that, which is a quarter more.
    let offer = model("0.000001", "0.000002", None);
    assert!(is_covered(&held, &offer, Decimal::ONE, 4_000).1);
    let offer = model("0.0000011", "0.000002", None);
    assert!(!is_covered(&held, &offer, Decimal::ONE, 4_000).1);
    // A longer context takes a longer prompt than the hold rests on.
    let longer = ModelPrices {
        context_length: Some(400_000),
        ..model("0.000001", "0.000002", None)
    };
    assert!(is_covered(&held, &longer, share, 100_000).1);
    assert!(!is_covered(&held, &longer, share, 1_000_000).1);
    // No tolerance is added to what the offer asks for a request.
    let mut with_request = held.clone();
    if let Pricing::Listed { base, .. } = &mut with_request.pricing {
        base.set(PriceKey::Request, Decimal::new(1, 2));
    }
    assert!(is_covered(&with_request, &with_request, share, 4_000).1);
    assert!(!is_covered(&held, &with_request, share, 4_000).1);
}

proptest! {
    /// Where a hold covers a server, no answer of it within the hold's limits costs more than was held.
    #[test]
    fn what_a_hold_covers_costs_no_more(
        prompt in 0_i64..1_000, completion in 0_i64..1_000, its_prompt in 0_i64..1_500, its_completion in 0_i64..1_500,
        share in 1_i64..11, bytes in 0_u64..100_000,
    ) {
        let price = |each| Decimal::new(each, 10).to_string();
        let held = model(&price(prompt), &price(completion), None);
        let offer = model(&price(its_prompt), &price(its_completion), None);
        let share = Decimal::new(share, 1);
        let (hold, is_covered) = is_covered(&held, &offer, share, bytes);
        if is_covered {
            let list = Decimal::from(bytes.div_ceil(2)) * Decimal::new(its_prompt, 10)
                + Decimal::from(hold.output_tokens) * Decimal::new(its_completion, 10);
            prop_assert!(hold.amount.usd() >= list * share.max(Decimal::new(8, 1)));
        }
    }
}
