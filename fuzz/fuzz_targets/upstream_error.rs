//! An upstream's error, in an error answer or inside a 200: any bytes have a meaning, and that is bounded.
#![no_main]

use std::time::Duration;

use airouter_openrouter::UpstreamError;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const LONGEST_TEXT: usize = 4 << 10;
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

fuzz_target!(|input: (u16, &[u8], &[u8])| {
    let (number, wait, body) = input;
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(wait) {
        headers.insert("retry-after", value);
    }
    let status = 400 + number % 200;
    let error = UpstreamError::parse(status, &headers, body);
    assert_eq!(error.status, status);
    check(&error);
    if let Some(error) = UpstreamError::inside_success(body) {
        check(&error);
    }
});

fn check(error: &UpstreamError) {
    assert!(error.message.len() <= LONGEST_TEXT);
    assert!(
        error
            .provider_message
            .as_ref()
            .is_none_or(|text| text.len() <= LONGEST_TEXT)
    );
    assert!(error.retry_after.is_none_or(|wait| wait <= LONGEST_WAIT));
    assert!(error.status >= 400);
    let _ = error.fault().may_succeed_elsewhere();
}
