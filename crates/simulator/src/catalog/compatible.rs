//! What a compatible server sells, by names and at prices of its own.

use super::{BASE, Model, OutputLimit, Price, Prices};

/// All of it. Prices are picodollars a token.
pub(super) static COMPATIBLE_MODELS: &[Model] = &[
    Model {
        id: "gpt-sim-small",
        prices: Prices {
            cache_read: Price::Each(40_000),
            ..Prices::tokens(120_000, 500_000)
        },
        ..BASE
    },
    Model {
        id: "gpt-sim-reasoning",
        context_length: 200_000,
        max_completion_tokens: Some(100_000),
        output_limit: OutputLimit::CompletionTokensOnly,
        prices: Prices::tokens(1_000_000, 4_000_000),
        ..BASE
    },
    Model {
        id: "gpt-sim-own",
        prices: Prices::tokens(2_000_000, 8_000_000),
        ..BASE
    },
    Model {
        id: "sim/one-dollar",
        max_completion_tokens: Some(65_536),
        prices: Prices::tokens(1_000_000, 1_000_000),
        ..BASE
    },
];
