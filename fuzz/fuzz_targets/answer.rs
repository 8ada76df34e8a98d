//! A whole answer: with another usage it says the same, and nothing of the upstream's usage is left.
#![no_main]

use airouter_proxy::wire::answer::Answer;
use airouter_proxy::wire::json::members;
use libfuzzer_sys::fuzz_target;

const USAGE: &str = r#"{"cost":0.25}"#;

fuzz_target!(|body: &[u8]| {
    let Ok(answer) = Answer::parse(body) else {
        return;
    };
    let shown = answer.with_usage(USAGE);
    let again = Answer::parse(shown.as_bytes()).expect("what is passed on is an answer");
    assert_eq!(again.usage, Some(USAGE));
    assert_eq!(again.id, answer.id);
    assert_eq!(again.model, answer.model);
    assert_eq!(again.choices, answer.choices);
    assert_eq!(again.is_failure(), answer.is_failure());
    for member in members(&shown).expect("it was read above") {
        assert!(member.name != "usage" || member.value == USAGE);
        assert!(member.name != "user_id" && member.name != "openrouter_metadata");
    }
});
