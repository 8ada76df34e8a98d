//! What a request costs: the exact integer product of tokens and prices.

use std::ops::Add;

use crate::{
    catalog::{Model, Price, Prices},
    money::Picodollars,
};

/// What one web search through a plugin or `:online` adds.
pub(crate) const WEB_SEARCH: Picodollars = Picodollars::new(20_000_000_000);

/// Tokens of one request. Cached and written ones are part of the prompt, reasoning and images of the completion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) cache_write: u64,
    pub(crate) completion: u64,
    pub(crate) reasoning: u64,
    pub(crate) image: u64,
}

impl Tokens {
    /// The same request when only so many output tokens were produced.
    pub(crate) fn after(self, produced: u64) -> Self {
        Self {
            completion: self.completion.min(produced),
            reasoning: self.reasoning.min(produced),
            image: self.image.min(produced),
            ..self
        }
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prompt: self.prompt.saturating_add(other.prompt),
            cached: self.cached.saturating_add(other.cached),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            completion: self.completion.saturating_add(other.completion),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            image: self.image.saturating_add(other.image),
        }
    }
}

/// What is charged for one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charge {
    /// To the account's credit.
    pub(crate) cost: Picodollars,
    /// By the provider to the owner of the provider key (BYOK only).
    pub(crate) provider: Picodollars,
}

impl Add for Charge {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            provider: self.provider + other.provider,
        }
    }
}

/// The prices in force for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tariff {
    prompt: u64,
    completion: u64,
    cache_read: u64,
    cache_write: u64,
    /// What doesn't depend on tokens: the request, its images, a web search.
    flat: Picodollars,
}

impl Tariff {
    /// The prices of a model for a prompt of so many tokens and images.
    pub(crate) fn of(model: &Model, prompt_tokens: u64, images: u64, web: Picodollars) -> Self {
        let prices = in_force(model, prompt_tokens);
        Self {
            prompt: prices.prompt.picodollars(),
            completion: prices.completion.picodollars(),
            cache_read: prices.cache_read.or(prices.prompt).picodollars(),
            cache_write: prices.cache_write.or(prices.prompt).picodollars(),
            flat: Picodollars::of_units(1, prices.request.picodollars())
                + Picodollars::of_units(images, prices.image.picodollars())
                + web,
        }
    }

    /// The whole cost.
    pub(crate) fn cost(&self, tokens: &Tokens) -> Picodollars {
        self.prompt_cost(tokens) + self.completion_cost(tokens) + self.flat
    }

    /// The part of the prompt tokens.
    pub(crate) fn prompt_cost(&self, tokens: &Tokens) -> Picodollars {
        let plain = tokens
            .prompt
            .saturating_sub(tokens.cached)
            .saturating_sub(tokens.cache_write);
        Picodollars::of_units(plain, self.prompt)
            + Picodollars::of_units(tokens.cached, self.cache_read)
            + Picodollars::of_units(tokens.cache_write, self.cache_write)
    }

    /// The part of the completion tokens, reasoning included.
    pub(crate) fn completion_cost(&self, tokens: &Tokens) -> Picodollars {
        Picodollars::of_units(tokens.completion, self.completion)
    }

    /// How many output tokens an amount pays for beside the prompt; none if it doesn't even pay for that.
    pub(crate) fn affordable_output(&self, prompt: &Tokens, credit: Picodollars) -> u64 {
        let fixed = (self.prompt_cost(prompt) + self.flat).get();
        let Some(left) = credit.get().checked_sub(fixed) else {
            return 0;
        };
        match self.completion {
            0 => u64::MAX,
            each => u64::try_from(left / u128::from(each)).unwrap_or(u64::MAX),
        }
    }
}

/// Base prices with the overrides that hold for so many prompt tokens; later ones win, absent ones inherit.
fn in_force(model: &Model, prompt_tokens: u64) -> Prices {
    model
        .overrides
        .iter()
        .filter(|entry| prompt_tokens > entry.min_prompt_tokens)
        .fold(model.prices, |base, entry| Prices {
            prompt: entry.prices.prompt.or(base.prompt),
            completion: entry.prices.completion.or(base.completion),
            cache_read: entry.prices.cache_read.or(base.cache_read),
            cache_write: entry.prices.cache_write.or(base.cache_write),
            request: entry.prices.request.or(base.request),
            image: entry.prices.image.or(base.image),
        })
}

/// Whether a price, per unit, stays within a maximum in dollars per `units`. No maximum is always kept.
pub(crate) fn within(price: Price, units: u64, maximum: Option<Picodollars>) -> bool {
    maximum.is_none_or(|maximum| Picodollars::of_units(units, price.picodollars()) <= maximum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, speaks::Speaks};

    fn cost(model: &str, tokens: Tokens) -> u128 {
        let model = catalog::find(Speaks::OpenRouter, model).unwrap();
        Tariff::of(model, tokens.prompt, 0, Picodollars::ZERO)
            .cost(&tokens)
            .get()
    }

    #[test]
    fn cached_and_written_tokens_have_prices_of_their_own() {
        let tokens = Tokens {
            prompt: 1000,
            cached: 600,
            cache_write: 300,
            completion: 10,
            ..Tokens::default()
        };
        assert_eq!(
            cost("sim/large", tokens),
            100 * 3_000_000 + 600 * 300_000 + 300 * 3_750_000 + 10 * 15_000_000
        );
        assert_eq!(
            cost("sim/groq", tokens),
            1000 * 50_000 + 10 * 80_000,
            "without a cache price they cost what others do"
        );
    }

    #[test]
    fn overrides_hold_strictly_above_their_threshold() {
        let at = |prompt| Tokens {
            prompt,
            completion: 1,
            ..Tokens::default()
        };
        assert_eq!(
            cost("sim/long-context", at(200_000)),
            200_000 * 1_250_000 + 10_000_000
        );
        assert_eq!(
            cost("sim/long-context", at(200_001)),
            200_001 * 2_500_000 + 15_000_000
        );
    }

    #[test]
    fn what_a_credit_affords_beside_the_prompt() {
        let model = catalog::find(Speaks::OpenRouter, "sim/one-dollar").unwrap();
        let tokens = Tokens {
            prompt: 100,
            ..Tokens::default()
        };
        let tariff = Tariff::of(model, 100, 0, Picodollars::ZERO);
        let credit = Picodollars::new(350 * 1_000_000 + 1);
        assert_eq!(tariff.affordable_output(&tokens, credit), 250);
        assert_eq!(tariff.affordable_output(&tokens, Picodollars::new(5)), 0);
    }
}
