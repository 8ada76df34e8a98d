use super::*;

fn raw(prices: &[(&str, &str)]) -> RawPricing {
    let prices = prices
        .iter()
        .map(|(key, price)| ((*key).to_owned(), (*price).to_owned()))
        .collect();
    RawPricing {
        prices,
        overrides: Vec::new(),
    }
}

fn model(pricing: Pricing) -> ModelPrices {
    ModelPrices {
        version: ModelPricingId::new(1),
        id: "a/b".to_owned(),
        pricing,
        context_length: None,
        max_completion_tokens: None,
        output_limit: OutputLimit::Supported,
    }
}

#[test]
fn minus_one_is_a_router_and_any_other_negative_price_is_refused() {
    let prices = |text| Pricing::from_raw(&raw(&[("prompt", text), ("completion", "1")]));
    assert_eq!(prices("-1"), Ok(Pricing::Dynamic));
    assert_eq!(prices("-1.0"), Ok(Pricing::Dynamic));
    assert_eq!(
        prices("-0.5"),
        Err(PricingError::Negative {
            key: "prompt".to_owned()
        })
    );
    assert!(prices("NaN").is_err());
}

#[test]
fn a_missing_price_is_unknown_and_not_free() {
    assert_eq!(
        Pricing::from_raw(&raw(&[("prompt", "0")])),
        Err(PricingError::Missing { key: "completion" })
    );
    assert!(Pricing::from_raw(&raw(&[("prompt", "0"), ("completion", "0")])).is_ok());
}

#[test]
fn cached_and_written_tokens_are_part_of_the_prompt_and_reasoning_of_the_answer() {
    let pricing = raw(&[
        ("prompt", "0.000003"),
        ("completion", "0.000015"),
        ("input_cache_read", "0.0000003"),
        ("input_cache_write", "0.00000375"),
        ("request", "0.01"),
    ]);
    let tokens = TokenCounts {
        prompt: 1000,
        completion: 100,
        cached: 600,
        cache_write: 300,
        reasoning: 40,
        ..TokenCounts::default()
    };
    let cost = model(Pricing::from_raw(&pricing).unwrap())
        .list_cost(tokens, Timestamp::default())
        .unwrap();
    // 100 × 3e-6 + 600 × 3e-7 + 300 × 3.75e-6 + 100 × 1.5e-5 + 0.01
    assert_eq!(cost, "0.013105".parse::<Decimal>().unwrap());
}

#[test]
fn an_override_holds_beyond_its_threshold_and_the_dearest_price_knows_it() {
    let mut pricing = raw(&[("prompt", "0.000001"), ("completion", "0.000002")]);
    pricing.overrides.push(RawOverride {
        min_prompt_tokens: Some(200),
        prices: vec![("prompt".to_owned(), "0.000004".to_owned())],
        ..RawOverride::default()
    });
    let model = model(Pricing::from_raw(&pricing).unwrap());
    let cost = |prompt| {
        model
            .list_cost(
                TokenCounts {
                    prompt,
                    ..TokenCounts::default()
                },
                Timestamp::default(),
            )
            .unwrap()
    };
    assert_eq!(cost(200), "0.0002".parse::<Decimal>().unwrap());
    assert_eq!(cost(201), "0.000804".parse::<Decimal>().unwrap());
    assert_eq!(
        model.dearest(&[PriceKey::Prompt]),
        Some("0.000004".parse::<Decimal>().unwrap())
    );
}
