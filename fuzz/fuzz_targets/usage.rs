//! A usage object: whatever is reported, a client sees its own price and nothing else about money.
#![no_main]

use airouter_proxy::wire::json::{each_element, members};
use airouter_proxy::wire::usage::{Dialect, UsageReport, rewrite_usage};
use libfuzzer_sys::fuzz_target;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

const PRICE: &str = "0.0123";

fuzz_target!(|usage: &str| {
    let report = UsageReport::parse(usage);
    for dialect in [Dialect::OpenAi, Dialect::OpenRouter] {
        let Ok(shown) = rewrite_usage(usage, Decimal::new(123, 4), dialect) else {
            continue;
        };
        let all = members(&shown).expect("what is shown is an object");
        let (costs, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|member| member.name == "cost");
        assert!(
            matches!(costs.as_slice(), [cost] if cost.value == PRICE),
            "{shown}"
        );
        for member in others {
            assert_no_money(&member.name, member.value);
        }
        let again = UsageReport::parse(&shown);
        assert_eq!(again.is_ok(), report.is_ok(), "{shown}");
        if let (Ok(again), Ok(report)) = (again, &report) {
            assert_eq!(again.cost.as_deref(), Some(PRICE));
            assert_eq!(again.upstream_inference_cost, None);
            assert_eq!(again.prompt_tokens, report.prompt_tokens);
            assert_eq!(again.completion_tokens, report.completion_tokens);
        }
    }
});

fn assert_no_money(name: &str, value: &str) {
    let name = name.to_ascii_lowercase();
    let is_count = name.ends_with("_tokens");
    assert!(
        is_count || !(name.contains("cost") || name.contains("price") || name.contains("discount")),
        "{name}"
    );
    if let Ok(inner) = members(value) {
        for member in inner {
            assert_no_money(&member.name, member.value);
        }
    } else {
        let _ = each_element(value, |element: &RawValue| {
            assert_no_money("", element.get())
        });
    }
}
