//! What a list cost costs the operator.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A discount that is no discount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a discount is at least 0 and less than 100 percent")]
pub struct InvalidDiscount;

/// Where a master account's discount shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscountBasis {
    /// Credits were bought below par: the upstream reports the list cost, the operator paid less for it.
    CreditsBoughtBelowPar,
    /// The reported cost already has the discount in it.
    InReportedCost,
}

impl DiscountBasis {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreditsBoughtBelowPar => "credits_bought_below_par",
            Self::InReportedCost => "in_reported_cost",
        }
    }

    /// The basis with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::CreditsBoughtBelowPar, Self::InReportedCost]
            .into_iter()
            .find(|basis| basis.name() == name)
    }
}

/// A master account's discount off the list price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedDiscount")]
pub struct Discount {
    fraction: Decimal,
    basis: DiscountBasis,
}

#[derive(Deserialize)]
struct UncheckedDiscount {
    fraction: Decimal,
    basis: DiscountBasis,
}

impl TryFrom<UncheckedDiscount> for Discount {
    type Error = InvalidDiscount;

    fn try_from(unchecked: UncheckedDiscount) -> Result<Self, InvalidDiscount> {
        Self::new(unchecked.fraction, unchecked.basis)
    }
}

impl Discount {
    /// A discount of `fraction` (0.7 is 70 %).
    pub fn new(fraction: Decimal, basis: DiscountBasis) -> Result<Self, InvalidDiscount> {
        if fraction < Decimal::ZERO || fraction >= Decimal::ONE || fraction.scale() > 6 {
            return Err(InvalidDiscount);
        }
        Ok(Self {
            fraction: fraction.normalize(),
            basis,
        })
    }

    /// A discount of so many percent.
    pub fn from_percent(percent: Decimal, basis: DiscountBasis) -> Result<Self, InvalidDiscount> {
        let fraction = percent
            .checked_div(Decimal::ONE_HUNDRED)
            .ok_or(InvalidDiscount)?;
        Self::new(fraction, basis)
    }

    /// The discount as a fraction of the list price.
    pub const fn fraction(self) -> Decimal {
        self.fraction
    }

    /// Where the discount shows.
    pub const fn basis(self) -> DiscountBasis {
        self.basis
    }

    /// What the operator pays for one dollar of what the upstream reports.
    pub fn cost_share(self) -> Decimal {
        match self.basis {
            DiscountBasis::CreditsBoughtBelowPar => Decimal::ONE - self.fraction,
            DiscountBasis::InReportedCost => Decimal::ONE,
        }
    }
}
