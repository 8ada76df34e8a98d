//! What a request used, as the upstream reports it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Tokens of one request, by kind. `cached`, `cache_write` and the audio and image tokens of the prompt are part of
/// `prompt`; `reasoning` and the image tokens of the answer are part of `completion` (wire-contract §1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// All tokens of the prompt.
    pub prompt: u64,
    /// All tokens of the answer.
    pub completion: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached: u64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: u64,
    /// Prompt tokens that are audio.
    pub audio: u64,
    /// Answer tokens spent on reasoning, shown or not.
    pub reasoning: u64,
    /// Answer tokens that are images.
    pub image_output: u64,
}

impl TokenCounts {
    /// Prompt and answer together.
    pub const fn total(self) -> u64 {
        self.prompt.saturating_add(self.completion)
    }
}

/// Where the base of a price came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// `usage.cost` of the answer.
    Reported,
    /// The generation record, asked for afterwards.
    GenerationRecord,
    /// Tokens × price book, because nothing was reported.
    PriceBook,
}

impl CostSource {
    /// The name in the database and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::GenerationRecord => "generation_record",
            Self::PriceBook => "price_book",
        }
    }

    /// The source with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reported, Self::GenerationRecord, Self::PriceBook]
            .into_iter()
            .find(|source| source.name() == name)
    }
}

/// Whether the upstream used a provider key of the account's own ("bring your own key").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inference {
    /// Paid with the upstream's credits.
    Credits,
    /// Paid at the provider, at this cost in USD; what the upstream reports is only its fee.
    OwnProviderKey {
        /// `cost_details.upstream_inference_cost`.
        upstream_cost: Decimal,
    },
}

/// The metered usage of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Tokens by kind.
    pub tokens: TokenCounts,
    /// The reported cost in USD, exactly as printed; `None` when nothing was reported.
    pub reported_cost: Option<Decimal>,
    /// How the inference was paid.
    pub inference: Inference,
}
