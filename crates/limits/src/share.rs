//! What one key's counters know of the other replicas, and what they may admit without asking first.
//!
//! A replica may go ahead of what it has posted by a small part of the limit, so that all replicas together stay within
//! a tenth beyond it, however stale what they know of each other is. What it is granted by the board, its *reserve*, it
//! may use without being ahead: the others count it as used already.

use crate::board::{Answer, Claim, Leaving, Post};
use crate::counters::Counters;
use crate::kinds::ByKind;
use crate::others::Others;
use crate::window::Moment;
use crate::{LimitKey, LimitKind, RateLimited, RateLimits, RateStatus};

/// All replicas together go ahead of what they have posted by less than the limit divided by this.
const AHEAD_PART: u64 = 10;
/// A reserve that nobody uses for so long goes back; others count it for somewhat longer
/// ([`crate::board::RESERVE_COUNTS_MS`]).
const RESERVE_LASTS_MS: u64 = 1_000;
/// For so long after the board had too little, requests are refused without asking it.
const REFUSES_MS: u64 = 100;
/// Larger numbers can't be told exactly: a limit beyond is not shared.
const MOST: u64 = 1 << 52;

/// What one key's counters know of the other replicas.
#[derive(Debug, Default)]
pub(crate) struct Share {
    limits: RateLimits,
    kinds: ByKind<KindShare>,
    /// When something of the reserve was last granted or used.
    reserve_at: Moment,
    answered_at: Option<Moment>,
    posts: u64,
    answers: u64,
    /// Whether it waits to be posted.
    pub(crate) queued: Queued,
    /// Whether it waits to be posted again because requests run.
    pub(crate) is_renewed: bool,
}

/// Whether counters wait to be posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Queued {
    #[default]
    No,
    /// With the next regular ones.
    Soon,
    /// At once.
    Now,
}

/// The number of the post that a waiting request is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Whether a request may be admitted as far as other replicas are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Admit,
    /// Only the board can tell.
    Ask,
    Refuse(RateLimited),
}

#[derive(Debug, Default)]
struct KindShare {
    reserve: u64,
    /// What was admitted beyond the reserve and is not yet posted, so far as is known.
    ahead: u64,
    /// As much of it as is in the post under way.
    in_post: u64,
    /// What waiting requests need, in all, and the smallest of them.
    want: u64,
    least: Option<u64>,
    /// What the latest request admitted since the last post needed.
    latest: u64,
    others: Others,
    was_short: bool,
}

impl Share {
    /// The limits of the request that follows.
    pub(crate) fn set_limits(&mut self, limits: &RateLimits) {
        self.limits = *limits;
    }

    /// Whether a request may be admitted that fits what this replica itself has counted.
    pub(crate) fn standing(
        &self,
        counters: &mut Counters,
        needs: &ByKind<u64>,
        replicas: u32,
        now: Moment,
    ) -> Standing {
        LimitKind::ALL
            .into_iter()
            .map(|kind| self.standing_of(kind, counters, needs[kind], replicas, now))
            .fold(Standing::Admit, Standing::and)
    }

    /// Whether a request fits what is known of all replicas.
    pub(crate) fn look(
        &self,
        counters: &mut Counters,
        limits: &RateLimits,
        tokens: u64,
        now: Moment,
    ) -> Result<(), RateLimited> {
        counters.check(limits, tokens, now)?;
        let needs = ByKind {
            requests: 1,
            tokens,
            concurrency: 1,
        };
        let refusal = LimitKind::ALL.into_iter().find_map(|kind| {
            let limit = limits.of(kind)?;
            let taken = counters
                .used(kind, now)
                .saturating_add(self.kinds[kind].others.total_at(now));
            let bearable = limit.saturating_sub(needs[kind]);
            (taken > bearable && needs[kind] > self.reserve(kind, now)).then(|| RateLimited {
                which: kind,
                limit,
                remaining: limit.saturating_sub(taken),
                retry_after_ms: Some(self.retry_after(kind, counters, bearable, now)),
            })
        });
        refusal.map_or(Ok(()), Err)
    }

    fn standing_of(
        &self,
        kind: LimitKind,
        counters: &mut Counters,
        need: u64,
        replicas: u32,
        now: Moment,
    ) -> Standing {
        let (Some(limit), share) = (self.limit(kind), &self.kinds[kind]) else {
            return Standing::Admit;
        };
        let reserve = self.reserve(kind, now);
        if need <= reserve {
            return Standing::Admit;
        }
        let others = share.others.total_at(now);
        let taken = counters.used(kind, now).saturating_add(others);
        let fits = taken.saturating_add(need) <= limit;
        let ahead = share.ahead.saturating_add(need - reserve);
        let is_fresh = self
            .answered_at
            .is_some_and(|answered| now < answered.plus(REFUSES_MS));
        if fits && ahead <= most_ahead(limit, replicas) {
            Standing::Admit
        } else if !fits && share.was_short && is_fresh {
            Standing::Refuse(RateLimited {
                which: kind,
                limit,
                remaining: limit.saturating_sub(taken),
                retry_after_ms: Some(self.retry_after(
                    kind,
                    counters,
                    limit.saturating_sub(need),
                    now,
                )),
            })
        } else {
            Standing::Ask
        }
    }

    /// Milliseconds until this replica and all others have at most `bearable`.
    fn retry_after(
        &self,
        kind: LimitKind,
        counters: &mut Counters,
        bearable: u64,
        now: Moment,
    ) -> u64 {
        if kind == LimitKind::Concurrency {
            return crate::counters::CONCURRENCY_RETRY_MS;
        }
        let others = &self.kinds[kind].others;
        let told = others.leaving.iter().map(|(at, amount)| Leaving {
            after_ms: at.0.saturating_sub(now.0),
            amount: *amount,
        });
        let mut leaving = counters.leaving(kind, now);
        leaving.extend(told);
        leaving.sort_unstable();
        let mut left = counters
            .used(kind, now)
            .saturating_add(others.total_at(now));
        for part in leaving {
            left = left.saturating_sub(part.amount);
            if left <= bearable {
                return part.after_ms;
            }
        }
        others.gone_at.0.saturating_sub(now.0)
    }

    /// A request was admitted: uses the reserve, then goes ahead. Tells how soon that should be posted.
    pub(crate) fn admitted(&mut self, needs: &ByKind<u64>, replicas: u32, now: Moment) -> Queued {
        let mut soon = Queued::Soon;
        for kind in LimitKind::ALL {
            let Some(limit) = self.limit(kind) else {
                continue;
            };
            let (need, reserve) = (needs[kind], self.reserve(kind, now));
            let reserved = need.min(reserve);
            let share = &mut self.kinds[kind];
            share.reserve = reserve - reserved;
            share.ahead = share.ahead.saturating_add(need - reserved);
            share.latest = need;
            if reserved > 0 {
                self.reserve_at = now;
            }
            let without_asking = most_ahead(limit, replicas).saturating_sub(share.ahead);
            if share.reserve.saturating_add(without_asking) < need.saturating_mul(2) {
                soon = Queued::Now;
            }
        }
        soon
    }

    /// More was used than was admitted.
    pub(crate) fn exceeded(&mut self, kind: LimitKind, amount: u64) {
        let ahead = &mut self.kinds[kind].ahead;
        *ahead = ahead.saturating_add(amount);
    }

    /// A request waits for the next answer.
    pub(crate) fn ask(&mut self, needs: &ByKind<u64>) -> Ticket {
        for kind in LimitKind::ALL {
            let share = &mut self.kinds[kind];
            share.want = share.want.saturating_add(needs[kind]);
            let least = share.least.unwrap_or(u64::MAX);
            share.least = Some(least.min(needs[kind]));
        }
        Ticket(self.posts + 1)
    }

    /// Whether the answer that a request waits for has come.
    pub(crate) const fn is_answered(&self, ticket: Ticket) -> bool {
        self.answers >= ticket.0
    }

    /// Whether the board knows all of it.
    #[cfg(test)]
    pub(crate) fn is_posted(&self) -> bool {
        self.queued == Queued::No && self.answers == self.posts
    }

    /// What to post now.
    pub(crate) fn post(
        &mut self,
        key: LimitKey,
        counters: &mut Counters,
        replicas: u32,
        now: Moment,
    ) -> Post {
        self.queued = Queued::No;
        self.posts += 1;
        Post {
            key,
            now,
            replicas,
            claims: ByKind::of(|kind| self.claim(kind, counters, replicas, now)),
            leaving: ByKind::of(|kind| match self.limit(kind) {
                Some(_) => counters.leaving(kind, now),
                None => Vec::new(),
            }),
        }
    }

    fn claim(
        &mut self,
        kind: LimitKind,
        counters: &mut Counters,
        replicas: u32,
        now: Moment,
    ) -> Claim {
        let reserve = self.reserve(kind, now);
        let limit = self.limit(kind);
        let share = &mut self.kinds[kind];
        share.reserve = reserve;
        share.in_post = share.ahead;
        let (want, least) = (
            std::mem::take(&mut share.want),
            share.least.take().unwrap_or(0),
        );
        let next = std::mem::take(&mut share.latest)
            .max(least)
            .saturating_mul(2);
        let Some(limit) = limit else {
            return Claim::default();
        };
        let is_tight = most_ahead(limit, replicas) < next;
        Claim {
            limit,
            own: counters.used(kind, now).min(MOST),
            reserve,
            want: want.saturating_sub(reserve).min(MOST),
            least: least.saturating_sub(reserve).min(MOST),
            ahead: if is_tight {
                next.saturating_sub(reserve).min(MOST)
            } else {
                0
            },
        }
    }

    /// The answer to what was posted.
    pub(crate) fn answered(&mut self, post: &Post, answer: &Answer, now: Moment) {
        self.answers = self.posts;
        self.answered_at = Some(now);
        for kind in LimitKind::ALL {
            let share = &mut self.kinds[kind];
            share.ahead = share.ahead.saturating_sub(share.in_post);
            share.was_short = post.is_short(kind, answer.granted[kind]);
            share.others = Others::new(
                answer.others[kind],
                answer.last_after_ms[kind],
                &answer.leaving[kind],
                now,
            );
            if answer.granted[kind] > 0 {
                share.reserve = share.reserve.saturating_add(answer.granted[kind]);
                self.reserve_at = post.now;
            }
        }
    }

    /// There is no answer, nor will there be one.
    pub(crate) fn unanswered(&mut self) {
        self.queued = Queued::No;
        self.posts += 1;
        self.answers = self.posts;
        for kind in LimitKind::ALL {
            let share = &mut self.kinds[kind];
            (share.want, share.least) = (0, None);
        }
    }

    /// Takes what others have used out of what is left.
    pub(crate) fn count_others(&self, status: &mut RateStatus, now: Moment) {
        let kinds = [
            (LimitKind::Requests, &mut status.requests),
            (LimitKind::Tokens, &mut status.tokens),
        ];
        for (kind, status) in kinds {
            let others = &self.kinds[kind].others;
            let total = others.total_at(now);
            if let Some(status) = status.as_mut().filter(|_| total > 0) {
                status.remaining = status.remaining.saturating_sub(total);
                let gone = others.gone_at.0.saturating_sub(now.0);
                status.reset_after_ms = status.reset_after_ms.max(gone);
            }
        }
    }

    /// Whether nothing would be lost by forgetting it.
    pub(crate) fn is_empty(&self, now: Moment) -> bool {
        LimitKind::ALL
            .into_iter()
            .all(|kind| self.kinds[kind].others.total_at(now) == 0)
    }

    fn reserve(&self, kind: LimitKind, now: Moment) -> u64 {
        // The moments of threads may disagree a little.
        if self.reserve_at.0.abs_diff(now.0) < RESERVE_LASTS_MS {
            self.kinds[kind].reserve
        } else {
            0
        }
    }

    fn limit(&self, kind: LimitKind) -> Option<u64> {
        self.limits.of(kind).filter(|limit| *limit <= MOST)
    }
}

impl Standing {
    /// A refusal stands, else a question does.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Refuse(one), Self::Refuse(other)) => {
                Self::Refuse(crate::counters::slower(one, other))
            }
            (Self::Refuse(refusal), _) | (_, Self::Refuse(refusal)) => Self::Refuse(refusal),
            (Self::Ask, _) | (_, Self::Ask) => Self::Ask,
            (Self::Admit, Self::Admit) => Self::Admit,
        }
    }
}

/// By how much one replica may go ahead of what it has posted. One that is alone owes nobody a word.
fn most_ahead(limit: u64, replicas: u32) -> u64 {
    if replicas <= 1 {
        u64::MAX
    } else {
        limit / AHEAD_PART.saturating_mul(replicas.into())
    }
}

const _: () = assert!(RESERVE_LASTS_MS < crate::board::RESERVE_COUNTS_MS);
