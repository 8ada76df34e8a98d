//! The price table of a compatible server: which of our models it serves, under which names, at which list prices. Read
//! strictly, as the operator wrote it: what isn't understood is refused, with the entry that it is in.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decimal::{DecimalError, parse_decimal};
use crate::price_book::{PriceKey, RawPricing};
use crate::sale::is_name;

/// A table is not longer, in bytes.
pub const LONGEST_TABLE: usize = 4 << 20;
/// Nor has it more entries.
pub const MOST_ENTRIES: usize = 10_000;
/// No unit costs more, in USD: a slip of the decimal point is refused.
const DEAREST_UNIT: Decimal = Decimal::ONE_THOUSAND;
/// A price has no more decimal places, so that products with token counts stay exact.
const MOST_DECIMAL_PLACES: u32 = 18;
/// Fields that one model may take beyond OpenAI's.
const MOST_EXTRA_FIELDS: usize = 64;
/// Suffixes that mean something to OpenRouter: modifiers, and the variant whose quota is an account's there.
const RESERVED_SUFFIXES: [&str; 5] = [":free", ":nitro", ":floor", ":exacto", ":online"];

/// The prices that a server without costs in its usage can be priced by: units of which usage tells the number.
pub const COUNTED_PRICES: [PriceKey; 8] = [
    PriceKey::Prompt,
    PriceKey::Completion,
    PriceKey::Request,
    PriceKey::CacheRead,
    PriceKey::CacheWrite,
    PriceKey::Audio,
    PriceKey::Reasoning,
    PriceKey::ImageOutput,
];

/// Fields of a request that mean something to OpenRouter only, or that would tie a tenant's requests together in the
/// operator's account: no table lets them through.
pub const NEVER_EXTRA: [&str; 16] = [
    "debug",
    "include_reasoning",
    "metadata",
    "models",
    "plugins",
    "preset",
    "provider",
    "reasoning",
    "route",
    "safety_identifier",
    "service_tier",
    "session_id",
    "store",
    "trace",
    "transforms",
    "usage",
];

/// The field by which a server limits its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitField {
    /// `max_tokens`
    #[default]
    MaxTokens,
    /// `max_completion_tokens`
    MaxCompletionTokens,
}

impl LimitField {
    /// Its name in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// How a compatible server is asked for a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedAs {
    /// The server's own name of the model.
    pub upstream_model: String,
    /// The field by which it limits its answers.
    #[serde(default)]
    pub limit_field: LimitField,
    /// Fields that it takes beyond OpenAI's.
    #[serde(default)]
    pub extra_fields: Vec<String>,
}

impl ServedAs {
    /// By a name alone.
    pub fn named(upstream_model: &str) -> Self {
        Self {
            upstream_model: upstream_model.to_owned(),
            limit_field: LimitField::default(),
            extra_fields: Vec::new(),
        }
    }
}

/// A model of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The id under which it is sold.
    pub id: String,
    /// Its list prices, as text.
    pub pricing: RawPricing,
    /// Most tokens of prompt and answer together, if that is known.
    pub context_length: Option<u64>,
    /// Most tokens of an answer.
    pub max_completion_tokens: Option<u64>,
    /// How the server is asked for it.
    pub served_as: ServedAs,
}

impl TableEntry {
    /// A model that the server itself lists with prices as OpenRouter's, and knows by the id under which it is to be sold.
    ///
    /// # Errors
    /// [`EntryError`] where it can't be sold: also when something has a price that usage does not count.
    pub fn listed(
        id: &str,
        pricing: RawPricing,
        context_length: Option<u64>,
        max_completion_tokens: Option<u64>,
    ) -> Result<Self, EntryError> {
        check_id(id)?;
        let overrides = pricing.overrides.iter().flat_map(|entry| &entry.prices);
        for (name, text) in pricing.prices.iter().chain(overrides) {
            let Some(key) = PriceKey::from_name(name) else {
                continue;
            };
            check_price(key, text)?;
            let is_free = parse_decimal(text).is_ok_and(|price| price.is_zero());
            if !is_free && !COUNTED_PRICES.contains(&key) {
                return Err(EntryError::Uncounted(key.name()));
            }
        }
        Ok(Self {
            id: id.to_owned(),
            pricing,
            context_length,
            max_completion_tokens,
            served_as: ServedAs::named(id),
        })
    }
}

/// Why something is no price table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is too long.
    #[error("a price table has at most {LONGEST_TABLE} bytes")]
    TooLong,
    /// It is no JSON object, or has an id twice, or too many entries.
    #[error("no price table: {0}")]
    Unreadable(serde_json::Error),
    /// One of its entries is none.
    #[error("{id}: {reason}")]
    Entry {
        /// The entry.
        id: String,
        /// What is wrong with it.
        reason: EntryError,
    },
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The id is none, or one that means something to OpenRouter only.
    #[error(
        "an id takes 1 to 256 visible ASCII characters, none of them '@', '*' or ',', and has no suffix that only \
         OpenRouter serves"
    )]
    Id,
    /// It has a member that is unknown, of the wrong type, missing or there twice.
    #[error("{0}")]
    Shape(serde_json::Error),
    /// A price is none.
    #[error("{name}: {source}")]
    Price {
        /// Its name.
        name: &'static str,
        /// Why.
        source: DecimalError,
    },
    /// A price is too high, or has too many decimal places.
    #[error(
        "{0}: a price is at most 1000 USD and has at most {MOST_DECIMAL_PLACES} decimal places"
    )]
    PriceRange(&'static str),
    /// A price of something that usage does not count.
    #[error("{0}: usage does not count what this is the price of")]
    Uncounted(&'static str),
    /// The server's name of the model is none.
    #[error("upstream_model: a name takes 1 to 256 visible ASCII characters")]
    UpstreamModel,
    /// A size of nothing.
    #[error("{0} is at least 1")]
    Size(&'static str),
    /// A field that no table lets through.
    #[error("extra_fields: '{0}' is never sent to such a server")]
    ExtraField(String),
    /// Too many of them.
    #[error("extra_fields: at most {MOST_EXTRA_FIELDS}")]
    ExtraFields,
}

/// An entry as it is written. Prices are decimals in strings, in USD a unit, with the names of OpenRouter's `pricing`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    upstream_model: Option<String>,
    context_length: u64,
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    limit_field: LimitField,
    #[serde(default)]
    extra_fields: Vec<String>,
    prompt: String,
    completion: String,
    request: Option<String>,
    input_cache_read: Option<String>,
    input_cache_write: Option<String>,
    audio: Option<String>,
    internal_reasoning: Option<String>,
    image_output: Option<String>,
}

impl Written {
    fn prices(&self) -> [(PriceKey, Option<&String>); COUNTED_PRICES.len()] {
        [
            (PriceKey::Prompt, Some(&self.prompt)),
            (PriceKey::Completion, Some(&self.completion)),
            (PriceKey::Request, self.request.as_ref()),
            (PriceKey::CacheRead, self.input_cache_read.as_ref()),
            (PriceKey::CacheWrite, self.input_cache_write.as_ref()),
            (PriceKey::Audio, self.audio.as_ref()),
            (PriceKey::Reasoning, self.internal_reasoning.as_ref()),
            (PriceKey::ImageOutput, self.image_output.as_ref()),
        ]
    }

    fn checked(self, id: &str) -> Result<TableEntry, EntryError> {
        check_id(id)?;
        let mut prices = Vec::new();
        for (key, text) in self.prices() {
            if let Some(text) = text {
                check_price(key, text)?;
                prices.push((key.name().to_owned(), text.clone()));
            }
        }
        let upstream_model = self.upstream_model.unwrap_or_else(|| id.to_owned());
        if !is_name(&upstream_model) {
            return Err(EntryError::UpstreamModel);
        }
        if self.context_length == 0 {
            return Err(EntryError::Size("context_length"));
        }
        if self.max_completion_tokens == Some(0) {
            return Err(EntryError::Size("max_completion_tokens"));
        }
        if self.extra_fields.len() > MOST_EXTRA_FIELDS {
            return Err(EntryError::ExtraFields);
        }
        let is_refused = |field: &&String| !is_name(field) || NEVER_EXTRA.contains(&field.as_str());
        if let Some(field) = self.extra_fields.iter().find(is_refused) {
            return Err(EntryError::ExtraField(field.clone()));
        }
        Ok(TableEntry {
            id: id.to_owned(),
            pricing: RawPricing {
                prices,
                overrides: Vec::new(),
            },
            context_length: Some(self.context_length),
            max_completion_tokens: self.max_completion_tokens,
            served_as: ServedAs {
                upstream_model,
                limit_field: self.limit_field,
                extra_fields: self.extra_fields,
            },
        })
    }
}

/// Whether a compatible server may serve a model of this id.
pub fn check_id(id: &str) -> Result<(), EntryError> {
    let is_reserved = RESERVED_SUFFIXES.iter().any(|suffix| id.ends_with(suffix));
    if !is_name(id) || id.contains(['@', '*', ',']) || is_reserved {
        return Err(EntryError::Id);
    }
    Ok(())
}

/// Whether a text is a price that such a server can be priced by.
pub fn check_price(key: PriceKey, text: &str) -> Result<(), EntryError> {
    let name = key.name();
    let price = parse_decimal(text).map_err(|source| EntryError::Price { name, source })?;
    if price > DEAREST_UNIT || price.normalize().scale() > MOST_DECIMAL_PLACES {
        return Err(EntryError::PriceRange(name));
    }
    Ok(())
}

/// Reads a table: a JSON object of entries by the ids under which the models are sold. All of it, or nothing.
///
/// # Errors
/// [`TableError`], for the operator.
pub fn parse(text: &[u8]) -> Result<Vec<TableEntry>, TableError> {
    if text.len() > LONGEST_TABLE {
        return Err(TableError::TooLong);
    }
    let Entries(written) = serde_json::from_slice(text).map_err(TableError::Unreadable)?;
    written
        .into_iter()
        .map(|(id, text)| {
            let entry = serde_json::from_str::<Written>(text.get())
                .map_err(EntryError::Shape)
                .and_then(|written| written.checked(&id));
            entry.map_err(|reason| TableError::Entry { id, reason })
        })
        .collect()
}

/// The entries of a table by their ids, none of them twice.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of models by their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut ids = std::collections::HashSet::new();
        let mut entries = Vec::new();
        while let Some(id) = map.next_key::<String>()? {
            if !ids.insert(id.clone()) {
                return Err(A::Error::custom(format_args!("'{id}' is there twice")));
            }
            if entries.len() == MOST_ENTRIES {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format_args!(
                    "more than {MOST_ENTRIES} models"
                )));
            }
            entries.push((id, map.next_value()?));
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests;
