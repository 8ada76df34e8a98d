//! Whether hanging up on a provider saves money.

/// What the upstream bills after the connection of a *streaming* request was closed. (Others always run on.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelBilling {
    /// Only what was produced until then.
    Stops,
    /// The whole answer, as if somebody read it.
    RunsOn,
}

/// Providers where closing the connection stops generation and billing. Source: OpenRouter's documentation, "Streaming".
const STOPS: [&str; 24] = [
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

/// What cancelling means at a provider, by the display name that answers carry in `provider`. Of providers that the
/// documentation doesn't list, the dearer case is assumed.
pub fn cancellation_stops_billing(provider_display_name: &str) -> CancelBilling {
    if STOPS
        .iter()
        .any(|name| same_name(name, provider_display_name))
    {
        CancelBilling::Stops
    } else {
        CancelBilling::RunsOn
    }
}

/// Names differ in case and spaces between the documentation and the wire.
fn same_name(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        name.chars()
            .filter(|character| *character != ' ')
            .map(|character| character.to_ascii_lowercase())
    }
    letters(one).eq(letters(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_providers_stop() {
        for name in STOPS
            .into_iter()
            .chain(["openai", "SFCompute", "XAI", "Deep Infra"])
        {
            assert_eq!(
                cancellation_stops_billing(name),
                CancelBilling::Stops,
                "{name}"
            );
        }
    }

    #[test]
    fn all_others_run_on() {
        for name in [
            "",
            "AWS Bedrock",
            "Amazon Bedrock",
            "Groq",
            "Modal",
            "Google",
            "Google AI Studio",
            "MiniMax",
            "HuggingFace",
            "Replicate",
            "Perplexity",
            "Mistral",
            "AI21",
            "Featherless",
            "Lynn",
            "Lambda",
            "Reflection",
            "SambaNova",
            "Inflection",
            "ZeroOneAI",
            "AionLabs",
            "Alibaba",
            "Nebius",
            "Kluster",
            "Targon",
            "InferenceNet",
            "Cerebras",
            "CoreWeave",
            "Baseten",
            "OpenAI2",
            "Not Azure",
        ] {
            assert_eq!(
                cancellation_stops_billing(name),
                CancelBilling::RunsOn,
                "{name}"
            );
        }
    }
}
