//! The auditor's and the upstream's own arithmetic: decimal fractions in 128 bits, and one rounding. Nothing here is
//! taken from what is audited.

use std::fmt;

use rust_decimal::Decimal;

/// A decimal fraction: `units` × 10^−`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    units: i128,
    scale: u32,
}

impl Exact {
    pub(crate) const ZERO: Self = Self::new(0, 0);

    pub(crate) const fn new(units: i128, scale: u32) -> Self {
        Self { units, scale }
    }

    pub(crate) fn whole(units: u64) -> Self {
        Self::new(i128::from(units), 0)
    }

    /// The digits of a decimal, read and not computed with.
    pub(crate) fn from_digits(decimal: Decimal) -> Self {
        Self::new(decimal.mantissa(), decimal.scale())
    }

    pub(crate) const fn times(self, other: Self) -> Self {
        Self::new(self.units * other.units, self.scale + other.scale)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let scale = self.scale.max(other.scale);
        Self::new(self.at_scale(scale) + other.at_scale(scale), scale)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.plus(Self::new(-other.units, other.scale))
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.units == 0
    }

    pub(crate) fn equals(self, other: Self) -> bool {
        self.minus(other).is_zero()
    }

    const fn at_scale(self, scale: u32) -> i128 {
        self.units * 10_i128.pow(scale - self.scale)
    }

    /// Whole nano-dollars of an amount in dollars; half a nano-dollar goes to the even neighbour.
    pub(crate) fn round_to_nanos(self) -> i128 {
        if self.scale <= 9 {
            return self.at_scale(9);
        }
        let unit = 10_i128.pow(self.scale - 9);
        let (quotient, rest) = (self.units.div_euclid(unit), self.units.rem_euclid(unit));
        match (rest * 2).cmp(&unit) {
            std::cmp::Ordering::Less => quotient,
            std::cmp::Ordering::Greater => quotient + 1,
            std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
        }
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_i128.pow(self.scale);
        let (whole, rest) = (self.units / unit, (self.units % unit).abs());
        match self.scale {
            0 => write!(f, "{whole}"),
            scale => write!(f, "{whole}.{rest:0width$}", width = scale as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_nano_dollar_goes_to_the_even_neighbour() {
        for (units, nanos) in [(15, 2), (25, 2), (35, 4), (24, 2), (26, 3), (5, 0)] {
            assert_eq!(Exact::new(units, 10).round_to_nanos(), nanos, "{units}");
        }
        assert_eq!(Exact::new(8, 1).round_to_nanos(), 800_000_000);
    }

    #[test]
    fn it_is_written_as_it_is() {
        assert_eq!(Exact::new(1_234, 6).to_string(), "0.001234");
        assert_eq!(Exact::new(70, 0).to_string(), "70");
    }
}
