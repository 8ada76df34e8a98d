//! From usage to cost and price: the one place where a request is priced.

use rust_decimal::Decimal;

use crate::discount::Discount;
use crate::fault::{Fault, is_planted};
use crate::money::{MoneyError, Nanos};
use crate::plan::PriceRule;
use crate::price_book::ModelPrices;
use crate::time::Timestamp;
use crate::usage::{CostSource, Inference, TokenCounts, Usage};

/// What a request costs and what the client pays. All that is needed to compute `cost` and `price` again are the list
/// cost, the inference, the discount, the rule and the tokens, and a usage event stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The list cost in USD, exactly: the base of the price.
    pub list_cost: Decimal,
    /// Where the list cost came from.
    pub source: CostSource,
    /// What it costs the operator.
    pub cost: Nanos,
    /// What the client pays, never below the cost.
    pub price: Nanos,
}

/// Why a request can't be priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Nothing was reported, and the price book has no price either.
    #[error("no cost was reported and the model has no listed price")]
    Unpriced,
    /// The amount does not fit.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// By what a request is priced.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The discount of the master account that served.
    pub discount: Discount,
    /// The plan's rule for the model.
    pub rule: &'a PriceRule,
}

/// Prices a request: the reported cost is the base; tokens × price book is, where nothing was reported.
pub fn price(
    usage: &Usage,
    source: CostSource,
    terms: Terms<'_>,
    model: Option<&ModelPrices>,
    at: Timestamp,
) -> Result<Priced, PriceError> {
    let (reported, source) = match usage.reported_cost {
        Some(cost) => (cost, source),
        None => {
            let book = model
                .and_then(|model| model.list_cost(usage.tokens, at))
                .ok_or(PriceError::Unpriced)?;
            (book, CostSource::PriceBook)
        }
    };
    let (cost, price) = amounts(reported, usage.inference, terms, usage.tokens)?;
    let list_cost = list_cost(reported, usage.inference)?;
    Ok(Priced {
        list_cost,
        source,
        cost,
        price,
    })
}

/// Cost and price of a request from what its usage event stores; each rounded once, half-even.
///
/// With the inference paid at the provider, what is reported is only the upstream's fee: cost = fee × (1 − discount) +
/// the provider's cost (design §3, Price).
pub fn amounts(
    reported: Decimal,
    inference: Inference,
    terms: Terms<'_>,
    tokens: TokenCounts,
) -> Result<(Nanos, Nanos), PriceError> {
    let provider_cost = match inference {
        Inference::Credits => Decimal::ZERO,
        Inference::OwnProviderKey { upstream_cost } => upstream_cost,
    };
    let cost = product(reported, terms.discount.cost_share())?
        .checked_add(provider_cost)
        .ok_or(MoneyError::OutOfRange)?;
    let price = match terms.rule {
        PriceRule::PercentOfList { factor } => product(list_cost(reported, inference)?, *factor)?,
        PriceRule::MarkupOnCost { markup } => product(cost, Decimal::ONE + *markup)?,
        PriceRule::OwnPrices {
            prompt,
            completion,
            request,
        } => product(Decimal::from(tokens.prompt), *prompt)?
            .checked_add(product(Decimal::from(tokens.completion), *completion)?)
            .and_then(|sum| sum.checked_add(*request))
            .ok_or(MoneyError::OutOfRange)?,
    };
    let cost = Nanos::round_half_even(cost)?;
    if is_planted(Fault::RoundedPerChunk) {
        let chunks = tokens.completion.clamp(1, 16);
        let each = Nanos::round_half_even(price / Decimal::from(chunks))?;
        return Ok((cost, (0..chunks).map(|_| each).sum::<Nanos>().max(cost)));
    }
    Ok((cost, Nanos::round_half_even(price)?.max(cost)))
}

fn list_cost(reported: Decimal, inference: Inference) -> Result<Decimal, PriceError> {
    let provider_cost = match inference {
        Inference::Credits => Decimal::ZERO,
        Inference::OwnProviderKey { upstream_cost } => upstream_cost,
    };
    Ok(reported
        .checked_add(provider_cost)
        .ok_or(MoneyError::OutOfRange)?)
}

fn product(left: Decimal, right: Decimal) -> Result<Decimal, PriceError> {
    Ok(left.checked_mul(right).ok_or(MoneyError::OutOfRange)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discount::DiscountBasis;
    use proptest::prelude::*;

    fn discount(percent: i64) -> Discount {
        Discount::from_percent(Decimal::from(percent), DiscountBasis::CreditsBoughtBelowPar)
            .unwrap()
    }

    fn priced(cost: &str, discount: Discount, rule: &PriceRule) -> (i64, i64) {
        let usage = Usage {
            tokens: TokenCounts {
                prompt: 600,
                completion: 400,
                ..TokenCounts::default()
            },
            reported_cost: Some(cost.parse().unwrap()),
            inference: Inference::Credits,
        };
        let terms = Terms { discount, rule };
        let priced = price(
            &usage,
            CostSource::Reported,
            terms,
            None,
            Timestamp::default(),
        )
        .unwrap();
        (priced.cost.get(), priced.price.get())
    }

    /// The example of design §2: list $0.010, discount 70 %, factor 80 % → cost 0.003, price 0.008, margin 0.005.
    #[test]
    fn the_worked_example() {
        let (cost, price) = priced("0.010", discount(70), &PriceRule::default_rule());
        assert_eq!(
            (cost, price, price - cost),
            (3_000_000, 8_000_000, 5_000_000)
        );
    }

    #[test]
    fn a_price_is_never_below_cost() {
        assert_eq!(
            priced("0.010", discount(10), &PriceRule::default_rule()),
            (9_000_000, 9_000_000)
        );
        let in_cost =
            Discount::from_percent(Decimal::from(70), DiscountBasis::InReportedCost).unwrap();
        assert_eq!(
            priced("0.010", in_cost, &PriceRule::default_rule()),
            (10_000_000, 10_000_000)
        );
    }

    #[test]
    fn every_rule_makes_its_price() {
        let markup = PriceRule::MarkupOnCost {
            markup: Decimal::new(25, 2),
        };
        assert_eq!(
            priced("0.010", discount(70), &markup),
            (3_000_000, 3_750_000)
        );
        let own = PriceRule::OwnPrices {
            prompt: Decimal::new(10, 6),
            completion: Decimal::new(20, 6),
            request: Decimal::new(1, 3),
        };
        assert_eq!(priced("0.010", discount(70), &own), (3_000_000, 15_000_000));
    }

    #[test]
    fn with_an_own_provider_key_the_fee_is_discounted_and_the_provider_is_not() {
        let usage = Usage {
            tokens: TokenCounts::default(),
            reported_cost: Some("0.0005".parse().unwrap()),
            inference: Inference::OwnProviderKey {
                upstream_cost: "0.01".parse().unwrap(),
            },
        };
        let rule = PriceRule::default_rule();
        let terms = Terms {
            discount: discount(70),
            rule: &rule,
        };
        let priced = price(
            &usage,
            CostSource::Reported,
            terms,
            None,
            Timestamp::default(),
        )
        .unwrap();
        assert_eq!(priced.cost, Nanos::new(10_150_000));
        assert_eq!(priced.price, Nanos::new(10_150_000));
        assert_eq!(priced.list_cost, "0.0105".parse::<Decimal>().unwrap());
    }

    #[test]
    fn nothing_reported_and_nothing_listed_is_an_error_and_not_free() {
        let usage = Usage {
            tokens: TokenCounts::default(),
            reported_cost: None,
            inference: Inference::Credits,
        };
        let rule = PriceRule::default_rule();
        let terms = Terms {
            discount: discount(70),
            rule: &rule,
        };
        assert_eq!(
            price(
                &usage,
                CostSource::Reported,
                terms,
                None,
                Timestamp::default()
            ),
            Err(PriceError::Unpriced)
        );
    }

    proptest! {
        #[test]
        fn margin_is_never_negative(nanos in 0_i64..1_000_000_000_000, scale in 9_u32..16, percent in 0_i64..100, factor in 0_i64..300) {
            let rule = PriceRule::PercentOfList { factor: Decimal::new(factor, 2) };
            let (cost, price) = priced(&Decimal::new(nanos, scale).to_string(), discount(percent), &rule);
            prop_assert!(price >= cost && cost >= 0);
        }
    }
}
