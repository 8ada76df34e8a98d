//! What an upstream takes, exactly: from the account's credit, and at a provider with a key of the account's own.

use rust_decimal::Decimal;

use crate::discount::Discount;
use crate::money::{MoneyError, Nanos};

/// From where an upstream's bill is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purse {
    /// The account's credit.
    Credits,
    /// The account's own account at a provider ("bring your own key").
    Provider,
}

/// Amounts in USD of each purse, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    /// From the account's credit.
    pub credits: Decimal,
    /// At providers.
    pub at_provider: Decimal,
}

/// A sum that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum does not fit into an exact decimal")]
pub struct SumOverflow;

impl From<MoneyError> for SumOverflow {
    fn from(_: MoneyError) -> Self {
        Self
    }
}

impl Purse {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Credits, Self::Provider];

    /// The name in the database and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::Provider => "provider",
        }
    }

    /// The purse with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purse| purse.name() == name)
    }

    /// What the operator pays for one dollar out of it.
    pub fn cost_share(self, discount: Discount) -> Decimal {
        match self {
            Self::Credits => discount.cost_share(),
            Self::Provider => Decimal::ONE,
        }
    }
}

impl Spend {
    /// Out of one purse.
    pub const fn of(self, purse: Purse) -> Decimal {
        match purse {
            Purse::Credits => self.credits,
            Purse::Provider => self.at_provider,
        }
    }

    /// Made of an amount for each purse.
    pub fn each(
        amount: impl Fn(Purse) -> Result<Decimal, SumOverflow>,
    ) -> Result<Self, SumOverflow> {
        Ok(Self {
            credits: amount(Purse::Credits)?,
            at_provider: amount(Purse::Provider)?,
        })
    }

    /// The sum of two.
    pub fn plus(self, other: Self) -> Result<Self, SumOverflow> {
        Self::each(|purse| plus(self.of(purse), other.of(purse)))
    }

    /// The difference of two.
    pub fn minus(self, other: Self) -> Result<Self, SumOverflow> {
        Self::each(|purse| minus(self.of(purse), other.of(purse)))
    }
}

pub(super) fn plus(left: Decimal, right: Decimal) -> Result<Decimal, SumOverflow> {
    left.checked_add(right).ok_or(SumOverflow)
}

pub(super) fn minus(left: Decimal, right: Decimal) -> Result<Decimal, SumOverflow> {
    left.checked_sub(right).ok_or(SumOverflow)
}

/// In whole nano-dollars: what an upstream's sums of binary fractions are off by is less.
pub(super) fn nanos(usd: Decimal) -> Result<Nanos, SumOverflow> {
    Ok(Nanos::round_half_even(usd)?)
}
