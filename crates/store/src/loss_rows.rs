//! Losses as adapters read them back when more comes of their requests.

use airouter_billing::correction::{Booked, BookedLoss};
use airouter_billing::event::LossReason;
use airouter_billing::ids::TransactionId;
use airouter_billing::{Nanos, RequestId};
use uuid::Uuid;

use crate::error::StoreError;
use crate::shared_texts::PriceTerms;

/// A row of `request_logs` with a loss, and what has come of it since.
#[derive(Clone, Debug)]
pub struct LossRow {
    /// The request.
    pub id: Uuid,
    /// The transaction of the ledger.
    pub transaction_id: i64,
    /// Why it is a loss.
    pub loss_reason: String,
    /// What serving it cost.
    pub cost_nanos: i64,
    /// By what it was priced: a text of `price_terms`.
    pub terms: String,
    /// `corrected` when a row of `request_corrections` has its id, else `reopened` when it is pending as
    /// `usage_unknown`, else `lost`.
    pub state: String,
}

impl LossRow {
    /// The request, and how it is booked.
    pub fn booked(&self) -> Result<(RequestId, Booked), StoreError> {
        let corrupt = |table, column| StoreError::Corrupt {
            table,
            column,
            row: self.id.to_string(),
        };
        let terms: PriceTerms =
            serde_json::from_str(&self.terms).map_err(|_| corrupt("price_terms", "terms"))?;
        let loss = BookedLoss {
            transaction: TransactionId::new(self.transaction_id),
            reason: LossReason::from_name(&self.loss_reason)
                .ok_or_else(|| corrupt("request_logs", "loss_reason"))?,
            cost: Nanos::new(self.cost_nanos),
            master_account: terms.master_account,
        };
        let booked = match self.state.as_str() {
            "corrected" => Booked::Corrected,
            "reopened" => Booked::Reopened(loss),
            _ => Booked::Lost(loss),
        };
        Ok((RequestId::new(self.id), booked))
    }
}
