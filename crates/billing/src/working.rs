//! How a price came about, line by line: for whoever asks about one request.

use rust_decimal::Decimal;

use crate::discount::DiscountBasis;
use crate::money::{MoneyError, Nanos};
use crate::plan::PriceRule;
use crate::price_book::{ModelPrices, PriceKey};
use crate::pricing::{PriceError, Terms, amounts};
use crate::time::Timestamp;
use crate::usage::{Inference, TokenCounts};

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The list cost, times the plan's factor.
    ListCost,
    /// What the upstream reported, times the share of it that the operator pays and what the plan puts on top.
    ReportedCost,
    /// What the operator paid at the provider itself, times what the plan puts on top.
    ProviderCost,
    /// Tokens or requests by a price: of the plan's own, or of the price book.
    Counted(PriceKey),
    /// The price itself, where how it came about is the operator's.
    Price,
    /// What rounding to a nano-dollar, half-even, adds or takes.
    Rounding,
    /// What is added so that the price is not below the cost.
    RaisedToCost,
}

impl LineKind {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListCost => "list_cost",
            Self::ReportedCost => "reported_cost",
            Self::ProviderCost => "provider_cost",
            Self::Counted(key) => key.name(),
            Self::Price => "price",
            Self::Rounding => "rounding",
            Self::RaisedToCost => "raised_to_cost",
        }
    }
}

/// A line: `amount` is `quantity` × `rate`, in USD, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub kind: LineKind,
    /// How much: USD, tokens or requests.
    pub quantity: Decimal,
    /// Times what.
    pub rate: Decimal,
    /// Makes what.
    pub amount: Decimal,
}

impl Line {
    fn new(kind: LineKind, quantity: Decimal, rate: Decimal) -> Result<Self, PriceError> {
        let amount = quantity.checked_mul(rate).ok_or(MoneyError::OutOfRange)?;
        Ok(Self {
            kind,
            quantity,
            rate,
            amount,
        })
    }

    const fn amount(kind: LineKind, amount: Decimal) -> Self {
        Self {
            kind,
            quantity: amount,
            rate: Decimal::ONE,
            amount,
        }
    }
}

/// What a usage event stores of its price.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// What the upstream reported, or tokens × price book where it reported nothing.
    pub reported: Decimal,
    /// How the inference was paid.
    pub inference: Inference,
    /// By what it was priced.
    pub terms: Terms<'a>,
    /// Tokens by kind.
    pub tokens: TokenCounts,
}

/// Whose an upstream's list prices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListPrices {
    /// They are the upstream's public prices.
    Public,
    /// They are what the operator agreed with a server.
    Agreed,
}

impl Stored<'_> {
    /// The lines that make the price: they sum to it, to the nano-dollar.
    pub fn lines(&self) -> Result<Vec<Line>, PriceError> {
        let mut lines = self.lines_of_the_rule()?;
        let (_, price) = amounts(self.reported, self.inference, self.terms, self.tokens)?;
        let exact = sum(&lines)?;
        let rounded = Nanos::round_half_even(exact)?;
        for (kind, from, to) in [
            (LineKind::Rounding, exact, rounded.usd()),
            (LineKind::RaisedToCost, rounded.usd(), price.usd()),
        ] {
            let difference = to.checked_sub(from).ok_or(MoneyError::OutOfRange)?;
            if !difference.is_zero() {
                lines.push(Line::amount(kind, difference));
            }
        }
        Ok(lines)
    }

    /// The lines as the client may see them. Where they would tell what the request cost the operator, the price stands
    /// alone.
    pub fn lines_for_client(&self, list_prices: ListPrices) -> Result<Vec<Line>, PriceError> {
        let lines = self.lines()?;
        if self.may_be_told(&lines, list_prices) {
            return Ok(lines);
        }
        Ok(vec![Line::amount(LineKind::Price, sum(&lines)?)])
    }

    /// Whether the client may see what the upstream lists: not where that is what the operator pays.
    pub fn are_list_prices_told(&self, list_prices: ListPrices) -> bool {
        let discount = self.terms.discount;
        list_prices == ListPrices::Public
            && self.inference == Inference::Credits
            && discount.basis() == DiscountBasis::CreditsBoughtBelowPar
            && discount.cost_share() < Decimal::ONE
    }

    fn may_be_told(&self, lines: &[Line], list_prices: ListPrices) -> bool {
        let is_told = match self.terms.rule {
            PriceRule::PercentOfList { .. } => self.are_list_prices_told(list_prices),
            PriceRule::MarkupOnCost { .. } => false,
            PriceRule::OwnPrices { .. } => true,
        };
        let is_raised = |line: &Line| line.kind == LineKind::RaisedToCost;
        is_told && !lines.iter().any(is_raised)
    }

    fn lines_of_the_rule(&self) -> Result<Vec<Line>, PriceError> {
        let provider_cost = match self.inference {
            Inference::Credits => None,
            Inference::OwnProviderKey { upstream_cost } => Some(upstream_cost),
        };
        match self.terms.rule {
            PriceRule::PercentOfList { factor } => {
                let list_cost = self
                    .reported
                    .checked_add(provider_cost.unwrap_or_default())
                    .ok_or(MoneyError::OutOfRange)?;
                Ok(vec![Line::new(LineKind::ListCost, list_cost, *factor)?])
            }
            PriceRule::MarkupOnCost { markup } => {
                let on_top = Decimal::ONE + *markup;
                let share = self.terms.discount.cost_share();
                let rate = share.checked_mul(on_top).ok_or(MoneyError::OutOfRange)?;
                let reported = Line::new(LineKind::ReportedCost, self.reported, rate)?;
                let provider = provider_cost
                    .map(|cost| Line::new(LineKind::ProviderCost, cost, on_top))
                    .transpose()?;
                Ok(std::iter::once(reported).chain(provider).collect())
            }
            PriceRule::OwnPrices {
                prompt,
                completion,
                request,
            } => [
                (PriceKey::Prompt, self.tokens.prompt, prompt),
                (PriceKey::Completion, self.tokens.completion, completion),
                (PriceKey::Request, 1, request),
            ]
            .into_iter()
            .map(|(key, count, rate)| Line::new(LineKind::Counted(key), count.into(), *rate))
            .collect(),
        }
    }
}

/// Tokens × price book: what the request would cost by the public prices of its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossCheck {
    /// What is not nothing.
    pub lines: Vec<Line>,
    /// What they sum to.
    pub sum: Decimal,
}

/// The cross-check of a request that was admitted at `at`; `None` where the model has no listed price.
pub fn cross_check(model: &ModelPrices, tokens: TokenCounts, at: Timestamp) -> Option<CrossCheck> {
    let lines: Vec<Line> = model
        .book_lines(tokens, at)?
        .into_iter()
        .filter(|line| line.count > 0 && !line.rate.is_zero())
        .map(|line| Line::new(LineKind::Counted(line.key), line.count.into(), line.rate))
        .collect::<Result<_, _>>()
        .ok()?;
    let sum = sum(&lines).ok()?;
    Some(CrossCheck { lines, sum })
}

fn sum(lines: &[Line]) -> Result<Decimal, PriceError> {
    lines
        .iter()
        .try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.amount))
        .ok_or(PriceError::Money(MoneyError::OutOfRange))
}

#[cfg(test)]
mod tests;
