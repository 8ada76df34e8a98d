//! The `Idempotency-Key` header: one value of 1 to 255 visible ASCII characters is a key, and nothing else is; the keys of
//! two clients never meet.
#![no_main]

use std::sync::LazyLock;

use airouter_billing::ApiKeyId;
use airouter_proxy::idempotency::IdempotencyKey;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

static CLIENTS: LazyLock<[ApiKeyId; 2]> = LazyLock::new(|| {
    let ids = r#"["00000000-0000-0000-0000-000000000001","00000000-0000-0000-0000-000000000002"]"#;
    serde_json::from_str(ids).expect("these are ids")
});

fuzz_target!(|sent: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(sent) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.append("idempotency-key", value.clone());
    let is_key =
        matches!(sent.len(), 1..=255) && sent.iter().all(|byte| matches!(byte, 0x21..=0x7e));
    match IdempotencyKey::of(&headers) {
        Ok(key) => {
            assert!(is_key);
            let key = key.expect("it came");
            let [one, other] = *CLIENTS;
            assert_ne!(key.slot(one), key.slot(other));
        }
        Err(_) => assert!(!is_key),
    }
    headers.append("idempotency-key", value);
    assert!(IdempotencyKey::of(&headers).is_err());
});
