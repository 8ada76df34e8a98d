//! What many requests share and is stored once as a JSON text: by what they were priced, and which budgets they were
//! charged to. The same texts in every database.

use airouter_billing::budget::BudgetSlot;
use airouter_billing::event::Payment;
use airouter_billing::ids::ModelPricingId;
use airouter_billing::{Discount, MasterAccountId, PlanVersionId, PriceRule, Quantity, UsageEvent};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// By what a request was priced: a text of `price_terms`.
#[derive(Serialize)]
struct PriceTermsOf<'a> {
    payment: Payment,
    requested_model: &'a str,
    /// What the client was told that served, where that is not the upstream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown_model: Option<&'a str>,
    model_pricing: Option<ModelPricingId>,
    plan_version: PlanVersionId,
    /// The rule for the model that answered.
    rule: &'a PriceRule,
    master_account: MasterAccountId,
    discount: Discount,
}

/// The same as it was stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PriceTerms {
    /// How the payer pays.
    pub payment: Payment,
    /// The model as the client named it.
    pub requested_model: String,
    /// What the client was told that served, where that is not the upstream's name.
    #[serde(default)]
    pub shown_model: Option<String>,
    /// The version of the prices by which it was held, or priced.
    pub model_pricing: Option<ModelPricingId>,
    /// The version of the plan.
    pub plan_version: PlanVersionId,
    /// The rule for the model that answered.
    pub rule: PriceRule,
    /// Which master account served.
    pub master_account: MasterAccountId,
    /// Its discount at that time.
    pub discount: Discount,
}

/// A budget that a request was charged to: an element of a text of `budget_sets`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ChargedSlot {
    /// The budget in its period.
    #[serde(flatten)]
    pub slot: BudgetSlot,
    /// What it caps.
    pub quantity: Quantity,
}

/// The text that says by what a request was priced.
pub fn price_terms_of(event: &UsageEvent) -> Result<String, StoreError> {
    text(&PriceTermsOf {
        payment: event.request.payment,
        requested_model: &event.request.requested_model,
        shown_model: event.request.shown_model(event.served.model.as_deref()),
        model_pricing: event.request.model_pricing,
        plan_version: event.request.plan_version,
        rule: event.request.rule_for(event.served.model.as_deref()),
        master_account: event.served.master_account,
        discount: event.served.discount,
    })
}

/// The text that says which budgets a request was charged to.
pub fn budget_set_of(event: &UsageEvent) -> Result<String, StoreError> {
    let slots: Vec<ChargedSlot> = event
        .charges
        .iter()
        .map(|charge| ChargedSlot {
            slot: charge.slot,
            quantity: charge.quantity,
        })
        .collect();
    text(&slots)
}

fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Refused(Box::new(error)))
}
