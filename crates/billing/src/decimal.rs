//! The one way in which a price or a cost is read from text.

use rust_decimal::Decimal;

/// Longest text that is looked at: JSON prints a double in at most 25 characters.
const MAX_TEXT_LENGTH: usize = 64;

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a decimal number, with or without an exponent.
    #[error("not a decimal number")]
    Malformed,
    /// Below zero. OpenRouter's `"-1"` means "priced by the model that will serve" and is no price
    /// (wire-contract §1.5).
    #[error("a price is never negative")]
    Negative,
    /// More digits than can be kept exactly (28), or too large.
    #[error("more digits than can be kept exactly")]
    OutOfRange,
}

/// Reads a price or a cost exactly: `0.0000025`, `7.1e-05`, `1E3`; never negative, never rounded.
pub fn parse_decimal(text: &str) -> Result<Decimal, DecimalError> {
    let value = parse_signed(text)?;
    if value.is_sign_negative() && !value.is_zero() {
        return Err(DecimalError::Negative);
    }
    Ok(value.abs())
}

/// Like [`parse_decimal`], for what may be below zero (a sentinel price of `-1`).
pub fn parse_signed(text: &str) -> Result<Decimal, DecimalError> {
    if text.is_empty() || text.len() > MAX_TEXT_LENGTH {
        return Err(DecimalError::Malformed);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (text, 0),
    };
    check_digits(mantissa)?;
    let value = Decimal::from_str_exact(mantissa).map_err(|_| DecimalError::OutOfRange)?;
    shift(value.normalize(), exponent)
}

fn parse_exponent(text: &str) -> Result<i32, DecimalError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    text.parse().map_err(|_| DecimalError::Malformed)
}

fn check_digits(mantissa: &str) -> Result<(), DecimalError> {
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        Ok(())
    } else {
        Err(DecimalError::Malformed)
    }
}

/// `value × 10^exponent`, exactly or not at all.
fn shift(value: Decimal, exponent: i32) -> Result<Decimal, DecimalError> {
    if value.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let scale = i64::from(value.scale()) - i64::from(exponent);
    if scale >= 0 {
        let scale = u32::try_from(scale).map_err(|_| DecimalError::OutOfRange)?;
        return Decimal::try_from_i128_with_scale(value.mantissa(), scale)
            .map_err(|_| DecimalError::OutOfRange);
    }
    let power = u32::try_from(-scale).map_err(|_| DecimalError::OutOfRange)?;
    let factor = 10_i128.checked_pow(power).ok_or(DecimalError::OutOfRange)?;
    let mantissa = value
        .mantissa()
        .checked_mul(factor)
        .ok_or(DecimalError::OutOfRange)?;
    Decimal::try_from_i128_with_scale(mantissa, 0).map_err(|_| DecimalError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form_that_the_upstream_prints() {
        for (text, expected) in [
            ("0", "0"),
            ("0.0000025", "0.0000025"),
            ("7.1e-05", "0.000071"),
            ("1E3", "1000"),
            ("1.50e+2", "150"),
            ("-0", "0"),
            ("0e999", "0"),
        ] {
            assert_eq!(
                parse_decimal(text).unwrap(),
                expected.parse::<Decimal>().unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "-1", "-0.1", "NaN", "inf", "1_000", "1,5", "0x10", ".5", "5.", " 1", "1e", "1e99",
            "1e-99",
        ] {
            assert!(parse_decimal(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_decimal("-1"), Err(DecimalError::Negative));
        assert_eq!(
            parse_decimal("0.00000000000000000000000000001"),
            Err(DecimalError::OutOfRange)
        );
    }

    proptest! {
        #[test]
        fn exponent_form_is_the_same_number(mantissa in 0_i64..i64::MAX, scale in 0_u32..10, shift in 0_u32..9) {
            let plain = Decimal::new(mantissa, scale + shift);
            let text = format!("{}e-{shift}", Decimal::new(mantissa, scale));
            prop_assert_eq!(parse_decimal(&text).unwrap(), plain);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = parse_decimal(&text);
        }
    }
}
