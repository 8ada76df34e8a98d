//! What becomes of an answer whose client has gone: cancelled, or read to its end, and how far.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::money::Nanos;

/// What hanging up means at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangingUp {
    /// It bills what it has produced until then.
    StopsBilling,
    /// It bills the whole answer.
    BillsOn,
}

/// What is done with an answer that nobody reads any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// The upstream is cancelled.
    #[default]
    Cancel,
    /// It is read on, to its end or to the cap.
    Drain,
}

/// How far an answer is read that nobody reads, at most; then it is cancelled, wherever it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainCap {
    /// For so long; ten minutes where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// So many bytes of the upstream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// So many tokens. Until the end only events can be counted, each of which carries one token or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// So much list cost: those tokens at the price book's dearest price of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_cost: Option<Nanos>,
}

/// A plan's policy for answers whose client has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisconnectPolicy {
    /// `cancel` where that stops the billing, else read on; or `drain` everywhere.
    pub otherwise: OnDisconnect,
    /// What holds at single providers, whatever is known of them; by the name that answers carry.
    pub providers: BTreeMap<String, OnDisconnect>,
    /// How far is read on.
    pub cap: DrainCap,
}

impl DisconnectPolicy {
    /// What to do with a stream of `provider`.
    pub fn decide(&self, provider: &str, hanging_up: HangingUp) -> OnDisconnect {
        let named = self
            .providers
            .iter()
            .find(|(name, _)| is_same_provider(name, provider));
        match (named, self.otherwise, hanging_up) {
            (Some((_, decided)), _, _) => *decided,
            (None, OnDisconnect::Cancel, HangingUp::StopsBilling) => OnDisconnect::Cancel,
            (None, OnDisconnect::Cancel, HangingUp::BillsOn) | (None, OnDisconnect::Drain, _) => {
                OnDisconnect::Drain
            }
        }
    }

    /// Whether the plan says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Names of providers differ in case and spaces between documents and answers.
pub fn is_same_provider(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        name.chars()
            .filter(|character| *character != ' ')
            .map(|character| character.to_ascii_lowercase())
    }
    letters(one).eq(letters(other))
}

/// How much was read of an answer since its client went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Bytes of the upstream's.
    pub bytes: u64,
    /// Events with data.
    pub events: u64,
}

impl DrainCap {
    /// Whether so much is enough; `token_price` is the list price of a token of the answer in USD, if it has one. Time is
    /// the reader's business.
    pub fn is_reached(&self, drained: Drained, token_price: Option<Decimal>) -> bool {
        let cost = token_price
            .and_then(|price| price.checked_mul(Decimal::from(drained.events)))
            .unwrap_or_default();
        self.bytes.is_some_and(|cap| drained.bytes >= cap)
            || self.tokens.is_some_and(|cap| drained.events >= cap)
            || self.list_cost.is_some_and(|cap| cost >= cap.usd())
    }
}

/// How much of an answer came before its client went and after it, in bytes of the upstream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadShare {
    /// Before.
    pub read: u64,
    /// After.
    pub unread: u64,
}

/// The part of `amount` for output that nobody read: the output's share of the list cost (`prompt` of `whole`, by the
/// price book, is the prompt's), divided by bytes. An estimate, for metrics; nothing is booked by it.
pub fn unread_part(amount: Nanos, prompt: Decimal, whole: Decimal, share: ReadShare) -> Nanos {
    let output = (whole - prompt)
        .checked_div(whole)
        .filter(|output| *output >= Decimal::ZERO)
        .unwrap_or(Decimal::ONE);
    let bytes = Decimal::from(share.read) + Decimal::from(share.unread);
    Decimal::from(share.unread)
        .checked_div(bytes)
        .and_then(|unread| unread.checked_mul(output)?.checked_mul(amount.usd()))
        .and_then(|part| Nanos::round_half_even(part).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cancelled_where_it_helps_unless_the_plan_says_otherwise() {
        use HangingUp::{BillsOn, StopsBilling};
        use OnDisconnect::{Cancel, Drain};
        let mut policy = DisconnectPolicy::default();
        assert_eq!(policy.decide("OpenAI", StopsBilling), Cancel);
        assert_eq!(policy.decide("Groq", BillsOn), Drain);
        policy.providers.insert("new one".to_owned(), Cancel);
        policy.providers.insert("OpenAI".to_owned(), Drain);
        assert_eq!(policy.decide("NewOne", BillsOn), Cancel);
        assert_eq!(policy.decide("openai", StopsBilling), Drain);
        policy.otherwise = Drain;
        assert_eq!(policy.decide("Azure", StopsBilling), Drain);
        assert_eq!(policy.decide("New One", BillsOn), Cancel);
    }

    #[test]
    fn every_cap_ends_it() {
        let price = Some(Decimal::new(1, 6));
        let drained = Drained {
            bytes: 1_000,
            events: 10,
        };
        let caps = [
            DrainCap {
                bytes: Some(1_000),
                ..DrainCap::default()
            },
            DrainCap {
                tokens: Some(10),
                ..DrainCap::default()
            },
            DrainCap {
                list_cost: Some(Nanos::new(10_000)),
                ..DrainCap::default()
            },
        ];
        for cap in caps {
            assert!(cap.is_reached(drained, price), "{cap:?}");
            let less = Drained {
                bytes: 999,
                events: 9,
            };
            assert!(!cap.is_reached(less, price), "{cap:?}");
        }
        assert!(!DrainCap::default().is_reached(
            Drained {
                bytes: u64::MAX,
                events: u64::MAX
            },
            price
        ));
    }

    #[test]
    fn the_unread_part_is_the_outputs_by_bytes() {
        let part = |read, unread| {
            unread_part(
                Nanos::new(1_000),
                Decimal::ONE,
                Decimal::from(5),
                ReadShare { read, unread },
            )
        };
        assert_eq!(part(100, 300), Nanos::new(600));
        assert_eq!(part(0, 300), Nanos::new(800));
        assert_eq!(part(100, 0), Nanos::ZERO);
        assert_eq!(part(0, 0), Nanos::ZERO);
    }

    proptest! {
        #[test]
        fn a_part_is_never_more_than_all_of_it(amount in 0_i64..1_000_000_000_000, prompt in 0_i64..1000, output in 0_i64..1000, read: u64, unread: u64) {
            let whole = Decimal::from(prompt + output);
            let part = unread_part(Nanos::new(amount), Decimal::from(prompt), whole, ReadShare { read, unread });
            prop_assert!(part >= Nanos::ZERO && part.get() <= amount);
        }
    }
}
