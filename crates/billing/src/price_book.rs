//! The upstream's public prices: what is in force, and what a model costs by them.

use std::collections::HashMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal::{DecimalError, parse_signed};
use crate::ids::ModelPricingId;
use crate::time::Timestamp;
use crate::usage::TokenCounts;

/// What a price is for. Units as in OpenRouter's `pricing` (wire-contract §1.5): USD per token unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PriceKey {
    /// A prompt token.
    Prompt,
    /// A token of the answer.
    Completion,
    /// A request.
    Request,
    /// An image in the prompt.
    Image,
    /// An image token of the answer.
    ImageOutput,
    /// An audio token of the prompt.
    Audio,
    /// A prompt token read from the cache.
    CacheRead,
    /// A prompt token written to the cache.
    CacheWrite,
    /// A prompt token written to the cache for an hour.
    CacheWriteHour,
    /// A reasoning token.
    Reasoning,
    /// A web search.
    WebSearch,
}

impl PriceKey {
    /// Every key.
    pub const ALL: [Self; 11] = [
        Self::Prompt,
        Self::Completion,
        Self::Request,
        Self::Image,
        Self::ImageOutput,
        Self::Audio,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWriteHour,
        Self::Reasoning,
        Self::WebSearch,
    ];

    /// The member of `pricing` that holds this price.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Request => "request",
            Self::Image => "image",
            Self::ImageOutput => "image_output",
            Self::Audio => "audio",
            Self::CacheRead => "input_cache_read",
            Self::CacheWrite => "input_cache_write",
            Self::CacheWriteHour => "input_cache_write_1h",
            Self::Reasoning => "internal_reasoning",
            Self::WebSearch => "web_search",
        }
    }

    /// The key with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// Prices by key; a missing key is not priced, zero is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateCard([Option<Decimal>; PriceKey::ALL.len()]);

impl RateCard {
    /// The price for `key`.
    pub fn get(&self, key: PriceKey) -> Option<Decimal> {
        self.0.get(key as usize).copied().flatten()
    }

    /// Sets the price for `key`.
    pub fn set(&mut self, key: PriceKey, price: Decimal) {
        if let Some(slot) = self.0.get_mut(key as usize) {
            *slot = Some(price);
        }
    }

    /// These prices, with those of `other` in front.
    fn overridden_by(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for key in PriceKey::ALL {
            if let Some(price) = other.get(key) {
                merged.set(key, price);
            }
        }
        merged
    }

    fn or(&self, key: PriceKey, fallback: PriceKey) -> Decimal {
        self.get(key)
            .or_else(|| self.get(fallback))
            .unwrap_or_default()
    }
}

/// Prices that hold only under a condition; of several, the later wins for each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceOverride {
    /// Holds when the prompt has more tokens than this.
    pub min_prompt_tokens: Option<u64>,
    /// Holds from and until these minutes of the day in UTC (half open, may wrap).
    pub utc_minutes: Option<(u16, u16)>,
    /// The prices.
    pub rates: RateCard,
}

impl PriceOverride {
    fn applies(&self, prompt_tokens: u64, at: Timestamp) -> bool {
        let long_enough = self.min_prompt_tokens.is_none_or(|min| prompt_tokens > min);
        let in_time = self.utc_minutes.is_none_or(|(start, end)| {
            let minute = at
                .to_utc()
                .map_or(0, |at| u16::from(at.hour()) * 60 + u16::from(at.minute()));
            if start <= end {
                (start..end).contains(&minute)
            } else {
                minute >= start || minute < end
            }
        });
        long_enough && in_time
    }
}

/// How a model is priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pricing {
    /// By these prices.
    Listed {
        /// The prices that hold unless an override does.
        base: Box<RateCard>,
        /// Conditional prices.
        overrides: Vec<PriceOverride>,
    },
    /// `"-1"`: by the model that will serve. Such a router can be held only at a policy cap, and billed only by the
    /// reported cost.
    Dynamic,
}

/// Why a model of the upstream's list can't be sold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PricingError {
    /// A price is negative, and not the sentinel `-1` of routers.
    #[error("{key} is negative")]
    Negative {
        /// The member of `pricing`.
        key: String,
    },
    /// A price is not a decimal number.
    #[error("{key}: {source}")]
    Malformed {
        /// The member of `pricing`.
        key: String,
        /// What is wrong with it.
        source: DecimalError,
    },
    /// `prompt` or `completion` is missing: unknown, not free.
    #[error("{key} is missing")]
    Missing {
        /// The member of `pricing`.
        key: &'static str,
    },
    /// A condition of an override can't be read.
    #[error("an override has a condition that can't be read")]
    Condition,
}

/// The members of an upstream's `pricing`, before they were checked: name → text of the number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawPricing {
    /// Prices by name.
    pub prices: Vec<(String, String)>,
    /// Conditional prices.
    #[serde(default)]
    pub overrides: Vec<RawOverride>,
}

/// One of `pricing.overrides`, before it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawOverride {
    /// `min_prompt_tokens`.
    pub min_prompt_tokens: Option<u64>,
    /// `utc_start`, `HHMM`.
    pub utc_start: Option<String>,
    /// `utc_end`, `HHMM`.
    pub utc_end: Option<String>,
    /// Prices by name.
    pub prices: Vec<(String, String)>,
}

impl Pricing {
    /// Checks an upstream's prices: a model with `-1` is dynamic, any other negative price or a missing `prompt` or
    /// `completion` refuses the model (field.md §0b: a price of -1 has minted credits elsewhere).
    pub fn from_raw(raw: &RawPricing) -> Result<Self, PricingError> {
        let Some(base) = rates(&raw.prices)? else {
            return Ok(Self::Dynamic);
        };
        for key in [PriceKey::Prompt, PriceKey::Completion] {
            if base.get(key).is_none() {
                return Err(PricingError::Missing { key: key.name() });
            }
        }
        let mut overrides = Vec::with_capacity(raw.overrides.len());
        for entry in &raw.overrides {
            let Some(rates) = rates(&entry.prices)? else {
                return Ok(Self::Dynamic);
            };
            let utc_minutes = match (&entry.utc_start, &entry.utc_end) {
                (None, None) => None,
                (start, end) => Some((
                    minute_of_day(start.as_deref())?,
                    minute_of_day(end.as_deref())?,
                )),
            };
            overrides.push(PriceOverride {
                min_prompt_tokens: entry.min_prompt_tokens,
                utc_minutes,
                rates,
            });
        }
        Ok(Self::Listed {
            base: Box::new(base),
            overrides,
        })
    }
}

/// `None` when a price is the sentinel of a router.
fn rates(prices: &[(String, String)]) -> Result<Option<RateCard>, PricingError> {
    let mut card = RateCard::default();
    for (name, text) in prices {
        let Some(key) = PriceKey::from_name(name) else {
            continue;
        };
        let price = parse_signed(text).map_err(|source| PricingError::Malformed {
            key: name.clone(),
            source,
        })?;
        if price == Decimal::NEGATIVE_ONE {
            return Ok(None);
        }
        if price < Decimal::ZERO {
            return Err(PricingError::Negative { key: name.clone() });
        }
        card.set(key, price);
    }
    Ok(Some(card))
}

fn minute_of_day(text: Option<&str>) -> Result<u16, PricingError> {
    let Some(text) = text else { return Ok(0) };
    let digits = text.replace(':', "");
    let value: u16 = digits.parse().map_err(|_| PricingError::Condition)?;
    let (hour, minute) = (value / 100, value % 100);
    if hour > 24 || minute > 59 {
        Err(PricingError::Condition)
    } else {
        Ok(hour * 60 + minute)
    }
}

/// So many tokens, or requests, at a price each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLine {
    /// What they are.
    pub key: PriceKey,
    /// How many.
    pub count: u64,
    /// USD for one.
    pub rate: Decimal,
}

/// Whether a model obeys an output limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputLimit {
    /// `max_tokens` or `max_completion_tokens` is among its supported parameters.
    Supported,
    /// It answers as long as it likes.
    Unsupported,
}

/// One model of the price book: prices and what bounds a request's size. Immutable; a change is a new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrices {
    /// The version of these prices.
    pub version: ModelPricingId,
    /// The model's id.
    pub id: String,
    /// The prices.
    pub pricing: Pricing,
    /// Most tokens of prompt and answer together.
    pub context_length: Option<u64>,
    /// Most tokens of an answer.
    pub max_completion_tokens: Option<u64>,
    /// Whether an answer can be limited.
    pub output_limit: OutputLimit,
}

impl ModelPrices {
    /// The list cost in USD of `tokens` by these prices, exactly; `None` for a router, whose price is not known, and
    /// when the product does not fit.
    pub fn list_cost(&self, tokens: TokenCounts, at: Timestamp) -> Option<Decimal> {
        self.book_lines(tokens, at)?
            .into_iter()
            .try_fold(Decimal::ZERO, |sum, line| {
                Decimal::from(line.count)
                    .checked_mul(line.rate)
                    .and_then(|term| sum.checked_add(term))
            })
    }

    /// What the list cost is the sum of; `None` for a router.
    pub fn book_lines(&self, tokens: TokenCounts, at: Timestamp) -> Option<[BookLine; 8]> {
        let Pricing::Listed { base, overrides } = &self.pricing else {
            return None;
        };
        let rates = overrides
            .iter()
            .filter(|entry| entry.applies(tokens.prompt, at))
            .fold(RateCard::clone(base), |rates, entry| {
                rates.overridden_by(&entry.rates)
            });
        let special = tokens
            .cached
            .saturating_add(tokens.cache_write)
            .saturating_add(tokens.audio);
        let plain_completion = tokens
            .completion
            .saturating_sub(tokens.reasoning)
            .saturating_sub(tokens.image_output);
        let line = |key, count, fallback| BookLine {
            key,
            count,
            rate: rates.or(key, fallback),
        };
        let prompt = |key, count| line(key, count, PriceKey::Prompt);
        let completion = |key, count| line(key, count, PriceKey::Completion);
        Some([
            prompt(PriceKey::Prompt, tokens.prompt.saturating_sub(special)),
            prompt(PriceKey::CacheRead, tokens.cached),
            prompt(PriceKey::CacheWrite, tokens.cache_write),
            prompt(PriceKey::Audio, tokens.audio),
            completion(PriceKey::Completion, plain_completion),
            completion(PriceKey::Reasoning, tokens.reasoning),
            completion(PriceKey::ImageOutput, tokens.image_output),
            line(PriceKey::Request, 1, PriceKey::Request),
        ])
    }

    /// The dearest price of `keys` under any condition; `None` when the model is a router or none of them is priced.
    pub fn dearest(&self, keys: &[PriceKey]) -> Option<Decimal> {
        let Pricing::Listed { base, overrides } = &self.pricing else {
            return None;
        };
        std::iter::once(&**base)
            .chain(overrides.iter().map(|entry| &entry.rates))
            .flat_map(|rates| keys.iter().filter_map(|key| rates.get(*key)))
            .max()
    }

    /// What a token of prompt and one of the answer cost together, for one dollar that they cost by `other`. To compare;
    /// nothing is priced by it. `None` where one of them is a router or `other` is free.
    pub fn relative_to(&self, other: &Self) -> Option<Decimal> {
        let both = |model: &Self| {
            let prompt = model.dearest(&[PriceKey::Prompt])?;
            prompt.checked_add(model.dearest(&[PriceKey::Completion])?)
        };
        both(self)?.checked_div(both(other)?)
    }

    /// Whether the model is priced by the model that will serve.
    pub const fn is_dynamic(&self) -> bool {
        matches!(self.pricing, Pricing::Dynamic)
    }
}

/// All models on sale, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct PriceBook {
    models: HashMap<String, Arc<ModelPrices>>,
}

impl PriceBook {
    /// A book of these models.
    pub fn new(models: impl IntoIterator<Item = ModelPrices>) -> Self {
        Self {
            models: models
                .into_iter()
                .map(|model| (model.id.clone(), Arc::new(model)))
                .collect(),
        }
    }

    /// The model with exactly this id.
    pub fn get(&self, id: &str) -> Option<&Arc<ModelPrices>> {
        self.models.get(id)
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Every model, in no order.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ModelPrices>> {
        self.models.values()
    }
}

#[cfg(test)]
mod tests;
