//! The models that the simulated upstream sells: the table, and how it is listed by `GET /models`.

mod compatible;

use compatible::COMPATIBLE_MODELS;
use serde_json::{Map, Value, json};

use crate::money::Picodollars;
use crate::speaks::Speaks;

/// What stands under a price's key in the model list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// The key is absent: not priced.
    Absent,
    /// `"-1"`: a router, whose price depends on where it routes.
    Dynamic,
    /// Picodollars a unit.
    Each(u64),
}

impl Price {
    /// Picodollars a unit; what isn't priced costs nothing.
    pub(crate) const fn picodollars(self) -> u64 {
        match self {
            Self::Each(picodollars) => picodollars,
            Self::Absent | Self::Dynamic => 0,
        }
    }

    /// This price, or another where there is none.
    pub(crate) const fn or(self, other: Self) -> Self {
        match self {
            Self::Absent => other,
            Self::Dynamic | Self::Each(_) => self,
        }
    }

    fn listed(self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Dynamic => Some(json!("-1")),
            Self::Each(picodollars) => {
                Some(json!(Picodollars::new(picodollars.into()).to_string()))
            }
        }
    }
}

/// A model's prices: tokens by kind, and what is charged beside tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    pub(crate) prompt: Price,
    pub(crate) completion: Price,
    pub(crate) cache_read: Price,
    pub(crate) cache_write: Price,
    /// Per request.
    pub(crate) request: Price,
    /// Per input image.
    pub(crate) image: Price,
}

impl Prices {
    const NONE: Self = Self {
        prompt: Price::Absent,
        completion: Price::Absent,
        cache_read: Price::Absent,
        cache_write: Price::Absent,
        request: Price::Absent,
        image: Price::Absent,
    };

    const fn tokens(prompt: u64, completion: u64) -> Self {
        Self {
            prompt: Price::Each(prompt),
            completion: Price::Each(completion),
            ..Self::NONE
        }
    }

    fn listed(&self) -> Map<String, Value> {
        [
            ("prompt", self.prompt),
            ("completion", self.completion),
            ("request", self.request),
            ("image", self.image),
            ("input_cache_read", self.cache_read),
            ("input_cache_write", self.cache_write),
        ]
        .into_iter()
        .filter_map(|(key, price)| Some((key.to_owned(), price.listed()?)))
        .collect()
    }
}

/// Prices that hold for prompts of more tokens than a threshold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Override {
    /// Strictly more prompt tokens than this.
    pub(crate) min_prompt_tokens: u64,
    pub(crate) prices: Prices,
}

/// Whether a model takes a limit on its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputLimit {
    /// `max_tokens` works.
    Supported,
    /// Only `max_completion_tokens` works.
    CompletionTokensOnly,
    /// `max_tokens` is not among the supported parameters, and is ignored.
    Ignored,
}

/// One model of the catalog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) id: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) context_length: u64,
    pub(crate) max_completion_tokens: Option<u64>,
    pub(crate) output_limit: OutputLimit,
    pub(crate) prices: Prices,
    pub(crate) overrides: &'static [Override],
    /// The model that answers instead (a router).
    pub(crate) routes_to: Option<&'static str>,
}

const BASE: Model = Model {
    id: "",
    provider: "OpenAI",
    context_length: 128_000,
    max_completion_tokens: Some(16_384),
    output_limit: OutputLimit::Supported,
    prices: Prices::NONE,
    overrides: &[],
    routes_to: None,
};

/// Everything on sale. Prices are picodollars a token (1,000,000 = $1 per million tokens), a request or an image.
pub(crate) static MODELS: &[Model] = &[
    Model {
        id: "sim/small",
        prices: Prices {
            cache_read: Price::Each(75_000),
            ..Prices::tokens(150_000, 600_000)
        },
        ..BASE
    },
    Model {
        id: "sim/large",
        provider: "Anthropic",
        context_length: 200_000,
        max_completion_tokens: Some(64_000),
        prices: Prices {
            cache_read: Price::Each(300_000),
            cache_write: Price::Each(3_750_000),
            ..Prices::tokens(3_000_000, 15_000_000)
        },
        ..BASE
    },
    Model {
        id: "sim/groq",
        provider: "Groq",
        prices: Prices::tokens(50_000, 80_000),
        ..BASE
    },
    Model {
        id: "openai/gpt-4o-mini",
        prices: Prices {
            cache_read: Price::Each(75_000),
            image: Price::Each(217_000_000),
            ..Prices::tokens(150_000, 600_000)
        },
        ..BASE
    },
    Model {
        id: "sim/reasoning",
        context_length: 200_000,
        max_completion_tokens: Some(100_000),
        prices: Prices {
            cache_read: Price::Each(550_000),
            ..Prices::tokens(1_100_000, 4_400_000)
        },
        ..BASE
    },
    Model {
        id: "sim/vision",
        prices: Prices {
            image: Price::Each(1_445_000_000),
            ..Prices::tokens(2_500_000, 10_000_000)
        },
        ..BASE
    },
    Model {
        id: "sim/search",
        provider: "Perplexity",
        prices: Prices {
            request: Price::Each(5_000_000_000),
            ..Prices::tokens(1_000_000, 1_000_000)
        },
        ..BASE
    },
    Model {
        id: "openrouter/auto",
        provider: "OpenRouter",
        context_length: 2_000_000,
        max_completion_tokens: None,
        prices: Prices {
            prompt: Price::Dynamic,
            completion: Price::Dynamic,
            ..Prices::NONE
        },
        routes_to: Some("openai/gpt-4o-mini"),
        ..BASE
    },
    Model {
        id: "sim/small:free",
        prices: Prices {
            request: Price::Each(0),
            image: Price::Each(0),
            ..Prices::tokens(0, 0)
        },
        ..BASE
    },
    Model {
        id: "sim/long-context",
        provider: "Google",
        context_length: 1_048_576,
        max_completion_tokens: Some(65_536),
        prices: Prices {
            cache_read: Price::Each(310_000),
            ..Prices::tokens(1_250_000, 10_000_000)
        },
        overrides: &[Override {
            min_prompt_tokens: 200_000,
            prices: Prices {
                cache_read: Price::Each(625_000),
                ..Prices::tokens(2_500_000, 15_000_000)
            },
        }],
        ..BASE
    },
    Model {
        id: "sim/one-dollar",
        max_completion_tokens: Some(65_536),
        prices: Prices::tokens(1_000_000, 1_000_000),
        ..BASE
    },
    Model {
        id: "sim/no-maximum",
        provider: "DeepSeek",
        max_completion_tokens: None,
        prices: Prices::tokens(270_000, 1_100_000),
        ..BASE
    },
    Model {
        id: "sim/uncapped",
        provider: "Mistral",
        max_completion_tokens: Some(4_096),
        output_limit: OutputLimit::Ignored,
        prices: Prices::tokens(200_000, 600_000),
        ..BASE
    },
    Model {
        id: "sim/sub-nano",
        provider: "DeepInfra",
        prices: Prices::tokens(37_525, 112_575),
        ..BASE
    },
    Model {
        id: "sim/unpriced",
        ..BASE
    },
];

/// Everything that is sold.
fn models(speaks: Speaks) -> &'static [Model] {
    match speaks {
        Speaks::OpenRouter => MODELS,
        Speaks::Compatible => COMPATIBLE_MODELS,
    }
}

/// Request modifiers that may follow any model id and stand in no list.
const MODIFIERS: [&str; 4] = [":nitro", ":floor", ":exacto", ":online"];

/// Providers that stop generating, and billing, when a stream is cancelled (OpenRouter's documentation, Streaming).
const STOP_ON_CANCEL: [&str; 24] = [
    "OpenAI",
    "Azure",
    "Anthropic",
    "Fireworks",
    "Mancer",
    "Recursal",
    "AnyScale",
    "Lepton",
    "OctoAI",
    "Novita",
    "DeepInfra",
    "Together",
    "Cohere",
    "Hyperbolic",
    "Infermatic",
    "Avian",
    "xAI",
    "Cloudflare",
    "SF Compute",
    "Nineteen",
    "Liquid",
    "Friendli",
    "Chutes",
    "DeepSeek",
];

/// What a client that hangs up during a stream still pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCancel {
    /// What was produced so far.
    Stops,
    /// The whole answer.
    RunsOn,
}

/// What a provider does when a stream is cancelled; unknown ones run on.
pub(crate) fn on_cancel(provider: &str) -> OnCancel {
    if STOP_ON_CANCEL.contains(&provider) {
        OnCancel::Stops
    } else {
        OnCancel::RunsOn
    }
}

/// The model of an id: exact, else (at OpenRouter) without a request modifier.
pub(crate) fn find(speaks: Speaks, id: &str) -> Option<&'static Model> {
    let exact = |id: &str| models(speaks).iter().find(|model| model.id == id);
    if speaks == Speaks::Compatible {
        return exact(id);
    }
    exact(id).or_else(|| {
        MODIFIERS
            .iter()
            .find_map(|modifier| exact(id.strip_suffix(modifier)?))
    })
}

/// The body of `GET /models`.
pub(crate) fn listing(speaks: Speaks) -> Value {
    let data: Vec<Value> = models(speaks).iter().map(listed).collect();
    if speaks == Speaks::Compatible {
        return json!({ "object": "list", "data": data });
    }
    json!({ "total_count": data.len(), "data": data, "links": { "next": null } })
}

fn listed(model: &Model) -> Value {
    let mut pricing = model.prices.listed();
    if !model.overrides.is_empty() {
        let overrides = model.overrides.iter().map(|entry| {
            let mut prices = entry.prices.listed();
            prices.insert(
                "min_prompt_tokens".to_owned(),
                json!(entry.min_prompt_tokens),
            );
            Value::Object(prices)
        });
        pricing.insert("overrides".to_owned(), overrides.collect());
    }
    let sees_images = model.prices.image != Price::Absent;
    let inputs: &[&str] = if sees_images {
        &["text", "image"]
    } else {
        &["text"]
    };
    let mut parameters = vec![
        "temperature",
        "top_p",
        "stop",
        "seed",
        "tools",
        "tool_choice",
        "response_format",
        "structured_outputs",
        "reasoning",
        "include_reasoning",
    ];
    if model.output_limit == OutputLimit::CompletionTokensOnly {
        parameters.push("max_completion_tokens");
    }
    if model.output_limit == OutputLimit::Supported {
        parameters.push("max_tokens");
    }
    json!({
        "id": model.id,
        "canonical_slug": model.id.split(':').next(),
        "hugging_face_id": null,
        "name": format!("Simulated: {}", model.id),
        "created": 1_760_000_000,
        "description": "A model of the simulated upstream.",
        "context_length": model.context_length,
        "architecture": {
            "modality": if sees_images { "text+image->text" } else { "text->text" },
            "input_modalities": inputs,
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": null,
        },
        "pricing": pricing,
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": model.max_completion_tokens,
            "is_moderated": false,
        },
        "per_request_limits": null,
        "supported_parameters": parameters,
        "default_parameters": null,
        "knowledge_cutoff": null,
        "expiration_date": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_find_the_base_and_variants_are_models_of_their_own() {
        assert_eq!(
            find(Speaks::OpenRouter, "sim/small:nitro").map(|m| m.id),
            Some("sim/small")
        );
        assert_eq!(
            find(Speaks::OpenRouter, "sim/small:free").map(|m| m.id),
            Some("sim/small:free")
        );
        assert!(find(Speaks::OpenRouter, "sim/large:free").is_none());
        assert!(find(Speaks::OpenRouter, "nobody/nothing").is_none());
    }

    #[test]
    fn the_listing_has_every_kind_of_price() {
        let listing = listing(Speaks::OpenRouter);
        let pricing = |id: &str| {
            let data = listing["data"].as_array().unwrap();
            data.iter().find(|m| m["id"] == id).unwrap()["pricing"].clone()
        };
        assert_eq!(pricing("sim/sub-nano")["prompt"], "0.000000037525");
        assert_eq!(pricing("sim/one-dollar")["completion"], "0.000001");
        assert_eq!(pricing("openrouter/auto")["prompt"], "-1");
        assert_eq!(pricing("sim/small:free")["prompt"], "0");
        assert_eq!(pricing("sim/unpriced"), json!({}));
        assert_eq!(
            pricing("sim/long-context")["overrides"][0]["min_prompt_tokens"],
            200_000
        );
    }
}
