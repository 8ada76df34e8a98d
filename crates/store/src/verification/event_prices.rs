//! A usage event, priced again from what it stores.

use airouter_billing::event::{Delivery, Ending, LossReason, RequestFacts, Served};
use airouter_billing::pricing::{Priced, Terms, price};
use airouter_billing::settlement::Covered;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{
    AccountId, ApiKeyId, Nanos, Outcome, RequestId, Timestamp, TokenCounts, Usage, UsageEvent,
};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::event_rows::EventRow;
use super::findings::Findings;
use crate::ledger::Check;
use crate::shared_texts::PriceTerms;

impl EventRow<'_> {
    /// Checks the amounts of the event against what they come to when they are computed again.
    pub(super) fn check_price(&self, terms: &PriceTerms, findings: &mut Findings) {
        let mut compare = |expected: i128, found: i64| {
            findings.compare_event(Check::EventPriced, self.row, expected, found.into());
        };
        let Some(priced) = self.priced_again(terms) else {
            compare(-1, self.price_nanos);
            return;
        };
        let price = match self.loss_reason {
            None => priced.price,
            Some(_) => Nanos::ZERO,
        };
        compare(priced.cost.get().into(), self.cost_nanos);
        compare(price.get().into(), self.price_nanos);
        let parts = i128::from(self.charged_nanos) + i128::from(self.uncollected_nanos);
        compare(parts, self.price_nanos);
        if self.list_cost.parse() != Ok(priced.list_cost) {
            let nanos = Nanos::round_half_even(priced.list_cost).unwrap_or(Nanos::MAX);
            let found = self.list_cost.parse().map(Nanos::round_half_even);
            let found = found.ok().and_then(Result::ok).unwrap_or(-Nanos::MAX);
            compare(nanos.get().into(), found.get());
        }
    }

    /// `None` when what is stored is not enough.
    fn priced_again(&self, terms: &PriceTerms) -> Option<Priced> {
        let inference = match self.upstream_inference_cost {
            None => Inference::Credits,
            Some(text) => Inference::OwnProviderKey {
                upstream_cost: Decimal::from_str_exact(text).ok()?,
            },
        };
        let usage = Usage {
            tokens: TokenCounts {
                prompt: counted(self.prompt_tokens),
                completion: counted(self.completion_tokens),
                ..TokenCounts::default()
            },
            reported_cost: Some(Decimal::from_str_exact(self.reported_cost).ok()?),
            inference,
        };
        let by = Terms {
            discount: terms.discount,
            rule: &terms.rule,
        };
        price(&usage, CostSource::Reported, by, None, Timestamp::default()).ok()
    }

    /// How the price was divided.
    pub(super) const fn covered(&self) -> Covered {
        Covered {
            charged: Nanos::new(self.charged_nanos),
            uncollected: Nanos::new(self.uncollected_nanos),
        }
    }

    /// Puts what this event is booked by into `event`, which [`bookable`] made for the same terms. `None` when it can't
    /// be read.
    pub(super) fn fill(&self, event: &mut UsageEvent) -> Option<()> {
        event.request.payer = self.payer;
        event.cost = Nanos::new(self.cost_nanos);
        event.price = Nanos::new(self.price_nanos);
        event.outcome = match self.loss_reason {
            None => Outcome::Charged,
            Some(reason) => Outcome::Lost(LossReason::from_name(reason)?),
        };
        Some(())
    }
}

/// An event of these terms to be booked; the rest of it is blank.
pub(super) fn bookable(terms: &PriceTerms) -> UsageEvent {
    UsageEvent {
        request: RequestFacts {
            id: RequestId::new(Uuid::nil()),
            api_key: ApiKeyId::new(Uuid::nil()),
            payer: AccountId::new(Uuid::nil()),
            payment: terms.payment,
            requested_model: String::new(),
            model_pricing: None,
            plan_version: terms.plan_version,
            rule: terms.rule.clone(),
            fallback_rules: Vec::new(),
            names: Vec::new(),
            delivery: Delivery::Whole,
            admitted_at: Timestamp::default(),
            hold: Nanos::ZERO,
        },
        served: Served {
            master_account: terms.master_account,
            discount: terms.discount,
            generation_id: None,
            model: None,
            provider: None,
        },
        tokens: TokenCounts::default(),
        reported_cost: Decimal::ZERO,
        source: CostSource::Reported,
        inference: Inference::Credits,
        list_cost: Decimal::ZERO,
        cost: Nanos::ZERO,
        price: Nanos::ZERO,
        outcome: Outcome::Charged,
        ending: Ending::Complete,
        finished_at: Timestamp::default(),
        first_byte_micros: None,
        charges: Vec::new(),
    }
}

/// A count as it was stored.
fn counted(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
