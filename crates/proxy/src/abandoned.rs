//! Answers whose clients have gone: what was done with them, for the metrics of money spent on output that nobody read.

use airouter_billing::disconnect::{HangingUp, ReadShare, unread_part};
use airouter_billing::{ModelPrices, Nanos, Outcome, TokenCounts, UsageEvent};
use airouter_openrouter::{CancelBilling, cancellation_stops_billing};
use rust_decimal::Decimal;

use crate::metrics::{Abandonment, Metrics};

/// An answer that its client left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    /// What was done with it.
    pub(crate) how: Abandonment,
    /// How much of it came before and after.
    pub(crate) share: ReadShare,
}

impl Abandoned {
    /// Counts it, when what it cost is booked.
    pub(crate) fn tell(self, event: &UsageEvent, model: &ModelPrices, metrics: &Metrics) {
        let at = event.request.admitted_at;
        let prompt = TokenCounts {
            completion: 0,
            reasoning: 0,
            image_output: 0,
            ..event.tokens
        };
        let list_cost = |tokens| model.list_cost(tokens, at).unwrap_or(Decimal::ZERO);
        let unread = |amount: Nanos| {
            unread_part(
                amount,
                list_cost(prompt),
                list_cost(event.tokens),
                self.share,
            )
        };
        let provider = event.served.provider.as_deref().unwrap_or_default();
        let amount = match event.outcome {
            Outcome::Charged => event.price,
            Outcome::Lost(_) => event.cost,
        };
        metrics.abandoned(self.how, provider, event.outcome, amount, unread(amount));
    }
}

/// What hanging up on a provider means, by its display name.
pub(crate) fn hanging_up(provider: &str) -> HangingUp {
    match cancellation_stops_billing(provider) {
        CancelBilling::Stops => HangingUp::StopsBilling,
        CancelBilling::RunsOn => HangingUp::BillsOn,
    }
}
