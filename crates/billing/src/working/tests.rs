use proptest::prelude::*;

use super::*;
use crate::discount::Discount;
use crate::ids::ModelPricingId;
use crate::price_book::{OutputLimit, Pricing, RawPricing};

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn discount(percent: i64, basis: DiscountBasis) -> Discount {
    Discount::from_percent(Decimal::from(percent), basis).unwrap()
}

fn below_par(percent: i64) -> Discount {
    discount(percent, DiscountBasis::CreditsBoughtBelowPar)
}

const TOKENS: TokenCounts = TokenCounts {
    prompt: 600,
    completion: 400,
    cached: 100,
    cache_write: 0,
    audio: 0,
    reasoning: 300,
    image_output: 0,
};

fn stored<'a>(reported: &str, inference: Inference, terms: Terms<'a>) -> Stored<'a> {
    Stored {
        reported: decimal(reported),
        inference,
        terms,
        tokens: TOKENS,
    }
}

fn shown(lines: &[Line]) -> Vec<(&'static str, String, String, String)> {
    lines
        .iter()
        .map(|line| {
            let text = |value: Decimal| value.normalize().to_string();
            (
                line.kind.name(),
                text(line.quantity),
                text(line.rate),
                text(line.amount),
            )
        })
        .collect()
}

fn line(
    name: &'static str,
    quantity: &str,
    rate: &str,
    amount: &str,
) -> (&'static str, String, String, String) {
    (name, quantity.into(), rate.into(), amount.into())
}

#[test]
fn a_share_of_the_list_cost_is_told_to_everybody() {
    let rule = PriceRule::default_rule();
    let terms = Terms {
        discount: below_par(70),
        rule: &rule,
    };
    let stored = stored("0.0100000001", Inference::Credits, terms);
    let expected = [
        line("list_cost", "0.0100000001", "0.8", "0.00800000008"),
        line("rounding", "-0.00000000008", "1", "-0.00000000008"),
    ];
    assert_eq!(shown(&stored.lines().unwrap()), expected);
    assert_eq!(
        shown(&stored.lines_for_client(ListPrices::Public).unwrap()),
        expected
    );
}

#[test]
fn what_would_tell_the_cost_is_not_told() {
    let share = PriceRule::default_rule();
    let markup = PriceRule::MarkupOnCost {
        markup: decimal("0.25"),
    };
    let dear = PriceRule::PercentOfList {
        factor: decimal("1.2"),
    };
    let provider = Inference::OwnProviderKey {
        upstream_cost: decimal("0.01"),
    };
    let terms = |discount, rule| Terms { discount, rule };
    let cases = [
        // The price is the cost.
        (
            stored("0.01", Inference::Credits, terms(below_par(10), &share)),
            ListPrices::Public,
        ),
        (
            stored("0.01", Inference::Credits, terms(below_par(70), &markup)),
            ListPrices::Public,
        ),
        (
            stored("0.01", provider, terms(below_par(70), &share)),
            ListPrices::Public,
        ),
        // What is reported is what the operator pays.
        (
            stored("0.01", Inference::Credits, terms(below_par(0), &dear)),
            ListPrices::Public,
        ),
        (
            stored(
                "0.01",
                Inference::Credits,
                terms(discount(70, DiscountBasis::InReportedCost), &share),
            ),
            ListPrices::Public,
        ),
        (
            stored("0.01", Inference::Credits, terms(below_par(70), &share)),
            ListPrices::Agreed,
        ),
    ];
    for (stored, list_prices) in cases {
        let lines = stored.lines_for_client(list_prices).unwrap();
        let price = sum(&stored.lines().unwrap()).unwrap();
        assert_eq!(lines, [Line::amount(LineKind::Price, price)], "{stored:?}");
    }
}

#[test]
fn every_rule_has_its_lines() {
    let markup = PriceRule::MarkupOnCost {
        markup: decimal("0.25"),
    };
    let provider = Inference::OwnProviderKey {
        upstream_cost: decimal("0.01"),
    };
    let terms = Terms {
        discount: below_par(70),
        rule: &markup,
    };
    assert_eq!(
        shown(&stored("0.001", provider, terms).lines().unwrap()),
        [
            line("reported_cost", "0.001", "0.375", "0.000375"),
            line("provider_cost", "0.01", "1.25", "0.0125"),
        ]
    );
    let own = PriceRule::OwnPrices {
        prompt: decimal("0.000001"),
        completion: decimal("0.000002"),
        request: decimal("0.001"),
    };
    let terms = Terms {
        discount: below_par(0),
        rule: &own,
    };
    assert_eq!(
        shown(&stored("0.003", Inference::Credits, terms).lines().unwrap()),
        [
            line("prompt", "600", "0.000001", "0.0006"),
            line("completion", "400", "0.000002", "0.0008"),
            line("request", "1", "0.001", "0.001"),
            line("raised_to_cost", "0.0006", "1", "0.0006"),
        ]
    );
}

#[test]
fn tokens_by_the_price_book_are_the_cross_check() {
    let price = |name: &str, price: &str| (name.to_owned(), price.to_owned());
    let raw = RawPricing {
        prices: vec![
            price("prompt", "0.000001"),
            price("completion", "0.000002"),
            price("input_cache_read", "0.0000001"),
            price("request", "0.001"),
        ],
        overrides: Vec::new(),
    };
    let model = ModelPrices {
        version: ModelPricingId::new(1),
        id: "a/model".to_owned(),
        pricing: Pricing::from_raw(&raw).unwrap(),
        context_length: None,
        max_completion_tokens: None,
        output_limit: OutputLimit::Supported,
    };
    let check = cross_check(&model, TOKENS, Timestamp::default()).unwrap();
    assert_eq!(
        shown(&check.lines),
        [
            line("prompt", "500", "0.000001", "0.0005"),
            line("input_cache_read", "100", "0.0000001", "0.00001"),
            line("completion", "100", "0.000002", "0.0002"),
            line("internal_reasoning", "300", "0.000002", "0.0006"),
            line("request", "1", "0.001", "0.001"),
        ]
    );
    assert_eq!(
        Some(check.sum),
        model.list_cost(TOKENS, Timestamp::default())
    );
    let router = ModelPrices {
        pricing: Pricing::Dynamic,
        ..model
    };
    assert_eq!(cross_check(&router, TOKENS, Timestamp::default()), None);
}

fn any_rule() -> impl Strategy<Value = PriceRule> {
    let rate = |most: i64, scale: u32| (0..most).prop_map(move |n| Decimal::new(n, scale));
    prop_oneof![
        rate(300, 2).prop_map(|factor| PriceRule::PercentOfList { factor }),
        rate(300, 2).prop_map(|markup| PriceRule::MarkupOnCost { markup }),
        (rate(1_000_000, 12), rate(1_000_000, 12), rate(1_000_000, 9)).prop_map(
            |(prompt, completion, request)| PriceRule::OwnPrices {
                prompt,
                completion,
                request
            }
        ),
    ]
}

proptest! {
    #[test]
    fn the_lines_come_to_the_price(
        rule in any_rule(),
        reported in 0_i64..1_000_000_000_000,
        scale in 9_u32..18,
        provider in prop::option::of(0_i64..1_000_000_000_000),
        percent in 0_i64..100,
        in_reported in any::<bool>(),
        prompt in 0_u64..10_000_000,
        completion in 0_u64..1_000_000,
    ) {
        let basis = if in_reported { DiscountBasis::InReportedCost } else { DiscountBasis::CreditsBoughtBelowPar };
        let stored = Stored {
            reported: Decimal::new(reported, scale),
            inference: match provider {
                None => Inference::Credits,
                Some(cost) => Inference::OwnProviderKey { upstream_cost: Decimal::new(cost, scale) },
            },
            terms: Terms { discount: discount(percent, basis), rule: &rule },
            tokens: TokenCounts { prompt, completion, ..TokenCounts::default() },
        };
        let (cost, price) = amounts(stored.reported, stored.inference, stored.terms, stored.tokens).unwrap();
        let lines = stored.lines().unwrap();
        prop_assert_eq!(sum(&lines).unwrap(), price.usd());
        prop_assert!(lines.iter().all(|line| line.amount == line.quantity * line.rate));
        for list_prices in [ListPrices::Public, ListPrices::Agreed] {
            let told = stored.lines_for_client(list_prices).unwrap();
            prop_assert_eq!(sum(&told).unwrap(), price.usd());
            let is_raised = lines.iter().any(|line| line.kind == LineKind::RaisedToCost);
            prop_assert!(!is_raised || (told.len() == 1 && price == cost));
        }
    }
}
