//! The rule of the board, without Redis.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::board::{
    Answer, Board, Claim, Leaving, POST_LIVES_MS, Post, RESERVE_COUNTS_MS, RUNNING_COUNTS_MS,
    Unreachable,
};
use crate::kinds::ByKind;
use crate::table::lock;
use crate::{LimitKey, LimitKind, Moment};

/// One replica's access to a board in memory.
#[derive(Clone, Debug)]
pub(super) struct MemoryBoard {
    replica: u32,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    joined: Vec<u32>,
    posts: HashMap<LimitKey, HashMap<u32, Posted>>,
    is_away: bool,
}

#[derive(Debug)]
struct Posted {
    post: Post,
    reserve: ByKind<u64>,
}

impl MemoryBoard {
    /// The access of so many replicas to one board; all of them live.
    pub(super) fn of<const N: usize>() -> [Self; N] {
        let shared = Arc::new(Mutex::new(Shared::default()));
        std::array::from_fn(|index| {
            let replica = u32::try_from(index).unwrap();
            lock(&shared).joined.push(replica);
            Self {
                replica,
                shared: Arc::clone(&shared),
            }
        })
    }

    pub(super) fn wipe(&self) {
        lock(&self.shared).posts.clear();
    }

    pub(super) fn set_away(&self, is_away: bool) {
        lock(&self.shared).is_away = is_away;
    }

    /// What is written for a key by all replicas: used, and reserved.
    pub(super) fn written(&self, key: LimitKey, kind: LimitKind) -> (u64, u64) {
        let shared = lock(&self.shared);
        let posts = shared.posts.get(&key).into_iter().flatten();
        posts.fold((0, 0), |(own, reserve), (_, posted)| {
            (
                own + posted.post.claims[kind].own,
                reserve + posted.reserve[kind],
            )
        })
    }

    /// When a replica last posted what it knows of a key.
    pub(super) fn posted_at(&self, key: LimitKey, replica: u32) -> Option<Moment> {
        let shared = lock(&self.shared);
        let posted = shared.posts.get(&key)?.get(&replica)?;
        Some(posted.post.now)
    }

    pub(super) fn answer(&self, post: &Post) -> Answer {
        let mut shared = lock(&self.shared);
        let posts = shared.posts.entry(post.key).or_default();
        posts.retain(|_, posted| posted.post.now.0.abs_diff(post.now.0) < POST_LIVES_MS);
        let mut answer = Answer::default();
        let mut reserve = ByKind::default();
        for kind in LimitKind::ALL {
            let others = posts
                .iter()
                .filter(|(replica, _)| **replica != self.replica);
            let leaving: Vec<_> = others
                .flat_map(|(_, posted)| posted.leaving(kind, post.now))
                .collect();
            let claim = post.claims[kind];
            answer.others[kind] = leaving.iter().map(|part| part.amount).sum();
            answer.last_after_ms[kind] =
                leaving.iter().map(|part| part.after_ms).max().unwrap_or(0);
            answer.granted[kind] = granted(&claim, answer.others[kind], post.replicas);
            if answer.granted[kind] < claim.want && kind != LimitKind::Concurrency {
                answer.leaving[kind] = leaving;
                answer.leaving[kind].sort_unstable();
            }
            reserve[kind] = claim.reserve + answer.granted[kind];
        }
        let post = post.clone();
        posts.insert(self.replica, Posted { post, reserve });
        answer
    }
}

/// What is wanted, as far as there is enough for one request at least; and beyond that as much of what is wanted ahead as
/// leaves the like to every other replica.
fn granted(claim: &Claim, others: u64, replicas: u32) -> u64 {
    let free = claim
        .limit
        .saturating_sub(claim.own + claim.reserve + others);
    if free < claim.want {
        return if free < claim.least { 0 } else { free };
    }
    let share = (free - claim.want) / (u64::from(replicas.max(1)) * 2);
    claim.want + claim.ahead.min(share)
}

impl Posted {
    /// What counts of it for others, and for how long.
    fn leaving(&self, kind: LimitKind, now: Moment) -> Vec<Leaving> {
        let elapsed = now.0.saturating_sub(self.post.now.0);
        let running = Leaving {
            after_ms: RUNNING_COUNTS_MS,
            amount: self.post.claims.concurrency.own,
        };
        let used = match kind {
            LimitKind::Concurrency => std::slice::from_ref(&running),
            _ => &self.post.leaving[kind],
        };
        let reserve = Leaving {
            after_ms: RESERVE_COUNTS_MS,
            amount: self.reserve[kind],
        };
        let all = used.iter().chain([&reserve]);
        let counting = all.filter(|part| part.after_ms > elapsed && part.amount > 0);
        counting
            .map(|part| Leaving {
                after_ms: part.after_ms - elapsed,
                amount: part.amount,
            })
            .collect()
    }
}

impl Board for MemoryBoard {
    async fn join(&mut self) -> Result<u32, Unreachable> {
        let mut shared = lock(&self.shared);
        if shared.is_away {
            return Err(Unreachable("away".to_owned()));
        }
        if !shared.joined.contains(&self.replica) {
            shared.joined.push(self.replica);
        }
        Ok(u32::try_from(shared.joined.len()).unwrap())
    }

    async fn exchange(&mut self, posts: &[Post]) -> Result<Vec<Answer>, Unreachable> {
        if lock(&self.shared).is_away {
            return Err(Unreachable("away".to_owned()));
        }
        // As over a network, others go on meanwhile.
        tokio::task::yield_now().await;
        Ok(posts.iter().map(|post| self.answer(post)).collect())
    }

    async fn leave(&mut self) {
        let replica = self.replica;
        lock(&self.shared).joined.retain(|other| *other != replica);
    }
}
