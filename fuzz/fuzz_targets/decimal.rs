//! Prices and costs: never negative, never rounded, and written out they read the same.
#![no_main]

use airouter_billing::decimal::{DecimalError, parse_decimal, parse_signed};
use libfuzzer_sys::fuzz_target;
use rust_decimal::Decimal;

fuzz_target!(|text: &str| {
    match parse_decimal(text) {
        Ok(value) => {
            assert!(value >= Decimal::ZERO && !value.is_sign_negative());
            assert_eq!(parse_decimal(&value.to_string()), Ok(value));
            assert_eq!(parse_signed(text).map(|signed| signed.abs()), Ok(value));
            assert_is_close(text, value);
        }
        Err(DecimalError::Negative) => {
            assert!(parse_signed(text).is_ok_and(|signed| signed < Decimal::ZERO));
        }
        Err(_) => assert!(parse_signed(text).is_err()),
    }
});

/// Against the standard library's reader, as far as that one is exact.
fn assert_is_close(text: &str, value: Decimal) {
    let expected: f64 = text.parse().expect("a decimal number");
    let read: f64 = value.to_string().parse().expect("a decimal number");
    assert!(
        (expected - read).abs() <= expected.abs() * 1e-12,
        "{text}: {value}"
    );
}
