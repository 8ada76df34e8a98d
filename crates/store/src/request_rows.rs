//! A request as adapters read it: a row of `request_logs`, or of `request_corrections` in its place, with what it refers to.

use airouter_billing::event::{Delivery, Ending, LossReason};
use airouter_billing::settlement::Covered;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{AccountId, ApiKeyId, Nanos, RequestId, Timestamp, TokenCounts};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::error::StoreError;
use crate::master_accounts::UpstreamKind;
use crate::requests::{RequestRecord, RequestSender, RequestServer};

/// The row. Names are those of the columns; times are microseconds, decimals texts.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are columns")]
pub struct RequestRow {
    pub id: Uuid,
    pub transaction_id: i64,
    pub payer_id: Uuid,
    pub payer_name: String,
    pub api_key_id: Uuid,
    pub key_name: Option<String>,
    pub terms: String,
    pub server_name: Option<String>,
    pub server_kind: Option<String>,
    pub generation_id: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub delivery: String,
    pub ending: String,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cached_tokens: i64,
    pub cache_write_tokens: i64,
    pub audio_tokens: i64,
    pub reasoning_tokens: i64,
    pub image_output_tokens: i64,
    pub reported_cost: String,
    pub cost_source: String,
    pub upstream_inference_cost: Option<String>,
    pub list_cost: String,
    pub cost_nanos: i64,
    pub charged_nanos: i64,
    pub uncollected_nanos: i64,
    pub loss_reason: Option<String>,
    pub is_corrected: bool,
    pub refunded_nanos: i64,
    pub admitted_at: i64,
    pub finished_at: i64,
    pub first_byte_micros: Option<i64>,
}

impl RequestRow {
    /// What the row says.
    pub fn into_record(self) -> Result<RequestRecord, StoreError> {
        let id = self.id;
        let corrupt = |table, column| StoreError::Corrupt {
            table,
            column,
            row: id.to_string(),
        };
        let wrong = |column| corrupt("request_logs", column);
        let decimal = |text: &str, column| {
            Decimal::from_str_exact(text).map_err(|_| corrupt("request_logs", column))
        };
        let inference = match &self.upstream_inference_cost {
            None => Inference::Credits,
            Some(cost) => Inference::OwnProviderKey {
                upstream_cost: decimal(cost, "upstream_inference_cost")?,
            },
        };
        let loss = self.loss_reason.as_deref();
        let loss = loss.map(|name| LossReason::from_name(name).ok_or_else(|| wrong("loss_reason")));
        Ok(RequestRecord {
            id: RequestId::new(id),
            transaction: self.transaction_id,
            terms: serde_json::from_str(&self.terms)
                .map_err(|_| corrupt("price_terms", "terms"))?,
            delivery: Delivery::from_name(&self.delivery).ok_or_else(|| wrong("delivery"))?,
            ending: Ending::from_name(&self.ending).ok_or_else(|| wrong("ending"))?,
            tokens: self.tokens(),
            reported_cost: decimal(&self.reported_cost, "reported_cost")?,
            source: CostSource::from_name(&self.cost_source).ok_or_else(|| wrong("cost_source"))?,
            inference,
            list_cost: decimal(&self.list_cost, "list_cost")?,
            cost: Nanos::new(self.cost_nanos),
            covered: Covered {
                charged: Nanos::new(self.charged_nanos),
                uncollected: Nanos::new(self.uncollected_nanos),
            },
            loss: loss.transpose()?,
            is_corrected: self.is_corrected,
            refunded: Nanos::new(self.refunded_nanos),
            admitted_at: Timestamp::from_micros(self.admitted_at),
            finished_at: Timestamp::from_micros(self.finished_at),
            first_byte_micros: self.first_byte_micros.map(counted),
            sender: RequestSender {
                payer: AccountId::new(self.payer_id),
                payer_name: self.payer_name,
                key: ApiKeyId::new(self.api_key_id),
                key_name: self.key_name,
            },
            server: RequestServer {
                name: self.server_name,
                kind: self
                    .server_kind
                    .as_deref()
                    .and_then(UpstreamKind::from_name),
                generation_id: self.generation_id,
                model: self.model,
                provider: self.provider,
            },
        })
    }

    fn tokens(&self) -> TokenCounts {
        TokenCounts {
            prompt: counted(self.prompt_tokens),
            completion: counted(self.completion_tokens),
            cached: counted(self.cached_tokens),
            cache_write: counted(self.cache_write_tokens),
            audio: counted(self.audio_tokens),
            reasoning: counted(self.reasoning_tokens),
            image_output: counted(self.image_output_tokens),
        }
    }
}

fn counted(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
