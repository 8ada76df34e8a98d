//! What a request must cost, reckoned from the upstream's bill and what was in force.

use airouter_billing::price_book::PriceKey;
use airouter_billing::usage::CostSource;
use airouter_billing::{Discount, DiscountBasis, PriceRule};

use crate::exact::Exact;
use crate::population::Terms;
use crate::upstream::{Generation, rate};

/// In nano-dollars.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) price: i128,
    pub(super) cost: i128,
}

pub(super) fn wanted(
    source: CostSource,
    generation: &Generation,
    terms: &Terms,
    discount: Discount,
) -> Wanted {
    let (prompt, completion) = (
        Exact::whole(generation.tokens.prompt),
        Exact::whole(generation.tokens.completion),
    );
    let list = match source {
        CostSource::Reported | CostSource::GenerationRecord => generation.billed,
        CostSource::PriceBook => prompt
            .times(rate(&terms.model, PriceKey::Prompt))
            .plus(completion.times(rate(&terms.model, PriceKey::Completion)))
            .plus(rate(&terms.model, PriceKey::Request)),
    };
    let share = match discount.basis() {
        DiscountBasis::CreditsBoughtBelowPar => {
            Exact::whole(1).minus(Exact::from_digits(discount.fraction()))
        }
        DiscountBasis::InReportedCost => Exact::whole(1),
    };
    let cost = list.times(share);
    let price = match &terms.rule {
        PriceRule::PercentOfList { factor } => list.times(Exact::from_digits(*factor)),
        PriceRule::MarkupOnCost { markup } => {
            cost.times(Exact::whole(1).plus(Exact::from_digits(*markup)))
        }
        PriceRule::OwnPrices {
            prompt: a,
            completion: b,
            request,
        } => prompt
            .times(Exact::from_digits(*a))
            .plus(completion.times(Exact::from_digits(*b)))
            .plus(Exact::from_digits(*request)),
    };
    let cost = cost.round_to_nanos();
    Wanted {
        price: price.round_to_nanos().max(cost),
        cost,
    }
}
