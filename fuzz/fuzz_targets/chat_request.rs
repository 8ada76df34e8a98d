//! A client's chat request: whatever is accepted can be rewritten, keeps what it need not lose, and says what the hold
//! rests on.
#![no_main]

use airouter_proxy::wire::json::members;
use airouter_proxy::wire::request::{ChatRequest, MaxPrice};
use airouter_proxy::wire::rewrite::{LimitField, OutputLimit, RewritePlan, rewrite};
use libfuzzer_sys::fuzz_target;
use rust_decimal::Decimal;

const LIMIT: u64 = 1_000;
const USER: &str = "a-pseudonym";
/// Members that the plan below may change, and those that are never forwarded.
const CHANGED: [&str; 4] = ["max_tokens", "max_completion_tokens", "provider", "user"];
const DROPPED: [&str; 3] = ["debug", "trace", "session_id"];

fuzz_target!(|body: &[u8]| {
    let Ok(request) = ChatRequest::parse(body) else {
        return;
    };
    let plan = RewritePlan {
        models: None,
        output_limit: Some(OutputLimit {
            tokens: LIMIT,
            added_as: LimitField::MaxTokens,
        }),
        max_price: MaxPrice {
            prompt: Some(Decimal::new(125, 2)),
            completion: Some(Decimal::ONE),
            ..MaxPrice::default()
        },
        user: Some(USER),
    };
    let rewritten = rewrite(&request, &plan);
    let again = ChatRequest::parse(rewritten.as_bytes()).expect("what is forwarded is a request");

    assert!(again.output_limit().is_some_and(|tokens| tokens <= LIMIT));
    assert_eq!(again.user.as_deref(), Some(USER));
    assert_eq!(again.max_price.prompt, plan.max_price.prompt);
    assert_eq!(again.max_price.completion, plan.max_price.completion);
    assert_eq!(again.max_price.request, request.max_price.request);
    assert_eq!(again.model, request.model);
    assert_eq!(again.models, request.models);
    assert_eq!(again.delivery, request.delivery);

    for models in [&["an/alias", "its/fallback"][..], &["alone"]] {
        let plan = RewritePlan {
            models: Some(models),
            ..RewritePlan::default()
        };
        let rewritten = rewrite(&request, &plan);
        let again = ChatRequest::parse(rewritten.as_bytes()).expect("what is forwarded is a request");
        let (first, fallbacks) = models.split_first().expect("there is one");
        assert_eq!(again.model.as_deref(), Some(*first));
        assert_eq!(again.models, fallbacks);
    }

    let body = std::str::from_utf8(body).expect("what is accepted is text");
    assert_eq!(kept(&rewritten), kept(body));
    let after = members(&rewritten).expect("it was read above");
    assert!(!after.iter().any(|member| DROPPED.contains(&&*member.name)));
});

/// The members that pass unread, as they are written.
fn kept(body: &str) -> Vec<String> {
    members(body)
        .expect("a request is an object")
        .into_iter()
        .filter(|member| !CHANGED.contains(&&*member.name) && !DROPPED.contains(&&*member.name))
        .map(|member| format!("{}:{}", member.name, member.value))
        .collect()
}
