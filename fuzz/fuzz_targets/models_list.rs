//! The upstream's list of models: one bad model hides no other, and prices stay the texts that they were.
#![no_main]

use airouter_openrouter::{PriceValue, parse_models};
use airouter_proxy::wire::json::is_number;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(list) = parse_models(body) else {
        return;
    };
    for model in &list.models {
        assert!(!model.id.is_empty());
        assert!(contains(body, model.raw.get().as_bytes()));
        for price in model.prices.values() {
            if let PriceValue::Number(number) = price {
                assert!(is_number(number.as_str()), "{number:?}");
            }
        }
    }
});

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
