//! What the upstream says was used, by day and by key: amounts stay the texts that they were, and none is skipped.
#![no_main]

use airouter_openrouter::{parse_activity, parse_key};
use airouter_proxy::wire::json::is_number;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(rows) = parse_activity(body) {
        for row in &rows {
            let amounts = [Some(&row.usage), row.byok_usage_inference.as_ref()];
            for amount in amounts.into_iter().flatten() {
                assert!(is_number(amount.as_str()), "{amount:?}");
                assert!(contains(body, amount.as_str().as_bytes()));
            }
            let day = row.date.get(..10).unwrap_or(&row.date);
            assert!(!row.is_of("2026-11-20") || day == "2026-11-20");
        }
    }
    if let Ok(key) = parse_key(body) {
        for amount in [key.usage, key.usage_daily, key.byok_usage].into_iter().flatten() {
            assert!(is_number(amount.as_str()), "{amount:?}");
            assert!(contains(body, amount.as_str().as_bytes()));
        }
    }
});

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
