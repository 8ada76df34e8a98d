//! The counters of one key, and the rule by which they admit a request.

use std::num::NonZero;

use crate::board::Leaving;
use crate::window::{Moment, SlidingWindow, Tick};
use crate::{LimitKind, LimitStatus, RateLimited, RateLimits, RateStatus};

/// Nobody knows when a running request ends; the client is asked to try again after a second.
pub(crate) const CONCURRENCY_RETRY_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: SlidingWindow,
    tokens: SlidingWindow,
    concurrent: u32,
}

/// What a request was charged; needed to correct or refund it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Charge {
    requests_in: Tick,
    tokens_in: Tick,
    /// Tokens that are counted in `tokens_in`, and can be given back there.
    tokens: u64,
    /// Tokens beyond the estimate, counted later; they stay.
    excess: u64,
}

impl Counters {
    /// Whether a request of so many tokens fits. Changes nothing; of several limits it names the slowest to clear.
    pub(crate) fn check(
        &mut self,
        limits: &RateLimits,
        tokens: u64,
        now: Moment,
    ) -> Result<(), RateLimited> {
        let requests = limits.requests_per_minute.map(|limit| {
            fits(
                &mut self.requests,
                LimitKind::Requests,
                u64::from(limit.get()),
                1,
                now,
            )
        });
        let tokens = limits.tokens_per_minute.map(|limit| {
            fits(
                &mut self.tokens,
                LimitKind::Tokens,
                limit.get(),
                tokens,
                now,
            )
        });
        let concurrent = limits
            .concurrent_requests
            .map(|limit| self.one_more_fits(limit));
        let refusals = [requests, tokens, concurrent]
            .into_iter()
            .flatten()
            .filter_map(Result::err);
        refusals.reduce(slower).map_or(Ok(()), Err)
    }

    /// Counts a request that was found to fit.
    pub(crate) fn charge(&mut self, tokens: u64, now: Moment) -> Charge {
        self.concurrent = self.concurrent.saturating_add(1);
        Charge {
            requests_in: self.requests.charge(1, now),
            tokens_in: self.tokens.charge(tokens, now),
            tokens,
            excess: 0,
        }
    }

    /// Where the limits stand.
    pub(crate) fn status(&mut self, limits: &RateLimits, now: Moment) -> RateStatus {
        let status = |window: &mut SlidingWindow, limit: u64| LimitStatus {
            limit,
            remaining: limit.saturating_sub(window.used(now)),
            reset_after_ms: window.until_at_most(0, now),
        };
        RateStatus {
            requests: limits
                .requests_per_minute
                .map(|limit| status(&mut self.requests, limit.get().into())),
            tokens: limits
                .tokens_per_minute
                .map(|limit| status(&mut self.tokens, limit.get())),
        }
    }

    /// What is used of a limit now.
    pub(crate) fn used(&mut self, kind: LimitKind, now: Moment) -> u64 {
        match kind {
            LimitKind::Requests => self.requests.used(now),
            LimitKind::Tokens => self.tokens.used(now),
            LimitKind::Concurrency => self.concurrent.into(),
        }
    }

    /// When that leaves the window, soonest first; nothing for requests at the same time.
    pub(crate) fn leaving(&mut self, kind: LimitKind, now: Moment) -> Vec<Leaving> {
        let window = match kind {
            LimitKind::Requests => &mut self.requests,
            LimitKind::Tokens => &mut self.tokens,
            LimitKind::Concurrency => return Vec::new(),
        };
        window.used(now);
        let leaving = window.leaving(now).filter(|(_, amount)| *amount > 0);
        leaving
            .map(|(after_ms, amount)| Leaving { after_ms, amount })
            .collect()
    }

    /// Replaces the estimated tokens by the actual ones. What exceeds the estimate counts from now on, and is returned.
    pub(crate) fn settle(&mut self, charge: &mut Charge, actual: u64, now: Moment) -> u64 {
        let counted = charge.tokens.saturating_add(charge.excess);
        if let Some(more) = actual.checked_sub(counted) {
            self.tokens.charge(more, now);
            charge.excess = charge.excess.saturating_add(more);
            more
        } else {
            let less = (counted - actual).min(charge.tokens);
            self.tokens.give_back(less, charge.tokens_in);
            charge.tokens -= less;
            0
        }
    }

    /// As if the request had not been, but that it still runs.
    pub(crate) fn refund(&mut self, charge: &Charge) {
        self.requests.give_back(1, charge.requests_in);
        self.tokens.give_back(charge.tokens, charge.tokens_in);
    }

    /// A request has ended.
    pub(crate) fn end(&mut self) {
        self.concurrent = self.concurrent.saturating_sub(1);
    }

    /// Whether forgetting these counters changes nothing.
    pub(crate) fn are_empty(&mut self, now: Moment) -> bool {
        self.concurrent == 0 && self.requests.used(now) == 0 && self.tokens.used(now) == 0
    }

    fn one_more_fits(&self, limit: NonZero<u32>) -> Result<(), RateLimited> {
        if self.concurrent < limit.get() {
            return Ok(());
        }
        Err(RateLimited {
            which: LimitKind::Concurrency,
            limit: limit.get().into(),
            remaining: 0,
            retry_after_ms: Some(CONCURRENCY_RETRY_MS),
        })
    }
}

/// Whether `amount` more stays within `limit`.
fn fits(
    window: &mut SlidingWindow,
    which: LimitKind,
    limit: u64,
    amount: u64,
    now: Moment,
) -> Result<(), RateLimited> {
    let remaining = limit.saturating_sub(window.used(now));
    if amount <= remaining {
        return Ok(());
    }
    let retry_after_ms = limit
        .checked_sub(amount)
        .map(|bearable| window.until_at_most(bearable, now));
    Err(RateLimited {
        which,
        limit,
        remaining,
        retry_after_ms,
    })
}

/// Of two refusals the one that takes longer to clear; one that never clears takes longest.
pub(crate) fn slower(one: RateLimited, other: RateLimited) -> RateLimited {
    let wait = |refusal: &RateLimited| refusal.retry_after_ms.unwrap_or(u64::MAX);
    if wait(&other) > wait(&one) {
        other
    } else {
        one
    }
}

/// Of two states of limits, for each kind the one with least left.
pub(crate) fn tighter(one: RateStatus, other: RateStatus) -> RateStatus {
    let pick = |one: Option<LimitStatus>, other: Option<LimitStatus>| {
        one.into_iter()
            .chain(other)
            .min_by_key(|status| status.remaining)
    };
    RateStatus {
        requests: pick(one.requests, other.requests),
        tokens: pick(one.tokens, other.tokens),
    }
}
