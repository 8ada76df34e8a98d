//! A request rewritten for a compatible server: JSON, with the server's own name and limit, and nothing that only
//! OpenRouter knows.
#![no_main]

use airouter_billing::price_table::{NEVER_EXTRA, ServedAs};
use airouter_proxy::wire::compatible::rewrite_for_compatible;
use airouter_proxy::wire::request::ChatRequest;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    if ChatRequest::parse(body).is_err() {
        return;
    }
    let served_as = ServedAs {
        extra_fields: vec!["provider".to_owned(), "top_k".to_owned()],
        ..ServedAs::named("gpt-x")
    };
    let sent = rewrite_for_compatible(body, &served_as, 7).expect("a request is an object");
    let sent: Value = serde_json::from_str(&sent).expect("what is sent is JSON");
    assert_eq!(sent["model"], "gpt-x");
    assert_eq!(sent["max_tokens"], 7);
    for name in NEVER_EXTRA {
        assert!(sent.get(name).is_none(), "{name}");
    }
});
