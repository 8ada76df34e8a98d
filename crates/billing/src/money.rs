//! Amounts of money: whole nano-dollars.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::decimal::{DecimalError, parse_decimal};

/// Nano-dollars in one US dollar.
pub const NANOS_PER_USD: i64 = 1_000_000_000;

/// An amount of money in nano-dollars (1e-9 USD): ±9.22 billion dollars.
///
/// Arithmetic is checked; there is no conversion from or to floating point.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(i64);

/// An amount that does not fit, or a text that is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result is beyond ±9.22 billion dollars.
    #[error("the amount is out of range")]
    OutOfRange,
    /// More than nine digits after the decimal point.
    #[error("an amount in USD has at most nine decimal places")]
    TooPrecise,
    /// Not a decimal number.
    #[error(transparent)]
    NotADecimal(#[from] DecimalError),
}

impl Nanos {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// So many nano-dollars.
    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The number of nano-dollars.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Whole US dollars.
    pub fn from_usd(dollars: i64) -> Result<Self, MoneyError> {
        dollars
            .checked_mul(NANOS_PER_USD)
            .map(Self)
            .ok_or(MoneyError::OutOfRange)
    }

    /// US cents.
    pub fn from_cents(cents: i64) -> Result<Self, MoneyError> {
        cents
            .checked_mul(NANOS_PER_USD / 100)
            .map(Self)
            .ok_or(MoneyError::OutOfRange)
    }

    /// Rounds an exact amount in USD half-even, the one rounding of a request (design §4.1).
    pub fn round_half_even(usd: Decimal) -> Result<Self, MoneyError> {
        Self::round(usd, RoundingStrategy::MidpointNearestEven)
    }

    /// Rounds an exact amount in USD up: for holds, which must not be too small.
    pub fn round_up(usd: Decimal) -> Result<Self, MoneyError> {
        Self::round(usd, RoundingStrategy::ToPositiveInfinity)
    }

    fn round(usd: Decimal, strategy: RoundingStrategy) -> Result<Self, MoneyError> {
        usd.checked_mul(Decimal::from(NANOS_PER_USD))
            .map(|nanos| nanos.round_dp_with_strategy(0, strategy))
            .and_then(|nanos| nanos.to_i64())
            .map(Self)
            .ok_or(MoneyError::OutOfRange)
    }

    /// The amount in USD, exactly.
    pub fn usd(self) -> Decimal {
        Decimal::new(self.0, 9)
    }

    /// `self + other`, or `None` when that does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// `self - other`, or `None` when that does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// `self + other`, held at the ends of the range.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self - other`, held at the ends of the range.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl std::ops::Neg for Nanos {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::saturating_add)
    }
}

/// A decimal text in USD without an exponent or needless zeros: `0.008`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.usd().normalize())
    }
}

/// Reads USD exactly: at most nine decimal places, a sign is allowed.
impl FromStr for Nanos {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let usd = parse_decimal(digits)?.normalize();
        if usd.scale() > 9 {
            return Err(MoneyError::TooPrecise);
        }
        let amount = Self::round_half_even(usd)?;
        Ok(if negative { -amount } else { amount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounds_half_even() {
        let nanos = |text: &str| Nanos::round_half_even(text.parse().unwrap()).unwrap().get();
        assert_eq!(nanos("0.0000000005"), 0);
        assert_eq!(nanos("0.0000000015"), 2);
        assert_eq!(nanos("0.0000000025"), 2);
        assert_eq!(nanos("0.00000000250000001"), 3);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!("10000000000".parse::<Nanos>(), Err(MoneyError::OutOfRange));
        assert_eq!("0.0000000001".parse::<Nanos>(), Err(MoneyError::TooPrecise));
        assert!("1e".parse::<Nanos>().is_err());
        assert!("--1".parse::<Nanos>().is_err());
    }

    proptest! {
        #[test]
        fn text_and_amount_agree(nanos in any::<i64>()) {
            prop_assume!(nanos != i64::MIN);
            let amount = Nanos::new(nanos);
            prop_assert_eq!(amount.to_string().parse::<Nanos>().unwrap(), amount);
        }

        #[test]
        fn rounding_up_is_never_less(mantissa in 0_i64..i64::MAX, scale in 0_u32..20) {
            let usd = Decimal::new(mantissa, scale);
            if let (Ok(up), Ok(even)) = (Nanos::round_up(usd), Nanos::round_half_even(usd)) {
                prop_assert!(up >= even);
                prop_assert!(up.usd() >= usd);
            }
        }
    }
}
