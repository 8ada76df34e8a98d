//! Exact amounts in picodollars (1e-12 USD), the unit of the simulator's own books.

use std::{fmt, iter::Sum, ops::AddAssign};

/// Powers of ten between a dollar and a picodollar.
const SCALE: i32 = 12;
const PICODOLLARS_IN_A_DOLLAR: u128 = 1_000_000_000_000;
/// More digits than this are no amount that anyone bills.
const MAXIMUM_DIGITS: usize = 30;
const MAXIMUM_EXPONENT: i32 = 60;

/// A non-negative amount of money in units of 1e-12 USD.
///
/// Displays as a plain decimal number of dollars, exact, without an exponent: `0.000071`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picodollars(u128);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a non-negative decimal number, or one that is absurdly long.
    #[error("not a non-negative decimal number")]
    NotAnAmount,
    /// The number has a part below 1e-12 USD.
    #[error("finer than a picodollar")]
    TooFine,
    /// The number does not fit.
    #[error("too large")]
    TooLarge,
}

impl Picodollars {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// An amount given in units of 1e-12 USD.
    #[must_use]
    pub const fn new(picodollars: u128) -> Self {
        Self(picodollars)
    }

    /// The amount in units of 1e-12 USD.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The price of so many units at so many picodollars each. Cannot overflow: both factors have 64 bits.
    #[must_use]
    pub const fn of_units(units: u64, picodollars_each: u64) -> Self {
        Self(units as u128 * picodollars_each as u128)
    }

    /// Reads a decimal number of dollars exactly, in plain (`0.000071`) or exponent form (`7.1e-05`).
    ///
    /// # Errors
    /// See [`AmountError`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        match read(text)? {
            (amount, Remainder::None) => Ok(amount),
            (_, Remainder::Some) => Err(AmountError::TooFine),
        }
    }

    /// Like [`Picodollars::parse`], but a part below a picodollar is dropped.
    ///
    /// # Errors
    /// See [`AmountError`]; never `TooFine`.
    pub fn parse_floor(text: &str) -> Result<Self, AmountError> {
        read(text).map(|(amount, _)| amount)
    }
}

enum Remainder {
    None,
    Some,
}

fn read(text: &str) -> Result<(Picodollars, Remainder), AmountError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent
                .parse::<i32>()
                .map_err(|_| AmountError::NotAnAmount)?,
        ),
        None => (text, 0),
    };
    if exponent.abs() > MAXIMUM_EXPONENT {
        return Err(AmountError::NotAnAmount);
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(AmountError::NotAnAmount);
    }
    if whole.len() + fraction.len() > MAXIMUM_DIGITS {
        return Err(AmountError::NotAnAmount);
    }
    let digits = whole
        .bytes()
        .chain(fraction.bytes())
        .fold(0_u128, |sum, byte| sum * 10 + u128::from(byte - b'0'));
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| AmountError::NotAnAmount)?;
    shift(digits, SCALE + exponent - fraction_digits)
}

fn shift(digits: u128, power: i32) -> Result<(Picodollars, Remainder), AmountError> {
    if digits == 0 {
        return Ok((Picodollars::ZERO, Remainder::None));
    }
    let factor = 10_u128.checked_pow(power.unsigned_abs());
    if power >= 0 {
        let amount = factor
            .and_then(|factor| digits.checked_mul(factor))
            .ok_or(AmountError::TooLarge)?;
        return Ok((Picodollars(amount), Remainder::None));
    }
    Ok(match factor {
        Some(factor) if digits.is_multiple_of(factor) => {
            (Picodollars(digits / factor), Remainder::None)
        }
        Some(factor) => (Picodollars(digits / factor), Remainder::Some),
        None => (Picodollars::ZERO, Remainder::Some),
    })
}

impl fmt::Display for Picodollars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / PICODOLLARS_IN_A_DOLLAR;
        let fraction = self.0 % PICODOLLARS_IN_A_DOLLAR;
        if fraction == 0 {
            return write!(formatter, "{whole}");
        }
        let digits = format!("{fraction:012}");
        write!(formatter, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl std::ops::Add for Picodollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Picodollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Picodollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| sum + amount)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_both_forms_exactly() {
        for (text, picodollars) in [
            ("0", 0),
            ("0.000", 0),
            ("1", 1_000_000_000_000),
            ("7.1e-05", 71_000_000),
            ("0.000071", 71_000_000),
            ("0.000000037525", 37_525),
            ("1E2", 100_000_000_000_000),
            ("3.0e-12", 3),
        ] {
            assert_eq!(
                Picodollars::parse(text),
                Ok(Picodollars(picodollars)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in [
            "", "-1", "-0.1", "+1", ".5", "1e", "1e-", "NaN", "1.2.3", "0x1", "1 ", "1e999",
        ] {
            assert_eq!(
                Picodollars::parse(text),
                Err(AmountError::NotAnAmount),
                "{text}"
            );
        }
        assert_eq!(Picodollars::parse("1e-13"), Err(AmountError::TooFine));
        assert_eq!(
            Picodollars::parse_floor("1.9e-12"),
            Ok(Picodollars(1)),
            "the part below a picodollar is dropped"
        );
        assert_eq!(Picodollars::parse("9e50"), Err(AmountError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(picodollars in 0_u128..1_000_000_000_000_000_000_000) {
            let amount = Picodollars(picodollars);
            prop_assert_eq!(Picodollars::parse(&amount.to_string()), Ok(amount));
        }
    }
}
