//! A chunk of a stream: what is passed on without usage has none, and what isn't parsed had nothing to hide.
#![no_main]

use airouter_proxy::wire::chunk::{Inspected, Interest, inspect};
use libfuzzer_sys::fuzz_target;

const USAGE: &str = r#"{"cost":0.25}"#;

fuzz_target!(|payload: &[u8]| {
    let Inspected::Facts(facts) = inspect(payload, Interest::Identity) else {
        return;
    };
    let without = facts.without_usage();
    match inspect(without.as_bytes(), Interest::Identity) {
        Inspected::Facts(clean) => {
            assert!(clean.is_clean() && clean.usage.is_none());
            assert_eq!(clean.id, facts.id);
            assert_eq!(clean.choices, facts.choices);
        }
        other => panic!("{without} is read as {other:?}"),
    }
    for with_price in [facts.with_usage(USAGE), facts.usage_chunk(USAGE)] {
        match inspect(with_price.as_bytes(), Interest::Identity) {
            Inspected::Facts(shown) => assert!(shown.usage.is_none_or(|usage| usage == USAGE)),
            other => panic!("{with_price} is read as {other:?}"),
        }
    }
    // A name that is written with escapes is not looked for in later chunks: serializers don't write it so.
    if !payload.contains(&b'\\') && inspect(payload, Interest::Usage) == Inspected::Ordinary {
        assert!(facts.is_clean() && facts.error.is_none());
    }
});
